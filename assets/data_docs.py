"""Data Docs of the night: every data set against its expectations, as pages linked from the asset."""

import dagster as dg

from assets import inputs
from resources.data_docs import DataDocs, Outcome
from resources.lake import Lake
from resources.project import Project
from resources.warehouse import Warehouse

STEP = "data_docs"


def is_due(lake: Lake) -> bool:
    """Was the warehouse made of other tables than those of the last pages?"""
    return inputs.recorded(lake, STEP) != inputs.recorded(lake, "warehouse")


def data_docs_assets(project: Project) -> list[dg.AssetsDefinition]:
    @dg.asset(
        deps=["warehouse"],
        group_name="maintenance",
        kinds={"greatexpectations", "duckdb"},
        description="What the data sets keep of what was promised, as pages to browse.",
    )
    def data_docs(
        context: dg.AssetExecutionContext, lake: Lake, sql: Warehouse, docs: DataDocs
    ) -> dg.MaterializeResult:
        current = inputs.recorded(lake, "warehouse")
        report = docs.build(sql, project)
        inputs.record(lake, STEP, current, run_id=context.run.run_id)
        return dg.MaterializeResult(
            metadata={
                "page": dg.MetadataValue.url(report.page.as_uri()),
                "expectations": len(report.outcomes),
                "broken": len(report.broken),
                "broken_expectations": dg.MetadataValue.table([_shown(one) for one in report.broken], _SCHEMA),
            }
        )

    return [data_docs]


_SCHEMA = dg.TableSchema(
    [
        dg.TableColumn("suite", "string"),
        dg.TableColumn("expectation", "string"),
        dg.TableColumn("severity", "string"),
        dg.TableColumn("broken_sessions", "int"),
        dg.TableColumn("newest", "string"),
    ]
)


def _shown(outcome: Outcome) -> dg.TableRecord:
    instrument, session = max(outcome.broken, key=lambda place: place[1])
    return dg.TableRecord(
        {
            "suite": outcome.suite,
            "expectation": outcome.column,
            "severity": "enforced" if outcome.enforced else "warns",
            "broken_sessions": len(outcome.broken),
            "newest": f"{instrument} {session}",
        }
    )
