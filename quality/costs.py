"""The words for what trading costs: fees by date and volume or by the share, slippage and impact.

`policies/costs.yaml` and a scenario say them alike. Slippage is one of five models, each with keys of
its own; those that need a session's deviation of log returns (`sigma`) and its volume are given
both, or `days`, the number of past sessions they are measured over.
"""

from collections.abc import Iterator
from datetime import date
from itertools import pairwise
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from quality.configuration import Filled, NonNegative, Positive, Record, refuse
from quality.errors import Refusal

RateBps = Annotated[float, Field(gt=-10_000, lt=10_000)]  # a rebate is negative
SpreadBps = Annotated[float, Field(ge=0, lt=10_000)]
Fraction = Annotated[float, Field(gt=0, le=1)]
Share = Annotated[float, Field(ge=0, le=1)]
_UNMEASURED = Field(default=None, exclude_if=lambda value: value is None)


class FeeTier(Record):
    volume: NonNegative  # traded notional of the last 30 days, from which on the tier holds
    maker_bps: RateBps
    taker_bps: RateBps


class FeePeriod(Record):
    from_: date = Field(alias="from")
    tiers: Annotated[tuple[FeeTier, ...], Filled]

    @model_validator(mode="after")
    def _tiers_ascend_from_zero(self) -> Self:
        refuse(self._out_of_order())
        return self

    def _out_of_order(self) -> Iterator[Refusal]:
        if self.tiers[0].volume != 0:
            yield Refusal(("tiers", 0, "volume"), "0: the first tier is everybody's")
        for index, (lower, upper) in enumerate(pairwise(self.tiers), start=1):
            if upper.volume <= lower.volume:
                yield Refusal(("tiers", index, "volume"), f"more than the tier before ({lower.volume:g})")


def out_of_order(periods: tuple[FeePeriod, ...]) -> Iterator[Refusal]:
    """What is wrong with the order of a schedule's periods, at places under `fees`."""
    for index, (earlier, later) in enumerate(pairwise(periods), start=1):
        if later.from_ <= earlier.from_:
            yield Refusal(("fees", index, "from"), f"later than the period before ({earlier.from_})")


class PerShare(Record):
    """A fee by the share, whatever its price."""

    fee: NonNegative
    minimum: NonNegative = 0.0  # per order


class NoSlippage(Record):
    model: Literal["none"]


class BpsSlippage(Record):
    model: Literal["bps"]
    bps: SpreadBps


class VolumeShareSlippage(Record):
    """Taker price x (1 ± impact x share²), share being what was taken of the bar's volume."""

    model: Literal["volume_share"]
    impact: NonNegative
    limit: Fraction = 1.0  # of a bar's volume, for all takers


class _Measured(Record):
    """Sigma and volume of a session, given or measured."""

    sigma: Annotated[NonNegative | None, _UNMEASURED]
    volume: Annotated[Positive | None, _UNMEASURED]
    days: Annotated[Annotated[int, Field(ge=2)] | None, _UNMEASURED]

    @model_validator(mode="after")
    def _known_one_way(self) -> Self:
        given = self.sigma is not None and self.volume is not None
        if given == (self.days is not None):
            refuse([Refusal((), "sigma and volume of a session, or days to measure what is left out over")])
        return self


class SquareRootImpact(_Measured):
    """y x sigma x √(quantity / volume)."""

    model: Literal["square_root"]
    y: NonNegative


class AlmgrenImpact(_Measured):
    """Half the permanent impact and the temporary one, as Almgren and others fitted them to equities in 2005."""

    model: Literal["almgren"]
    shares_outstanding: Positive
    horizon_days: Positive = 1.0


Slippage = Annotated[
    NoSlippage | BpsSlippage | VolumeShareSlippage | SquareRootImpact | AlmgrenImpact, Field(discriminator="model")
]
NO_SLIPPAGE = NoSlippage(model="none")
