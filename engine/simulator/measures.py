"""What is measured on the past, before a run: ranges, deviations, volumes, shares and correlations, as columns.

A column's value on a bar knows nothing later than that bar. Sessions count once they are over: for a fill those before
its own, for a decision also the one that ends with its bar.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from engine.simulator.inputs import Floats, Integers, Market

_FEWEST = 3  # sessions that two instruments must share for a correlation


class Sessions(NamedTuple):
    """One row per session, in order."""

    ids: Integers  # [n_sessions]
    returns: Floats  # [n_sessions, n_instruments] log, since its own session before, adjusted for splits; NaN: no close
    volumes: Floats  # [n_sessions, n_instruments] in units of before all splits; NaN where nothing is known


def wilder_range(market: Market, length: int) -> Floats:
    """Wilder's average true range of each instrument's own bars, [n_bars, n_instruments]; NaN for the first `length`."""
    out: Floats = np.full(market.closes.shape, np.nan)
    for i in range(out.shape[1]):
        rows = np.flatnonzero(~np.isnan(market.closes[:, i]))
        if len(rows) <= length:
            continue
        highs, lows, closes = (column[rows, i] for column in (market.highs, market.lows, market.closes))
        ratio = market.splits[rows, i]
        before = closes[:-1] / ratio[1:]
        ranges = np.maximum(highs[1:], before) - np.minimum(lows[1:], before)
        out[rows[length:], i] = _smoothed(ranges, ratio[1:], length)
    return out


def _smoothed(ranges: Floats, ratios: Floats, length: int) -> Floats:
    scale = np.cumprod(ratios)  # in prices of the first bar, so that a split leaves the average alone
    values = (ranges * scale).tolist()
    average = sum(values[:length]) / length
    smoothed = [average]
    for value in values[length:]:
        average = (average * (length - 1) + value) / length
        smoothed.append(average)
    return np.array(smoothed) / scale[length - 1 :]


def by_session(market: Market, sessions: Integers) -> Sessions:
    """Close-to-close returns and volumes of whole sessions."""
    ids, first = np.unique(sessions, return_index=True)
    ends = np.append(first[1:], len(sessions))
    shape = (len(ids), market.closes.shape[1])
    closes, volumes = np.full(shape, np.nan), np.full(shape, np.nan)
    factor = np.cumprod(market.splits, axis=0)
    for row, (start, end) in enumerate(zip(first, ends, strict=True)):
        for i in range(shape[1]):
            own = np.flatnonzero(~np.isnan(market.closes[start:end, i]))
            if len(own):
                closes[row, i] = market.closes[start + own[-1], i] * factor[start + own[-1], i]
                if market.volumes is not None:
                    units = market.volumes[start:end, i] / factor[start:end, i]
                    volumes[row, i] = units[own].sum()
    returns = np.full(shape, np.nan)
    for i in range(shape[1]):
        own = np.flatnonzero(~np.isnan(closes[:, i]))
        returns[own[1:], i] = np.log(closes[own[1:], i] / closes[own[:-1], i])
    return Sessions(ids, returns, volumes)


def over_the_past(values: Floats, days: int, *, deviation: bool, least: int) -> Floats:
    """Row `k`: over the last `days` known before row `k`, one row more than given; NaN where fewer than `least` are."""
    out = np.full((len(values) + 1, values.shape[1]), np.nan)
    for row in range(1, len(out)):
        for i in range(values.shape[1]):
            known = _last_known(values[:row, i], days)
            if len(known) >= least:
                out[row, i] = known.std(ddof=1) if deviation else known.mean()
    return out


def _last_known(values: Floats, days: int) -> Floats:
    near = values[-2 * days :]  # looked at first: few are missing
    known = near[~np.isnan(near)]
    if len(known) < days < len(values):
        known = values[~np.isnan(values)]
    return known[-days:]


def _last_rows(values: Floats, days: int) -> set[int]:
    return set(np.flatnonzero(~np.isnan(values))[-days:].tolist())


def on_bars(per_session: Floats, ids: Integers, wanted: Integers) -> Floats:
    """Spread rows of sessions over bars; `wanted`: the session of which each bar is part, or whose eve it is."""
    return np.asarray(per_session[np.searchsorted(ids, wanted)])


def inverse_volatility(deviations: Floats) -> Floats:
    """Shares of equity in proportion to 1 / deviation, adding to 1 over what is known; NaN deviations are not."""
    weights = 1.0 / deviations
    known = ~np.isnan(weights).all(axis=1)
    weights[known] /= np.nansum(weights[known], axis=1, keepdims=True)
    return np.asarray(weights)


def risk_parity(returns: Floats, days: int) -> Floats:
    """Shares of equity by which every instrument bears the same risk, adding to 1 over those with `days` returns that
    differ; the covariance is that of the sessions which all of them share."""
    out = np.full((len(returns) + 1, returns.shape[1]), np.nan)
    own = [np.flatnonzero(~np.isnan(column)) for column in returns.T]
    for row in range(days, len(out)):
        last = [rows[: np.searchsorted(rows, row)][-days:] for rows in own]
        known = [i for i, rows in enumerate(last) if len(rows) == days and returns[rows, i].std() > 0.0]
        common = sorted(set.intersection(*(set(last[i].tolist()) for i in known))) if known else []
        if len(common) >= 2:
            covariance = np.cov(returns[np.ix_(common, known)], rowvar=False, ddof=1)
            out[row, known] = equal_risk(np.atleast_2d(covariance))
    return out


def equal_risk(covariance: Floats) -> Floats:
    """Weights adding to 1 with equal contributions to variance (Spinu 2013, by cyclic coordinates)."""
    n = len(covariance)
    deviations = np.sqrt(np.diag(covariance))
    if not (deviations > 0).all():
        return np.full(n, np.nan)
    weights = 1.0 / deviations
    for _ in range(1_000):
        before = weights.copy()
        for i in range(n):
            others = covariance[i] @ weights - covariance[i, i] * weights[i]
            weights[i] = (-others + np.sqrt(others**2 + 4.0 * covariance[i, i] / n)) / (2.0 * covariance[i, i])
        if np.abs(weights - before).max() <= 1e-14 * weights.max():
            break
    return np.asarray(weights / weights.sum())


def correlations(returns: Floats, days: int) -> NDArray[np.float64]:
    """Row `k`: correlations over the `days` sessions before it, [n_sessions + 1, n_instruments, n_instruments]."""
    n = returns.shape[1]
    out = np.full((len(returns) + 1, n, n), np.nan)
    with np.errstate(invalid="ignore", divide="ignore"):
        for row in range(_FEWEST, len(out)):
            rows = [_last_rows(returns[:row, i], days) for i in range(n)]
            for i in range(n):
                for j in range(n):
                    common = sorted(rows[i] & rows[j])
                    if len(common) >= _FEWEST:
                        out[row, i, j] = np.corrcoef(returns[common, i], returns[common, j])[0, 1]
    return out
