"""A file as columns without a meaning yet: text, JSON records and Parquet, all asked in the same way.

A table knows its headings, shows its first rows and hands out all of them in chunks. What a column is
for comes from a layout: `headings` and a layout give `Columns`, one role for every column from the left.
"""

import csv
import io
import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple, Protocol

import polars as pl

from quality.formats import Format, Role
from resources.bar_files.containers import MAX_BYTES, Content, chunks, whole
from resources.errors import (
    DamagedFileError,
    DisagreeingColumnsError,
    NoDataError,
    OversizedFileError,
    RaggedRowError,
    UnknownLayoutError,
)

N_SAMPLE = 200
_BLANK_LINES = re.compile(rb"^[ \t]*\r?\n", re.MULTILINE)
_QUOTED = re.compile(r'"(?:[^"]|"")*"')
_SHOWN_CHARACTERS = 160


class Columns(NamedTuple):
    """What a layout makes of a table's columns."""

    roles: tuple[Role, ...]  # of every column from the left; of two with one role the second repeats the first
    delimiter: str = ","
    n_skipped: int = 0  # lines above the data

    def named(self, frame: pl.DataFrame, *, file: str, n_before: int = 0) -> pl.DataFrame:
        """The columns that are used, each called by its role; a heading that stands twice must hold the same twice."""
        kept: dict[str, pl.Series] = {}
        for role, column in zip(self.roles, frame.iter_columns(), strict=True):
            if role in kept and not kept[role].equals(column, null_equal=True):
                row = int((kept[role].ne_missing(column)).arg_true()[0])
                first, second = (f"{role} {each[row]!r}" for each in (kept[role], column))
                raise DisagreeingColumnsError(file, n_before + row + 1, first=first, second=second)
            if role != "ignored" and role not in kept:
                kept[role] = column.alias(role)
        return pl.DataFrame(list(kept.values()))


class Table(Protocol):
    def columns(self, layout: Format) -> Columns | None:
        """What the layout makes of it; None where it does not fit."""
        ...

    def sample(self, columns: Columns) -> pl.DataFrame:
        """The first rows, as `chunks` would give them."""
        ...

    def chunks(self, columns: Columns) -> Iterator[pl.DataFrame]:
        """All rows in order, all columns."""
        ...

    def shown(self) -> str:
        """What a person is told of it when no layout fits."""
        ...


def open_table(content: Content) -> Table:
    """Read as much of a file as is needed to know its layout; raises UnreadableFileError."""
    if content.kind == "parquet":
        return ParquetTable(content)
    return RecordsTable(content) if content.kind == "json" else TextTable(content)


def roles_of(
    headings: list[str], names: Mapping[Role, tuple[str, ...]], optional: tuple[Role, ...]
) -> tuple[Role, ...] | None:
    """One role for every heading, or None where one has none, a role is missing, or two headings compete for it."""
    by_name = {_plain(name): role for role, alternatives in names.items() for name in alternatives}
    plain = [_plain(heading) for heading in headings]
    if not all(name in by_name or not name for name in plain):
        return None
    found = {by_name[name] for name in plain if name}
    competing = len({name for name in plain if name and by_name[name] != "ignored"}) > len(found - {"ignored"})
    if competing or not set(names) - found <= {*optional, "ignored"}:
        return None
    return tuple(by_name[name] if name else "ignored" for name in plain)


def _plain(heading: str) -> str:
    return " ".join(heading.strip().strip('"').split()).casefold()


class TextTable:
    """Delimited text, one row a line."""

    def __init__(self, content: Content) -> None:
        self._content = content
        first = next(chunks(content), b"")
        lines = _BLANK_LINES.sub(b"", first[: 1 << 20]).decode(errors="replace").splitlines()
        if not lines:
            raise NoDataError(content.name, "it is empty")
        self._lines = lines[: N_SAMPLE + 1]

    def columns(self, layout: Format) -> Columns | None:
        for delimiter in layout.delimiters:
            fields = self._fields(delimiter)
            if layout.names is not None:
                roles = roles_of(fields, layout.names, layout.optional)
                if roles is not None:
                    return Columns(roles, delimiter, 1)
            elif layout.heading is not None:
                if self._lines[0].strip() == layout.heading:
                    return Columns(layout.positions or (), delimiter, 1)
            elif len(fields) == len(layout.positions or ()):
                return Columns(layout.positions or (), delimiter)
        return None

    def sample(self, columns: Columns) -> pl.DataFrame:
        lines = self._lines[columns.n_skipped : N_SAMPLE + columns.n_skipped]
        return self._split("".join(f"{line}\n" for line in lines).encode(), columns, columns.n_skipped)

    def chunks(self, columns: Columns) -> Iterator[pl.DataFrame]:
        n_lines, n_to_skip = 0, columns.n_skipped
        for piece in chunks(self._content):
            text = piece
            if n_to_skip:
                text, n_to_skip = text.lstrip().partition(b"\n")[2], 0
                n_lines = piece.count(b"\n") - text.count(b"\n")
            if text:
                yield self._split(text, columns, n_lines)
            n_lines += text.count(b"\n")

    def shown(self) -> str:
        first, second = (repr(line[:_SHOWN_CHARACTERS]) for line in (*self._lines[:2], "nothing")[:2])
        return f"the first line {first}, then {second}"

    def _fields(self, delimiter: str) -> list[str]:
        """The fields of the first line, quotes removed."""
        try:
            return next(csv.reader([self._lines[0]], delimiter=delimiter))
        except csv.Error as error:
            raise DamagedFileError(self._content.name, f"its first line cannot be split ({error})") from None

    def _split(self, text: bytes, columns: Columns, n_lines: int) -> pl.DataFrame:
        """Lines as columns of text; raises RaggedRowError for one that has not as many fields as the first."""
        n_fields = len(columns.roles)
        try:
            frame = pl.read_csv(
                io.BytesIO(text),
                has_header=False,
                schema={str(position): pl.String for position in range(n_fields)},
                separator=columns.delimiter,
                quote_char='"' if b'"' in text else None,
                infer_schema=False,
            )
        except pl.exceptions.NoDataError:
            return pl.DataFrame(schema={str(position): pl.String for position in range(n_fields)})
        except pl.exceptions.PolarsError:
            self._refuse_ragged(text, columns, n_lines)
            raise DamagedFileError(self._content.name, f"its lines after line {n_lines} cannot be split") from None
        if (
            frame.height and frame[:, -1].null_count()
        ):  # polars makes nulls of blank lines and of fields that are not there
            self._refuse_ragged(text, columns, n_lines)
            without_blank = _BLANK_LINES.sub(b"", text)
            return frame if len(without_blank) == len(text) else self._split(without_blank, columns, n_lines)
        return frame

    def _refuse_ragged(self, text: bytes, columns: Columns, n_lines: int) -> None:
        lines = pl.Series(text.decode().splitlines(), dtype=pl.String)
        if b'"' in text:
            lines = lines.str.replace_all(_QUOTED.pattern, "-")
        if (unclosed := lines.str.contains('"', literal=True).arg_true()).len():
            line = n_lines + int(unclosed[0]) + 1
            raise DamagedFileError(self._content.name, f"line {line} opens a quote and does not close it")
        found = lines.str.count_matches(columns.delimiter, literal=True) + 1
        blank = lines.str.strip_chars(" \t") == ""
        if (ragged := (~blank & (found != len(columns.roles))).arg_true()).len():
            at = int(ragged[0])
            line = n_lines + at + 1
            raise RaggedRowError(self._content.name, line, found=int(found[at]), expected=len(columns.roles))


class RecordsTable:
    """JSON: a list of objects or of lists, at the top or below some keys."""

    def __init__(self, content: Content) -> None:
        self._content = content
        text = whole(content)
        try:  # numbers stay as written until their column is read
            self._document: Any = json.loads(text, parse_float=str, parse_int=str, parse_constant=str)
        except (ValueError, RecursionError) as error:
            raise DamagedFileError(content.name, f"it is no JSON ({error})") from None
        self._frames: dict[tuple[str, ...], pl.DataFrame] = {}

    def columns(self, layout: Format) -> Columns | None:
        records = self._records(layout.rows_at)
        if records is None:
            return None
        width = len(layout.positions or ())
        if layout.names is None and all(isinstance(record, list) and len(record) == width for record in records):
            self._frames[layout.positions or ()] = pl.DataFrame(
                [list(column) for column in zip(*records, strict=True)],
                schema=[str(n) for n in range(width)],
                strict=False,
            )
            return Columns(layout.positions or ())
        if layout.names is None or not all(isinstance(record, dict) for record in records):
            return None
        headings = list(dict.fromkeys(key for record in records for key in record))
        roles = roles_of(headings, layout.names, layout.optional)
        if roles is not None:
            columns = {heading: [record.get(heading) for record in records] for heading in headings}
            self._frames[roles] = pl.DataFrame({key: _texts(values) for key, values in columns.items()})
        return None if roles is None else Columns(roles)

    def sample(self, columns: Columns) -> pl.DataFrame:
        return self._frames[columns.roles].head(N_SAMPLE)

    def chunks(self, columns: Columns) -> Iterator[pl.DataFrame]:
        yield self._frames[columns.roles]

    def shown(self) -> str:
        document = self._document
        if isinstance(document, dict):
            return f"JSON with the keys {', '.join(list(document)[:20])}"
        first = json.dumps(document[:1])[:_SHOWN_CHARACTERS]
        return f"a JSON list of {len(document)} that begins {first}"

    def _records(self, rows_at: tuple[str, ...]) -> list[Any] | None:
        found = self._document
        for key in rows_at:
            if not isinstance(found, dict) or key not in found:
                return None
            found = found[key]
        return found if isinstance(found, list) and found else None


class ParquetTable:
    """Parquet, read at once: its rows are counted before."""

    def __init__(self, content: Content) -> None:
        self._content = content
        try:
            self._lazy = self._scan()
            self._schema = self._lazy.collect_schema()
            self._refuse_nested()
            n_rows = self._lazy.select(pl.len()).collect().item()
        except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError) as error:
            raise DamagedFileError(content.name, f"it is no Parquet file ({first_line(error)})") from None
        if n_rows * len(self._schema) * 8 > MAX_BYTES:
            raise OversizedFileError(content.name, f"has {n_rows:,} rows", f"{MAX_BYTES >> 20} MiB of values")
        if n_rows == 0:
            raise NoDataError(content.name, "0 rows")

    def columns(self, layout: Format) -> Columns | None:
        roles = roles_of(self._schema.names(), layout.names or {}, layout.optional)
        return None if roles is None else Columns(roles)

    def sample(self, columns: Columns) -> pl.DataFrame:  # noqa: ARG002 - every column has its place already
        return self._collect(self._lazy.head(N_SAMPLE))

    def chunks(self, columns: Columns) -> Iterator[pl.DataFrame]:  # noqa: ARG002
        yield self._collect(self._lazy)

    def shown(self) -> str:
        return "Parquet with the columns " + ", ".join(f"{name} ({dtype})" for name, dtype in self._schema.items())

    def _refuse_nested(self) -> None:
        """By the schema alone: a few packed bytes may be a cell of millions of values, which no count of rows tells."""
        nested = [f"{name!r} ({dtype})" for name, dtype in self._schema.items() if dtype.is_nested()]
        if nested:
            why = f"the cells of its column {nested[0][:_SHOWN_CHARACTERS]} are no single values"
            raise UnknownLayoutError(self._content.name, self.shown()[:_SHOWN_CHARACTERS], why)

    def _scan(self) -> pl.LazyFrame:
        if self._content.wrapping:
            return pl.scan_parquet(io.BytesIO(whole(self._content)))
        return pl.scan_parquet(self._content.path, glob=False, hive_partitioning=False)

    def _collect(self, lazy: pl.LazyFrame) -> pl.DataFrame:
        try:
            return lazy.collect()
        except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError) as error:
            raise DamagedFileError(self._content.name, first_line(error)) from None


def _texts(values: list[Any]) -> pl.Series:
    """Values of a JSON column as text; what is no number and no text cannot be read later either."""
    return pl.Series(
        [value if value is None or isinstance(value, str) else json.dumps(value) for value in values], dtype=pl.String
    )


def first_line(error: BaseException) -> str:
    """What an exception says, in one short line."""
    return (str(error).splitlines() or [type(error).__name__])[0][:_SHOWN_CHARACTERS]
