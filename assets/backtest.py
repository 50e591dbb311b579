"""Research on the full span: certificate, trials and backtest, one partition per strategy version."""

import json
from collections.abc import Sequence
from datetime import date
from typing import TYPE_CHECKING

import dagster as dg
import polars as pl

from assets import certificates as certificates_of
from assets import computed, inputs, inputs_current, records, research
from assets.computed import computed_apart
from assets.partitions import STRATEGIES
from quality import tables
from quality.datasets import Dataset
from quality.documents import nearest
from resources.clock import now
from resources.errors import UnknownStrategyError
from resources.lake import Lake
from resources.project import Project, StrategyDefinition

if TYPE_CHECKING:
    from engine.selection import Trial


def backtests(project: Project) -> list[dg.AssetsDefinition]:
    @dg.asset(
        partitions_def=STRATEGIES,
        deps=market_deps(project),
        group_name="research",
        kinds={"polars", "deltalake"},
        check_specs=certificates_of.check_specs(),
        description="The proof that a strategy version does not look ahead: each law, and what it was proved on.",
    )
    def certificates(context: dg.AssetExecutionContext, lake: Lake) -> dg.MaterializeResult:
        definition = definition_of(project, context.partition_key)
        last = inputs.newest_session(lake, dataset_of(project, definition), context.run.tags)
        kept = certificates_of.kept_for(lake, project, definition)
        proved = kept or computed_apart(computed.certificate, lake, project, definition, last=last)
        if not kept:
            lake.replace("certificates", certificates_of.rows_of(proved), strategy=context.partition_key)
        return dg.MaterializeResult(
            check_results=certificates_of.check_results(proved),
            metadata={
                "certified": proved.certified,
                "bars_checked": proved.bars_checked,
                "cached": kept is not None,
                **{law.law: law.detail for law in proved.laws},
            },
        )

    @dg.asset(
        partitions_def=STRATEGIES,
        deps=[*market_deps(project), "certificates"],
        group_name="research",
        kinds={"numba", "deltalake"},
        check_specs=[inputs_current.spec(["backtest"]), records.attribution_spec(["backtest"])],
        description="A strategy version over the full span with its file's parameters, and every trial of its grid.",
    )
    def backtest(context: dg.AssetExecutionContext, lake: Lake) -> dg.MaterializeResult:
        key, definition = context.partition_key, definition_of(project, context.partition_key)
        last = inputs.newest_session(lake, dataset_of(project, definition), context.run.tags)
        of = inputs.held(lake, dataset_of(project, definition))
        current = inputs.research(project, definition, lake, last=last, of=of)

        sets = research.parameter_sets(definition)
        result = computed_apart(computed.backtest, lake, project, definition, last=last, sets=sets)
        n_new = count_trials(lake, definition, result.trials, last=last)
        records.write(lake, key, research.BACKTEST, result.written)
        read = inputs.read_until(of.receipts, last)
        inputs.record(lake, "backtest", {key: current}, run_id=context.run.run_id, read=read)
        return dg.MaterializeResult(
            check_results=[
                inputs_current.research_check(lake, project, "backtest"),
                records.attribution_check(["backtest"], result.explained),
            ],
            metadata={
                "from": str(result.first),
                "to": str(last),
                "n_trades": result.written["trades"].height,
                "net_return": float(result.returns["equity"][-1] / result.cash - 1),
                "new_trials": n_new,
                **result.columns,
                "warnings": list(result.warnings),
                "report": records.report_table(result.written),
                "candidates": records.candidates_table(result.written),
                "equity": records.sparkline(result.returns["equity"].to_list()),
            },
        )

    return [certificates, backtest]


def market_deps(project: Project) -> list[dg.AssetDep]:
    """What research reads of every data set, all days of it."""
    return [
        dg.AssetDep([name, table], partition_mapping=dg.AllPartitionMapping())
        for name, dataset in project.datasets.items()
        for table in ("bars", "resampled_bars", "features")
        if table != "resampled_bars" or dataset.resample
    ]


def definition_of(project: Project, key: str) -> StrategyDefinition:
    """The strategy version that a partition names."""
    if key not in project.strategies:
        raise UnknownStrategyError(key, project.strategies, nearest(key, project.strategies))
    return project.strategies[key]


def dataset_of(project: Project, definition: StrategyDefinition) -> Dataset:
    return project.datasets[definition.configuration.dataset]


def count_trials(lake: Lake, definition: StrategyDefinition, looked_at: "Sequence[Trial]", *, last: date) -> int:
    """Keep what was looked at: those never counted before are counted, and the ratios of all are those of this backtest.

    A trial is a family, a code and a parameter set.
    """
    family, code = research.family_of(lake, definition), definition.code_hash
    known = lake.read("trials", family=family, code=code)["parameters"].to_list()
    at = now()
    common = {"family": family, "code": code}
    new = [
        {
            **common,
            "parameters": trial.identity,
            "params": json.dumps(trial.params),
            "strategy": definition.configuration.key,
            "first_seen": at,
        }
        for trial in looked_at
        if trial.identity not in known
    ]
    ratios = [
        {**common, "parameters": trial.identity, "sharpe": trial.sharpe, "last_session": last} for trial in looked_at
    ]
    lake.append("trials", tables.frame("trials", new))
    measured = tables.frame("trial_ratios", ratios).with_columns(pl.col("sharpe").fill_nan(None))
    lake.replace("trial_ratios", measured, **common, parameters=[trial.identity for trial in looked_at])
    return len(new)
