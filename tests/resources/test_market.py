"""What research reads: bars known when the calendar says, carried forward, and nothing after the last session."""

from datetime import UTC, date, datetime, timedelta

import polars as pl
import pytest

from quality import tables
from quality.datasets import Dataset, Instrument
from resources.calendars import Calendar
from resources.lake import Lake
from resources.market import history, listed, raw_bars, sessions_until
from resources.sources.protocol import ACTIONS
from tests.bar_frames import random_walk
from tests.fakes import ONE, OTHER, FakeSource, small_dataset

TS = pl.Datetime("us", "UTC")
DAYS = [date(2020, 1, 1) + timedelta(days=n) for n in range(6)]
NO_RECEIPTS = tables.empty("receipts")
DATASET = small_dataset(ONE, OTHER, features={"atr_14": {"indicator": "atr", "length": 14}})


def at(day: date, hour: int) -> datetime:
    return datetime(day.year, day.month, day.day, hour, tzinfo=UTC)


@pytest.fixture
def calendar() -> Calendar:
    """Six sessions from 14:00 to 21:00, the third one closing early at 18:00."""
    never = pl.Series([None] * 6, dtype=TS)
    moments = {
        "open": [at(day, 14) for day in DAYS],
        "break_start": never,
        "break_end": never,
        "close": [at(day, 18 if day == DAYS[2] else 21) for day in DAYS],
    }
    schedule = pl.DataFrame({"session": DAYS, **moments}, schema={"session": pl.Date, **dict.fromkeys(moments, TS)})
    return Calendar("small", schedule, first=DAYS[0], last=DAYS[5])


@pytest.fixture
def filled(lake: Lake) -> Lake:
    """Six bars of each instrument closing at 100; ONE.TEST splits 2:1 on the fourth day and then closes at 50."""
    price = {"open": 100.0, "high": 100.0, "low": 100.0, "close": 100.0, "volume": 8.0}
    labels = {"dataset": "small", "sequence": 1}
    bars, features, verdicts = [], [], []
    for name in (ONE, OTHER):
        for n, day in enumerate(DAYS):
            row = {**labels, "instrument": name, "session": day, "ts": at(day, 0)}
            halved = name == ONE and n >= 3
            scaled = {key: value / 2 if halved and key != "volume" else value for key, value in price.items()}
            bars.append({**row, **scaled, "filled": False})
            features.append({**row, "atr_14": float(n)})
            verdicts.append({**row, "value": 1.0, "passed": (name, n) != (OTHER, 1)})
    lake.replace("bars", tables.frame("bars", bars), dataset="small")
    columns = {**tables.table("features").columns, "atr_14": pl.Float64}
    lake.replace("features", pl.DataFrame(features, schema=columns), dataset="small")
    judged = [{**row, "rule": "completeness", "limit": 0.99, "due": 1, "seen": 1, "enforced": True} for row in verdicts]
    lake.replace("sla_record", pl.DataFrame(judged, schema=tables.table("sla_record").columns), dataset="small")
    stated = pl.DataFrame([(ONE, DAYS[3], "split", 2.0)], schema=ACTIONS, orient="row")
    lake.replace("corporate_actions", stated.select(pl.lit("small").alias("dataset"), pl.all()), dataset="small")
    return lake


def test_a_bar_is_known_when_its_session_closes(filled: Lake, calendar: Calendar) -> None:
    bars = raw_bars(filled, DATASET, calendar, instrument=ONE, timeframes=["1d"], last=DAYS[5])["1d"]
    assert bars["known_at"].to_list() == [at(day, 18 if day == DAYS[2] else 21) for day in DAYS]
    assert bars["ts"].to_list() == [at(day, 0) for day in DAYS]


def test_nothing_after_the_last_session_is_read(filled: Lake, calendar: Calendar) -> None:
    read = history(filled, DATASET, calendar, instruments=[ONE, OTHER], timeframe="1d", last=DAYS[2])
    assert read.sessions == DAYS[:3]
    assert [read.raw[name]["session"].max() for name in (ONE, OTHER)] == [DAYS[2], DAYS[2]]
    assert read.frames[ONE]["1d"].height == 3
    assert read.embargo["session"].max() == DAYS[2]


def test_a_longer_history_begins_with_the_shorter_one(filled: Lake, calendar: Calendar) -> None:
    short, long = (
        history(filled, DATASET, calendar, instruments=[ONE], timeframe="1d", last=last) for last in (DAYS[2], DAYS[5])
    )
    assert long.frames[ONE]["1d"].head(3).equals(short.frames[ONE]["1d"])


def test_the_simulator_gets_raw_prices_and_the_strategy_adjusted_ones(filled: Lake, calendar: Calendar) -> None:
    read = history(filled, DATASET, calendar, instruments=[ONE], timeframe="1d", last=DAYS[5])
    assert read.raw[ONE]["close"].to_list() == [100, 100, 100, 50, 50, 50]
    seen = read.frames[ONE]["1d"]
    assert seen["close"].to_list() == [100, 100, 100, 100, 100, 100]
    assert seen["factor"].to_list() == [1, 1, 1, 2, 2, 2]
    assert seen["volume"].to_list() == [8, 8, 8, 4, 4, 4]


def test_an_action_of_one_instrument_is_not_another_ones(filled: Lake, calendar: Calendar) -> None:
    read = history(filled, DATASET, calendar, instruments=[OTHER], timeframe="1d", last=DAYS[5])
    assert read.frames[OTHER]["1d"]["factor"].to_list() == [1] * 6


def test_features_lie_beside_the_bars_they_were_computed_on(filled: Lake, calendar: Calendar) -> None:
    read = history(filled, DATASET, calendar, instruments=[ONE], timeframe="1d", last=DAYS[5])
    assert read.features == ("atr_14",)
    assert read.frames[ONE]["1d"]["atr_14"].to_list() == [0, 1, 2, 3, 4, 5]
    assert read.frames[ONE]["1d"].columns == [
        *("session", "ts", "known_at", "open", "high", "low", "close", "volume", "factor"),
        "atr_14",
    ]


def test_a_failed_session_embargoes_its_instrument_in_the_next_one(filled: Lake, calendar: Calendar) -> None:
    read = history(filled, DATASET, calendar, instruments=[ONE], timeframe="1d", last=DAYS[5])
    assert read.embargo.filter("embargoed").select("session", "instrument").rows() == [(DAYS[2], OTHER)]


def test_nothing_before_the_data_sets_start_is_read(filled: Lake, calendar: Calendar) -> None:
    later = DATASET.model_copy(update={"start": DAYS[2]})
    read = history(filled, later, calendar, instruments=[OTHER], timeframe="1d", last=DAYS[5])
    assert read.sessions == read.raw[OTHER]["session"].to_list() == DAYS[2:]
    assert read.embargo.filter("embargoed").is_empty(), "the session that failed is before it"


def test_bars_of_a_longer_timeframe_are_known_when_they_were_said_to_be(lake: Lake, calendar: Calendar) -> None:
    dataset = small_dataset(timeframe="1h", resample=["4h"])
    price = {"open": 1.0, "high": 1.0, "low": 1.0, "close": 1.0, "volume": None}
    labels = {"dataset": "small", "instrument": ONE, "timeframe": "4h", "n_base": 4, "n_due": 4, "complete": True}
    folded = [{**labels, **price, "session": day, "ts": at(day, 14), "known_at": at(day, 18)} for day in DAYS]
    lake.replace("resampled_bars", tables.frame("resampled_bars", folded), dataset="small")
    bars = raw_bars(lake, dataset, calendar, instrument=ONE, timeframes=["4h"], last=DAYS[1])["4h"]
    assert bars["known_at"].to_list() == [at(DAYS[0], 18), at(DAYS[1], 18)]


@pytest.mark.parametrize(
    ("listing", "due"),
    [
        pytest.param({}, DAYS, id="listed all along"),
        pytest.param({"listed": DAYS[2]}, DAYS[2:], id="nothing is due before the listing"),
        pytest.param({"delisted": DAYS[2]}, DAYS[:3], id="the last session is due, nothing after it"),
        pytest.param({"listed": DAYS[2], "delisted": DAYS[2]}, DAYS[2:3], id="listed for a day"),
        pytest.param({"delisted": date(2019, 12, 31)}, [], id="gone before the span"),
    ],
)
def test_bars_are_due_while_an_instrument_is_listed(
    calendar: Calendar, listing: dict[str, date], due: list[date]
) -> None:
    instrument: Instrument = DATASET.instruments[0].model_copy(update=listing)
    rows = listed(calendar.due(DAYS[0], DAYS[5], DATASET.timeframe), instrument)
    assert rows["session"].to_list() == due


@pytest.mark.parametrize(
    ("dataset", "instant", "until"),
    [
        pytest.param(DATASET, at(DAYS[5], 21), DAYS[3], id="a source that has ended ends it"),
        pytest.param(DATASET, at(DAYS[2], 18), DAYS[2], id="a session counts from its close on"),
        pytest.param(DATASET, at(DAYS[2], 17), DAYS[1], id="and not before"),
        pytest.param(small_dataset(end=DAYS[1]), at(DAYS[5], 21), DAYS[1], id="the data set's end ends it"),
    ],
)
def test_sessions_go_as_far_as_clock_data_set_and_source(
    calendar: Calendar, dataset: Dataset, instant: datetime, until: date
) -> None:
    source = FakeSource({ONE: random_walk("1d", 4, seed=1)})
    sessions = sessions_until(dataset, calendar, source, NO_RECEIPTS, at=instant)
    assert sessions == DAYS[: DAYS.index(until) + 1]


def test_before_a_data_set_starts_it_has_no_sessions(calendar: Calendar) -> None:
    source = FakeSource({ONE: random_walk("1d", 4, seed=1)})
    assert sessions_until(small_dataset(start=DAYS[4]), calendar, source, NO_RECEIPTS, at=at(DAYS[5], 21)) == []
