"""The judge against a twin that looks at one row after another, and each rule against a row that breaks it alone."""

import math
from datetime import date, timedelta

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.bars import COLUMNS
from quality.bars import ROW_RULES, digests, judge
from tests.makers import DAY, GOOD, SESSION, START, due_bars, received
from tests.oracles import digested, judged

NAN = float("nan")
FIVE_MINUTES = timedelta(minutes=5)
POLICIES = ("refuse", "keep_last")

# Two sessions that are not UTC days: the first begins on the evening before its date.
EVENING = START - timedelta(minutes=15)
DUE = due_bars(9, start=EVENING).with_columns(
    session=pl.when(pl.col("ts") < START + timedelta(minutes=15)).then(pl.lit(SESSION)).otherwise(pl.lit(SESSION + DAY))
)

moments = st.one_of(
    st.integers(-1, 9).map(lambda i: EVENING + i * FIVE_MINUTES),  # the first and the last are not due
    st.sampled_from([None, START + timedelta(minutes=1)]),
)
changes = st.one_of(
    st.just({}),
    st.just({}),
    st.sampled_from([{"close": 11 * (1 + 1e-13)}, {"close": 11 * (1 + 1e-9)}, {"close": 10.5}]),
    st.fixed_dictionaries(
        {},
        optional=dict.fromkeys(("open", "high", "low", "close"), st.sampled_from([None, NAN, math.inf, 0, -1, 10, 20])),
    ),
    st.fixed_dictionaries({"volume": st.sampled_from([None, NAN, -1, 0.0, -0.0])}),
)
CAME = {1: START + timedelta(minutes=7), 2: START + DAY, 3: START + 2 * DAY}  # the first receipt, among open bars
rows = st.lists(
    st.builds(
        lambda sequence, ts, change: {"sequence": sequence, "received_at": CAME[sequence], "ts": ts, **change},
        st.sampled_from(list(CAME)),
        moments,
        changes,
    ),
    max_size=25,
)


def by_ts(accepted):
    return [(row["session"], row["ts"], *(row[name] for name in COLUMNS), row["sequence"]) for row in accepted]


def plain(values):
    """Values that compare: NaN equals itself."""
    return [["NaN" if value != value else value for value in row] for row in values]  # noqa: PLR0124


# Against the twin


@given(rows, st.sampled_from(POLICIES))
@settings(max_examples=100)
def test_the_judge_says_what_its_slow_twin_says(rows, policy):
    raw = received(*rows)
    found = judge(raw, DUE, timeframe="5m", on_conflict=policy)
    expected = judged(raw.to_dicts(), DUE.to_dicts(), length=FIVE_MINUTES, keep_last=policy == "keep_last")

    session_of = dict(DUE.select("ts", "session").iter_rows())
    accepted = [{**row, "session": session_of[ts]} for ts, row in expected["accepted"].items()]
    assert plain(by_ts(found.accepted.to_dicts())) == plain(by_ts(accepted))
    refused = {(row["sequence"], row["line"]): set(row["rules"]) for row in found.quarantined.to_dicts()}
    assert refused == expected["quarantined"]
    assert {row.pop("session"): row for row in found.counts.to_dicts()} == expected["counts"]


@given(rows)
@settings(max_examples=50)
def test_every_row_is_refused_once_or_stands_behind_one_accepted_bar(rows):
    raw = received(*rows)
    found = judge(raw, DUE, timeframe="5m")
    refused = found.quarantined.select("sequence", "line")
    kept = raw.join(refused, on=("sequence", "line"), how="anti")
    assert refused.is_unique().all()
    assert refused.height + kept.height == raw.height
    assert set(kept["ts"]) == set(found.accepted["ts"])
    assert found.accepted["ts"].is_unique().all()
    assert found.accepted["ts"].is_sorted()


@given(rows)
@settings(max_examples=50)
def test_one_receipt_is_accounted_for_row_by_row(rows):
    raw = received(*({**row, "sequence": 1, "received_at": CAME[1]} for row in rows))
    found = judge(raw, DUE, timeframe="5m")
    alone = ~pl.col("rules").list.contains("conflicting_duplicate") & pl.col("ts").is_not_null()
    refused = found.quarantined.filter(alone)["ts"]
    refused_copies = refused.len() - refused.n_unique()  # identical rows that are refused are counted as both
    total = found.counts.select(pl.exclude("session")).sum().row(0, named=True)
    assert total["received"] == len(rows)
    assert total["refused"] == found.quarantined.height
    assert found.accepted.height == total["received"] - total["refused"] - (total["identical"] - refused_copies)


@given(rows, st.randoms(use_true_random=False))
@settings(max_examples=25)
def test_the_order_in_which_rows_are_read_changes_nothing(rows, random):
    raw = received(*rows)
    shuffled = raw[random.sample(range(raw.height), raw.height)]
    one, other = judge(raw, DUE, timeframe="5m"), judge(shuffled, DUE, timeframe="5m")
    assert one.accepted.equals(other.accepted)
    assert one.counts.equals(other.counts)
    line = ["sequence", "line"]
    assert one.quarantined.sort(line).equals(other.quarantined.sort(line))


# One row per rule

BROKEN = [
    pytest.param({"ts": None}, {"unparsable_ts"}, id="a stamp that could not be read"),
    pytest.param({"close": None}, {"null_ohlc"}, id="a price that is missing"),
    pytest.param({"open": NAN}, {"null_ohlc"}, id="a price that is not a number"),
    pytest.param({"high": math.inf}, {"null_ohlc"}, id="a price without bound"),
    pytest.param({"low": NAN}, {"null_ohlc"}, id="a low that is not a number is above nothing"),
    pytest.param({"open": None, "high": 1, "low": -1}, {"null_ohlc"}, id="a missing price breaks no other price rule"),
    pytest.param({"low": 0}, {"non_positive_price"}, id="a price of zero"),
    pytest.param({"low": -1}, {"non_positive_price"}, id="a price below zero"),
    pytest.param({"high": 10.9}, {"high_below_body"}, id="a high below the close"),
    pytest.param({"low": 10.1}, {"low_above_body"}, id="a low above the open"),
    pytest.param({"volume": -1}, {"negative_volume"}, id="a volume below zero"),
    pytest.param({"ts": START + timedelta(minutes=1)}, {"off_grid"}, id="a stamp between two bars"),
    pytest.param({"ts": START - FIVE_MINUTES}, {"off_session"}, id="a bar before the session"),
    pytest.param(
        {"received_at": START + timedelta(minutes=4, seconds=59)}, {"unclosed_bar"}, id="a bar not closed yet"
    ),
    pytest.param(
        {"high": 1, "low": 30, "volume": -1}, {"high_below_body", "low_above_body", "negative_volume"}, id="all"
    ),
]
KEPT = [
    pytest.param({}, id="a good bar"),
    pytest.param({"volume": None}, id="no volume where the venue prints none"),
    pytest.param({"volume": 0}, id="nothing traded"),
    pytest.param({"open": 10, "high": 10, "low": 10, "close": 10}, id="a bar that did not move"),
    pytest.param({"received_at": START + FIVE_MINUTES}, id="received in the moment it closed"),
]


@pytest.mark.parametrize(("change", "rules"), BROKEN)
def test_a_row_that_breaks_a_rule_is_quarantined_with_every_rule_it_breaks(change, rules):
    found = judge(received(change), due_bars(3), timeframe="5m")
    assert found.accepted.is_empty()
    assert [set(row) for row in found.quarantined["rules"]] == [rules]
    assert found.quarantined["session"].item() == (change.get("ts") or START).date()


@pytest.mark.parametrize("change", KEPT)
def test_a_row_that_keeps_every_rule_is_the_accepted_bar(change):
    found = judge(received(change), due_bars(3), timeframe="5m")
    assert found.quarantined.is_empty()
    expected = [change.get(name, value) for name, value in GOOD.items()]
    assert found.accepted.select(GOOD.keys()).row(0) == tuple(expected)


def test_the_named_rows_break_every_rule_there_is():
    named = set().union(*(case.values[1] for case in BROKEN))
    assert named | {"conflicting_duplicate"} == set(ROW_RULES)


def test_a_daily_bar_lies_on_midnight():
    due = due_bars(2, step=DAY)
    found = judge(received({"ts": START}, {"ts": START + DAY / 2}), due, timeframe="1d")
    assert found.accepted["ts"].to_list() == [START]
    assert found.quarantined["rules"].to_list() == [["off_grid"]]


def test_nothing_received_is_judged_too():
    found = judge(received(), due_bars(3), timeframe="5m")
    assert [part.height for part in found] == [0, 0, 0]


def test_a_bar_belongs_to_the_session_of_the_calendar_not_to_its_date():
    found = judge(received({"ts": EVENING}), DUE, timeframe="5m")
    assert EVENING.date() < SESSION
    assert found.accepted["session"].to_list() == [SESSION]


def test_a_row_without_a_stamp_belongs_to_the_first_session_its_receipt_was_asked_for():
    found = judge(received({"ts": None, "first_session": date(2024, 2, 1)}), DUE, timeframe="5m")
    assert found.counts.row(0, named=True)["session"] == date(2024, 2, 1)


# Several rows for one moment


def test_identical_rows_of_a_receipt_are_counted_and_one_is_kept():
    found = judge(received({}, {}, {}), due_bars(1), timeframe="5m")
    assert found.accepted.height == 1
    assert found.quarantined.is_empty()
    assert found.counts.row(0) == (SESSION, 3, 0, 0, 0, 2)


def test_conflicting_rows_of_a_receipt_are_all_refused():
    found = judge(received({}, {"close": 10.5}, {}), due_bars(1), timeframe="5m")
    assert found.accepted.is_empty()
    assert found.quarantined["rules"].to_list() == [["conflicting_duplicate"]] * 3
    assert found.counts.row(0) == (SESSION, 3, 3, 0, 3, 0)


def test_where_the_last_is_kept_the_rows_before_it_count_in_no_rule():
    found = judge(
        received({"high": 1, "close": None}, {"close": 10.5}), due_bars(1), timeframe="5m", on_conflict="keep_last"
    )
    assert found.accepted["close"].to_list() == [10.5]
    assert found.quarantined.is_empty()
    assert found.counts.row(0) == (SESSION, 2, 0, 0, 0, 0)


def test_a_last_row_that_breaks_a_rule_leaves_no_bar_behind():
    found = judge(received({}, {"close": None}), due_bars(1), timeframe="5m", on_conflict="keep_last")
    assert found.accepted.is_empty()
    assert found.quarantined["rules"].to_list() == [["null_ohlc"]]


def test_rows_of_different_receipts_do_not_conflict():
    found = judge(received({}, {"sequence": 2, "close": 10.5}), due_bars(1), timeframe="5m")
    assert found.quarantined.is_empty()
    assert found.accepted.select("close", "sequence").rows() == [(10.5, 2)]


def test_a_refused_restatement_leaves_the_older_bar():
    found = judge(received({}, {"sequence": 2, "high": 1}), due_bars(1), timeframe="5m")
    assert found.accepted.select("close", "sequence").rows() == [(11.0, 1)]


@pytest.mark.parametrize(
    ("factor", "sequence"),
    [
        pytest.param(1 + 0.9e-12, 1, id="within a millionth of a millionth the older bytes stay"),
        pytest.param(1 + 1.1e-12, 2, id="beyond it the bar was restated"),
    ],
)
def test_only_a_difference_beyond_float_noise_is_a_restatement(factor, sequence):
    later = {name: value * factor for name, value in GOOD.items()}
    found = judge(received({}, {"sequence": 2, **later}), due_bars(1), timeframe="5m")
    assert found.accepted["sequence"].to_list() == [sequence]
    assert found.accepted["close"].to_list() == [later["close"] if sequence == 2 else GOOD["close"]]


@pytest.mark.parametrize(
    ("older", "newer", "sequence"),
    [
        pytest.param(None, None, 1, id="unknown as before"),
        pytest.param(None, 5, 2, id="known at last"),
        pytest.param(5, None, 2, id="known no more"),
    ],
)
def test_a_volume_that_appears_or_goes_is_a_restatement(older, newer, sequence):
    found = judge(received({"volume": older}, {"sequence": 2, "volume": newer}), due_bars(1), timeframe="5m")
    assert found.accepted["sequence"].to_list() == [sequence]


def test_the_newest_receipt_wins_also_where_receipts_cover_different_bars():
    late = START + FIVE_MINUTES
    found = judge(
        received(
            {"sequence": 1},
            {"sequence": 2, "ts": late, "close": 10.2},
            {"sequence": 3, "close": 10.3},
            {"sequence": 3, "ts": late, "close": 10.3},
        ),
        due_bars(2),
        timeframe="5m",
    )
    assert found.accepted.select("close", "sequence").rows() == [(10.3, 3), (10.3, 3)]


def test_a_session_is_counted_in_its_newest_receipt_alone():
    found = judge(received({"close": None}, {"sequence": 2}), due_bars(1), timeframe="5m")
    assert found.counts.row(0) == (SESSION, 1, 0, 0, 0, 0)
    assert found.quarantined.height == 1


# Digests

values = st.one_of(st.floats(0.5, 2, width=16), st.sampled_from([0.0, -0.0]))
bars = st.lists(
    st.fixed_dictionaries({**dict.fromkeys(COLUMNS[:-1], values), "volume": values | st.none()}), min_size=1, max_size=9
)


def accepted(bars):
    stamps = DUE.select("session", "ts").to_dicts()
    schema = {"session": pl.Date, "ts": DUE.schema["ts"], **dict.fromkeys(COLUMNS, pl.Float64)}
    return pl.DataFrame([{**stamp, **bar} for stamp, bar in zip(stamps, bars, strict=False)], schema)


@given(bars)
@settings(max_examples=50)
def test_digests_are_those_of_the_slow_twin(bars):
    frame = accepted(bars)
    found = {session: (digest, n_bars) for session, digest, n_bars in digests(frame).iter_rows()}
    assert found == digested(frame.to_dicts())


@given(bars, st.data())
@settings(max_examples=50)
def test_a_digest_changes_exactly_when_a_bar_of_its_session_does(bars, data):
    at, name = data.draw(st.integers(0, len(bars) - 1)), data.draw(st.sampled_from(COLUMNS))
    value = data.draw(values)
    changed = [{**bar, name: value} if i == at else bar for i, bar in enumerate(bars)]
    before, after = digests(accepted(bars)), digests(accepted(changed))
    session = DUE["session"][at]
    differs = {row[0] for row in before.rows() + after.rows() if row not in before.rows() or row not in after.rows()}
    assert differs == (set() if bars[at][name] == value else {session})


def test_a_digest_does_not_tell_zeros_apart_nor_a_missing_volume_from_nan():
    signs = [digests(accepted([{**GOOD, "volume": zero}])) for zero in (0.0, -0.0)]
    assert signs[0].equals(signs[1])
    missing = [digests(accepted([{**GOOD, "volume": volume}])) for volume in (None, NAN)]
    assert missing[0].equals(missing[1])


def test_a_bar_less_is_another_digest():
    whole, part = (digests(accepted([GOOD] * n)) for n in (2, 1))
    assert whole["n_bars"].to_list() == [2]
    assert whole["digest"].item() != part["digest"].item()


def test_no_bars_have_no_digests():
    assert digests(accepted([])).rows() == []
