"""tests/golden/trades.json: what each example strategy trades on the embedded data, with its file's parameters.

    python -m tests.write_golden

Written by this program from the simulator as it is; so it guards against change, not against being wrong. What guards
against that stands in `tests/engine/test_fills_oracle.py`, by hand. Renew it when a change is meant to move trades, look
at the difference, and say in the commit why they moved.

Nothing is embargoed here: the SLA of a night withholds some decisions, and is not what is pinned.
"""

import json
from hashlib import sha256
from pathlib import Path
from typing import Any

import polars as pl

from assets import research
from engine.bars import COLUMNS, due_in, resample, timeframe_us
from engine.history import History
from quality.datasets import Dataset
from resources.market import bar_frames, calendar_of
from resources.project import Project, StrategyDefinition, load
from resources.sources.sample_source import SampleSource

ROOT = Path(__file__).parents[1]
GOLDEN = ROOT / "tests/golden/trades.json"
DIGITS = 9
_SHOWN = ("instrument", "side", "entry_ts", "exit_ts", "exit_reason")
_NUMBERS = ("quantity", "entry_price", "exit_price", "pnl", "fees", "spread", "borrow", "dividends", "mae", "mfe")


def written() -> dict[str, Any]:
    """The document: who made it, and by strategy version how many trades, what they made, and their hash."""
    project = load(ROOT)
    return {
        "made_by": "tests/write_golden.py, from the simulator",
        "renew": "python -m tests.write_golden, when trades are meant to move; say in the commit why they did",
        "trades": {key: _traded(project, definition) for key, definition in project.strategies.items()},
    }


def _traded(project: Project, definition: StrategyDefinition) -> dict[str, Any]:
    plan = research.plan_of(project, definition)
    ran = research.backtest_of(definition, _history(project, definition), plan)
    trades = research.trades_of(ran, plan)
    lines = [
        " ".join([*(str(row[name]) for name in _SHOWN), *(f"{row[name]:.{DIGITS}g}" for name in _NUMBERS)])
        for row in trades.iter_rows(named=True)
    ]
    net = float(ran.simulation.equity[-1] - plan.rules.cash)
    return {
        "n_trades": trades.height,
        "net_result": float(f"{net:.{DIGITS}g}"),
        "sha256": sha256("\n".join(lines).encode()).hexdigest(),
    }


def _history(project: Project, definition: StrategyDefinition) -> History:
    """The embedded bars as a night would have them, all of them accepted."""
    configuration = definition.configuration
    dataset = project.datasets[configuration.dataset]
    source, calendar = SampleSource(dataset.name), calendar_of(project, dataset)
    last = dataset.end or source.last_session()
    due = calendar.due(dataset.start, last, dataset.timeframe)
    traded = configuration.chosen_instruments(dataset)
    actions = source.corporate_actions(traded)
    raw, frames = {}, {}
    for one in traded:
        (delivery,) = source.deliveries(one, first=dataset.start, last=last)
        base = delivery.rows.select("ts", *COLUMNS).sort("ts").join(due, on="ts", maintain_order="left")
        bars = _of_timeframes(base, due, dataset, at_least=configuration.timeframe)
        raw[one.id] = bars[configuration.timeframe]
        frames[one.id] = bar_frames(bars, actions.filter(pl.col("instrument") == one.id))
    return History(
        sessions=calendar.sessions(dataset.start, last),
        raw=raw,
        frames=frames,
        actions=actions,
        embargo=pl.DataFrame(schema={"session": pl.Date, "instrument": pl.String, "embargoed": pl.Boolean}),
        due=due if configuration.timeframe == dataset.timeframe else due_in(due, configuration.timeframe),
        finer={},
    )


def _of_timeframes(
    base: pl.DataFrame, due: pl.DataFrame, dataset: Dataset, *, at_least: str
) -> dict[str, pl.DataFrame]:
    columns = ("session", "ts", "known_at", *COLUMNS)
    bars = {dataset.timeframe: base.select(columns)}
    for timeframe in dataset.resample:
        bars[timeframe] = resample(base, due, timeframe=timeframe, min_share=0.5).select(columns)
    return {name: frame for name, frame in bars.items() if timeframe_us(name) >= timeframe_us(at_least)}


if __name__ == "__main__":
    GOLDEN.write_text(json.dumps(written(), indent=2) + "\n")
