"""Structure: extremes of the past, and turning points from the bar on which they are known."""

from typing import NamedTuple

from engine.causal import Bars, Column, bars_since, value_when


class Pivots(NamedTuple):
    high: Column
    high_bars_ago: Column
    low: Column
    low_bars_ago: Column


def highest(column: Column, length: int = 20) -> Column:
    """The highest of the last `length` values."""
    return column.rolling_max(length)


def lowest(column: Column, length: int = 20) -> Column:
    """The lowest of the last `length` values."""
    return column.rolling_min(length)


def pivots(bars: Bars, strength: int = 2) -> Pivots:
    """The newest turning points that are known, and how many bars ago they were.

    A high is one when it is above the highs of `strength` bars on either side, so it is known `strength` bars later:
    on that bar it appears, `strength` bars ago, and stands until a newer one is known. Lows are the same, below.
    """
    tops, bottoms = _turned(bars.high, strength), _turned(-bars.low, strength)
    return Pivots(
        value_when(tops, bars.high.lag(strength)),
        bars_since(tops) + float(strength),
        value_when(bottoms, bars.low.lag(strength)),
        bars_since(bottoms) + float(strength),
    )


def _turned(column: Column, strength: int) -> Column:
    """Whether the value of `strength` bars ago is above those on either side of it."""
    middle, before = column.lag(strength), column.lag(strength + 1)
    return (middle > column.rolling_max(strength)) & (middle > before.rolling_max(strength))
