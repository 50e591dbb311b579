"""How many contracts a decision asks for, from the equity and the close it was made on."""

from typing import Any

import numpy as np

from engine.simulator.compiled import phase, rule
from engine.simulator.prices import gain, value
from engine.simulator.words import EQUITY_SHARE, KELLY, NOTIONAL, RISK_PER_TRADE, UNITS

Record = Any


@rule
def _kelly_share(account: Record, size: Record) -> float:
    """Fraction × (p − (1 − p) / (mean win / mean loss)) of closed trades' returns; NaN before `min_trades`."""
    if account.n_closed < size.min_trades or account.n_closed == 0.0:
        return np.nan
    p = account.n_wins / account.n_closed
    if account.n_wins == 0.0:
        return 0.0
    if account.n_losses == 0.0:
        return min(size.cap, size.amount * p)
    ratio = (account.sum_wins / account.n_wins) / (account.sum_losses / account.n_losses)
    return min(size.cap, size.amount * (p - (1.0 - p) / ratio))


@phase
def wanted_quantity(
    terms: Record,
    size: Record,
    account: Record,
    d: Record,
    side: int,
    start: float,
    stop: float,
) -> float:
    """Contracts before rounding; NaN: nothing can be said; not above 0: no edge."""
    if size.model == UNITS:
        return float(size.amount)
    each = value(terms, 1.0, d.close) * d.rate  # worth of one contract
    if size.model == NOTIONAL:
        return float(size.amount / each)
    if size.model == EQUITY_SHARE:
        return float(account.equity * size.amount / each)
    if size.model == RISK_PER_TRADE:
        risk = abs(gain(terms, side, 1.0, start, stop)) * d.rate
        return float(min(account.equity * size.amount / risk, size.cap * account.equity / each))
    if size.model == KELLY:
        return float(account.equity * _kelly_share(account, size) / each)
    return float(account.equity * d.share / each)
