"""Service levels against arithmetic done by hand, and what a verdict may reach: the session after, never its own."""

import math
from datetime import date, timedelta

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.bars import COLUMNS
from quality import tables
from quality.bars import Judged, judge
from quality.sla import RULES, block, count_sessions, embargo, failed_sessions, jumps, suspected_split, verdicts
from tests.makers import DAY, SESSION, START, closes_of, due_bars, receipts_of, received, service_level
from tests.oracles import followed

ALWAYS = ("completeness", "duplicates", "nan", "quarantined")
NOTHING = dict.fromkeys(
    ("filled", "refused", "null_rows", "conflicting", "identical", "outside_hours", "disordered"), 0
)
FULL = dict.fromkeys(("due", "accepted", "received"), 288)
QUIET = FULL | NOTHING | {"n_timed": 0, "lateness_minutes": None, "stale_bars": 0, "largest_return": 0.01}
WARNED = {"severity": "warn", "why": "a test"}
FIVE_MINUTES = timedelta(minutes=5)


def session(n: int) -> date:
    return SESSION + n * DAY


def counts(*rows, **usual):
    counted = [{"session": SESSION, "instrument": "X", **QUIET, **usual, **row} for row in rows]
    return pl.DataFrame(counted, schema_overrides={"lateness_minutes": pl.Float64, "largest_return": pl.Float64})


def judged(counted, **limits):
    """The verdicts by rule of one instrument's session."""
    record = verdicts(counts(counted), service_level(**limits).limits)
    return {row["rule"]: row for row in record.to_dicts()}


def record_of(**failed):
    """The record of a completeness rule: by instrument, whether each session fails."""
    level = service_level()
    rows = [
        {"instrument": name, "session": session(n), "accepted": 0 if fails else 288}
        for name, sessions in failed.items()
        for n, fails in enumerate(sessions)
    ]
    return verdicts(counts(*rows), {"completeness": level.completeness})


def embargoed(record):
    found: dict[str, list[bool]] = {}
    for _, instrument, held_back in embargo(record).sort("session").iter_rows():
        found.setdefault(instrument, []).append(held_back)
    return found


# Verdicts


@pytest.mark.parametrize(
    ("due", "accepted", "passed"),
    [
        pytest.param(78, 78, True, id="a New York session with all of its five-minute bars"),
        pytest.param(78, 77, False, id="a New York session may miss none"),
        pytest.param(42, 41, False, id="an early close may miss none"),
        pytest.param(288, 286, True, id="a crypto day of five-minute bars may miss two"),
        pytest.param(288, 285, False, id="a crypto day of five-minute bars may not miss three"),
        pytest.param(1440, 1426, True, id="a crypto day of minutes may miss fourteen"),
        pytest.param(1440, 1425, False, id="a crypto day of minutes may not miss fifteen"),
        pytest.param(100, 99, True, id="exactly the limit passes"),
        pytest.param(1, 0, False, id="a daily bar is there or it is not"),
    ],
)
def test_completeness_at_99_percent(due, accepted, passed):
    verdict = judged({"due": due, "accepted": accepted})["completeness"]
    assert verdict["value"] == accepted / due
    assert (verdict["due"], verdict["seen"]) == (due, accepted)
    assert verdict["passed"] is passed


@pytest.mark.parametrize(
    ("rule", "counted", "value", "passed"),
    [
        pytest.param("nan", {}, 0, True, id="every price a number"),
        pytest.param("nan", {"null_rows": 1}, 1, False, id="one row without a price"),
        pytest.param("duplicates", {}, 0, True, id="one row a moment"),
        pytest.param("duplicates", {"conflicting": 2}, 2, False, id="two rows that contradict each other"),
        pytest.param("quarantined", {"received": 100, "refused": 1}, 0.01, True, id="as many refused as allowed"),
        pytest.param("quarantined", {"received": 100, "refused": 2}, 0.02, False, id="one refused too many"),
        pytest.param("quarantined", {"received": 0, "accepted": 0}, 0, True, id="nothing came, so nothing was refused"),
    ],
)
def test_each_rule_is_a_number_held_against_its_limit(rule, counted, value, passed):
    verdict = judged(counted)[rule]
    assert verdict["value"] == pytest.approx(value)
    assert verdict["passed"] is passed


def test_every_session_of_every_instrument_has_a_verdict_of_every_rule():
    rows = [{"instrument": name, "session": session(n)} for name in "YX" for n in (1, 0)]
    record = verdicts(counts(*rows), service_level().limits)
    expected = [(session(n), name, rule) for n in (0, 1) for name in "XY" for rule in ALWAYS]
    assert record.select("session", "instrument", "rule").rows() == expected
    assert record["limit"].to_list() == [0.99, 0.0, 0.0, 0.01] * 4


def test_a_session_in_which_nothing_is_due_passes_without_a_value():
    found = judged({"due": 0, "accepted": 0, "received": 5, "refused": 5, "null_rows": 5, "conflicting": 5})
    assert {name: (row["value"], row["passed"]) for name, row in found.items()} == dict.fromkeys(ALWAYS, (None, True))


def test_a_rule_that_warns_is_recorded_and_not_enforced():
    verdict = judged({"accepted": 0}, completeness={"severity": "warn"})["completeness"]
    assert (verdict["value"], verdict["passed"], verdict["enforced"]) == (0, False, False)


def test_a_rule_is_enforced_from_its_first_session_on():
    rows = [{"session": session(n), "accepted": 0} for n in range(3)]
    level = service_level(completeness={"from": session(1)})
    record = verdicts(counts(*rows), {"completeness": level.completeness})
    assert record["enforced"].to_list() == [False, True, True]
    assert record["passed"].to_list() == [False, False, False]
    assert failed_sessions(record)["failed"].to_list() == [False, True, True]


def test_one_broken_rule_of_many_fails_the_session():
    record = verdicts(counts({"null_rows": 1}), service_level().limits)
    assert failed_sessions(record).rows() == [(SESSION, "X", True)]


# What is counted


def test_sessions_are_counted_from_what_was_judged_and_what_was_due():
    due = due_bars(3)
    counted = count_sessions([session(0), session(1)], due, judge_rows({}, {}, {"ts": due["ts"][1], "close": None}))
    first, second = counted.to_dicts()
    wanted = {"due": 3, "accepted": 1, "filled": 0, "received": 3, "refused": 1, "null_rows": 1, "identical": 1}
    assert {name: first[name] for name in wanted} == wanted
    assert second == {
        "session": session(1),
        **dict.fromkeys(QUIET, 0),
        "lateness_minutes": None,
        "largest_return": None,
    }


def test_where_nothing_came_everything_is_missing():
    due = due_bars(2, start=START, step=DAY)
    counted = count_sessions([session(0), session(1)], due, judge_rows(due=due, timeframe="1d"))
    record = verdicts(counted.with_columns(instrument=pl.lit("X")), service_level().limits)
    missing = record.filter(pl.col("rule") == "completeness")
    assert missing["value"].to_list() == [0, 0]
    assert failed_sessions(record)["failed"].to_list() == [True, True]


def test_filled_bars_are_counted_and_never_towards_completeness():
    due = due_bars(10)
    judged_rows = judge_rows({}, due=due)
    filled = judged_rows.accepted.select(pl.all().repeat_by(9).explode())
    counted = count_sessions([SESSION], due, judged_rows, filled=filled).with_columns(instrument=pl.lit("X"))
    level = service_level(no_trade_bars="filled", filled={"at_most": 0.5, **WARNED})
    found = {row["rule"]: row for row in verdicts(counted, level.limits).to_dicts()}
    assert (found["completeness"]["value"], found["completeness"]["passed"]) == (0.1, False)
    assert (found["filled"]["value"], found["filled"]["seen"], found["filled"]["passed"]) == (0.9, 9, False)


@pytest.mark.parametrize(("policy", "counted"), [("refused", (3, 2)), ("expected", (2, 1))])
def test_rows_outside_hours_count_only_where_nobody_expects_them(policy, counted):
    judged_rows = judge_rows({}, {"ts": START - FIVE_MINUTES}, {"ts": START - FIVE_MINUTES / 2})  # one on the grid
    found = count_sessions([SESSION], due_bars(3), judged_rows, outside_hours=policy)
    assert found.select("received", "refused").row(0) == counted


# How bars follow each other


def judge_rows(*rows, due=None, timeframe="5m"):
    raw, due = received(*rows), due_bars(3) if due is None else due
    first, last = due["session"].min(), due["session"].max()
    return judge(raw, receipts_of(raw), due, closes_of(due), first=first, last=last, timeframe=timeframe)


def daily(*bars, start=0):
    """Bars of successive days: a close, or a close and a volume."""
    schema = {"session": pl.Date, "ts": tables.TS, **dict.fromkeys(COLUMNS, pl.Float64)}
    pairs = [bar if isinstance(bar, tuple) else (bar, 5) for bar in bars]
    rows = [(session(n), START + n * DAY, *[close] * 4, volume) for n, (close, volume) in enumerate(pairs, start=start)]
    return pl.DataFrame(rows, schema, orient="row")


def followed_by(bars, *, before=None, actions=(), volume="traded"):
    """`(stale_bars, largest_return)` by session of bars that are all accepted."""
    nothing = judge_rows()
    judged_bars = Judged(
        bars.with_columns(sequence=pl.lit(1)), nothing.quarantined, nothing.counts, nothing.restatements
    )
    stated = pl.DataFrame(list(actions), {"ex_date": pl.Date, "kind": pl.String, "value": pl.Float64}, orient="row")
    sessions = bars["session"].unique().sort().to_list()
    due = due_bars(1)
    counted = count_sessions(sessions, due, judged_bars, before=before, actions=stated, volume=volume)
    return {row["session"]: (row["stale_bars"], row["largest_return"]) for row in counted.to_dicts()}


closes = st.sampled_from([10.0, 10.0, 10.0, 12.0, 5.0])
series = st.lists(st.tuples(st.integers(0, 2), closes, st.sampled_from([0.0, 0.0, 3.0])), min_size=1, max_size=12)
actions = st.lists(
    st.sampled_from([(session(1), "split", 2.0), (session(1), "dividend", 0.5), (session(9), "split", 3.0)]),
    max_size=2,
    unique=True,
)


@given(series, actions, st.sampled_from(["traded", "ticks", "none"]), st.booleans())
def test_bars_follow_each_other_as_the_slow_twin_says(series, actions, volume, first_is_before):
    schema = {"session": pl.Date, "ts": tables.TS, **dict.fromkeys(COLUMNS, pl.Float64)}
    rows = [
        (session(day), START + day * DAY + n * FIVE_MINUTES, *[close] * 4, traded)
        for n, (day, close, traded) in enumerate(sorted(series))
    ]
    bars = pl.DataFrame(rows, schema, orient="row")
    before = bars.head(1) if first_is_before else None
    judged_bars = bars[1:] if first_is_before else bars
    found = followed_by(judged_bars, before=before, actions=actions, volume=volume)
    named = [dict(zip(("ex_date", "kind", "value"), action, strict=True)) for action in actions]
    expected = followed(bars.to_dicts(), named, traded=volume == "traded")
    for day, (stale, largest) in found.items():
        longest, moved = expected.get(day, (0, None))
        assert stale == longest
        assert (largest is None) if moved is None else largest == pytest.approx(moved, abs=1e-12)


def test_a_run_of_equal_bars_is_cut_at_its_session_and_begins_with_the_bar_before_it():
    bars = daily((10, 0), (10, 0), (10, 3), (10, 0))
    assert [stale for stale, _ in followed_by(bars).values()] == [0, 1, 0, 1]
    assert followed_by(bars[1:], before=bars[:1])[session(1)][0] == 1


@pytest.mark.parametrize(
    ("bars", "stated", "moved"),
    [
        pytest.param((100, 110), [], math.log(1.1), id="what it moved"),
        pytest.param((100, 50), [], math.log(2), id="a split nobody was told of"),
        pytest.param((100, 50), [(session(1), "split", 2)], 0, id="a split that is known"),
        pytest.param((100, 98), [(session(1), "dividend", 2)], 0, id="a dividend that is known"),
        pytest.param((100, 110), [(session(0), "split", 2)], math.log(1.1), id="an action of the day before"),
    ],
)
def test_a_jump_is_measured_on_prices_carried_over_what_is_known(bars, stated, moved):
    assert followed_by(daily(*bars), actions=stated)[session(1)][1] == pytest.approx(moved)


def test_the_first_bar_ever_follows_nothing():
    assert followed_by(daily(10)) == {SESSION: (0, None)}


@pytest.mark.parametrize(
    ("rule", "limit", "counted", "value", "seen", "passed"),
    [
        pytest.param("lateness", 60, {}, None, 0, True, id="a backfill has no lateness"),
        pytest.param("lateness", 60, {"lateness_minutes": 61.0, "n_timed": 9}, 61, 9, False, id="a minute too late"),
        pytest.param("stale_run", 12, {"stale_bars": 12}, 12, 12, True, id="as long a run as is allowed"),
        pytest.param("stale_run", 12, {"stale_bars": 13}, 13, 13, False, id="a bar too long"),
        pytest.param("jump", 0.2, {"largest_return": 0.2}, 0.2, 0, True, id="no jump is seen"),
        pytest.param("jump", 0.2, {"largest_return": 0.3}, 0.3, 1, False, id="a jump is seen"),
        pytest.param("jump", 0.2, {"largest_return": None}, None, 0, True, id="nothing to compare with"),
        pytest.param("disorder", 0, {"disordered": 3}, 3, 3, False, id="three rows out of order"),
        pytest.param("duplicates", 0, {"identical": 3}, 0, 3, True, id="identical rows are seen and pass"),
    ],
)
def test_rules_a_section_may_leave_out(rule, limit, counted, value, seen, passed):
    verdict = judged(counted, **{rule: {"at_most": limit, **WARNED}})[rule]
    assert (verdict["value"], verdict["seen"], verdict["passed"]) == (value, seen, passed)


def test_every_rule_of_a_section_has_a_measure():
    optional = ("lateness", "stale_run", "jump", "disorder", "filled")
    level = service_level(no_trade_bars="filled", **{name: {"at_most": 1, **WARNED} for name in optional})
    assert set(level.limits) == set(RULES)


# Splits nobody was told of


@pytest.mark.parametrize(
    ("last_close", "next_open", "named"),
    [
        pytest.param(645.57, 92.70, "7:1", id="Apple on 9 June 2014"),
        pytest.param(101.25, 50.50, "2:1", id="Apple on 21 June 2000, which then rose a tenth"),
        pytest.param(499.23, 127.58, "4:1", id="Apple on 31 August 2020"),
        pytest.param(60, 40.5, "3:2", id="three for two"),
        pytest.param(0.98, 9.9, "1:10", id="a reverse split"),
        pytest.param(100, 80, None, id="a fall by a fifth"),
        pytest.param(100, 57, None, id="a fall that no split is as large as"),
        pytest.param(100, 100, None, id="no move at all"),
    ],
)
def test_a_move_as_large_as_a_split_is_named(last_close, next_open, named):
    found = suspected_split(last_close, next_open)
    assert found == (None if named is None else f"looks like a {named} split that was not adjusted for")


def test_jumps_are_listed_with_the_split_that_would_explain_them():
    bars = daily(100, 50, 51, 30)
    none = pl.DataFrame(schema={"ex_date": pl.Date, "kind": pl.String, "value": pl.Float64})
    assert jumps(bars, none, limit=0.25).select("session", "looks_like").rows() == [
        (session(1), "looks like a 2:1 split that was not adjusted for"),
        (session(3), None),
    ]
    known = pl.DataFrame([(session(1), "split", 2.0)], none.schema, orient="row")
    assert jumps(bars, known, limit=0.25)["session"].to_list() == [session(3)]


# The block


@pytest.mark.parametrize(
    ("n_failed", "share", "blocked"),
    [
        pytest.param(0, 0.0, False, id="nobody failed"),
        pytest.param(1, 0.0, True, id="one is more than none"),
        pytest.param(3, 0.5, False, id="exactly the share does not block"),
        pytest.param(4, 0.5, True, id="more than the share blocks"),
        pytest.param(6, 1.0, False, id="a share of one never blocks"),
    ],
)
def test_the_newest_session_blocks_when_more_than_the_share_failed(n_failed, share, blocked):
    names = "ABCDEF"
    record = record_of(**{name: [False, n < n_failed] for n, name in enumerate(names)})
    found = block(record, block_share=share)
    assert (found.session, found.n_instruments) == (session(1), 6)
    assert found.failed == tuple(names[:n_failed])
    assert found.blocked is blocked


def test_only_the_newest_session_blocks():
    assert not block(record_of(X=[True, False], Y=[True, False]), block_share=0).blocked


def test_a_rule_that_warns_does_not_block():
    level = service_level(completeness={"severity": "warn"})
    record = verdicts(counts({"accepted": 0}), {"completeness": level.completeness})
    assert not block(record, block_share=0).blocked


def test_without_a_record_nothing_is_blocked():
    found = block(record_of(X=[False]).clear(), block_share=0)
    assert found == (None, (), 0, False)


# The embargo

NIGHTS = [
    pytest.param("....", "....", id="nothing fails, nothing is held back"),
    pytest.param("x...", ".x..", id="a failure acts in the session after it, never in its own"),
    pytest.param("xx..", ".xx.", id="it lasts until the session after the next pass"),
    pytest.param("x.x.", ".x.x", id="each failure acts by itself"),
    pytest.param("...x", "....", id="the newest failure acts on a session that is still to come"),
]


@pytest.mark.parametrize(("failed", "held_back"), NIGHTS)
def test_an_instrument_is_embargoed_in_the_session_after_a_failed_one(failed, held_back):
    found = embargoed(record_of(X=[mark == "x" for mark in failed]))
    assert found["X"] == [mark == "x" for mark in held_back]


def test_a_failure_of_one_instrument_holds_back_no_other():
    assert embargoed(record_of(X=[True, True], Y=[False, False])) == {"X": [False, True], "Y": [False, False]}


def test_the_next_judged_session_is_held_back_also_after_days_without_one():
    rows = [{"session": session(0), "accepted": 0}, {"session": session(3)}]  # Friday and Monday
    record = verdicts(counts(*rows), service_level().limits)
    assert embargo(record).select("session", "embargoed").rows() == [(session(0), False), (session(3), True)]


@given(st.lists(st.booleans(), min_size=1, max_size=8), st.data())
def test_a_verdict_reaches_the_next_session_and_no_other(failed, data):
    judged_on = data.draw(st.integers(0, len(failed) - 1))
    changed = [not fails if n == judged_on else fails for n, fails in enumerate(failed)]
    before, after = embargoed(record_of(X=failed))["X"], embargoed(record_of(X=changed))["X"]
    assert after == [not held_back if n == judged_on + 1 else held_back for n, held_back in enumerate(before)]
