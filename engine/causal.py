"""Causal columns: the vocabulary a strategy may use, in which the future has no name.

A strategy never sees a frame. It is handed `Bars`, takes columns from them (`bars.close`,
`bars.on("1d").close`, `bars.of("BTCUSD.BITFINEX").close`, `bars.feature("atr_14")`) and joins these
by arithmetic, comparison, `& | ~`, `.lag(n)`, rolling and expanding windows and the functions below,
each of which looks at this bar and at earlier ones. Functions across instruments (`rank`) look at
the bars of the others that close at the same instant.

A column is a tree: a name, settings, operands and the polars expression that joins them. Nothing is
computed until `engine.evaluation.evaluate`. The tree is what the look-ahead proof walks, what names
a column in the strategy's own terms (`str(column)`) and what says that two columns are one (`key`).

A null is "not known" and stays so through arithmetic; a quotient by zero is null too, and NaN
never appears, because polars holds NaN to be larger than every number.

The one way round the vocabulary is `derived`, which takes polars expressions: indicators are
made with it, and the negative control that must look ahead. Strategies have no business with it.
"""

import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from hashlib import sha256
from math import isfinite
from typing import Any, Literal, Union

import numpy as np
import polars as pl
from numpy.typing import NDArray

from engine.bars import timeframe_us
from engine.errors import (
    ColumnKindError,
    FinerTimeframeError,
    FutureReferenceError,
    OutOfBoundsError,
    UnknownNameError,
)

Kind = Literal["number", "truth"]
Operand = Union["Column", float]
Setting = int | float | str
Floats = NDArray[np.float64]
BAR_COLUMNS = ("session", "ts", "known_at", "open", "high", "low", "close", "volume", "factor")
FEATURE = "feature"
_INFIX = ("+", "-", "*", "/", "<", "<=", ">", ">=", "==", "!=", "&", "|")


def derived(
    function: Callable[..., pl.Expr],
    *columns: "Column",
    name: str,
    settings: Mapping[str, Setting] | None = None,
    lookback: int = 0,
    warm_up: int = 0,
    kind: Kind = "number",
    shared: bool = False,
    anchored: bool = False,
) -> "Column":
    """A column made from others by any polars expression: for indicators and negative controls, not for strategies.

    Args:
        function: from the operands' expressions, over the frame of the shortest timeframe among them, to the result's.
        columns: the operands; those of longer timeframes or other instruments are aligned first.
        name: what a strategy calls it, and with `settings` what tells it from others.
        settings: the parameters it was made with.
        lookback: bars of history that one value needs beside its own.
        warm_up: bars from the first value on until older data weigh less than 1e-9.
        kind: of the result.
        shared: worth computing once and keeping, where several columns use it.
        anchored: cumulative since the start of the series, so that more history changes it for good.
    """
    timeframe = min((column.timeframe for column in columns), key=timeframe_us)
    instruments = {column.instrument for column in columns}
    return Column(
        timeframe=timeframe,
        instrument=instruments.pop() if len(instruments) == 1 else None,
        name=name,
        settings=tuple((settings or {}).items()),
        operands=columns,
        function=function,
        kind=kind,
        lookback=lookback,
        forgets=warm_up,
        shared=shared,
        anchored=anchored,
    )


def kernel(function: Callable[..., Floats], *columns: "Column", name: str, **more: Any) -> "Column":
    """As `derived`, for a recursion that polars has no expression for.

    Args:
        function: from the operands as float64 arrays (NaN: not known) to one of the same length; a module's own
            function, whose name is part of the column's identity.
    """
    settings = more.pop("settings", None) or {}

    def compute(*operands: pl.Expr) -> pl.Expr:
        return pl.map_batches(
            [operand.cast(pl.Float64) for operand in operands],
            lambda series: pl.Series(
                function(*(one.fill_null(float("nan")).to_numpy() for one in series), **settings)
            ).fill_nan(None),
            return_dtype=pl.Float64,
        )

    made = derived(compute, *columns, name=name, settings=settings, shared=True, **more)
    return replace(made, kernel=f"{function.__module__}.{function.__qualname__}")


def across(function: Callable[[list[pl.Expr], pl.Expr], pl.Expr], column: "Column", *, name: str) -> "Column":
    """A column made from the values that all instruments have at one instant: their bars that close with this one.

    Args:
        function: from every instrument's value (this one's included, null where one has none) and this one's own.
        column: what is computed on each instrument's own bars.
    """
    if _checked(column, name, "number").instrument is not None:
        raise ColumnKindError(name, found=f"a column of {column.instrument}", expected="a column of the bars handed in")
    return replace(derived(lambda own: own, column, name=name, shared=True), across=function)


def crossed_above(column: "Column", level: Operand) -> "Column":
    """True on the bar where `column` goes from at or below `level` to above it."""
    return _began(_checked(column, "crossed_above", "number") > level, name="crossed_above")


def crossed_below(column: "Column", level: Operand) -> "Column":
    """True on the bar where `column` goes from at or above `level` to below it."""
    return _began(_checked(column, "crossed_below", "number") < level, name="crossed_below")


def where(truth: "Column", then: Operand, otherwise: Operand) -> "Column":
    """`then` where `truth` holds, else `otherwise`; not known where `truth` or what it chose is not."""
    condition = _checked(truth, "where", "truth")
    sides = [_checked(_operand(side, condition), "where", "number") for side in (then, otherwise)]

    def choose(chosen: pl.Expr, yes: pl.Expr, no: pl.Expr) -> pl.Expr:
        return pl.when(chosen).then(yes).when(~chosen).then(no)

    return derived(choose, condition, *sides, name="where")


def maximum(left: "Column", right: Operand) -> "Column":
    """The greater of two values; not known where one is not."""
    return _pair("maximum", lambda a, b: pl.when(a >= b).then(a).when(a < b).then(b), left, right)


def minimum(left: "Column", right: Operand) -> "Column":
    """The lesser of two values; not known where one is not."""
    return _pair("minimum", lambda a, b: pl.when(a <= b).then(a).when(a > b).then(b), left, right)


def log(column: "Column") -> "Column":
    """The natural logarithm; not known at 0 and below."""
    values = _checked(column, "log", "number")
    return derived(lambda x: pl.when(x > 0).then(x).log(), values, name="log")


def sqrt(column: "Column") -> "Column":
    """The square root; not known below 0."""
    values = _checked(column, "sqrt", "number")
    return derived(lambda x: pl.when(x >= 0).then(x).sqrt(), values, name="sqrt")


def sign(column: "Column") -> "Column":
    """-1, 0 or 1."""
    return derived(lambda x: x.sign(), _checked(column, "sign", "number"), name="sign")


def bars_since(truth: "Column") -> "Column":
    """Bars since `truth` last held, 0 on its bar; not known before the first time."""

    def count(held: pl.Expr) -> pl.Expr:
        row = pl.int_range(pl.len()).cast(pl.Float64)
        return row - pl.when(held).then(row).forward_fill()

    return derived(count, _checked(truth, "bars_since", "truth"), name="bars_since", shared=True, anchored=True)


def value_when(truth: "Column", column: "Column") -> "Column":
    """What `column` was when `truth` last held; not known before the first time."""
    operands = (_checked(truth, "value_when", "truth"), _checked(column, "value_when", "number"))
    return derived(
        lambda held, values: pl.when(held).then(values).forward_fill(),
        *operands,
        name="value_when",
        shared=True,
        anchored=True,
    )


def rank(column: "Column") -> "Column":
    """Where this instrument's value stands among all that are known at the instant: 0 the least, 1 the greatest.

    Equal values share the mean of their places; one alone stands at 0.5.
    """

    def place(values: list[pl.Expr], own: pl.Expr) -> pl.Expr:
        below = pl.sum_horizontal((value < own).cast(pl.Float64) for value in values)
        equal = pl.sum_horizontal((value == own).cast(pl.Float64) for value in values) - 1
        others = pl.sum_horizontal(value.is_not_null().cast(pl.Float64) for value in values) - 1
        placed = pl.when(others > 0).then((below + equal / 2) / others).otherwise(0.5)
        return pl.when(own.is_not_null()).then(placed)

    return across(place, column, name="rank")


def mean_across(column: "Column") -> "Column":
    """The mean of all instruments' values that are known at the instant; not known where this one's is not."""
    return across(
        lambda values, own: pl.when(own.is_not_null()).then(pl.mean_horizontal(values)), column, name="mean_across"
    )


def deviation_across(column: "Column") -> "Column":
    """The population standard deviation of all instruments' values that are known at the instant."""

    def deviation(values: list[pl.Expr], own: pl.Expr) -> pl.Expr:
        mean = pl.mean_horizontal(values)
        return pl.when(own.is_not_null()).then(pl.mean_horizontal((value - mean) ** 2 for value in values).sqrt())

    return across(deviation, column, name="deviation_across")


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


@dataclass(frozen=True, kw_only=True, eq=False)
class Column:
    """A number or a truth for every bar of one timeframe, said in terms of that bar and earlier ones.

    Numbers know + - * / and comparisons, truths know & | ~; a plain number may stand for either operand of the former.
    """

    timeframe: str
    instrument: str | None = None  # another one's than the strategy is asked about
    name: str
    settings: tuple[tuple[str, Setting], ...] = ()
    operands: tuple["Column", ...] = ()
    function: Callable[..., pl.Expr]  # from the operands' expressions
    kind: Kind = "number"
    lookback: int = 0  # bars of history that one value needs beside its own operands'
    forgets: int = 0  # bars from its first value on until older data weigh less than 1e-9
    shared: bool = False
    anchored: bool = False
    kernel: str | None = None  # the function of arrays that computes it
    across: Callable[[list[pl.Expr], pl.Expr], pl.Expr] | None = None  # it is made from all instruments' values

    @cached_property
    def key(self) -> str:
        """The same for columns that are computed alike from alike."""
        stand_ins = [pl.col(str(n)) for n in range(len(self.operands))]
        said: tuple[object, ...] = (self.timeframe, self.instrument, self.name, self.settings, self.kernel)
        how = b"" if self.kernel else self.function(*stand_ins).meta.serialize()
        if self.across is not None:
            how += self.across(stand_ins, *stand_ins).meta.serialize()
        parts = (*(operand.key for operand in self.operands), self.lookback, self.forgets)
        return sha256(repr((said, parts)).encode() + how).hexdigest()

    @cached_property
    def warm_up(self) -> int:
        """Bars of its own frame before the first that may be used; operands on other frames count their own."""
        beside = (operand.warm_up for operand in self.operands if not self._foreign(operand))
        return max(beside, default=0) + self.lookback + self.forgets

    def _foreign(self, operand: "Column") -> bool:
        return (operand.timeframe, operand.instrument) != (self.timeframe, self.instrument)

    def walk(self) -> "dict[str, Column]":
        """This column and everything it is made of by key, operands first, each once."""
        found: dict[str, Column] = {}

        def find(column: Column) -> None:
            if column.key not in found:
                for operand in column.operands:
                    find(operand)
                found[column.key] = column

        find(self)
        return found

    def __str__(self) -> str:
        said = [*map(str, self.operands), *(_shown(value) for _, value in self.settings)]
        if self.name in _INFIX and len(said) == 2:
            return f"({said[0]} {self.name} {said[1]})"
        if not self.operands:
            return _shown(self.settings[0][1]) if self.name == "number" else self.name + self._place
        return f"{self.name}({', '.join(said)})"

    @property
    def _place(self) -> str:
        of = f" of {self.instrument}" if self.instrument else ""
        called = f" {self.settings[0][1]}" if self.name == FEATURE else ""
        return f"{called}{of} on {self.timeframe}"

    def lag(self, bars: int) -> "Column":
        """The value `bars` bars ago; 0 is this bar, and there is no negative."""
        if not isinstance(bars, int) or isinstance(bars, bool) or bars < 0:
            raise FutureReferenceError(bars)
        return derived(
            lambda values: values.shift(bars),
            self,
            name="lag",
            settings={"bars": bars},
            lookback=bars,
            kind=self.kind,
        )

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

    def rolling_median(self, bars: int) -> "Column":
        """The median of the last `bars` values; null where one of them is."""
        return self._rolling("rolling_median", bars, lambda values: values.rolling_median(bars))

    def rolling_count(self, bars: int) -> "Column":
        """On how many of the last `bars` bars a truth held; null where one of them is."""
        return self._rolling(
            "rolling_count", bars, lambda truths: truths.cast(pl.Float64).rolling_sum(bars), kind="truth"
        )

    def expanding_min(self) -> "Column":
        """The least value since the start of the series."""
        return self._expanding("expanding_min", lambda values: values.cum_min())

    def expanding_max(self) -> "Column":
        """The greatest value since the start of the series."""
        return self._expanding("expanding_max", lambda values: values.cum_max())

    def expanding_sum(self) -> "Column":
        """The sum of all values since the start of the series."""
        return self._expanding("expanding_sum", lambda values: values.cum_sum())

    def expanding_mean(self) -> "Column":
        """The mean of all values since the start of the series."""
        return self._expanding("expanding_mean", lambda values: values.cum_sum() / values.cum_count())

    def clip(self, least: float, greatest: float) -> "Column":
        """The value, but at least `least` and at most `greatest`."""
        if not least < greatest:
            raise OutOfBoundsError("greatest", greatest, allowed=f"more than {least} (least)")
        bounds = {"least": float(least), "greatest": float(greatest)}
        return derived(
            lambda values: values.clip(least, greatest), _checked(self, "clip", "number"), name="clip", settings=bounds
        )

    def abs(self) -> "Column":
        return derived(lambda values: values.abs(), _checked(self, "abs", "number"), name="abs")

    def _rolling(self, name: str, bars: int, function: Callable[[pl.Expr], pl.Expr], kind: Kind = "number") -> "Column":
        whole_number(f"the window of {name}", bars, at_least=1)
        return derived(
            function,
            _checked(self, name, kind),
            name=name,
            settings={"bars": bars},
            lookback=bars - 1,
            shared=True,
        )

    def _expanding(self, name: str, function: Callable[[pl.Expr], pl.Expr]) -> "Column":
        return derived(function, _checked(self, name, "number"), name=name, shared=True, anchored=True)

    def _arithmetic(self, sign: str, function: Callable[..., pl.Expr], left: Operand, right: Operand) -> "Column":
        return derived(function, *(_checked(_operand(side, self), sign, "number") for side in (left, right)), name=sign)

    def _comparison(self, sign: str, function: Callable[..., pl.Expr], right: Operand) -> "Column":
        sides = (_checked(_operand(side, self), sign, "number") for side in (self, right))
        return derived(function, *sides, name=sign, kind="truth")

    def _logic(self, sign: str, function: Callable[..., pl.Expr], *others: "Column") -> "Column":
        return derived(function, *(_checked(side, sign, "truth") for side in (self, *others)), name=sign, kind="truth")

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
        return derived(operator.neg, _checked(self, "-", "number"), name="-")

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
    instrument: str | None = None

    @property
    def open(self) -> Column:
        return self._column("open")

    @property
    def high(self) -> Column:
        return self._column("high")

    @property
    def low(self) -> Column:
        return self._column("low")

    @property
    def close(self) -> Column:
        return self._column("close")

    @property
    def volume(self) -> Column:
        """Traded volume; null where the source knows none."""
        return self._column("volume")

    @property
    def new_session(self) -> Column:
        """True on the first bar there is of a session."""
        changed = pl.col("session") != pl.col("session").shift(1)
        return self._made("new_session", changed.fill_null(value=True), kind="truth")

    @property
    def minute_of_day(self) -> Column:
        """Minutes from midnight UTC to the bar's open."""
        opened = pl.col("ts").dt
        return self._made("minute_of_day", (opened.hour().cast(pl.Float64) * 60 + opened.minute()).cast(pl.Float64))

    @property
    def weekday(self) -> Column:
        """1 on Mondays to 7 on Sundays, of the bar's session."""
        return self._made("weekday", pl.col("session").dt.weekday().cast(pl.Float64))

    def on(self, timeframe: str) -> "Bars":
        """The same instrument on a longer timeframe, each bar visible from its close on; it carries no features."""
        if timeframe == self.timeframe:
            return self
        if timeframe_us(timeframe) < timeframe_us(self.timeframe):
            raise FinerTimeframeError(timeframe, on=self.timeframe)
        return Bars(timeframe, instrument=self.instrument)

    def of(self, instrument: str) -> "Bars":
        """Another instrument's bars, each visible from its close on; they carry no features."""
        if not isinstance(instrument, str):
            raise OutOfBoundsError("instrument", instrument, allowed="the id of one, such as 'BTCUSD.BITFINEX'")
        return Bars(self.timeframe, instrument=instrument)

    def feature(self, name: str) -> Column:
        """A feature that the data set computes on these bars."""
        if name not in self.features:
            raise UnknownNameError("feature", name, known=self.features)
        return Column(
            timeframe=self.timeframe,
            instrument=self.instrument,
            name=FEATURE,
            settings=(("name", name),),
            function=lambda: pl.col(name).fill_nan(None),
            forgets=self.features[name],
        )

    def _column(self, name: str) -> Column:
        return self._made(name, pl.col(name))

    def _made(self, name: str, expression: pl.Expr, kind: Kind = "number") -> Column:
        return Column(
            timeframe=self.timeframe, instrument=self.instrument, name=name, function=lambda: expression, kind=kind
        )


def _began(truth: Column, *, name: str) -> Column:
    """True on the bar where `truth` begins to hold; the last bar of the shorter timeframe is meant."""

    def begins(left: pl.Expr, right: pl.Expr) -> pl.Expr:
        now = truth.function(left, right)
        return now & ~now.shift(1)

    return derived(begins, *truth.operands, name=name, lookback=1, kind="truth")


def _pair(name: str, function: Callable[..., pl.Expr], left: Column, right: Operand) -> Column:
    checked = _checked(left, name, "number")
    return derived(function, checked, _checked(_operand(right, checked), name, "number"), name=name)


def _quotient(dividend: pl.Expr, divisor: pl.Expr) -> pl.Expr:
    return pl.when(divisor != 0).then(dividend / divisor)


def _operand(value: Operand, beside: Column) -> Column:
    if isinstance(value, Column):
        return value
    if not isinstance(value, int | float) or isinstance(value, bool) or not isfinite(value):
        raise OutOfBoundsError("operand", value, allowed="a column or a finite number")
    number = float(value)
    return Column(
        timeframe=beside.timeframe,
        instrument=beside.instrument,
        name="number",
        settings=(("value", number),),
        function=lambda: pl.lit(number),
    )


def _checked(value: object, doing: str, kind: Kind) -> Column:
    found = value.kind if isinstance(value, Column) else repr(value)
    if not isinstance(value, Column) or value.kind != kind:
        raise ColumnKindError(doing, found=found, expected=f"a column of {kind}s")
    return value


def _shown(value: Setting) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
