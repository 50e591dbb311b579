"""A project small enough for a test: three weeks of two instruments of the sample, one strategy.

The bars are the real ones; `restating` makes sources that hand on what a test wants to have been
received instead.
"""

import shutil
from collections.abc import Callable, Iterable, Iterator
from datetime import date
from pathlib import Path

import dagster as dg
import polars as pl
import pytest

from pipelines.run_night import Done, run_night
from pipelines.workplace import Workplace, open_workplace
from quality.datasets import Dataset
from resources.sources.protocol import Delivery, Instrument, Source
from resources.sources.registry import Sources

CHECKOUT = Path(__file__).parents[1]
STRATEGY = "small_cross@1.0.0"
FIRST, LAST = date(2017, 7, 1), date(2017, 7, 21)

DATASET = """\
schema: 1
name: crypto_5m
source: {kind: sample}
calendar: 24/7
volume: traded
timeframe: 5m
resample: [1h, 1d]
start: 2017-07-01
end: 2017-07-21
sla: crypto
instruments:
  - {id: BTCUSD.BITFINEX, symbol: tBTCUSD, quote: USD, settle: USD, tick: 0.1, lot: 0.0001, min_notional: 10, tier: core}
  - {id: ETHUSD.BITFINEX, symbol: tETHUSD, quote: USD, settle: USD, tick: 0.01, lot: 0.001, min_notional: 10, tier: core}
features:
  sma_12: {indicator: sma, length: 12}
  upper_1h: {indicator: bollinger, output: upper, length: 2, timeframe: 1h}
  vwap: {indicator: vwap}
"""
CONFIGURATION = """\
schema: 1
name: small_cross
version: 1.0.0
author: ada
dataset: crypto_5m
instruments: all
timeframe: 1h
account: {cash: 100000, currency: USD, capital: shared}
params:
  fast: {value: 5, min: 5, max: 10, step: 5}
  slow: {value: 20, min: 20, max: 20, step: 5}
size: {model: equity_share, share: 0.5}
exits: {stop: {pct: 0.03}, targets: default}
costs: bitfinex
walk_forward: {in_sample: 6d, out_of_sample: 5d, purge: 1d}
"""
SIGNAL = '''\
"""Long while the fast mean is above the slow one."""

from engine.causal import Bars, crossed_above, crossed_below
from engine.indicators import sma
from engine.strategy import Signals, Strategy


class SmallCross(Strategy):
    fast: int = 5
    slow: int = 20

    def signals(self, bars: Bars) -> Signals:
        fast, slow = sma(bars.close, self.fast), sma(bars.close, self.slow)
        return Signals(enter=crossed_above(fast, slow), exit=crossed_below(fast, slow))
'''


def write_project(root: Path) -> Path:
    """The small project under `root`, with the checkout's own policies."""
    shutil.copytree(CHECKOUT / "policies", root / "policies")
    for folder, name, text in (
        ("datasets", "crypto_5m.yaml", DATASET),
        ("strategies", "small_cross.yaml", CONFIGURATION),
        ("strategies", "small_cross.py", SIGNAL),
    ):
        (root / folder).mkdir(exist_ok=True)
        (root / folder / name).write_text(text)
    return root


class Restating:
    """The sample, but for what `change` makes of a delivery's rows."""

    def __init__(self, dataset: Dataset, change: Callable[[str, pl.DataFrame], pl.DataFrame]) -> None:
        self._sample: Source = Sources().open(dataset)
        self._change = change

    def deliveries(self, instrument: Instrument, *, first: date, last: date) -> Iterator[Delivery]:
        for delivery in self._sample.deliveries(instrument, first=first, last=last):
            yield delivery._replace(rows=self._change(instrument.id, delivery.rows))

    def corporate_actions(self, instruments: Iterable[Instrument]) -> pl.DataFrame:
        return self._sample.corporate_actions(instruments)

    def settle(self) -> None:
        self._sample.settle()

    def last_session(self) -> date | None:
        return self._sample.last_session()


class RestatingSources(Sources):
    """Opens `Restating` sources; what they change is the test's to say."""

    def open(self, dataset: Dataset) -> Source:
        return Restating(dataset, _changes[self.change])

    change: str


_changes: dict[str, Callable[[str, pl.DataFrame], pl.DataFrame]] = {}


def restating(name: str, change: Callable[[str, pl.DataFrame], pl.DataFrame]) -> RestatingSources:
    _changes[name] = change
    return RestatingSources(change=name)


def open_small(root: Path, patch: pytest.MonkeyPatch) -> Workplace:
    """The project under `root`, with its home beside it."""
    patch.setenv("GAUNTLET_PROJECT", str(root))
    patch.setenv("GAUNTLET_HOME", str(root / "home"))
    return open_workplace()


def quiet_night(workplace: Workplace, *, no_later_than: date | None = None) -> Done:
    return run_night(workplace, only=(), no_later_than=no_later_than, say=lambda _: None)


def instance() -> dg.DagsterInstance:
    """The instance of the home that was opened last."""
    return dg.DagsterInstance.get()
