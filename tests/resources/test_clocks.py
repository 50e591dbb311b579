"""A file's clock against a calendar: another zone and close labels are found, whatever the file's length and strays."""

from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

from quality.formats import Format, Times
from resources.bar_files.clocks import doubts, unsaid
from resources.bar_files.layouts import load_formats
from resources.bar_files.reading import BarFile, Series, read_bar_file
from resources.calendars import Calendar, open_calendar
from tests.sample_packing import SHARED

needs_shared_data = pytest.mark.skipif(not SHARED.is_dir(), reason="the shared data is not beside this checkout")
NO_ACTIONS = pl.DataFrame(schema={"ex_date": pl.Date, "kind": pl.String, "value": pl.Float64})


@pytest.fixture
def currencies() -> Calendar:
    return open_calendar("FX")


def quarters(calendar: Calendar, *, late: timedelta = timedelta(), stray: datetime | None = None) -> BarFile:
    """Half a year of quarter hours, all of them `late`, and perhaps a stamp of another time."""
    due = calendar.due(date(2017, 1, 2), date(2017, 6, 30), "15m")
    stamps = due.select(ts=pl.col("ts") + late)["ts"]
    if stray:
        stamps = pl.concat([stamps, pl.Series([stray], dtype=stamps.dtype)])
    return BarFile("ohlcv", "15m", (Series(None, stamps.to_frame(), NO_ACTIONS),))


@pytest.mark.parametrize(
    ("late", "found"),
    [
        pytest.param(timedelta(), [], id="nothing is wrong"),
        pytest.param(timedelta(hours=5), ["zone"], id="11: local time typed as UTC"),
        pytest.param(timedelta(hours=-4), ["zone"], id="11: to the other side"),
        pytest.param(timedelta(minutes=15), ["label"], id="8: closes read as opens"),
    ],
)
@pytest.mark.parametrize("stray", [None, datetime(1975, 1, 1, tzinfo=UTC), datetime(2150, 1, 1, tzinfo=UTC)])
def test_a_clock_is_doubted_when_its_stamps_fit_the_calendar_otherwise(
    currencies: Calendar, late: timedelta, found: list[str], stray: datetime | None
) -> None:
    assert [one.name for one in doubts(quarters(currencies, late=late, stray=stray), currencies)] == found


def test_daily_bars_and_no_stamps_have_no_clock(currencies: Calendar) -> None:
    late = quarters(currencies, late=timedelta(hours=5))
    assert doubts(late._replace(timeframe="1d"), currencies) == []
    empty = Series(None, late.series[0].rows.clear(), NO_ACTIONS)
    assert doubts(late._replace(series=(empty,)), currencies) == []


def test_the_same_doubt_of_several_series_is_told_once(currencies: Calendar) -> None:
    late = quarters(currencies, late=timedelta(hours=5))
    assert len(doubts(late._replace(series=late.series * 2), currencies)) == 1


@pytest.mark.parametrize(
    ("layout", "says", "left"),
    [
        ("ohlcv", {}, {"zone", "label"}),
        ("ohlcv", {"timezone": "UTC"}, {"label"}),
        ("ohlcv", {"label": "open"}, {"zone"}),
        ("histdata", {}, set()),
        ("lean_equity_minute", {}, {"label"}),
        ("lean_futures", {}, {"label"}),
    ],
)
def test_what_a_layout_states_or_a_person_says_is_said(layout: str, says: dict[str, str], left: set[str]) -> None:
    said = {"timezone": None, "label": None, **says}
    assert unsaid(load_formats()[layout], **said) == left


def test_a_default_that_nobody_wrote_down_is_not_said() -> None:
    written: Format = load_formats()["ohlcv"].model_copy(update={"times": Times(patterns=("iso",), zone="UTC")})
    assert unsaid(written, timezone=None, label=None) == {"label"}


@needs_shared_data
@pytest.mark.slow
@pytest.mark.parametrize(
    ("path", "calendar", "found"),
    [
        pytest.param(
            "equity/intraday_SPY_1m_2020-12.csv.gz", "XNYS", ["zone"], id="11: New York's time without a zone"
        ),
        pytest.param("futures/lean_ES_1m.parquet", "CMES", ["zone"], id="11: typed as UTC"),
        pytest.param("equity/lean_1m/AAPL.parquet", "XNYS", [], id="37: before and after the market"),
        pytest.param("equity/lean_1h/SPY.parquet", "XNYS", [], id="hours on the clock"),
        pytest.param("forex/tradingview_EURUSD_1h.csv.gz", "FX", [], id="16: both seasons"),
        pytest.param("futures/backtrader_FESX_1m_2006.csv.gz", "XEUR", [], id="8: closes, as its layout says"),
    ],
)
def test_real_files_are_doubted_where_they_are_wrong(path: str, calendar: str, found: list[str]) -> None:
    file = read_bar_file(SHARED / Path(path))
    assert [one.name for one in doubts(file, open_calendar(calendar))] == found
