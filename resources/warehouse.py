"""The warehouse: SQL over the lake for people and BI tools, in one DuckDB file that is swapped in whole.

Large tables are views over the Parquet files of their current Delta snapshots, small ones are
copied; `lake.files` says which files the views are made of, and maintenance keeps those. The file
is built beside the old one and renamed over it, so a reader keeps what it has open and the next
one sees all of the night.

The same SQL works on the lake as it is now (`over`), where every table is a view and there is no file.

Readers get times in UTC, no extension of DuckDB that is not part of it (those are fetched from the
network), and one query at a time that only reads.
"""

import glob
import os
import re
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import dagster as dg

from quality.documents import nearest
from quality.tables import TABLES, Table
from resources.errors import (
    NotOneQueryError,
    NoWarehouseError,
    RefusedQueryError,
    UnknownTableError,
    UnreadableWarehouseError,
    WritingQueryError,
)
from resources.lake import Lake

if TYPE_CHECKING:
    import pandas as pd  # type: ignore[import-untyped]
    from duckdb import DuckDBPyConnection

_VIEWS = ("raw_bars", "bars", "resampled_bars", "features", "exchange_metrics")
_NOTHING_FETCHED: dict[str, str | bool | int | float | list[str]] = {
    "autoinstall_known_extensions": "false",
    "autoload_known_extensions": "false",
}
_READING = "SET TimeZone = 'UTC'; SET enable_progress_bar = false"  # a bar would stand amidst the answer
_NO_TABLE = re.compile(r'Table with name "?(?P<name>[^"\s]+)"? does not exist')


Row = tuple[Any, ...]
_CHUNK = 10_000


class Answer(NamedTuple):
    columns: tuple[str, ...]
    rows: Iterator[Row]  # taken from the connection as they are asked for


class Warehouse(dg.ConfigurableResource):
    path: str

    def rebuild(self, lake: Lake) -> dict[str, int]:
        """Build the file anew from the lake and swap it in; rows by table."""
        from dagster_duckdb import DuckDBResource

        fresh = Path(self.path).with_suffix(".building")
        fresh.unlink(missing_ok=True)
        with DuckDBResource(database=str(fresh)).get_connection() as connection:
            _show(connection, lake, as_views=_VIEWS)
            rows = {name: _count(connection, name) for name in TABLES}
        os.replace(fresh, self.path)  # noqa: PTH105 - os.replace says what it does
        return rows

    @contextmanager
    def reader(self) -> "Iterator[DuckDBPyConnection]":
        """A connection that reads the file as it is now, and goes on reading that when another is swapped in.

        Raises:
            NoWarehouseError: nothing was built yet.
            UnreadableWarehouseError: what is there is no DuckDB file.
        """
        import duckdb

        if not Path(self.path).is_file():
            raise NoWarehouseError(self.path)
        try:
            connection = duckdb.connect(self.path, read_only=True, config=_NOTHING_FETCHED)
        except duckdb.Error as error:
            raise UnreadableWarehouseError(self.path, str(error)) from error
        with connection:
            connection.execute(_READING)
            yield connection

    @contextmanager
    def over(self, lake: Lake) -> "Iterator[DuckDBPyConnection]":
        """A connection with the same tables, straight from the lake as it is now."""
        from dagster_duckdb import DuckDBResource

        database = DuckDBResource(database=":memory:", connection_config=_NOTHING_FETCHED)
        with database.get_connection() as connection:
            connection.execute(_READING)
            _show(connection, lake, as_views=TABLES)
            yield connection

    def files(self) -> set[str]:
        """The Parquet files that the present file's views read; none where there is no file."""
        if not Path(self.path).is_file():
            return set()
        with self.reader() as connection:
            return {file for (file,) in connection.execute("SELECT file FROM lake.files").fetchall()}


def ask(connection: "DuckDBPyConnection", question: str) -> Answer:
    """The answer to one query. Raises RefusedQueryError, here or while rows are taken."""
    import duckdb

    with _refusing():
        statements = duckdb.extract_statements(question)
        if len(statements) != 1:
            raise NotOneQueryError(len(statements))
        if statements[0].type not in {duckdb.StatementType.SELECT, duckdb.StatementType.MULTI}:  # MULTI: a PIVOT
            raise WritingQueryError(statements[0].type.name)
        connection.execute(question)
        return Answer(tuple(column[0] for column in connection.description or ()), _rows(connection))


def ask_frame(connection: "DuckDBPyConnection", question: str, parameters: Mapping[str, Any]) -> "pd.DataFrame":
    """The answer as a frame for libraries that know no other. Raises RefusedQueryError."""
    with _refusing():
        return connection.execute(question, dict(parameters)).df()


def ask_rows(
    connection: "DuckDBPyConnection", question: str, parameters: Mapping[str, Any]
) -> Iterator[dict[str, Any]]:
    """The rows of the answer, by column. Raises RefusedQueryError, here or while rows are taken."""
    with _refusing():
        connection.execute(question, dict(parameters))
    columns = tuple(column[0] for column in connection.description or ())
    rows = list(_rows(connection))  # so that another question may be asked meanwhile
    return (dict(zip(columns, row, strict=True)) for row in rows)


def _rows(connection: "DuckDBPyConnection") -> Iterator[Row]:
    """A chunk at a time, so that an answer may be larger than memory."""
    while True:
        with _refusing():
            chunk = connection.fetchmany(_CHUNK)
        if not chunk:
            return
        yield from chunk


@contextmanager
def _refusing() -> Iterator[None]:
    import duckdb

    try:
        yield
    except duckdb.Error as error:
        if unknown := _NO_TABLE.search(str(error)):
            raise UnknownTableError(unknown["name"], TABLES, nearest(unknown["name"], TABLES)) from error
        raise RefusedQueryError(str(error)) from error


def _show(connection: "DuckDBPyConnection", lake: Lake, *, as_views: Collection[str]) -> None:
    """Every table of the lake by its name, and in `lake.files` what the views are made of."""
    connection.execute("CREATE SCHEMA lake")
    connection.execute("CREATE TABLE lake.files (table_name VARCHAR, file VARCHAR)")
    for name, table in TABLES.items():
        files = lake.files(name) if name in as_views else []
        if files:
            connection.execute(_view(table, files))
            connection.execute("INSERT INTO lake.files SELECT ?, unnest(?)", [name, files])
        else:
            copied = lake.read(name).to_arrow()  # noqa: F841 - DuckDB finds it by its name
            connection.execute(f'CREATE TABLE "{name}" AS SELECT * FROM copied')  # noqa: S608 - our own names
        kind = "VIEW" if files else "TABLE"
        connection.execute(f'COMMENT ON {kind} "{name}" IS {_literal(table.about)}')


def _view(table: Table, files: Collection[str]) -> str:
    named = ", ".join(_literal(glob.escape(file)) for file in files)  # DuckDB reads a path as a pattern
    partitions = ", ".join(f"'{column}': VARCHAR" for column in table.partition_by)
    columns = ", ".join(f'"{column}"' for column in table.columns)
    hive = f"hive_partitioning = true, hive_types = {{{partitions}}}" if partitions else "hive_partitioning = false"
    return (
        f'CREATE VIEW "{table.name}" AS SELECT {columns}, * EXCLUDE ({columns}) '  # noqa: S608 - our own names and files
        f"FROM read_parquet([{named}], {hive}, union_by_name = true)"
    )


def _count(connection: "DuckDBPyConnection", name: str) -> int:
    counted = connection.execute(f'SELECT count(*) FROM "{name}"').fetchone()  # noqa: S608 - our own names
    return int(counted[0]) if counted else 0


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
