"""A simulation as rows of the lake's tables, and as a small picture of its equity."""

import base64
from collections.abc import Sequence
from typing import TYPE_CHECKING

import dagster as dg
import polars as pl

from quality import tables
from resources.lake import Lake

if TYPE_CHECKING:
    from engine.backtest import Plan
    from engine.simulator.inputs import Market
    from engine.simulator.simulation import Simulation

POINTS = 60


def write(
    lake: Lake,
    key: str,
    scope: str,
    *,
    simulation: "Simulation",
    bars: "Market",
    plan: "Plan",
    returns: pl.DataFrame,
) -> None:
    """Replace what the tables hold of one strategy's scope: fills, trades, rejections and equity."""
    from engine.simulator.records import fills_frame, rejections_frame, trades_frame

    rows = {
        "fills": fills_frame(simulation, bars, plan.instruments).rename({"id": "fill"}),
        "trades": trades_frame(simulation, bars, plan.instruments).rename({"id": "trade"}),
        "rejections": rejections_frame(simulation, bars, plan.instruments),
        "equity": returns,
    }
    for name, frame in rows.items():
        labelled = frame.with_columns(strategy=pl.lit(key), scope=pl.lit(scope)).select(*tables.table(name).columns)
        lake.replace(name, labelled, strategy=key, scope=scope)


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
