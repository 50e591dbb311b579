"""The words for how a position is left beside signals: stops, trails and ladders of targets.

A strategy speaks in distances, as it does not know the price; a decision of a scenario may name prices.
"""

from collections.abc import Iterable
from fractions import Fraction as Exact
from typing import Annotated, Any, Literal, NamedTuple, Self

from pydantic import Discriminator, Field, Tag, model_validator

from quality.configuration import Positive, Record, refuse
from quality.costs import Fraction
from quality.errors import Refusal

DEFAULT = "default"
DEFAULT_LADDER = ((1.0, 0.4), (2.5, 0.4))  # R and share; the rest runs, at break-even once the first has filled


class Distance(Record):
    """`{pct}` as a share of the price, or `{atr, length}` in average true ranges."""

    pct: Annotated[float, Field(gt=0, lt=1)] | None = None
    atr: Positive | None = None
    length: Annotated[int, Field(ge=1)] | None = None

    @model_validator(mode="after")
    def _one_form(self) -> Self:
        if (self.pct is None) == (self.atr is None) or (self.atr is None) != (self.length is None):
            refuse([Refusal((), "pct alone, or atr and length together")])
        return self


class Target(Record):
    r: Positive  # distance from the fill, in first risks
    share: Fraction  # of the position


class PriceTarget(Record):
    price: Positive
    share: Fraction


class Rung(NamedTuple):
    r: float
    share: float


def beyond_whole(shares: Iterable[float]) -> bool:
    """Do `shares` sum to more than 1, by their decimals?

    >>> beyond_whole([0.7, 0.2, 0.1])
    False
    """
    return sum(Exact(str(share)) for share in shares) > 1


Count = Annotated[int, Field(ge=1)]
MOST_TARGETS = 8


def _stop_kind(value: Any) -> str:
    return "distance" if isinstance(value, dict | Distance) else "price"


def _target_kind(value: Any) -> str:
    priced = "price" in value if isinstance(value, dict) else isinstance(value, PriceTarget)
    return "price" if priced else "r"


def _targets_kind(value: Any) -> str:
    return DEFAULT if isinstance(value, str) else "list"


Stop = Annotated[Annotated[Positive, Tag("price")] | Annotated[Distance, Tag("distance")], Discriminator(_stop_kind)]
SIGNAL = "signal"


def _signal_stop_kind(value: Any) -> str:
    return SIGNAL if isinstance(value, str) else "distance"


SignalStop = Annotated[
    Annotated[Literal["signal"], Tag(SIGNAL)] | Annotated[Distance, Tag("distance")], Discriminator(_signal_stop_kind)
]
"""A distance, or the one that the strategy says with its entry."""
AnyTarget = Annotated[Annotated[PriceTarget, Tag("price")] | Annotated[Target, Tag("r")], Discriminator(_target_kind)]
Targets = Annotated[
    Annotated[Literal["default"], Tag(DEFAULT)] | Annotated[tuple[Target, ...], Tag("list")],
    Discriminator(_targets_kind),
]
AnyTargets = Annotated[
    Annotated[Literal["default"], Tag(DEFAULT)] | Annotated[tuple[AnyTarget, ...], Tag("list")],
    Discriminator(_targets_kind),
]
