"""The deflated ratio against its paper and its laws; the bootstrap against what is known of a mean."""

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.errors import EmptySeriesError, NotFiniteError, OutOfBoundsError
from engine.overfitting import bootstrap_interval, deflated_sharpe_ratio, expected_maximum_sharpe
from engine.statistics import max_drawdown, probabilistic_sharpe_ratio, sharpe_ratio

# The worked example of Bailey and López de Prado, "The Deflated Sharpe Ratio" (2014): five years of 250 daily returns
# with an annual ratio of 2.5, skewness -3 and kurtosis 10, the best of trials whose annual ratios vary by 1/2.
DAYS = 250
RECORD = {"sharpe": 2.5 / math.sqrt(DAYS), "n": 1_250, "skewness": -3.0, "kurtosis": 10.0}
VARIANCE = 0.5 / DAYS

RETURNS = np.random.default_rng(7).normal(0.001, 0.01, 250)
DRAW = {"block": 5, "replications": 400, "seed": 11}


def test_a_hundred_trials_without_an_edge_are_expected_to_show_the_ratio_of_the_paper():
    assert expected_maximum_sharpe(100, VARIANCE) == pytest.approx(0.1132, abs=5e-5)


def test_the_strategy_of_the_paper_is_not_believed_after_a_hundred_trials():
    deflated = deflated_sharpe_ratio(**RECORD, n_trials=100, trials_variance=VARIANCE)
    assert deflated == pytest.approx(0.9004, abs=5e-5)


@pytest.mark.parametrize(
    ("n_trials", "skewness", "kurtosis"),
    [pytest.param(46, -3.0, 10.0, id="as it was"), pytest.param(88, 0.0, 3.0, id="taken for normal")],
)
def test_the_strategy_of_the_paper_would_be_believed_after_fewer(n_trials, skewness, kurtosis):
    """The paper: 0.9505 after 46 trials, and after 88 if the returns were normal."""
    record = {**RECORD, "skewness": skewness, "kurtosis": kurtosis}
    deflated = deflated_sharpe_ratio(**record, n_trials=n_trials, trials_variance=VARIANCE)
    assert deflated == pytest.approx(0.9505, abs=5e-5)


def test_excess_kurtosis_would_give_another_answer_than_the_paper():
    deflated = deflated_sharpe_ratio(**{**RECORD, "kurtosis": 10.0 - 3.0}, n_trials=100, trials_variance=VARIANCE)
    assert abs(deflated - 0.9004) > 0.001


@pytest.mark.parametrize(
    ("n_trials", "exact"),
    [(3, 0.84628), (5, 1.16296), (10, 1.53875), (20, 1.86748), (100, 2.50759)],
)
def test_the_expected_maximum_is_near_that_of_as_many_normal_draws(n_trials, exact):
    """Tabulated expectations of the largest of n of them: H. L. Harter, Biometrika 48, 1961, pp. 151-165."""
    assert expected_maximum_sharpe(n_trials) == pytest.approx(exact, rel=0.03)


def test_one_trial_was_not_selected_from_anything():
    assert expected_maximum_sharpe(1, math.nan) == 0.0
    deflated = deflated_sharpe_ratio(**RECORD, n_trials=1, trials_variance=math.nan)
    assert deflated == probabilistic_sharpe_ratio(RECORD["sharpe"], 0.0, 1_250, -3.0, 10.0)


@given(st.floats(-0.5, 0.5), st.lists(st.integers(1, 10**9), min_size=2, max_size=8), st.floats(0, 1))
def test_more_trials_never_raise_the_deflated_ratio(sharpe, counts, variance):
    deflated = [
        deflated_sharpe_ratio(sharpe, 500, -1.0, 9.0, n_trials=n_trials, trials_variance=variance)
        for n_trials in sorted(counts)
    ]
    assert all(more <= fewer for fewer, more in pairwise(deflated))


@given(st.integers(2, 10**9), st.floats(0, 10), st.floats(0.01, 100))
def test_trials_that_vary_more_are_expected_to_show_proportionally_more(n_trials, variance, times):
    once = expected_maximum_sharpe(n_trials, variance)
    assert expected_maximum_sharpe(n_trials, variance * times**2) == pytest.approx(once * times)


def test_what_was_not_measured_is_not_deflated():
    assert math.isnan(expected_maximum_sharpe(2, math.nan))
    assert math.isnan(
        deflated_sharpe_ratio(math.nan, 9, math.nan, math.nan, n_trials=20, trials_variance=0.1),
    )


@pytest.mark.parametrize(("n_trials", "variance"), [(0, 1.0), (-3, 1.0), (10, -0.1)])
def test_trials_that_cannot_have_been_are_refused(n_trials, variance):
    with pytest.raises(OutOfBoundsError, match="must be at least"):
        expected_maximum_sharpe(n_trials, variance)


# The bootstrap


@pytest.mark.slow
def test_the_interval_of_a_mean_is_as_wide_as_the_textbook_says():
    """For independent returns, blocks of one, 90 %: mean ± 1.645 standard errors, to the noise of 2,000 draws."""
    error = RETURNS.std() / math.sqrt(RETURNS.size)
    drawn = bootstrap_interval(RETURNS, np.mean, level=0.9, block=1, replications=2_000, seed=3)
    assert drawn.estimate == pytest.approx(RETURNS.mean())
    assert drawn.lower == pytest.approx(RETURNS.mean() - 1.645 * error, abs=0.15 * error)
    assert drawn.upper == pytest.approx(RETURNS.mean() + 1.645 * error, abs=0.15 * error)


@pytest.mark.slow
def test_blocks_keep_the_dependence_and_widen_the_interval():
    trending = np.repeat(np.random.default_rng(5).normal(0, 0.01, 100), 5)
    alone, together = (
        bootstrap_interval(trending, np.mean, block=block, replications=400, seed=1) for block in (1, 10)
    )
    assert together.upper - together.lower > 1.4 * (alone.upper - alone.lower)


@pytest.mark.parametrize("statistic", [sharpe_ratio, max_drawdown])
def test_a_wider_level_encloses_a_narrower_one(statistic):
    wide, narrow = (bootstrap_interval(RETURNS, statistic, level=level, **DRAW) for level in (0.95, 0.5))
    assert wide.lower < narrow.lower < narrow.upper < wide.upper
    assert wide.estimate == narrow.estimate == statistic(RETURNS)


def test_the_seed_decides():
    assert bootstrap_interval(RETURNS, sharpe_ratio, **DRAW) == bootstrap_interval(RETURNS, sharpe_ratio, **DRAW)
    assert bootstrap_interval(RETURNS, sharpe_ratio, **DRAW) != bootstrap_interval(
        RETURNS, sharpe_ratio, **{**DRAW, "seed": 12}
    )


@pytest.mark.parametrize(
    "returns",
    [
        pytest.param([0.01], id="one return"),
        pytest.param([0.01, -0.02, 0.03, 0.01], id="less than one block"),
        pytest.param([0.0] * 50, id="a strategy that never traded"),
    ],
)
def test_what_cannot_be_drawn_again_has_no_bounds(returns):
    drawn = bootstrap_interval(np.array(returns), sharpe_ratio, **DRAW)
    assert math.isnan(drawn.lower)
    assert math.isnan(drawn.upper)


@pytest.mark.parametrize(
    ("returns", "refusal"), [([], EmptySeriesError), ([0.1, math.nan], NotFiniteError)], ids=["empty", "NaN"]
)
def test_a_broken_record_is_refused_before_it_is_drawn(returns, refusal):
    with pytest.raises(refusal):
        bootstrap_interval(np.array(returns), np.mean, **DRAW)


@pytest.mark.parametrize("wrong", [{"level": 1.0}, {"level": 90}, {"block": 0}, {"replications": 0}], ids=str)
def test_a_bootstrap_that_cannot_be_is_refused_with_what_was_wrong(wrong):
    with pytest.raises(OutOfBoundsError, match=f"^{next(iter(wrong))} is "):
        bootstrap_interval(RETURNS, np.mean, **{**DRAW, **wrong})
