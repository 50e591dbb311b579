"""Setups with a score: five components say how good an entry would be, a gate refuses what is not good enough.

1. A setup is a place to enter, for a long and for a short, and the score that it must have.
2. The score of a side is the mean of five components, each from 0 to 1, by their weights; so it is from
   0 to 1 too, and what each component has in it is its value times its weight.
3. A setup that holds on a bar is a candidate. It is refused where its score is below the setup's own
   minimum, where the bias does not lean its way, or where one of the two is not known.
4. What the gate lets pass is an entry; all candidates, with components and every reason of a refusal,
   are told by `candidates`, which reads the same columns.

A candidate is not an order: embargoes, guards and what is held are looked at after it, and have their
own words in `orders`.
"""

from collections.abc import Mapping
from math import inf
from typing import NamedTuple, Self

import polars as pl

from engine.causal import Column, derived, where, whole_number
from engine.errors import OutOfBoundsError

LONG, SHORT = 1, -1
SIDES = {LONG: "long", SHORT: "short"}
BELOW_MINIMUM, AGAINST_BIAS, SCORE_UNKNOWN, BIAS_UNKNOWN = (
    *("below_minimum", "against_bias"),
    *("score_unknown", "bias_unknown"),
)


class Components(NamedTuple):
    """How good an entry on one side would be, five numbers from 0 to 1; what lies beyond is cut to it."""

    structure: Column
    confluence: Column
    momentum: Column
    volume: Column
    regime: Column

    def mirrored(self) -> Self:
        """Those of the other side: structure, momentum and regime lean one way or the other, 0.5 being neither."""
        return self._replace(structure=1 - self.structure, momentum=1 - self.momentum, regime=1 - self.regime)


class Weights(NamedTuple):
    """Of the components in the score; only their ratios count."""

    structure: float = 1
    confluence: float = 1
    momentum: float = 1
    volume: float = 1
    regime: float = 1

    @property
    def shares(self) -> tuple[float, ...]:
        return tuple(weight / sum(self) for weight in self)


EQUAL = Weights()


def direction(column: Column, length: int) -> Column:
    """How straight the way of the last `length` bars was, as a regime component: 1 straight up, 0 straight down.

    The net change over the sum of all changes (Kaufman's efficiency ratio, with its sign), from -1..1 to 0..1; chop is
    near 0.5. Not known where nothing moved.
    """
    whole_number("length", length, at_least=2)

    def straight(values: pl.Expr) -> pl.Expr:
        way = (values - values.shift(1)).abs().rolling_sum(length)
        net = values - values.shift(length)
        return pl.when(way > 0).then(((net / way).clip(-1, 1) + 1) / 2)

    settings = {"length": length}
    return derived(straight, column, name="direction", settings=settings, lookback=length, shared=True)


class Setup(NamedTuple):
    """Where an entry may be, and the score that it must have."""

    long: Column
    short: Column
    at_least: float


class Side(NamedTuple):
    """One side of the market: what it would be entered for, and how good that is."""

    components: Components
    score: Column


class Gated(NamedTuple):
    """What a gate was asked, and what it lets pass."""

    asked: Mapping[str, Setup]
    sides: Mapping[int, Side]
    weights: Weights
    bias: Column
    enter: Column
    enter_short: Column
    strength: Column  # the score of the side that may be entered
    setups: Mapping[str, Column]  # those that pass, on either side


def gate(
    setups: Mapping[str, Setup], long: Components, short: Components, *, bias: Column, weights: Weights = EQUAL
) -> Gated:
    """Let pass the setups whose score reaches their minimum and whose side the bias leans to.

    Args:
        setups: by name; the first that passes names the entry.
        long: the components of a long.
        short: those of a short.
        bias: which way the market is held to lean, above 0 up and below 0 down.
        weights: of the components.
    """
    _check(setups, weights)
    sides = {LONG: _side(long, weights), SHORT: _side(short, weights)}
    passed = {
        side: {name: _passes(setup, side, sides[side].score, bias) for name, setup in setups.items()} for side in SIDES
    }
    enter, enter_short = (_any(passed[side]) for side in SIDES)
    return Gated(
        asked=setups,
        sides=sides,
        weights=weights,
        bias=bias,
        enter=enter,
        enter_short=enter_short,
        strength=where(bias > 0, sides[LONG].score, sides[SHORT].score),
        setups={name: passed[LONG][name] | passed[SHORT][name] for name in setups},
    )


def refusals(score: float | None, bias: float | None, *, side: int, at_least: float) -> list[str]:
    """Every reason why a candidate is refused; none where it passes.

    >>> refusals(0.7, -1, side=LONG, at_least=0.6)
    ['against_bias']
    >>> refusals(0.5, None, side=LONG, at_least=0.6)
    ['below_minimum', 'bias_unknown']
    """
    reasons = {
        SCORE_UNKNOWN: score is None,
        BELOW_MINIMUM: score is not None and score < at_least,
        BIAS_UNKNOWN: bias is None,
        AGAINST_BIAS: bias is not None and not bias * side > 0,
    }
    return [reason for reason, holds in reasons.items() if holds]


def _check(setups: Mapping[str, Setup], weights: Weights) -> None:
    if not setups:
        raise OutOfBoundsError("setups", dict(setups), allowed="one setup or more")
    for setup in setups.values():
        if not 0 <= setup.at_least <= 1:
            raise OutOfBoundsError("at_least", setup.at_least, allowed="from 0 to 1, as scores are")
    if min(weights) < 0 or not 0 < sum(weights) < inf:
        raise OutOfBoundsError("weights", tuple(weights), allowed="finite, none below 0 and one above it")


def _side(components: Components, weights: Weights) -> Side:
    clipped = Components(*(component.clip(0, 1) for component in components))

    def mean(*values: pl.Expr) -> pl.Expr:
        first, *others = (value * share for value, share in zip(values, weights.shares, strict=True))
        for other in others:
            first += other
        return first.clip(0, 1)  # a sum of rounded shares may end a hair above

    shares = dict(zip(Components._fields, weights.shares, strict=True))
    return Side(clipped, derived(mean, *clipped, name="score", settings=shares, shared=True))


def _passes(setup: Setup, side: int, score: Column, bias: Column) -> Column:
    def passes(holds: pl.Expr, score: pl.Expr, bias: pl.Expr) -> pl.Expr:
        return holds & (score >= setup.at_least) & (bias * side > 0)

    holds = setup.long if side == LONG else setup.short
    return derived(
        passes,
        *(holds, score, bias),
        name="passes",
        settings={"side": SIDES[side], "at_least": setup.at_least},
        kind="truth",
        shared=True,
    )


def _any(truths: Mapping[str, Column]) -> Column:
    first, *others = truths.values()
    for other in others:
        first |= other
    return first
