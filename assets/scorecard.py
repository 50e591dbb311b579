"""The scorecard: every metric of a strategy version, each with its definition and the table it came from."""

from datetime import date

import dagster as dg
import numpy as np
import polars as pl

from assets import inputs, inputs_current, research
from assets.backtest import definition_of
from assets.partitions import STRATEGIES
from quality import tables
from quality.evidence import METRICS, Measurement, measured
from resources.errors import NotMeasuredError
from resources.lake import Lake
from resources.project import Project, StrategyDefinition


def scorecards(project: Project) -> list[dg.AssetsDefinition]:
    @dg.asset(
        partitions_def=STRATEGIES,
        deps=[
            "backtest",
            "certificates",
            dg.AssetDep("walk_forward", partition_mapping=dg.MultiToSingleDimensionPartitionMapping("strategy")),
        ],
        group_name="research",
        kinds={"deltalake"},
        check_specs=[inputs_current.spec(["scorecard"])],
        description="Every metric of a strategy version, by the names a policy may use.",
    )
    def scorecard(context: dg.AssetExecutionContext, lake: Lake) -> dg.MaterializeResult:
        key, definition = context.partition_key, definition_of(project, context.partition_key)
        last = measured_until(lake, key)
        current = research.scorecard_inputs(project, definition, lake, last=last)
        metrics = measure_from(lake, project, definition, last=last)
        lake.replace("scorecards", scorecard_rows(key, metrics), strategy=key)
        read = inputs.read_by(lake, "backtest", key)
        inputs.record(lake, "scorecard", {key: current}, run_id=context.run.run_id, read=read)
        return dg.MaterializeResult(
            metadata={
                **{name: _shown(one) for name, one in metrics.items()},
                "by_regime": regime_table(lake.read("trades", strategy=key, scope=research.BACKTEST)),
            },
            check_results=[inputs_current.research_check(lake, project, "scorecard")],
        )

    return [scorecard]


def measured_until(lake: Lake, key: str) -> date:
    """The last session of a strategy's backtest."""
    last: date | None = lake.read("equity", strategy=key, scope=research.BACKTEST)["session"].max()  # type: ignore[assignment]
    if last is None:
        raise NotMeasuredError(key)
    return last


def measure_from(lake: Lake, project: Project, definition: StrategyDefinition, *, last: date) -> dict[str, Measurement]:
    """Read what the backtest and the windows complete on `last` left in the lake, and measure it."""
    key = definition.configuration.key
    names = [window.name for window in research.complete_windows(project, definition, last=last)]
    curve = lake.read("equity", strategy=key).sort("session")
    certified = lake.read("certificates", strategy=key)
    ratios = lake.read("trial_ratios", family=research.family_of(lake, definition))
    return research.measure(
        lake,
        project,
        definition,
        last=last,
        returns=curve.filter(pl.col("scope") == research.BACKTEST)["return"].to_numpy(),
        trades=lake.read("trades", strategy=key, scope=research.BACKTEST),
        windows=lake.read("windows", strategy=key, window=names).sort("window"),
        oos_returns=curve.filter(pl.col("scope").is_in(names))["return"].to_numpy(),
        trial_sharpes=ratios.sort("code", "parameters")["sharpe"].fill_null(np.nan).to_list(),
        bears=_borne(lake.read("backtest_report", strategy=key, scope=research.BACKTEST)),
        certified=not certified.is_empty() and bool(certified["passed"].all()),
    )


def regime_table(trades: pl.DataFrame) -> dg.MarkdownMetadataValue:
    """The results of a backtest's trades by the regime at their entry."""
    from engine.scorecard import by_regime

    lines = [
        "| regime | trades | win rate | PnL | profit factor |",
        "|---|---|---|---|---|",
        *(
            f"| {row['regime'] or 'not known'} | {row['trades']} | {row['win_rate']:.1%} | {row['pnl']:,.2f} | "
            f"{row['profit_factor']:.3g} |"
            for row in by_regime(trades).iter_rows(named=True)
        ),
    ]
    return dg.MetadataValue.md("\n".join(lines))


def _borne(report: pl.DataFrame) -> dict[str, tuple[float | None, str | None]]:
    """What the judged path's row of a report says of costs and size, each with the reason where it says nothing."""
    columns = {"break_even_cost_multiple": "break_even_reason", "capacity": "capacity_reason"}
    judged = report.filter(pl.col("path") == research.JUDGED_PATH).rows(named=True)
    return {name: (row[name], row[reason]) for row in judged for name, reason in columns.items()}


def scorecard_rows(key: str, metrics: dict[str, Measurement]) -> pl.DataFrame:
    """Rows of the table `scorecards`."""
    rows = [
        {
            "strategy": key,
            "metric": name,
            "value": None if one.value is None else float(one.value),
            "reason": one.reason,
            "definition": one.definition,
            "source": one.table,
        }
        for name, one in metrics.items()
    ]
    return tables.frame("scorecards", rows)


def metrics_from(rows: pl.DataFrame) -> dict[str, Measurement]:
    """The measurements that `scorecard_rows` wrote."""
    found: dict[str, Measurement] = {}
    for row in rows.sort("metric").iter_rows(named=True):
        reasons = {row["metric"]: row["reason"]} if row["reason"] else {}
        found |= measured({row["metric"]: row["value"]}, table=row["source"], reasons=reasons)
    return {name: found[name] for name in METRICS if name in found}


def _shown(one: Measurement) -> float | str:
    return one.reason or "" if one.value is None else one.value
