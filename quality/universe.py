"""Who may be traded: `policies/universe.yaml`, and its rules held against what is known before a session.

    liquid:                       # a data set says `universes: [liquid]`
      refresh: monthly            # or weekly
      window_sessions: 60         # of the means below
      min_history_sessions: {limit: 250, why: …}
      min_traded_value: {limit: 1000000, why: …}
      max_spread_bps: {limit: 100, why: …}
      min_completeness: {limit: 0.95, why: …}
      required_tags: {tags: [halal], why: …}
      forbidden_tags: {tags: [leveraged], why: …}
      tiers: {large: 50000000, small: 0}

1. An instrument is measured on the first session of each week (from Monday) or month, by the
   sessions before it; what was found holds until the next such session.
2. A rule that is broken is a reason, and so is a rule whose measure cannot be had: absence is never
   a pass. All reasons are given, under the rules' names.
3. Listing is looked at every session: who is not listed yet or any more is out, with the reason
   `not_listed`. Who was delisted since stays in every session it was listed in.
4. An instrument's tier is the highest whose traded value it reaches, where the section has tiers;
   below all of them, or without any, it keeps the one its data set gives it.
"""

from collections.abc import Iterator, Mapping
from datetime import date
from typing import Annotated, Literal, Self

import polars as pl
from pydantic import Field, model_validator

from quality.configuration import Filled, Name, NonNegative, Record, Text, refuse
from quality.costs import Share
from quality.datasets import Dataset, Instrument
from quality.documents import nearest, unknown
from quality.errors import Refusal

NOT_LISTED = "not_listed"
COLUMNS = ("session", "instrument", "member", "reasons", "tier", "tags", "measured_on")


class Threshold(Record):
    limit: NonNegative
    why: Text


class ShareThreshold(Record):
    limit: Share
    why: Text


class SessionThreshold(Record):
    limit: Annotated[int, Field(ge=0)]
    why: Text


class Tagged(Record):
    tags: Annotated[tuple[Name, ...], Filled]
    why: Text


class Universe(Record):
    """One section: when members are chosen anew, and by which rules."""

    refresh: Literal["weekly", "monthly"]
    window_sessions: Annotated[int, Field(ge=1, le=1000)]
    min_history_sessions: SessionThreshold | None = None
    min_traded_value: Threshold | None = None  # a session's, in the quote currency
    max_spread_bps: Threshold | None = None  # the proxy of engine.universe
    min_completeness: ShareThreshold | None = None
    required_tags: Tagged | None = None  # all of them
    forbidden_tags: Tagged | None = None  # none of them
    tiers: dict[Name, NonNegative] = Field(default_factory=dict)  # by the traded value from which on

    @model_validator(mode="after")
    def _tags_do_not_contradict(self) -> Self:
        required = self.required_tags.tags if self.required_tags else ()
        forbidden = self.forbidden_tags.tags if self.forbidden_tags else ()
        refuse(
            Refusal(("forbidden_tags", "tags", index), "a tag that is not required as well")
            for index, tag in enumerate(forbidden)
            if tag in required
        )
        return self


class UniversePolicy(Record, extra="allow"):
    """`policies/universe.yaml`."""

    schema_: Literal[1] = Field(alias="schema")
    __pydantic_extra__: dict[Name, Universe] = Field(init=False)

    @property
    def sections(self) -> dict[str, Universe]:
        return dict(self.__pydantic_extra__)


def judge(measured: pl.DataFrame, instrument: Instrument, universe: Universe) -> pl.DataFrame:
    """Whether one instrument is a member in each session, and why not.

    Args:
        measured: one row a session, sorted, as `engine.universe.measures` gives them; null breaks a rule that asks.
        instrument: its listing, tags and tier.
        universe: the rules.

    Returns:
        `session instrument member reasons tier tags measured_on history_sessions traded_value spread_bps completeness`;
        the measures are those of the session `measured_on`.
    """
    held = measured.with_columns(measured_on=_measured_on(universe)).with_columns(
        pl.exclude("session", "measured_on").first().over("measured_on")
    )
    broken = {**_broken(instrument, universe), NOT_LISTED: ~_is_listed(instrument)}
    reasons = [pl.when(rule.fill_null(value=True)).then(pl.lit(name)) for name, rule in broken.items()]
    judged = held.with_columns(
        instrument=pl.lit(instrument.id),
        reasons=pl.concat_list(reasons).list.drop_nulls(),
        tier=_tier(instrument, universe),
        tags=pl.lit(list(instrument.tags), pl.List(pl.String)),
    ).with_columns(member=pl.col("reasons").list.len() == 0)
    return judged.select(*COLUMNS, pl.exclude(*COLUMNS))


def of_dataset(dataset: Dataset, *, universes: Mapping[str, Universe]) -> Iterator[Refusal]:
    """What a data set says of universes: names that must exist, and rules that its instruments must be able to keep."""
    tags = {tag for instrument in dataset.instruments for tag in instrument.tags}
    for index, name in enumerate(dataset.universes):
        at = ("universes", index)
        if name not in universes:
            yield unknown(at, name, universes)
            continue
        universe = universes[name]
        if dataset.volume != "traded" and (universe.min_traded_value or universe.tiers):
            yield Refusal(at, f"a universe without min_traded_value and tiers, as volume is {dataset.volume}")
        for tag in universe.required_tags.tags if universe.required_tags else ():
            if tag not in tags:  # it would be empty for ever, which nobody means
                wanted = f"a universe whose required tags some instrument has, not {tag}"
                yield Refusal(at, wanted, nearest=nearest(tag, tags))


def _broken(instrument: Instrument, universe: Universe) -> dict[str, pl.Expr]:
    """The rules of the section, each true where it is broken and null where its measure is."""
    at_least = {
        "min_history_sessions": ("history_sessions", universe.min_history_sessions),
        "min_traded_value": ("traded_value", universe.min_traded_value),
        "min_completeness": ("completeness", universe.min_completeness),
    }
    broken = {name: pl.col(measure) < rule.limit for name, (measure, rule) in at_least.items() if rule}
    if universe.max_spread_bps:
        broken["max_spread_bps"] = pl.col("spread_bps") > universe.max_spread_bps.limit
    if universe.required_tags:
        broken["required_tags"] = pl.lit(not set(universe.required_tags.tags) <= set(instrument.tags))
    if universe.forbidden_tags:
        broken["forbidden_tags"] = pl.lit(bool(set(universe.forbidden_tags.tags) & set(instrument.tags)))
    return broken


def _measured_on(universe: Universe) -> pl.Expr:
    """The first session of each session's week or month."""
    length = {"weekly": "1w", "monthly": "1mo"}[universe.refresh]
    return pl.col("session").first().over(pl.col("session").dt.truncate(length))


def _is_listed(instrument: Instrument) -> pl.Expr:
    return pl.col("session").is_between(instrument.listed or date.min, instrument.delisted or date.max)


def _tier(instrument: Instrument, universe: Universe) -> pl.Expr:
    tier = pl.lit(instrument.tier)
    for name, value in sorted(universe.tiers.items(), key=lambda item: item[1]):
        tier = pl.when(pl.col("traded_value") >= value).then(pl.lit(name)).otherwise(tier)
    return tier
