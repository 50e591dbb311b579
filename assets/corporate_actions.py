"""Corporate actions: ask the source, keep what it states, fold all statements into what is believed.

One instrument that a source cannot answer does not stop the others: what it stated before holds.
What a source states is kept in `raw_actions` and never changed; what was imported from files stands
beside it. `corporate_actions` follows from both, so a statement that restates an earlier one changes
it, and the features from the first ex-date that changed on.
"""

from collections.abc import Iterable, Mapping
from datetime import date
from typing import NamedTuple

import dagster as dg
import polars as pl

from assets import inputs
from assets.partitions import as_of
from quality.actions import ACTION, Folded, fold, restated
from quality.datasets import Dataset
from quality.hashes import document_hash
from resources.clock import now
from resources.errors import NothingDeliveredError, SourceError
from resources.lake import Lake
from resources.market import calendar_of, sessions_until
from resources.project import Project
from resources.retractions import standing_receipts, standing_statements
from resources.settings import numbers_hash
from resources.sources.protocol import Source
from resources.sources.registry import Sources
from resources.statements import Statement, keep

KINDS = {"polars", "deltalake"}
WITH_THEIR_BARS = {"files"}  # kinds of source that state actions where they deliver bars, and not when asked
SHOWN_ROWS = 200


class Asked(NamedTuple):
    """What one asking brought."""

    new: int  # statements
    failed: dict[str, str]  # why, by instrument that was not answered


def corporate_actions(project: Project, dataset: Dataset) -> dg.AssetsDefinition:
    """The asset of one data set; `raw_actions` is a by-product, which it reports."""
    name = dataset.name

    @dg.asset(
        key=[name, "corporate_actions"],
        description="Splits and dividends by ex-date: the newest statement of every source, folded.",
        pool=f"source_{name}",
        group_name=name,
        kinds=KINDS,
    )
    def believed(context: dg.AssetExecutionContext, lake: Lake, sources: Sources) -> dg.MaterializeResult:
        source = sources.open(dataset)
        receipts = standing_receipts(lake, name)
        sessions = sessions_until(dataset, calendar_of(project, dataset), source, receipts, at=now())
        asked = ask(lake, dataset, source)
        for instrument, reason in asked.failed.items():
            context.log.warning("of %s no corporate actions were stated: %s", instrument, reason)
        stated = standing_statements(lake, name)
        before = lake.read("corporate_actions", dataset=name)
        folded = fold(stated, dataset.instruments)
        lake.replace("corporate_actions", folded.actions.select(pl.lit(name).alias("dataset"), pl.all()), dataset=name)
        last = as_of(context.run.tags, max(sessions, default=dataset.start))
        inputs.record(lake, f"actions:{name}", inputs_of(dataset, stated, last=last), run_id=context.run.run_id)
        raw = dg.AssetMaterialization(dg.AssetKey([name, "raw_actions"]), metadata={"new statements": asked.new})
        context.log_event(raw)
        changes = restated(before, folded.actions)
        return dg.MaterializeResult(metadata=metadata_of(folded, changes, failed=asked.failed))

    return believed


def ask(lake: Lake, dataset: Dataset, source: Source) -> Asked:
    """Keep what the source states now of every instrument; one that it cannot answer is noted, the others go on.

    Raises NothingDeliveredError when it answers for no instrument.
    """
    if dataset.source.kind in WITH_THEIR_BARS:
        return Asked(0, {})
    kind = dataset.source.kind
    statements, failed = [], {}
    for instrument in dataset.instruments:
        try:
            stated = source.corporate_actions([instrument]).select(ACTION.names())
        except SourceError as error:
            failed[instrument.id] = str(error)
        else:
            statements.append(Statement(instrument.id, stated, source=kind, origin=kind))
    if failed and not statements:
        raise NothingDeliveredError(dataset.name, failed)
    return Asked(keep(lake, dataset.name, statements, at=now()), failed)


def inputs_of(dataset: Dataset, stated: pl.DataFrame, *, last: date) -> inputs.Inputs:
    """What the fold is computed from: listings, statements, and up to when the source was asked.

    Args:
        dataset: whose actions.
        stated: its rows of `raw_actions` that stand.
        last: the newest session that is looked at; with each, a source that goes on is asked again.
    """
    listings = [one.model_dump(mode="json", include={"id", "listed", "delisted"}) for one in dataset.instruments]
    asked = None if dataset.source.kind in WITH_THEIR_BARS else str(last)
    numbers = stated["sequence"].unique().sort().to_list()
    return {
        inputs.ALL: document_hash([listings, dataset.source.model_dump(mode="json"), numbers, asked, numbers_hash()])
    }


def metadata_of(
    folded: Folded, changes: pl.DataFrame, *, failed: Mapping[str, str]
) -> dict[str, int | dg.MetadataValue]:
    """Counts, and tables of what changed, what was set aside, and why which instrument was not answered."""
    old, new = pl.col("old").is_not_null(), pl.col("new").is_not_null()
    counts = {
        "rows": folded.actions.height,
        "added": changes.filter(~old).height,
        "changed": changes.filter(old & new).height,
        "withdrawn": changes.filter(~new).height,
        "set_aside": folded.set_aside.height,
        "unanswered": len(failed),
    }
    aside = folded.set_aside.with_columns(pl.col("reasons").list.join(", ")).drop("sequence", "line")
    tables = {"changes": changes.filter(old), "what was set aside": aside}
    shown = {
        label: _table(rows.head(SHOWN_ROWS).iter_rows(named=True)) for label, rows in tables.items() if rows.height
    }
    why = [{"instrument": instrument, "reason": reason} for instrument, reason in failed.items()]
    return {**counts, **shown, **({"what was not answered": _table(why)} if why else {})}


def _table(rows: Iterable[Mapping[str, object]]) -> dg.MetadataValue:
    return dg.MetadataValue.table(
        [
            dg.TableRecord(
                {name: value if isinstance(value, float) else str(value or "-") for name, value in row.items()}
            )
            for row in rows
        ]
    )
