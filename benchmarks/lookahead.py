"""How long the look-ahead certificate of a typical strategy takes: every node at every one of 140 thousand bars."""

import time

import numpy as np
import polars as pl

from benchmarks.run import Measured
from engine.bars import resample
from engine.causal import Bars, crossed_above
from engine.indicators import atr, ema, rsi, sma
from engine.strategy import Signals, Strategy
from quality.lookahead.market import Market
from quality.lookahead.proof import proof, rare_states

BARS = 140_000  # sixteen years of hours


class Typical(Strategy):
    """Windows, recursive indicators, a longer timeframe, a crossing and a lag."""

    def signals(self, bars: Bars) -> Signals:
        days = bars.on("1d").close
        calm = (rsi(bars.close, 14) < 70) & (days > sma(days, 20))
        floor = bars.low.rolling_min(20).lag(1) - atr(bars, 14)
        return Signals(enter=crossed_above(ema(bars.close, 20), sma(bars.close, 100)) & calm, exit=bars.close < floor)


def certificate_140k() -> Measured:
    """Every law that is proved of a strategy on one instrument's bars, and on made-up ones; beside it one run of it."""
    market, strategy = _market(), Typical()
    market.decided(strategy, "1h")  # polars and TA-Lib are loaded
    begin = time.perf_counter()
    market.decided(strategy, "1h")
    once = time.perf_counter() - begin
    begin = time.perf_counter()
    proved = proof(strategy, market, "1h")
    rare = rare_states(strategy, market, "1h", {market.instrument: proved.decided})
    seconds = time.perf_counter() - begin
    broken = [law.law for law in (*proved.laws, rare) if not law.passed]
    note = (
        f"{BARS:,} bars, {'all laws kept' if not broken else f'broken: {broken}'}; the floor is one run of the strategy"
    )
    return Measured(seconds, once, note)


def _market() -> Market:
    rng = np.random.default_rng(0)
    closes = 100 * np.exp(np.cumsum(rng.normal(0, 0.005, BARS)))
    opens = np.concatenate([[100.0], closes[:-1]])
    ts = pl.Series(np.arange(BARS) * 3_600_000_000).cast(pl.Datetime("us", "UTC"))
    hours = pl.DataFrame(
        {
            "session": ts.dt.date(),
            "ts": ts,
            "known_at": ts + pl.Series([3_600_000_000]).cast(pl.Duration("us"))[0],
            "open": opens,
            "high": np.maximum(opens, closes) * 1.002,
            "low": np.minimum(opens, closes) * 0.998,
            "close": closes,
            "volume": rng.uniform(1, 100, BARS),
            "factor": np.ones(BARS),
        }
    )
    days = resample(hours, hours.select("session", "ts", "known_at"), timeframe="1d", min_share=0.5)
    longer = days.select("session", "ts", "known_at", "open", "high", "low", "close", "volume")
    return Market("WALK", {"WALK": {"1h": hours, "1d": longer}})
