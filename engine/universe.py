"""What a universe is chosen by: how much an instrument trades, how wide, since when and how completely.

Every measure of a session uses the sessions before it and nothing else, so that the choice for a
session can be made before it opens. A window reaches back over sessions of the data set, not over
bars: a session without a bar traded nothing.

The spread is a proxy made from bars, as quotes are not had. Abdi and Ranaldo, "A Simple Estimation
of Bid-Ask Spreads from Daily Close, High, and Low Prices", Review of Financial Studies 30 (2017),
4437-4480, with their two-day correction: with c the log close and eta the mean of log high and log
low,

    spread of (t, t + 1) = sqrt(max(4 (c_t - eta_t)(c_t - eta_t+1), 0))

A close is at bid or ask as often, and the mid-range is free of that bounce, so their distances on
both days share it. The estimate orders instruments; of a single one it is rough, and where the true
spread is a small part of the day's range it is too large.
"""

import numpy as np
import polars as pl
from numpy.typing import NDArray

Floats = NDArray[np.float64]
MEASURES = ("history_sessions", "traded_value", "spread_bps", "completeness")


def measures(sessions: pl.DataFrame, *, window_sessions: int) -> pl.DataFrame:
    """What is known of one instrument before each session.

    Args:
        sessions: one row for each session of the data set, sorted: `session`, raw `high low close volume` (null where
            there is no bar; volume null where none is known), `factor` (adjusted price = raw * factor), `due seen`
            (bars due and accepted; null or 0 due where the instrument was not listed).
        window_sessions: how many sessions before a session its means are taken over.

    Returns:
        `session history_sessions traded_value spread_bps completeness`. `history_sessions` counts the sessions with a
        bar; `traded_value` is the mean of close times volume, in the quote currency, since the instrument's first bar;
        `spread_bps` the mean over the window's pairs of neighbouring sessions that both have bars; `completeness` bars
        accepted over bars due. The last three are null where the window has nothing to take them from.
    """
    high, low, close, volume, factor = (
        sessions[name].cast(pl.Float64).to_numpy() for name in ("high", "low", "close", "volume", "factor")
    )
    present = ~np.isnan(close)
    value = np.where(present, close * volume, 0.0)
    value[np.cumsum(present) == 0] = np.nan
    due, seen = (sessions[name].fill_null(0).cast(pl.Float64).to_numpy() for name in ("due", "seen"))
    with np.errstate(invalid="ignore", divide="ignore"):
        pairs = _spreads(np.log(close * factor), np.log(high * factor), np.log(low * factor))
        completeness = _before(seen, window_sessions).sum(axis=1) / _before(due, window_sessions).sum(axis=1)
    return pl.DataFrame(
        {
            "session": sessions["session"],
            "history_sessions": np.cumsum(present) - present,
            "traded_value": _mean_before(value, window_sessions),
            "spread_bps": 1e4 * _mean_before(pairs, window_sessions),
            "completeness": completeness,
        }
    ).with_columns(pl.col("history_sessions").cast(pl.Int64), pl.col(*MEASURES[1:]).fill_nan(None))


def _spreads(close: Floats, high: Floats, low: Floats) -> Floats:
    """Of each session and the one before it, NaN where either is missing."""
    middle = (high + low) / 2
    spreads = np.full(close.size, np.nan)
    product = 4 * (close[:-1] - middle[:-1]) * (close[:-1] - middle[1:])
    spreads[1:] = np.sqrt(np.where(np.isnan(product), np.nan, np.maximum(product, 0.0)))
    return spreads


def _before(values: Floats, n: int) -> Floats:
    """A row for each value: the `n` before it, zero before the first.

    A running sum would be faster and leave the noise of large values behind them in all that follow.
    """
    padded = np.concatenate([np.zeros(n), values])
    return np.lib.stride_tricks.sliding_window_view(padded, n)[: values.size]


def _mean_before(values: Floats, n: int) -> Floats:
    known = ~np.isnan(values)
    sums = _before(np.where(known, values, 0.0), n).sum(axis=1)
    with np.errstate(invalid="ignore"):
        means: Floats = sums / _before(known.astype(np.float64), n).sum(axis=1)
    return means
