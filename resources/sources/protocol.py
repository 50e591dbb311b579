"""What every source offers: bars as received, corporate actions, and how far it goes.

A source hands on what it was given. It fills nothing, repairs nothing and judges nothing; it only
names the columns and says where the rows came from. Asked for sessions it does not hold, it
delivers no rows; asked for an instrument it does not hold, it refuses and lists what it has.

What it delivers comes in pieces, each kept as it arrives, so that an interrupted night goes on
where it stopped. When all of it was kept the source is told, once.
"""

from collections.abc import Iterable, Iterator
from datetime import date
from typing import NamedTuple, Protocol

import polars as pl

RECEIVED = pl.Schema(
    {
        "line": pl.Int64(),
        "ts": pl.Datetime("us", "UTC"),
        "open": pl.Float64(),
        "high": pl.Float64(),
        "low": pl.Float64(),
        "close": pl.Float64(),
        "volume": pl.Float64(),
    }
)
ACTIONS = pl.Schema({"instrument": pl.String(), "ex_date": pl.Date(), "kind": pl.String(), "value": pl.Float64()})


class Instrument(Protocol):
    """What a source must know of an instrument: our name for it, and the source's."""

    @property
    def id(self) -> str: ...

    @property
    def symbol(self) -> str: ...

    def asked_as(self, first: date, last: date) -> Iterable[tuple[str, date, date]]:
        """The source's name, first and last session, in order: cut where it was renamed, only while it was listed."""
        ...


class Delivery(NamedTuple):
    """One instrument's bars as received."""

    instrument: str  # its id
    rows: pl.DataFrame  # as RECEIVED, in the order they came; `line` numbers them, any other value may be null
    origin: str  # the file or URL they came from, the same on every machine, without secrets
    first: date  # the sessions it speaks for, both included: a bar of them that it lacks was not sent
    last: date


class Source(Protocol):
    def deliveries(self, instrument: Instrument, *, first: date, last: date) -> Iterator[Delivery]:
        """What it has of the sessions from `first` to `last`, both included, in order; raises SourceError."""
        ...

    def corporate_actions(self, instruments: Iterable[Instrument]) -> pl.DataFrame:
        """As ACTIONS, sorted. A split's value is the new units per old one, a dividend's the cash per unit."""
        ...

    def last_session(self) -> date | None:
        """The newest session it can give; None where it goes on."""
        ...

    def settle(self) -> None:
        """Everything it delivered was kept."""
        ...
