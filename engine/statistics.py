"""What a record of returns is worth, each number with one definition.

Every function takes one series of simple returns (or numbers already taken from one) and gives one number:

1. a series is read with `finite_series`: one dimension, not empty, no NaN and no infinity, else it is refused;
2. a statistic of it that does not exist (a Sharpe ratio of returns that do not vary) is NaN;
3. a number computed from such statistics is NaN when one of them is, so a chain of them needs no guards.

Ratios are per period, the spacing of the series given, unless `periods_per_year` says otherwise. Kurtosis is raw
everywhere: 3 for a normal distribution. The excess kurtosis that most libraries give, put into the formulas below,
makes every record look more certain than it is.

Sources: D. Bailey and M. López de Prado, "The Sharpe Ratio Efficient Frontier", Journal of Risk 15(2), 2012;
M. López de Prado, A. Lipton and V. Zoonekynd, "How to Use the Sharpe Ratio", 2025.
"""

import math
from statistics import NormalDist
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from engine.errors import EmptySeriesError, NotFiniteError, OutOfBoundsError

Floats = NDArray[np.float64]
Convention = Literal["2012", "2025"]

NORMAL = NormalDist()
# Deviations smaller than this share of the largest value are rounding: an equity curve that grows at one constant
# rate gives returns that differ in the twelfth digit, and a Sharpe ratio of 1e12 if that were taken for risk.
_ROUNDING = 1e-10


def finite_series(returns: Floats) -> Floats:
    """`returns` as a float array, shape (n,).

    Raises:
        EmptySeriesError: there are no returns.
        NotFiniteError: one of them is NaN or infinite.
        OutOfBoundsError: the array has not exactly one dimension.
    """
    series = np.asarray(returns, dtype=np.float64)
    if series.ndim != 1:
        raise OutOfBoundsError("returns.ndim", series.ndim, allowed="1", remedy="pass one series at a time")
    if series.size == 0:
        raise EmptySeriesError
    if not np.isfinite(series).all():
        raise NotFiniteError(positions=np.flatnonzero(~np.isfinite(series)).tolist())
    return series


def sharpe_ratio(returns: Floats, *, periods_per_year: float = 1.0, risk_free: float = 0.0, ddof: int = 1) -> float:
    """Mean excess return over its standard deviation, times the root of `periods_per_year`.

    Args:
        returns: simple returns, shape (n,); NaN is refused.
        periods_per_year: 1 leaves the ratio per period.
        risk_free: return per period without risk.
        ddof: taken from n in the standard deviation's denominator.

    Returns:
        NaN for fewer than two returns or none that vary (beyond rounding).

    Raises:
        InvalidInputError: as `finite_series`.
    """
    excess = finite_series(returns) - risk_free
    return float(excess.mean()) / _deviation(excess, ddof=ddof) * math.sqrt(periods_per_year)


def cagr(returns: Floats, *, periods_per_year: float) -> float:
    """Compound annual growth, as a fraction a year: what a constant rate would have to be for the same end.

    Args:
        returns: simple returns, at least -1 each, shape (n,); NaN is refused.
        periods_per_year: how many of these returns make a year.

    Returns:
        -1 after a total loss; +inf where a year of such growth is beyond what a float can hold.

    Raises:
        InvalidInputError: as `finite_series`; OutOfBoundsError for a return below -1.
    """
    wealth = _wealth(returns)
    with np.errstate(over="ignore"):
        return float(wealth[-1] ** (periods_per_year / wealth.size) - 1.0)


def max_drawdown(returns: Floats) -> float:
    """The largest distance of the compounded returns from their running peak, as a fraction in [0, 1].

    Args:
        returns: simple returns, at least -1 each, shape (n,); NaN is refused. The starting capital is the first peak.

    Returns:
        0 when the peak is never left, 1 after a total loss.

    Raises:
        InvalidInputError: as `finite_series`; OutOfBoundsError for a return below -1.
    """
    wealth = _wealth(returns)
    peaks = np.maximum.accumulate(np.maximum(wealth, 1.0))
    return float((1.0 - wealth / peaks).max())


def skewness(returns: Floats) -> float:
    """The third standardised moment, biased (divided by n): 0 for a symmetric distribution.

    Args:
        returns: simple returns, shape (n,); NaN is refused.

    Returns:
        NaN for fewer than two returns or none that vary (beyond rounding).

    Raises:
        InvalidInputError: as `finite_series`.
    """
    return float((_standardised(returns) ** 3).mean())


def kurtosis(returns: Floats) -> float:
    """The fourth standardised moment, biased (divided by n) and raw: 3 for a normal distribution, never below 1.

    Args:
        returns: simple returns, shape (n,); NaN is refused.

    Returns:
        NaN for fewer than two returns or none that vary (beyond rounding).

    Raises:
        InvalidInputError: as `finite_series`.
    """
    return float((_standardised(returns) ** 4).mean())


def sharpe_standard_error(sharpe: float, n: int, skewness: float, kurtosis: float) -> float:
    """The standard error of a Sharpe ratio: √((1 - g3·SR + (g4 - 1)/4·SR²)/(n - 1)), Bailey and López de Prado 2012.

    Args:
        sharpe: ratio per period.
        n: the number of returns that it was measured on.
        skewness: g3 of these returns.
        kurtosis: g4 of these returns, raw.

    Returns:
        Per period, like the ratio; NaN for one return, and when an argument is NaN.

    Raises:
        OutOfBoundsError: `n` below 1, or moments that no distribution has.
    """
    _require_returns(n)
    return math.sqrt(_variance_times_n(sharpe, skewness, kurtosis) / (n - 1)) if n > 1 else math.nan


def probabilistic_sharpe_ratio(
    sharpe: float, benchmark: float, n: int, skewness: float, kurtosis: float, *, convention: Convention = "2012"
) -> float:
    """How probable it is that the true Sharpe ratio lies above `benchmark`, in [0, 1].

    Args:
        sharpe: observed ratio, per period.
        benchmark: ratio to beat, per period.
        n: the number of returns that `sharpe` was measured on.
        skewness: of these returns.
        kurtosis: of these returns, raw.
        convention: "2012" takes the standard error at the observed ratio and n - 1 (Bailey and López de Prado);
            "2025" takes it at the benchmark and n (López de Prado, Lipton and Zoonekynd).

    Returns:
        NaN for one return, and when an argument is NaN. Where the error is zero: 1 above the benchmark, 0 below it,
        NaN on it.

    Raises:
        OutOfBoundsError: `n` below 1, moments that no distribution has, or another convention.
    """
    if convention == "2012":
        error = sharpe_standard_error(sharpe, n, skewness, kurtosis)
    elif convention == "2025":
        _require_returns(n)
        error = math.sqrt(_variance_times_n(benchmark, skewness, kurtosis) / n) if n > 1 else math.nan
    else:
        raise OutOfBoundsError("convention", convention, allowed="'2012' or '2025'", remedy="name one of them")
    with np.errstate(divide="ignore", invalid="ignore"):  # a zero error decides: the quotient is ±inf, or NaN at 0/0
        return NORMAL.cdf(float(np.divide(sharpe - benchmark, error)))


def minimum_track_record_length(
    sharpe: float, benchmark: float, skewness: float, kurtosis: float, *, confidence: float = 0.95
) -> float:
    """How many returns it takes to believe, at `confidence`, that the Sharpe ratio lies above `benchmark`.

    The length at which the probabilistic ratio (2012) reaches `confidence`: Bailey and López de Prado 2012.

    Args:
        sharpe: observed ratio, per period.
        benchmark: ratio to beat, per period.
        skewness: of the returns that `sharpe` was measured on.
        kurtosis: of these returns, raw.
        confidence: from 0.5 up to, but not, 1.

    Returns:
        In periods, not rounded; +inf when `sharpe` is not above `benchmark`, NaN when an argument is NaN.

    Raises:
        OutOfBoundsError: a confidence outside its range, or moments that no distribution has.
    """
    if not 0.5 <= confidence < 1.0:
        raise OutOfBoundsError(
            "confidence", confidence, allowed="from 0.5 up to, but not, 1", remedy="pass a fraction such as 0.95"
        )
    variance = _variance_times_n(sharpe, skewness, kurtosis)
    if sharpe <= benchmark:
        return math.inf
    return 1.0 + variance * (NORMAL.inv_cdf(confidence) / (sharpe - benchmark)) ** 2


def _deviation(series: Floats, *, ddof: int) -> float:
    if series.size <= ddof:
        return math.nan
    deviation = float(series.std(ddof=ddof))
    return deviation if deviation > _ROUNDING * float(np.abs(series).max()) else math.nan


def _standardised(returns: Floats) -> Floats:
    series = finite_series(returns)
    standardised: Floats = (series - series.mean()) / _deviation(series, ddof=0)
    return standardised


def _wealth(returns: Floats) -> Floats:
    series = finite_series(returns)
    if series.min() < -1.0:
        raise OutOfBoundsError(
            "returns.min()", float(series.min()), allowed="at least -1", remedy="end the series where equity is lost"
        )
    wealth: Floats = np.cumprod(1.0 + series, dtype=np.float64)
    return wealth


def _variance_times_n(sharpe: float, skewness: float, kurtosis: float) -> float:
    if kurtosis < 1.0:
        raise OutOfBoundsError(
            "kurtosis", kurtosis, allowed="at least 1", remedy="pass the raw one, 3 for a normal, not the excess"
        )
    variance = 1.0 - skewness * sharpe + (kurtosis - 1.0) / 4.0 * sharpe**2
    # Real moments keep kurtosis ≥ 1 + skewness², and then this is not negative, except by rounding.
    if variance < -1e-9:
        raise OutOfBoundsError(
            "kurtosis",
            kurtosis,
            allowed=f"at least 1 + skewness² = {1.0 + skewness**2:g}",
            remedy="pass the raw one, 3 for a normal, and the skewness of the same returns",
        )
    return max(variance, 0.0)  # NaN stays NaN


def _require_returns(n: int) -> None:
    if n < 1:
        raise OutOfBoundsError("n", n, allowed="at least 1", remedy="pass the number of returns that were measured")
