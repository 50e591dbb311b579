"""Receiving: every delivery counts once, whatever is asked again and whenever the process dies."""

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quality import tables
from resources.calendars import open_calendar
from resources.errors import NothingDeliveredError, UnknownInstrumentError
from resources.intake import Again, Received, asked_until, overlap, receive
from resources.lake import Lake
from resources.sources.protocol import Delivery, Instrument
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
    return receive(lake, DATASET, source, firsts=dict.fromkeys((ONE, OTHER), first), last=last, at=at)


def receipts(lake: Lake) -> list[tuple[int, str, int]]:
    return lake.read("receipts").sort("sequence").select("sequence", "instrument", "n_rows").rows()


def rows_of(lake: Lake, instrument: str) -> pl.DataFrame:
    """What was received of an instrument and has a receipt."""
    receipts = lake.read("receipts", dataset="small", instrument=instrument)
    rows = lake.read("raw_bars", dataset="small", instrument=instrument)
    return rows.join(receipts, on="sequence", how="semi").sort("sequence", "line")


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
    assert rows_of(lake, ONE)["close"].equals(random_walk("1d", 10, seed=1)["close"])


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
    (said_first,) = source.deliveries(DATASET.instruments[0], first=DAYS[4], last=DAYS[4])
    ask(lake, source)
    source.restate(ONE, closing_at(1.0))
    ask(lake, source)
    source.restate(ONE, said_first.rows)
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
    receive(lake, small_dataset(ONE, name="other"), source, firsts={ONE: DAYS[0]}, last=DAYS[9], at=AT)
    assert receipts(lake) == [(1, ONE, 10), (1, ONE, 10), (2, OTHER, 10)]
    assert rows_of(lake, ONE).height == 10


class Failing(FakeSource):
    """Cannot deliver the instruments it is told to fail for, after a first half of what they have."""

    def __init__(self, *fails: str) -> None:
        super().__init__({ONE: random_walk("1d", 10, seed=1), OTHER: random_walk("1d", 10, seed=2)})
        self.fails = fails

    def deliveries(self, instrument: Instrument, *, first: date, last: date) -> Iterator[Delivery]:
        if instrument.id not in self.fails:
            yield from super().deliveries(instrument, first=first, last=last)
            return
        yield from super().deliveries(instrument, first=first, last=DAYS[4])
        raise UnknownInstrumentError(instrument.id, "the second page", [])


def test_an_instrument_that_fails_loses_nothing_that_came_before_and_stops_no_other(lake: Lake) -> None:
    got = ask(lake, Failing(ONE))
    assert list(got.failed) == [ONE]
    assert receipts(lake) == [(1, ONE, 5), (2, OTHER, 10)]
    reached = asked_until(lake.read("receipts"), [ONE, OTHER], DAYS)
    assert reached == {ONE: DAYS[4], OTHER: DAYS[9]}, "the next asking goes on from there"


def test_a_source_that_delivers_nothing_is_an_error_and_is_not_told_that_all_was_kept(lake: Lake) -> None:
    source = Failing(ONE, OTHER)
    with pytest.raises(
        NothingDeliveredError, match=r"small: nothing could be delivered; ONE\.TEST: .* all 2 instruments"
    ):
        ask(lake, source)
    assert source.settled == 0
    assert receipts(lake) == [(1, ONE, 5), (2, OTHER, 5)]


def test_a_source_is_told_once_that_everything_was_kept(lake: Lake, source: FakeSource) -> None:
    ask(lake, source)
    assert source.settled == 1


def test_values_that_differ_in_a_null_alone_are_another_delivery(lake: Lake, source: FakeSource) -> None:
    ask(lake, source)
    source.restate(ONE, random_walk("1d", 10, seed=1)[4:5].with_columns(volume=pl.lit(None, pl.Float64)))
    assert ask(lake, source).receipts["instrument"].to_list() == [ONE]


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
    receive(lake, small_dataset(OTHER), source, firsts={OTHER: DAYS[0]}, last=DAYS[9], at=AT)  # takes the number 1
    assert rows_of(lake, ONE).is_empty()
    assert rows_of(lake, OTHER).select("sequence").unique().rows() == [(1,)]
    source.restate(OTHER, random_walk("1d", 10, seed=3)[:1])
    receive(lake, small_dataset(OTHER), source, firsts={OTHER: DAYS[0]}, last=DAYS[0], at=AT)  # takes the number 2
    assert rows_of(lake, OTHER).filter(sequence=2).height == 1


def overlapping(day: date, n_sessions: int = 1) -> dict[str, list[Again]]:
    """What is asked for again with `day`, by instrument, where everything before it was asked for."""
    return overlap(
        open_calendar("24/7"),
        spans((ONE, 0, 9), (OTHER, 0, 9)),
        dict.fromkeys((ONE, OTHER), day),
        start=DAYS[0],
        n_sessions=n_sessions,
    )


def ask_with_overlap(lake: Lake, source: FakeSource, day: date, n_sessions: int = 1) -> Received:
    firsts = dict.fromkeys((ONE, OTHER), day)
    return receive(lake, DATASET, source, firsts=firsts, last=day, at=AT, again=overlapping(day, n_sessions))


def test_the_sessions_before_a_new_one_that_were_asked_for_are_asked_for_again(lake: Lake, source: FakeSource) -> None:
    ask(lake, source, last=DAYS[4])
    got = ask_with_overlap(lake, source, DAYS[5], n_sessions=2)
    assert got.rows == 6, "the new session and two before it, of two instruments"
    assert receipts(lake) == [(1, ONE, 5), (2, OTHER, 5), (3, ONE, 1), (4, OTHER, 1)], "which brought nothing new"


def test_what_a_session_that_is_asked_for_again_brings_otherwise_is_a_receipt_of_it_alone(
    lake: Lake, source: FakeSource
) -> None:
    ask(lake, source, last=DAYS[4])
    source.restate(ONE, closing_at(1.0))
    ask_with_overlap(lake, source, DAYS[5])
    ask_with_overlap(lake, source, DAYS[6], n_sessions=2)
    told = lake.read("receipts").sort("sequence").select("instrument", "first_session", "last_session").rows()
    assert told[2:5] == [(ONE, DAYS[5], DAYS[5]), (OTHER, DAYS[5], DAYS[5]), (ONE, DAYS[4], DAYS[4])]
    assert told[5:] == [(ONE, DAYS[6], DAYS[6]), (OTHER, DAYS[6], DAYS[6])], "the same a third time is not recorded"


def test_a_bar_that_is_gone_when_its_session_is_asked_for_again_is_no_part_of_what_came(
    lake: Lake, source: FakeSource
) -> None:
    ask(lake, source, last=DAYS[4])
    without = FakeSource({ONE: random_walk("1d", 10, seed=1)[5:], OTHER: random_walk("1d", 10, seed=2)})
    ask_with_overlap(lake, without, DAYS[5])
    assert receipts(lake)[2:] == [(3, ONE, 1), (4, OTHER, 1), (5, ONE, 0)]


class ForgetsTheFifthDay(FakeSource):
    def deliveries(self, instrument: Instrument, *, first: date, last: date) -> Iterator[Delivery]:
        if (first, last) == (DAYS[4], DAYS[4]):
            raise UnknownInstrumentError(instrument.id, "the archive", [])
        yield from super().deliveries(instrument, first=first, last=last)


def test_a_session_that_cannot_be_had_again_is_noted_and_loses_no_new_one(lake: Lake) -> None:
    source = ForgetsTheFifthDay({ONE: random_walk("1d", 10, seed=1), OTHER: random_walk("1d", 10, seed=2)})
    ask(lake, source, last=DAYS[3])
    got = ask_with_overlap(lake, source, DAYS[5])
    assert list(got.failed) == [ONE, OTHER]
    assert receipts(lake)[2:] == [(3, ONE, 1), (4, OTHER, 1)]


def test_only_what_was_asked_for_before_overlaps() -> None:
    calendar = open_calendar("24/7")
    asked = spans((ONE, 0, 2), (ONE, 4, 5), (OTHER, 5, 5))
    again = overlap(calendar, asked, {ONE: DAYS[6], OTHER: DAYS[0]}, start=DAYS[0], n_sessions=3)
    assert {name: [one.session for one in sessions] for name, sessions in again.items()} == {ONE: [DAYS[4], DAYS[5]]}
    assert overlap(calendar, asked, {ONE: DAYS[6]}, start=DAYS[0], n_sessions=0) == {}


@pytest.mark.parametrize("timeframe", ["5m", "1d"])
@pytest.mark.parametrize("code", ["24/7", "FX"])
def test_the_moments_of_sessions_that_are_asked_for_again_tile_time_and_hold_what_is_due(
    code: str, timeframe: str
) -> None:
    calendar = open_calendar(code)
    asked = pl.DataFrame({"instrument": [ONE], "first_session": [DAYS[0]], "last_session": [DAYS[9]]})
    day = DAYS[9] + timedelta(days=1)
    again = overlap(calendar, asked, {ONE: day}, start=DAYS[0], n_sessions=5)[ONE]
    assert [one.end for one in again[:-1]] == [one.begin for one in again[1:]]
    due = calendar.due(again[0].session, again[-1].session, timeframe)
    for one in again:
        own = due.filter(pl.col("ts").is_between(one.begin, one.end, closed="left"))
        assert own["session"].unique().to_list() == [one.session]
    assert due.height == due.filter(pl.col("ts").is_between(again[0].begin, again[-1].end, closed="left")).height


def spans(*asked: tuple[str, int, int]) -> pl.DataFrame:
    rows = [
        {"instrument": name, "first_session": DAYS[first], "last_session": DAYS[last]} for name, first, last in asked
    ]
    return pl.DataFrame(rows, schema={name: tables.table("receipts").columns[name] for name in SPAN})


@pytest.mark.parametrize(
    ("asked", "until"),
    [
        pytest.param([], (None, None), id="nothing was asked for"),
        pytest.param([(ONE, 0, 9)], (DAYS[9], None), id="one instrument was not asked for"),
        pytest.param([(ONE, 0, 9), (OTHER, 0, 5)], (DAYS[9], DAYS[5]), id="each instrument counts for itself"),
        pytest.param([(ONE, 0, 2), (ONE, 3, 7)], (DAYS[7], None), id="spans that follow each other add up"),
        pytest.param([(ONE, 3, 7), (ONE, 0, 9), (ONE, 0, 2)], (DAYS[9], None), id="a span may lie within another"),
        pytest.param([(ONE, 0, 2), (ONE, 4, 9)], (DAYS[2], None), id="a gap ends it"),
        pytest.param([(ONE, 1, 9), (OTHER, 0, 9)], (None, DAYS[9]), id="the first session was not asked for"),
    ],
)
def test_asked_until_is_the_last_session_before_the_first_gap(
    asked: list[tuple[str, int, int]], until: tuple[date | None, date | None]
) -> None:
    reached = asked_until(spans(*asked), [ONE, OTHER], DAYS)
    assert (reached[ONE], reached[OTHER]) == until


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)).map(sorted), max_size=5))
def test_up_to_asked_until_every_session_was_asked_for_and_the_next_was_not(asked: list[list[int]]) -> None:
    days = {day for first, last in asked for day in DAYS[first : last + 1]}
    until = asked_until(spans(*[(ONE, first, last) for first, last in asked]), [ONE], DAYS)[ONE]
    n_asked = 0 if until is None else DAYS.index(until) + 1
    assert set(DAYS[:n_asked]) <= days
    assert n_asked == len(DAYS) or DAYS[n_asked] not in days
