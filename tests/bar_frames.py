"""Bar frames for tests: gapless from 2020-01-01, from given closes or from a seeded random walk."""

from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl

from engine.bars import timeframe_us

START = datetime(2020, 1, 1, tzinfo=UTC)


def bar_frame(closes: list[float], *, step: timedelta, seed: int = 0) -> pl.DataFrame:
    """Bars with these closes; opens, ranges and volumes around them are drawn."""
    rng = np.random.default_rng(seed)
    close = np.asarray(closes, dtype=float)
    opens = close * rng.uniform(0.99, 1.01, close.size)
    ts = pl.Series([START + i * step for i in range(close.size)], dtype=pl.Datetime("us", "UTC"))
    return pl.DataFrame(
        {
            "session": ts.dt.date(),
            "ts": ts,
            "known_at": ts + step,
            "open": opens,
            "high": np.maximum(opens, close) * rng.uniform(1, 1.01, close.size),
            "low": np.minimum(opens, close) * rng.uniform(0.99, 1, close.size),
            "close": close,
            "volume": rng.uniform(1, 100, close.size),
            "factor": np.ones(close.size),
        }
    )


def random_walk(timeframe: str, n: int, *, seed: int) -> pl.DataFrame:
    """`n` bars whose close walks at random from 100."""
    steps = np.random.default_rng(seed).normal(0, 0.01, n)
    closes = (100 * np.exp(np.cumsum(steps))).tolist()
    return bar_frame(closes, step=timedelta(microseconds=timeframe_us(timeframe)), seed=seed)
