"""The warehouse: SQL over the lake for people and BI tools, in one DuckDB file that is swapped in whole.

Large tables are views over the Parquet files of their current Delta snapshots, small ones are
copied. The file is built beside the old one and renamed over it, so a reader keeps what it has
open and the next one sees all of the night.
"""

import glob
import os
from pathlib import Path

import dagster as dg

from quality.tables import TABLES, Table
from resources.lake import Lake

_VIEWS = ("raw_bars", "bars", "resampled_bars", "features")


class Warehouse(dg.ConfigurableResource):
    path: str

    def rebuild(self, lake: Lake) -> dict[str, int]:
        """Build the file anew from the lake and swap it in; rows by table."""
        from dagster_duckdb import DuckDBResource

        fresh = Path(self.path).with_suffix(".building")
        fresh.unlink(missing_ok=True)
        rows = {}
        with DuckDBResource(database=str(fresh)).get_connection() as connection:
            for name, table in TABLES.items():
                if name in _VIEWS and lake.files(name):
                    connection.execute(_view(table, lake))
                else:
                    copied = lake.read(name).to_arrow()  # noqa: F841 - DuckDB finds it by its name
                    connection.execute(f'CREATE TABLE "{name}" AS SELECT * FROM copied')  # noqa: S608 - our own names
                counted = connection.execute(f'SELECT count(*) FROM "{name}"').fetchone()  # noqa: S608 - our own names
                rows[name] = int(counted[0]) if counted else 0
        os.replace(fresh, self.path)  # noqa: PTH105 - os.replace says what it does
        return rows


def _view(table: Table, lake: Lake) -> str:
    files = ", ".join(_literal(file) for file in lake.files(table.name))
    partitions = ", ".join(f"'{column}': VARCHAR" for column in table.partition_by)
    return (
        f'CREATE VIEW "{table.name}" AS SELECT * FROM read_parquet([{files}], '  # noqa: S608 - our own names and files
        f"hive_partitioning = true, hive_types = {{{partitions}}}, union_by_name = true)"
    )


def _literal(file: str) -> str:
    """In SQL, where a quote ends a text, and as a pattern, which is how DuckDB reads a path."""
    return "'" + glob.escape(file).replace("'", "''") + "'"
