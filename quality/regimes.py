"""Regimes: what each allows, as `policies/regimes.yaml` says it, and which of them a strategy trades in.

    trend: {allowed_signals: [momentum], size: 1.0, why: …}      # policies/regimes.yaml
    chop: {allowed_signals: [mean_reversion], size: 0.5, cash: 0.2, why: …}

    regimes: {allowed: [trend, chop], min_confidence: 0.6}       # strategies/<name>.yaml

An entry in another regime, of a signal class that its regime does not allow, or in one that is not sure enough is
refused as `regime_not_allowed`. What is held stays.
"""

from collections.abc import Iterator
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from engine.regimes import CLASSIFIERS, DEFAULT_CLASSIFIER
from engine.signals.registry import GROUPS, SIGNALS
from quality.configuration import Filled, Name, NonNegative, Record, Text, Timeframe, refuse
from quality.costs import Share
from quality.documents import unknown
from quality.errors import Refusal

NAMES = tuple(dict.fromkeys(name for classifier in CLASSIFIERS.values() for name in classifier.names))
"""Every regime there is."""


class RegimeTerms(Record):
    """One section of `policies/regimes.yaml`."""

    allowed_signals: tuple[Name, ...]  # signal classes or groups of them; none: nothing is entered
    size: NonNegative = 1.0  # multiplier of sizes
    cash: Share = 0.0  # kept out of every size
    why: Text | None = None

    @model_validator(mode="after")
    def _known(self) -> Self:
        names = {*SIGNALS, *GROUPS}
        refuse(
            unknown(("allowed_signals", index), name, names)
            for index, name in enumerate(self.allowed_signals)
            if name not in names
        )
        return self


def _left_out(default: Any = None) -> Any:
    return Field(default=default, exclude_if=lambda value: value == default)


class RegimesPolicy(Record):
    """`policies/regimes.yaml`."""

    schema_: Literal[1] = Field(alias="schema")
    trend: RegimeTerms | None = None
    chop: RegimeTerms | None = None
    bear: RegimeTerms | None = None
    bull: RegimeTerms | None = None
    neutral: RegimeTerms | None = None
    tight: RegimeTerms | None = None
    wide: RegimeTerms | None = None

    @property
    def sections(self) -> dict[str, RegimeTerms]:
        return {name: terms for name in NAMES if (terms := getattr(self, name)) is not None}


class Regimes(Record):
    """What a strategy says of regimes."""

    allowed: Annotated[tuple[Name, ...], Filled]
    min_confidence: Share = 0.0
    classifier: Literal["trend_chop_bear", "bull_neutral_bear", "tight_wide"] = _left_out(default=DEFAULT_CLASSIFIER)
    length: Annotated[int, Field(ge=2)] | None = _left_out()  # bars it looks at; the classifier's own where left out
    timeframe: Timeframe | None = _left_out()  # of the bars it looks at; the strategy's where left out

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        refuse(self._refusals())
        return self

    def _refusals(self) -> Iterator[Refusal]:
        names = CLASSIFIERS[self.classifier].names
        for index, name in enumerate(self.allowed):
            if name not in names:
                yield unknown(("allowed", index), name, names)
        if len(set(self.allowed)) < len(self.allowed):
            yield Refusal(("allowed",), "each regime once")
