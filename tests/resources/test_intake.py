"""Receiving: every delivery counts once, whatever is asked again and whenever the process dies."""

from datetime import UTC, date, datetime, timedelta

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quality import tables
from resources.intake import Received, asked_until, raw_rows, receive
from resources.lake import Lake
from tests.bar_frames import random_walk
from tests.fakes import ONE, OTHER, FakeSource, small_dataset

DAYS = [date(2020, 1, 1) + timedelta(days=n) for n in range(10)]
AT = datetime(2020, 2, 1, tzinfo=UTC)
DATASET = small_dataset(ONE, OTHER)
SPAN = ("instrument", "first_session", "last_session")


@pytest.fixture
def source() -> FakeSource:
    return FakeSource({ONE: random_walk("1d", 10, seed=1), OTHER: random_walk("1d", 10, seed=2)})


def ask(lake: Lake, source: FakeSource, *, first: date = DAYS[0], last: date = DAYS[9], at: datetime = AT) -> Received:
    return receive(lake, DATASET, source, first=first, last=last, at=at)


def receipts(lake: Lake) -> list[tuple[int, str, int]]:
    return lake.read("receipts").sort("sequence").select("sequence", "instrument", "n_rows").rows()


def rows_of(lake: Lake, instrument: str, *, first: date = DAYS[0], end: date = DAYS[9]) -> pl.DataFrame:
    return raw_rows(lake, DATASET, instrument, first=first, end=end).sort("sequence", "line")


def closing_at(price: float) -> pl.DataFrame:
    """The fifth day of ONE.TEST, stated with another close."""
    return random_walk("1d", 10, seed=1)[4:5].with_columns(close=pl.lit(price))


def test_a_delivery_becomes_a_receipt_and_its_rows(lake: Lake, source: FakeSource) -> None:
    got = ask(lake, source)
    assert (got.rows, got.new_rows) == (20, 20)
    assert receipts(lake) == [(1, ONE, 10), (2, OTHER, 10)]
    first = lake.read("receipts").sort("sequence").row(0, named=True)
    assert (first["first_session"], first["last_session"]) == (DAYS[0], DAYS[9])
    assert (first["first"].date(), first["last"].date()) == (DAYS[0], DAYS[9])
    assert (first["received_at"], first["source"], first["origin"]) == (AT, "sample", "fake/ONE.TEST")
    assert rows_of(lake, ONE, end=DAYS[9] + timedelta(days=1))["close"].equals(random_walk("1d", 10, seed=1)["close"])


def test_the_same_again_is_not_recorded(lake: Lake, source: FakeSource) -> None:
    ask(lake, source)
    again = ask(lake, source, at=AT + timedelta(days=1))
    assert (again.rows, again.new_rows, again.receipts.height) == (20, 0, 0)
    assert receipts(lake) == [(1, ONE, 10), (2, OTHER, 10)]
    assert lake.read("raw_bars").height == 20


def test_a_restatement_is_a_receipt_of_its_own_and_changes_nothing_received_before(
    lake: Lake, source: FakeSource
) -> None:
    ask(lake, source)
    before = rows_of(lake, ONE)
    source.restate(ONE, closing_at(1.0))
    assert ask(lake, source).new_rows == 10
    assert receipts(lake) == [(1, ONE, 10), (2, OTHER, 10), (3, ONE, 10)]
    assert rows_of(lake, ONE).filter(sequence=1).equals(before)
    assert rows_of(lake, ONE).filter(sequence=3, ts=datetime(2020, 1, 5, tzinfo=UTC))["close"].to_list() == [1.0]


def test_the_same_after_another_delivery_is_recorded_again(lake: Lake, source: FakeSource) -> None:
    said_first = source.fetch(DATASET.instruments[0], first=DAYS[4], last=DAYS[4]).rows
    ask(lake, source)
    source.restate(ONE, closing_at(1.0))
    ask(lake, source)
    source.restate(ONE, said_first)
    ask(lake, source)
    assert receipts(lake) == [(1, ONE, 10), (2, OTHER, 10), (3, ONE, 10), (4, ONE, 10)]


def test_a_delivery_of_other_sessions_does_not_come_in_between(lake: Lake, source: FakeSource) -> None:
    ask(lake, source, last=DAYS[4])
    ask(lake, source, first=DAYS[5])
    assert ask(lake, source, last=DAYS[4]).new_rows == 0


def test_what_was_asked_for_and_did_not_come_is_on_record(lake: Lake, source: FakeSource) -> None:
    never = DAYS[9] + timedelta(days=30)
    assert ask(lake, source, first=never, last=never).rows == 0
    assert receipts(lake) == [(1, ONE, 0), (2, OTHER, 0)]
    assert lake.read("receipts")["first"].to_list() == [None, None]
    assert ask(lake, source, first=never, last=never).receipts.is_empty()


def test_two_data_sets_count_for_themselves(lake: Lake, source: FakeSource) -> None:
    ask(lake, source)
    receive(lake, small_dataset(ONE, name="other"), source, first=DAYS[0], last=DAYS[9], at=AT)
    assert receipts(lake) == [(1, ONE, 10), (1, ONE, 10), (2, OTHER, 10)]
    assert rows_of(lake, ONE).height == 10


class DiesBeforeTheReceipt(Lake):
    def append(self, name: str, frame: pl.DataFrame) -> None:  # noqa: ARG002 - the signature is the lake's
        raise KeyboardInterrupt


def test_rows_whose_receipt_was_never_written_count_for_nothing(lake: Lake, source: FakeSource) -> None:
    with pytest.raises(KeyboardInterrupt):
        ask(DiesBeforeTheReceipt(root=lake.root, lock_path=""), source)
    assert lake.read("raw_bars").height == 20
    assert rows_of(lake, ONE).is_empty()


def test_after_a_kill_between_rows_and_receipt_nothing_is_doubled_or_lost(lake: Lake, source: FakeSource) -> None:
    with pytest.raises(KeyboardInterrupt):
        ask(DiesBeforeTheReceipt(root=lake.root, lock_path=""), source)
    assert ask(lake, source, last=DAYS[4]).new_rows == 10
    assert receipts(lake) == [(1, ONE, 5), (2, OTHER, 5)]
    assert lake.read("raw_bars").height == 10


def test_rows_left_by_a_kill_are_not_taken_for_those_of_a_later_receipt(lake: Lake, source: FakeSource) -> None:
    with pytest.raises(KeyboardInterrupt):
        ask(DiesBeforeTheReceipt(root=lake.root, lock_path=""), source)
    receive(lake, small_dataset(OTHER), source, first=DAYS[0], last=DAYS[9], at=AT)  # takes the number 1
    assert rows_of(lake, ONE).is_empty()
    assert rows_of(lake, OTHER).select("sequence").unique().rows() == [(1,)]
    source.restate(OTHER, random_walk("1d", 10, seed=3)[:1])
    receive(lake, small_dataset(OTHER), source, first=DAYS[0], last=DAYS[0], at=AT)  # takes the number 2
    assert rows_of(lake, OTHER).filter(sequence=2).height == 1


def test_only_the_receipts_of_the_sessions_asked_for_are_read(lake: Lake, source: FakeSource) -> None:
    ask(lake, source, last=DAYS[4])
    ask(lake, source, first=DAYS[5])
    assert set(rows_of(lake, ONE, first=DAYS[5], end=DAYS[8])["sequence"]) == {3}
    assert rows_of(lake, ONE, first=DAYS[5], end=DAYS[8])["ts"].dt.date().to_list() == DAYS[5:9]  # a day's margin


def test_a_row_without_a_readable_ts_comes_along_with_its_delivery(lake: Lake, source: FakeSource) -> None:
    ask(lake, source)
    unreadable = {**lake.read("raw_bars", sequence=1).row(0, named=True), "line": 99, "ts": None, "close": None}
    lake.append("raw_bars", tables.frame("raw_bars", [unreadable]))
    assert rows_of(lake, ONE, first=DAYS[2], end=DAYS[3])["line"].to_list() == [2, 3, 99]


def spans(*asked: tuple[str, int, int]) -> pl.DataFrame:
    rows = [
        {"instrument": name, "first_session": DAYS[first], "last_session": DAYS[last]} for name, first, last in asked
    ]
    return pl.DataFrame(rows, schema={name: tables.table("receipts").columns[name] for name in SPAN})


@pytest.mark.parametrize(
    ("asked", "until"),
    [
        pytest.param([], None, id="nothing was asked for"),
        pytest.param([(ONE, 0, 9)], None, id="one instrument was not asked for"),
        pytest.param([(ONE, 0, 9), (OTHER, 0, 5)], DAYS[5], id="the slowest instrument decides"),
        pytest.param([(ONE, 0, 2), (ONE, 3, 7), (OTHER, 0, 9)], DAYS[7], id="spans that follow each other add up"),
        pytest.param([(ONE, 0, 2), (ONE, 4, 9), (OTHER, 0, 9)], DAYS[2], id="a gap ends it"),
        pytest.param([(ONE, 1, 9), (OTHER, 0, 9)], None, id="the first session was not asked for"),
    ],
)
def test_asked_until_is_the_last_session_before_the_first_gap(
    asked: list[tuple[str, int, int]], until: date | None
) -> None:
    assert asked_until(spans(*asked), [ONE, OTHER], DAYS) == until


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)).map(sorted), max_size=5))
def test_up_to_asked_until_every_session_was_asked_for_and_the_next_was_not(asked: list[list[int]]) -> None:
    days = {day for first, last in asked for day in DAYS[first : last + 1]}
    until = asked_until(spans(*[(ONE, first, last) for first, last in asked]), [ONE], DAYS)
    n_asked = 0 if until is None else DAYS.index(until) + 1
    assert set(DAYS[:n_asked]) <= days
    assert n_asked == len(DAYS) or DAYS[n_asked] not in days
