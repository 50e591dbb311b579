"""Causal columns: the vocabulary a strategy may use, in which the future has no name.

A strategy never sees a frame. It is handed `Bars`, takes columns from them (`bars.close`,
`bars.on("1d").close`, `bars.feature("atr_14")`) and joins these by arithmetic, comparison,
`& | ~`, `.lag(n)` and rolling windows, each of which looks at this bar and at earlier ones.

Nothing is computed until `evaluate`, which goes, per timeframe:

1. every column of a longer timeframe is evaluated on its own bars, by these same steps;
2. its values are laid beside the shorter bars: a bar sees the newest longer bar that has closed
   by its own close (`known_at`), never one that is still forming;
3. all columns are computed together;
4. a value is withheld (null) until the column's warm-up is over and all that it needs is known.

A null is "not known" and stays so through arithmetic; a quotient by zero is null too, and NaN
never appears, because polars holds NaN to be larger than every number.

The one way round the vocabulary is `derived`, which takes polars expressions: indicators are
made with it, and the negative control that must look ahead. Strategies have no business with it.
"""

import operator
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from math import isfinite
from typing import Literal, Union

import polars as pl

from engine.bars import timeframe_us
from engine.errors import (
    ColumnKindError,
    FinerTimeframeError,
    FutureReferenceError,
    MissingTimeframeError,
    OutOfBoundsError,
    UnknownNameError,
)

Kind = Literal["number", "truth"]
Operand = Union["Column", float]
BAR_COLUMNS = ("session", "ts", "known_at", "open", "high", "low", "close", "volume", "factor")


def evaluate(columns: Mapping[str, "Column"], frames: Mapping[str, pl.DataFrame], timeframe: str) -> pl.DataFrame:
    """Compute `columns` on the bars of `timeframe`.

    Args:
        columns: what to compute, by the name it is to have.
        frames: one instrument's bar frames by timeframe, each sorted by `ts`.
        timeframe: that of the result; columns of longer timeframes are aligned to it.

    Returns:
        `ts`, `known_at` and each column (Float64 or Boolean), one row per bar; null through a column's warm-up, never NaN or infinite.

    Raises:
        MissingTimeframeError: a column's timeframe has no frame.
        FinerTimeframeError: a column is of a shorter timeframe.
    """
    aligned = {name: _on(column, timeframe) for name, column in columns.items()}
    frame = _with_longer(frames, timeframe, aligned.values())
    computed = {name: f"computed {name}" for name in columns}
    # In two steps: what an expression names twice would be computed twice.
    frame = frame.with_columns(aligned[name].expression.alias(there) for name, there in computed.items())
    return frame.select(
        "ts", "known_at", *(_known(aligned[name], pl.col(there)).alias(name) for name, there in computed.items())
    )


def derived(
    function: Callable[..., pl.Expr], *columns: "Column", lookback: int = 0, kind: Kind = "number", warm_up: int = 0
) -> "Column":
    """A column made from others by any polars expression: for indicators and negative controls, not for strategies.

    Args:
        function: from the operands' expressions, over the frame of the shortest timeframe among them, to the result's.
        columns: the operands; those of longer timeframes are aligned first.
        lookback: bars of history that one value needs beside its own.
        kind: of the result.
        warm_up: bars from the first value on until older data weigh less than 1e-9.
    """
    timeframe = min((column.timeframe for column in columns), key=timeframe_us)
    operands = [_on(column, timeframe) for column in columns]
    needs: dict[str, int] = {}
    for operand in operands:
        for name, bars in operand.needs.items():
            needs[name] = max(needs.get(name, 0), bars + lookback + warm_up)
    return Column(
        timeframe=timeframe,
        expression=function(*(operand.expression for operand in operands)),
        kind=kind,
        lookback=max(operand.lookback for operand in operands) + lookback,
        warm_up=max(operand.warm_up for operand in operands) + lookback + warm_up,
        needs=needs,
        longer={name: column for operand in operands for name, column in operand.longer.items()},
    )


def crossed_above(column: "Column", level: Operand) -> "Column":
    """True on the bar where `column` goes from at or below `level` to above it."""
    above = column > level  # both on the shorter timeframe, whose last bar is meant
    return above & ~above.lag(1)


def crossed_below(column: "Column", level: Operand) -> "Column":
    """True on the bar where `column` goes from at or above `level` to below it."""
    below = column < level
    return below & ~below.lag(1)


def whole_number(name: str, value: object, *, at_least: int) -> int:
    """`value` as it is, or OutOfBoundsError where it is no whole number of at least `at_least`."""
    if not isinstance(value, int) or isinstance(value, bool) or value < at_least:
        raise OutOfBoundsError(name, value, allowed=f"a whole number of at least {at_least}")
    return value


def positive_number(name: str, value: object) -> float:
    """`value` as a float, or OutOfBoundsError where it is no finite number above zero."""
    if not isinstance(value, int | float) or isinstance(value, bool) or not isfinite(value) or value <= 0:
        raise OutOfBoundsError(name, value, allowed="a finite number above 0")
    return float(value)


@dataclass(frozen=True, kw_only=True, eq=False, slots=True)
class Column:
    """A number or a truth for every bar of one timeframe, said in terms of that bar and earlier ones.

    Numbers know + - * / and comparisons, truths know & | ~; a plain number may stand for either operand of the former.
    """

    timeframe: str
    expression: pl.Expr  # over the frame of `timeframe`, with the columns of `longer` beside it
    kind: Kind = "number"
    lookback: int = 0  # bars of `timeframe` before the first value
    warm_up: int = 0  # bars of `timeframe` before the first that may be used
    needs: Mapping[str, int] = field(default_factory=dict)  # column of the frame: known since so many bars
    longer: Mapping[str, "Column"] = field(default_factory=dict)  # columns of longer timeframes, by name in the frame

    def lag(self, bars: int) -> "Column":
        """The value `bars` bars ago; 0 is this bar, and there is no negative."""
        if not isinstance(bars, int) or isinstance(bars, bool) or bars < 0:
            raise FutureReferenceError(bars)
        return derived(lambda values: values.shift(bars), self, lookback=bars, kind=self.kind)

    def rolling_mean(self, bars: int) -> "Column":
        """The mean of the last `bars` values, this bar's included; null where one of them is."""
        return self._rolling("rolling_mean", bars, lambda values: values.rolling_mean(bars))

    def rolling_std(self, bars: int) -> "Column":
        """The population standard deviation (ddof 0) of the last `bars` values; null where one of them is."""
        return self._rolling("rolling_std", bars, lambda values: values.rolling_std(bars, ddof=0))

    def rolling_min(self, bars: int) -> "Column":
        """The least of the last `bars` values; null where one of them is."""
        return self._rolling("rolling_min", bars, lambda values: values.rolling_min(bars))

    def rolling_max(self, bars: int) -> "Column":
        """The greatest of the last `bars` values; null where one of them is."""
        return self._rolling("rolling_max", bars, lambda values: values.rolling_max(bars))

    def rolling_sum(self, bars: int) -> "Column":
        """The sum of the last `bars` values; null where one of them is."""
        return self._rolling("rolling_sum", bars, lambda values: values.rolling_sum(bars))

    def abs(self) -> "Column":
        return derived(lambda values: values.abs(), _checked(self, "abs", "number"))

    def _rolling(self, name: str, bars: int, function: Callable[[pl.Expr], pl.Expr]) -> "Column":
        whole_number(f"the window of {name}", bars, at_least=1)
        return derived(function, _checked(self, name, "number"), lookback=bars - 1)

    def _arithmetic(self, sign: str, function: Callable[..., pl.Expr], left: Operand, right: Operand) -> "Column":
        return derived(function, *(_checked(_operand(side, self), sign, "number") for side in (left, right)))

    def _comparison(self, sign: str, function: Callable[..., pl.Expr], right: Operand) -> "Column":
        sides = (_checked(_operand(side, self), sign, "number") for side in (self, right))
        return derived(function, *sides, kind="truth")

    def _logic(self, sign: str, function: Callable[..., pl.Expr], *others: "Column") -> "Column":
        return derived(function, *(_checked(side, sign, "truth") for side in (self, *others)), kind="truth")

    def __add__(self, other: Operand) -> "Column":
        return self._arithmetic("+", operator.add, self, other)

    def __radd__(self, other: float) -> "Column":
        return self._arithmetic("+", operator.add, other, self)

    def __sub__(self, other: Operand) -> "Column":
        return self._arithmetic("-", operator.sub, self, other)

    def __rsub__(self, other: float) -> "Column":
        return self._arithmetic("-", operator.sub, other, self)

    def __mul__(self, other: Operand) -> "Column":
        return self._arithmetic("*", operator.mul, self, other)

    def __rmul__(self, other: float) -> "Column":
        return self._arithmetic("*", operator.mul, other, self)

    def __truediv__(self, other: Operand) -> "Column":
        return self._arithmetic("/", _quotient, self, other)

    def __rtruediv__(self, other: float) -> "Column":
        return self._arithmetic("/", _quotient, other, self)

    def __neg__(self) -> "Column":
        return derived(operator.neg, _checked(self, "-", "number"))

    def __lt__(self, other: Operand) -> "Column":
        return self._comparison("<", operator.lt, other)

    def __le__(self, other: Operand) -> "Column":
        return self._comparison("<=", operator.le, other)

    def __gt__(self, other: Operand) -> "Column":
        return self._comparison(">", operator.gt, other)

    def __ge__(self, other: Operand) -> "Column":
        return self._comparison(">=", operator.ge, other)

    def __eq__(self, other: Operand) -> "Column":  # type: ignore[override]
        return self._comparison("==", operator.eq, other)

    def __ne__(self, other: Operand) -> "Column":  # type: ignore[override]
        return self._comparison("!=", operator.ne, other)

    __hash__ = None  # type: ignore[assignment]

    def __and__(self, other: "Column") -> "Column":
        return self._logic("&", operator.and_, other)

    def __or__(self, other: "Column") -> "Column":
        return self._logic("|", operator.or_, other)

    def __invert__(self) -> "Column":
        return self._logic("~", operator.invert)

    def __bool__(self) -> bool:
        raise ColumnKindError("if/and/or/not", found="a column of many", expected="one truth")


@dataclass(frozen=True, slots=True)
class Bars:
    """One instrument's bars of one timeframe as a strategy sees them: prices are forward-adjusted."""

    timeframe: str
    features: Mapping[str, int] = field(default_factory=dict)  # name: declared warm-up in bars

    @property
    def open(self) -> Column:
        return Column(timeframe=self.timeframe, expression=pl.col("open"))

    @property
    def high(self) -> Column:
        return Column(timeframe=self.timeframe, expression=pl.col("high"))

    @property
    def low(self) -> Column:
        return Column(timeframe=self.timeframe, expression=pl.col("low"))

    @property
    def close(self) -> Column:
        return Column(timeframe=self.timeframe, expression=pl.col("close"))

    @property
    def volume(self) -> Column:
        """Traded volume; null where the source knows none."""
        return Column(timeframe=self.timeframe, expression=pl.col("volume"))

    def on(self, timeframe: str) -> "Bars":
        """The same instrument on a longer timeframe, each bar visible from its close on; it carries no features."""
        if timeframe == self.timeframe:
            return self
        if timeframe_us(timeframe) < timeframe_us(self.timeframe):
            raise FinerTimeframeError(timeframe, on=self.timeframe)
        return Bars(timeframe)

    def feature(self, name: str) -> Column:
        """A feature that the data set computes on these bars."""
        if name not in self.features:
            raise UnknownNameError("feature", name, known=self.features)
        return Column(
            timeframe=self.timeframe,
            expression=pl.col(name).fill_nan(None),
            warm_up=self.features[name],
            needs={name: 0},
        )


def _quotient(dividend: pl.Expr, divisor: pl.Expr) -> pl.Expr:
    return pl.when(divisor != 0).then(dividend / divisor)


def _operand(value: Operand, beside: Column) -> Column:
    if isinstance(value, Column):
        return value
    if not isinstance(value, int | float) or isinstance(value, bool) or not isfinite(value):
        raise OutOfBoundsError("operand", value, allowed="a column or a finite number")
    return Column(timeframe=beside.timeframe, expression=pl.lit(float(value)))


def _checked(value: object, doing: str, kind: Kind) -> Column:
    found = value.kind if isinstance(value, Column) else repr(value)
    if not isinstance(value, Column) or value.kind != kind:
        raise ColumnKindError(doing, found=found, expected=f"a column of {kind}s")
    return value


def _on(column: Column, timeframe: str) -> Column:
    if column.timeframe == timeframe:
        return column
    if timeframe_us(column.timeframe) < timeframe_us(timeframe):
        raise FinerTimeframeError(column.timeframe, on=timeframe)
    # named by content, so what is used twice is computed once
    content = column.expression.meta.serialize() + repr((column.warm_up, sorted(column.needs.items()))).encode()
    name = f"{column.timeframe} {sha256(content).hexdigest()}"
    return Column(
        timeframe=timeframe, expression=pl.col(name), kind=column.kind, needs={name: 0}, longer={name: column}
    )


def _with_longer(frames: Mapping[str, pl.DataFrame], timeframe: str, columns: Collection[Column]) -> pl.DataFrame:
    if timeframe not in frames:
        raise MissingTimeframeError(timeframe, known=frames)
    frame = frames[timeframe]
    by_timeframe: dict[str, dict[str, Column]] = {}
    for column in columns:
        for name, longer in column.longer.items():
            by_timeframe.setdefault(longer.timeframe, {})[name] = longer
    for longer_timeframe, longer_columns in by_timeframe.items():
        values = evaluate(longer_columns, frames, longer_timeframe).drop("ts")
        frame = frame.join_asof(values, on="known_at", strategy="backward")
    return frame


def _known(column: Column, values: pl.Expr) -> pl.Expr:
    conditions = [pl.col(name).is_not_null().shift(bars, fill_value=False) for name, bars in column.needs.items()]
    if column.warm_up:
        conditions.append(pl.int_range(pl.len()) >= column.warm_up)
    if column.kind == "number":
        conditions.append(values.is_finite())
    return pl.when(*conditions).then(values) if conditions else values
