"""Service levels against arithmetic done by hand, and what a verdict may reach: the session after, never its own."""

from datetime import date

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quality.bars import judge
from quality.sla import block, count_sessions, embargo, failed_sessions, verdicts
from tests.makers import DAY, SESSION, START, due_bars, received, service_level

RULES = ("completeness", "duplicates", "nan", "quarantined")
QUIET = {"due": 288, "accepted": 288, "received": 288, "refused": 0, "null_rows": 0, "conflicting": 0}


def session(n: int) -> date:
    return SESSION + n * DAY


def counts(*rows, **usual):
    return pl.DataFrame([{"session": SESSION, "instrument": "X", **QUIET, **usual, **row} for row in rows])


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
    expected = [(session(n), name, rule) for n in (0, 1) for name in "XY" for rule in RULES]
    assert record.select("session", "instrument", "rule").rows() == expected
    assert record["limit"].to_list() == [0.99, 0.0, 0.0, 0.01] * 4


def test_a_session_in_which_nothing_is_due_passes_without_a_value():
    found = judged({"due": 0, "accepted": 0, "received": 5, "refused": 5, "null_rows": 5, "conflicting": 5})
    assert {name: (row["value"], row["passed"]) for name, row in found.items()} == dict.fromkeys(RULES, (None, True))


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
    result = judge(received({}, {}, {"ts": due["ts"][1], "close": None}), due, timeframe="5m")
    counted = count_sessions([session(0), session(1)], due, result)
    assert counted.to_dicts() == [
        {
            "session": session(0),
            "due": 3,
            "accepted": 1,
            "received": 3,
            "refused": 1,
            "null_rows": 1,
            "conflicting": 0,
            "identical": 1,
        },
        {"session": session(1), **dict.fromkeys(counted.columns[1:], 0)},
    ]


def test_where_nothing_came_everything_is_missing():
    due = due_bars(2, start=START, step=DAY)
    counted = count_sessions([session(0), session(1)], due, judge(received(), due, timeframe="1d"))
    record = verdicts(counted.with_columns(instrument=pl.lit("X")), service_level().limits)
    missing = record.filter(pl.col("rule") == "completeness")
    assert missing["value"].to_list() == [0, 0]
    assert failed_sessions(record)["failed"].to_list() == [True, True]


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
@settings(max_examples=50)
def test_a_verdict_reaches_the_next_session_and_no_other(failed, data):
    judged_on = data.draw(st.integers(0, len(failed) - 1))
    changed = [not fails if n == judged_on else fails for n, fails in enumerate(failed)]
    before, after = embargoed(record_of(X=failed))["X"], embargoed(record_of(X=changed))["X"]
    assert after == [not held_back if n == judged_on + 1 else held_back for n, held_back in enumerate(before)]
