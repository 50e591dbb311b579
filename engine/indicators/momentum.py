"""Momentum: how fast prices move, and whether they have moved too far."""

from typing import NamedTuple

from engine.causal import Bars, Column, maximum, minimum
from engine.indicators.averages import ema, sma, wma
from engine.indicators.making import exponential, talib, wilder
from engine.indicators.prices import halfway, medprice
from engine.indicators.volatility import trange


class Stochastic(NamedTuple):
    k: Column
    d: Column


class Macd(NamedTuple):
    macd: Column
    signal: Column
    histogram: Column


class Ppo(NamedTuple):
    ppo: Column
    signal: Column
    histogram: Column


class Smi(NamedTuple):
    smi: Column
    signal: Column


class ElderRay(NamedTuple):
    bull: Column
    bear: Column


def mom(column: Column, length: int = 10) -> Column:
    """The change over `length` bars."""
    return column - column.lag(length)


def roc(column: Column, length: int = 10) -> Column:
    """The change over `length` bars in percent of the earlier value; null where that was 0."""
    return (column / column.lag(length) - 1.0) * 100.0


def rsi(column: Column, length: int = 14) -> Column:
    """Wilder's relative strength index; 0 where nothing ever moved, as TA-Lib has it."""
    return talib("rsi", column, lookback=length, warm_up=wilder(length), timeperiod=length)


def cmo(column: Column, length: int = 14) -> Column:
    """Chande's momentum oscillator with Wilder's smoothing, as TA-Lib has it; `cmou` is the one Chande published."""
    return talib("cmo", column, lookback=length, warm_up=wilder(length), timeperiod=length)


def cmou(column: Column, length: int = 14) -> Column:
    """Rises less falls in percent of both, summed over the last `length` changes; null where nothing moved."""
    change = column - column.lag(1)
    up, down = maximum(change, 0.0).rolling_sum(length), maximum(-change, 0.0).rolling_sum(length)
    return 100.0 * (up - down) / (up + down)


def er(column: Column, length: int = 10) -> Column:
    """Kaufman's efficiency: how far the price came, in parts of the way it went; null where it stood still."""
    return (column - column.lag(length)).abs() / (column - column.lag(1)).abs().rolling_sum(length)


def stoch(bars: Bars, length: int = 5, smooth: int = 3, signal: int = 3) -> Stochastic:
    """Where the close is in the range of the last `length` bars, smoothed over `smooth`; d is its mean over `signal`."""
    k = sma(_place(bars.close, bars.low.rolling_min(length), bars.high.rolling_max(length)), smooth)
    return Stochastic(k, sma(k, signal))


def stochrsi(column: Column, length: int = 14, window: int = 5, signal: int = 3) -> Stochastic:
    """Where the relative strength index is in its own range of the last `window` bars; d is its mean over `signal`."""
    strength = rsi(column, length)
    k = _place(strength, strength.rolling_min(window), strength.rolling_max(window))
    return Stochastic(k, sma(k, signal))


def willr(bars: Bars, length: int = 14) -> Column:
    """Where the close is in the range of the last `length` bars: 0 at its top, -100 at its bottom."""
    return talib("willr", bars.high, bars.low, bars.close, lookback=length - 1, timeperiod=length)


def cci(bars: Bars, length: int = 14) -> Column:
    """How many mean distances, times 0.015, the typical price is above its mean of the last `length` bars."""
    return talib("cci", bars.high, bars.low, bars.close, lookback=length - 1, timeperiod=length)


def bop(bars: Bars) -> Column:
    """The balance of power: close less open in parts of the bar's range; 0 where it has none."""
    return talib("bop", bars.open, bars.high, bars.low, bars.close, lookback=0)


def macd(column: Column, fast: int = 12, slow: int = 26, signal: int = 9) -> Macd:
    """Two exponential means apart, that distance smoothed, and how far it is from that; the shorter mean is the fast."""

    def line(output: str) -> Column:
        longest = max(fast, slow)
        return talib(
            "macd",
            column,
            lookback=longest - 1 + signal - 1,
            warm_up=exponential(longest) + exponential(signal),
            output=output,
            fastperiod=fast,
            slowperiod=slow,
            signalperiod=signal,
        )

    return Macd(line("macd"), line("macdsignal"), line("macdhist"))


def apo(column: Column, fast: int = 12, slow: int = 26) -> Column:
    """The exponential mean of `fast` values less that of `slow`."""
    return ema(column, fast) - ema(column, slow)


def ppo(column: Column, fast: int = 12, slow: int = 26, signal: int = 9) -> Ppo:
    """The exponential mean of `fast` values above that of `slow`, in percent of it; smoothed; and apart from that."""
    line = 100.0 * apo(column, fast, slow) / ema(column, slow)
    smoothed = ema(line, signal)
    return Ppo(line, smoothed, line - smoothed)


def trix(column: Column, length: int = 15) -> Column:
    """The change in percent, over one bar, of an exponential mean of a mean of a mean."""
    three = 3 * exponential(length)
    return talib("trix", column, lookback=3 * (length - 1) + 1, warm_up=three, timeperiod=length)


def ultosc(bars: Bars, short: int = 7, medium: int = 14, long: int = 28) -> Column:
    """The part of true ranges that was bought, over three lengths, of which the short counts four times and `medium` twice."""
    ranges, before = trange(bars), bars.close.lag(1)
    bought = bars.close - minimum(bars.low, before)
    parts = [bought.rolling_sum(length) / ranges.rolling_sum(length) for length in (short, medium, long)]
    return 100.0 * (4.0 * parts[0] + 2.0 * parts[1] + parts[2]) / 7.0


def tsi(column: Column, slow: int = 25, fast: int = 13) -> Column:
    """The change of one bar, smoothed twice, in percent of its size, smoothed as often."""
    change = column - column.lag(1)
    return 100.0 * ema(ema(change, slow), fast) / ema(ema(change.abs(), slow), fast)


def smi(bars: Bars, length: int = 13, slow: int = 25, fast: int = 2, signal: int = 9) -> Smi:
    """How far the close is from the middle of the last range, smoothed twice, in percent of half that range."""
    top, bottom = bars.high.rolling_max(length), bars.low.rolling_min(length)
    distance = ema(ema(bars.close - halfway(top, bottom), slow), fast)
    line = 100.0 * distance / (ema(ema(top - bottom, slow), fast) / 2.0)
    return Smi(line, ema(line, signal))


def ao(bars: Bars, fast: int = 5, slow: int = 34) -> Column:
    """The awesome oscillator: the mean of `fast` middle prices less that of `slow`."""
    return sma(medprice(bars), fast) - sma(medprice(bars), slow)


def ac(bars: Bars, fast: int = 5, slow: int = 34, signal: int = 5) -> Column:
    """The awesome oscillator less its own mean of `signal` bars."""
    awesome = ao(bars, fast, slow)
    return awesome - sma(awesome, signal)


def dpo(column: Column, length: int = 20) -> Column:
    """The value of half the length and a bar ago less the mean of the last `length`, on the bar where both are known."""
    return column.lag(length // 2 + 1) - sma(column, length)


def coppock(column: Column, length: int = 10, fast: int = 11, slow: int = 14) -> Column:
    """Coppock's curve: the changes over `fast` and over `slow` bars in percent, added, and their weighted mean."""
    return wma(roc(column, fast) + roc(column, slow), length)


def qstick(bars: Bars, length: int = 10) -> Column:
    """The mean of closes less opens of the last `length` bars."""
    return sma(bars.close - bars.open, length)


def imi(bars: Bars, length: int = 14) -> Column:
    """Rises within bars in percent of rises and falls within them, over the last `length`."""
    return talib("imi", bars.open, bars.close, lookback=length - 1, timeperiod=length)


def eri(bars: Bars, length: int = 13) -> ElderRay:
    """How far the high, and the low, are above the exponential mean of the close."""
    middle = ema(bars.close, length)
    return ElderRay(bars.high - middle, bars.low - middle)


def _place(column: Column, bottom: Column, top: Column) -> Column:
    return 100.0 * (column - bottom) / (top - bottom)
