"""Averages: where the price has been, by more or less weight on its newest values."""

from math import isqrt

from engine.causal import Bars, Column
from engine.indicators.making import bars_to_forget, exponential, talib, wilder
from engine.indicators.prices import halfway

_SLOWEST = (2 / (30 + 1)) ** 2  # the least weight that Kaufman's mean ever gives to a new value


def sma(column: Column, length: int = 20) -> Column:
    """The mean of the last `length` values."""
    return column.rolling_mean(length)


def ema(column: Column, length: int = 20) -> Column:
    """The exponential mean with alpha = 2 / (length + 1), started from the mean of the first `length` values."""
    return talib("ema", column, lookback=length - 1, warm_up=exponential(length), timeperiod=length)


def rma(column: Column, length: int = 14) -> Column:
    """Wilder's smoothing, alpha = 1 / length, started from the mean of the first `length` values."""
    return talib("rma", column, lookback=length - 1, warm_up=wilder(length), timeperiod=length)


def wma(column: Column, length: int = 20) -> Column:
    """The mean of the last `length` values with weights that rise by one from the oldest to the newest."""
    return talib("wma", column, lookback=length - 1, timeperiod=length)


def dema(column: Column, length: int = 20) -> Column:
    """Twice the exponential mean less the exponential mean of it, which takes out much of the delay."""
    return talib("dema", column, lookback=2 * (length - 1), warm_up=2 * exponential(length), timeperiod=length)


def tema(column: Column, length: int = 20) -> Column:
    """Three times an exponential mean, less three times that of it, plus that of this one."""
    return talib("tema", column, lookback=3 * (length - 1), warm_up=3 * exponential(length), timeperiod=length)


def t3(column: Column, length: int = 5, volume_factor: float = 0.7) -> Column:
    """Six exponential means, one of the other, mixed so that `volume_factor` 0 smooths most and 1 lags least."""
    six = 6 * exponential(length)
    return talib("t3", column, lookback=6 * (length - 1), warm_up=six, timeperiod=length, vfactor=volume_factor)


def kama(column: Column, length: int = 10) -> Column:
    """Kaufman's adaptive mean: quick where the price goes straight, slow where it goes back and forth."""
    return talib("kama", column, lookback=length, warm_up=bars_to_forget(_SLOWEST), timeperiod=length)


def trima(column: Column, length: int = 20) -> Column:
    """The mean of means, so that weights rise to the middle of the last `length` values and fall again."""
    first = (length + 1) // 2
    return sma(sma(column, first), length + 1 - first)


def hma(column: Column, length: int = 20) -> Column:
    """Hull's mean: twice the weighted mean of half the length less that of all, smoothed over its square root."""
    return wma(2.0 * wma(column, length // 2) - wma(column, length), isqrt(length))


def zlema(column: Column, length: int = 20) -> Column:
    """The exponential mean of a price pushed on by its own change over the mean's delay, half the length."""
    return ema(2.0 * column - column.lag((length - 1) // 2), length)


def vwma(bars: Bars, length: int = 20) -> Column:
    """The mean of the last closes, each weighed by its volume; null where nothing was traded."""
    return (bars.close * bars.volume).rolling_sum(length) / bars.volume.rolling_sum(length)


def midpoint(column: Column, length: int = 14) -> Column:
    """Halfway between the highest and the lowest of the last `length` values."""
    return halfway(column.rolling_max(length), column.rolling_min(length))


def midprice(bars: Bars, length: int = 14) -> Column:
    """Halfway between the highest high and the lowest low of the last `length` bars."""
    return halfway(bars.high.rolling_max(length), bars.low.rolling_min(length))
