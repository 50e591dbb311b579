"""Every metric against numbers worked by hand, and what it says where there is nothing to measure."""

import math
from statistics import NormalDist

import numpy as np
import polars as pl
import pytest

from engine.scorecard import backtest_metrics, overfitting_metrics, walk_forward_metrics
from quality.evidence import METRICS

NORMAL = NormalDist()
RETURNS = np.array([0.10, -0.20, 0.05, 0.0])
WALKED = ("oos_sharpe", "oos_sharpe_lower", "oos_net_return", "degradation", "oos_windows_positive")


def trades_of(pnl, ambiguous=()):
    rows = {"pnl": list(pnl), "ambiguous": [n in ambiguous for n in range(len(pnl))]}
    return pl.DataFrame(rows, {"pnl": pl.Float64, "ambiguous": pl.Boolean})


def windows_of(*rows):
    return pl.DataFrame(list(rows), {"in_sample_sharpe": pl.Float64, "oos_net_return": pl.Float64}, orient="row")


def backtest(pnl=(), ambiguous=(), returns=RETURNS):
    return backtest_metrics(returns, trades_of(pnl, ambiguous), periods_per_year=252)


# The backtest


def test_the_backtest_in_numbers():
    found = backtest([10, -4, 6, -4], ambiguous={1})
    assert found["net_return"] == pytest.approx(1.1 * 0.8 * 1.05 - 1)
    mean = -0.05 / 4
    deviation = math.sqrt(sum((value - mean) ** 2 for value in RETURNS) / 3)
    assert found["sharpe"] == pytest.approx(mean / deviation * math.sqrt(252))
    assert found["max_drawdown"] == pytest.approx(0.2)
    assert found["n_trades"] == 4
    assert found["profit_factor"] == pytest.approx(16 / 8)
    assert found["ambiguous_share"] == 0.25


@pytest.mark.parametrize(
    ("pnl", "share"),
    [
        pytest.param([1, 2, 3, 4, 5, 6, -100], 20 / 21, id="the five best of six winners"),
        pytest.param([5, 3], 1.0, id="fewer winners than five are all of the profit"),
        pytest.param([-5, -3], math.nan, id="without a winner there is no profit to concentrate"),
        pytest.param([0.0, 0.0], math.nan, id="a trade that won nothing is no winner"),
    ],
)
def test_profit_concentration_is_the_share_of_the_five_best_trades(pnl, share):
    assert backtest(pnl)["profit_concentration"] == pytest.approx(share, nan_ok=True)


@pytest.mark.parametrize(
    ("pnl", "factor"),
    [
        pytest.param([5, 3], math.inf, id="nothing lost"),
        pytest.param([-5], 0.0, id="nothing won"),
        pytest.param([0.0], math.nan, id="neither"),
    ],
)
def test_the_profit_factor_at_its_ends(pnl, factor):
    assert backtest(pnl)["profit_factor"] == pytest.approx(factor, nan_ok=True)


def test_a_strategy_that_never_traded_has_counts_and_no_ratios():
    found = backtest(returns=np.zeros(4))
    assert {name: value for name, value in found.items() if not math.isnan(value)} == {
        "net_return": 0,
        "max_drawdown": 0,
        "n_trades": 0,
    }


def test_a_strategy_that_loses_everything_is_measured_too():
    found = backtest([-1_000], returns=np.array([-0.5, -1.0, 0.0]))
    assert (found["net_return"], found["max_drawdown"]) == (-1, 1)


# The walk-forward


def test_the_walk_forward_in_numbers():
    windows = windows_of((0.2, 0.05), (0.1, -0.01), (0.3, 0.0), (0.2, 0.02))
    returns = np.array([0.02, -0.01, 0.03])
    found = walk_forward_metrics(windows, returns, periods_per_year=4)
    sharpe = returns.mean() / returns.std(ddof=1) * 2
    assert found["oos_sharpe"] == pytest.approx(sharpe)
    assert found["oos_net_return"] == pytest.approx(1.02 * 0.99 * 1.03 - 1)
    assert found["degradation"] == pytest.approx((0.4 - sharpe) / 0.4)  # in-sample: 0.2 a session, 0.4 a year
    assert found["oos_windows_positive"] == 0.5  # zero is not positive


def test_without_a_window_nothing_is_measured():
    found = walk_forward_metrics(windows_of(), np.empty(0), periods_per_year=252)
    assert tuple(found) == WALKED
    assert all(map(math.isnan, found.values()))


def test_fewer_sessions_than_a_block_have_no_interval():
    found = walk_forward_metrics(windows_of((0.1, 0.0)), np.array([0.01, 0.02]), periods_per_year=252)
    assert math.isnan(found["oos_sharpe_lower"])


def test_a_flat_curve_has_a_return_and_no_ratios():
    found = walk_forward_metrics(windows_of((0.1, 0.0)), np.zeros(30), periods_per_year=252)
    assert {name: value for name, value in found.items() if not math.isnan(value)} == {
        "oos_net_return": 0,
        "oos_windows_positive": 0,
    }


@pytest.mark.parametrize("in_sample", [None, math.nan, -0.1, 0.0])
def test_there_is_no_degradation_of_what_was_nothing(in_sample):
    found = walk_forward_metrics(windows_of((in_sample, 0.1)), RETURNS, periods_per_year=252)
    assert math.isnan(found["degradation"])


@pytest.mark.slow  # arch takes seconds to import
def test_the_lower_bound_lies_below_the_ratio_and_is_the_same_twice():
    returns = np.random.default_rng(1).normal(0.001, 0.01, 60)
    one, other = (walk_forward_metrics(windows_of((0.1, 0.1)), returns, periods_per_year=252) for _ in range(2))
    assert one == other
    assert one["oos_sharpe_lower"] < one["oos_sharpe"]


# Overfitting


def test_one_trial_is_held_against_zero():
    found = overfitting_metrics(RETURNS, [0.1])
    assert found["n_trials"] == 1
    assert found["deflated_sharpe"] == found["probabilistic_sharpe"]


def test_overfitting_in_numbers():
    # Of two values in turn the skewness is 0 and the kurtosis 1, so the error is √(1/(n - 1)) whatever the ratio.
    returns = np.array([0.0, 0.02] * 4)
    sharpe = 0.01 / (0.01 * math.sqrt(8 / 7))
    found = overfitting_metrics(returns, [0.1, 0.3])
    assert found["probabilistic_sharpe"] == pytest.approx(NORMAL.cdf(sharpe * math.sqrt(7)))
    # Two trials: the first quantile of the expected maximum is that of one half, which is zero; the variance is 0.02.
    expected = math.sqrt(0.02) * np.euler_gamma * NORMAL.inv_cdf(1 - 1 / (2 * math.e))
    assert found["deflated_sharpe"] == pytest.approx(NORMAL.cdf((sharpe - expected) * math.sqrt(7)))
    length = 1 + (NORMAL.inv_cdf(0.95) / sharpe) ** 2
    assert found["track_record_ratio"] == pytest.approx(8 / length)


def test_the_more_was_tried_and_the_wider_it_scattered_the_less_is_left():
    returns = np.random.default_rng(1).normal(0.002, 0.01, 100)
    few, many, wide = (overfitting_metrics(returns, tried) for tried in ([0, 0.1], [0, 0.1] * 5, [0, 0.3]))
    assert few["probabilistic_sharpe"] > few["deflated_sharpe"] > many["deflated_sharpe"]
    assert few["deflated_sharpe"] > wide["deflated_sharpe"]


def test_a_trial_without_a_ratio_counts_and_does_not_scatter():
    returns = np.random.default_rng(1).normal(0.002, 0.01, 100)
    with_idle, idle_alone = overfitting_metrics(returns, [0.1, math.nan]), overfitting_metrics(returns, [math.nan] * 2)
    assert with_idle["n_trials"] == idle_alone["n_trials"] == 2
    assert with_idle["deflated_sharpe"] == with_idle["probabilistic_sharpe"]  # one ratio does not vary


def test_a_ratio_that_is_not_positive_has_no_track_record():
    assert overfitting_metrics(-RETURNS - 0.1, [0.1])["track_record_ratio"] == 0


@pytest.mark.parametrize(
    ("returns", "tried"),
    [
        pytest.param(np.zeros(10), [math.nan], id="returns that do not vary"),
        pytest.param(RETURNS, [], id="no trial recorded"),
    ],
)
def test_what_cannot_be_measured_is_nan_and_the_trials_are_counted(returns, tried):
    found = overfitting_metrics(returns, tried)
    assert found.pop("n_trials") == len(tried)
    assert all(map(math.isnan, found.values()))


def test_every_metric_goes_by_a_name_that_a_policy_may_use():
    walked = walk_forward_metrics(windows_of(), RETURNS, periods_per_year=252)
    assert {*backtest(), *walked, *overfitting_metrics(RETURNS, [0.1])} <= set(METRICS)
