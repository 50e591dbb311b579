"""What a strategy looks at, and how it would have looked at an instant."""

from collections.abc import Callable, Collection, Mapping
from datetime import UTC, datetime
from typing import Literal, NamedTuple

import numpy as np
import polars as pl

from engine import strategy as engine
from engine.causal import BAR_COLUMNS, Column
from engine.evaluation import Frames, evaluate

Values = Callable[[pl.DataFrame], pl.DataFrame]
_TIMES = ("session", "ts", "known_at")


class Market(NamedTuple):
    """The bar frames of one instrument, and of those it may look at, by instrument and timeframe."""

    instrument: str
    frames: Mapping[str, Frames]
    peers: Collection[str] | None = None  # whom functions across instruments look at; all by default
    members: pl.DataFrame | None = None  # session instrument: those of them that are looked at in a session

    def bars(self, timeframe: str) -> pl.DataFrame:
        """The instrument's own."""
        return self.frames[self.instrument][timeframe]

    def features(self, timeframe: str) -> list[str]:
        return [name for name in self.bars(timeframe).columns if name not in BAR_COLUMNS]

    def computed(self, columns: Mapping[str, Column], place: tuple[str, str]) -> pl.DataFrame:
        """Columns as the engine computes them on the bars of an instrument and timeframe."""
        instrument, timeframe = place
        return evaluate(
            columns,
            self.frames[instrument],
            timeframe,
            instrument=instrument,
            others=self.frames,
            peers=self.asked,
            members=self.members,
        )

    @property
    def asked(self) -> Collection[str]:
        return self.frames if self.peers is None else self.peers

    def decided(self, strategy: engine.Strategy, timeframe: str, signals: engine.Signals | None = None) -> pl.DataFrame:
        """`signals`: what the strategy says, where it was asked before."""
        beside = engine.Market(self.instrument, self.frames, self.peers, self.members)
        return engine.decide(strategy, self.frames[self.instrument], timeframe, beside, signals=signals)

    def known_by(self, now: int) -> "Market":
        """What had closed at the instant `now`, in microseconds, and who was a member in sessions that had opened."""
        cut = self._each(lambda bars: bars.head(_row(bars, "known_at", now, "right")))
        if self.members is None:
            return cut
        today = datetime.fromtimestamp(now / 1e6, UTC).date()
        return cut._replace(members=self.members.filter(pl.col("session") <= today))

    def since(self, first: int, timeframe: str) -> "Market":
        """Without bars of `timeframe` that opened before `first`; longer ones are few, and all kept."""
        return self._replace(
            frames={
                name: {
                    length: bars.slice(_row(bars, "ts", first, "left")) if length == timeframe else bars
                    for length, bars in frames.items()
                }
                for name, frames in self.frames.items()
            }
        )

    def poisoned(self, now: int, poison: Values) -> "Market":
        """With other values in all bars that close after the instant `now`: those that `poison` makes of them."""

        def replaced(bars: pl.DataFrame) -> pl.DataFrame:
            known = _row(bars, "known_at", now, "right")
            return bars if known == bars.height else bars.head(known).vstack(poison(bars.slice(known)))

        return self._each(replaced)

    def _each(self, change: Values) -> "Market":
        changed = {
            name: {length: change(bars) for length, bars in frames.items()} for name, frames in self.frames.items()
        }
        return self._replace(frames=changed)


Decide = Callable[[Market], pl.DataFrame]
"""From a market to one row per bar of the strategy's timeframe: `ts` and what is decided."""


def nothing(bars: pl.DataFrame) -> pl.DataFrame:
    """NaN in every column that is no time."""
    return bars.with_columns(pl.lit(float("nan")).alias(name) for name in bars.columns if name not in _TIMES)


def another_walk(bars: pl.DataFrame) -> pl.DataFrame:
    """Prices that walk at random from the first open on, and of all else values that were there, in another order."""
    rng = np.random.default_rng(bars.height)
    start = float(bars["open"][0] or 1.0)
    closes = start * np.exp(np.cumsum(rng.normal(0, 0.02, bars.height)))
    opens = np.concatenate([[start], closes[:-1]])
    spread = np.exp(np.abs(rng.normal(0, 0.01, (2, bars.height))))
    walked = {
        "open": opens,
        "high": np.maximum(opens, closes) * spread[0],
        "low": np.minimum(opens, closes) / spread[1],
        "close": closes,
    }
    others = [name for name in bars.columns if name not in (*_TIMES, *walked)]
    order = rng.permutation(bars.height)
    return bars.with_columns(
        *(pl.Series(name, values) for name, values in walked.items()), pl.col(others).gather(order)
    ).select(bars.columns)


def _row(bars: pl.DataFrame, column: str, instant: int, side: Literal["left", "right"]) -> int:
    """Polars' own search asks its query engine, which takes 3 ms; numpy's takes none."""
    return int(bars[column].to_physical().to_numpy().searchsorted(instant, side=side))
