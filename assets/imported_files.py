"""What lies in the inbox of a data set of kind `files`, taken in.

Each round of files is kept before it is put away: bars first, then what the files state of
corporate actions, then the files are moved. So a kill at any point is mended by doing it again.
"""

from typing import NamedTuple

import dagster as dg

from quality.datasets import Dataset
from resources import statements
from resources.clock import now
from resources.intake import keep
from resources.lake import Lake
from resources.market import calendar_of
from resources.project import Project
from resources.settings import settings
from resources.sources.files_source import FilesSource, Handled


class TakenIn(NamedTuple):
    rows: int
    new_rows: int
    n_receipts: int  # new ones
    n_statements: int  # new ones, of corporate actions
    handled: list[Handled]


def imported_files(project: Project, dataset: Dataset) -> dg.AssetsDefinition:
    """The asset that empties the data set's inbox."""

    @dg.asset(
        key=[dataset.name, "imported_files"],
        description="What lay in the inbox: taken in, or refused with the reason.",
        pool=f"source_{dataset.name}",
        group_name=dataset.name,
        kinds={"polars", "deltalake"},
    )
    def imported(context: dg.AssetExecutionContext, lake: Lake) -> dg.MaterializeResult:
        calendar = calendar_of(project, dataset)
        got = take_in(lake, dataset, FilesSource(dataset, settings(), calendar=calendar, lake=lake))
        by_products = {"raw_bars": {"rows": got.rows, "new_rows": got.new_rows}, "receipts": {"new": got.n_receipts}}
        for table, counts in by_products.items():
            context.log_event(dg.AssetMaterialization([dataset.name, table], metadata=counts))
        return dg.MaterializeResult(
            metadata={
                "rows": got.rows,
                "new_rows": got.new_rows,
                "new_statements": got.n_statements,
                "refused": sum(file.outcome == "refused" for file in got.handled),
                "files": dg.MetadataValue.table(
                    [dg.TableRecord(file._asdict()) for file in got.handled],
                    schema=dg.TableSchema([dg.TableColumn(name) for name in Handled._fields]),
                ),
            }
        )

    return imported


def take_in(lake: Lake, dataset: Dataset, source: FilesSource) -> TakenIn:
    """Every round of files that wait, kept and put away."""
    rows = new_rows = n_receipts = n_statements = 0
    while source.has_more:
        at = now()
        waiting = (
            one
            for instrument in dataset.instruments
            for one in source.deliveries(instrument, first=dataset.start, last=at.date())
        )
        got = keep(lake, dataset, waiting, at=at)
        n_statements += statements.keep(lake, dataset.name, source.statements(), at=at, receipts=got.receipts)
        source.settle()
        rows, new_rows, n_receipts = rows + got.rows, new_rows + got.new_rows, n_receipts + got.receipts.height
    return TakenIn(rows, new_rows, n_receipts, n_statements, source.handled)
