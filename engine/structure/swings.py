"""Swings: highs and lows that stand out among the bars around them, and stops that lie beyond them.

A swing high of strength n is a high above the n before it and not below the n after it, so of equal
highs the first counts; a swing low is its mirror image. That takes n more bars to know: a swing of
bar p stands in these columns from bar p + n on, and how many bars ago it was stands beside it.
"""

from typing import NamedTuple, Self

import polars as pl

from engine.causal import Bars, Column, bars_since, derived, value_when, whole_number
from engine.errors import OutOfBoundsError


class Prices(NamedTuple):
    open: Column
    high: Column
    low: Column
    close: Column

    @classmethod
    def of(cls, bars: Bars) -> Self:
        return cls(bars.open, bars.high, bars.low, bars.close)

    def upside_down(self) -> Self:
        """Prices below zero, in which a low is a high: every rule is written once, for the way up."""
        return type(self)(-self.open, -self.low, -self.high, -self.close)


class Swings(NamedTuple):
    """The last swing high and the last swing low that are known on each bar; not known before the first."""

    new_high: Column  # truth: one becomes known on this bar
    high: Column
    high_bars_ago: Column  # since it happened; `strength` on the bar where it becomes known
    new_low: Column
    low: Column
    low_bars_ago: Column


def swings(bars: Bars, strength: int) -> Swings:
    """Swing highs of `bars.high` and swing lows of `bars.low`."""
    n = whole_number("strength", strength, at_least=1)

    def stands_out(highs: pl.Expr) -> pl.Expr:
        return (highs.shift(n) == highs.rolling_max(2 * n + 1)) & (highs.shift(n) > highs.shift(n + 1).rolling_max(n))

    def found(highs: Column, name: str) -> Column:
        return derived(
            stands_out, highs, name=name, settings={"strength": n}, lookback=2 * n, kind="truth", shared=True
        )

    new_high, new_low = found(bars.high, "new_swing_high"), found(-bars.low, "new_swing_low")
    return Swings(
        new_high,
        value_when(new_high, bars.high.lag(n)),
        bars_since(new_high) + n,
        new_low,
        value_when(new_low, bars.low.lag(n)),
        bars_since(new_low) + n,
    )


def stop_distances(bars: Bars, of: Swings, *, unit: Column, least: float, most: float) -> tuple[Column, Column]:
    """How far from the close the stops of a long and of a short lie, in price.

    Args:
        bars: those that are traded.
        of: a stop lies a quarter of a unit beyond the last swing, or beyond this bar where it reached farther.
        unit: what `least` and `most` count, such as an average true range.
        least: of units; and no distance falls below a thousandth of the close.
        most: of units.
    """
    if not 0 < least < most:
        raise OutOfBoundsError("most", most, allowed=f"more than {least} (least), and that above 0")

    def beyond(close: pl.Expr, extreme: pl.Expr, swing: pl.Expr, unit: pl.Expr) -> pl.Expr:
        distance = (close - pl.min_horizontal(extreme, swing) + unit * 0.25).clip(unit * least, unit * most)
        known = swing.is_not_null() & unit.is_not_null()
        return pl.when(known).then(pl.max_horizontal(distance, close.abs() * 0.001))

    bounds = {"least": float(least), "most": float(most)}

    def stop(name: str, *prices: Column) -> Column:
        return derived(beyond, *prices, unit, name=name, settings=bounds, shared=True)

    return (
        stop("stop_of_a_long", bars.close, bars.low, of.low),
        stop("stop_of_a_short", -bars.close, -bars.high, -of.high),
    )
