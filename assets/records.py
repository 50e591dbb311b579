"""A simulation as rows of the lake's tables, whether its parts add up, and a small picture of its equity."""

import base64
import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import dagster as dg
import polars as pl

from quality import tables
from resources.lake import Lake

if TYPE_CHECKING:
    from engine.attribution import Attribution
    from engine.backtest import Plan
    from engine.simulator.inputs import Market
    from engine.simulator.simulation import Simulation

ATTRIBUTION = "attribution"
POINTS = 60
Frames = Mapping[str, pl.DataFrame]


def frames(
    key: str,
    scope: str,
    *,
    simulation: "Simulation",
    bars: "Market",
    plan: "Plan",
    returns: pl.DataFrame,
    document: Mapping[str, Any],
) -> Frames:
    """What the tables hold of one strategy's scope, by table; `document` says what it ran with."""
    from engine.simulator import records

    of = (simulation, bars, plan.instruments)
    rows = {
        "plans": pl.DataFrame({"document": [json.dumps(document)]}),
        "orders": records.orders_frame(*of).rename({"id": "order"}),
        "fills": records.fills_frame(*of).rename({"id": "fill"}),
        "trades": records.trades_frame(*of).rename({"id": "trade"}),
        "open_positions": records.positions_frame(*of).rename({"id": "trade"}),
        "rejections": records.rejections_frame(*of),
        "exchange_metrics": _with_reasons(records.metrics_frame(*of)),
        "equity": returns,
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


def _with_reasons(metrics: pl.DataFrame) -> pl.DataFrame:
    """A column for each reason becomes a list of reasons, as often as each was given."""
    prefix = "rejected_"
    given = [name for name in metrics.columns if name.startswith(prefix)]
    each = [pl.lit(name.removeprefix(prefix)).repeat_by(name) for name in given]
    reasons = pl.concat_list(each) if each else pl.lit([], dtype=pl.List(pl.String))
    return metrics.with_columns(reasons=reasons)
