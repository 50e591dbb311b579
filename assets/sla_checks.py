"""The checks on bars: one for each SLA rule, which read the verdicts and say who broke it.

A check fails where an instrument broke the rule in the newest session, and stops what comes after where too many
instruments failed that session. Its metadata name every instrument's worst and newest value, and what can be asked
again: outages, and jumps with the split they look like.
"""

from collections.abc import Iterator
from datetime import date, timedelta

import dagster as dg
import polars as pl

from assets.partitions import as_of
from quality import sla
from quality.datasets import Dataset
from quality.policies import Limit
from resources.lake import Between, Lake
from resources.project import Project

SHOWN_JUMPS = 20
SHOWN_OUTAGES = 10
LOOKED_BACK_DAYS = 31  # for the bar before a session


def sla_checks(project: Project, dataset: Dataset) -> dg.AssetChecksDefinition:
    policy, key = project.sla[dataset.sla], dg.AssetKey([dataset.name, "bars"])

    @dg.multi_asset_check(
        specs=[
            dg.AssetCheckSpec(rule, asset=key, blocking=True, description=limit.why)
            for rule, limit in policy.limits.items()
        ],
        name=f"{dataset.name}_sla",
    )
    def checks(context: dg.AssetCheckExecutionContext, lake: Lake) -> Iterator[dg.AssetCheckResult]:
        since = Between(dataset.start, date.max)
        record = lake.read("sla_record", dataset=dataset.name, instrument=dataset.ids, session=since)
        if record.is_empty():
            for rule in policy.limits:
                yield dg.AssetCheckResult(
                    check_name=rule, asset_key=key, passed=True, description="nothing was judged yet"
                )
            return
        newest = as_of(context.run.tags, record["session"].max())  # type: ignore[arg-type]
        record = record.filter(pl.col("session") <= newest)
        stopped = sla.block(record, block_share=policy.block_share)
        for rule in policy.limits:
            found = verdict(dataset, rule, record, stopped)
            if rule == "completeness":
                found = found.with_metadata({**found.metadata, **outages(lake, dataset, newest)})
            if rule == "jump":
                named = named_jumps(lake, dataset, record, limit=policy.limits[rule])
                found = found.with_metadata(
                    {**found.metadata, "jumps": dg.MetadataValue.table(named)} if named else found.metadata
                )
            yield found

    return checks


def verdict(dataset: Dataset, rule: str, record: pl.DataFrame, stopped: sla.Block) -> dg.AssetCheckResult:
    """A rule's check: passed when every instrument kept it in the newest session; the table says who did not, ever."""
    of_rule = record.filter(pl.col("rule") == rule).sort("session")
    broken = pl.col("enforced") & ~pl.col("passed")
    newest = of_rule.filter(pl.col("session") == stopped.session, broken)
    by_instrument = (
        of_rule.group_by("instrument")
        .agg(
            broken_sessions=(~pl.col("passed")).sum(),
            worst=pl.col("value").min() if rule == "completeness" else pl.col("value").max(),
            newest=pl.col("value").last(),
        )
        .sort("instrument")
    )
    return dg.AssetCheckResult(
        asset_key=dg.AssetKey([dataset.name, "bars"]),
        check_name=rule,
        passed=newest.is_empty(),
        severity=dg.AssetCheckSeverity.ERROR if stopped.blocked else dg.AssetCheckSeverity.WARN,
        metadata={
            "session": str(stopped.session),
            "limit": float(of_rule["limit"][0]),
            "instruments": dg.MetadataValue.table(
                [dg.TableRecord(_shown(row)) for row in by_instrument.iter_rows(named=True)]
            ),
        },
    )


def outages(lake: Lake, dataset: Dataset, newest: date) -> dict[str, dg.MetadataValue]:
    """The newest spans up to the session `newest` in which nothing came of anybody, and what asks for them again."""
    until = Between(dataset.start, newest + timedelta(days=1))
    found = lake.read("gaps", dataset=dataset.name, instrument=dataset.ids, session=until, kind="outage")
    spans = found.select("session", "first", "last").unique().sort("first", "last").tail(SHOWN_OUTAGES)
    if spans.is_empty():
        return {}
    table = [dg.TableRecord({name: str(value) for name, value in row.items()}) for row in spans.iter_rows(named=True)]
    named: dict[str, dg.MetadataValue] = {"outages": dg.MetadataValue.table(table)}
    if dataset.takes_files:
        return named
    ask = f"gauntlet backfill {dataset.name} --from {spans['session'][0]} --to {spans['session'][-1]}"
    return {**named, "ask again": dg.MetadataValue.text(ask)}


def named_jumps(lake: Lake, dataset: Dataset, record: pl.DataFrame, *, limit: Limit) -> list[dg.TableRecord]:
    """The newest jumps beyond the limit, each with the split it looks like, where nobody has adjusted for one."""
    broken = record.filter(pl.col("rule") == "jump", ~pl.col("passed")).sort("session").tail(SHOWN_JUMPS)
    rows = []
    for session, instrument in broken.select("session", "instrument").rows():
        near = Between(session - timedelta(days=LOOKED_BACK_DAYS), session + timedelta(days=1))
        bars = lake.read("bars", dataset=dataset.name, instrument=instrument, session=near).sort("ts")
        actions = lake.read("corporate_actions", dataset=dataset.name, instrument=instrument)
        found = sla.jumps(bars, actions, limit=limit.at_most or 0.0).filter(pl.col("session") == session)
        rows += [
            dg.TableRecord(
                {
                    "instrument": instrument,
                    "ts": str(row["ts"]),
                    "log_return": row["log_return"],
                    "looks_like": row["looks_like"] or "",
                }
            )
            for row in found.iter_rows(named=True)
        ]
    return rows


def _shown(row: dict[str, str | float | None]) -> dict[str, str | float]:
    return {name: "not due" if value is None else value for name, value in row.items()}
