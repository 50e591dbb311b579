"""Policies a risk manager may read and change: service levels, costs, corrections of calendars.

Each file has `schema: 1` beside sections under names of one's own, which data sets and strategies
refer to. The promotion policy has a module of its own.
"""

from collections.abc import Iterator
from datetime import date
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from quality.configuration import Filled, Name, NonNegative, Number, Positive, Record, Text, matching, refuse
from quality.costs import NO_SLIPPAGE, FeePeriod, Fraction, PerShare, Share, Slippage, SpreadBps, out_of_order
from quality.errors import Refusal

TimeOfDay = Annotated[str, matching(r"([01]\d|2[0-3]):[0-5]\d", "a time of day such as 16:00")]


class Limit(Record):
    """How much of what a rule measures is allowed, and what happens when it is broken."""

    at_least: Number | None = None
    at_most: Number | None = None
    severity: Literal["warn", "enforce"]
    from_: date | None = Field(default=None, alias="from")  # the first session it is enforced on; before it only warns
    why: Text

    @model_validator(mode="after")
    def _from_belongs_to_enforce(self) -> Self:
        if self.from_ and self.severity == "warn":
            refuse([Refusal(("from",), "no date where severity is warn: nothing is enforced from it")])
        return self


class Resample(Record):
    min_share: Share = 0.5  # of the due base bars, for a longer bar to exist


class Freshness(Record):
    """How old the newest bars of a source that goes on may become, in hours since they were last made."""

    warn_after_hours: Positive
    fail_after_hours: Positive

    @model_validator(mode="after")
    def _warns_first(self) -> Self:
        if self.fail_after_hours <= self.warn_after_hours:
            refuse([Refusal(("fail_after_hours",), f"more than warn_after_hours ({self.warn_after_hours:g})")])
        return self


class ServiceLevel(Record):
    """One section of `policies/sla.yaml`: what a data set must deliver, per instrument and session."""

    completeness: Limit
    nan: Limit
    duplicates: Limit
    quarantined: Limit
    lateness: Limit | None = None  # these are judged only where a section has them
    stale_run: Limit | None = None
    jump: Limit | None = None
    disorder: Limit | None = None
    no_trade_bars: Literal["missing", "filled"] = "missing"  # what becomes of bars in which nothing traded
    filled: Limit | None = None  # the share of due bars that may be filled
    outside_hours: Literal["refused", "expected"] = "refused"  # whether `quarantined` counts rows outside sessions
    max_range_ratio: Annotated[float, Field(gt=1)] | None = None  # of high to low; bars beyond it are quarantined
    block_share: Share  # of instruments that fail the newest session, above which the data set blocks
    resample: Resample = Resample()
    freshness: Freshness | None = None  # shown by Dagster, which alerts; it blocks nothing

    @property
    def limits(self) -> dict[str, Limit]:
        """The rules by name; those without a limit are left out."""
        return {name: value for name, value in self if isinstance(value, Limit)}

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        refuse([*self._unbounded(), *self._filled_unseen()])
        return self

    def _unbounded(self) -> Iterator[Refusal]:
        for name, limit in self.limits.items():
            wanted, other = ("at_least", "at_most") if name == "completeness" else ("at_most", "at_least")
            if getattr(limit, other) is not None:
                yield Refusal((name, other), f"{wanted} and no other limit")
            elif getattr(limit, wanted) is None:
                yield Refusal((name, wanted), "a number", found="{key} is missing")

    def _filled_unseen(self) -> Iterator[Refusal]:
        if self.no_trade_bars == "filled" and self.filled is None:
            yield Refusal(("filled",), "a limit: filled bars are counted", found="{key} is missing")
        if self.no_trade_bars == "missing" and self.filled is not None:
            yield Refusal(("filled",), "no_trade_bars: filled beside it: nothing is filled without")


class SlaPolicy(Record, extra="allow"):
    """`policies/sla.yaml`."""

    schema_: Literal[1] = Field(alias="schema")
    __pydantic_extra__: dict[Name, ServiceLevel] = Field(init=False)

    @property
    def sections(self) -> dict[str, ServiceLevel]:
        return dict(self.__pydantic_extra__)


class Costs(Record):
    """One section of `policies/costs.yaml`: what trading costs, and how much of a bar can be had."""

    fees: tuple[FeePeriod, ...] = ()
    per_share: PerShare | None = None  # instead of fees by volume
    half_spread_bps: Annotated[dict[Name, SpreadBps], Filled]  # by instrument tier
    slippage: Slippage = NO_SLIPPAGE
    limit_fill: Literal["trade_through", "touch"]
    liquidate_on: Literal["mark", "last"] = "mark"  # the prices that leveraged positions are liquidated by
    participation: Fraction = 1.0  # of a bar's volume, for all orders of an instrument
    borrow_bps_per_day: NonNegative
    delisting_recovery: Share = 1.0  # of the last close, when an instrument is delisted

    @property
    def known_from(self) -> date:
        """The first day that the fees are known of."""
        return self.fees[0].from_ if self.fees else date.min

    @model_validator(mode="after")
    def _periods_ascend(self) -> Self:
        refuse([*self._fees_twice(), *out_of_order(self.fees)])
        return self

    def _fees_twice(self) -> Iterator[Refusal]:
        if not self.fees and self.per_share is None:
            yield Refusal(("fees",), "at least one period, or per_share instead")
        if self.fees and self.per_share is not None:
            yield Refusal(("per_share",), "no fees beside it: an order pays one of them")


class CostsPolicy(Record, extra="allow"):
    """`policies/costs.yaml`."""

    schema_: Literal[1] = Field(alias="schema")
    __pydantic_extra__: dict[Name, Costs] = Field(init=False)

    @property
    def sections(self) -> dict[str, Costs]:
        return dict(self.__pydantic_extra__)


class Correction(Record):
    """One session, or all from one date (to another), that the venue did not hold, or held for less than a calendar says.

    Hours are the venue's own clock; they only ever cut a session: its early closes stay as early as they are.
    """

    session: date | None = None
    from_: date | None = Field(default=None, alias="from")
    to: date | None = None
    closed: Literal[True] | None = None
    opens: TimeOfDay | None = None
    closes: TimeOfDay | None = None
    break_: tuple[TimeOfDay, TimeOfDay] | None = Field(default=None, alias="break")
    why: Text

    @property
    def first(self) -> date:
        return self.session or self.from_ or date.min

    @property
    def last(self) -> date:
        return self.session or self.to or date.max

    @model_validator(mode="after")
    def _says_when_and_what(self) -> Self:
        refuse(self._contradictions())
        return self

    def _contradictions(self) -> Iterator[Refusal]:
        if (self.session is None) == (self.from_ is None):
            yield Refusal(
                (), "session: DATE, or from: DATE for all sessions since", found="one correction has both or none"
            )
        if self.to is not None and (self.from_ is None or self.to < self.from_):
            yield Refusal(("to",), "a date not before from, and none without from")
        hours = [name for name in ("opens", "closes", "break_") if getattr(self, name) is not None]
        if bool(self.closed) == bool(hours):
            yield Refusal((), "closed: true, or opens, closes or break", found="one correction has both or none")
        if self.break_ is not None and self.break_[0] >= self.break_[1]:
            yield Refusal(("break",), "an end after its start")


class CalendarsPolicy(Record, extra="allow"):
    """`policies/calendars.yaml`."""

    schema_: Literal[1] = Field(alias="schema")
    __pydantic_extra__: dict[str, tuple[Correction, ...]] = Field(init=False)

    @property
    def corrections(self) -> dict[str, tuple[Correction, ...]]:
        """By calendar."""
        return dict(self.__pydantic_extra__)
