"""Features and signals at scale: what is computed of columns, beside polars and TA-Lib called by hand.

`features_14m` is the work of the asset: a hundred instruments' bars read from a lake, ten features over each, written
back. `signals_1000` asks a strategy for its decisions with a thousand pairs of averages on one instrument.
"""

import time
from collections.abc import Callable
from datetime import date
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import polars as pl

from assets.features import write_features
from benchmarks.run import Measured
from engine.bars import resample
from engine.causal import Bars, crossed_above, crossed_below
from engine.evaluation import Kept, Memo, evaluate
from engine.indicators.averages import sma
from engine.indicators.registry import indicator
from engine.strategy import Market, Signals, Strategy, decide
from quality.datasets import Dataset
from resources.calendars import open_calendar
from resources.columns import Columns
from resources.lake import Lake
from resources.market import bar_frames
from resources.sources.protocol import ACTIONS

FIRST, LAST = date(2020, 1, 1), date(2023, 12, 31)
N_INSTRUMENTS, AT_ONCE, WALKS = 100, 5, 4
TIMEFRAME = "15m"
FEATURES: dict[str, dict[str, Any]] = {
    "sma_20": {"indicator": "sma", "length": 20},
    "sma_100": {"indicator": "sma", "length": 100},
    "ema_20": {"indicator": "ema", "length": 20},
    "ema_50": {"indicator": "ema", "length": 50},
    "rsi_14": {"indicator": "rsi", "length": 14},
    "rsi_28": {"indicator": "rsi", "length": 28},
    "atr_14": {"indicator": "atr", "length": 14},
    "atr_14_1h": {"indicator": "atr", "length": 14, "timeframe": "1h"},
    "rsi_14_4h": {"indicator": "rsi", "length": 14, "timeframe": "4h"},
    "sma_20_1d": {"indicator": "sma", "length": 20, "timeframe": "1d"},
}
TERMS = {"quote": "USD", "settle": "USD", "tick": 0.01, "lot": 0.001, "min_notional": 10, "tier": "core"}
DATASET = Dataset.model_validate(
    {
        "schema": 1,
        "name": "bench",
        "source": {"kind": "synthetic", "seed": 1},
        "calendar": "24/7",
        "volume": "traded",
        "timeframe": TIMEFRAME,
        "resample": ["1h", "4h", "1d"],
        "start": FIRST,
        "end": LAST,
        "sla": "crypto",
        "instruments": [{"id": f"I{n:03d}.BENCH", "symbol": f"i{n}", **TERMS} for n in range(N_INSTRUMENTS)],
        "features": FEATURES,
    }
)
FAST, SLOW = range(10, 110, 5), range(120, 620, 10)  # bars of the averages: a thousand pairs


class Crosses(Strategy):
    fast: int
    slow: int

    def signals(self, bars: Bars) -> Signals:
        fast, slow = sma(bars.close, self.fast), sma(bars.close, self.slow)
        return Signals(enter=crossed_above(fast, slow), exit=crossed_below(fast, slow))


def features_14m() -> Measured:
    none = ACTIONS.to_frame()
    columns = {
        label: indicator(one.indicator, Bars(TIMEFRAME).on(one.timeframe or TIMEFRAME), **one.parameters)
        for label, one in DATASET.features.items()
    }
    computing = floor = 0.0
    with TemporaryDirectory() as folder:
        lake = Lake(root=str(Path(folder) / "lake"), lock_path=str(Path(folder) / "lock"))
        for start in range(0, N_INSTRUMENTS, AT_ONCE):
            _fill(lake, range(start, start + AT_ONCE))
        calendar = open_calendar(DATASET.calendar)
        n_rows, seconds = _timed(lambda: write_features(lake, DATASET, calendar, none, first=FIRST, last=LAST))
        for n, instrument in enumerate(DATASET.ids):
            by_hand, taken = _timed(lambda name=instrument: _by_hand(lake, name, Path(folder) / "by_hand.parquet"))
            floor += taken
            frames = bar_frames(_bars(n), none)
            values, taken = _timed(lambda frames=frames: evaluate(columns, frames, TIMEFRAME))
            computing += taken
            if n < WALKS:
                kept = lake.read("features", dataset="bench", instrument=instrument).sort("ts")
                assert kept.select(*FEATURES).equals(values.select(*FEATURES))
                _agree(kept, by_hand)
    told = f"{n_rows:,} bars read, 10 features over them, written; computing alone {computing:.1f} s"
    return Measured(seconds, floor, told)


def signals_1000() -> Measured:
    frames = bar_frames(_bars(0), ACTIONS.to_frame())
    pairs = [Crosses(fast=fast, slow=slow) for fast in FAST for slow in SLOW]

    def decided(memo: Memo | None) -> None:
        market = Market("I000.BENCH", {"I000.BENCH": frames}, ["I000.BENCH"], memo=memo)
        for strategy in pairs:
            decide(strategy, frames, TIMEFRAME, market)

    remembered = Kept()
    _, seconds = _timed(lambda: decided(remembered))
    assert remembered.misses == len(FAST) + len(SLOW), remembered.misses
    _, without = _timed(lambda: decided(None))
    with TemporaryDirectory() as folder:
        first, second = (Columns(Path(folder), {"I000.BENCH": frames}, peers=["I000.BENCH"]) for _ in range(2))
        _, written = _timed(lambda: decided(first))
        _, read = _timed(lambda: decided(second))
    assert second.counts == {"columns_read": len(FAST) + len(SLOW), "columns_computed": 0}
    _, floor = _timed(lambda: _crosses_by_hand(frames[TIMEFRAME]["close"]))
    computed = f"{remembered.misses} columns computed, {remembered.hits} times one was there"
    told = (
        f"{computed}; without a memo {without:.1f} s, keeping them on the disk {written:.1f}, reading them {read:.1f}"
    )
    return Measured(seconds, floor, told)


def _by_hand(lake: Lake, instrument: str, file: Path) -> pl.DataFrame:
    """The same features as a person would write them, from Parquet to Parquet, without what withholds values."""
    import polars_talib as ta

    bars, longer = (
        pl.concat(pl.read_parquet(part) for part in lake.path(table).glob(f"dataset=bench/instrument={instrument}/*"))
        for table in ("bars", "resampled_bars")
    )
    close, prices = pl.col("close"), (pl.col("high"), pl.col("low"), pl.col("close"))
    base = bars.sort("ts").select(
        "ts",
        known_at=pl.col("ts").dt.offset_by(TIMEFRAME),
        sma_20=close.rolling_mean(20),
        sma_100=close.rolling_mean(100),
        ema_20=ta.ema(close, timeperiod=20),
        ema_50=ta.ema(close, timeperiod=50),
        rsi_14=ta.rsi(close, timeperiod=14),
        rsi_28=ta.rsi(close, timeperiod=28),
        atr_14=ta.atr(*prices, timeperiod=14),
    )
    on_longer = {
        "1h": ta.atr(*prices, timeperiod=14).alias("atr_14_1h"),
        "4h": ta.rsi(close, timeperiod=14).alias("rsi_14_4h"),
        "1d": close.rolling_mean(20).alias("sma_20_1d"),
    }
    for timeframe, feature in on_longer.items():
        own = longer.filter(timeframe=timeframe).sort("ts")
        base = base.join_asof(own.select("known_at", feature), on="known_at", strategy="backward")
    base.write_parquet(file, compression="snappy")
    return base


def _crosses_by_hand(closes: pl.Series) -> None:
    averages = pl.DataFrame([closes.rolling_mean(bars).alias(str(bars)) for bars in (*FAST, *SLOW)])
    for fast in FAST:
        for slow in SLOW:
            above = pl.col(str(fast)) > pl.col(str(slow))
            below = pl.col(str(fast)) < pl.col(str(slow))
            averages.select(enter=above & ~above.shift(1), exit=below & ~below.shift(1))


def _agree(values: pl.DataFrame, bare: pl.DataFrame) -> None:
    """Where a feature is given it is what the bare call says."""
    for name in FEATURES:
        both = pl.DataFrame({"ours": values[name], "theirs": bare[name]}).drop_nulls("ours")
        assert both.height > 100_000, name
        assert both["ours"].equals(both["theirs"]), name


def _fill(lake: Lake, numbers: range) -> None:
    """Bars of these instruments, of every timeframe, as the assets before would leave them."""
    base, longer = [], []
    for n in numbers:
        own = {"dataset": pl.lit("bench"), "instrument": pl.lit(DATASET.ids[n])}
        for timeframe, bars in _bars(n).items():
            if timeframe == TIMEFRAME:
                told = {"sequence": pl.lit(1, pl.Int64), "filled": pl.lit(value=False)}
                base.append(bars.drop("known_at").with_columns(**own, **told))
            else:
                longer.append(bars.with_columns(**own, timeframe=pl.lit(timeframe)))
    lake.append("bars", pl.concat(base))
    lake.append("resampled_bars", pl.concat(longer))


def _bars(n: int) -> dict[str, pl.DataFrame]:
    """One instrument's bars by timeframe: one of a few walks, at a price of its own."""
    price = pl.col("open", "high", "low", "close") * (1 + n / 10)
    return {timeframe: walk.with_columns(price) for timeframe, walk in _walk(n % WALKS).items()}


@cache
def _walk(seed: int) -> dict[str, pl.DataFrame]:
    due = open_calendar("24/7").due(FIRST, LAST, TIMEFRAME)
    random = np.random.default_rng(seed)
    closes = np.round(100 * np.exp(np.cumsum(random.normal(0, 1e-3, due.height))), 2)
    opens = np.concatenate([closes[:1], closes[:-1]])
    base = due.with_columns(
        open=pl.Series(opens),
        high=pl.Series(np.maximum(opens, closes) + 0.01),
        low=pl.Series(np.minimum(opens, closes) - 0.01),
        close=pl.Series(closes),
        volume=pl.Series(np.round(random.exponential(10, due.height), 3)),
    )
    folded = {name: resample(base, due, timeframe=name, min_share=0.5) for name in DATASET.resample}
    return {TIMEFRAME: base, **folded}


def _timed(work: Callable[[], Any]) -> tuple[Any, float]:
    started = time.perf_counter()
    result = work()
    return result, time.perf_counter() - started
