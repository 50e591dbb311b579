"""Each number against the papers that define it, against arithmetic in plain Python, and against its laws."""

import math
from fractions import Fraction
from statistics import NormalDist

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from engine import statistics
from engine.errors import EmptySeriesError, InvalidInputError, NotFiniteError, OutOfBoundsError

# Steps of a basis point, as the twins count exactly in fractions.
basis_points = st.lists(st.integers(-9_000, 9_000), min_size=1, max_size=40)
ratios = st.floats(-1.0, 1.0)
lengths = st.integers(2, 2_000)

OF_A_SERIES = {
    "sharpe_ratio": statistics.sharpe_ratio,
    "cagr": lambda returns: statistics.cagr(returns, periods_per_year=252),
    "max_drawdown": statistics.max_drawdown,
    "skewness": statistics.skewness,
    "kurtosis": statistics.kurtosis,
}
every_function_of_a_series = pytest.mark.parametrize("measure", OF_A_SERIES.values(), ids=OF_A_SERIES)


def as_returns(points):
    return np.array(points) / 10_000


def slow_central_moment(points, order):
    values = [Fraction(point, 10_000) for point in points]
    mean = sum(values) / len(values)
    return sum((value - mean) ** order for value in values) / len(values)


def slow_max_drawdown(points):
    wealth = peak = Fraction(1)
    deepest = Fraction(0)
    for point in points:
        wealth *= 1 + Fraction(point, 10_000)
        peak = max(peak, wealth)
        deepest = max(deepest, (peak - wealth) / peak)
    return float(deepest)


def slow_normal_cdf(z):
    """Simpson's rule on the density, from far in the left tail."""
    n, left = 2_000, -12.0
    step = (z - left) / n
    weights = [1 if i in (0, n) else 4 if i % 2 else 2 for i in range(n + 1)]
    density = [math.exp(-((left + i * step) ** 2) / 2) / math.sqrt(2 * math.pi) for i in range(n + 1)]
    return step / 3 * sum(w * d for w, d in zip(weights, density, strict=True))


# The Sharpe ratio


def test_the_sharpe_ratio_of_four_returns_worked_by_hand():
    returns = np.array([0.01, 0.03, -0.01, 0.01])  # mean 0.01; squared deviations 0.0008 over 3
    assert statistics.sharpe_ratio(returns) == pytest.approx(0.01 / math.sqrt(0.0008 / 3))
    assert statistics.sharpe_ratio(returns, ddof=0) == pytest.approx(0.01 / math.sqrt(0.0008 / 4))
    assert statistics.sharpe_ratio(returns, periods_per_year=252, risk_free=0.005) == pytest.approx(
        0.005 / math.sqrt(0.0008 / 3) * math.sqrt(252)
    )


@given(basis_points)
def test_the_sharpe_ratio_agrees_with_exact_fractions(points):
    assume(len(set(points)) > 1)
    mean = Fraction(sum(points), 10_000 * len(points))
    variance = slow_central_moment(points, 2) * len(points) / (len(points) - 1)
    assert statistics.sharpe_ratio(as_returns(points)) == pytest.approx(float(mean) / math.sqrt(variance), abs=1e-12)


@given(basis_points, st.floats(1e-3, 1e3))
def test_the_size_of_the_bet_does_not_change_the_sharpe_ratio(points, size):
    assume(len(set(points)) > 1)
    once = statistics.sharpe_ratio(as_returns(points))
    assert statistics.sharpe_ratio(as_returns(points) * size) == pytest.approx(once, rel=1e-9, abs=1e-9)
    assert statistics.sharpe_ratio(as_returns(points) * -size) == pytest.approx(-once, rel=1e-9, abs=1e-9)


@pytest.mark.parametrize(
    "returns",
    [
        pytest.param([0.01], id="a single return"),
        pytest.param([0.0, 0.0, 0.0], id="a strategy that never traded"),
        pytest.param([0.1, 0.1, 0.1], id="a constant return"),
        pytest.param(1.0001 ** np.arange(1, 500) / 1.0001 ** np.arange(499) - 1, id="constant growth, rounded"),
    ],
)
def test_returns_that_do_not_vary_have_no_sharpe_ratio_and_no_shape(returns):
    assert math.isnan(statistics.sharpe_ratio(returns))
    assert math.isnan(statistics.skewness(returns))
    assert math.isnan(statistics.kurtosis(returns))


def test_too_few_returns_for_the_degrees_of_freedom_give_nan():
    assert math.isnan(statistics.sharpe_ratio(np.array([0.01, 0.02]), ddof=2))


# Growth and drawdown


def test_doubling_in_half_a_year_quadruples_in_one():
    assert statistics.cagr(np.array([1.0, 0.0]), periods_per_year=4) == pytest.approx(3.0)


def test_a_constant_rate_grows_at_that_rate():
    assert statistics.cagr(np.full(500, 1.1 ** (1 / 252) - 1), periods_per_year=252) == pytest.approx(0.1)


def test_a_total_loss_is_minus_one_a_year_and_a_whole_drawdown():
    returns = np.array([0.5, -1.0, 0.2])
    assert statistics.cagr(returns, periods_per_year=252) == -1.0
    assert statistics.max_drawdown(returns) == 1.0


def test_growth_beyond_a_float_is_infinite():
    assert statistics.cagr(np.array([30.0]), periods_per_year=252) == math.inf


def test_the_starting_capital_is_the_first_peak():
    assert statistics.max_drawdown(np.array([-0.25, 0.1])) == pytest.approx(0.25)


def test_the_drawdown_is_from_the_running_peak_and_not_from_the_last_one():
    assert statistics.max_drawdown(np.array([0.5, -0.2, 0.1, -0.5, 2.0])) == pytest.approx(1 - 0.8 * 1.1 * 0.5)


@given(basis_points)
def test_the_drawdown_agrees_with_exact_fractions_and_is_a_fraction(points):
    drawdown = statistics.max_drawdown(as_returns(points))
    assert drawdown == pytest.approx(slow_max_drawdown(points), abs=1e-12)
    assert 0.0 <= drawdown <= 1.0


@given(basis_points, basis_points)
def test_a_longer_record_never_has_a_smaller_drawdown(points, more):
    shorter, longer = statistics.max_drawdown(as_returns(points)), statistics.max_drawdown(as_returns(points + more))
    assert longer >= shorter


@pytest.mark.parametrize("measure", [OF_A_SERIES["cagr"], statistics.max_drawdown], ids=["cagr", "max_drawdown"])
def test_more_than_everything_cannot_be_lost(measure):
    with pytest.raises(OutOfBoundsError, match=r"is -1\.5, must be at least -1"):
        measure(np.array([0.1, -1.5]))


# Moments


@given(basis_points)
def test_skewness_and_kurtosis_agree_with_exact_fractions(points):
    assume(len(set(points)) > 1)
    variance = slow_central_moment(points, 2)
    skewness = float(slow_central_moment(points, 3)) / float(variance) ** 1.5
    kurtosis = float(slow_central_moment(points, 4) / variance**2)
    assert statistics.skewness(as_returns(points)) == pytest.approx(skewness, rel=1e-9, abs=1e-9)
    assert statistics.kurtosis(as_returns(points)) == pytest.approx(kurtosis, rel=1e-9)


def test_kurtosis_is_raw():
    """Half ups, half downs: the smallest kurtosis there is, 1 raw and -2 in excess (any textbook)."""
    assert statistics.kurtosis(np.array([0.01, -0.01] * 50)) == pytest.approx(1.0)
    normal = np.array([NormalDist().inv_cdf((i + 0.5) / 100_000) for i in range(100_000)])
    assert statistics.kurtosis(normal) == pytest.approx(3.0, abs=0.01)


# Standard error, probabilistic ratio, track record. The record that both papers use: 24 monthly returns of mean 0.036
# and deviation 0.079, rounded to a ratio of 0.458 in 2012, skewness -2.448, kurtosis 10.164.


def test_the_standard_error_of_the_2025_paper_is_ours_one_return_later():
    """Their 0.329 and 0.214 ("How to Use the Sharpe Ratio", 2025, for T = 24) divide by n, the paper of 2012 by n - 1."""
    assert statistics.sharpe_standard_error(0.036 / 0.079, 25, -2.448, 10.164) == pytest.approx(0.329, abs=5e-4)
    assert statistics.sharpe_standard_error(0.036 / 0.079, 25, 0.0, 3.0) == pytest.approx(0.214, abs=5e-4)


@pytest.mark.parametrize(
    ("skewness", "kurtosis", "published"),
    [pytest.param(0.0, 3.0, 0.982, id="taken for normal"), pytest.param(-2.448, 10.164, 0.913, id="as they were")],
)
def test_the_probabilistic_ratio_is_that_of_the_2012_paper(skewness, kurtosis, published):
    """Bailey and López de Prado, "The Sharpe Ratio Efficient Frontier", the section on the probabilistic ratio."""
    ratio = statistics.probabilistic_sharpe_ratio(0.458, 0.0, 24, skewness, kurtosis)
    assert ratio == pytest.approx(published, abs=5e-4)


@pytest.mark.parametrize(("benchmark", "published"), [(0.0, 0.987), (0.1, 0.939)])
def test_the_probabilistic_ratio_is_that_of_the_2025_paper(benchmark, published):
    """López de Prado, Lipton and Zoonekynd, "How to Use the Sharpe Ratio", the numeric example without dependence."""
    ratio = statistics.probabilistic_sharpe_ratio(0.036 / 0.079, benchmark, 24, -2.448, 10.164, convention="2025")
    assert ratio == pytest.approx(published, abs=5e-4)


def test_excess_kurtosis_would_give_another_answer_than_the_paper():
    """The trap: 10.164 is raw. Its excess, 7.164, makes the 0.913 of the paper a 0.920."""
    excess = statistics.probabilistic_sharpe_ratio(0.458, 0.0, 24, -2.448, 10.164 - 3)
    assert abs(excess - 0.913) > 0.005


@pytest.mark.parametrize("convention", ["2012", "2025"])
def test_the_excess_kurtosis_of_an_ordinary_record_is_refused(convention):
    with pytest.raises(OutOfBoundsError, match=r"kurtosis is 0\.4, must be at least 1: pass the raw one"):
        statistics.probabilistic_sharpe_ratio(0.1, 0.0, 250, 0.0, 0.4, convention=convention)


def test_moments_that_no_distribution_has_are_refused():
    with pytest.raises(OutOfBoundsError, match="at least 1 \\+ skewness² = 10"):
        statistics.sharpe_standard_error(1.0, 250, 3.0, 1.5)


@pytest.mark.parametrize(
    ("periods", "skewness", "kurtosis", "published_years"),
    [
        pytest.param(252, 0.0, 3.0, 2.73, id="daily, normal"),
        pytest.param(52, 0.0, 3.0, 2.83, id="weekly, normal"),
        pytest.param(12, 0.0, 3.0, 3.24, id="monthly, normal"),
        pytest.param(12, -0.72, 5.78, 4.99, id="monthly, like hedge funds"),
    ],
)
def test_the_track_record_is_as_long_as_the_2012_paper_says(periods, skewness, kurtosis, published_years):
    """To believe, at 95 %, that an annual ratio of 2 lies above 1: Bailey and López de Prado 2012."""
    length = statistics.minimum_track_record_length(2 / periods**0.5, 1 / periods**0.5, skewness, kurtosis)
    assert length / periods == pytest.approx(published_years, abs=5e-3)


@given(ratios, ratios, lengths)
def test_the_probabilistic_ratio_agrees_with_its_formula_integrated_by_hand(sharpe, benchmark, n):
    skewness, kurtosis = -0.5, 6.0
    z = (sharpe - benchmark) / math.sqrt((1 - skewness * sharpe + (kurtosis - 1) / 4 * sharpe * sharpe) / (n - 1))
    expected = slow_normal_cdf(min(max(z, -11.0), 11.0))
    ratio = statistics.probabilistic_sharpe_ratio(sharpe, benchmark, n, skewness, kurtosis)
    assert ratio == pytest.approx(expected, abs=1e-7)


@given(ratios, ratios, st.floats(0.6, 0.999))
def test_a_record_of_the_minimum_length_is_believed_at_that_confidence(sharpe, benchmark, confidence):
    assume(sharpe > benchmark + 0.01)
    skewness, kurtosis = -1.0, 8.0
    length = statistics.minimum_track_record_length(sharpe, benchmark, skewness, kurtosis, confidence=confidence)
    error = math.sqrt((1 - skewness * sharpe + (kurtosis - 1) / 4 * sharpe**2) / (length - 1))
    assert NormalDist().cdf((sharpe - benchmark) / error) == pytest.approx(confidence)


@given(ratios, ratios, ratios, lengths, st.sampled_from(["2012", "2025"]))
def test_a_higher_benchmark_is_never_more_probably_beaten(sharpe, first, second, n, convention):
    lower, higher = (
        statistics.probabilistic_sharpe_ratio(sharpe, benchmark, n, 0.0, 3.0, convention=convention)
        for benchmark in sorted([first, second])
    )
    assert higher <= lower + 1e-12


def test_no_length_is_enough_for_what_is_not_above_its_benchmark():
    assert statistics.minimum_track_record_length(0.1, 0.1, 0.0, 3.0) == math.inf
    assert statistics.minimum_track_record_length(-0.3, 0.1, 0.0, 3.0) == math.inf


def test_an_error_of_zero_decides():
    """Skewness 1.5 and kurtosis 3.25 are those of a coin that wins one time in five; at a ratio of 4/3 it is certain."""
    sharpe, moments = 4 / 3, (1.5, 3.25)
    assert statistics.sharpe_standard_error(sharpe, 10, *moments) == 0.0
    assert statistics.probabilistic_sharpe_ratio(sharpe, 1.0, 10, *moments) == 1.0
    assert statistics.probabilistic_sharpe_ratio(sharpe, 2.0, 10, *moments) == 0.0
    assert math.isnan(statistics.probabilistic_sharpe_ratio(sharpe, sharpe, 10, *moments))


@pytest.mark.parametrize("convention", ["2012", "2025"])
def test_what_is_computed_from_a_ratio_that_does_not_exist_does_not_exist(convention):
    assert math.isnan(
        statistics.probabilistic_sharpe_ratio(math.nan, 0.0, 9, math.nan, math.nan, convention=convention)
    )
    assert math.isnan(statistics.probabilistic_sharpe_ratio(0.1, 0.0, 1, 0.0, 3.0, convention=convention))
    assert math.isnan(statistics.minimum_track_record_length(math.nan, 0.0, math.nan, math.nan))


# Refusals


@every_function_of_a_series
@pytest.mark.parametrize("hole", [math.nan, math.inf, -math.inf])
def test_a_missing_return_is_refused_with_its_place(measure, hole):
    with pytest.raises(NotFiniteError, match=r"position 1, 3 \(2 in all\)"):
        measure(np.array([0.01, hole, 0.02, hole]))


@every_function_of_a_series
def test_an_empty_record_is_refused(measure):
    with pytest.raises(EmptySeriesError):
        measure(np.array([]))


@every_function_of_a_series
def test_two_series_at_once_are_refused(measure):
    with pytest.raises(OutOfBoundsError, match="one series at a time"):
        measure(np.ones((2, 2)))


@pytest.mark.parametrize(
    "call",
    [
        pytest.param(lambda: statistics.sharpe_standard_error(0.1, 0, 0.0, 3.0), id="no returns"),
        pytest.param(
            lambda: statistics.probabilistic_sharpe_ratio(0.1, 0.0, 0, 0.0, 3.0, convention="2025"),
            id="no returns, 2025",
        ),
        pytest.param(
            lambda: statistics.probabilistic_sharpe_ratio(0.1, 0.0, 9, 0.0, 3.0, convention="1994"),
            id="another convention",
        ),
        pytest.param(
            lambda: statistics.minimum_track_record_length(0.1, 0.0, 0.0, 3.0, confidence=1.0), id="certainty"
        ),
        pytest.param(lambda: statistics.minimum_track_record_length(0.1, 0.0, 0.0, 3.0, confidence=95), id="percent"),
    ],
)
def test_what_cannot_mean_anything_is_a_value_error_of_our_tree(call):
    with pytest.raises(InvalidInputError) as refusal:
        call()
    assert isinstance(refusal.value, ValueError)
