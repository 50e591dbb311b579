"""The registry: every indicator by name, and what may be said of it without computing it.

Two numbers say when a value may be used. `lookback` is the bars before the first value, as TA-Lib
counts. `warm_up` is the bars from that value on until older data weigh less than 1e-9: none for a
window, which forgets what leaves it; for exponential smoothing the smallest n with
(1 - alpha)^n < 1e-9 (EMA 20: 208; Wilder 14: 280); for smoothing of what was smoothed the sum. Both
are counted from the parameters as the columns are put together, so nobody states them twice.

What has no warm-up says from where it counts: `anchor` is the start of the series, or the session's.

`nulls` says what a missing value (a null; never NaN) of an input does: nothing beyond the windows it
is in; or all of the rest, as there is no honest way to resume what has forgotten part of its past.
"""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import wraps
from math import isfinite
from typing import Any, Literal, NamedTuple, ParamSpec, TypeVar

import polars as pl

from engine.causal import Bars, Column
from engine.errors import OutOfBoundsError, UnknownNameError
from engine.evaluation import evaluate
from engine.indicators.making import Number

Anchor = Literal["start", "session"]
Nulls = Literal["window", "rest", "session", "skipped"]
MOST_BARS = 100_000  # of a window, as TA-Lib allows
SINGLE = ("value",)
P = ParamSpec("P")
R = TypeVar("R", bound=Column | tuple[Column, ...])


class Bounds(NamedTuple):
    """What a parameter may be: from `least` to `most`; `above` leaves `least` itself out."""

    least: Number
    most: Number
    above: bool = False


class Parameter(NamedTuple):
    kind: type[int] | type[float]
    default: Number
    bounds: Bounds

    def fits(self, value: object) -> bool:
        wanted = int if self.kind is int else int | float
        if not isinstance(value, wanted) or isinstance(value, bool) or not isfinite(value):
            return False
        return self.bounds.least <= value <= self.bounds.most and not (self.bounds.above and value == self.bounds.least)

    @property
    def allowed(self) -> str:
        least, most, above = self.bounds
        if self.kind is int:
            return f"a whole number from {least} to {most}"
        return f"a number above {least:g} and up to {most:g}" if above else f"a number from {least:g} to {most:g}"


class Indicator(NamedTuple):
    """One line of the registry."""

    name: str
    function: Callable[..., Column | tuple[Column, ...]]
    inputs: tuple[str, ...]  # columns of bars
    outputs: tuple[str, ...]  # `value` where there is one
    units: Mapping[str, str]  # by output
    parameters: Mapping[str, Parameter]
    nulls: Nulls
    anchor: Anchor | None
    computes: str
    source: str

    def columns(self, bars: Bars, **parameters: Number) -> dict[str, Column]:
        """The outputs on `bars`, by name; parameters left out have their defaults.

        Raises:
            UnknownNameError: no such parameter; the message has the nearest name.
            OutOfBoundsError: a parameter of the wrong type or outside its bounds.
        """
        what = f"parameter of {self.name}"
        for given in parameters:
            if given not in self.parameters:
                raise UnknownNameError(what, given, known=self.parameters)
        of = getattr(bars, self.inputs[0]) if _takes_one_column(self.function) else bars
        made = self.function(of, **parameters)
        return dict(zip(self.outputs, (made,) if isinstance(made, Column) else made, strict=True))

    def lookback(self, output: str, **parameters: Number) -> int:
        """Bars before the first value of `output`."""
        return first_value(self.columns(Bars("1d"), **parameters)[output])

    def warm_up(self, output: str, **parameters: Number) -> int:
        """Bars from the first value of `output` on until older data weigh less than 1e-9."""
        column = self.columns(Bars("1d"), **parameters)[output]
        return column.warm_up - first_value(column)


INDICATORS: dict[str, Indicator] = {}


def indicator(name: str, bars: Bars, *, output: str | None = None, **parameters: Number) -> Column:
    """The registered indicator `name` on `bars`; parameters left out have their defaults.

    Raises:
        UnknownNameError: no such indicator, parameter or output; the message has the nearest name.
        OutOfBoundsError: a parameter of the wrong type or outside its bounds, or an output left out where there are several.
    """
    if name not in INDICATORS:
        raise UnknownNameError("indicator", name, known=INDICATORS)
    columns = INDICATORS[name].columns(bars, **parameters)
    what = f"output of {name}"
    if output is None and len(columns) > 1:
        allowed = f"one of {', '.join(columns)}"
        raise OutOfBoundsError(what, output, allowed=allowed)
    chosen = SINGLE[0] if output is None else output
    if chosen not in columns:
        raise UnknownNameError(what, chosen, known=columns)
    return columns[chosen]


def registered(
    function: Callable[P, R],
    units: str | tuple[str, ...],
    source: str,
    *,
    inputs: str = "close",
    nulls: Nulls = "window",
    anchor: Anchor | None = None,
    **bounds: Bounds,
) -> Callable[P, R]:
    """Enter `function` in the registry; what comes back refuses parameters outside their bounds.

    Args:
        function: from a column (then it is registered on the first of `inputs`) or from bars, and parameters with
            defaults, to a column or a named tuple of them; its name, outputs and first sentence are the entry's.
        units: of the value, or of each output in turn.
        source: where the formula was published.
        inputs: the columns of bars it reads, apart by spaces.
        nulls: what a missing value of an input does.
        anchor: from where it counts, where that is not forgotten.
        bounds: of each parameter.
    """
    signature = inspect.signature(function)
    outputs = getattr(signature.return_annotation, "_fields", SINGLE)
    parameters = {
        name: Parameter(parameter.annotation, parameter.default, bounds[name])
        for name, parameter in list(signature.parameters.items())[1:]
    }

    @wraps(function)
    def checked(*args: P.args, **kwargs: P.kwargs) -> R:
        given = signature.bind(*args, **kwargs).arguments
        for name, parameter in parameters.items():
            if name in given and not parameter.fits(given[name]):
                raise OutOfBoundsError(name, given[name], allowed=parameter.allowed)
        return function(*args, **kwargs)

    name = function.__name__
    INDICATORS[name] = Indicator(
        name=name,
        function=checked,
        inputs=tuple(inputs.split()),
        outputs=outputs,
        units=dict(zip(outputs, units if isinstance(units, tuple) else (units,) * len(outputs), strict=True)),
        parameters=parameters,
        nulls=nulls,
        anchor=anchor,
        computes=(inspect.getdoc(function) or "").split("\n")[0],
        source=source,
    )
    return checked


def whole(least: int) -> Bounds:
    """A number of bars from `least` on."""
    return Bounds(least, MOST_BARS)


def above(least: float, *, most: float = 1_000.0) -> Bounds:
    """A number above `least`."""
    return Bounds(least, most, above=True)


def _takes_one_column(function: Callable[..., Any]) -> bool:
    return next(iter(inspect.signature(function).parameters.values())).annotation is Column


def values(columns: Mapping[str, Column], bars: pl.DataFrame) -> pl.DataFrame:
    """What `columns` are on one frame of bars from their first value on: to look at, as no warm-up is waited for.

    Args:
        columns: of one timeframe, by the name each is to have.
        bars: `ts` and the columns that are read, in the order of time.

    Returns:
        A Float64 column each, a row for each bar; null through the lookback and where there is no value, never NaN.
    """
    at_once = {name: _never_waited_for(column) for name, column in columns.items()}
    timeframe = next(iter(columns.values())).timeframe
    frame = bars.with_columns(known_at="ts")
    return evaluate(at_once, {timeframe: frame}, timeframe).drop("ts", "known_at")


def first_value(column: Column) -> int:
    """How many bars before a column's first value: its own lookback after the longest of what it is made of."""
    return max((first_value(operand) for operand in column.operands), default=0) + column.lookback


def _never_waited_for(column: Column) -> Column:
    operands = tuple(_never_waited_for(operand) for operand in column.operands)
    waits = column.forgets or any(one is not other for one, other in zip(operands, column.operands, strict=True))
    return replace(column, operands=operands, forgets=0) if waits else column
