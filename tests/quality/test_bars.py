"""The judge against a twin that looks at one row after another, and each rule against a row that breaks it alone."""

import math
from datetime import UTC, date, datetime, timedelta

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.bars import COLUMNS
from quality import tables
from quality.bars import ROW_RULES, digests, filled_bars, judge, moments
from tests.makers import DAY, GOOD, SESSION, START, closes_of, due_bars, receipts_of, received
from tests.oracles import digested, filled, judged

NAN = float("nan")
MINUTE = timedelta(minutes=1)
FIVE_MINUTES = 5 * MINUTE
POLICIES = ("refuse", "keep_last")

# Two sessions that are not UTC days: one begins on the evening before its date, the other between two clock marks.
EVENING = START - 15 * MINUTE
NEXT = SESSION + DAY
DUE = pl.concat(
    [
        due_bars(6, start=EVENING).with_columns(session=pl.lit(SESSION)),
        due_bars(3, start=START + 32 * MINUTE).with_columns(session=pl.lit(NEXT)),
    ]
)
CLOSES = pl.DataFrame(
    [
        (SESSION - DAY, EVENING - 9 * FIVE_MINUTES, EVENING - 2 * FIVE_MINUTES),
        (SESSION, EVENING, START + 15 * MINUTE),
        (NEXT, START + 32 * MINUTE, START + 47 * MINUTE),
        (NEXT + DAY, START + 47 * MINUTE, START + DAY),  # opens as the one before it closes
    ],
    {"session": pl.Date, "open": tables.TS, "close": tables.TS},
    orient="row",
)

instants = st.one_of(
    st.sampled_from(DUE["ts"].to_list()),
    st.sampled_from(DUE["ts"].to_list()[:2]),
    st.integers(-3, 13).map(lambda i: EVENING + i * FIVE_MINUTES),
    st.sampled_from([None, START + MINUTE, START + 27 * MINUTE, START + 47 * MINUTE, START + 2 * DAY]),
)
changes = st.one_of(
    st.just({}),
    st.just({}),
    st.sampled_from([{"close": 11 * (1 + 1e-13)}, {"close": 11 * (1 + 1e-9)}, {"close": 10.5}]),
    st.fixed_dictionaries(
        {},
        optional=dict.fromkeys(("open", "high", "low", "close"), st.sampled_from([None, NAN, math.inf, 0, -1, 10, 20])),
    ),
    st.fixed_dictionaries({"volume": st.sampled_from([None, NAN, -1, 0.0, -0.0, math.inf])}),
)
rows = st.lists(
    st.builds(
        lambda sequence, ts, change: {"sequence": sequence, "ts": ts, **change}, st.integers(1, 4), instants, changes
    ),
    max_size=25,
)
CAME = [START + 7 * MINUTE, START + DAY, START + 2 * DAY, START + 3 * DAY]  # the first receipt, among open bars
SPANS = [(SESSION, SESSION), (SESSION, NEXT), (NEXT, NEXT), (SESSION - 3 * DAY, SESSION), (SESSION - DAY, NEXT + DAY)]


def receipts(spans):
    spoken = [(n, at, *span) for n, (at, span) in enumerate(zip(CAME, spans, strict=True), start=1)]
    columns = {"sequence": pl.Int64, "received_at": tables.TS, "first_session": pl.Date, "last_session": pl.Date}
    return pl.DataFrame(spoken, columns, orient="row")


def from_files(said, extents):
    """Receipts of which some were read from files: those with an extent, which has no ends where no row had a ts."""
    told = [("pulled", None, None) if extent is None else ("files", *extent) for extent in extents]
    columns = {"source": pl.String, "first": tables.TS, "last": tables.TS}
    return said.hstack(pl.DataFrame(told, columns, orient="row"))


ends = st.integers(-3, 13).map(lambda i: EVENING + i * FIVE_MINUTES)
extents = st.none() | st.just((None, None)) | st.tuples(ends, ends).map(sorted).map(tuple)
every_receipt = st.builds(
    from_files,
    st.lists(st.sampled_from(SPANS), min_size=4, max_size=4).map(receipts),
    st.lists(extents, min_size=4, max_size=4),
)
ranges = st.sampled_from([(SESSION, NEXT), (SESSION, SESSION), (NEXT, NEXT)])


def judge_all(raw, said, *, first=SESSION, last=NEXT, **policy):
    due = DUE.filter(pl.col("session").is_between(first, last))
    overlapping = said.filter(pl.col("last_session") >= first, pl.col("first_session") <= last)
    known = said.join(raw, on="sequence", how="semi").vstack(overlapping).unique().sort("sequence")
    return judge(raw, known, due, CLOSES, first=first, last=last, timeframe="5m", **policy)


def judge_rows(*rows, due=None, receipts=None, timeframe="5m", **policy):
    """What becomes of a few rows of one session, or of as many as are due."""
    raw, due = received(*rows), due_bars(3) if due is None else due
    said = receipts_of(raw) if receipts is None else receipts
    closes = closes_of(due)
    first, last = due["session"].min(), due["session"].max()
    return judge(raw, said, due, closes, first=first, last=last, timeframe=timeframe, **policy)


def by_ts(accepted):
    return [(row["session"], row["ts"], *(row[name] for name in COLUMNS), row["sequence"]) for row in accepted]


def plain(values):
    """Values that compare: NaN equals itself."""
    return [["NaN" if value != value else value for value in row] for row in values]  # noqa: PLR0124


def told(row):
    """A restatement as the twin says it."""
    old = {name: row[name] for name in COLUMNS}
    new = None if row["kind"] == "withdrawn" else {name: row[f"new_{name}"] for name in COLUMNS}
    return (row["kind"], row["ts"], row["sequence"], row["line"], str(old), str(new))


def count_of(found):
    row = found.counts.row(0, named=True)
    return {name: row[name] for name in ("received", "refused", "null_rows", "conflicting", "identical")}


# Against the twin


@given(rows, every_receipt, ranges, st.sampled_from(POLICIES), st.sampled_from([None, 1.5]))
def test_the_judge_says_what_its_slow_twin_says(rows, said, span, policy, ratio):
    raw = received(*rows)
    first, last = span
    found = judge_all(raw, said, first=first, last=last, on_conflict=policy, max_range_ratio=ratio)
    expected = judged(
        raw.to_dicts(),
        said.to_dicts(),
        DUE.filter(pl.col("session").is_between(first, last)).to_dicts(),
        CLOSES.to_dicts(),
        first=first,
        last=last,
        length=FIVE_MINUTES,
        keep_last=policy == "keep_last",
        max_range=ratio,
    )
    session_of = dict(DUE.select("ts", "session").iter_rows())
    accepted = [{**row, "session": session_of[ts]} for ts, row in expected["accepted"].items()]
    assert plain(by_ts(found.accepted.to_dicts())) == plain(by_ts(accepted))
    refused = {(row["sequence"], row["line"]): set(row["rules"]) for row in found.quarantined.to_dicts()}
    assert refused == expected["quarantined"]
    assert {row.pop("session"): row for row in found.counts.to_dicts()} == expected["counts"]
    wanted = {
        (*labels, str({name: old[name] for name in COLUMNS}), str(new and {name: new[name] for name in COLUMNS}))
        for *labels, old, new in expected["restatements"]
    }
    assert {told(row) for row in found.restatements.to_dicts()} == wanted
    assert found.restatements.height == len(expected["restatements"])


@given(rows, every_receipt, st.sampled_from(POLICIES))
@settings(max_examples=20)
@pytest.mark.slow
def test_a_range_judged_in_parts_is_the_range_judged_at_once(rows, said, policy):
    raw = received(*rows)
    whole = judge_all(raw, said, on_conflict=policy)
    parts = [judge_all(raw, said, first=one, last=one, on_conflict=policy) for one in (SESSION, NEXT)]
    for name in ("accepted", "counts", "restatements"):
        assert getattr(whole, name).equals(pl.concat(getattr(part, name) for part in parts)), name
    line = ["sequence", "line"]
    assert whole.quarantined.sort(line).equals(pl.concat(part.quarantined for part in parts).sort(line))


@given(rows, every_receipt)
@settings(max_examples=20)
@pytest.mark.slow
def test_every_row_is_refused_once_or_stands_behind_one_accepted_bar(rows, said):
    raw = received(*rows)
    found = judge_all(raw, said)
    refused = found.quarantined.select("sequence", "line")
    owned = raw.filter(pl.col("ts").is_in(DUE["ts"].to_list()))
    kept = owned.join(refused, on=("sequence", "line"), how="anti")
    assert refused.is_unique().all()
    assert set(kept["ts"]) == set(found.accepted["ts"])
    assert found.accepted["ts"].is_unique().all()
    assert found.accepted["ts"].is_sorted()


@given(rows)
@settings(max_examples=25)
@pytest.mark.slow
def test_one_receipt_is_accounted_for_row_by_row(rows):
    raw = received(*({**row, "sequence": 2} for row in rows)).filter(pl.col("ts") < START + 47 * MINUTE)
    found = judge_all(raw.filter(pl.col("ts") > CLOSES["close"][0]), receipts([(SESSION, NEXT)] * 4).filter(sequence=2))
    alone = ~pl.col("rules").list.contains("conflicting_duplicate")
    refused = found.quarantined.filter(alone)["ts"]
    refused_copies = refused.len() - refused.n_unique()  # identical rows that are refused are counted as both
    total = found.counts.select(pl.exclude("session")).sum().row(0, named=True)
    assert total["received"] == raw.filter(pl.col("ts") > CLOSES["close"][0]).height
    assert total["refused"] == found.quarantined.height
    assert found.accepted.height == total["received"] - total["refused"] - (total["identical"] - refused_copies)


@given(rows, every_receipt, st.randoms(use_true_random=False), st.sampled_from(POLICIES))
@settings(max_examples=15)
@pytest.mark.slow
def test_the_order_in_which_rows_are_read_changes_nothing(rows, said, random, policy):
    raw = received(*rows)
    shuffled = raw[random.sample(range(raw.height), raw.height)]
    one, other = (judge_all(one, said, on_conflict=policy) for one in (raw, shuffled))
    line = ["sequence", "line"]
    assert one.quarantined.sort(line).equals(other.quarantined.sort(line))
    assert one.accepted.equals(other.accepted)
    assert one.counts.equals(other.counts)
    assert one.restatements.equals(other.restatements)


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
    pytest.param({"volume": NAN}, {"unreadable_volume"}, id="a volume that is written and no number"),
    pytest.param({"volume": math.inf}, {"unreadable_volume"}, id="a volume without bound"),
    pytest.param({"volume": -math.inf}, {"negative_volume", "unreadable_volume"}, id="and below zero"),
    pytest.param({"high": 1000}, {"improbable_range"}, id="a high out of all proportion to the low"),
    pytest.param({"ts": START + MINUTE}, {"off_grid"}, id="a stamp between two bars"),
    pytest.param({"ts": START - FIVE_MINUTES}, {"off_session"}, id="a bar before the session"),
    pytest.param({"received_at": START + 4.9 * MINUTE}, {"unclosed_bar"}, id="a bar not closed yet"),
    pytest.param(
        {"high": 1, "low": 30, "volume": -1}, {"high_below_body", "low_above_body", "negative_volume"}, id="all"
    ),
]
KEPT = [
    pytest.param({}, id="a good bar"),
    pytest.param({"volume": None}, id="no volume where the venue prints none"),
    pytest.param({"volume": 0}, id="nothing traded"),
    pytest.param({"open": 10, "high": 10, "low": 10, "close": 10}, id="a bar that did not move"),
    pytest.param({"high": 900}, id="a range as wide as is allowed"),
    pytest.param({"received_at": START + FIVE_MINUTES}, id="received in the moment it closed"),
]


@pytest.mark.parametrize(("change", "rules"), BROKEN)
def test_a_row_that_breaks_a_rule_is_quarantined_with_every_rule_it_breaks(change, rules):
    found = judge_rows(change, max_range_ratio=100)
    assert found.accepted.is_empty()
    assert [set(row) for row in found.quarantined["rules"]] == [rules]
    assert found.quarantined["session"].item() == SESSION


@pytest.mark.parametrize("change", KEPT)
def test_a_row_that_keeps_every_rule_is_the_accepted_bar(change):
    found = judge_rows(change, max_range_ratio=100)
    assert found.quarantined.is_empty()
    expected = [change.get(name, value) for name, value in GOOD.items()]
    assert found.accepted.select(GOOD.keys()).row(0) == tuple(expected)


def test_the_named_rows_break_every_rule_there_is():
    named = set().union(*(case.values[1] for case in BROKEN))
    assert named | {"conflicting_duplicate"} == set(ROW_RULES)


def test_a_daily_bar_lies_on_midnight():
    found = judge_rows({"ts": START}, {"ts": START + DAY / 2}, due=due_bars(2, step=DAY), timeframe="1d")
    assert found.accepted["ts"].to_list() == [START]
    assert found.quarantined["rules"].to_list() == [["off_grid"]]


def test_nothing_received_is_judged_too():
    assert [part.height for part in judge_rows()] == [0, 0, 0, 0]


# The session of a row


@pytest.mark.parametrize(
    ("ts", "session", "rules"),
    [
        pytest.param(EVENING, SESSION, None, id="a due bar is of its session, not of its date"),
        pytest.param(EVENING - FIVE_MINUTES, SESSION, ["off_session"], id="before the open: of the session to come"),
        pytest.param(START + 15 * MINUTE, SESSION, ["off_session"], id="a print at the close: of the session closing"),
        pytest.param(START + 20 * MINUTE, NEXT, ["off_session"], id="after the close: of the session to come"),
        pytest.param(START + 27 * MINUTE, NEXT, ["off_session"], id="on the grid counted from the session's open"),
        pytest.param(START + 28 * MINUTE, NEXT, ["off_grid"], id="on neither grid"),
        pytest.param(START + 40 * MINUTE, NEXT, ["off_session"], id="on the clock's grid inside a session off it"),
    ],
)
def test_a_row_is_of_the_session_that_owns_its_moment(ts, session, rules):
    found = judge_all(
        received({"ts": ts}), receipts([(SESSION, NEXT)] * 4).head(1).with_columns(received_at=START + DAY)
    )
    if rules is None:
        assert found.accepted["session"].to_list() == [session]
    else:
        assert found.quarantined.select("session", "rules").rows() == [(session, rules)]


@pytest.mark.parametrize(
    "ts",
    [
        pytest.param(EVENING - 10 * MINUTE, id="at the close of the session before the range"),
        pytest.param(START + 47 * MINUTE, id="where one session's close is another's open"),
        pytest.param(START + 2 * DAY, id="beyond the last session"),
    ],
)
def test_a_row_of_another_session_is_left_to_the_range_that_owns_it(ts):
    assert [part.height for part in judge_all(received({"ts": ts}), receipts([(SESSION, NEXT)] * 4))] == [0, 0, 0, 0]


def test_around_the_clock_midnight_is_of_the_day_it_begins_also_where_no_bar_is_due():
    days = [SESSION - DAY, SESSION, SESSION + DAY]
    closes = pl.DataFrame({"session": days}).with_columns(open=pl.col("session").cast(tables.TS))
    closes = closes.with_columns(close=pl.col("open") + DAY)
    raw = received({})
    due = due_bars(0)  # before its listing nothing is due
    found = judge(raw, receipts_of(raw), due, closes, first=SESSION, last=SESSION, timeframe="5m")
    assert found.quarantined.select("session", "rules").rows() == [(SESSION, ["off_session"])]


@pytest.mark.parametrize(
    ("asked", "session"),
    [
        pytest.param(NEXT, NEXT, id="the first session its receipt speaks for"),
        pytest.param(SESSION - 3 * DAY, None, id="a session before the range has it"),
    ],
)
def test_a_row_without_a_stamp_is_counted_once(asked, session):
    said = receipts([(asked, NEXT)] * 4)
    found = judge_all(received({"ts": None, "sequence": 2}), said)
    assert found.quarantined["session"].to_list() == ([] if session is None else [session])


def test_a_row_without_a_stamp_that_was_asked_for_on_a_day_off_is_of_the_session_after_it():
    due = due_bars(2, step=3 * DAY)  # Friday and Monday
    raw = received({"ts": None, "first_session": SESSION + DAY})
    said = receipts_of(raw).with_columns(last_session=SESSION + 3 * DAY)
    found = judge_rows({"ts": None, "first_session": SESSION + DAY}, due=due, receipts=said)
    assert found.quarantined["session"].to_list() == [SESSION + 3 * DAY]


# Several rows for one moment


def test_identical_rows_of_a_receipt_are_counted_and_one_is_kept():
    found = judge_rows({}, {}, {})
    assert found.accepted.height == 1
    assert found.quarantined.is_empty()
    assert count_of(found) == {"received": 3, "refused": 0, "null_rows": 0, "conflicting": 0, "identical": 2}


def test_conflicting_rows_of_a_receipt_are_all_refused():
    found = judge_rows({}, {"close": 10.5}, {})
    assert found.accepted.is_empty()
    assert found.quarantined["rules"].to_list() == [["conflicting_duplicate"]] * 3
    assert count_of(found) == {"received": 3, "refused": 3, "null_rows": 0, "conflicting": 3, "identical": 0}


def test_where_the_last_is_kept_the_rows_before_it_count_in_no_rule():
    found = judge_rows({"high": 1, "close": None}, {"close": 10.5}, on_conflict="keep_last")
    assert found.accepted["close"].to_list() == [10.5]
    assert found.quarantined.is_empty()
    assert count_of(found) == {"received": 2, "refused": 0, "null_rows": 0, "conflicting": 0, "identical": 0}


def test_a_last_row_that_breaks_a_rule_leaves_no_bar_behind():
    found = judge_rows({}, {"close": None}, on_conflict="keep_last")
    assert found.accepted.is_empty()
    assert found.quarantined["rules"].to_list() == [["null_ohlc"]]


def test_rows_of_different_receipts_do_not_conflict():
    found = judge_rows({}, {"sequence": 2, "close": 10.5})
    assert found.quarantined.is_empty()
    assert found.accepted.select("close", "sequence").rows() == [(10.5, 2)]


def test_a_session_is_counted_in_the_newest_receipt_that_speaks_for_it():
    found = judge_rows({"close": None}, {"sequence": 2})
    assert found.counts["received"].item() == 1
    assert found.counts["refused"].item() == 0
    assert found.quarantined.height == 1


def test_a_later_receipt_for_another_session_that_strays_into_this_one_is_not_counted_in_it():
    said = receipts([(NEXT, NEXT), (SESSION, SESSION), (NEXT, NEXT), (SESSION, SESSION)]).head(2)
    raw = received({"ts": DUE["ts"][6], "sequence": 1}, {"ts": START + 20 * MINUTE, "sequence": 2})
    found = judge_all(raw, said.with_columns(received_at=START + DAY))
    assert found.quarantined["session"].to_list() == [NEXT]
    assert found.counts.filter(session=NEXT).select("received", "refused").row(0) == (1, 0)


def test_files_of_parts_of_a_session_are_counted_together():
    extents = [(EVENING, START), (START + FIVE_MINUTES, START + 10 * MINUTE)]
    said = from_files(receipts([(SESSION, SESSION)] * 4).slice(2), extents)
    stamps = DUE["ts"].to_list()[:6]
    raw = received(*({"ts": ts, "sequence": 3 if ts <= START else 4, "close": None} for ts in stamps))
    assert count_of(judge_all(raw, said)) | {"received": 6, "refused": 6, "null_rows": 6} == count_of(
        judge_all(raw, said)
    )


def test_a_file_that_came_again_takes_the_place_of_the_first_in_the_counts():
    said = from_files(receipts([(SESSION, SESSION)] * 4).slice(2), [(EVENING, START)] * 2)
    raw = received({"ts": EVENING, "sequence": 3, "close": None}, {"ts": EVENING, "sequence": 4})
    assert count_of(judge_all(raw, said)) | {"received": 1, "refused": 0} == count_of(judge_all(raw, said))


# Order and lateness


def minutes_of(*order):
    return [{"ts": START + minute * FIVE_MINUTES} for minute in order]


@pytest.mark.parametrize(
    ("order", "disordered"),
    [
        pytest.param((0, 1, 2), 0, id="in order"),
        pytest.param((0, 2, 1), 1, id="one arrived before an earlier one"),
        pytest.param((1, 2, 0), 2, id="two did"),
        pytest.param((2, 1, 0), 2, id="newest first"),
        pytest.param((0, 0, 1), 0, id="the same again is not earlier"),
    ],
)
def test_rows_that_arrived_before_an_earlier_one_are_counted(order, disordered):
    assert judge_rows(*minutes_of(*order)).counts["disordered"].item() == disordered


@pytest.mark.parametrize(
    ("spans", "late"),
    [
        pytest.param([(SESSION, SESSION)], 1435, id="a receipt of one session is timed"),
        pytest.param([(SESSION - DAY, SESSION)], None, id="a receipt of several is a backfill"),
        pytest.param([(SESSION, NEXT)] * 2, None, id="what a backfill brought first is not timed by what came after"),
        pytest.param([(SESSION, SESSION)] * 2, 1435, id="what came again was received when it came first"),
    ],
)
def test_lateness_is_from_the_close_of_a_bar_until_it_was_first_received(spans, late):
    raw = received(*({"sequence": n} for n, _ in enumerate(spans, start=1)))
    at = [START + DAY, START + 9 * DAY]
    said = [(n, at[n - 1], *span) for n, span in enumerate(spans, start=1)]
    columns = receipts([(SESSION, SESSION)] * 4).schema
    due = due_bars(3)
    found = judge(
        raw,
        pl.DataFrame(said, columns, orient="row"),
        due,
        closes_of(due),
        first=SESSION,
        last=SESSION,
        timeframe="5m",
    )
    assert found.counts["lateness_minutes"].item() == late


def test_a_row_that_was_refused_at_first_was_received_when_it_was_good():
    first = {"sequence": 1, "received_at": START + MINUTE}  # before the bar closed
    again = {"sequence": 2, "received_at": START + 10 * MINUTE}
    assert judge_rows(first, again).counts["lateness_minutes"].item() == 5


# Filled bars


@given(st.sets(st.integers(0, 8)), st.sampled_from([0, 1]))
def test_bars_are_filled_as_the_slow_twin_fills_them(present, n_before):
    bars = (
        DUE[sorted(present)]
        .select("session", "ts")
        .with_columns(*(pl.lit(value).alias(name) for name, value in GOOD.items()), sequence=pl.lit(1, pl.Int64))
    )
    bars = bars.with_columns(close=pl.int_range(pl.len()) + 10.0)
    before = (
        bars.clear()
        if n_before == 0
        else pl.DataFrame([(SESSION - DAY, EVENING - DAY, 7, 7, 7, 7, 1, 1)], bars.schema, orient="row")
    )
    found = filled_bars(bars, DUE, before)
    assert found.columns == bars.columns
    assert dict(found.select("ts", "close").iter_rows()) == filled(bars.to_dicts(), DUE.to_dicts(), before.to_dicts())
    for name in ("open", "high", "low"):
        assert found[name].equals(found["close"].alias(name))
    assert set(found["volume"]) <= {0.0}
    assert found["ts"].is_sorted()


# Digests

values = st.one_of(st.floats(0.5, 2, width=16), st.sampled_from([0.0, -0.0]))
bars = st.lists(
    st.fixed_dictionaries({**dict.fromkeys(COLUMNS[:-1], values), "volume": values | st.none()}), min_size=1, max_size=9
)


def accepted(bars):
    stamps = DUE.select("session", "ts").to_dicts()
    schema = {"session": pl.Date, "ts": DUE.schema["ts"], **dict.fromkeys(COLUMNS, pl.Float64)}
    return pl.DataFrame([{**stamp, **bar} for stamp, bar in zip(stamps, bars, strict=False)], schema)


def test_a_moment_belongs_to_one_session_and_a_close_to_the_next_where_that_opens_then() -> None:
    at = [datetime(2024, 1, day, hour, tzinfo=UTC) for day, hour in [(1, 9), (1, 17), (2, 9), (2, 17), (2, 17), (3, 0)]]
    days = [date(2024, 1, 1), date(2024, 1, 2), date(2024, 1, 3)]
    found = moments(pl.DataFrame({"session": days, "open": at[0::2], "close": at[1::2]}))
    after = at[1] + timedelta(microseconds=1)
    assert found["begin"].to_list()[1:] == [after, at[3]]
    assert found["end"].to_list() == [after, at[3], at[5] + timedelta(microseconds=1)]
    assert found["begin"][0] < at[0] - timedelta(days=36_500)


@given(bars)
def test_digests_are_those_of_the_slow_twin(bars):
    frame = accepted(bars)
    found = {session: (digest, n_bars) for session, digest, n_bars in digests(frame).iter_rows()}
    assert found == digested(frame.to_dicts())


@given(bars, st.data())
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
