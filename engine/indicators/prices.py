"""One price out of a bar's four."""

from typing import NamedTuple

from engine.causal import Bars, Column
from engine.indicators.making import bars_to_forget, talib


class HeikinAshi(NamedTuple):
    open: Column
    high: Column
    low: Column
    close: Column


def avgprice(bars: Bars) -> Column:
    """The mean of open, high, low and close."""
    return (bars.open + bars.high + bars.low + bars.close) / 4.0


def medprice(bars: Bars) -> Column:
    """Halfway between high and low."""
    return halfway(bars.high, bars.low)


def typprice(bars: Bars) -> Column:
    """The mean of high, low and close."""
    return (bars.high + bars.low + bars.close) / 3.0


def wclprice(bars: Bars) -> Column:
    """The mean of high, low and twice the close."""
    return (bars.high + bars.low + 2.0 * bars.close) / 4.0


def heikin_ashi(bars: Bars) -> HeikinAshi:
    """Bars that open halfway through the one before, close at the mean price, and reach as far as needed."""

    def price(output: str, warm_up: int = bars_to_forget(1 / 2)) -> Column:
        prices = bars.open, bars.high, bars.low, bars.close
        return talib("ha", *prices, lookback=0, warm_up=warm_up, output=output)

    return HeikinAshi(price("haopen"), price("hahigh"), price("halow"), price("haclose", warm_up=0))


def halfway(one: Column, other: Column) -> Column:
    """Halfway between two columns."""
    return (one + other) / 2.0
