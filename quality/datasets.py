"""A data set: where bars come from, which should exist, and what is computed from them.

    schema: 1
    name: crypto_5m
    source: {kind: sample}
    calendar: 24/7
    timeframe: 5m               # what is ingested; resample: [...] lists what is made of it
    instruments: [{id: BTCUSD.BITFINEX, …}]
    features: {atr_14: {indicator: atr, length: 14}}

The keys are the fields below; `start` and `end` are sessions, both included.
"""

from collections.abc import Iterator
from datetime import date
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from engine.bars import COLUMNS, timeframe_us
from quality.configuration import (
    Currency,
    Filled,
    Name,
    NonNegative,
    Number,
    Positive,
    Record,
    Text,
    Timeframe,
    matching,
    refuse,
)
from quality.documents import listed, nearest
from quality.errors import Refusal

InstrumentId = Annotated[
    str,
    matching(r"[A-Z0-9]+(?:[.-][A-Z0-9]+)*\.[A-Z0-9]+", "an id that ends in its venue, such as BTCUSD.BITFINEX"),
]
LONGEST = "1d"  # bars are made session by session
_TAKEN = ("session", "ts", "known_at", "factor", *COLUMNS)


class SampleSource(Record):
    """The bars embedded in the package; they have ended."""

    kind: Literal["sample"]


class Instrument(Record):
    id: InstrumentId
    symbol: Text  # what the source calls it
    quote: Currency
    settle: Currency
    tick: Positive
    lot: Positive
    min_notional: NonNegative
    tier: Name  # of trading cost; the costs say what a tier's half-spread is
    listed: date | None = None
    delisted: date | None = None  # the last session, included
    shortable: bool = True

    @model_validator(mode="after")
    def _listed_before_delisted(self) -> Self:
        if self.listed and self.delisted and self.delisted < self.listed:
            refuse([Refusal(("delisted",), f"{self.listed} (listed) or later")])
        return self


class Feature(Record, extra="allow"):
    """An indicator under a name; every further key is a parameter of the indicator."""

    indicator: Name
    timeframe: Timeframe | None = None  # of the bars it is computed on; the data set's own where left out
    __pydantic_extra__: dict[str, Number] = Field(init=False)

    @property
    def parameters(self) -> dict[str, Number]:
        return dict(self.__pydantic_extra__)


class Dataset(Record):
    schema_: Literal[1] = Field(alias="schema")
    name: Name
    source: SampleSource
    calendar: Text  # 24/7, or a code of exchange_calendars
    volume: Literal["traded", "ticks", "none"]
    timeframe: Timeframe
    resample: tuple[Timeframe, ...]
    start: date
    end: date | None = None  # the last session, included, where the source has ended
    sla: Name
    instruments: Annotated[tuple[Instrument, ...], Filled]
    features: dict[Name, Feature] = Field(default_factory=dict)
    on_conflict: Literal["refuse", "keep_last"] = "refuse"

    @property
    def timeframes(self) -> tuple[str, ...]:
        """All that bars exist in: what is ingested first, then what is resampled from it."""
        return (self.timeframe, *self.resample)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        refuse([*self._spans(), *self._resampled(), *self._instruments(), *self._features()])
        return self

    def _spans(self) -> Iterator[Refusal]:
        if self.end and self.end < self.start:
            yield Refusal(("end",), f"{self.start} (start) or later")

    def _resampled(self) -> Iterator[Refusal]:
        base, longest = timeframe_us(self.timeframe), timeframe_us(LONGEST)
        if base > longest:
            yield Refusal(("timeframe",), f"at most {LONGEST}: bars are made session by session")
        for index, timeframe in enumerate(self.resample):
            times, rest = divmod(timeframe_us(timeframe), base)
            if timeframe_us(timeframe) > longest:
                yield Refusal(("resample", index), f"at most {LONGEST}: bars are made session by session")
            elif rest or times < 2:
                yield Refusal(("resample", index), f"a multiple of the timeframe {self.timeframe}, longer than it")
            elif timeframe in self.resample[:index]:
                yield Refusal(("resample", index), "each timeframe once")

    def _instruments(self) -> Iterator[Refusal]:
        ids = [instrument.id for instrument in self.instruments]
        for index, instrument in enumerate(ids):
            if instrument in ids[:index]:
                yield Refusal(("instruments", index, "id"), "each instrument once")

    def _features(self) -> Iterator[Refusal]:
        for name, feature in self.features.items():
            if name in _TAKEN:
                yield Refusal(("features", name), f"a name that is no column of bars ({', '.join(_TAKEN)})")
            if feature.timeframe is not None and feature.timeframe not in self.timeframes:
                guess = nearest(feature.timeframe, self.timeframes)
                yield Refusal(("features", name, "timeframe"), listed(self.timeframes), nearest=guess)
