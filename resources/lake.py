"""The lake: every table a Delta table under one root, written here and nowhere else.

A write is one transaction. `replace` owns a window, named by conditions on columns, and puts
exactly the given rows in its place, so writing twice changes nothing; `append` adds. A frame
is checked against its table's contract before a byte is written. Two writers that collide are
retried on the newer version.

Conditions are values: `dataset="crypto_5m"` equals, a list is one of, `Between(a, b)` is the
half-open range, None is null.

The files of a snapshot are scanned as they are named on the disk: `polars.scan_delta` takes them
from Delta, which quotes the root as in a URL, and does not find them where it has a space. Files
that cannot hold a wanted row, by their partition or by the least and greatest day, instant or number
in them, are not looked at.

Maintenance: `compact` folds the small files that nights leave, `vacuum` deletes what no snapshot of
the last days refers to, `checkpoint` shortens the log that has to be read to open a table. None of
them changes a row.
"""

import json
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import date, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import unquote

import dagster as dg
import polars as pl

from quality import tables
from resources import lock
from resources.errors import LakeError

if TYPE_CHECKING:
    from deltalake import DeltaTable, WriterProperties

ATTEMPTS = 8
FILE_BYTES = 1_000_000
"""How large a file grows: some 30,000 bars, so that a restated day rewrites a season and not four years.

Measured on 42 million bars (100 instruments x 4 years, 2 cores), all replacing one day of all: one file per instrument
17.8 s, files of 2 MB 2.1 s, of 1 MB 1.3 s, of 0.5 MB 0.8 s; opening the table 17, 43, 40 and 75 ms.
"""
SMALL_FILES = 32
"""How many files of less than half that size a partition may gather before they are folded into one."""
COMMITS = 20
"""After how many commits a checkpoint saves reading them: opening a table of 1,400 files, 35 ms before, 15 ms after."""
KEPT_FOR_EVER = frozenset({"raw_bars", "receipts"})
TOMBSTONES = timedelta(days=30)
"""How long a table remembers which files it no longer needs; what it forgot is told from leftovers by age alone."""

_OPEN_TABLES = 64


class Between(NamedTuple):
    """The half-open range `[first, end)` of a column."""

    first: date | datetime | int
    end: date | datetime | int


Scalar = str | int | date | datetime
Condition = Scalar | list[str] | list[int] | Between | None


class Lake(dg.ConfigurableResource):
    """Delta tables under `root`; during a Dagster run the home folder's lock is held."""

    root: str
    lock_path: str

    def __reduce__(self) -> tuple[Any, ...]:
        return partial(Lake, root=self.root, lock_path=self.lock_path), ()  # for another process

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
        opened = _open(self.path(name))
        return -1 if opened is None else opened.version()

    def files(self, name: str) -> list[str]:
        """The Parquet files of the table's current snapshot."""
        opened = _open(self.path(name))
        return [] if opened is None else [str(self.path(name) / unquote(file)) for file in _snapshot(opened)["path"]]

    def scan(self, name: str, **where: Condition) -> pl.LazyFrame:
        """The rows of a table that meet every condition; no rows before its first write."""
        wanted, opened = tables.table(name), _open(self.path(name))
        if opened is None:
            return tables.empty(name).lazy()
        schema = pl.Schema(opened.schema())
        files = _snapshot(opened).filter(*_may_hold(where, schema, partition_by=wanted.partition_by))
        if "min.ts" in files.columns:  # then what was written in order is read in order, which saves sorting it
            files = files.sort("min.ts")
        paths = [self.path(name) / unquote(file) for file in files["path"]]
        rows = _scan(paths, schema, partition_by=wanted.partition_by)
        rows = rows.filter(*(_expression(column, condition) for column, condition in where.items()))
        missing = {name: pl.lit(None, dtype) for name, dtype in wanted.columns.items() if name not in schema}
        rows = rows.with_columns(**missing)  # of a table that was last written before it had them
        rows = rows.with_columns(pl.col(column).cast(wanted.columns[column]) for column in _retyped(wanted, schema))
        return rows if wanted.open_ended else rows.select(*wanted.columns)

    def read(self, name: str, **where: Condition) -> pl.DataFrame:
        return self.scan(name, **where).collect()

    def replace(self, name: str, frame: pl.DataFrame, **window: Condition) -> None:
        """Put `frame` in place of every row of the table that meets `window`, in one transaction."""
        if not window:
            msg = f"a write of {name!r} must name the window it owns; to add rows use append"
            raise LakeError(msg)
        checked = tables.check(name, frame)
        inside = checked.filter(*(_expression(column, wanted) for column, wanted in window.items()))
        if inside.height < checked.height:
            msg = f"{checked.height - inside.height} rows for {name!r} lie outside the window {window}: write what it holds"
            raise LakeError(msg)
        predicate = " AND ".join(_predicate(column, wanted) for column, wanted in window.items())
        if checked.is_empty():
            _retried(lambda: self._clear(name, predicate))
        else:
            _retried(lambda: self._write(name, checked, {"mode": "overwrite", "predicate": predicate}))

    def append(self, name: str, frame: pl.DataFrame) -> None:
        """Add the rows of `frame`, in one transaction; an empty frame adds nothing."""
        checked = tables.check(name, frame)
        if not checked.is_empty():
            _retried(lambda: self._write(name, checked, {"mode": "append"}))

    def compact(self, name: str) -> int:
        """Fold the small files of every partition that has many of them; how many files fewer there are."""
        opened = _open(self.path(name))
        if opened is None:
            return 0
        by = [f"partition.{column}" for column in tables.table(name).partition_by]
        small = _snapshot(opened).filter(pl.col("size_bytes") < FILE_BYTES // 2)
        crowded = small.group_by(by or pl.lit(1)).len().filter(pl.col("len") >= SMALL_FILES)
        if crowded.is_empty():
            return 0
        n_before = len(self.files(name))
        only = [(column.removeprefix("partition."), "in", crowded[column].unique().to_list()) for column in by]
        _retried(lambda: self._fold(name, only))
        return n_before - len(self.files(name))

    def vacuum(self, name: str, *, older_than: timedelta, in_use: Collection[str]) -> int:
        """Delete files that left the table longer ago than `older_than`, and leftovers of killed writes; how many.

        Nothing is deleted while one of them is `in_use` (paths as of `files`): a warehouse's views may be of an older
        snapshot.
        Raises LakeError for a table that keeps what it ever held.
        """
        if name in KEPT_FOR_EVER:
            msg = f"{name!r} keeps what it ever held, so that all else can be made from it again: it is never vacuumed"
            raise LakeError(msg)
        opened = _open(self.path(name))
        if opened is None:
            return 0
        hours = round(older_than.total_seconds() / 3600)
        named = opened.vacuum(hours, dry_run=True, enforce_retention_duration=False, full=True)
        found = {str(self.path(name) / file) for file in named if (self.path(name) / file).exists()}
        if not found or not found.isdisjoint(
            in_use
        ):  # what was deleted before is named again, as long as the log has it
            return 0
        opened.vacuum(hours, dry_run=False, enforce_retention_duration=False, full=True)
        return len(found)

    def checkpoint(self, name: str) -> None:
        """Write down the table's snapshot where many commits would have to be read to know it."""
        opened = _open(self.path(name))
        if opened is not None and opened.version() - _checkpointed(self.path(name)) >= COMMITS:
            opened.create_checkpoint()

    def _write(self, name: str, checked: pl.DataFrame, how: Mapping[str, Any]) -> None:
        from deltalake import write_deltalake

        wanted, rows = tables.table(name), checked.to_arrow()
        self._retype(name)
        write_deltalake(
            self._made(name, rows.schema),
            rows,
            **how,
            partition_by=list(wanted.partition_by) or None,
            schema_mode="merge",  # a feature is new, or a column of a later version
            target_file_size=FILE_BYTES,
            writer_properties=_encoding(wanted),
        )

    def _retype(self, name: str) -> None:
        """Write a table anew that was last written when one of its columns was of another type."""
        from deltalake import write_deltalake

        opened, wanted = _open(self.path(name)), tables.table(name)
        if opened is not None and _retyped(wanted, pl.Schema(opened.schema())):
            rows = self.read(name).to_arrow()
            by = list(wanted.partition_by) or None
            write_deltalake(opened, rows, mode="overwrite", schema_mode="overwrite", partition_by=by)

    def _clear(self, name: str, predicate: str) -> None:
        opened = _open(self.path(name))
        if opened is not None:
            opened.delete(predicate)

    def _fold(self, name: str, only: list[tuple[str, str, list[str]]]) -> None:
        opened, wanted = _open(self.path(name)), tables.table(name)
        if opened is not None:
            opened.optimize.compact(only or None, target_size=FILE_BYTES, writer_properties=_encoding(wanted))

    def _made(self, name: str, schema: Any) -> "DeltaTable":
        """The table, made first where it is new: an overwrite of one that another made meanwhile would take its rows."""
        from deltalake import DeltaTable

        path = self.path(name)
        opened = _open(path) if self.exists(name) else None
        return opened or DeltaTable.create(
            str(path),
            schema,
            mode="ignore",
            partition_by=list(tables.table(name).partition_by) or None,
            configuration={"delta.deletedFileRetentionDuration": f"interval {TOMBSTONES.days} days"},
        )


class _Opened(NamedTuple):
    table: "DeltaTable"
    written_at: int | None  # when its newest commit was, in ns


_opened = threading.local()


def _open(path: Path) -> "DeltaTable | None":
    """The newest snapshot of the table at `path`; None where there is none.

    Reading a table's log takes 20 to 80 ms when it has thousands of files, and each night asks thousands of times, so a
    thread keeps what it opened and reads the commits that came since, which takes 1.5 ms. A table is told from another
    one that was made in its place by when its newest known commit was written.
    """
    from deltalake import DeltaTable

    kept: dict[Path, _Opened] = _opened.__dict__.setdefault("tables", {})
    known = kept.get(path)
    if known is not None and known.written_at == _written_at(path, known.table.version()):
        table = known.table
        table.update_incremental()
    elif DeltaTable.is_deltatable(str(path)):
        table = DeltaTable(str(path))
    else:
        return None
    if len(kept) >= _OPEN_TABLES:
        kept.clear()
    kept[path] = _Opened(table, _written_at(path, table.version()))
    return table


def _written_at(path: Path, version: int) -> int | None:
    try:
        return (path / "_delta_log" / f"{version:020}.json").stat().st_mtime_ns
    except FileNotFoundError:
        return None


def _checkpointed(path: Path) -> int:
    try:
        return int(json.loads((path / "_delta_log" / "_last_checkpoint").read_text())["version"])
    except FileNotFoundError:
        return 0


def _snapshot(opened: "DeltaTable") -> pl.DataFrame:
    """The files of a snapshot: `path size_bytes partition.<column> min.<column> max.<column>`.

    Paths are below the root, and quoted once more than they are on the disk.
    """
    return pl.DataFrame(opened.get_add_actions(flatten=True))


def _retyped(wanted: tables.Table, held: pl.Schema) -> list[str]:
    """The columns that are held in another type than the one they are to have."""
    return [column for column, dtype in wanted.columns.items() if column in held and held[column] != dtype]


def _may_hold(where: Mapping[str, Condition], schema: pl.Schema, *, partition_by: Sequence[str]) -> Iterator[pl.Expr]:
    """Of the files of a snapshot, those that may hold a row that meets `where`.

    Statistics of texts are cut short in the log and not asked; those of instants are cut to milliseconds.
    """
    for column, wanted in where.items():
        if column in partition_by:
            yield _expression(f"partition.{column}", wanted)
        elif wanted is None:
            yield pl.col(f"null_count.{column}").fill_null(1) > 0
        elif isinstance(schema.get(column), (pl.Date, pl.Int64, pl.Int32, pl.Datetime)):
            least, greatest = pl.col(f"min.{column}"), pl.col(f"max.{column}")
            if isinstance(schema[column], pl.Datetime):
                greatest += timedelta(milliseconds=1)
            yield least.is_null() | _overlaps(least, greatest, wanted)


def _overlaps(least: pl.Expr, greatest: pl.Expr, wanted: Scalar | list[str] | list[int] | Between) -> pl.Expr:
    if isinstance(wanted, Between):
        return (greatest >= wanted.first) & (least < wanted.end)
    if isinstance(wanted, list):
        return (greatest >= min(wanted)) & (least <= max(wanted)) if wanted else pl.lit(value=False)
    return (greatest >= wanted) & (least <= wanted)


def _encoding(wanted: tables.Table) -> "WriterProperties":
    """How Parquet is written: a dictionary for what repeats (texts, sessions, receipts), none for prices and instants.

    Measured on 421,000 bars: a dictionary for all, as is usual, 0.19 s and 8.3 MB; this 0.13 s and 10.9 MB. Tried and
    left: zstd 0.20 s and 8.0 MB; lz4 0.15 s and 11.1 MB; none 0.11 s and 20.2 MB; BYTE_STREAM_SPLIT of prices with zstd
    0.13 s and 13.3 MB; DELTA_BINARY_PACKED instants with zstd 5.5 MB and 0.20 s, but twice as slow to read.
    """
    from deltalake import ColumnProperties, WriterProperties

    repeating = [
        column
        for column, dtype in wanted.columns.items()
        if (dtype in {pl.String, pl.Date} or column == "sequence") and column not in wanted.partition_by
    ]
    return WriterProperties(
        compression="SNAPPY",
        default_column_properties=ColumnProperties(dictionary_enabled=False),
        column_properties={column: ColumnProperties(dictionary_enabled=True) for column in repeating},
    )


def _scan(files: list[Path], schema: pl.Schema, *, partition_by: Sequence[str]) -> pl.LazyFrame:
    if not files:
        return pl.LazyFrame(schema=schema)
    return pl.scan_parquet(
        files,
        glob=False,
        schema=schema,
        hive_partitioning=bool(partition_by),
        hive_schema={column: schema[column] for column in partition_by} or None,
        missing_columns="insert",  # files older than a column
        extra_columns="ignore",
    )


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
    return pl.col(column).is_null() if wanted is None else pl.col(column) == wanted


def _predicate(column: str, wanted: Condition) -> str:
    if isinstance(wanted, Between):
        return f'"{column}" >= {_literal(wanted.first)} AND "{column}" < {_literal(wanted.end)}'
    if isinstance(wanted, list):
        if not wanted:
            return "FALSE"
        return f'"{column}" IN ({", ".join(_literal(value) for value in wanted)})'
    if wanted is None:
        return f'"{column}" IS NULL'
    return f'"{column}" = {_literal(wanted)}'


def _literal(value: Scalar) -> str:
    if isinstance(value, datetime):
        return f"'{value.isoformat()}'"  # as TIMESTAMP it would be in nanoseconds, which the kernel refuses to compare
    if isinstance(value, date):
        return f"DATE '{value.isoformat()}'"
    if isinstance(value, int):
        return str(value)
    return "'" + value.replace("'", "''") + "'"
