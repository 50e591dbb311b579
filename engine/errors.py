"""The tree of the engine's refusals. A message says what was seen, what was allowed, and what to do.

EngineError
├── StrategyError                      a strategy's own code raised, or returned what is no signal
└── InvalidInputError (a ValueError)   data or arguments that cannot mean anything
    ├── ColumnKindError                truth where a number is needed, or the reverse
    ├── EmptySeriesError               no values where there must be one
    ├── FinerTimeframeError            a shorter timeframe asked for on a longer one
    ├── FutureReferenceError           a lag that names a bar not yet known
    ├── MissingTimeframeError          a timeframe without bars
    ├── NotYetKnownError               a bar past the current one, or before the first
    ├── NotFiniteError                 NaN or infinity where every value must be a number
    ├── OutOfBoundsError               an argument outside what is allowed
    ├── UnalignedError                 arrays that must share a shape and do not
    ├── UnknownNameError               a name that nothing goes by
    ├── UnknownTimeframeError          a timeframe that is not a number and a unit
    └── UnusableBarError               a bar, or what was decided on it, that cannot have happened
"""

from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from pathlib import Path


def nearest_name(name: str, known: Iterable[str], *, cutoff: float = 0.6) -> str | None:
    """The known name that `name` was probably meant to be; of those alike, the one of the same letters.

    >>> nearest_name("art", ["atr", "var"])
    'atr'
    """
    matches = get_close_matches(name, known, cutoff=cutoff)
    return next((match for match in matches if sorted(match) == sorted(name)), matches[0] if matches else None)


class EngineError(Exception):
    """Everything the engine refuses."""


class StrategyError(EngineError):
    """What a strategy's own code did wrong, with the place in its file."""

    def __init__(self, strategy: str, problem: str, *, file: str, line: int) -> None:
        super().__init__(f"{strategy} ({Path(file).name}:{line}): {problem}")
        self.strategy = strategy
        self.problem = problem
        self.file = file
        self.line = line


class InvalidInputError(EngineError, ValueError):
    """Data or arguments that cannot mean anything."""


class ColumnKindError(InvalidInputError):
    def __init__(self, doing: str, *, found: str, expected: str) -> None:
        super().__init__(f"{doing} needs {expected}, got {found}: compare numbers first, join truths with & | ~")


class EmptySeriesError(InvalidInputError):
    def __init__(self) -> None:
        super().__init__("the series is empty and must hold at least one value: skip what has no history yet")


class FinerTimeframeError(InvalidInputError):
    def __init__(self, finer: str, *, on: str) -> None:
        super().__init__(f"{finer} bars asked for on {on} bars: use {on} or longer, or run the strategy on {finer}")


class FutureReferenceError(InvalidInputError):
    def __init__(self, bars: object) -> None:
        super().__init__(f"lag({bars!r}) is no bar of the past: write a whole number of bars, 0 or more")


class NotYetKnownError(InvalidInputError):
    def __init__(self, at: object, *, known: int) -> None:
        super().__init__(
            f"bar {at} asked for, and {known} bars are known: -1 is the bar that has just closed, -{known} the first"
        )


class MissingTimeframeError(InvalidInputError):
    def __init__(self, timeframe: str, *, known: Iterable[str]) -> None:
        super().__init__(f"there are no {timeframe} bars, only {', '.join(known) or 'none'}: use one of these")


class NotFiniteError(InvalidInputError):
    def __init__(self, positions: Sequence[int]) -> None:
        shown = ", ".join(map(str, positions[:3])) + (", …" if len(positions) > 3 else "")
        super().__init__(
            f"the series is NaN or infinite at position {shown} ({len(positions)} in all), every value must be a number: "
            "decide what a missing bar means before the call"
        )


class OutOfBoundsError(InvalidInputError):
    def __init__(self, name: str, value: object, *, allowed: str, remedy: str = "") -> None:
        super().__init__(f"{name} is {value!r}, must be {allowed}" + (f": {remedy}" if remedy else ""))


class TooManyOrdersError(InvalidInputError):
    def __init__(self, allowed: int) -> None:
        super().__init__(
            f"more than {allowed} orders of one instrument rest at once, at most {allowed} may: cancel some, or give them "
            "fewer bars to live"
        )


class UnalignedError(InvalidInputError):
    def __init__(self, **shapes: tuple[int, ...]) -> None:
        seen = ", ".join(f"{name}{list(shape)}" for name, shape in shapes.items())
        super().__init__(f"arrays must share one shape, got {seen}: align them before the call")


class UnknownNameError(InvalidInputError):
    def __init__(self, what: str, name: str, *, known: Iterable[str]) -> None:
        names = sorted(known)
        nearest = nearest_name(name, names, cutoff=0.4)
        hint = f"did you mean {nearest!r}?" if nearest else f"known are {', '.join(names) or 'none'}"
        super().__init__(f"unknown {what} {name!r}: {hint}")


class UnknownTimeframeError(InvalidInputError):
    def __init__(self, timeframe: str) -> None:
        super().__init__(f"timeframe {timeframe!r} is not a number and a unit: write 30s, 5m, 1h, 1d or 1w")


class UnusableBarError(InvalidInputError):
    def __init__(self, bar: int, *, seen: str, allowed: str, remedy: str) -> None:
        super().__init__(f"bar {bar}: {seen}, {allowed}: {remedy}")
