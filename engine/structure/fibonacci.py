"""Levels of Fibonacci on the last known swing leg, and how many levels meet where the price is.

A leg goes from the older of the last known swing high and swing low to the newer: up where the high
is the newer. It is known when its end is, `strength` bars after it happened, and renewed by every new
swing. Retracements lie within it, measured back from its end; extensions beyond its end, measured
from its start. Which of these levels hold is not said: where several meet, `confluence` is a score.
"""

from collections.abc import Sequence
from typing import NamedTuple

import polars as pl

from engine.causal import Column, derived, positive_number, whole_number
from engine.errors import OutOfBoundsError
from engine.structure.swings import Swings

RETRACEMENTS = (0.236, 0.382, 0.5, 0.618, 0.786)
EXTENSIONS = (1.272, 1.618, 2.618)


class Leg(NamedTuple):
    """Not known before both a swing high and a swing low are, nor where both are of one bar."""

    start: Column
    end: Column
    direction: Column  # 1 up, -1 down


def last_leg(of: Swings) -> Leg:
    """From the older of the last known swing high and swing low to the newer."""

    def directed(high_bars_ago: pl.Expr, low_bars_ago: pl.Expr) -> pl.Expr:
        return pl.when(high_bars_ago < low_bars_ago).then(1.0).when(high_bars_ago > low_bars_ago).then(-1.0)

    direction = derived(directed, of.high_bars_ago, of.low_bars_ago, name="leg_direction", shared=True)
    return Leg(
        derived(_chosen, direction, of.low, of.high, name="leg_start", shared=True),
        derived(_chosen, direction, of.high, of.low, name="leg_end", shared=True),
        direction,
    )


def retracements(of: Leg, ratios: Sequence[float] = RETRACEMENTS) -> tuple[Column, ...]:
    """The prices that give back these shares of the leg, each between 0 and 1."""
    for ratio in ratios:
        if not 0 < ratio < 1:
            raise OutOfBoundsError("ratio", ratio, allowed="between 0 and 1: beyond the leg lie extensions")
    return tuple(_level("retracement", of, 1 - ratio, ratio) for ratio in ratios)


def extensions(of: Leg, ratios: Sequence[float] = EXTENSIONS) -> tuple[Column, ...]:
    """The prices that go on to these multiples of the leg, each above 1."""
    for ratio in ratios:
        if not ratio > 1:
            raise OutOfBoundsError("ratio", ratio, allowed="more than 1: within the leg lie retracements")
    return tuple(_level("extension", of, ratio, ratio) for ratio in ratios)


def confluence(price: Column, levels: Sequence[Column], *, within: Column, enough: int = 3) -> Column:
    """A score from 0 to 1: how many of `levels` lie within a distance of `price`, `enough` of them or more being 1.

    Levels that are not known count as being elsewhere; a level that two legs share counts for both. Not known where
    `price` or `within` is not.
    """
    whole_number("enough", enough, at_least=1)
    if not levels:
        raise OutOfBoundsError("levels", levels, allowed="one column of prices or more")

    def score(price: pl.Expr, within: pl.Expr, *levels: pl.Expr) -> pl.Expr:
        near = ((price - level).abs() <= within for level in levels)
        count = pl.sum_horizontal(one.fill_null(value=False).cast(pl.Float64) for one in near)
        known = price.is_not_null() & within.is_not_null()
        return pl.when(known).then(pl.min_horizontal(count / enough, pl.lit(1.0)))

    return derived(score, price, within, *levels, name="confluence", settings={"enough": enough}, shared=True)


def _chosen(direction: pl.Expr, up: pl.Expr, down: pl.Expr) -> pl.Expr:
    return pl.when(direction > 0).then(up).when(direction < 0).then(down)


def _level(name: str, of: Leg, share: float, ratio: float) -> Column:
    """So far along the leg."""
    return derived(
        lambda start, end: start + (end - start) * share,
        of.start,
        of.end,
        name=name,
        settings={"ratio": positive_number("ratio", ratio)},
    )
