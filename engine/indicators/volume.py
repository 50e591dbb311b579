"""Volume: how much was traded where. Without volume, as some sources are, there is no value."""

from typing import NamedTuple

import polars as pl

from engine.causal import Bars, Column, where
from engine.indicators.averages import ema, sma
from engine.indicators.making import exponential, made, talib
from engine.indicators.momentum import ppo
from engine.indicators.prices import medprice, typprice


class Pvo(NamedTuple):
    pvo: Column
    signal: Column
    histogram: Column


def obv(bars: Bars) -> Column:
    """On-balance volume: the volume of bars that closed higher less that of those that closed lower, since the start."""
    return talib("obv", bars.close, bars.volume, lookback=0, anchored=True)


def ad(bars: Bars) -> Column:
    """Chaikin's accumulation: volume weighed by where the close is in the bar, -1 to 1, since the start."""
    return talib("ad", bars.high, bars.low, bars.close, bars.volume, lookback=0, anchored=True)


def adosc(bars: Bars, fast: int = 3, slow: int = 10) -> Column:
    """The accumulation `ad` smoothed over `fast` bars less that over `slow`."""
    longest = max(fast, slow)
    return talib(
        "adosc",
        *(bars.high, bars.low, bars.close, bars.volume),
        lookback=longest - 1,
        warm_up=exponential(longest),
        fastperiod=fast,
        slowperiod=slow,
    )


def pvt(bars: Bars) -> Column:
    """Volume times the close's relative change, since the start."""
    return talib("pvt", bars.close, bars.volume, lookback=0, anchored=True)


def nvi(bars: Bars) -> Column:
    """An index that starts at 1,000 and takes part in the close's changes only where volume fell."""
    return talib("nvi", bars.close, bars.volume, lookback=0, anchored=True)


def pvi(bars: Bars) -> Column:
    """An index that starts at 1,000 and takes part in the close's changes only where volume rose."""
    return talib("pvi", bars.close, bars.volume, lookback=0, anchored=True)


def wad(bars: Bars) -> Column:
    """Williams' accumulation: how far closes rose from true lows and fell from true highs, since the start."""
    return talib("wad", bars.high, bars.low, bars.close, lookback=0, anchored=True)


def mfi(bars: Bars, length: int = 14) -> Column:
    """The money flow index: typical price times volume where it rose, in percent of all; null where nothing flowed."""
    price = typprice(bars)
    change, flow = price - price.lag(1), price * bars.volume
    up = where(change > 0.0, flow, 0.0).rolling_sum(length)
    return 100.0 * up / (up + where(change < 0.0, flow, 0.0).rolling_sum(length))


def cmf(bars: Bars, length: int = 20) -> Column:
    """Chaikin's money flow: volume weighed by where the close is in the bar, in parts of all of the last `length` bars."""
    reach = bars.high - bars.low
    place = where(reach > 0.0, (2.0 * bars.close - bars.high - bars.low) / reach, 0.0)
    return (place * bars.volume).rolling_sum(length) / bars.volume.rolling_sum(length)


def efi(bars: Bars, length: int = 13) -> Column:
    """Elder's force: the close's change times volume, its exponential mean."""
    return ema((bars.close - bars.close.lag(1)) * bars.volume, length)


def pvo(bars: Bars, fast: int = 12, slow: int = 26, signal: int = 9) -> Pvo:
    """What `ppo` is, of the volume."""
    return Pvo(*ppo(bars.volume, fast, slow, signal))


def marketfi(bars: Bars) -> Column:
    """The bar's range for each unit traded."""
    return (bars.high - bars.low) / bars.volume


def emv(bars: Bars) -> Column:
    """Ease of movement: the middle price's change times the bar's range, for each 10,000 units traded."""
    middle = medprice(bars)
    return 10_000.0 * (middle - middle.lag(1)) * (bars.high - bars.low) / bars.volume


def rvol(bars: Bars, length: int = 20) -> Column:
    """The volume in parts of the mean of the `length` bars before."""
    return bars.volume / sma(bars.volume, length).lag(1)


def vwap(bars: Bars) -> Column:
    """The typical price of all that was traded since the session began, by volume; null until something was."""
    return made("vwap", _since_the_session, typprice(bars), bars.volume, bars.new_session, anchored=True)


def _since_the_session(price: pl.Expr, volume: pl.Expr, begins: pl.Expr) -> pl.Expr:
    of_session = begins.cum_sum()
    flow, traded = (price * volume).cum_sum().over(of_session), volume.cum_sum().over(of_session)
    unknown = (price * volume).is_null().cum_sum().over(of_session)
    return pl.when((traded > 0) & (unknown == 0)).then(flow / traded)
