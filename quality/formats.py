"""A layout of bar files, as data: which column is what, how its numbers and stamps are written, and what a stamp means.

    name: histdata
    about: one-minute bars of HistData, ASCII
    delimiters: [";"]
    positions: [ts, open, high, low, close, volume]
    times: {patterns: ["%Y%m%d %H%M%S"], zone: America/New_York, label: open}

A layout names its columns in one of two ways. `names` gives the headings each role goes by, for files
with a header, JSON objects and Parquet; `positions` gives the role of every column from the left, for
files without a header, with one that cannot be used, and for JSON lists.

What a file cannot tell about itself (its time zone, whether a stamp is the bar's open or close, the
unit of its prices) is said here and nowhere else. The order of the rows needs no key: it is kept.
"""

from collections.abc import Iterator
from typing import Annotated, Any, Literal, Self

import polars as pl
from polars.exceptions import ComputeError
from pydantic import BeforeValidator, Field, model_validator

from quality.configuration import Filled, Name, Positive, Record, Text, matching, refuse
from quality.errors import Refusal

Role = Literal[
    "ts",  # the bar's stamp
    "date",  # its day, where the time of day stands in a column of its own
    "time",  # its time of day
    "close_ts",  # the bar's end beside its stamp: the two must agree
    "same_ts",  # the stamp a second time: the two must agree
    "open",
    "high",
    "low",
    "close",
    "adjusted_close",
    "volume",
    "dividend",
    "split",  # new units per old one; 0 and 1 mean none
    "series",  # what the row belongs to, where a file holds several
    "ignored",
]
PRICE_ROLES = ("open", "high", "low", "close")
ISO = ("%Y-%m-%d %H:%M:%S", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%d", "%Y-%m-%d %H:%M", "%Y-%m-%dT%H:%M")
"""What the pattern `iso` stands for; fractions of a second and an offset may follow any of them."""

_STAMP = "ts, or date and time, or time alone with day_in_name"
_ZONE = "a time zone such as UTC or America/New_York"


def _zone(value: Any) -> Any:
    if not isinstance(value, str) or not known_zone(value):
        raise ValueError(_ZONE)
    return value


def known_zone(name: str) -> bool:
    """Whether the rules of a time zone are known, by the same library that will apply them."""
    try:
        pl.Series(dtype=pl.Datetime("us")).dt.replace_time_zone(name)
    except ComputeError:
        return False
    return bool(name)


Zone = Annotated[str, BeforeValidator(_zone)]
Delimiter = Annotated[str, matching(r"[,;|\t ]", "a comma, a semicolon, a bar, a tab or a space")]
Label = Literal["open", "close"]


class Times(Record):
    """How stamps are written, and which instant of its bar a stamp names.

    A time of day that the zone skips, or has twice, is not guessed: that stamp is unreadable. An offset written beside
    the time wins over the zone. Bars of a day or more are labelled by the date as written.
    """

    patterns: tuple[Text, ...] = ()  # as of strptime, or `iso`
    epoch: Literal["s", "ms", "us", "ns", "auto"] | None = None  # auto: by magnitude, row by row
    since_midnight: Literal["s", "ms"] | None = None  # what a column `time` counts
    zone: Zone = "UTC"
    label: Label = "open"
    misread_as: Zone | None = None  # UTC that was taken for this zone's local time and converted once too often
    day_in_name: bool = False  # the date stands in the file's name

    def spelled(self) -> tuple[str, ...]:
        """The patterns with `iso` written out."""
        return tuple(each for pattern in self.patterns for each in (ISO if pattern == "iso" else (pattern,)))


class Format(Record):
    """One layout."""

    schema_: Literal[1] = Field(default=1, alias="schema")  # it was not written before there were schemas
    name: Name
    about: Text
    container: Literal["csv", "json", "parquet"] = "csv"  # gzip and zip around it are opened whatever it is
    delimiters: Annotated[tuple[Delimiter, ...], Filled] = (",",)
    names: dict[Role, Annotated[tuple[Text, ...], Filled]] | None = None
    positions: tuple[Role, ...] | None = None
    optional: tuple[Role, ...] = ()  # of `names`: roles a file may lack; it may always lack what is ignored
    heading: Text | None = None  # of `positions`: the first line, where it is no data and cannot be used
    rows_at: tuple[Text, ...] = ()  # of JSON: the keys that lead to the list of rows
    times: Times
    decimal_mark: Literal[".", ","] = "."
    thousands_mark: Literal[",", ".", " ", "'"] | None = None
    powers: dict[Text, int] = Field(default_factory=dict)  # of volumes: 93.93M is 93.93e6 by {M: 6}
    price_divisor: Positive = 1.0  # what a written price is divided by
    volume_factor: Positive = 1.0  # units per written one: 100 where volume is in lots of 100
    split_adjusted: bool = False  # prices and dividends are already divided by the splits that came after
    by_name_only: bool = False  # never recognized: its files cannot be told from another layout's

    @model_validator(mode="after")
    def _hold_together(self) -> Self:
        refuse(_contradictions(self))
        return self

    def roles(self) -> frozenset[Role]:
        """Every role that a column may have."""
        return frozenset(self.names or ()) | frozenset(self.positions or ())


def _contradictions(layout: Format) -> Iterator[Refusal]:
    roles = layout.roles()
    if (layout.names is None) == (layout.positions is None):
        yield Refusal(("names",), "either names or positions", "{key} is {value}")
        return
    missing = [role for role in PRICE_ROLES if role not in roles or role in layout.optional]
    if missing:
        yield Refusal((_columns(layout),), f"a column for {' and '.join(missing)}", "{key} lacks one")
    dated = ("date" in roles) != layout.times.day_in_name
    if ("ts" in roles) == ("time" in roles) or ("time" in roles and not dated):
        yield Refusal((_columns(layout),), _STAMP, "{key} has no stamp that can be read one way only")
    if layout.positions is not None:
        repeated = sorted({role for role in layout.positions if layout.positions.count(role) > 1} - {"ignored"})
        if repeated:
            yield Refusal(
                ("positions",), "every role once, except ignored", f"{{key}} has {' and '.join(repeated)} twice"
            )
    if layout.heading is not None and layout.positions is None:
        yield Refusal(("heading",), "positions with it, as a header that can be used is read by names")
    written = layout.times.patterns or layout.times.epoch or layout.times.since_midnight
    if not written and layout.container != "parquet":
        yield Refusal(("times",), "patterns, epoch or since_midnight", "{key} does not say how a stamp is written")
    if layout.decimal_mark == layout.thousands_mark:
        yield Refusal(("thousands_mark",), "another mark than decimal_mark")


def _columns(layout: Format) -> str:
    return "positions" if layout.names is None else "names"
