"""What a receipt changed of the past, by hand; `test_bars.py` holds all of it against a slow twin."""

from datetime import timedelta

import polars as pl
import pytest

from quality import tables
from quality.bars import judge
from tests.makers import DAY, GOOD, SESSION, START, closes_of, due_bars, received

LATE = START + timedelta(minutes=5)
DUE = due_bars(2)


def judge_receipts(*rows, n_receipts, on_conflict="refuse"):
    """What becomes of rows of receipts 1, 2, … that all speak for the session; the last may have no rows."""
    spoken = [(n, START + n * DAY, SESSION, SESSION) for n in range(1, n_receipts + 1)]
    columns = {"sequence": pl.Int64, "received_at": tables.TS, "first_session": pl.Date, "last_session": pl.Date}
    said = pl.DataFrame(spoken, columns, orient="row")
    rule = {"first": SESSION, "last": SESSION, "timeframe": "5m", "on_conflict": on_conflict}
    return judge(received(*rows), said, DUE, closes_of(DUE), **rule)


def told(found, *columns):
    return found.restatements.select("kind", "ts", "sequence", *columns).rows()


# What was changed


def test_a_bar_that_a_later_receipt_changed_is_told_with_both_values():
    found = judge_receipts({}, {"sequence": 2, "close": 10.5}, n_receipts=2)
    assert found.accepted["close"].to_list() == [10.5]
    assert told(found, "line", "received_at", "close", "new_close", "open", "new_open") == [
        ("changed", START, 2, 1, START + 2 * DAY, 11.0, 10.5, 10.0, 10.0)
    ]


@pytest.mark.parametrize(
    ("factor", "sequence"),
    [
        pytest.param(1 + 0.9e-12, 1, id="within a millionth of a millionth the older bytes stay"),
        pytest.param(1 + 1.1e-12, 2, id="beyond it the bar was restated"),
    ],
)
def test_only_a_difference_beyond_float_noise_is_a_restatement(factor, sequence):
    later = {name: value * factor for name, value in GOOD.items()}
    found = judge_receipts({}, {"sequence": 2, **later}, n_receipts=2)
    assert found.accepted["sequence"].to_list() == [sequence]
    assert found.accepted["close"].to_list() == [later["close"] if sequence == 2 else GOOD["close"]]
    assert len(told(found)) == sequence - 1


def test_noise_is_measured_from_what_is_held_and_so_does_not_add_up():
    steps = [{"sequence": n, "close": GOOD["close"] * (1 + n * 0.6e-12)} for n in range(4)]
    found = judge_receipts(*({**step, "sequence": n} for n, step in enumerate(steps, start=1)), n_receipts=4)
    assert told(found) == [("changed", START, 3)]  # the second is near the first, the fourth near the third


@pytest.mark.parametrize(
    ("older", "newer", "sequence"),
    [
        pytest.param(None, None, 1, id="unknown as before"),
        pytest.param(None, float("nan"), 1, id="unknown, written otherwise"),
        pytest.param(None, 5, 2, id="known at last"),
        pytest.param(5, None, 2, id="known no more"),
    ],
)
def test_a_volume_that_appears_or_goes_is_a_restatement(older, newer, sequence):
    found = judge_receipts({"volume": older}, {"sequence": 2, "volume": newer}, n_receipts=2)
    assert found.accepted["sequence"].to_list() == [sequence]


def test_a_refused_restatement_leaves_the_older_bar():
    found = judge_receipts({}, {"sequence": 2, "high": 1}, n_receipts=2)
    assert found.accepted.select("close", "sequence").rows() == [(11.0, 1)]
    assert told(found) == []
    assert found.quarantined["sequence"].to_list() == [2]


def test_the_newest_receipt_wins_also_where_receipts_cover_different_bars():
    found = judge_receipts(
        {"sequence": 1},
        {"sequence": 2, "ts": LATE, "close": 10.2},
        {"sequence": 3, "close": 10.3},
        {"sequence": 3, "ts": LATE, "close": 10.3},
        n_receipts=3,
    )
    assert found.accepted.select("close", "sequence").rows() == [(10.3, 3), (10.3, 3)]
    assert told(found, "close") == [
        ("withdrawn", START, 2, 11.0),
        ("changed", START, 3, 11.0),
        ("changed", LATE, 3, 10.2),
    ]


# What was withdrawn


def test_a_bar_that_a_later_receipt_lacks_is_kept_and_told():
    found = judge_receipts({}, {"ts": LATE}, {"sequence": 2}, n_receipts=2)
    assert found.accepted["ts"].to_list() == [START, LATE]
    assert told(found, "line", "received_at", "close", "new_close") == [
        ("withdrawn", LATE, 2, 0, START + 2 * DAY, 11.0, None)
    ]


def test_a_receipt_without_any_rows_withdraws_all():
    found = judge_receipts({}, {"ts": LATE}, n_receipts=2)
    assert told(found) == [("withdrawn", START, 2), ("withdrawn", LATE, 2)]
    assert found.counts.select("received", "refused").row(0) == (0, 0)  # the newest receipt brought nothing


def test_a_withdrawal_is_told_once_until_the_bar_comes_back():
    found = judge_receipts({}, {"sequence": 4}, n_receipts=6)
    assert told(found) == [("withdrawn", START, 2), ("withdrawn", START, 5)]


def test_a_bar_that_comes_back_refused_was_not_withdrawn():
    assert told(judge_receipts({}, {"sequence": 2, "close": None}, n_receipts=2)) == []


def test_a_receipt_of_another_session_withdraws_nothing():
    raw = received({})
    spoken = [(1, START + DAY, SESSION, SESSION), (2, START + DAY, SESSION + DAY, SESSION + DAY)]
    columns = {"sequence": pl.Int64, "received_at": tables.TS, "first_session": pl.Date, "last_session": pl.Date}
    said = pl.DataFrame(spoken, columns, orient="row")
    found = judge(raw, said, DUE, closes_of(DUE), first=SESSION, last=SESSION, timeframe="5m")
    assert found.restatements.is_empty()


FIRST_HALF, SECOND_HALF = (START, START), (LATE, LATE)


@pytest.mark.parametrize(
    ("source", "extents", "lacking"),
    [
        pytest.param("files", [FIRST_HALF, SECOND_HALF], [], id="a file of what came after says nothing of before"),
        pytest.param(
            "files", [(START, LATE), (START, LATE)], [START], id="a file withdraws what lies between its ends"
        ),
        pytest.param("files", [FIRST_HALF, (None, None)], [], id="a file without a readable time withdraws nothing"),
        pytest.param("pulled", [FIRST_HALF, SECOND_HALF], [START], id="a source was asked for the whole session"),
    ],
)
def test_a_file_withdraws_only_between_its_first_row_and_its_last(source, extents, lacking):
    spoken = [(n, START + n * DAY, SESSION, SESSION, source, *ends) for n, ends in enumerate(extents, start=1)]
    columns = {"sequence": pl.Int64, "received_at": tables.TS, "first_session": pl.Date, "last_session": pl.Date}
    columns |= {"source": pl.String, "first": tables.TS, "last": tables.TS}
    said = pl.DataFrame(spoken, columns, orient="row")
    raw = received({}, {"ts": LATE, "sequence": 2})
    found = judge(raw, said, DUE, closes_of(DUE), first=SESSION, last=SESSION, timeframe="5m")
    assert told(found) == [("withdrawn", ts, 2) for ts in lacking]


# What was superseded


def test_where_the_last_is_kept_the_rows_before_it_are_told_as_they_came():
    rows = [{"close": 10.2}, {"close": None}, {}, {}]
    found = judge_receipts(*rows, n_receipts=1, on_conflict="keep_last")
    assert told(found, "line", "close", "new_close") == [
        ("superseded", START, 1, 0, 10.2, 11.0),
        ("superseded", START, 1, 1, None, 11.0),
    ]
    assert found.counts["identical"].item() == 1  # the third equals the last


def test_restatements_keep_the_contract_of_their_table():
    rows = [{"close": 10.2}, {}, {"ts": LATE}, {"sequence": 2, "close": 10.4}, {"sequence": 2, "close": 10.5}]
    found = judge_receipts(*rows, n_receipts=2, on_conflict="keep_last").restatements
    labels = {"dataset": pl.lit("small"), "instrument": pl.lit("X")}
    assert tables.check("restatements", found.with_columns(**labels)).height == 4
    nothing = judge_receipts(n_receipts=1).restatements
    assert tables.check("restatements", nothing.with_columns(**labels)).is_empty()
