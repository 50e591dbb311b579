"""A simulation as rows of the lake's tables, whether its parts add up, and a small picture of its equity."""

import base64
import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import dagster as dg
import polars as pl

from assets import research
from quality import tables
from resources.lake import Lake

if TYPE_CHECKING:
    from assets.research import Bears
    from engine.attribution import Attribution
    from engine.backtest import Plan
    from engine.report import PathResult
    from engine.simulator.inputs import Decisions, Market
    from engine.simulator.simulation import Simulation

ATTRIBUTION = "attribution"
POINTS = 60
_PATHS = {
    "path": pl.String,
    "net_result": pl.Float64,
    "net_return": pl.Float64,
    "n_trades": pl.Int64,
    "ambiguous_share": pl.Float64,
    "entry_bar_exits": pl.Int64,
}
Frames = Mapping[str, pl.DataFrame]


def frames(
    key: str,
    scope: str,
    *,
    simulation: "Simulation",
    bars: "Market",
    plan: "Plan",
    returns: pl.DataFrame,
    paths: "Sequence[PathResult]",
    document: Mapping[str, Any],
    candidates: pl.DataFrame,
    bears: "Bears | None" = None,
    decided: "Decisions | None" = None,
) -> Frames:
    """What the tables hold of one strategy's scope, by table; `document` says what it ran with, `decided` on which bars."""
    from engine.simulator import records

    of = (simulation, bars, plan.instruments)
    rows = {
        "plans": pl.DataFrame({"document": [json.dumps(document)]}),
        "orders": records.orders_frame(*of, decided).rename({"id": "order"}),
        "fills": records.fills_frame(*of).rename({"id": "fill"}),
        "trades": records.trades_frame(*of, decided).rename({"id": "trade"}),
        "open_positions": records.positions_frame(*of).rename({"id": "trade"}),
        "rejections": records.rejections_frame(*of),
        "exchange_metrics": _with_reasons(records.metrics_frame(*of)),
        "equity": returns,
        "backtest_report": _report(paths, bears),
        "candidates": candidates,
    }
    return {
        name: frame.with_columns(strategy=pl.lit(key), scope=pl.lit(scope)).select(*tables.table(name).columns)
        for name, frame in rows.items()
    }


def write(lake: Lake, key: str, scope: str, written: Frames) -> None:
    """Replace what the tables hold of one strategy's scope."""
    for name, frame in written.items():
        lake.replace(name, frame, strategy=key, scope=scope)


def attributed(written: Frames, simulation: "Simulation", plan: "Plan") -> "Attribution":
    """Whether the records explain what became of the cash."""
    from engine.attribution import attribution

    cash = plan.rules.cash
    return attribution(
        written["trades"],
        written["open_positions"],
        written["fills"],
        cash=cash,
        equity=float(simulation.equity[-1]) if simulation.equity.size else cash,
    )


def attribution_spec(key: Sequence[str]) -> dg.AssetCheckSpec:
    about = "Edge less costs, with funding and dividends, is the change in equity, to 1e-9 of cash or turnover."
    return dg.AssetCheckSpec(ATTRIBUTION, asset=dg.AssetKey(key), description=about)


def attribution_check(key: Sequence[str], found: "Attribution") -> dg.AssetCheckResult:
    return dg.AssetCheckResult(
        asset_key=dg.AssetKey(key),
        check_name=ATTRIBUTION,
        passed=found.holds,
        severity=dg.AssetCheckSeverity.ERROR,
        metadata={
            **{name: float(value) for name, value in found.parts.items()},
            "change": found.change,
            "unexplained": found.unexplained,
            "scale": found.scale,
            "worst_trade": found.worst_trade or "none",
        },
    )


def sparkline(equity: Sequence[float]) -> dg.MarkdownMetadataValue:
    """The equity curve as an SVG small enough to be drawn inline by the UI."""
    step = max(1, len(equity) // POINTS)
    values = list(equity[::step])
    low, high = min(values), max(values)
    scale = 40 / (high - low) if high > low else 0
    points = " ".join(f"{x * 4},{44 - round((value - low) * scale)}" for x, value in enumerate(values))
    svg = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{4 * len(values)}" height="48">'
        f'<polyline points="{points}" fill="none" stroke="#26a"/></svg>'
    )
    return dg.MetadataValue.md(f"![equity](data:image/svg+xml;base64,{base64.b64encode(svg.encode()).decode()})")


def _report(paths: "Sequence[PathResult]", bears: "Bears | None") -> pl.DataFrame:
    """A row a path; what is borne stands beside the path that is judged."""
    judged = pl.col("path") == research.JUDGED_PATH
    found = {} if bears is None else bears._asdict()
    values = {name: found[name].value if name in found else None for name in ("break_even_cost_multiple", "capacity")}
    reasons = {
        reason: found[name].reason if name in found else None
        for name, reason in (("break_even_cost_multiple", "break_even_reason"), ("capacity", "capacity_reason"))
    }
    return pl.DataFrame(paths, schema=_PATHS, orient="row").with_columns(
        *(pl.when(judged).then(pl.lit(value, pl.Float64)).alias(name) for name, value in values.items()),
        *(pl.when(judged).then(pl.lit(reason, pl.String)).alias(name) for name, reason in reasons.items()),
    )


def report_table(written: Frames) -> dg.MarkdownMetadataValue:
    """The three paths side by side, and the result as an interval."""
    report = written["backtest_report"]
    results = report["net_result"].to_list()
    lines = [
        "| path | net result | net return | trades | ambiguous | left in the bar of their entry |",
        "|---|---|---|---|---|---|",
        *(
            f"| {row['path']} | {row['net_result']:,.2f} | {row['net_return']:.2%} | {row['n_trades']} | "
            f"{'-' if row['ambiguous_share'] is None else format(row['ambiguous_share'], '.2%')} | {row['entry_bar_exits']} |"
            for row in report.iter_rows(named=True)
        ),
        "",
        f"Net result from {min(results):,.2f} to {max(results):,.2f}, whichever way prices went inside their bars.",
    ]
    judged = report.row(by_predicate=pl.col("path") == research.JUDGED_PATH, named=True)
    for name, reason, unit in (
        ("break_even_cost_multiple", "break_even_reason", "times the costs bring it to zero"),
        ("capacity", "capacity_reason", "of capital, and impact takes half of the edge"),
    ):
        if judged[name] is not None:
            lines.append(f"{judged[name]:,.4g} {unit}.")
        elif judged[reason]:
            lines.append(f"No {name.replace('_', ' ')}: {judged[reason]}.")
    return dg.MetadataValue.md("\n".join(lines))


def candidates_table(written: Frames) -> dg.MarkdownMetadataValue:
    """How many setups a gate let pass and refused, by name and side, and why."""
    asked = written["candidates"]
    if asked.is_empty():
        return dg.MetadataValue.md("No gate was asked.")
    reasons = (
        pl.when(pl.col("refused").list.len() == 0).then(pl.lit("passed")).otherwise(pl.col("refused").list.join(", "))
    )
    counted = asked.group_by("setup", "side", reasons.alias("verdict")).agg(n=pl.len(), score=pl.col("score").mean())
    lines = [
        "| setup | side | verdict | candidates | mean score |",
        "|---|---|---|---|---|",
        *(
            f"| {row['setup']} | {row['side']} | {row['verdict']} | {row['n']} | "
            f"{'-' if row['score'] is None else format(row['score'], '.3f')} |"
            for row in counted.sort("setup", "side", "verdict").iter_rows(named=True)
        ),
    ]
    return dg.MetadataValue.md("\n".join(lines))


def _with_reasons(metrics: pl.DataFrame) -> pl.DataFrame:
    """A column for each reason becomes a list of reasons, as often as each was given."""
    prefix = "rejected_"
    given = [name for name in metrics.columns if name.startswith(prefix)]
    each = [pl.lit(name.removeprefix(prefix)).repeat_by(name) for name in given]
    reasons = pl.concat_list(each) if each else pl.lit([], dtype=pl.List(pl.String))
    return metrics.with_columns(reasons=reasons)
