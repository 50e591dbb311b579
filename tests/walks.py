"""A small project on random walks: two instruments and a series of euros, an hour's bars made of quarters.

What a strategy says on them is drawn, so every order type, side and reversal comes up; a test says what it changes of
the strategy, the costs or the instruments.
"""

from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from engine.bars import resample
from engine.history import History
from quality.datasets import Dataset
from quality.policies import Costs
from quality.strategies import StrategyConfiguration
from resources.project import Project, StrategyDefinition, load
from tests.bar_frames import START, random_walk
from tests.makers import Scripted, due_bars, history_of

ROOT = Path(__file__).parents[1]
DAYS = 40
HOUR, QUARTER = timedelta(hours=1), timedelta(minutes=15)
NAMES = ("A.V", "B.V", "EURUSD.V")
DATASET: dict[str, Any] = {
    "schema": 1,
    "name": "walks",
    "source": {"kind": "synthetic"},
    "calendar": "24/7",
    "volume": "traded",
    "timeframe": "15m",
    "resample": ["1h"],
    "start": str(START.date()),
    "sla": "crypto",
}
INSTRUMENT: dict[str, Any] = {
    "quote": "USD",
    "settle": "USD",
    "tick": 0.01,
    "lot": 0.01,
    "min_notional": 0,
    "tier": "core",
}
STRATEGY: dict[str, Any] = {
    "schema": 1,
    "name": "scripted",
    "version": "1.0.0",
    "author": "ada",
    "dataset": "walks",
    "instruments": ["A.V", "B.V"],
    "timeframe": "1h",
    "account": {"cash": 10_000, "currency": "USD", "capital": "shared"},
    "size": {"model": "equity_share", "share": 0.3},
    "exits": {"stop": {"pct": 0.02}},
    "costs": "usual",
    "walk_forward": {"in_sample": "10d", "out_of_sample": "5d", "purge": "1d"},
}
COSTS: dict[str, Any] = {
    "fees": [{"from": "2015-01-01", "tiers": [{"volume": 0, "maker_bps": 1, "taker_bps": 2}]}],
    "half_spread_bps": {"core": 1},
    "limit_fill": "trade_through",
    "borrow_bps_per_day": 0,
}
SECTIONS = {"strategy": STRATEGY, "costs": COSTS, "instrument": INSTRUMENT}


def walked_history(days: int = DAYS) -> History:
    """Three walks of an hour's bars, made of quarters; what is said on them is drawn."""
    due = due_bars(days * 96, start=START, step=QUARTER)
    bars, finer = {}, {}
    for seed, name in enumerate(NAMES):
        walk = random_walk("15m", due.height, seed=seed)
        scale = 0.01 if name == "EURUSD.V" else 1.0  # worth about one
        prices = walk.with_columns(
            pl.col("open", "high", "low", "close").round(1) * scale, session=pl.col("ts").dt.date()
        )
        said = np.random.default_rng(seed).choice([0, 0, 0, 0, 0, 1, 2, 3, 4], days * 24)
        hours = resample(prices, due, timeframe="1h", min_share=0.5).drop("n_base", "n_due", "complete")
        finer[name], bars[name] = prices.drop("factor"), hours.with_columns(said=pl.Series(said, dtype=pl.Float64))
    return history_of(bars, timeframe="1h", finer=finer)


def changed(section: str, changes: Mapping[str, Any]) -> dict[str, Any]:
    return {**SECTIONS[section], **changes}


def project_of(changes: Mapping[str, Mapping[str, Any]]) -> tuple[Project, StrategyDefinition]:
    """The project and its strategy, with changes to the sections `strategy`, `costs` and `instrument`."""
    one = changed("instrument", changes.get("instrument", {}))
    series = {**INSTRUMENT, "id": "EURUSD.V", "symbol": "EURUSD"}
    traded = [{**one, "id": name, "symbol": name} for name in NAMES[:2]]
    dataset = Dataset.model_validate({**DATASET, "instruments": [*traded, series]})
    costs = Costs.model_validate(changed("costs", changes.get("costs", {})))
    configuration = StrategyConfiguration.model_validate(changed("strategy", changes.get("strategy", {})))
    definition = StrategyDefinition(configuration, Scripted, "", "sha256:0", "sha256:0")
    return load(ROOT)._replace(datasets={"walks": dataset}, costs={"usual": costs}), definition


def strategy(**changes: Any) -> dict[str, Any]:
    """Changes to the strategy alone."""
    return {"strategy": changes}
