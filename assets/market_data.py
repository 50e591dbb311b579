"""Market data: one set of assets per data set, made from its file.

    source -> raw_bars -> bars -> resampled_bars -> features
                           |-> quarantine, gaps, digests, sla_record, restatements

`raw_bars` asks the source and keeps what came, as it came; `bars` holds every row against the
rules and every session against its SLA; the checks on `bars` read the verdicts, and stop what
comes after when the newest session failed for too many instruments. What `bars` writes beside
itself, and the receipts of `raw_bars`, are by-products: assets to look at, reported in the run
that wrote them.

All work goes instrument by instrument, in batches that fit into memory; a batch of bars is one
transaction, written while the next one is computed. What is small waits for all of them.
"""

from collections import Counter
from collections.abc import Sequence
from datetime import date, timedelta
from typing import NamedTuple, TypedDict

import dagster as dg
import polars as pl

from assets import inputs, inputs_current
from assets.batches import batches
from assets.corporate_actions import corporate_actions
from assets.features import compute_features
from assets.imported_files import imported_files
from assets.partitions import Span, as_of, market_partitions, span
from assets.sla_checks import sla_checks
from assets.universe import universe
from engine.bars import resample
from quality import bars as contract
from quality import gaps, sla
from quality.datasets import Dataset, Instrument
from quality.policies import ServiceLevel
from resources.behind import Behind
from resources.clock import now
from resources.errors import NoSessionError
from resources.intake import Again, asked_until, overlap, receive
from resources.lake import Between, Condition, Lake
from resources.market import (
    by_instrument,
    calendar_of,
    listed,
    newest_before,
    raw_rows,
    sessions_until,
)
from resources.project import Project
from resources.retractions import standing_receipts
from resources.sources.registry import Sources

LOOKED_BACK_DAYS = 31  # for the bar before a session
KINDS = {"polars", "deltalake"}
COUNTED = "counted"  # sessions, before they are held against the limits
DELIVERED = "delivered"
BESIDE_BARS = {
    "quarantine": "Rows that broke a rule, as received, with every rule they broke.",
    "gaps": "Runs of due bars that are missing: refused, an outage, nothing traded, or nobody knows.",
    "digests": "A content hash of the accepted bars of each instrument's session.",
    "sla_record": "The verdict of every SLA rule on every instrument's session.",
    "restatements": "Bars that the source changed, took back or sent twice: what was said before, and what is now.",
}
BY_PRODUCTS = {
    "receipts": ("raw_bars", "Deliveries of the source: what was asked for, what came, when."),
    "raw_actions": ("corporate_actions", "What sources state of corporate actions, as received."),
    **{table: ("bars", about) for table, about in BESIDE_BARS.items()},
}


def market_data(
    project: Project, dataset: Dataset
) -> list[dg.AssetsDefinition | dg.AssetSpec | dg.AssetChecksDefinition]:
    """The assets and checks of one data set."""
    taken_in = _imported(project, dataset) if dataset.takes_files else [_received(project, dataset)]
    folded = [_resampled(project, dataset)] if dataset.resample else []
    by_products = [
        dg.AssetSpec([dataset.name, table], deps=[[dataset.name, parent]], description=about, **_common(dataset))
        for table, (parent, about) in BY_PRODUCTS.items()
    ]
    return [
        *taken_in,
        corporate_actions(project, dataset),
        _judged(project, dataset),
        sla_checks(project, dataset),
        *folded,
        _features(project, dataset),
        *([universe(project, dataset)] if dataset.universes else []),
        *by_products,
    ]


class Asking(NamedTuple):
    """What a source is to be asked for, by instrument."""

    firsts: dict[str, date]  # all sessions from this day on
    again: dict[str, list[Again]]  # and these, one by one, that it was asked for before


class _Common(TypedDict):
    group_name: str
    kinds: set[str]


class _Partitioned(_Common):
    partitions_def: dg.PartitionsDefinition
    backfill_policy: dg.BackfillPolicy


def _common(dataset: Dataset) -> _Common:
    return {"group_name": dataset.name, "kinds": KINDS}


def _partitioned(dataset: Dataset) -> _Partitioned:
    one_run = dg.BackfillPolicy.single_run()
    return {**_common(dataset), "partitions_def": market_partitions(dataset), "backfill_policy": one_run}


def _imported(project: Project, dataset: Dataset) -> list[dg.AssetsDefinition | dg.AssetSpec]:
    """The files of an inbox, and the raw bars that are reported when they are taken in."""
    taken_from = [dataset.name, "imported_files"]
    about = "Rows of the files that were taken in, never changed."
    raw = dg.AssetSpec([dataset.name, "raw_bars"], deps=[taken_from], description=about, **_common(dataset))
    return [imported_files(project, dataset), raw]


def _received(project: Project, dataset: Dataset) -> dg.AssetsDefinition:
    key = [dataset.name, "raw_bars"]

    @dg.asset(
        key=key,
        description=f"Rows as {dataset.source.kind} delivered them, never changed.",
        pool=f"source_{dataset.name}",
        check_specs=[
            dg.AssetCheckSpec(DELIVERED, asset=key, description="Every instrument that was asked for was delivered.")
        ],
        **_partitioned(dataset),
    )
    def raw_bars_asset(context: dg.AssetExecutionContext, lake: Lake, sources: Sources) -> dg.MaterializeResult:
        days, source = wanted_days(context, project, dataset, lake, sources), sources.open(dataset)
        firsts, again = to_ask(project, dataset, lake, days)
        got = receive(lake, dataset, source, firsts=firsts, last=days.last, at=now(), again=again)
        report(
            context,
            dataset,
            "receipts",
            {"new": got.receipts.height, "asked from": str(min(firsts.values(), default=None))},
        )
        for instrument, reason in got.failed.items():
            context.log.warning("%s was not delivered: %s", instrument, reason)
        return dg.MaterializeResult(
            metadata={"rows": got.rows, "new_rows": got.new_rows},
            check_results=[
                dg.AssetCheckResult(
                    check_name=DELIVERED,
                    passed=not got.failed,
                    severity=dg.AssetCheckSeverity.WARN,
                    metadata=dict(got.failed),
                )
            ],
        )

    return raw_bars_asset


def _judged(project: Project, dataset: Dataset) -> dg.AssetsDefinition:
    @dg.asset(
        key=[dataset.name, "bars"],
        deps=[[dataset.name, "raw_bars"], [dataset.name, "corporate_actions"]],
        description="Accepted bars: of all receipts, the newest row that kept every rule.",
        freshness_policy=freshness(project, dataset),
        **_partitioned(dataset),
    )
    def bars(context: dg.AssetExecutionContext, lake: Lake, sources: Sources) -> dg.MaterializeResult:
        days = wanted_days(context, project, dataset, lake, sources)
        return judge_sessions(context, project, dataset, lake, days)

    return bars


def freshness(project: Project, dataset: Dataset) -> dg.FreshnessPolicy | None:
    """How old its bars may become; a source that has ended, and files that somebody drops, are never late."""
    allowed = project.sla[dataset.sla].freshness
    if allowed is None or dataset.end is not None or dataset.takes_files:
        return None
    return dg.FreshnessPolicy.time_window(
        fail_window=timedelta(hours=allowed.fail_after_hours), warn_window=timedelta(hours=allowed.warn_after_hours)
    )


def _resampled(project: Project, dataset: Dataset) -> dg.AssetsDefinition:
    @dg.asset(
        key=[dataset.name, "resampled_bars"],
        deps=[[dataset.name, "bars"]],
        description=f"Bars of {', '.join(dataset.resample)}, folded from those of {dataset.timeframe}.",
        **_partitioned(dataset),
    )
    def resampled_bars(context: dg.AssetExecutionContext, lake: Lake, sources: Sources) -> dg.MaterializeResult:
        n_rows = resample_sessions(project, dataset, lake, wanted_days(context, project, dataset, lake, sources))
        return dg.MaterializeResult(metadata={"rows": sum(n_rows.values()), **n_rows})

    return resampled_bars


def _features(project: Project, dataset: Dataset) -> dg.AssetsDefinition:
    key = [dataset.name, "features"]

    @dg.asset(
        key=key,
        deps=[[dataset.name, "resampled_bars" if dataset.resample else "bars"], [dataset.name, "corporate_actions"]],
        description=f"Named causal columns: {', '.join(dataset.features) or 'none'}.",
        check_specs=[inputs_current.spec(key)],
        **_partitioned(dataset),
    )
    def features(context: dg.AssetExecutionContext, lake: Lake, sources: Sources) -> dg.MaterializeResult:
        days = wanted_days(context, project, dataset, lake, sources)
        return compute_features(context, project, dataset, lake, days)

    return features


def wanted_days(
    context: dg.AssetExecutionContext, project: Project, dataset: Dataset, lake: Lake, sources: Sources
) -> Span:
    """The days of a run's partitions, not after what is there by now or what the run was told to stop at.

    Raises NoSessionError for a data set that has no session yet.
    """
    receipts = standing_receipts(lake, dataset.name)
    sessions = sessions_until(dataset, calendar_of(project, dataset), sources.open(dataset), receipts, at=now())
    if not sessions:
        raise NoSessionError(None, dataset.start)
    return span(dataset, context.partition_keys, as_of=as_of(context.run.tags, sessions[-1]))


def to_ask(project: Project, dataset: Dataset, lake: Lake, days: Span) -> Asking:
    """What was not asked for yet, and the overlap before it; when all of `days` was, all of them once more.

    What somebody imported by hand says nothing of whether the source was asked.
    """
    calendar = calendar_of(project, dataset)
    sessions = calendar.sessions(*days)
    if not sessions:
        return Asking({}, {})
    receipts = standing_receipts(lake, dataset.name, source=dataset.source.kind)
    reached = asked_until(receipts, [instrument.id for instrument in dataset.instruments], sessions)
    missing = {
        instrument: days.first if until is None else until + timedelta(days=1)
        for instrument, until in reached.items()
        if until != sessions[-1]
    }
    if not missing:
        return Asking(dict.fromkeys(reached, days.first), {})
    again = overlap(
        calendar,
        receipts,
        missing,
        start=dataset.start,
        n_sessions=dataset.overlap_sessions,
    )
    return Asking(missing, again)


def judge_sessions(
    context: dg.AssetExecutionContext, project: Project, dataset: Dataset, lake: Lake, days: Span
) -> dg.MaterializeResult:
    """Read, judge, write, say: the bars of `days` and what is written beside them."""
    name, calendar = dataset.name, calendar_of(project, dataset)
    if not calendar.sessions(*days):
        return dg.MaterializeResult(metadata={"rows": 0, "quarantined": 0, "sessions": 0})
    receipts, actions = standing_receipts(lake, name), lake.read("corporate_actions", dataset=name)
    current = inputs.bars(project, dataset, receipts, actions, calendar.sessions(*days))
    wider = with_next(lake, dataset, days)
    due, closes = calendar.due(*wider, dataset.timeframe), calendar.closes(*wider)
    written: Counter[str] = Counter()
    beside: dict[str, list[pl.DataFrame]] = {table: [] for table in BESIDE_BARS}
    with Behind(lake) as behind:
        for batch in batches(dataset, due.height):
            ids = [instrument.id for instrument in batch]
            said, paid = by_instrument(receipts, ids), by_instrument(actions, ids)
            raw = raw_rows(lake, dataset, closes, ids, receipts, first=wider.first, last=wider.last)
            before = newest_before(lake, dataset, ids, wider.first)
            judged = [
                judge_instrument(
                    project.sla[dataset.sla],
                    dataset,
                    instrument,
                    wider,
                    raw=raw[instrument.id],
                    receipts=said[instrument.id],
                    due=listed(due, instrument),
                    closes=closes,
                    before=before[instrument.id],
                    actions=paid[instrument.id],
                    sessions=calendar.sessions(*wider),
                )
                for instrument in batch
            ]
            verdicts = sla.verdicts(pl.concat(one[COUNTED] for one in judged), project.sla[dataset.sla].limits)
            bars = pl.concat(one["bars"] for one in judged).with_columns(dataset=pl.lit(name))
            written["bars"] += bars.height
            behind.replace("bars", bars, dataset=name, instrument=ids, session=wider.between)
            for table, parts in beside.items():
                parts.extend([verdicts] if table == "sla_record" else (one[table] for one in judged))
        beside["gaps"] = [gaps.with_outages(pl.concat(beside["gaps"]), due, dataset.instruments)]
        for table, parts in beside.items():
            by_day = pl.concat(parts).sort("session")  # so that a day lies in few files
            rows = by_day.with_columns(dataset=pl.lit(name))
            written[table] += rows.height
            behind.replace(table, rows, dataset=name, session=wider.between)
    for table in BESIDE_BARS:
        report(context, dataset, table, {"rows": written[table]})
    inputs.record(lake, f"bars:{name}", current, run_id=context.run.run_id)
    inputs_current.tell(
        context.instance,
        [inputs_current.features_check(lake, project, dataset), *inputs_current.research_checks(lake, project)],
    )
    return dg.MaterializeResult(
        metadata={
            "rows": written["bars"],
            "quarantined": written["quarantine"],
            "sessions": len(due["session"].unique()),
        }
    )


def with_next(lake: Lake, dataset: Dataset, days: Span) -> Span:
    """`days` and on to each instrument's next session: its first bar is compared with the last one of `days`."""
    near = Between(days.last + timedelta(days=1), days.last + timedelta(days=LOOKED_BACK_DAYS + 1))
    following = (
        lake.read("digests", dataset=dataset.name, instrument=dataset.ids, session=near)
        .group_by("instrument")
        .agg(pl.col("session").min())
    )
    furthest: date | None = following["session"].max()  # type: ignore[assignment]
    return days if furthest is None else Span(days.first, furthest)


def judge_instrument(
    policy: ServiceLevel,
    dataset: Dataset,
    instrument: Instrument,
    days: Span,
    *,
    raw: pl.DataFrame,
    receipts: pl.DataFrame,
    due: pl.DataFrame,
    closes: pl.DataFrame,
    before: pl.DataFrame,
    actions: pl.DataFrame,
    sessions: Sequence[date],
) -> dict[str, pl.DataFrame]:
    """One instrument's rows of `bars` and of every table written beside it; sessions counted in place of verdicts."""
    if dataset.volume == "none":  # a column of zeros where the source knows no volume says nothing
        raw = raw.with_columns(volume=pl.lit(None, pl.Float64))
    judged = contract.judge(
        raw,
        receipts,
        due,
        closes,
        first=days.first,
        last=days.last,
        timeframe=dataset.timeframe,
        on_conflict=dataset.on_conflict,
        max_range_ratio=policy.max_range_ratio,
    )
    filled = contract.filled_bars(judged.accepted, due, before) if policy.no_trade_bars == "filled" else None
    counted = sla.count_sessions(
        sessions,
        due,
        judged,
        before=before,
        actions=actions,
        filled=filled,
        volume=dataset.volume,
        outside_hours=policy.outside_hours,
    )
    own = pl.lit(instrument.id).alias("instrument")
    newest = judged.accepted.group_by("session").agg(pl.col("sequence").max())
    return {
        "bars": with_filled(judged.accepted, filled).with_columns(own),
        "quarantine": judged.quarantined.with_columns(own),
        "gaps": gaps.of_instrument(due, judged.accepted, judged.quarantined, filled).with_columns(own),
        "restatements": judged.restatements.with_columns(own),
        "digests": contract.digests(judged.accepted).join(newest, on="session").with_columns(own),
        COUNTED: counted.with_columns(own),
    }


def with_filled(accepted: pl.DataFrame, filled: pl.DataFrame | None) -> pl.DataFrame:
    bars = accepted.with_columns(filled=pl.lit(value=False))
    return bars if filled is None else pl.concat([bars, filled.with_columns(filled=pl.lit(value=True))]).sort("ts")


def resample_sessions(project: Project, dataset: Dataset, lake: Lake, days: Span) -> dict[str, int]:
    """Fold the bars of `days` and write them; rows by timeframe."""
    name, calendar = dataset.name, calendar_of(project, dataset)
    min_share = project.sla[dataset.sla].resample.min_share
    due = calendar.due(*days, dataset.timeframe)
    n_rows: Counter[str] = Counter()
    with Behind(lake) as behind:
        for batch in batches(dataset, due.height):
            ids = [instrument.id for instrument in batch]
            window: dict[str, Condition] = {"dataset": name, "instrument": ids, "session": days.between}
            bars = by_instrument(lake.read("bars", **window), ids)
            folded = pl.concat(
                resample(
                    bars[instrument.id].sort("ts"), listed(due, instrument), timeframe=timeframe, min_share=min_share
                ).select(
                    pl.lit(name).alias("dataset"),
                    pl.lit(instrument.id).alias("instrument"),
                    pl.lit(timeframe).alias("timeframe"),
                    pl.all(),
                )
                for instrument in batch
                for timeframe in sorted(dataset.resample)
            )
            by_day = folded.sort("instrument", "session", maintain_order=True)  # so that a day lies in one file
            behind.replace("resampled_bars", by_day, **window)
            n_rows.update(dict(folded.group_by("timeframe").len().rows()))
    return {timeframe: n_rows[timeframe] for timeframe in dataset.resample}


def report(context: dg.AssetExecutionContext, dataset: Dataset, table: str, metadata: dict[str, int | str]) -> None:
    """Say in the run that a by-product was written."""
    context.log_event(dg.AssetMaterialization(dg.AssetKey([dataset.name, table]), metadata=metadata))
