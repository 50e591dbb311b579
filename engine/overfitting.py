"""How much of a result is owed to having looked often, and how much to chance.

The best of many trials looks good even when none of them has an edge. So the Sharpe ratio that was found is not
compared with zero but with the maximum that this many trials without an edge would be expected to show; what is left
is the deflated Sharpe ratio. What chance alone makes of one series is seen by drawing it again in blocks, which keep
whatever dependence there is from one period to the next.

Sources: D. Bailey and M. López de Prado, "The Deflated Sharpe Ratio", Journal of Portfolio Management 40(5), 2014;
D. Politis and J. Romano, "The Stationary Bootstrap", JASA 89(428), 1994.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from engine.errors import OutOfBoundsError
from engine.statistics import NORMAL, Floats, finite_series, probabilistic_sharpe_ratio


class Interval(NamedTuple):
    """Where a statistic would lie if the same history were drawn again."""

    lower: float
    estimate: float  # of the returns as they were
    upper: float


def expected_maximum_sharpe(n_trials: int, variance: float = 1.0) -> float:
    """The largest Sharpe ratio to expect of trials that have no edge.

    √V·((1 - c)·Z(1 - 1/N) + c·Z(1 - 1/(N·e))), with Z the normal quantile and c Euler's constant: Bailey and López de
    Prado 2014. An approximation for independent trials: 8 % below the exact value at two of them, within 3 % beyond.

    Args:
        n_trials: how many parameter sets were looked at, N.
        variance: of the trials' Sharpe ratios, V; the result is per the same period.

    Returns:
        0 for one trial, whatever its variance (of one trial there is none); NaN for more when the variance is NaN.

    Raises:
        OutOfBoundsError: fewer than one trial, or a negative variance.
    """
    if n_trials < 1:
        raise OutOfBoundsError("n_trials", n_trials, allowed="at least 1", remedy="count the trial that is judged too")
    if variance < 0.0:
        raise OutOfBoundsError("variance", variance, allowed="at least 0", remedy="pass a variance, not a deviation")
    if n_trials == 1:
        return 0.0
    # Z(1 - p) is taken as -Z(p): one minus a small share would round to one at many trials.
    expected = -(1.0 - np.euler_gamma) * NORMAL.inv_cdf(1.0 / n_trials)
    expected -= np.euler_gamma * NORMAL.inv_cdf(1.0 / (n_trials * math.e))
    return math.sqrt(variance) * expected


def deflated_sharpe_ratio(
    sharpe: float, n: int, skewness: float, kurtosis: float, *, n_trials: int, trials_variance: float
) -> float:
    """How probable it is that the true Sharpe ratio lies above what the number of trials alone would show, in [0, 1].

    The probabilistic ratio (2012) against the expected maximum: Bailey and López de Prado 2014.

    Args:
        sharpe: observed ratio of the trial that was chosen, per period.
        n: the number of returns that it was measured on.
        skewness: of these returns.
        kurtosis: of these returns, raw.
        n_trials: how many parameter sets were looked at, this one included.
        trials_variance: variance of their Sharpe ratios per the same period; of no account for one trial.

    Returns:
        NaN for one return, and when an argument that counts is NaN.

    Raises:
        OutOfBoundsError: as `expected_maximum_sharpe` and `probabilistic_sharpe_ratio`.
    """
    benchmark = expected_maximum_sharpe(n_trials, trials_variance)
    return probabilistic_sharpe_ratio(sharpe, benchmark, n, skewness, kurtosis)


def bootstrap_interval(
    returns: Floats,
    statistic: Callable[[Floats], float],
    *,
    level: float = 0.9,
    block: int,
    replications: int,
    seed: int,
) -> Interval:
    """Percentile interval of `statistic` over stationary block bootstraps of `returns`, through `arch`.

    Args:
        returns: simple returns, shape (n,); NaN is refused.
        statistic: gives one number of a series of that shape.
        level: share of the replications inside the interval, between 0 and 1.
        block: mean length of the blocks, in returns, at least 1.
        replications: how many series are drawn.
        seed: the same seed gives the same interval.

    Returns:
        `lower`, `estimate`, `upper`. Both bounds are NaN for fewer returns than one block, which would only be drawn
        in other rotations of itself, and when the statistic of any replication is NaN.

    Raises:
        InvalidInputError: as `finite_series`; OutOfBoundsError for a level, block or replications outside their ranges.
    """
    series = finite_series(returns)
    _require_bootstrap(level, block, replications)
    estimate = float(statistic(series))
    if series.size < block:
        return Interval(math.nan, estimate, math.nan)

    from arch.bootstrap import StationaryBootstrap  # seconds to import, so only where it is used

    def row(drawn: Floats) -> Floats:
        return np.array([statistic(drawn)])

    bootstrap = StationaryBootstrap(block, series, seed=seed)
    lower, upper = bootstrap.conf_int(row, replications, method="percentile", size=level).ravel()
    return Interval(float(lower), estimate, float(upper))


def _require_bootstrap(level: float, block: int, replications: int) -> None:
    if not 0.0 < level < 1.0:
        raise OutOfBoundsError("level", level, allowed="between 0 and 1", remedy="pass a fraction such as 0.9")
    if block < 1:
        raise OutOfBoundsError("block", block, allowed="at least 1", remedy="pass the mean block length in returns")
    if replications < 1:
        raise OutOfBoundsError("replications", replications, allowed="at least 1", remedy="draw a thousand or so")
