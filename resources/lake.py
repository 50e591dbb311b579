"""The lake: every table a Delta table under one root, written here and nowhere else.

A write is one transaction. `replace` owns a window, named by conditions on columns, and puts
exactly the given rows in its place, so writing twice changes nothing; `append` adds. A frame
is checked against its table's contract before a byte is written. Two writers that collide are
retried on the newer version.

Conditions are values: `dataset="crypto_5m"` equals, a list is one of, `Between(a, b)` is the
half-open range.

The files of a snapshot are scanned as they are named on the disk: `polars.scan_delta` takes them
from Delta, which quotes the root as in a URL, and does not find them where it has a space.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import unquote

import dagster as dg
import polars as pl

from quality import tables
from resources import lock
from resources.errors import LakeError

if TYPE_CHECKING:
    from deltalake import DeltaTable

ATTEMPTS = 8


class Between(NamedTuple):
    """The half-open range `[first, end)` of a column."""

    first: date | datetime | int
    end: date | datetime | int


Scalar = str | int | date | datetime
Condition = Scalar | list[str] | list[int] | Between


class Lake(dg.ConfigurableResource):
    """Delta tables under `root`; during a Dagster run the home folder's lock is held."""

    root: str
    lock_path: str

    @contextmanager
    def yield_for_execution(self, context: dg.InitResourceContext) -> Iterator["Lake"]:
        purpose = f"run {context.run.run_id}" if context.run else "a run"
        with lock.held(Path(self.lock_path), purpose=purpose, wait=True):
            yield self

    def path(self, name: str) -> Path:
        return Path(self.root) / tables.table(name).name

    def exists(self, name: str) -> bool:
        from deltalake import DeltaTable

        return DeltaTable.is_deltatable(str(self.path(name)))

    def version(self, name: str) -> int:
        """How often the table was written; -1 before its first write."""
        from deltalake import DeltaTable

        return DeltaTable(str(self.path(name))).version() if self.exists(name) else -1

    def files(self, name: str) -> list[str]:
        """The Parquet files of the table's current snapshot."""
        from deltalake import DeltaTable

        return _files(DeltaTable(str(self.path(name)))) if self.exists(name) else []

    def scan(self, name: str, **where: Condition) -> pl.LazyFrame:
        """The rows of a table that meet every condition; no rows before its first write."""
        from deltalake import DeltaTable

        wanted = tables.table(name)
        if not self.exists(name):
            return tables.empty(name).lazy()
        rows = _scan(DeltaTable(str(self.path(name))), partition_by=wanted.partition_by)
        rows = rows.filter(*(_expression(column, condition) for column, condition in where.items()))
        return rows if wanted.open_ended else rows.select(*wanted.columns)

    def read(self, name: str, **where: Condition) -> pl.DataFrame:
        return self.scan(name, **where).collect()

    def replace(self, name: str, frame: pl.DataFrame, **window: Condition) -> None:
        """Put `frame` in place of every row of the table that meets `window`, in one transaction."""
        from deltalake import DeltaTable, write_deltalake

        if not window:
            msg = f"a write of {name!r} must name the window it owns; to add rows use append"
            raise LakeError(msg)
        checked = tables.check(name, frame)
        inside = checked.filter(*(_expression(column, wanted) for column, wanted in window.items()))
        if inside.height < checked.height:
            msg = f"{checked.height - inside.height} rows for {name!r} lie outside the window {window}: write what it holds"
            raise LakeError(msg)
        predicate = " AND ".join(_predicate(column, wanted) for column, wanted in window.items())

        def write() -> None:
            if checked.is_empty():
                if self.exists(name):
                    DeltaTable(str(self.path(name))).delete(predicate)
                return
            rows = checked.to_arrow()
            partition_by = list(tables.table(name).partition_by) or None
            if not self.exists(name):  # an overwrite of a table that another made meanwhile would take its rows
                DeltaTable.create(str(self.path(name)), rows.schema, mode="ignore", partition_by=partition_by)
            write_deltalake(
                str(self.path(name)),
                rows,
                mode="overwrite",
                predicate=predicate,
                partition_by=partition_by,
                schema_mode="merge" if tables.table(name).open_ended else None,
            )

        _retried(write)

    def append(self, name: str, frame: pl.DataFrame) -> None:
        """Add the rows of `frame`, in one transaction; an empty frame adds nothing."""
        from deltalake import write_deltalake

        checked = tables.check(name, frame)
        if checked.is_empty():
            return
        partition_by = list(tables.table(name).partition_by) or None
        _retried(
            lambda: write_deltalake(str(self.path(name)), checked.to_arrow(), mode="append", partition_by=partition_by)
        )


def _scan(snapshot: "DeltaTable", *, partition_by: Sequence[str]) -> pl.LazyFrame:
    schema, files = pl.Schema(snapshot.schema()), _files(snapshot)
    if not files:
        return pl.LazyFrame(schema=schema)
    return pl.scan_parquet(
        files,
        glob=False,
        schema=schema,
        hive_partitioning=bool(partition_by),
        hive_schema={column: schema[column] for column in partition_by} or None,
        missing_columns="insert",  # files older than a feature
        extra_columns="ignore",
    )


def _files(snapshot: "DeltaTable") -> list[str]:
    """Only the root is quoted; below it the names on the disk are quoted themselves, for the partitions' values."""
    quoted = snapshot.table_uri.removeprefix("file://")
    return [unquote(quoted) + file.removeprefix(quoted) for file in snapshot.file_uris()]


def _retried(write: Callable[[], None]) -> None:
    from deltalake.exceptions import CommitFailedError

    for attempt in range(ATTEMPTS):
        try:
            write()
        except CommitFailedError:
            if attempt == ATTEMPTS - 1:
                raise
            time.sleep(0.05 * 2**attempt)
        else:
            return


def _expression(column: str, wanted: Condition) -> pl.Expr:
    if isinstance(wanted, Between):
        return (pl.col(column) >= wanted.first) & (pl.col(column) < wanted.end)
    if isinstance(wanted, list):
        return pl.col(column).is_in(wanted)
    return pl.col(column) == wanted


def _predicate(column: str, wanted: Condition) -> str:
    if isinstance(wanted, Between):
        return f'"{column}" >= {_literal(wanted.first)} AND "{column}" < {_literal(wanted.end)}'
    if isinstance(wanted, list):
        if not wanted:
            return "FALSE"
        return f'"{column}" IN ({", ".join(_literal(value) for value in wanted)})'
    return f'"{column}" = {_literal(wanted)}'


def _literal(value: Scalar) -> str:
    if isinstance(value, datetime):
        return f"'{value.isoformat()}'"  # as TIMESTAMP it would be in nanoseconds, which the kernel refuses to compare
    if isinstance(value, date):
        return f"DATE '{value.isoformat()}'"
    if isinstance(value, int):
        return str(value)
    return "'" + value.replace("'", "''") + "'"
