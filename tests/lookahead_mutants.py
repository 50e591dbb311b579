"""Strategies and engines that look ahead, and some that do not: what each law says of every one.

`python -m tests.lookahead_mutants` writes the table into docs/guides/look-ahead.md.
"""

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, get_args

import numpy as np
import polars as pl
import pytest

from engine import evaluation
from engine import strategy as strategies
from engine.bars import resample
from engine.causal import Bars, Column, bars_since, crossed_above, derived, rank, value_when
from engine.indicators import atr, ema, rsi, sma
from engine.stateful import Answer, DataWindow
from engine.strategy import Signals, Stateful, Strategy
from engine.universe import measures
from quality import sla
from quality.datasets import Instrument
from quality.lookahead.chosen_before import Chosen, embargo, universe
from quality.lookahead.laws import Law, LawName
from quality.lookahead.market import Market
from quality.lookahead.next_bar import next_bar
from quality.lookahead.proof import proof, rare_states
from quality.universe import Universe, judge
from strategies.bollinger_reversion import BollingerReversion
from strategies.sma_cross import SmaCross
from strategies.time_series_momentum import TimeSeriesMomentum
from tests.bar_frames import bar_frame, random_walk

LAWS: tuple[LawName, ...] = get_args(LawName)
GUIDE = Path(__file__).parents[1] / "docs/guides/look-ahead.md"
HEADING = f"| what looks ahead | {' | '.join(f'`{law}`' for law in LAWS)} |\n"
Found = Mapping[str, Law]


def market(n_days: int = 70, *, seed: int = 0) -> Market:
    """Hourly bars of two instruments and the days they make."""
    return Market("ONE", {name: _frames(n_days, seed + n) for n, name in enumerate(("ONE", "TWO"))})


def _frames(n_days: int, seed: int) -> dict[str, pl.DataFrame]:
    hours = random_walk("1h", 24 * n_days, seed=seed)
    days = resample(hours, hours.select("session", "ts", "known_at"), timeframe="1d", min_share=0.5)
    return {"1h": hours, "1d": days.select("session", "ts", "known_at", "open", "high", "low", "close", "volume")}


def found(strategy: Strategy, on: Market | None = None) -> Found:
    """What every law says that is about a strategy; the first failure of each."""
    seen = market() if on is None else on
    proved = proof(strategy, seen, "1h")
    laws = [*proved.laws, rare_states(strategy, seen, "1h", {seen.instrument: proved.decided})]
    return {law.law: law for law in sorted(laws, key=lambda law: not law.passed)}


# Strategies


class Tomorrow(Strategy):
    def signals(self, bars: Bars) -> Signals:
        ahead = derived(lambda closes: closes.shift(-1), bars.close, name="tomorrow")
        return Signals(enter=ahead > bars.close, exit=ahead <= bars.close)


class Centred(Strategy):
    """A centred mean, hidden by a lag that is too short."""

    def signals(self, bars: Bars) -> Signals:
        smooth = derived(
            lambda closes: closes.rolling_mean(9, center=True).shift(2), bars.close, name="smooth", lookback=6
        )
        return Signals(enter=bars.close > smooth, exit=bars.close < smooth)


class Normalised(Strategy):
    """Distances from the mean of the whole series."""

    def signals(self, bars: Bars) -> Signals:
        score = derived(lambda closes: (closes - closes.mean()) / closes.std(), bars.close, name="zscore")
        return Signals(enter=score < -1.0, exit=score > 0.0)


class FilledBackwards(Strategy):
    def signals(self, bars: Bars) -> Signals:
        next_high = derived(
            lambda closes: pl.when(closes > closes.rolling_max(24).shift(1)).then(closes).backward_fill(),
            bars.close,
            name="next_high",
            lookback=24,
        )
        return Signals(enter=next_high > bars.close * 1.02)


class Fitted(Strategy):
    """A limit that is fitted on the full span."""

    def signals(self, bars: Bars) -> Signals:
        limit = derived(lambda closes: closes.quantile(0.9), bars.close, name="limit")
        return Signals(enter=bars.close > limit, exit=bars.close < limit)


class OnceInFiveYears(Strategy):
    """Honest but for the bar after the one great fall of the series."""

    def signals(self, bars: Bars) -> Signals:
        def sight(closes: pl.Expr) -> pl.Expr:
            return pl.when(closes / closes.shift(1) < 0.7).then(closes.shift(-1)).otherwise(closes.shift(1))

        return Signals(enter=bars.close < derived(sight, bars.close, name="sight", lookback=1), exit=bars.close < 0)


class InTheLastBit(Strategy):
    """Tomorrow written into the tenth digit of today, and read from there."""

    def signals(self, bars: Bars) -> Signals:
        def write(closes: pl.Expr) -> pl.Expr:
            return closes * (1 + 1e-11 * (closes.shift(-1) > closes).cast(pl.Float64).fill_null(0.0))

        written = derived(write, bars.close, name="close_")
        return Signals(enter=(written / bars.close - 1.0) > 1e-12)


class Understated(Strategy):
    """A mean of fifty bars that says it needs five: no look-ahead, but a warm-up that is not true."""

    def signals(self, bars: Bars) -> Signals:
        mean = derived(lambda closes: closes.rolling_mean(50, min_samples=1), bars.close, name="mean", lookback=4)
        return Signals(enter=bars.close > mean, exit=bars.close < mean)


class Opaque(Strategy):
    def signals(self, bars: Bars) -> Signals:
        ahead = derived(lambda closes: closes.map_batches(lambda values: values.shift(-1)), bars.close, name="mine")
        return Signals(enter=ahead > bars.close)


class Underneath(Stateful):
    """Reads the array that its window is a part of."""

    def on_bar(self, bars: DataWindow, memory: dict[str, Any]) -> Answer:  # noqa: ARG002
        known = len(bars)
        everything = bars.close._values  # what no file may say
        return Answer(enter=bool(known < len(everything) and everything[known] > everything[known - 1]))


# Engines and data


@contextmanager
def _longer_bars_joined_on_their_open() -> Iterator[None]:
    """The well-known mistake: a day's bar is joined by its label, so its close is known all day."""

    def joined(self: Any, foreign: list[Column]) -> pl.DataFrame:
        frame = self.asked.bars(self.instrument, self.timeframe)
        for column in foreign:
            place = (column.instrument or self.asked.own, column.timeframe)
            values = evaluation._computed([column], self.asked, *place)
            labels = self.asked.bars(*place).select("ts", "known_at")
            frame = frame.join_asof(
                values.drop("ts").join(labels, on="known_at").drop("known_at"), on="ts", strategy="backward"
            )
        return frame

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(evaluation._Here, "joined", joined)
        yield


@contextmanager
def _entries_that_fail_left_out() -> Iterator[None]:
    """An engine that keeps back the entries after which the price falls."""
    honest = strategies.decide

    def decide(strategy: Strategy, frames: Any, timeframe: str, *more: Any, **told: Any) -> pl.DataFrame:
        rises = (frames[timeframe]["close"].shift(-1) > frames[timeframe]["close"]).fill_null(value=True)
        return honest(strategy, frames, timeframe, *more, **told).with_columns(enter=pl.col("enter") & rises)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(strategies, "decide", decide)
        yield


def days_known_from_their_open() -> Market:
    """Days whose close counts as known an hour after their open."""
    honest = market()
    frames = {
        name: {**frames, "1d": frames["1d"].with_columns(known_at=pl.col("ts") + pl.duration(hours=1))}
        for name, frames in honest.frames.items()
    }
    return honest._replace(frames=frames)


def a_great_fall(n_bars: int = 43_800) -> Market:
    """Five years of hours, in which one falls by two fifths."""
    steps = np.random.default_rng(3).normal(0, 0.004, n_bars)
    steps[n_bars // 3] = np.log(0.6)
    hours = bar_frame((100 * np.exp(np.cumsum(steps))).tolist(), step=pl.Series([3_600_000_000]).cast(pl.Duration)[0])
    return Market("ONE", {"ONE": {"1h": hours}})


def _fills(delay: int) -> Callable[[Mapping[str, Any]], dict[str, Any]]:
    """One unit, from the open `delay` bars after the decision."""
    opens = 100 + np.cumsum(np.random.default_rng(3).normal(0, 1, 60))

    def simulate(decisions: Mapping[str, Any]) -> dict[str, Any]:
        held, cash, equity = 0.0, 1000.0, []
        for t in range(opens.size):
            if t >= delay:
                wanted = 1.0 if decisions["enter"][t - delay] else held
                wanted = 0.0 if decisions["exit"][t - delay] else wanted
                cash -= (wanted - held) * opens[t]
                held = wanted
            equity.append(cash + held * (opens[t] + 1))
        return {"equity": np.array(equity)}

    return simulate


def _decisions() -> dict[str, Any]:
    rng = np.random.default_rng(1)
    return {name: rng.random(60) < 0.2 for name in ("enter", "exit")}


RULES = Universe.model_validate(
    {"refresh": "weekly", "window_sessions": 10, "min_traded_value": {"limit": 5_000, "why": "a test"}}
)
LISTED = Instrument.model_validate(
    {
        "id": "ONE.TEST",
        "symbol": "one",
        "quote": "USD",
        "settle": "USD",
        "tick": 0.01,
        "lot": 1,
        "min_notional": 0,
        "tier": "a",
    }
)


def _sessions() -> pl.DataFrame:
    days = random_walk("1d", 200, seed=5)
    counts = {"due": pl.lit(1), "seen": pl.lit(1)}
    return days.select("session", "high", "low", "close", "volume", "factor").with_columns(**counts)


def _chosen_by(known: pl.DataFrame) -> pl.DataFrame:
    return judge(measures(known, window_sessions=RULES.window_sessions), LISTED, RULES)


def _chosen_by_today(known: pl.DataFrame) -> pl.DataFrame:
    """The session's own volume in the mean, as if it were over."""
    return _chosen_by(known.with_columns(pl.col("volume", "close").shift(-1).fill_null(strategy="forward")))


def verdicts(n_sessions: int = 60) -> pl.DataFrame:
    rng = np.random.default_rng(7)
    days = random_walk("1d", n_sessions, seed=0)["session"]
    parts = [
        pl.DataFrame({"session": days, "instrument": name, "passed": rng.random(n_sessions) > 0.2, "enforced": True})
        for name in ("ONE", "TWO")
    ]
    return pl.concat(parts)


def _embargoed_at_once(record: pl.DataFrame) -> pl.DataFrame:
    """By the session's own verdicts, which are only known when it is over."""
    return sla.failed_sessions(record).rename({"failed": "embargoed"})


def _under(engine: Any, strategy: Strategy) -> Callable[[], Found]:
    def run() -> Found:
        with engine():
            return found(strategy)

    return run


def _one(law: Callable[[], Law]) -> Callable[[], Found]:
    def run() -> Found:
        made = law()
        return {made.law: made}

    return run


MUTANTS: dict[str, Callable[[], Found]] = {
    "the next close": lambda: found(Tomorrow()),
    "a centred window, hidden by a later shift": lambda: found(Centred()),
    "the whole series' mean and deviation": lambda: found(Normalised()),
    "a backward fill": lambda: found(FilledBackwards()),
    "a parameter fitted on the full span": lambda: found(Fitted()),
    "the next close on one bar in five years": lambda: found(OnceInFiveYears(), a_great_fall()),
    "the next close in the last bits of this one": lambda: found(InTheLastBit()),
    "a Python function": lambda: found(Opaque()),
    "a window's array, read from beneath": lambda: found(Underneath()),
    "a warm-up that is understated": lambda: found(Understated()),
    "an engine that joins days on their open": _under(
        _longer_bars_joined_on_their_open, BollingerReversion(length=10, width=1.0)
    ),
    "an engine that leaves out entries that fail": _under(_entries_that_fail_left_out, SmaCross(fast=3, slow=9)),
    "the day's close inside the day": lambda: found(
        BollingerReversion(length=10, width=1.0), days_known_from_their_open()
    ),
    "a fill on the bar of the decision": _one(lambda: next_bar(_fills(0), _decisions())),
    "a universe from today's volume": _one(lambda: universe({"ONE": Chosen(_chosen_by_today, _sessions(), 10)})),
    "an embargo from today's verdicts": _one(lambda: embargo(_embargoed_at_once, verdicts())),
}


class Recursive(Strategy):
    """Means that carry their whole history with them, and a longer timeframe."""

    def signals(self, bars: Bars) -> Signals:
        days = bars.on("1d").close
        calm = (rsi(bars.close, 5) < 80) & (days > sma(days, 5))
        crossed = crossed_above(ema(bars.close, 4), sma(bars.close, 20))
        return Signals(enter=crossed & calm, exit=bars.close < ema(bars.close, 4) - atr(bars, 5))


class SinceTheStart(Strategy):
    """Columns that are cumulative from the first bar on."""

    def signals(self, bars: Bars) -> Signals:
        broke_out = bars.close > bars.high.lag(1)
        level = value_when(broke_out, bars.low)
        return Signals(
            enter=broke_out & (bars_since(bars.close < level) > 3), exit=bars.close < bars.close.expanding_mean()
        )


class Ranked(Strategy):
    """Across instruments, and another one's days."""

    def signals(self, bars: Bars) -> Signals:
        strong = rank(bars.close / bars.close.lag(24)) > 0.5
        return Signals(enter=strong & (bars.of("TWO").on("1d").close > 0), exit=~strong)


class Weighted(Strategy):
    def signals(self, bars: Bars) -> Signals:
        return Signals(
            weight=(bars.close / bars.close.lag(24) - 1.0).clip(-1.0, 1.0), confidence=rsi(bars.close, 5) / 100
        )


class BarByBar(Stateful):
    warm_up = 20

    def on_bar(self, bars: DataWindow, memory: dict[str, Any]) -> Answer:
        memory["highest"] = max(memory.get("highest", 0.0), bars.high[-1])
        broke_out = len(bars) > 20 and bars.close[-1] > bars.high[-21:-1].max()
        return Answer(enter=bool(broke_out), exit=bars.close[-1] < 0.97 * memory["highest"])


CLEAN: dict[str, Callable[[], Found]] = {
    "`sma_cross`": lambda: found(SmaCross(fast=5, slow=20)),
    "`bollinger_reversion`": lambda: found(BollingerReversion(length=10, width=1.0)),
    "`time_series_momentum`": lambda: found(TimeSeriesMomentum(lookback=10)),
    "recursive means and a longer timeframe": lambda: found(Recursive()),
    "columns cumulative from the start": lambda: found(SinceTheStart()),
    "ranks across instruments": lambda: found(Ranked()),
    "weights and confidence": lambda: found(Weighted()),
    "a loop, asked bar by bar": lambda: found(BarByBar()),
    "a fill on the next open": _one(lambda: next_bar(_fills(1), _decisions())),
    "a universe from the sessions before": _one(lambda: universe({"ONE": Chosen(_chosen_by, _sessions(), 10)})),
    "an embargo from the session before": _one(lambda: embargo(sla.embargo, verdicts())),
}


def table() -> str:
    """The table of the guide: `caught` where a law was broken, `kept` where it was not, nothing where it is not asked."""
    lines = [HEADING, f"|{'---|' * (len(LAWS) + 1)}\n"]
    for rows in (MUTANTS, CLEAN):
        for name, run in rows.items():
            laws = run()
            cells = ["" if law not in laws else "kept" if laws[law].passed else "**caught**" for law in LAWS]
            lines.append(f"| {name} | {' | '.join(cells)} |\n")
    return "".join(lines)


def with_table(page: str, made: str) -> str:
    above, _, rest = page.partition(HEADING)
    below = rest.partition("\n\n")[2]
    return f"{above}{made}\n{below}"


if __name__ == "__main__":
    GUIDE.write_text(with_table(GUIDE.read_text(), table()))
    sys.stdout.write(f"{GUIDE} is written\n")
