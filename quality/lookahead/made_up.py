"""Made-up bars on which what rarely happens does: crashes, gaps, spikes, stretches without a move, quiet and wild walks.

A cheat that fires once in five years of real bars may fire in none of them. So the prefix law is
proved on bars of these kinds too, in which stretches of 20 to 200 bars follow each other, and it is
said which of a strategy's signals fired on them or on real ones, and which never did: of those that
never fired, firing is not proved.
"""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
from numpy.typing import NDArray

from engine.bars import resample, timeframe_us
from engine.evaluation import Frames
from quality.lookahead.market import Market

BARS = 3_000  # beyond the warm-up
START = datetime(2000, 1, 3, tzinfo=UTC)
_LENGTHS = (20, 200)

Floats = NDArray[np.float64]


def made_up(market: Market, timeframe: str, *, n_bars: int) -> Market:
    """As many made-up bars for every instrument of a market, in all of its timeframes, always the same ones."""
    frames = {
        name: _frames(held, timeframe, n_bars, np.random.default_rng(seed))
        for seed, (name, held) in enumerate(market.frames.items())
    }
    return market._replace(frames=frames, members=None)


def _frames(held: Frames, timeframe: str, n_bars: int, rng: np.random.Generator) -> Frames:
    step = timedelta(microseconds=timeframe_us(timeframe))
    ts = pl.Series("ts", [START]).dt.cast_time_unit("us").new_from_index(0, n_bars) + step * pl.int_range(
        n_bars, eager=True
    )
    base = _bars(ts, step, rng)
    frames = {timeframe: _with_features(base, held[timeframe], rng)}
    due = base.select("session", "ts", "known_at")
    for name in held:
        if timeframe_us(name) > timeframe_us(timeframe):
            folded = resample(base, due, timeframe=name, min_share=1.0)
            frames[name] = folded.select("session", "ts", "known_at", *_PRICES, "volume").with_columns(
                factor=pl.lit(1.0)
            )
    return frames


_PRICES = ("open", "high", "low", "close")


def _bars(ts: pl.Series, step: timedelta, rng: np.random.Generator) -> pl.DataFrame:
    jumps, moves, ranges = _stretches(ts.len(), rng)
    opens, closes, last = np.empty(ts.len()), np.empty(ts.len()), 100.0
    for t in range(ts.len()):
        opens[t] = last * np.exp(jumps[t])
        closes[t] = last = min(max(opens[t] * np.exp(moves[t]), 1.0), 1e6)
    volumes = np.round(rng.lognormal(3, 1, ts.len()) * (1 + 50 * ranges), 3)
    return pl.DataFrame(
        {
            "session": ts.dt.date(),
            "ts": ts,
            "known_at": ts + step,
            "open": opens,
            "high": np.maximum(opens, closes) * (1 + ranges),
            "low": np.minimum(opens, closes) / (1 + ranges),
            "close": closes,
            "volume": np.where(ranges > 0, volumes, 0.0),
            "factor": 1.0,
        }
    )


def _stretches(n: int, rng: np.random.Generator) -> tuple[Floats, Floats, Floats]:
    """Of each bar: the gap before it and the move in it, both as logarithms, and its range beyond them."""
    jumps, moves, ranges = np.zeros(n), np.zeros(n), np.zeros(n)
    begin = 0
    while begin < n:
        end = min(n, begin + int(rng.integers(*_LENGTHS)))
        kind, size = int(rng.integers(8)), end - begin
        volatility = (0.002, 0.01, 0.01, 0.01, 0.03, 0.01, 0.01, 0.0)[kind]
        drift = (0.0, 0.004, -0.004, 0.0, 0.0, 0.0, 0.0, 0.0)[kind]
        moves[begin:end] = rng.normal(drift, volatility, size) if volatility else 0.0
        ranges[begin:end] = np.abs(rng.normal(0, volatility, size)) if volatility else 0.0
        middle = begin + size // 2
        if kind == 3:  # a crash: a third in one bar, more in the next four, and half of it back
            moves[middle], moves[middle + 1 : middle + 5] = -0.4, -0.05
            moves[middle + 5 : min(end, middle + 10)] = 0.06
        elif kind == 5:  # a gap either way
            jumps[middle] = rng.choice([-0.15, 0.15])
        elif kind == 6 and middle + 1 < n:  # a spike, gone with the next bar
            moves[middle], moves[middle + 1] = 0.3, -0.3
        begin = end
    return jumps, moves, ranges


def _with_features(base: pl.DataFrame, held: pl.DataFrame, rng: np.random.Generator) -> pl.DataFrame:
    """Values that the features had on real bars, in runs from here and there."""
    names = [name for name in held.columns if name not in base.columns]
    if not names or held.is_empty():
        return base
    runs = rng.integers(0, held.height, base.height // 50 + 1)
    rows = (np.repeat(runs, 50)[: base.height] + np.tile(np.arange(50), runs.size)[: base.height]) % held.height
    return base.hstack(held.select(names).select(pl.all().gather(rows)))


def fired(decided: Mapping[str, pl.DataFrame], names: list[str]) -> dict[str, int]:
    """On how many bars each of the named columns said something, over all that was decided."""
    return {
        name: sum(
            int((frame[name] if frame[name].dtype == pl.Boolean else frame[name].is_not_null()).sum())
            for frame in decided.values()
        )
        for name in names
    }
