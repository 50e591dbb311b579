"""Packs the embedded sample from the shared data: `python -m tests.sample_packing`, by hand, from the root.

Crypto: the one-minute bars of the sample's sessions are folded into five-minute bars. A bar exists
when at least one of its minutes does: open of the first, highest high, lowest low, close of the
last, volume summed and rounded to 8 digits.

Equities: the daily rows as they are, raw. A row of a factor file holds up to and including its
date, so what sets it apart from the next row happened at the session after that date: a split of
`next split factor / split factor`, or a dividend of `close * (1 - price factor / next price factor)`.
The factors have seven to eight digits, which fixes a dividend to within 0.0001 of a dollar; it is
rounded to 0.001 and a split to 0.0001.

Nothing is filled and nothing is repaired. The same input gives the same bytes (with one release of
pyarrow, which writes its version into a file).
"""

from datetime import date
from pathlib import Path
from typing import NamedTuple

import polars as pl
import pyarrow.parquet as pq  # type: ignore[import-untyped]

SHARED = Path(__file__).parents[2] / "shared" / "data"
EMBEDDED = Path(__file__).parents[1] / "resources" / "sources" / "sample"

CRYPTO = {  # instrument: where its minutes are
    "BTCUSD.BITFINEX": "BTCUSD_2017-01_2018-01",
    "ETHUSD.BITFINEX": "ETHUSD_2017-07_2018-01",
    "LTCUSD.BITFINEX": "LTCUSD_2017-07_2018-01",
    "IOTUSD.BITFINEX": "IOTUSD_2017-07_2018-01",
    "EOSUSD.BITFINEX": "EOSUSD_2017-07_2018-01",
    "XRPUSD.BITFINEX": "XRPUSD_2017-07_2018-01",
}
CRYPTO_FIRST, CRYPTO_LAST = date(2017, 7, 1), date(2017, 12, 30)


class Listing(NamedTuple):
    ticker: str
    listed: date  # rows before it are left out: of BAC they are another company's


EQUITIES = {
    "SPY.ARCX": Listing("SPY", date(1998, 1, 2)),
    "AAPL.XNAS": Listing("AAPL", date(1998, 1, 2)),
    "IBM.XNYS": Listing("IBM", date(1998, 1, 2)),
    "BAC.XNYS": Listing("BAC", date(1998, 10, 1)),
}

_PRICES = ("open", "high", "low", "close")
_UTC_US = pl.Datetime("us", "UTC")


def pack(shared: Path, into: Path) -> None:
    for instrument in CRYPTO:
        bars = five_minute_bars(shared, instrument, last=CRYPTO_LAST)
        _write_bars(bars, into / "crypto_5m" / f"{instrument}.parquet")
    for instrument in EQUITIES:
        _write_bars(daily_bars(shared, instrument), into / "us_equities_1d" / f"{instrument}.parquet")
    actions = pl.concat([corporate_actions(shared, instrument) for instrument in EQUITIES])
    actions.sort("instrument", "ex_date", "kind").write_csv(into / "us_equities_1d" / "actions.csv")


def five_minute_bars(shared: Path, instrument: str, *, last: date) -> pl.DataFrame:
    minutes = pl.read_parquet(shared / "crypto" / "bitfinex_1m" / f"{CRYPTO[instrument]}.parquet")
    return (
        minutes.with_columns(pl.col("ts").cast(_UTC_US))
        .filter(pl.col("ts").dt.date().is_between(CRYPTO_FIRST, last))
        .group_by(pl.col("ts").dt.truncate("5m"), maintain_order=True)
        .agg(
            pl.col("open").first(),
            pl.col("high").max(),
            pl.col("low").min(),
            pl.col("close").last(),
            pl.col("volume").sum().round(8),
        )
    )


def daily_bars(shared: Path, instrument: str) -> pl.DataFrame:
    ticker, listed = EQUITIES[instrument]
    rows = pl.read_csv(shared / "equity" / "lean_1d" / f"{ticker}.csv.gz", try_parse_dates=True)
    return rows.filter(pl.col("date") >= listed).select(
        pl.col("date").cast(_UTC_US).alias("ts"), pl.col(*_PRICES, "volume").cast(pl.Float64)
    )


def corporate_actions(shared: Path, instrument: str) -> pl.DataFrame:
    sessions = daily_bars(shared, instrument).select(
        pl.col("ts").dt.date().alias("date"), "close", ex_date=pl.col("ts").dt.date().shift(-1)
    )
    factors = pl.read_csv(
        shared / "equity" / "lean_1d" / "factor_files" / f"{EQUITIES[instrument].ticker.lower()}.csv",
        has_header=False,
        schema={"date": pl.String, "price": pl.Float64, "split": pl.Float64, "close": pl.Float64},
    ).select(
        pl.col("date").str.to_date("%Y%m%d"),
        split=(pl.col("split").shift(-1) / pl.col("split")).round(4),
        dividend=(pl.col("close") * (1 - pl.col("price") / pl.col("price").shift(-1))).round(3),
    )
    return (
        sessions.join(factors, on="date")  # drops what came before the listing
        .unpivot(["split", "dividend"], index="ex_date", variable_name="kind")
        .filter(pl.col("value") != pl.when(pl.col("kind") == "split").then(1.0).otherwise(0.0))
        .select(pl.lit(instrument).alias("instrument"), "ex_date", "kind", "value")
    )


def _write_bars(bars: pl.DataFrame, file: Path) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(
        bars.to_arrow(),
        file,
        compression="zstd",
        compression_level=19,
        use_dictionary=list(_PRICES),  # prices repeat; times step evenly; volumes do neither
        column_encoding={"ts": "DELTA_BINARY_PACKED", "volume": "BYTE_STREAM_SPLIT"},
        store_schema=False,
        row_group_size=len(bars),
    )


if __name__ == "__main__":
    pack(SHARED, EMBEDDED)
