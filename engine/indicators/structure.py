"""Structure: extremes of the past, and turning points from the bar on which they are known."""

from typing import NamedTuple

import polars as pl

from engine.causal import Bars, Column
from engine.indicators.making import made


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
    high, low = bars.high, -bars.low

    def of(name: str, column: Column, function: object) -> Column:
        return made(name, lambda values: function(values, strength), column, lookback=2 * strength, strength=strength)

    return Pivots(
        of("pivot_high", high, _level),
        of("pivot_high_bars_ago", high, _bars_ago),
        -of("pivot_low", low, _level),
        of("pivot_low_bars_ago", low, _bars_ago),
    )


def _turned(values: pl.Expr, strength: int) -> pl.Expr:
    """Whether the value of `strength` bars ago is above those on either side of it."""
    middle, before = values.shift(strength), values.shift(strength + 1)
    return (middle > values.rolling_max(strength)) & (middle > before.rolling_max(strength))


def _level(values: pl.Expr, strength: int) -> pl.Expr:
    return pl.when(_turned(values, strength)).then(values.shift(strength)).forward_fill()


def _bars_ago(values: pl.Expr, strength: int) -> pl.Expr:
    bar = values.is_null().cum_count()
    known = pl.when(_turned(values, strength)).then(bar).forward_fill()
    return (bar.cast(pl.Int64) - known.cast(pl.Int64) + strength).cast(pl.Float64)
