"""Regimes: by hand on short charts, by laws on walks, and what the simulator makes of them."""

import math

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from engine.backtest import decisions, grid, run
from engine.causal import Bars
from engine.errors import UnknownNameError
from engine.evaluation import evaluate
from engine.regimes import CLASSIFIERS, UNSAID, RegimeRules, Terms, judged, regime
from engine.scorecard import by_regime, regime_metrics
from engine.selection import trials
from engine.simulator.inputs import Guards, LossStreak
from engine.simulator.records import orders_frame, trades_frame
from engine.simulator.words import REGIME_NOT_ALLOWED
from engine.statistics import sharpe_ratio
from engine.strategy import Signals
from tests.bar_frames import random_walk
from tests.makers import BUY, SELL, SHORT, Scripted, flat_bars, history_of, plan_of


def told(closes, classifier, length):
    """The regime's name and its confidence on every bar."""
    names = (*CLASSIFIERS[classifier].names, None)
    columns = regime(Bars("1d"), classifier, length=length)._asdict()
    found = evaluate(columns, {"1d": flat_bars([float(close) for close in closes])}, "1d")
    numbers = found["number"].fill_null(-1).cast(pl.Int64)
    return [names[number] for number in numbers], found["confidence"].to_list()


# By hand


@pytest.mark.parametrize(
    ("closes", "name", "sure"),
    [
        pytest.param([10, 11, 12, 13, 14], "trend", 0.8, id="a straight way up"),
        pytest.param([14, 13, 12, 11, 10], "bear", 0.8, id="a straight way down"),
        pytest.param([10, 11, 10, 11, 10], "chop", 1.0, id="a way that leads nowhere"),
        pytest.param([10, 10, 10, 10, 10], "chop", 1.0, id="a price that stands still"),
        pytest.param([10, 12, 11, 12, 13], "chop", 0.52, id="a way half of which leads up"),
    ],
)
def test_a_trend_is_a_straighter_way_than_chance_would_go(closes, name, sure):
    """Over 4 steps the border is 1.25 / 2 = 0.625; the last chart's ratio is 3 / 5 = 0.6."""
    names, confidences = told(closes, "trend_chop_bear", 4)
    assert names == [None] * 4 + [name]
    assert confidences[4] == pytest.approx(sure)


@pytest.mark.parametrize(
    ("closes", "name"),
    [
        ([10, 10, 10, 14], "bull"),
        ([14, 14, 14, 10], "bear"),
        ([10, 12, 10, 11], "neutral"),
        ([10, 10, 10, 10], "neutral"),
    ],
)
def test_a_bull_market_is_more_than_a_deviation_above_its_mean(closes, name):
    names, confidences = told(closes, "bull_neutral_bear", 4)
    assert names[-1] == name
    away = abs(closes[-1] - np.mean(closes)) / (np.std(closes) or 1.0)
    assert confidences[-1] == pytest.approx(min(1.0, away / 2) if away > 1 else 1 - away / 2)


def test_a_wide_market_deviates_more_than_it_used_to():
    quiet, loud = [100, 101] * 10, [100, 110] * 3
    names, confidences = told([*quiet, *loud, *[100, 100.1] * 8], "tight_wide", 2)
    assert names[:10] == [None] * 10
    assert names[18] == "tight"
    assert names[24] == "wide"
    assert confidences[24] == 1.0  # ten times what has been usual
    assert names[31] == "tight"
    assert confidences[31] > 0.9


def test_an_unknown_classifier_is_refused_with_the_nearest():
    with pytest.raises(UnknownNameError, match="did you mean 'tight_wide'"):
        regime(Bars("1d"), "tight_wild")


# Laws


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_a_regime_is_known_without_the_bars_that_follow(name):
    frame, columns = random_walk("1h", 400, seed=3), regime(Bars("1h"), name)._asdict()
    whole = evaluate(columns, {"1h": frame}, "1h")
    for cut in (50, 120, 121, 300, 399):
        assert_frame_equal(evaluate(columns, {"1h": frame.head(cut)}, "1h"), whole.head(cut))


@pytest.mark.parametrize("name", CLASSIFIERS)
@given(closes=st.lists(st.floats(1e-3, 1e6) | st.just(50.0), min_size=30, max_size=60))
def test_confidence_lies_between_a_half_and_one_wherever_a_regime_is_known(name, closes):
    names, confidences = told(closes, name, 3)
    known = [(one, sure) for one, sure in zip(names, confidences, strict=True) if one is not None]
    assert len(known) >= 10
    assert all(0.5 <= sure <= 1.0 for _, sure in known)


# What is allowed

RULES = RegimeRules(
    "trend_chop_bear",
    2,
    "1d",
    terms={"trend": Terms(frozenset({"momentum"})), "chop": Terms(frozenset({"mean_reversion"}), size=0.5, cash=0.2)},
    min_confidence=0.6,
)
SETUPS = ("breakout", "mean_reversion", "mine")
TREND, CHOP, BEAR = 0.0, 1.0, 2.0


@pytest.mark.parametrize(
    ("number", "sure", "setup", "multiplier"),
    [
        pytest.param(TREND, 0.9, 0, 1.0, id="a class of an allowed group"),
        pytest.param(TREND, 0.9, 1, None, id="a class that the regime does not allow"),
        pytest.param(CHOP, 0.9, 1, 0.4, id="half the size, less the cash that is kept"),
        pytest.param(CHOP, 0.9, 0, None, id="a breakout where nothing leads anywhere"),
        pytest.param(TREND, 0.9, 2, 1.0, id="a setup that is no class"),
        pytest.param(TREND, 0.9, UNSAID, 1.0, id="no setup"),
        pytest.param(TREND, 0.6, UNSAID, 1.0, id="exactly sure enough"),
        pytest.param(TREND, 0.59, UNSAID, None, id="not sure enough"),
        pytest.param(BEAR, 1.0, UNSAID, None, id="a regime that is not traded"),
        pytest.param(math.nan, math.nan, UNSAID, None, id="a regime that nobody knows"),
    ],
)
def test_what_a_regime_says_to_an_entry(number, sure, setup, multiplier):
    verdict = judged(RULES, np.array([[number]]), np.array([[sure]]), np.array([[setup]]), SETUPS)
    assert verdict is not None
    if multiplier is None:
        assert verdict.refusals.item() == REGIME_NOT_ALLOWED
    else:
        assert math.isnan(verdict.refusals.item())
        assert verdict.multipliers.item() == pytest.approx(multiplier)


def test_a_regime_that_allows_no_signal_refuses_what_has_no_name_too():
    closed = RULES._replace(terms={"trend": Terms(frozenset())})
    verdict = judged(closed, np.array([[TREND]]), np.array([[1.0]]), np.array([[UNSAID]]), ())
    assert verdict is not None
    assert verdict.refusals.item() == REGIME_NOT_ALLOWED


# In a run: two rising days make a trend, and one up and one down a chop

CLOSES = [100, 100, 102, 104, 102, 104, 106, 108, 106, 104, 102, 104]
NAMED = [None, None, "trend", "trend", "chop", "chop", "trend", "trend", "chop", "bear", "bear", "chop"]
TRADED = RegimeRules("trend_chop_bear", 2, "1d", terms={"trend": Terms(), "chop": Terms(size=0.5)})
RECORDED = RegimeRules("trend_chop_bear", 2, "1d")


class Named(Scripted):
    """As scripted; buys are called dips, or rallies where the day rose."""

    def signals(self, bars):
        said: Signals = super().signals(bars)
        rises = bars.close > bars.close.lag(1)
        return said._replace(
            setups={"rally": said.enter & rises, "dip": said.enter}, bias=bars.close - bars.close + 0.5
        )


def ran(said, rules, *, strategy=Scripted, more=None, **others):
    history = history_of({"X": flat_bars([float(one) for one in CLOSES], said=said), **(more or {})})
    plan = plan_of("X", *(more or {}), plan={"regimes": rules, **others.pop("plan", {})}, **others)
    on = grid(history, plan)
    decided = decisions(strategy(), history, plan, on)
    simulation = run(on, decided, plan)
    return simulation, (simulation, on.bars, plan.instruments, decided)


def test_the_regime_of_every_bar_is_on_the_grid():
    history, plan = (
        history_of({"X": flat_bars([float(one) for one in CLOSES])}),
        plan_of("X", plan={"regimes": RECORDED}),
    )
    numbers = grid(history, plan).regimes
    assert numbers is not None
    assert [None if np.isnan(one) else RECORDED.names[int(one)] for one in numbers[:, 0]] == NAMED


def test_an_entry_in_a_regime_that_is_not_traded_is_refused_and_recorded():
    _, of = ran({9: BUY}, TRADED)
    (order,) = orders_frame(*of).to_dicts()
    assert (order["status"], order["reason"], order["regime"]) == ("rejected", "regime_not_allowed", "bear")


def test_a_size_is_what_its_regime_leaves_of_it():
    size = plan_of("X").rules.size._replace(amount=4.0)
    simulation, of = ran({2: BUY, 3: SELL, 4: BUY, 5: SELL}, TRADED, size=size, participation=10.0)
    assert simulation.trades["quantity"].tolist() == [4.0, 2.0]
    assert trades_frame(*of)["regime"].to_list() == ["trend", "chop"]


def test_what_is_held_is_left_in_any_regime():
    simulation, _ = ran({6: BUY, 9: SELL}, TRADED)
    assert simulation.trades["exit_bar"].tolist() == [10]


def test_nothing_is_entered_while_no_regime_is_known():
    _, of = ran({0: BUY, 1: BUY}, TRADED)
    assert orders_frame(*of).is_empty()


def test_a_strategy_that_says_nothing_of_regimes_trades_in_all_and_has_them_recorded():
    simulation, of = ran({0: BUY, 1: SELL, 4: BUY, 5: SELL, 9: SHORT}, RECORDED)
    plain, _ = ran({0: BUY, 1: SELL, 4: BUY, 5: SELL, 9: SHORT}, None)
    assert simulation.equity.tolist() == plain.equity.tolist()
    trades = trades_frame(*of)
    assert trades["regime"].to_list() == [None, "chop"]
    assert trades["regime_confidence"].to_list() == [None, 1.0]


def test_a_trade_carries_the_setup_and_the_bias_of_its_entry():
    _, of = ran({3: BUY, 4: SELL, 8: BUY, 9: SELL}, RECORDED, strategy=Named)
    assert trades_frame(*of).select("setup", "bias", "regime").rows() == [("rally", 0.5, "trend"), ("dip", 0.5, "chop")]
    said = orders_frame(*of).select("role", "setup").rows()
    assert said == [("free", "rally"), ("exit", None), ("free", "dip"), ("exit", None)]


def test_sleeves_carry_the_same():
    other = {"Y": flat_bars([float(one) for one in CLOSES[::-1]], said={8: BUY, 10: SELL})}
    _, of = ran({3: BUY, 4: SELL}, RECORDED, strategy=Named, more=other, plan={"capital": "sleeves"})
    found = trades_frame(*of).select("instrument", "setup", "regime").rows()
    assert found == [("X", "rally", "trend"), ("Y", "rally", "chop")]


def test_losing_streaks_are_counted_by_regime():
    streak = Guards(loss_streak_cooldown=LossStreak(losses=1, seconds=30 * 86_400))
    lost_in_a_trend = {2: BUY, 3: SELL}  # bought at 104, sold at 102
    _, of = ran({**lost_in_a_trend, 6: BUY}, RECORDED, guards=streak)
    assert reasons(of) == [None, "loss_streak_cooldown"]  # a trend again
    _, of = ran({**lost_in_a_trend, 5: BUY}, RECORDED, guards=streak)
    assert reasons(of) == [None, None]  # a chop


def reasons(of):
    return orders_frame(*of).filter(pl.col("role") == "free")["reason"].to_list()


@pytest.mark.parametrize("rules", [RECORDED, TRADED], ids=["recorded", "traded"])
def test_a_trial_is_the_run_it_stands_for(rules):
    """Sweeps keep one market for all sets; what regimes do must be the same as in a run."""
    said = {2: BUY, 3: SELL, 4: BUY, 5: SELL, 7: SHORT, 9: BUY}
    history = history_of({"X": flat_bars([float(one) for one in CLOSES], said=said)})
    guards = Guards(loss_streak_cooldown=LossStreak(losses=1, seconds=30 * 86_400))
    plan = plan_of("X", plan={"regimes": rules}, guards=guards)
    (trial,) = trials(Scripted, {"a": {}}, history, plan, of=history.sessions)
    on = grid(history, plan)
    equity = run(on, decisions(Scripted(), history, plan, on), plan).equity
    assert trial.sharpe == pytest.approx(sharpe_ratio(equity / np.array([1_000.0, *equity[:-1]]) - 1))


# Results

TRADES = st.lists(st.tuples(st.sampled_from(["trend", "chop", None]), st.floats(-1e4, 1e4)), max_size=30)


@given(TRADES)
def test_the_results_by_regime_sum_to_the_whole(rows):
    trades = pl.DataFrame(rows, {"regime": pl.String, "pnl": pl.Float64}, orient="row")
    parts = by_regime(trades)
    assert parts["trades"].sum() == trades.height
    assert parts["pnl"].sum() == pytest.approx(trades["pnl"].sum())
    assert (parts["win_rate"] * parts["trades"]).sum() == pytest.approx((trades["pnl"] > 0).sum())
    assert parts["regime"].to_list() == sorted(parts["regime"].drop_nulls()) + [None] * parts["regime"].null_count()


def test_a_regime_has_the_profit_factor_of_its_trades():
    trades = pl.DataFrame({"regime": ["chop", "chop", "trend", None], "pnl": [30.0, -10.0, 5.0, -7.0]})
    assert by_regime(trades).rows() == [
        ("chop", 2, 0.5, 20.0, 3.0),
        ("trend", 1, 1.0, 5.0, math.inf),
        (None, 1, 0.0, -7.0, 0.0),
    ]
    assert regime_metrics(trades, cash=100.0) == {"net_return_worst_regime": 0.05}
    assert math.isnan(regime_metrics(trades.clear(), cash=100.0)["net_return_worst_regime"])
