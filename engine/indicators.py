"""Indicators: causal columns that have a name of their own, and one registry of them.

A strategy calls the functions (`sma(bars.close, 20)`, `atr(bars, 14)`); a data set names a feature
and the registry makes it (`indicator("atr", bars, length=14)`). Both give the same column.

Two numbers say when a value may be used. `lookback` is the bars before the first value, as TA-Lib
counts. `warm_up` is the bars from that value on until older data weigh less than 1e-9: none for a
window, which forgets what leaves it; for exponential smoothing the smallest n with
(1 - alpha)^n < 1e-9 (EMA 20: 208; Wilder 14: 280). A column is withheld until both have passed.

Recursive indicators are TA-Lib's (through polars-talib), which starts each from the mean of its
first window. Windows are polars': TA-Lib keeps one running sum over the whole series, and over
4,392 bars its standard deviation came out with 200 times the rounding error.

A null in the input makes a window null until it has left it, and a recursive indicator null to the
end: there is no honest way to resume what has forgotten part of its past.
"""

from collections.abc import Callable, Mapping
from math import ceil, log
from typing import NamedTuple

import polars as pl

from engine.causal import Bars, Column, derived, positive_number, whole_number
from engine.errors import UnknownNameError

FORGOTTEN = 1e-9  # the weight below which older data no longer count

Number = int | float


class Parameter(NamedTuple):
    kind: type[int] | type[float]
    default: Number
    at_least: Number  # a float must lie above it


class Indicator(NamedTuple):
    """One line of the registry; `lookback` and `warm_up` take the parameters by name, as `compute` does after bars."""

    compute: Callable[..., Column]
    parameters: Mapping[str, Parameter]
    lookback: Callable[..., int]
    warm_up: Callable[..., int]
    computes: str
    source: str


def indicator(name: str, bars: Bars, **parameters: Number) -> Column:
    """The registered indicator `name` on `bars`; parameters left out have their defaults.

    Raises:
        UnknownNameError: no such indicator or parameter; the message has the nearest name.
        OutOfBoundsError: a parameter of the wrong type, or too small.
    """
    if name not in INDICATORS:
        raise UnknownNameError("indicator", name, known=INDICATORS)
    entry = INDICATORS[name]
    what = f"parameter of {name}"
    for given in parameters:
        if given not in entry.parameters:
            raise UnknownNameError(what, given, known=entry.parameters)
    defaults = {known: parameter.default for known, parameter in entry.parameters.items()}
    return entry.compute(bars, **(defaults | parameters))


def sma(column: Column, length: int) -> Column:
    """The mean of the last `length` values."""
    whole_number("length", length, at_least=1)
    return column.rolling_mean(length)


def stddev(column: Column, length: int) -> Column:
    """The population standard deviation (ddof 0) of the last `length` values."""
    whole_number("length", length, at_least=1)
    return column.rolling_std(length)


def bollinger(column: Column, length: int, width: float) -> tuple[Column, Column, Column]:
    """Lower, middle and upper band: the mean of the last `length` values and `width` population deviations around it."""
    margin = positive_number("width", width) * stddev(column, length)
    middle = sma(column, length)
    return middle - margin, middle, middle + margin


def roc(column: Column, length: int) -> Column:
    """The change over `length` bars in percent of the earlier value; null where that was 0."""
    whole_number("length", length, at_least=1)
    return (column / column.lag(length) - 1.0) * 100.0


def ema(column: Column, length: int) -> Column:
    """The exponential mean with alpha = 2 / (length + 1), started from the mean of the first `length` values."""
    whole_number("length", length, at_least=2)
    return _recursive("ema", column, length=length, lookback=length - 1, warm_up=_exponential(length))


def rsi(column: Column, length: int) -> Column:
    """Wilder's relative strength index, 0 to 100; 0 where nothing ever moved, as TA-Lib has it."""
    whole_number("length", length, at_least=2)
    return _recursive("rsi", column, length=length, lookback=length, warm_up=_wilder(length))


def atr(bars: Bars, length: int) -> Column:
    """Wilder's average true range in (forward-adjusted) price units."""
    whole_number("length", length, at_least=1)
    return _recursive("atr", bars.high, bars.low, bars.close, length=length, lookback=length, warm_up=_wilder(length))


def _recursive(name: str, *columns: Column, length: int, lookback: int, warm_up: int) -> Column:
    import polars_talib  # a shared library of 23 MB, and only this needs it

    function = getattr(polars_talib, name)

    def compute(*operands: pl.Expr) -> pl.Expr:
        values: pl.Expr = function(*operands, timeperiod=length)
        return values.fill_nan(None)

    return derived(
        compute,
        *columns,
        name=name,
        settings={"length": length},
        lookback=lookback,
        warm_up=warm_up,
        shared=True,
    )


def _bars_to_forget(alpha: float) -> int:
    return 1 if alpha >= 1 else ceil(log(FORGOTTEN) / log(1 - alpha))


def _exponential(length: int) -> int:
    return _bars_to_forget(2 / (length + 1))


def _wilder(length: int) -> int:
    return _bars_to_forget(1 / length)


def _length(default: int, *, at_least: int = 1) -> dict[str, Parameter]:
    return {"length": Parameter(int, default, at_least)}


def _window(length: int, **_: Number) -> int:
    return length - 1


def _bars_back(length: int) -> int:
    return length


def _at_once(**_: Number) -> int:
    return 0


_WIDTH = {"width": Parameter(float, 2.0, 0.0)}
_BANDS = "Bollinger, Bollinger on Bollinger Bands (2001)"
_WILDER = "Wilder, New Concepts in Technical Trading Systems (1978); TA-Lib"

INDICATORS: dict[str, Indicator] = {
    "sma": Indicator(
        lambda bars, length: sma(bars.close, length),
        _length(20), _window, _at_once, "mean of the last closes", "TA-Lib SMA",
    ),
    "stddev": Indicator(
        lambda bars, length: stddev(bars.close, length),
        _length(20), _window, _at_once, "population standard deviation of the last closes", "TA-Lib STDDEV",
    ),
    "bollinger_lower": Indicator(
        lambda bars, length, width: bollinger(bars.close, length, width)[0],
        _length(20) | _WIDTH, _window, _at_once, "mean of the last closes less width deviations", _BANDS,
    ),
    "bollinger_upper": Indicator(
        lambda bars, length, width: bollinger(bars.close, length, width)[2],
        _length(20) | _WIDTH, _window, _at_once, "mean of the last closes plus width deviations", _BANDS,
    ),
    "roc": Indicator(
        lambda bars, length: roc(bars.close, length),
        _length(10), _bars_back, _at_once, "change of the close over length bars, percent", "TA-Lib ROC",
    ),
    "ema": Indicator(
        lambda bars, length: ema(bars.close, length),
        _length(20, at_least=2), _window, _exponential, "exponential mean of the close", "TA-Lib EMA",
    ),
    "rsi": Indicator(
        lambda bars, length: rsi(bars.close, length),
        _length(14, at_least=2), _bars_back, _wilder, "strength of rises against falls, 0 to 100", _WILDER,
    ),
    "atr": Indicator(
        atr, _length(14), _bars_back, _wilder, "average true range, price units", _WILDER,
    ),
}  # fmt: skip
