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
from datetime import date, timedelta
from typing import Annotated, Literal, NamedTuple, Self

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
from quality.contracts import Contract
from quality.documents import listed, nearest
from quality.errors import Refusal
from quality.formats import Zone

InstrumentId = Annotated[
    str,
    matching(r"[A-Z0-9]+(?:[.-][A-Z0-9]+)*\.[A-Z0-9]+", "an id that ends in its venue, such as BTCUSD.BITFINEX"),
]
Url = Annotated[
    str,
    matching(
        r"https?://[A-Za-z0-9.-]+(?::[0-9]{1,5})?(?:/[A-Za-z0-9._~/-]*)?",
        "an http or https address without a user, a query or a fragment, as it is kept with what came from it",
    ),
]
Share = Annotated[float, Field(ge=0, le=1)]
Overlap = Annotated[int, Field(ge=0, le=30)]
ROUND_THE_CLOCK = "24/7"
LONGEST = "1d"  # bars are made session by session
_OF_CONTRACTS = (
    *("leverage", "maintenance_margin", "maintenance_amount", "extra_margin", "contract_size"),
    *("liquidation", "margin", "perpetual"),
)
_TAKEN = ("session", "ts", "known_at", "factor", *COLUMNS)


class SampleSource(Record):
    """The bars embedded in the package; they have ended."""

    kind: Literal["sample"]


class FilesSource(Record):
    """Files that are dropped into a folder. What is left out is read from the file, or the file is refused."""

    kind: Literal["files"]
    folder: Text | None = None  # below the home folder unless absolute; inbox/<data set> where left out
    format: Name | None = None  # the layout, where files of two could be meant
    timezone: Zone | None = None  # of stamps that do not say theirs, such as America/New_York
    label: Literal["open", "close"] | None = None  # the end of the bar that its stamp is


class CcxtSource(Record):
    """An exchange that ccxt knows, by its public bars."""

    kind: Literal["ccxt"]
    exchange: Name  # as ccxt calls it
    market_type: Literal["spot", "swap", "future"] = "spot"
    url: Url | None = None  # to ask instead of the exchange's own, such as a mirror
    overlap_sessions: Overlap = 2  # already asked for, and asked for again with every new one


class HttpDailySource(Record):
    """Daily bars, splits and dividends from a server that answers as Yahoo's chart does."""

    kind: Literal["http_daily"]
    url: Url = "https://query1.finance.yahoo.com"
    overlap_sessions: Overlap = 2  # as of ccxt


class Defects(Record):
    """What is wrong with made bars: the share that is hit, by what it is."""

    missing: Share = 0  # never sent
    late: Share = 0  # sent only when asked more than a day after the session
    restated: Share = 0  # another close when asked more than a day after the session
    identical_duplicate: Share = 0  # sent twice
    conflicting_duplicate: Share = 0  # sent twice, with two closes
    disorder: Share = 0  # sent after a later one
    null_price: Share = 0
    non_positive_price: Share = 0
    high_below_body: Share = 0
    low_above_body: Share = 0
    negative_volume: Share = 0
    off_grid: Share = 0  # seven seconds late on its stamp
    spike: Share = 0  # a decimal point in the wrong place
    stale_run: Share = 0  # from here on to the session's end, one price and no volume
    unadjusted_split: Share = 0  # of the sessions: from here on half the price, and nobody was told


class SyntheticSource(Record):
    """Bars made from a seed: for tests and demonstrations."""

    kind: Literal["synthetic"]
    seed: Annotated[int, Field(ge=0)] = 0
    defects: Defects = Defects()
    overlap_sessions: Overlap = 0  # as of ccxt; only `late` and `restated` bars are found by it


Source = Annotated[
    SampleSource | FilesSource | CcxtSource | HttpDailySource | SyntheticSource, Field(discriminator="kind")
]


class Asked(NamedTuple):
    """What a source calls an instrument, and from when to when; both included."""

    symbol: str
    first: date
    last: date


class FormerName(Record):
    """What a source called an instrument before it was renamed."""

    symbol: Text
    until: date  # the last session under it, included


class Instrument(Contract):
    id: InstrumentId
    symbol: Text  # what the source calls it now
    former: tuple[FormerName, ...] = ()  # and what before, oldest first
    quote: Currency
    settle: Currency
    tick: Positive
    lot: Positive  # in contracts
    min_notional: NonNegative
    tier: Name  # of trading cost; the costs say what a tier's half-spread is
    listed: date | None = None
    delisted: date | None = None  # the last session, included
    perpetual: bool | None = None  # of a contract: does it pay funding instead of ending
    tags: tuple[Name, ...] = ()  # of one's own; a universe may require or forbid them

    @property
    def called(self) -> tuple[str, ...]:
        """What the source calls it, and everything it called it before."""
        return (self.symbol, *(name.symbol for name in self.former))

    def asked_as(self, first: date, last: date) -> Iterator[Asked]:
        """The sessions from `first` to `last` that it was listed in, cut where its name changed, in order."""
        begin, end = max(first, self.listed or first), min(last, self.delisted or last)
        for name in self.former:
            if begin <= min(name.until, end):
                yield Asked(name.symbol, begin, min(name.until, end))
                begin = name.until + timedelta(days=1)
        if begin <= end:
            yield Asked(self.symbol, begin, end)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        refuse([*self._listing(), *self._names(), *self._tags(), *self._terms()])
        return self

    def _listing(self) -> Iterator[Refusal]:
        if self.listed and self.delisted and self.delisted < self.listed:
            yield Refusal(("delisted",), f"{self.listed} (listed) or later")

    def _names(self) -> Iterator[Refusal]:
        """A name ends after the one before it and within the listing, or nothing could be asked under it."""
        earlier = self.listed and self.listed - timedelta(days=1)
        for index, name in enumerate(self.former):
            if earlier and name.until <= earlier:
                yield Refusal(
                    ("former", index, "until"), f"{earlier + timedelta(days=1)} or later: names follow each other"
                )
            if self.delisted and name.until >= self.delisted:
                yield Refusal(("former", index, "until"), f"a session before {self.delisted} (delisted)")
            earlier = name.until

    def _terms(self) -> Iterator[Refusal]:
        """Terms that mean nothing for what it is."""
        if self.kind == "spot":
            for name in _OF_CONTRACTS:
                if getattr(self, name) != type(self).model_fields[name].default:
                    yield Refusal((name,), "kind: linear or inverse beside it, as it means nothing for spot")
            return
        if self.perpetual is None:
            yield Refusal(("perpetual",), "true or false: does the contract pay funding", found="{key} is missing")
        if self.margin == "cross" and self.formula != "binance":
            yield Refusal(
                ("margin",), "liquidation: binance beside cross, as the other formulas are for isolated margin"
            )

    def _tags(self) -> Iterator[Refusal]:
        for index, tag in enumerate(self.tags):
            if tag in self.tags[:index]:
                yield Refusal(("tags", index), "each tag once")


class Feature(Record, extra="allow"):
    """An indicator under a name; every further key is a parameter of the indicator."""

    indicator: Name
    output: Name | None = None  # which one, of an indicator with several
    timeframe: Timeframe | None = None  # of the bars it is computed on; the data set's own where left out
    __pydantic_extra__: dict[str, Number] = Field(init=False)

    @property
    def parameters(self) -> dict[str, Number]:
        return dict(self.__pydantic_extra__)


class Dataset(Record):
    schema_: Literal[1] = Field(alias="schema")
    name: Name
    source: Source
    calendar: Text  # 24/7, or a code of exchange_calendars
    volume: Literal["traded", "ticks", "none"]
    timeframe: Timeframe
    resample: tuple[Timeframe, ...]
    start: date
    end: date | None = None  # the last session, included, where the source has ended
    sla: Name
    universes: tuple[Name, ...] = ()  # sections of policies/universe.yaml that choose among its instruments
    instruments: Annotated[tuple[Instrument, ...], Filled]
    features: dict[Name, Feature] = Field(default_factory=dict)
    on_conflict: Literal["refuse", "keep_last"] = "refuse"

    @property
    def takes_files(self) -> bool:
        """Do its bars come as files that somebody drops, so that nobody can be asked for more?"""
        return self.source.kind == "files"

    @property
    def overlap_sessions(self) -> int:
        """How many sessions are asked for again with every new one, because late bars and corrections come unsaid."""
        return 0 if isinstance(self.source, SampleSource | FilesSource) else self.source.overlap_sessions

    @property
    def ids(self) -> list[str]:
        """Of its instruments; of one that was taken out of it the lake keeps bars, which nobody reads."""
        return [instrument.id for instrument in self.instruments]

    @property
    def timeframes(self) -> tuple[str, ...]:
        """All that bars exist in: what is ingested first, then what is resampled from it."""
        return (self.timeframe, *self.resample)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        refuse(
            [
                *self._spans(),
                *self._sourced(),
                *self._resampled(),
                *self._universes(),
                *self._instruments(),
                *self._features(),
            ]
        )
        return self

    def _spans(self) -> Iterator[Refusal]:
        if self.end and self.end < self.start:
            yield Refusal(("end",), f"{self.start} (start) or later")

    def _sourced(self) -> Iterator[Refusal]:
        """What a kind of source can give at all."""
        if self.source.kind == "ccxt" and self.calendar != ROUND_THE_CLOCK:
            yield Refusal(("calendar",), f"{ROUND_THE_CLOCK}, as the exchanges of a ccxt source never close")
        if self.source.kind == "http_daily" and self.timeframe != LONGEST:
            yield Refusal(("timeframe",), f"{LONGEST}, as a source of kind http_daily has daily bars only")

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

    def _universes(self) -> Iterator[Refusal]:
        for index, name in enumerate(self.universes):
            if name in self.universes[:index]:
                yield Refusal(("universes", index), "each universe once")

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
