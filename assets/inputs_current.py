"""The check `inputs_current`: which sessions of which instruments changed since something was computed from them.

Every piece of work remembers the newest receipt behind the bars it read and the last session it
read. A session of an instrument has changed since when a newer receipt stands behind its digest.
Bars may also be judged otherwise without a receipt: by another SLA, calendar or code, or because one
was retracted; some are gone then, and their digests with them. So of work whose bars were judged again
since, the hash of what it would read is compared too, up to the session it read.
The check is told twice: where bars change, about everything that was computed from them before;
and where something is computed again, about what is left. It never blocks: what is outdated is
due, and the planner asks for it.
"""

from collections.abc import Sequence

import dagster as dg
import polars as pl

from assets import inputs
from assets.partitions import key_format
from quality.datasets import Dataset
from resources.lake import Lake
from resources.market import calendar_of
from resources.project import Project, StrategyDefinition

CHECK = "inputs_current"
RESEARCH = ("backtest", "walk_forward", "scorecard")
SHOWN = 100  # rows of the table; the number of all stands beside it
OTHERWISE = "made_otherwise"


def spec(key: Sequence[str]) -> dg.AssetCheckSpec:
    about = "Nothing it was computed from has changed since; else the sessions and instruments that have."
    return dg.AssetCheckSpec(CHECK, asset=dg.AssetKey(key), description=about)


def features_check(lake: Lake, project: Project, dataset: Dataset) -> dg.AssetCheckResult:
    """Of a data set's features."""
    read = lake.read("work_record", step=f"features:{dataset.name}")
    sessions = lake.read("digests", dataset=dataset.name).with_columns(
        partition=pl.col("session").dt.strftime(key_format(dataset))
    )
    changed = _changed(sessions, read, on="partition")
    first: str | None = changed["partition"].min()  # type: ignore[assignment]
    differing = _other_features(lake, project, dataset, _judged_since(lake, dataset, read))
    otherwise = [key for key in differing if first is None or key < first]  # the later ones hang on a changed session
    return _result([dataset.name, "features"], changed, otherwise)


def research_checks(lake: Lake, project: Project) -> list[dg.AssetCheckResult]:
    """Of everything that was computed for strategies."""
    return [research_check(lake, project, step) for step in RESEARCH]


def research_check(lake: Lake, project: Project, step: str) -> dg.AssetCheckResult:
    """Of one research step, over every strategy version of the project."""
    read = lake.read("work_record", step=step)
    from_bars = read
    if step == "scorecard":  # it is made from the backtest, which alone says what bars
        from_bars = lake.read("work_record", step="backtest").join(read, on="partition", how="semi")
    strategy = pl.col("partition").str.split("|").list.first()
    found = [pl.DataFrame(schema={"partition": pl.String, "session": pl.Date, "instrument": pl.String})]
    otherwise: list[str] = []
    for key, definition in project.strategies.items():
        dataset = project.datasets[definition.configuration.dataset]
        traded = [one.id for one in definition.configuration.chosen_instruments(dataset)]
        sessions = lake.read("digests", dataset=dataset.name, instrument=traded)
        found.append(_changed(sessions, read.filter(strategy == key)))
        judged_since = _judged_since(lake, dataset, from_bars.filter(strategy == key))
        differing = _other_research(lake, project, definition, judged_since)
        otherwise += [partition for partition in differing if partition not in found[-1]["partition"]]
    return _result([step], pl.concat(found), otherwise)


def _judged_since(lake: Lake, dataset: Dataset, read: pl.DataFrame) -> pl.DataFrame:
    """Those rows of the work record of which some bars were judged again after they were read."""
    judged = lake.read("work_record", step=f"bars:{dataset.name}").sort("partition")
    known = read.drop_nulls("last_session")
    if judged.is_empty() or known.is_empty():
        return known.clear()
    until = known["last_session"].dt.strftime(key_format(dataset))
    place = (judged["partition"].search_sorted(until, side="right").cast(pl.Int64) - 1).clip(0)
    return known.filter(judged["computed_at"].cum_max().gather(place) > known["computed_at"])


def _other_features(lake: Lake, project: Project, dataset: Dataset, read: pl.DataFrame) -> list[str]:
    """The partitions of `read`, in order, that would be computed from something else now."""
    if read.is_empty():
        return []
    last = read["last_session"].max()
    of = inputs.held(lake, dataset)
    sessions = calendar_of(project, dataset).sessions(dataset.start, last)  # type: ignore[arg-type]
    until = of._replace(digests=of.digests.filter(pl.col("session") <= last))
    now = inputs.features(project, dataset, until, sessions)
    then = dict(read.select("partition", "inputs").rows())
    return [key for key, value in now.items() if then.get(key, value) != value]


def _changed(sessions: pl.DataFrame, read: pl.DataFrame, *, on: str | None = None) -> pl.DataFrame:
    """`partition session instrument` of what a newer receipt than was read stands behind."""
    columns = ["partition", "receipt_sequence", "last_session"]
    known = read.select(columns).drop_nulls()
    both = sessions.join(known, on=on) if on else sessions.join(known, how="cross")
    newer = (pl.col("sequence") > pl.col("receipt_sequence")) & (pl.col("session") <= pl.col("last_session"))
    return both.filter(newer).select("partition", "session", "instrument").sort(pl.all())


def _other_research(lake: Lake, project: Project, definition: StrategyDefinition, read: pl.DataFrame) -> list[str]:
    """The partitions of `read`, all of one strategy, that would be computed from something else now."""
    if read.is_empty():
        return []
    of = inputs.held(lake, project.datasets[definition.configuration.dataset])
    return [
        partition
        for partition, then, last in read.sort("partition").select("partition", "inputs", "last_session").rows()
        if then != inputs.research(project, definition, lake, last=last, of=of)
    ]


def _result(key: Sequence[str], changed: pl.DataFrame, otherwise: Sequence[str]) -> dg.AssetCheckResult:
    shown = changed.head(SHOWN).with_columns(pl.col("session").cast(pl.String))
    rows = [dg.TableRecord(row) for row in shown.iter_rows(named=True)]
    metadata: dict[str, dg.MetadataValue] = {"changed": dg.MetadataValue.int(changed.height)}
    if rows:
        metadata["sessions"] = dg.MetadataValue.table(rows)
    if otherwise:
        more = f" and {len(otherwise) - SHOWN} more" if otherwise[SHOWN:] else ""
        metadata[OTHERWISE] = dg.MetadataValue.text(
            f"{', '.join(otherwise[:SHOWN])}{more}: no receipt is newer, but the SLA, the calendar, the settings or the "
            "code are other ones than then, a receipt was retracted, or bars are gone"
        )
    return dg.AssetCheckResult(
        asset_key=dg.AssetKey(key),
        check_name=CHECK,
        passed=changed.is_empty() and not otherwise,
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
