"""Volatility: how far prices reach, and channels as wide as that around them."""

import math
from typing import NamedTuple

from engine.causal import Bars, Column, log
from engine.indicators.averages import ema, sma
from engine.indicators.making import made, talib, wilder
from engine.indicators.prices import halfway


class Channel(NamedTuple):
    lower: Column
    middle: Column
    upper: Column


class Chandelier(NamedTuple):
    long: Column
    short: Column


def trange(bars: Bars) -> Column:
    """The true range: the bar's, extended to the close before."""
    return talib("trange", bars.high, bars.low, bars.close, lookback=1)


def atr(bars: Bars, length: int = 14) -> Column:
    """Wilder's mean of true ranges, in (forward-adjusted) price units."""
    prices = bars.high, bars.low, bars.close
    return talib("atr", *prices, lookback=length, warm_up=wilder(length), timeperiod=length)


def natr(bars: Bars, length: int = 14) -> Column:
    """The average true range in percent of the close."""
    return 100.0 * atr(bars, length) / bars.close


def adr(bars: Bars, length: int = 14) -> Column:
    """The mean of highs less lows of the last `length` bars."""
    return sma(bars.high - bars.low, length)


def stddev(column: Column, length: int = 20) -> Column:
    """The population standard deviation (ddof 0) of the last `length` values."""
    return column.rolling_std(length)


def var(column: Column, length: int = 20) -> Column:
    """The population variance (ddof 0) of the last `length` values."""
    return made("var", lambda values: values.rolling_var(length, ddof=0), column, lookback=length - 1, length=length)


def avgdev(column: Column, length: int = 14) -> Column:
    """The mean distance of the last `length` values from their mean."""
    return talib("avgdev", column, lookback=length - 1, timeperiod=length)


def zscore(column: Column, length: int = 20) -> Column:
    """How many population deviations the value is above the mean of the last `length`; null where nothing moved."""
    return (column - sma(column, length)) / stddev(column, length)


def percentrank(column: Column, length: int = 100) -> Column:
    """How many percent of the `length` values before are at or below this one."""
    return talib("percentrank", column, lookback=length, timeperiod=length)


def historical_volatility(column: Column, length: int = 20) -> Column:
    """The population deviation of the last `length` logarithmic changes, per bar."""
    return stddev(log(column / column.lag(1)), length)


def bollinger(column: Column, length: int = 20, width: float = 2.0) -> Channel:
    """The mean of the last `length` values and `width` population deviations around it."""
    margin = width * stddev(column, length)
    middle = sma(column, length)
    return Channel(middle - margin, middle, middle + margin)


def percent_b(column: Column, length: int = 20, width: float = 2.0) -> Column:
    """Where the value is between Bollinger's bands: 0 at the lower, 1 at the upper; null where they are one."""
    lower, _, upper = bollinger(column, length, width)
    return (column - lower) / (upper - lower)


def bandwidth(column: Column, length: int = 20, width: float = 2.0) -> Column:
    """How far Bollinger's bands are apart, in parts of the mean."""
    lower, middle, upper = bollinger(column, length, width)
    return (upper - lower) / middle


def keltner(bars: Bars, length: int = 20, atr_length: int = 10, width: float = 2.0) -> Channel:
    """The exponential mean of the close and `width` average true ranges around it."""
    margin = width * atr(bars, atr_length)
    middle = ema(bars.close, length)
    return Channel(middle - margin, middle, middle + margin)


def donchian(bars: Bars, length: int = 20) -> Channel:
    """The lowest low and the highest high of the last `length` bars, this one included, and halfway between them."""
    lower, upper = bars.low.rolling_min(length), bars.high.rolling_max(length)
    return Channel(lower, halfway(lower, upper), upper)


def chandelier(bars: Bars, length: int = 22, width: float = 3.0) -> Chandelier:
    """Stops `width` average true ranges below the highest high, and above the lowest low, of the last `length` bars."""
    margin = width * atr(bars, length)
    return Chandelier(bars.high.rolling_max(length) - margin, bars.low.rolling_min(length) + margin)


def massi(bars: Bars, fast: int = 9, slow: int = 25) -> Column:
    """The mass index: the mean range in parts of its own mean, summed over `slow` bars."""
    ranges = ema(bars.high - bars.low, fast)
    return (ranges / ema(ranges, fast)).rolling_sum(slow)


def cvi(bars: Bars, length: int = 10, change: int = 10) -> Column:
    """Chaikin's volatility: by how many percent the mean range grew over `change` bars."""
    ranges = ema(bars.high - bars.low, length)
    return (ranges / ranges.lag(change) - 1.0) * 100.0


def chop(bars: Bars, length: int = 14) -> Column:
    """Choppiness: how much longer the way was than it led, on a scale where 0 is straight and 100 nowhere."""
    ways = trange(bars).rolling_sum(length) / (bars.high.rolling_max(length) - bars.low.rolling_min(length))
    return 100.0 * log(ways) / math.log(length)
