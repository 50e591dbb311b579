"""What every source offers: bars as received, corporate actions, and how far it goes.

A source hands on what it was given. It fills nothing, repairs nothing and judges nothing; it only
names the columns and says where the rows came from. Asked for sessions it does not hold, it
delivers no rows; asked for an instrument it does not hold, it refuses and lists what it has.
"""

from collections.abc import Iterable
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


class Delivery(NamedTuple):
    """One instrument's bars as received."""

    instrument: str  # its id
    rows: pl.DataFrame  # as RECEIVED, in the order they came; `line` counts them from 0, any other value may be null
    origin: str  # the file or URL they came from, the same on every machine


class Source(Protocol):
    def fetch(self, instrument: Instrument, *, first: date, last: date) -> Delivery:
        """The bars of the sessions from `first` to `last`, both included."""
        ...

    def corporate_actions(self, instruments: Iterable[str]) -> pl.DataFrame:
        """As ACTIONS, sorted. A split's value is the new units per old one, a dividend's the cash per unit."""
        ...

    def last_session(self) -> date | None:
        """The newest session it can give; None where it goes on."""
        ...
