"""Factor files and map files: what happened to an instrument, in the layout of QuantConnect.

A factor file has a line for each stretch of time between two corporate actions, oldest first:
`date,price factor,split factor,reference close`, without a header, where the date is the last that
the line holds for. `quality.actions` says what follows from it.

    20140606,0.9011818,0.03571430,645.57
    20140806,0.9011818,0.25,94.97
    20501231,1,1,0

A map file has a line for each name: `date,name,exchange`, where the date is the last under that
name. The first line's is the first of all.

    19980102,nb,N
    19980930,nb,N
    20501231,bac,N

Both end with a day in the far future where the instrument goes on. Which of the two a file is, its
third column says: a number, or a venue or nothing.
"""

import math
import re
from collections.abc import Iterator
from datetime import date
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import polars as pl

from resources.errors import UnreadableActionFileError

LIMIT_BYTES = 4 * 1024 * 1024  # a century of quarterly dividends is 20 kB
GOES_ON = 2050  # the year from which on a last line means that there is no end
_LAYOUTS = "lines such as 20140606,0.9011818,0.0357143,645.57 (a factor file) or 19980930,nb,N (a map file)"
_FACTORS = "a date such as 20140606, two factors above zero, and the close of that date"
_NAMES = "a date such as 19980930, a name, and possibly an exchange"


class FactorFile(NamedTuple):
    origin: str
    factors: pl.DataFrame  # date price split close, ascending by date; close is null where the file has none


class Name(NamedTuple):
    name: str
    until: date  # the last session under it, included


class MapFile(NamedTuple):
    origin: str
    listed: date
    delisted: date | None  # None where it goes on
    name: str  # the last one
    former: tuple[Name, ...]  # those before, oldest first


class _Line(NamedTuple):
    number: int
    fields: list[str]


def read_action_file(path: Path) -> FactorFile | MapFile:
    """A factor file or a map file, whole and in order.

    Raises:
        UnreadableActionFileError: with the line that is wrong, or what the file is instead.
    """
    lines = list(_lines(path))
    if not lines:
        raise UnreadableActionFileError(path.name, None, "no lines", _LAYOUTS)
    fields = lines[0].fields
    if len(fields) > 2 and None not in (_number(fields[1]), _number(fields[2])):
        return FactorFile(path.name, _factors(path.name, lines))
    return _names(path.name, lines)


def _lines(path: Path) -> Iterator[_Line]:
    if path.is_symlink() or not path.is_file():
        raise UnreadableActionFileError(path.name, None, "no plain file of that name", "a file")
    try:
        size = path.stat().st_size
        if size > LIMIT_BYTES:
            raise UnreadableActionFileError(path.name, None, f"{size:,} bytes", f"at most {LIMIT_BYTES:,}: {_LAYOUTS}")
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise UnreadableActionFileError(path.name, None, "bytes that are no text", _LAYOUTS) from None
    except OSError as error:
        raise UnreadableActionFileError(path.name, None, error.strerror or str(error), "a file to read") from None
    if "\0" in text:
        raise UnreadableActionFileError(path.name, None, "bytes that are no text", _LAYOUTS)
    for number, line in enumerate(text.splitlines(), start=1):
        if line.strip():
            yield _Line(number, [field.strip() for field in line.split(",")])


def _factors(file: str, lines: list[_Line]) -> pl.DataFrame:
    rows: list[tuple[date, float, float, float | None]] = []
    for number, fields in lines:
        row = _factor(fields)
        if row is None:
            raise UnreadableActionFileError(file, number, repr(",".join(fields)[:80]), _FACTORS)
        before = rows[-1] if rows else None
        _require_later(file, number, row[0], before and before[0])
        if before and before[1] != row[1] and before[3] is not None and before[3] <= 0:
            found = f"a dividend after {before[0]}, and {before[3]:g} as the close of that date"
            raise UnreadableActionFileError(file, number, found, "a reference close above zero to count it from")
        rows.append(row)
    schema = {"date": pl.Date, "price": pl.Float64, "split": pl.Float64, "close": pl.Float64}
    return pl.DataFrame(rows, schema, orient="row")


def _factor(fields: list[str]) -> tuple[date, float, float, float | None] | None:
    """None where the line cannot be read as one."""
    day, numbers = _date(fields[0]), [_number(field) for field in fields[1:]]
    known = [number for number in numbers if number is not None]
    if day is None or len(known) < len(numbers) or len(known) not in {2, 3} or min(known[:2]) <= 0:
        return None
    return day, known[0], known[1], known[2] if len(known) == 3 else None


def _names(file: str, lines: list[_Line]) -> MapFile:
    rows: list[tuple[date, str]] = []
    for number, fields in lines:
        day = _date(fields[0])
        if day is None or len(fields) not in (2, 3) or not re.fullmatch(r"[A-Za-z0-9.^/_-]+", fields[1]):
            expected = _LAYOUTS if number == lines[0].number else _NAMES
            raise UnreadableActionFileError(file, number, f"{','.join(fields)[:80]!r}", expected)
        _require_later(file, number, day, rows[-1][0] if rows else None)
        rows.append((day, fields[1].upper()))
    (listed, _), (last, name) = rows[0], rows[-1]
    former = tuple(Name(before, until) for (until, before), (_, after) in pairwise(rows) if before != after)
    return MapFile(file, listed, None if last.year >= GOES_ON else last, name, former)


def _require_later(file: str, number: int, day: date, before: date | None) -> None:
    if before is not None and day <= before:
        raise UnreadableActionFileError(file, number, f"{day} after {before}", "dates that ascend, each once")


def _date(text: str) -> date | None:
    if not re.fullmatch(r"[0-9]{8}", text):
        return None
    try:
        return date(int(text[:4]), int(text[4:6]), int(text[6:]))
    except ValueError:
        return None


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None
