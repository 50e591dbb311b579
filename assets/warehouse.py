"""The warehouse file, rebuilt from the lake after a night."""

import dagster as dg

from assets import inputs
from resources.lake import Lake
from resources.warehouse import Warehouse


@dg.asset(
    deps=["compaction"],
    group_name="maintenance",
    kinds={"duckdb"},
    description="SQL over the lake, in one file that is swapped in whole.",
)
def warehouse(context: dg.AssetExecutionContext, lake: Lake, sql: Warehouse) -> dg.MaterializeResult:
    current = inputs.warehouse(lake)
    rows = sql.rebuild(lake)
    inputs.record(lake, "warehouse", {inputs.ALL: current}, run_id=context.run.run_id)
    return dg.MaterializeResult(metadata={"tables": len(rows), **rows})
