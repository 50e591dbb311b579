"""What becomes of swing levels: breaks of structure, changes of character, sweeps of liquidity.

The level of a bar is the last swing high (or low) that was known on the close before it. What
happens to a level happens once:

1. It is *broken* by the first close beyond it.
2. It is *swept* where the first bar that trades beyond it closes back: the orders that rested there
   are taken, and the price does not stay. What was traded beyond is swept no more, but may still be
   broken.

The trend is the direction of the last break. A break along the trend, or the first of all, is a
break of structure; one against it is a change of character. All of it is known on the close of its
bar. A new swing renews its level, from the next bar on.
"""

from typing import NamedTuple

import polars as pl

from engine.causal import Bars, Column, derived
from engine.structure.swings import Swings


class Breaks(NamedTuple):
    up: Column  # truth: the first close above the level of the last swing high
    down: Column
    change_up: Column  # truth: a break up while the trend was down, a change of character
    change_down: Column
    trend: Column  # 1 since a break up, -1 since a break down; not known before the first


class Sweeps(NamedTuple):
    above: Column  # truth: the first bar to trade above the level of the last swing high, and it closed back
    below: Column


def breaks(bars: Bars, of: Swings) -> Breaks:
    """The closes beyond the levels of swings, and the trend that they make."""
    up = _first_above(bars.close, of.high, of.new_high, name="break_up")
    down = _first_above(-bars.close, -of.low, of.new_low, name="break_down")
    trend = derived(
        lambda up, down: pl.when(up).then(1.0).when(down).then(-1.0).forward_fill(),
        up,
        down,
        name="trend",
        shared=True,
        anchored=True,
    )
    return Breaks(up, down, _while(trend, -1, up, name="change_up"), _while(trend, 1, down, name="change_down"), trend)


def sweeps(bars: Bars, of: Swings) -> Sweeps:
    """The bars that are the first to trade beyond the level of a swing, and close back."""
    return Sweeps(
        _first_above(bars.high, of.high, of.new_high, closes=bars.close, name="sweep_above"),
        _first_above(-bars.low, -of.low, of.new_low, closes=-bars.close, name="sweep_below"),
    )


def _first_above(price: Column, level: Column, renewed: Column, *, closes: Column | None = None, name: str) -> Column:
    """True on the first bar that is above its level, of all that have the level; and closes back, where that is asked."""

    def first(price: pl.Expr, level: pl.Expr, renewed: pl.Expr, *closes: pl.Expr) -> pl.Expr:
        level_before = level.shift(1)
        above = price > level_before
        times = above.fill_null(value=False).cum_sum()
        times_before = pl.when(renewed).then(times).forward_fill().shift(1)
        is_first = above & (times - times_before == 1)
        return is_first & (closes[0] <= level_before) if closes else is_first

    operands = (price, level, renewed, *([] if closes is None else [closes]))
    return derived(first, *operands, name=name, lookback=1, kind="truth", shared=True, anchored=True)


def _while(trend: Column, side: int, broken: Column, *, name: str) -> Column:
    """Those breaks before which the trend had this side."""

    def against(trend: pl.Expr, broken: pl.Expr) -> pl.Expr:
        return broken & (trend.shift(1) == side).fill_null(value=False)

    return derived(against, trend, broken, name=name, lookback=1, kind="truth", shared=True)
