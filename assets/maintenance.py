"""The lake kept in order: small files folded, files that nobody needs deleted, short logs.

1. What the present warehouse's views read is noted; it is rebuilt after this, not before.
2. Each table: partitions with many small files are folded, files that left the table a week ago are
   deleted, the log is summed up. No row changes, so whatever could be computed before still can.
3. `raw_bars` and `receipts` lose no file ever: the bars as of any receipt follow from them.

It runs before the warehouse, in the same job: views are made over the folded files, and the table
versions that the planner compares are those after it, so a night with nothing new has nothing to do.
"""

from datetime import timedelta

import dagster as dg

from quality.tables import TABLES
from resources.errors import UnreadableWarehouseError
from resources.lake import KEPT_FOR_EVER, Lake
from resources.warehouse import Warehouse

KEPT = timedelta(days=7)  # for readers that opened a table, or a warehouse, and have not closed it


@dg.asset(
    group_name="maintenance",
    kinds={"deltalake"},
    description="Small files of the lake folded, files that nobody needs any more deleted.",
)
def compaction(lake: Lake, sql: Warehouse) -> dg.MaterializeResult:
    in_use = _in_use(sql)
    n_folded = n_deleted = 0
    for name in TABLES:
        n_folded += lake.compact(name)
        if name not in KEPT_FOR_EVER:
            n_deleted += lake.vacuum(name, older_than=KEPT, in_use=in_use)
        lake.checkpoint(name)
    return dg.MaterializeResult(metadata={"files folded": n_folded, "files deleted": n_deleted})


def _in_use(sql: Warehouse) -> set[str]:
    try:
        return sql.files()
    except UnreadableWarehouseError:  # nobody reads it either, and it is about to be rebuilt
        return set()
