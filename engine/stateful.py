"""Strategies that need a loop: asked on each bar's close, with everything up to it and nothing beyond.

    class Trailing(Stateful):
        warm_up = 20
        length: int = 20

        def start(self) -> dict[str, float]:
            return {"highest": 0.0}

        def on_bar(self, bars: DataWindow, memory: dict[str, float]) -> Answer:
            memory["highest"] = max(memory["highest"], bars.high[-1])
            return Answer(enter=bars.close[-1] > bars.high[-self.length - 1 : -1].max())

`on_bar` is asked once for every bar of one instrument, in order, with the memory that `start` made.
`bars.close[-1]` is the bar that has just closed; an index past it raises, a slice that reaches past
it too. What is answered belongs to that close, as what columns say does: the same simulator, the
same records. Memory is for what was seen; what is held is the account's concern, not the signal's.
"""

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from engine.bars import timeframe_us
from engine.causal import BAR_COLUMNS
from engine.errors import (
    FinerTimeframeError,
    InvalidInputError,
    MissingTimeframeError,
    NotYetKnownError,
    UnknownNameError,
)
from engine.evaluation import Frames

Floats = NDArray[np.float64]


class Answer(NamedTuple):
    """What is said on one close; as `Signals`, with plain values. None leaves things as they are."""

    enter: bool = False
    exit: bool = False
    enter_short: bool = False
    exit_short: bool = False
    target: float | None = None
    weight: float | None = None
    strength: float | None = None
    confidence: float | None = None
    stop: float | None = None
    bias: float | None = None
    setup: str | None = None


TRUTHS = Answer._fields[:4]
"""What may happen on a close."""

NUMBERS = Answer._fields[4:-1]
"""What may be said beside it."""

SETUP = Answer._fields[-1]

WITHIN: Mapping[str, tuple[float, float]] = {"strength": (0.0, 1.0), "confidence": (0.0, 1.0), "bias": (-1.0, 1.0)}
"""Bounds of numbers, both included."""


class Past:
    """One column up to the current bar, read as a numpy array is; NaN where a value is not known."""

    __slots__ = ("_known", "_values")

    def __init__(self, values: Floats, known: int) -> None:
        self._values, self._known = values, known

    def __len__(self) -> int:
        return self._known

    def __getitem__(self, at: Any) -> Any:
        if isinstance(at, slice):
            if at.stop is not None and at.stop > self._known:
                raise NotYetKnownError(at.stop, known=self._known)
            known = self._values[: self._known][at].copy()  # a view could be widened to what comes after
            known.flags.writeable = False
            return known
        if not -self._known <= at < self._known:
            raise NotYetKnownError(at, known=self._known)
        return float(self._values[at if at >= 0 else self._known + at])


class DataWindow:
    """One instrument's bars as they are known on a close; `open high low close volume` end with the current bar."""

    __slots__ = ("_asked", "_known", "timeframe")

    def __init__(self, asked: "_Series", known: Mapping[str, int], timeframe: str) -> None:
        self._asked, self._known, self.timeframe = asked, known, timeframe

    def __len__(self) -> int:
        return self._known[self.timeframe]

    @property
    def ts(self) -> datetime:
        """The open of the current bar."""
        opened: datetime = self._asked.frames[self.timeframe]["ts"][len(self) - 1]
        return opened

    @property
    def open(self) -> Past:
        return self._past("open")

    @property
    def high(self) -> Past:
        return self._past("high")

    @property
    def low(self) -> Past:
        return self._past("low")

    @property
    def close(self) -> Past:
        return self._past("close")

    @property
    def volume(self) -> Past:
        return self._past("volume")

    def feature(self, name: str) -> Past:
        """A feature that the data set computes on these bars."""
        features = [known for known in self._asked.frames[self.timeframe].columns if known not in BAR_COLUMNS]
        if name not in features:
            raise UnknownNameError("feature", name, known=features)
        return self._past(name)

    def on(self, timeframe: str) -> "DataWindow":
        """The bars of a longer timeframe that have closed by now."""
        if timeframe_us(timeframe) < timeframe_us(self.timeframe):
            raise FinerTimeframeError(timeframe, on=self.timeframe)
        if timeframe not in self._known:
            raise MissingTimeframeError(timeframe, known=self._known)
        return DataWindow(self._asked, self._known, timeframe)

    def _past(self, name: str) -> Past:
        return Past(self._asked.column(self.timeframe, name), len(self))


class _Series:
    """One instrument's columns as arrays nobody can write to."""

    def __init__(self, frames: Frames) -> None:
        self.frames = frames
        self._columns: dict[tuple[str, str], Floats] = {}

    def column(self, timeframe: str, name: str) -> Floats:
        if (timeframe, name) not in self._columns:
            values = self.frames[timeframe][name].cast(pl.Float64).fill_null(float("nan")).to_numpy().copy()
            values.flags.writeable = False
            self._columns[timeframe, name] = values
        return self._columns[timeframe, name]


def ask_bar_by_bar(
    ask: Callable[[DataWindow], Answer], frames: Frames, timeframe: str, *, warm_up: int
) -> pl.DataFrame:
    """As `engine.strategy.decide`, by asking on every bar in order; to the first `warm_up` answers nobody listens."""
    if timeframe not in frames:
        raise MissingTimeframeError(timeframe, known=frames)
    bars, series = frames[timeframe], _Series(frames)
    instants = bars["known_at"].to_physical().to_numpy()
    known = {
        name: frame["known_at"].to_physical().to_numpy().searchsorted(instants, side="right")
        for name, frame in frames.items()
        if timeframe_us(name) >= timeframe_us(timeframe)
    }
    silence, answers = Answer(), []
    for t in range(bars.height):
        window = DataWindow(series, {name: int(counts[t]) for name, counts in known.items()}, timeframe)
        answer = ask(window)
        if not isinstance(answer, Answer):
            msg = f"on_bar returned {type(answer).__name__} on the bar of {bars['ts'][t]}, must return Answer(enter=…)"
            raise InvalidInputError(msg)
        answers.append(_checked(answer, bars["ts"][t]) if t >= warm_up else silence)
    schema = {**dict.fromkeys(TRUTHS, pl.Boolean), **dict.fromkeys(NUMBERS, pl.Float64), SETUP: pl.String}
    said = pl.DataFrame(answers, schema=schema, orient="row")
    return pl.concat([bars.select("ts", "known_at"), said], how="horizontal")


def _checked(answer: Answer, ts: datetime) -> Answer:
    for name in TRUTHS:
        if not isinstance(getattr(answer, name), bool | np.bool_):
            msg = f"{name} is {getattr(answer, name)!r} on the bar of {ts}, must be True or False"
            raise InvalidInputError(msg)
    for name in NUMBERS:
        value, (least, greatest) = getattr(answer, name), WITHIN.get(name, (-np.inf, np.inf))
        if value is not None and not (np.isfinite(value) and least <= value <= greatest):
            msg = f"{name} is {value:g} on the bar of {ts}, must be a finite number from {least:g} to {greatest:g}"
            raise InvalidInputError(msg)
    if answer.setup is not None and not isinstance(answer.setup, str):
        msg = f"setup is {answer.setup!r} on the bar of {ts}, must be a name"
        raise InvalidInputError(msg)
    if answer.stop is not None and answer.stop <= 0:
        msg = f"stop is {answer.stop:g} on the bar of {ts}, must be above 0: a distance"
        raise InvalidInputError(msg)
    enter, leave, enter_short, leave_short = (bool(getattr(answer, name)) for name in TRUTHS)
    return answer._replace(enter=enter, exit=leave, enter_short=enter_short, exit_short=leave_short)
