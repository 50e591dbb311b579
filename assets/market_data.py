"""Market data: one set of assets per data set, made from its file.

    source -> raw_bars -> bars -> resampled_bars -> features
                           |-> quarantine, digests, sla_record

`raw_bars` asks the source and keeps what came, as it came; `bars` holds every row against the
rules and every session against its SLA; the checks on `bars` read the verdicts, and stop what
comes after when the newest session failed for too many instruments. What `bars` writes beside
itself (quarantine, digests, sla_record), and the receipts of `raw_bars`, are by-products: assets
to look at, reported in the run that wrote them.
"""

from collections.abc import Iterator
from datetime import date, timedelta

import dagster as dg
import polars as pl

from assets import inputs
from assets.partitions import Span, as_of, market_partitions, partition_of, span
from engine.bars import resample
from engine.causal import Bars, evaluate
from engine.indicators import indicator
from quality import bars as contract
from quality import sla
from quality.datasets import Dataset
from resources.clock import now
from resources.intake import asked_until, raw_rows, receive
from resources.lake import Between, Condition, Lake
from resources.market import bar_frames, calendar_of, due_bars, raw_bars, sessions_until
from resources.project import Project
from resources.sources.registry import Sources

KINDS = {"polars", "deltalake"}
BY_PRODUCTS = {
    "receipts": ("raw_bars", "Deliveries of the source: what was asked for, what came, when."),
    "quarantine": ("bars", "Rows that broke a rule, as received, with every rule they broke."),
    "digests": ("bars", "A content hash of the accepted bars of each instrument's session."),
    "sla_record": ("bars", "The verdict of every SLA rule on every instrument's session."),
}


def market_data(
    project: Project, dataset: Dataset
) -> list[dg.AssetsDefinition | dg.AssetSpec | dg.AssetChecksDefinition]:
    """The assets and checks of one data set."""
    name = dataset.name
    policy = project.sla[dataset.sla]
    by_day_or_month = market_partitions(dataset)
    one_run = dg.BackfillPolicy.single_run()

    def wanted(context: dg.AssetExecutionContext, sources: Sources) -> Span:
        sessions = sessions_until(dataset, calendar_of(project, dataset), sources.open(dataset), at=now())
        return span(dataset, context.partition_keys, as_of=as_of(context.run.tags, sessions[-1]))

    @dg.asset(
        key=[name, "raw_bars"],
        description=f"Rows as {dataset.source.kind} delivered them, never changed.",
        pool=f"source_{name}",
        partitions_def=by_day_or_month,
        backfill_policy=one_run,
        group_name=name,
        kinds=KINDS,
    )
    def received(context: dg.AssetExecutionContext, lake: Lake, sources: Sources) -> dg.MaterializeResult:
        days = wanted(context, sources)
        first = next_to_ask(project, dataset, lake, days)
        got = receive(lake, dataset, sources.open(dataset), first=first, last=days.last, at=now())
        report(context, dataset, "receipts", {"new": got.receipts.height, "asked from": str(first)})
        return dg.MaterializeResult(metadata={"rows": got.rows, "new_rows": got.new_rows})

    @dg.asset(
        key=[name, "bars"],
        deps=[[name, "raw_bars"]],
        description="Accepted bars: of all receipts, the newest row that kept every rule.",
        partitions_def=by_day_or_month,
        backfill_policy=one_run,
        group_name=name,
        kinds=KINDS,
    )
    def judged(context: dg.AssetExecutionContext, lake: Lake, sources: Sources) -> dg.MaterializeResult:
        days = wanted(context, sources)
        return judge_sessions(context, project, dataset, lake, days)

    @dg.multi_asset_check(
        specs=[
            dg.AssetCheckSpec(rule, asset=[name, "bars"], blocking=True, description=limit.why)
            for rule, limit in policy.limits.items()
        ],
        name=f"{name}_sla",
    )
    def sla_checks(context: dg.AssetCheckExecutionContext, lake: Lake) -> Iterator[dg.AssetCheckResult]:
        record = lake.read("sla_record", dataset=name)
        newest = as_of(context.run.tags, record["session"].max())  # type: ignore[arg-type]
        record = record.filter(pl.col("session") <= newest)
        stopped = sla.block(record, block_share=policy.block_share)
        for rule in policy.limits:
            yield verdict(dataset, rule, record, stopped)

    assets: list[dg.AssetsDefinition | dg.AssetSpec | dg.AssetChecksDefinition] = [received, judged, sla_checks]

    if dataset.resample:

        @dg.asset(
            key=[name, "resampled_bars"],
            deps=[[name, "bars"]],
            description=f"Bars of {', '.join(dataset.resample)}, folded from those of {dataset.timeframe}.",
            partitions_def=by_day_or_month,
            backfill_policy=one_run,
            group_name=name,
            kinds=KINDS,
        )
        def resampled(context: dg.AssetExecutionContext, lake: Lake, sources: Sources) -> dg.MaterializeResult:
            days = wanted(context, sources)
            folded = resample_sessions(project, dataset, lake, days)
            lake.replace("resampled_bars", folded, dataset=name, session=Between(days.first, days.end))
            counts = dict(folded.group_by("timeframe").len().sort("timeframe").rows())
            return dg.MaterializeResult(metadata={"rows": folded.height, **counts})

        assets.append(resampled)

    @dg.asset(
        key=[name, "corporate_actions"],
        description="Splits and dividends by ex-date, as the source states them.",
        group_name=name,
        kinds=KINDS,
    )
    def corporate_actions(context: dg.AssetExecutionContext, lake: Lake, sources: Sources) -> dg.MaterializeResult:
        stated = sources.open(dataset).corporate_actions([instrument.id for instrument in dataset.instruments])
        lake.replace("corporate_actions", stated.select(pl.lit(name).alias("dataset"), pl.all()), dataset=name)
        inputs.record(lake, f"actions:{name}", inputs.actions(dataset), run_id=context.run.run_id)
        return dg.MaterializeResult(metadata={"rows": stated.height})

    @dg.asset(
        key=[name, "features"],
        deps=[[name, "resampled_bars" if dataset.resample else "bars"], [name, "corporate_actions"]],
        description=f"Named causal columns: {', '.join(dataset.features) or 'none'}.",
        partitions_def=by_day_or_month,
        backfill_policy=one_run,
        group_name=name,
        kinds=KINDS,
    )
    def features(context: dg.AssetExecutionContext, lake: Lake, sources: Sources) -> dg.MaterializeResult:
        days = wanted(context, sources)
        return compute_features(context, project, dataset, lake, first=days.first)

    by_products = [
        dg.AssetSpec([name, table], deps=[[name, parent]], description=about, group_name=name, kinds=KINDS)
        for table, (parent, about) in BY_PRODUCTS.items()
    ]
    return [*assets, corporate_actions, features, *by_products]


def next_to_ask(project: Project, dataset: Dataset, lake: Lake, days: Span) -> date:
    """The first day of `days` that was not asked for yet; their first when all were, and are asked for again."""
    sessions = calendar_of(project, dataset).sessions(*days)
    receipts = lake.read("receipts", dataset=dataset.name)
    asked = asked_until(receipts, [instrument.id for instrument in dataset.instruments], sessions)
    return days.first if asked in (None, sessions[-1]) else asked + timedelta(days=1)


def judge_sessions(
    context: dg.AssetExecutionContext, project: Project, dataset: Dataset, lake: Lake, days: Span
) -> dg.MaterializeResult:
    """Read, judge, write, say: the bars of `days` and what is written beside them."""
    name, calendar = dataset.name, calendar_of(project, dataset)
    policy = project.sla[dataset.sla]
    sessions = calendar.sessions(*days)
    current = inputs.bars(project, dataset, lake.read("receipts", dataset=name), sessions)
    accepted, quarantined, digests, counted = [], [], [], []
    for instrument in dataset.instruments:
        due = due_bars(dataset, calendar, instrument, first=days.first, last=days.last)
        raw = raw_rows(lake, dataset, instrument.id, first=days.first, end=days.end)
        if dataset.volume == "none":  # a column of zeros where the source knows no volume says nothing
            raw = raw.with_columns(volume=pl.lit(None, pl.Float64))
        result = contract.judge(raw, due, timeframe=dataset.timeframe, on_conflict=dataset.on_conflict)
        own = pl.lit(instrument.id).alias("instrument")
        accepted.append(result.accepted.with_columns(own))
        quarantined.append(result.quarantined.with_columns(own))
        digests.append(contract.digests(result.accepted).with_columns(own))
        counted.append(sla.count_sessions(sessions, due, result).with_columns(own))

    window: dict[str, Condition] = {"dataset": name, "session": Between(days.first, days.end)}
    labelled = {
        "bars": pl.concat(accepted),
        "quarantine": pl.concat(quarantined).filter(pl.col("session").is_between(*days)),
        "digests": pl.concat(digests),
        "sla_record": sla.verdicts(pl.concat(counted), policy.limits),
    }
    for table, rows in labelled.items():
        lake.replace(table, rows.with_columns(dataset=pl.lit(name)), **window)
        if table != "bars":
            report(context, dataset, table, {"rows": rows.height})
    inputs.record(lake, f"bars:{name}", current, run_id=context.run.run_id)
    return dg.MaterializeResult(
        metadata={
            "rows": labelled["bars"].height,
            "quarantined": labelled["quarantine"].height,
            "sessions": len(sessions),
        }
    )


def resample_sessions(project: Project, dataset: Dataset, lake: Lake, days: Span) -> pl.DataFrame:
    """The longer bars of `days`, as `resampled_bars` holds them."""
    calendar = calendar_of(project, dataset)
    min_share = project.sla[dataset.sla].resample.min_share
    folded = []
    for instrument in dataset.instruments:
        due = due_bars(dataset, calendar, instrument, first=days.first, last=days.last)
        bars = lake.read(
            "bars", dataset=dataset.name, instrument=instrument.id, session=Between(days.first, days.end)
        ).sort("ts")
        folded += [
            resample(bars, due, timeframe=timeframe, min_share=min_share).select(
                pl.lit(dataset.name).alias("dataset"),
                pl.lit(instrument.id).alias("instrument"),
                pl.lit(timeframe).alias("timeframe"),
                pl.all(),
            )
            for timeframe in dataset.resample
        ]
    return pl.concat(folded)


def compute_features(
    context: dg.AssetExecutionContext, project: Project, dataset: Dataset, lake: Lake, *, first: date
) -> dg.MaterializeResult:
    """Every feature over each instrument's whole series, written from the session `first` on."""
    name, calendar = dataset.name, calendar_of(project, dataset)
    of = inputs.held(lake, dataset)
    last: date = of.digests["session"].max()  # type: ignore[assignment]
    sessions = calendar.sessions(dataset.start, last)
    current = inputs.features(project, dataset, of, sessions)
    rows = []
    for instrument in dataset.instruments:
        bars = {
            timeframe: raw_bars(lake, dataset, calendar, instrument=instrument.id, timeframe=timeframe, last=last)
            for timeframe in dataset.timeframes
        }
        frames = bar_frames(bars, of.actions.filter(pl.col("instrument") == instrument.id))
        columns = {
            label: indicator(feature.indicator, _bars(dataset, feature.timeframe), **feature.parameters)
            for label, feature in dataset.features.items()
        }
        values = evaluate(columns, frames, dataset.timeframe).drop("known_at")
        rows.append(
            bars[dataset.timeframe]
            .select(pl.lit(name).alias("dataset"), pl.lit(instrument.id).alias("instrument"), "session", "ts")
            .join(values, on="ts", how="left", maintain_order="left")
            .filter(pl.col("session") >= first)
        )
    written = pl.concat(rows)
    lake.replace("features", written, dataset=name, session=Between(first, date.max))
    rewritten = {key: value for key, value in current.items() if key >= partition_of(dataset, first)}
    inputs.record(lake, f"features:{name}", rewritten, run_id=context.run.run_id)
    return dg.MaterializeResult(metadata={"rows": written.height, "written from": str(first), "to": str(last)})


def verdict(dataset: Dataset, rule: str, record: pl.DataFrame, stopped: sla.Block) -> dg.AssetCheckResult:
    """A rule's check: passed when every instrument kept it in the newest session; the table says who did not, ever."""
    of_rule = record.filter(pl.col("rule") == rule)
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


def report(context: dg.AssetExecutionContext, dataset: Dataset, table: str, metadata: dict[str, int | str]) -> None:
    """Say in the run that a by-product was written."""
    context.log_event(dg.AssetMaterialization(dg.AssetKey([dataset.name, table]), metadata=metadata))


def _shown(row: dict[str, str | float | None]) -> dict[str, str | float]:
    return {name: "not due" if value is None else value for name, value in row.items()}


def _bars(dataset: Dataset, timeframe: str | None) -> Bars:
    base = Bars(dataset.timeframe)
    return base if timeframe in (None, dataset.timeframe) else base.on(timeframe)
