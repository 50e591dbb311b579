"""The metrics of a strategy version, by the names that a policy may use; each group a function.

Every ratio is of one series: simple returns of equity at session closes, zero on flat days.
`periods_per_year` is the number of sessions in a year, as the policy names it for the calendar.
A metric that cannot be computed is NaN.
"""

import math
from collections.abc import Sequence

import numpy as np
import polars as pl
from numpy.typing import NDArray

from engine.overfitting import bootstrap_interval, deflated_sharpe_ratio
from engine.statistics import (
    kurtosis,
    max_drawdown,
    minimum_track_record_length,
    probabilistic_sharpe_ratio,
    sharpe_ratio,
    skewness,
)
from engine.walk_forward import degradation

Floats = NDArray[np.float64]
Metrics = dict[str, float]

BEST_TRADES = 5
BOOTSTRAP_BLOCK = 10  # sessions: two weeks of dependence
BOOTSTRAP_REPLICATIONS = 1_000
BOOTSTRAP_SEED = 20_170_701


def backtest_metrics(returns: Floats, trades: pl.DataFrame, *, periods_per_year: float) -> Metrics:
    """What the full-span backtest with the file's parameters shows.

    Args:
        returns: session returns, shape (n,).
        trades: closed round trips with `pnl` and `ambiguous`.
        periods_per_year: sessions in a year.
    """
    pnl = trades["pnl"].to_numpy()
    won, lost = pnl[pnl > 0].sum(), -pnl[pnl < 0].sum()
    return {
        "net_return": float(np.prod(1 + returns) - 1),
        "sharpe": sharpe_ratio(returns, periods_per_year=periods_per_year),
        "max_drawdown": max_drawdown(returns),
        "n_trades": float(trades.height),
        "profit_factor": _ratio(won, lost),
        "profit_concentration": _ratio(np.sort(pnl[pnl > 0])[-BEST_TRADES:].sum(), won),
        "ambiguous_share": _ratio(float(trades["ambiguous"].sum()), float(trades.height)),
    }


def by_regime(trades: pl.DataFrame) -> pl.DataFrame:
    """`regime trades win_rate pnl profit_factor` of closed round trips, by regime at the entry in order of name.

    A trade whose regime nobody knew stands under null, last. `profit_factor` is as that of the whole: +inf where nothing
    was lost, NaN where nothing was made or lost.
    """
    won, lost = (pnl.clip(lower_bound=0).sum() for pnl in (pl.col("pnl"), -pl.col("pnl")))
    return (
        trades.group_by("regime")
        .agg(
            trades=pl.len().cast(pl.Int64),
            win_rate=(pl.col("pnl") > 0).mean(),
            pnl=pl.col("pnl").sum(),
            profit_factor=won / lost,
        )
        .sort("regime", nulls_last=True)
    )


def regime_metrics(trades: pl.DataFrame, *, cash: float) -> Metrics:
    """What the worst regime made of the `cash` at the start; NaN where no trade has one."""
    known = by_regime(trades).drop_nulls("regime")
    return {"net_return_worst_regime": float(known["pnl"].min()) / cash if known.height else math.nan}  # type: ignore[arg-type]


def walk_forward_metrics(windows: pl.DataFrame, returns: Floats, *, periods_per_year: float) -> Metrics:
    """What the stitched out-of-sample curve shows.

    Args:
        windows: one row per window: `in_sample_sharpe` per session, `oos_net_return`.
        returns: the out-of-sample session returns of all windows, in order.
        periods_per_year: sessions in a year.
    """
    if windows.is_empty():
        return dict.fromkeys(
            ("oos_sharpe", "oos_sharpe_lower", "oos_net_return", "degradation", "oos_windows_positive"), math.nan
        )
    oos_sharpe = sharpe_ratio(returns, periods_per_year=periods_per_year)
    in_sample = windows["in_sample_sharpe"].fill_null(float("nan")).to_numpy().mean() * math.sqrt(periods_per_year)
    return {
        "oos_sharpe": oos_sharpe,
        "oos_sharpe_lower": _lower_sharpe(returns, periods_per_year),
        "oos_net_return": float(np.prod(1 + returns) - 1),
        "degradation": degradation(float(in_sample), oos_sharpe),
        "oos_windows_positive": float((windows["oos_net_return"] > 0).sum()) / windows.height,
    }


def overfitting_metrics(returns: Floats, trial_sharpes: Sequence[float]) -> Metrics:
    """How much of the backtest's ratio the number of trials explains.

    Args:
        returns: session returns of the backtest, shape (n,).
        trial_sharpes: the ratios per session of every trial of the family over the full span; NaN where a trial never
            varied: it counts as a trial, its ratio does not enter the variance.
    """
    sharpe, skew, kurt = sharpe_ratio(returns), skewness(returns), kurtosis(returns)
    seen = np.array([ratio for ratio in trial_sharpes if not math.isnan(ratio)])
    n_trials = len(trial_sharpes)
    variance = float(seen.var(ddof=1)) if seen.size > 1 else 0.0
    measurable = not math.isnan(sharpe) and n_trials > 0
    return {
        "n_trials": float(n_trials),
        "probabilistic_sharpe": probabilistic_sharpe_ratio(sharpe, 0.0, returns.size, skew, kurt)
        if measurable
        else math.nan,
        "deflated_sharpe": deflated_sharpe_ratio(
            sharpe, returns.size, skew, kurt, n_trials=n_trials, trials_variance=variance
        )
        if measurable
        else math.nan,
        "track_record_ratio": _ratio(returns.size, minimum_track_record_length(sharpe, 0.0, skew, kurt))
        if measurable
        else math.nan,
    }


def _lower_sharpe(returns: Floats, periods_per_year: float) -> float:
    if math.isnan(sharpe_ratio(returns)):
        return math.nan
    return bootstrap_interval(
        returns,
        lambda drawn: sharpe_ratio(drawn, periods_per_year=periods_per_year),
        block=BOOTSTRAP_BLOCK,
        replications=BOOTSTRAP_REPLICATIONS,
        seed=BOOTSTRAP_SEED,
    ).lower


def _ratio(numerator: float, denominator: float) -> float:
    """+inf when only the denominator is zero, NaN when both are."""
    if denominator:
        return float(numerator / denominator)
    return math.inf if numerator > 0 else math.nan
