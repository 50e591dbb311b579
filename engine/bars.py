"""The bar: OHLCV over `[ts, ts + timeframe)`, labelled by its open, UTC.

Three things are done to bars and nothing else: a timeframe is read as a length, bars of a
short timeframe are folded into longer ones, and raw prices are carried forward over splits
and dividends.

Folding takes the grid of bars that are due (from a calendar), so it knows how many of them
make one longer bar: open of the first, highest high, lowest low, close of the last, summed
volume. Up to an hour the longer bars lie on the clock's grid, beyond it they start at their
session's open; none reaches past its session's close.
"""

import re

import polars as pl

from engine.errors import UnknownTimeframeError

PRICES = ("open", "high", "low", "close")
COLUMNS = (*PRICES, "volume")
HOUR_US = 3_600_000_000
_UNITS_US = {"s": 1_000_000, "m": 60_000_000, "h": HOUR_US, "d": 24 * HOUR_US, "w": 7 * 24 * HOUR_US}


def timeframe_us(timeframe: str) -> int:
    """The length of `timeframe` ("30s", "5m", "1h", "1d", "1w") in microseconds.

    >>> timeframe_us("5m")
    300000000

    Raises:
        UnknownTimeframeError: not a positive whole number followed by one of s, m, h, d, w.
    """
    match = re.fullmatch(r"([1-9][0-9]*)([smhdw])", timeframe)
    if match is None:
        raise UnknownTimeframeError(timeframe)
    return int(match[1]) * _UNITS_US[match[2]]


def resample(bars: pl.DataFrame, due: pl.DataFrame, *, timeframe: str, min_share: float) -> pl.DataFrame:
    """Fold one instrument's bars into bars of `timeframe`.

    Args:
        bars: `ts` and `open high low close volume`, sorted, at most one row a ts; volume may be null (then it stays so).
        due: every base bar that should exist: `session`, `ts`, `known_at`, sorted, covering `bars`.
        timeframe: the longer timeframe; a multiple of the base one.
        min_share: a longer bar exists when at least this share of its due base bars does.

    Returns:
        `session ts known_at open high low close volume n_base n_due complete`, sorted by ts. `known_at` is the close of
        the last base bar that was due in it, so it is known no earlier than that bar, present or not.
    """
    length = timeframe_us(timeframe)
    opens = pl.col("ts").min().over("session") if length > HOUR_US else pl.lit(0).cast(pl.Datetime("us", "UTC"))
    grid = due.with_columns(
        bucket=opens + ((pl.col("ts") - opens).dt.total_microseconds() // length * length) * pl.duration(microseconds=1)
    )
    folded = (
        grid.join(bars.select("ts", *COLUMNS), on="ts", how="left", maintain_order="left")
        .group_by("session", "bucket", maintain_order=True)
        .agg(
            pl.col("known_at").last(),
            pl.col("open").drop_nulls().first(),
            pl.col("high").max(),
            pl.col("low").min(),
            pl.col("close").drop_nulls().last(),
            pl.when(pl.col("volume").is_not_null().any()).then(pl.col("volume").sum()).alias("volume"),
            pl.col("close").count().cast(pl.Int32).alias("n_base"),
            pl.len().cast(pl.Int32).alias("n_due"),
        )
    )
    return (
        folded.filter(pl.col("n_base") > 0, pl.col("n_base") >= min_share * pl.col("n_due"))
        .with_columns(complete=pl.col("n_base") == pl.col("n_due"))
        .rename({"bucket": "ts"})
        .select("session", "ts", "known_at", *COLUMNS, "n_base", "n_due", "complete")
    )


def forward_adjusted(bars: pl.DataFrame, actions: pl.DataFrame) -> pl.DataFrame:
    """Carry one instrument's raw prices forward over its splits and dividends.

    A bar is multiplied by the factors of every action with an ex-date up to its session, so nothing of the future is
    used; actions up to the first session change nothing. A split's factor is the new units per old one; a dividend's
    is `close / (close - amount)`, with the last raw close before the ex-date in units after that day's split: that of
    buying more with what was paid.

    Args:
        bars: `session ts` and raw `open high low close volume`, sorted by ts.
        actions: `ex_date kind value`; kind is split (value: new units per old one) or dividend (cash per unit).

    Returns:
        `bars` with adjusted prices, volume divided by the splits alone, and `factor` (adjusted price = raw * factor).
    """
    if bars.is_empty() or actions.is_empty():
        return bars.with_columns(factor=pl.lit(1.0))
    before = bars.select("session", last_close="close").sort("session")
    dated = (
        actions.filter(pl.col("ex_date") > bars["session"].min())
        .group_by("ex_date")
        .agg(
            split=pl.col("value").filter(pl.col("kind") == "split").product(),
            paid=pl.col("value").filter(pl.col("kind") == "dividend").sum(),
        )
        .sort("ex_date")
        .join_asof(before, left_on="ex_date", right_on="session", strategy="backward", allow_exact_matches=False)
        .with_columns(ex_close=pl.col("last_close") / pl.col("split"))
        .with_columns(price=pl.col("split") * pl.col("ex_close") / (pl.col("ex_close") - pl.col("paid")))
        .select("ex_date", pl.col("split").cum_prod(), pl.col("price").cum_prod())
    )
    joined = bars.join_asof(
        dated.rename({"split": "_splits", "price": "factor"}),
        left_on="session",
        right_on="ex_date",
        strategy="backward",
    )
    return (
        joined.with_columns(pl.col("factor").fill_null(1.0), pl.col("_splits").fill_null(1.0))
        .with_columns(
            *(pl.col(price) * pl.col("factor") for price in PRICES), volume=pl.col("volume") / pl.col("_splits")
        )
        .drop("_splits", "ex_date", strict=False)
    )
