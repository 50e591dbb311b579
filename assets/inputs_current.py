"""The check `inputs_current`: which sessions of which instruments changed since something was computed from them.

Every piece of work remembers the newest receipt behind the bars it read and the last session it
read. A session of an instrument has changed since when a newer receipt stands behind its digest.
The check is told twice: where bars change, about everything that was computed from them before;
and where something is computed again, about what is left. It never blocks: what is outdated is
due, and the planner asks for it.
"""

from collections.abc import Sequence

import dagster as dg
import polars as pl

from assets.partitions import key_format
from quality.datasets import Dataset
from resources.lake import Lake
from resources.project import Project

CHECK = "inputs_current"
RESEARCH = ("backtest", "walk_forward", "scorecard")
SHOWN = 100  # rows of the table; the number of all stands beside it


def spec(key: Sequence[str]) -> dg.AssetCheckSpec:
    about = "Nothing it was computed from has changed since; else the sessions and instruments that have."
    return dg.AssetCheckSpec(CHECK, asset=dg.AssetKey(key), description=about)


def features_check(lake: Lake, dataset: Dataset) -> dg.AssetCheckResult:
    """Of a data set's features."""
    read = lake.read("work_record", step=f"features:{dataset.name}")
    sessions = lake.read("digests", dataset=dataset.name).with_columns(
        partition=pl.col("session").dt.strftime(key_format(dataset))
    )
    return _result([dataset.name, "features"], _changed(sessions, read, on="partition"))


def research_checks(lake: Lake, project: Project) -> list[dg.AssetCheckResult]:
    """Of everything that was computed for strategies."""
    return [research_check(lake, project, step) for step in RESEARCH]


def research_check(lake: Lake, project: Project, step: str) -> dg.AssetCheckResult:
    """Of one research step, over every strategy version of the project."""
    read = lake.read("work_record", step=step).with_columns(strategy=pl.col("partition").str.split("|").list.first())
    found = [pl.DataFrame(schema={"partition": pl.String, "session": pl.Date, "instrument": pl.String})]
    for key, definition in project.strategies.items():
        name = definition.configuration.dataset
        traded = [one.id for one in definition.configuration.chosen_instruments(project.datasets[name])]
        sessions = lake.read("digests", dataset=name, instrument=traded)
        found.append(_changed(sessions, read.filter(pl.col("strategy") == key)))
    return _result([step], pl.concat(found))


def _changed(sessions: pl.DataFrame, read: pl.DataFrame, *, on: str | None = None) -> pl.DataFrame:
    """`partition session instrument` of what a newer receipt than was read stands behind."""
    columns = ["partition", "receipt_sequence", "last_session"]
    known = read.select(columns).drop_nulls()
    both = sessions.join(known, on=on) if on else sessions.join(known, how="cross")
    newer = (pl.col("sequence") > pl.col("receipt_sequence")) & (pl.col("session") <= pl.col("last_session"))
    return both.filter(newer).select("partition", "session", "instrument").sort(pl.all())


def _result(key: Sequence[str], changed: pl.DataFrame) -> dg.AssetCheckResult:
    shown = changed.head(SHOWN).with_columns(pl.col("session").cast(pl.String))
    rows = [dg.TableRecord(row) for row in shown.iter_rows(named=True)]
    metadata: dict[str, dg.MetadataValue] = {"changed": dg.MetadataValue.int(changed.height)}
    if rows:
        metadata["sessions"] = dg.MetadataValue.table(rows)
    return dg.AssetCheckResult(
        asset_key=dg.AssetKey(key),
        check_name=CHECK,
        passed=changed.is_empty(),
        severity=dg.AssetCheckSeverity.WARN,
        metadata=metadata,
    )


def tell(instance: dg.DagsterInstance, results: Sequence[dg.AssetCheckResult]) -> None:
    """Report checks of assets that this run does not make."""
    for result in results:
        assert result.asset_key is not None  # noqa: S101 - `_result` names it
        assert result.check_name is not None  # noqa: S101
        instance.report_runless_asset_event(
            dg.AssetCheckEvaluation(
                asset_key=result.asset_key,
                check_name=result.check_name,
                passed=result.passed,
                severity=result.severity,
                metadata=result.metadata,
            )
        )
