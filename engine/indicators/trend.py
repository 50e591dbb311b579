"""Trend: whether there is one, where it turns, and how far it may fall back."""

from typing import NamedTuple

from engine.causal import Bars, Column
from engine.indicators.averages import midprice
from engine.indicators.making import talib, wilder
from engine.indicators.prices import halfway
from engine.indicators.volatility import trange


class Aroon(NamedTuple):
    down: Column
    up: Column


class Vortex(NamedTuple):
    plus: Column
    minus: Column


class Supertrend(NamedTuple):
    line: Column
    direction: Column


class Ichimoku(NamedTuple):
    conversion: Column
    base: Column
    span_a: Column
    span_b: Column
    ahead_a: Column
    ahead_b: Column


def plus_dm(bars: Bars, length: int = 14) -> Column:
    """How far highs rose beyond the highs before, where further than lows fell, Wilder's sum of it."""
    return _moves("plus_dm", bars, length)


def minus_dm(bars: Bars, length: int = 14) -> Column:
    """How far lows fell beyond the lows before, where further than highs rose, Wilder's sum of it."""
    return _moves("minus_dm", bars, length)


def plus_di(bars: Bars, length: int = 14) -> Column:
    """The upward movement `plus_dm` in percent of Wilder's sum of true ranges."""
    return _directional("plus_di", bars, length, smoothings=1)


def minus_di(bars: Bars, length: int = 14) -> Column:
    """The downward movement `minus_dm` in percent of Wilder's sum of true ranges."""
    return _directional("minus_di", bars, length, smoothings=1)


def dx(bars: Bars, length: int = 14) -> Column:
    """How one-sided movement was: `plus_di` and `minus_di` apart, in percent of their sum."""
    return _directional("dx", bars, length, smoothings=1)


def adx(bars: Bars, length: int = 14) -> Column:
    """The strength of a trend, either way: Wilder's mean of `dx`."""
    return _directional("adx", bars, length, smoothings=2, more=length - 1)


def adxr(bars: Bars, length: int = 14) -> Column:
    """Halfway between `adx` and the `adx` of `length` - 1 bars ago."""
    return _directional("adxr", bars, length, smoothings=2, more=2 * (length - 1))


def aroon(bars: Bars, length: int = 14) -> Aroon:
    """How new the lowest low and the highest high of the last `length` + 1 bars are: 100 is this bar, 0 the oldest."""

    def side(output: str) -> Column:
        return talib("aroon", bars.high, bars.low, lookback=length, output=output, timeperiod=length)

    return Aroon(side("aroondown"), side("aroonup"))


def aroonosc(bars: Bars, length: int = 14) -> Column:
    """How much newer the highest high is than the lowest low: `aroon` up less down."""
    return talib("aroonosc", bars.high, bars.low, lookback=length, timeperiod=length)


def vortex(bars: Bars, length: int = 14) -> Vortex:
    """The ways from lows to the next highs, and from highs to the next lows, in parts of the true ranges' sum."""
    ranges = trange(bars).rolling_sum(length)
    up = (bars.high - bars.low.lag(1)).abs().rolling_sum(length)
    down = (bars.low - bars.high.lag(1)).abs().rolling_sum(length)
    return Vortex(up / ranges, down / ranges)


def vhf(column: Column, length: int = 28) -> Column:
    """Trend against noise: highest less lowest of the last `length` values, in parts of the way gone in as many changes."""
    gone = (column - column.lag(1)).abs().rolling_sum(length)
    return (column.rolling_max(length) - column.rolling_min(length)) / gone


def sar(bars: Bars, step: float = 0.02, limit: float = 0.2) -> Column:
    """Wilder's stop and reverse, which nears the price by `step` with each new extreme, up to `limit`."""
    return talib("sar", bars.high, bars.low, lookback=1, anchored=True, acceleration=step, maximum=limit)


def supertrend(bars: Bars, length: int = 10, width: float = 3.0) -> Supertrend:
    """A stop `width` average true ranges away that only tightens until a close crosses it; 1 is up, -1 down."""

    def side(output: str) -> Column:
        prices = bars.high, bars.low, bars.close
        return talib(
            "supertrend",
            *prices,
            lookback=length,
            warm_up=wilder(length),
            output=output,
            anchored=True,
            timeperiod=length,
            multiplier=width,
        )

    line = side("supertrend")
    return Supertrend(line, side("trend") + 0.0 * line)  # TA-Lib's trend is 0 before there is one


def ichimoku(bars: Bars, conversion: int = 9, base: int = 26, span: int = 52, displacement: int = 26) -> Ichimoku:
    """Ichimoku's midprices, and its cloud as it stands over each bar (`span_a`, `span_b`) and, newest, ahead of it.

    A chart draws the spans `displacement` bars later than they are known: `span_a` is `ahead_a` of then. It draws the
    lagging line as much earlier than it is known; that line is the close, and is left out.
    """
    turning, standing = midprice(bars, conversion), midprice(bars, base)
    ahead_a, ahead_b = halfway(turning, standing), midprice(bars, span)
    return Ichimoku(turning, standing, ahead_a.lag(displacement), ahead_b.lag(displacement), ahead_a, ahead_b)


def _moves(name: str, bars: Bars, length: int) -> Column:
    return talib(name, bars.high, bars.low, lookback=length - 1, warm_up=wilder(length), timeperiod=length)


def _directional(name: str, bars: Bars, length: int, *, smoothings: int, more: int = 0) -> Column:
    prices = bars.high, bars.low, bars.close
    return talib(name, *prices, lookback=length + more, warm_up=smoothings * wilder(length), timeperiod=length)
