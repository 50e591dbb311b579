"""The laws hold for honest strategies and catch each mutant; neither law sees what the other is for."""

import json

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.causal import Bars, derived
from engine.indicators import atr, rsi
from engine.strategy import Signals, Strategy, decide, warm_up_bars
from quality.lookahead import Law, certificate, next_bar_law, prefix_law
from strategies.bollinger_reversion import BollingerReversion
from strategies.sma_cross import SmaCross
from strategies.time_series_momentum import TimeSeriesMomentum
from tests.bar_frames import random_walk


def market(n_days=12, *, seed=0):
    return {"1h": random_walk("1h", 24 * n_days, seed=seed), "1d": random_walk("1d", n_days, seed=seed + 1)}


def proved(strategy, frames, timeframe="1h", **options):
    return prefix_law(lambda cut: decide(strategy, cut, timeframe), frames, timeframe=timeframe, **options)


class RsiBelowTheBand(Strategy):
    """Recursive indicators, which carry their whole history with them."""

    def signals(self, bars: Bars) -> Signals:
        stretched = (bars.close.rolling_mean(10) - bars.close) > atr(bars, 3)
        return Signals(enter=stretched & (rsi(bars.close, 3) < 30), exit=rsi(bars.close, 3) > 60)


HONEST = [
    SmaCross(fast=3, slow=9),
    BollingerReversion(length=5, width=1.5),
    TimeSeriesMomentum(lookback=3),
    RsiBelowTheBand(),
]


@given(st.sampled_from(HONEST), st.integers(0, 10_000), st.data())
@settings(max_examples=25)
@pytest.mark.slow
def test_an_honest_strategy_is_never_flagged(strategy, seed, data):
    frames = market(seed=seed)
    there = np.random.default_rng(seed).random(frames["1h"].height) > 0.05
    frames["1h"] = frames["1h"].filter(pl.Series(there))
    law = proved(strategy, frames, n_bars=40, history=data.draw(st.sampled_from([None, 0, 200])))
    assert law.passed, law.detail
    assert (law.first_bar, law.column) == (None, None)


def test_flat_prices_do_not_raise_false_alarms():
    """Equal means that are summed from different starts may differ in the last bit: both runs start alike."""
    frames = {name: frame.with_columns(close=pl.col("close").round(0)) for name, frame in market(30).items()}
    assert proved(SmaCross(fast=2, slow=4), frames, n_bars=200, history=10).passed


class Tomorrow(Strategy):
    def signals(self, bars: Bars) -> Signals:
        return Signals(
            enter=derived(lambda closes: closes.shift(-1), bars.close, name="tomorrow") > bars.close,
            exit=bars.close < 0,
        )


class AgainstTheWholeMean(Strategy):
    def signals(self, bars: Bars) -> Signals:
        return Signals(enter=bars.close > derived(lambda closes: closes.mean(), bars.close, name="mean"))


class FilledBackwards(Strategy):
    def signals(self, bars: Bars) -> Signals:
        rare = derived(lambda closes: pl.when(closes > 101).then(closes).backward_fill(), bars.close, name="rare")
        return Signals(enter=rare > 0)


def days_seen_from_their_open(frames):
    """The well-known mistake: the day's bar joined by its label, so its close is known all day."""
    seen = frames["1h"].join_asof(frames["1d"].select("ts", day="close"), on="ts", strategy="backward")
    return seen.select("ts", "known_at", enter=pl.col("close") < pl.col("day"))


@pytest.mark.parametrize("mutant", [Tomorrow(), AgainstTheWholeMean(), FilledBackwards()])
def test_the_prefix_law_catches_what_reads_later_bars(mutant):
    law = proved(mutant, market(), n_bars=50)
    assert not law.passed
    assert law.column == "enter"
    assert "with later data" in law.detail


def test_the_prefix_law_catches_days_joined_on_their_open():
    law = prefix_law(days_seen_from_their_open, market(), timeframe="1h", n_bars=50)
    assert (law.passed, law.column) == (False, "enter")


def test_the_first_bar_is_counted_in_the_whole_series():
    frames = market()
    law = proved(Tomorrow(), frames, n_bars=50, history=10)
    closes = frames["1h"]["close"].to_numpy()
    rises = np.flatnonzero(closes[1:] > closes[:-1])
    first_cut = closes.size - 50
    assert (
        law.first_bar == rises[rises >= first_cut][0]
    )  # the last bar of a cut has no tomorrow: its entry goes missing


def test_a_past_that_is_repainted_is_caught_where_it_changed():
    def repaint(frames):
        bars = frames["1h"]
        return bars.select("ts", enter=pl.int_range(pl.len()) == pl.lit(5 if bars.height > 280 else 4))

    law = prefix_law(repaint, market(), timeframe="1h", n_bars=20)
    assert (law.passed, law.first_bar) == (False, 4)


def test_a_run_that_loses_bars_is_no_pass():
    law = prefix_law(lambda frames: frames["1h"].select("ts").head(3), market(), timeframe="1h", n_bars=5)
    assert (law.passed, law.detail) == (False, "the run gives 3 rows for 288 bars, must be one for each")


def test_a_table_that_changes_its_shape_with_later_bars_is_no_pass():
    def shifting(frames):
        bars = frames["1h"]
        return bars.select("ts", "open" if bars.height == 288 else "close")

    law = prefix_law(shifting, market(), timeframe="1h", n_bars=5)
    assert not law.passed
    assert law.detail.endswith("there are 284 rows of ts, close, must be 284 rows of ts, open as in the whole run")


def test_an_empty_series_proves_nothing():
    empty = {"1h": market()["1h"].head(0)}
    assert not proved(SmaCross(), empty).passed
    assert not next_bar_law(honest_fills, {"enter": np.array([], dtype=bool)}).passed


def test_a_short_series_is_checked_at_every_bar():
    frames = {name: frame.head(7) for name, frame in market().items()}
    assert "last 7 bars" in proved(SmaCross(fast=1, slow=2), frames).detail


def test_a_history_of_the_warm_up_still_decides():
    """Shortened history must not make the law empty: the strategy decides on the bars that are checked."""
    strategy, frames = BollingerReversion(length=5, width=1.5), market(40)
    history = warm_up_bars(strategy, "1h")
    kept = frames | {"1h": frames["1h"].tail(100 + history)}
    decisions = decide(strategy, kept, "1h")
    assert decisions["exit"].tail(100).any()
    whole = decide(strategy, frames, "1h").tail(100)
    assert decisions.tail(100).equals(whole)


OPENS = 100 + np.cumsum(np.random.default_rng(3).normal(0, 1, 60))
CLOSES = OPENS + np.random.default_rng(4).normal(0, 1, 60)


def fills(decisions, delay):
    """One unit, long only, from the open `delay` bars after the decision; exits win."""
    held, cash, equity = 0.0, 1000.0, []
    for t in range(len(OPENS)):
        if 0 <= t - delay < len(OPENS):
            wanted = 1.0 if decisions["enter"][t - delay] else held
            wanted = 0.0 if decisions["exit"][t - delay] else wanted
            cash -= (wanted - held) * OPENS[t]
            held = wanted
        equity.append(cash + held * CLOSES[t])
    return {"equity": np.array(equity)}


def honest_fills(decisions):
    return fills(decisions, 1)


def random_decisions(seed):
    rng = np.random.default_rng(seed)
    return {name: rng.random(60) < 0.2 for name in ("enter", "exit")}


@given(st.integers(0, 1000))
@settings(max_examples=20)
def test_fills_at_the_next_open_keep_the_next_bar_law(seed):
    assert next_bar_law(honest_fills, random_decisions(seed)).passed


@given(st.integers(0, 1000), st.sampled_from([0, -1]))
@settings(max_examples=20)
def test_a_kernel_that_fills_on_the_same_bar_or_earlier_is_caught(seed, delay):
    law = next_bar_law(lambda decisions: fills(decisions, delay), random_decisions(seed))
    assert (law.passed, law.column) == (False, "equity")
    assert "moves equity on bar" in law.detail


def test_a_decision_that_was_never_made_is_tried_too():
    never = {name: np.zeros(60, dtype=bool) for name in ("enter", "exit")}
    assert not next_bar_law(lambda decisions: fills(decisions, 0), never).passed


def test_arrays_of_several_instruments_and_nan_are_compared():
    def simulate(decisions):
        reach = np.roll(decisions["enter"], -1, axis=0)  # the decision of the bar after
        return {"equity": np.where(reach, np.nan, 1.0)}

    law = next_bar_law(simulate, {"enter": np.zeros((10, 3), dtype=bool)}, n_bars=10)
    assert not law.passed
    assert next_bar_law(lambda _: {"equity": np.full((10, 3), np.nan)}, {"enter": np.zeros((10, 3), dtype=bool)}).passed


HELD = [Law(law=name, passed=True, first_bar=None, column=None, detail="") for name in ("prefix", "next_bar")]
BROKEN = Law(law="prefix", passed=False, first_bar=7, column="enter", detail="differs")


def test_a_certificate_needs_every_law_on_every_instrument():
    good = certificate("sma_cross@1.0.0", {"A": HELD, "B": HELD}, bars_checked=1000, code="sha256:0")
    assert good.certified
    assert [law.law for law in good.laws] == ["prefix", "next_bar"]
    assert json.loads(good.model_dump_json())["laws"][0] == {
        "law": "prefix",
        "passed": True,
        "first_bar": None,
        "column": None,
        "detail": "held on 2 instruments",
    }


@pytest.mark.parametrize(
    ("laws", "bars_checked", "detail"),
    [
        pytest.param({"A": HELD, "B": [BROKEN, HELD[1]]}, 1000, "B: differs", id="one broken law"),
        pytest.param({"A": HELD, "B": HELD[1:]}, 1000, "B: not run", id="a law not run somewhere"),
        pytest.param({}, 0, "run on no instrument", id="nothing run"),
        pytest.param({"A": HELD}, 0, "held on 1 instruments", id="no bar checked"),
    ],
)
def test_what_was_not_proved_is_not_certified(laws, bars_checked, detail):
    refused = certificate("x@1.0.0", laws, bars_checked=bars_checked, code="sha256:0")
    assert not refused.certified
    assert refused.laws[0].detail == detail
