"""Who may be traded: every universe of a data set, for every session, from what was known before it."""

from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any

import dagster as dg
import polars as pl

from assets import inputs
from engine.bars import PRICES, forward_adjusted
from engine.universe import measures
from quality import tables
from quality.datasets import Dataset, Instrument
from quality.hashes import document_hash
from quality.universe import Universe, judge
from resources.lake import Lake
from resources.market import calendar_of
from resources.project import Project
from resources.settings import numbers_hash

KINDS = {"polars", "deltalake"}


def universe(project: Project, dataset: Dataset) -> dg.AssetsDefinition:
    """The asset of one data set."""
    name = dataset.name

    @dg.asset(
        key=[name, "universe"],
        deps=[[name, "bars"], [name, "corporate_actions"]],
        description=f"Members of {', '.join(dataset.universes)} in every session, with the reason of every exclusion.",
        group_name=name,
        kinds=KINDS,
    )
    def chosen(context: dg.AssetExecutionContext, lake: Lake) -> dg.MaterializeResult:
        last = inputs.newest_session(lake, dataset, context.run.tags)
        corrections = inputs.corrections(project, dataset)
        of = inputs.held(lake, dataset)
        current = inputs_of(dataset, project.universes, of, corrections=corrections, last=last)
        sessions = calendar_of(project, dataset).sessions(dataset.start, last)
        rows = choose(dataset, project.universes, lake, sessions)
        lake.replace("universe", rows, dataset=name)
        inputs.record(lake, f"universe:{name}", current, run_id=context.run.run_id)
        return dg.MaterializeResult(metadata=metadata_of(rows))

    return chosen


def choose(dataset: Dataset, universes: Mapping[str, Universe], lake: Lake, sessions: Sequence[date]) -> pl.DataFrame:
    """The table `universe` of a data set; `sessions` are all of it, in order, and `universes` all there are, by name."""
    grid = pl.DataFrame({"session": sessions}, {"session": pl.Date})
    actions = lake.read("corporate_actions", dataset=dataset.name)
    due = lake.read("sla_record", dataset=dataset.name, rule="completeness")
    rows = [tables.empty("universe")]
    for instrument in dataset.instruments:
        own = pl.col("instrument") == instrument.id
        known = by_session(lake, dataset, instrument, grid, due=due.filter(own), actions=actions.filter(own))
        for name in dataset.universes:
            measured = measures(known, window_sessions=universes[name].window_sessions)
            members = judge(measured, instrument, universes[name])
            labelled = members.with_columns(dataset=pl.lit(dataset.name), universe=pl.lit(name))
            rows.append(labelled.select(tables.table("universe").columns.keys()))
    return pl.concat(rows)


def by_session(
    lake: Lake,
    dataset: Dataset,
    instrument: Instrument,
    sessions: pl.DataFrame,
    *,
    due: pl.DataFrame,
    actions: pl.DataFrame,
) -> pl.DataFrame:
    """One row a session, as `engine.universe.measures` takes them: the session's bars as one, and how many were due."""
    folded = (
        lake.scan("bars", dataset=dataset.name, instrument=instrument.id)
        .filter(~pl.col("filled"))  # nothing traded there
        .sort("ts")
        .group_by("session")
        .agg(
            pl.col("open").first(),
            pl.col("high").max(),
            pl.col("low").min(),
            pl.col("close").last(),
            pl.when(pl.col("volume").is_not_null().any()).then(pl.col("volume").sum()).alias("volume"),
        )
        .collect()
        .sort("session")
    )
    factors = forward_adjusted(folded, actions).select("session", "factor")
    return (
        sessions.join(folded.select("session", *PRICES, "volume"), on="session", how="left", maintain_order="left")
        .join(factors, on="session", how="left", maintain_order="left")
        .join(due.select("session", "due", "seen"), on="session", how="left", maintain_order="left")
    )


def inputs_of(
    dataset: Dataset,
    universes: Mapping[str, Universe],
    of: inputs.Held,
    *,
    corrections: Sequence[object],
    last: date,
) -> inputs.Inputs:
    """What the universes of a data set are chosen from: their rules, listings and tags, all bars up to `last`."""
    wanted = {"id", "listed", "delisted", "tags", "tier"}
    data = inputs.data_used(of, [instrument.id for instrument in dataset.instruments], last=last)
    return {
        inputs.ALL: document_hash(
            [
                [universes[name].model_dump(mode="json") for name in dataset.universes],
                [instrument.model_dump(mode="json", include=wanted) for instrument in dataset.instruments],
                dataset.model_dump(mode="json", include={"calendar", "start", "universes"}),
                list(corrections),
                data.digest,
                str(last),
                numbers_hash(),
            ]
        )
    }


def metadata_of(rows: pl.DataFrame) -> dict[str, int | str | dg.MetadataValue]:
    """Of the newest session: who is a member of what, and why the others are not."""
    newest = rows.filter(pl.col("session") == pl.col("session").max()).sort("universe", "instrument")
    members = newest.group_by("universe", maintain_order=True).agg(pl.col("member").sum())
    shown = newest.select(
        "universe",
        "instrument",
        "member",
        pl.col("reasons").list.join(", "),
        "tier",
        pl.col("measured_on").cast(pl.String),
        "history_sessions",
        pl.col("traded_value", "spread_bps", "completeness").round(4),
    )
    return {
        "rows": rows.height,
        "session": str(newest["session"].max()),
        **{f"members of {name}": count for name, count in members.rows()},
        "newest": dg.MetadataValue.table([dg.TableRecord(_shown(row)) for row in shown.iter_rows(named=True)]),
    }


def _shown(row: dict[str, Any]) -> dict[str, Any]:
    return {name: "not measured" if value is None else value for name, value in row.items()}
