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
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
from numpy.typing import NDArray

from engine.errors import UnknownTimeframeError

Ints = NDArray[np.int64]
PRICES = ("open", "high", "low", "close")
COLUMNS = (*PRICES, "volume")
HOUR_US = 3_600_000_000
UTC_US = pl.Datetime("us", "UTC")
_FOLDED = pl.Schema(
    {
        "session": pl.Date(),
        "ts": UTC_US,
        "known_at": UTC_US,
        **dict.fromkeys(COLUMNS, pl.Float64()),
        "n_base": pl.Int32(),
        "n_due": pl.Int32(),
        "complete": pl.Boolean(),
    }
)
_SINCE = datetime(2020, 1, 1, tzinfo=UTC)
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


def bars_closing_at(closes: Sequence[float], timeframe: str) -> pl.DataFrame:
    """Bars without a gap around the clock, made of their closes: each opens where the one before closed.

    A frame as `engine.strategy.decide` takes it, to try a strategy on; volumes are 1.

    Raises:
        UnknownTimeframeError: as `timeframe_us`.
    """
    step = timedelta(microseconds=timeframe_us(timeframe))
    frame = pl.DataFrame({"close": pl.Series(closes, dtype=pl.Float64)}).with_row_index("n")
    opens = pl.col("close").shift(1).fill_null(pl.col("close"))
    ts = (pl.lit(_SINCE, UTC_US) + pl.col("n") * step).cast(UTC_US)
    return frame.select(
        session=ts.dt.date(),
        ts=ts,
        known_at=ts + step,
        open=opens,
        high=pl.max_horizontal(opens, "close"),
        low=pl.min_horizontal(opens, "close"),
        close="close",
        volume=pl.lit(1.0),
        factor=pl.lit(1.0),
    )


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
    if bars.is_empty() or due.is_empty():
        return pl.DataFrame(schema=_FOLDED)
    ts, at = _microseconds(due["ts"]), _microseconds(bars["ts"])
    buckets = _buckets(ts, due["session"].to_physical().to_numpy(), timeframe_us(timeframe))
    begins = _run_begins(buckets, due["session"].to_physical().to_numpy())
    starts = np.flatnonzero(begins)
    ends = np.append(starts[1:], ts.size)
    place = np.minimum(np.searchsorted(ts, at), ts.size - 1)
    wanted = ts[place] == at
    values = {column: bars[column].to_numpy()[wanted] for column in PRICES}
    of_bucket = (np.cumsum(begins) - 1)[place[wanted]]
    if of_bucket.size == 0:
        return pl.DataFrame(schema=_FOLDED)
    first = np.flatnonzero(_run_begins(of_bucket))
    last = np.append(first[1:], of_bucket.size) - 1
    held, n_base = of_bucket[first], last + 1 - first
    n_due = (ends - starts)[held]
    kept = n_base >= min_share * n_due
    return pl.DataFrame(
        {
            "session": due["session"].gather(starts[held]),
            "ts": pl.Series(buckets[starts[held]]).cast(UTC_US),
            "known_at": due["known_at"].gather(ends[held] - 1),
            "open": values["open"][first],
            "high": np.maximum.reduceat(values["high"], first),
            "low": np.minimum.reduceat(values["low"], first),
            "close": values["close"][last],
            "volume": _sums(bars["volume"].filter(pl.Series(wanted)), first),
            "n_base": n_base,
            "n_due": n_due,
            "complete": n_base == n_due,
        },
        schema=_FOLDED,
        strict=False,
    ).filter(pl.Series(kept))


def due_in(due: pl.DataFrame, timeframe: str) -> pl.DataFrame:
    """The bars of `timeframe` that should exist where every base bar of `due` does: `session ts known_at`, sorted."""
    ts, sessions = _microseconds(due["ts"]), due["session"].to_physical().to_numpy()
    buckets = _buckets(ts, sessions, timeframe_us(timeframe))
    starts = np.flatnonzero(_run_begins(buckets, sessions))
    last = np.append(starts[1:], ts.size) - 1
    return pl.DataFrame(
        {
            "session": due["session"].gather(starts),
            "ts": pl.Series(buckets[starts], dtype=pl.Int64).cast(UTC_US),
            "known_at": due["known_at"].gather(last),
        }
    )


def _buckets(ts: Ints, sessions: Ints, length: int) -> Ints:
    """The start of the longer bar that each due one falls into."""
    if length <= HOUR_US:
        return ts // length * length
    runs = np.flatnonzero(_run_begins(sessions))
    opens = np.repeat(ts[runs], np.diff(np.append(runs, ts.size)))
    return opens + (ts - opens) // length * length


def _run_begins(*labels: Ints) -> NDArray[np.bool_]:
    """Whether a run of equal labels begins here."""
    begins = np.ones(labels[0].size, dtype=bool)
    np.not_equal(labels[0][1:], labels[0][:-1], out=begins[1:])
    for label in labels[1:]:
        begins[1:] |= label[1:] != label[:-1]
    return begins


def _sums(volume: pl.Series, first: Ints) -> pl.Series:
    """Of every run; null where all of it is."""
    sums = np.add.reduceat(volume.fill_null(0.0).to_numpy(), first)
    known = np.logical_or.reduceat(volume.is_not_null().to_numpy(), first)
    return pl.Series(sums).set(pl.Series(~known), None)


def _microseconds(stamps: pl.Series) -> Ints:
    return stamps.to_physical().to_numpy()


def forward_adjusted(bars: pl.DataFrame, actions: pl.DataFrame) -> pl.DataFrame:
    """Carry one instrument's raw prices forward over its splits and dividends.

    A bar is multiplied by the factors of every action with an ex-date up to its session, so nothing of the future is
    used; actions up to the first session change nothing. A split's factor is the new units per old one; a dividend's
    is `close / (close - amount)`, with the last raw close before the ex-date in units after that day's split: that of
    buying more with what was paid. A dividend of the whole close or more is a mistake of whoever stated it: it is left
    out, as no price could carry it.

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
        .with_columns(
            paid=pl.when(pl.col("paid") < pl.col("ex_close")).then("paid").otherwise(0.0)
        )  # else no price is left
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
