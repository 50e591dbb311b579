"""What an execution costs: half-spread, slippage, impact and fees, each computed on the reference price."""

from typing import Any

import numpy as np

from engine.simulator.compiled import phase, rule
from engine.simulator.words import (
    ALMGREN,
    BPS_SLIPPAGE,
    IMPACT_UNMEASURED,
    NO_SLIPPAGE,
    SQUARE_ROOT,
    VOLUME_SHARE,
)

Record = Any


@rule
def _share_slippage(terms: Record, s: Record, cell: Record, quantity: float) -> float:
    """Of the reference price: impact × share², the share being all that takers took in this bar."""
    if not cell.volume > 0.0:
        return 0.0
    share = (s.taken + quantity) * terms.contract_size / cell.volume
    return float(terms.share_impact * share * share)


@phase
def _impact(terms: Record, account: Record, o: Record, ordered: float) -> float:
    """Of the reference price, by the whole order's quantity."""
    if np.isnan(o.sigma) or not o.mean_volume > 0.0:
        account.warnings |= IMPACT_UNMEASURED
        return 0.0
    share = ordered * terms.contract_size / o.mean_volume
    if terms.slippage == SQUARE_ROOT:
        return float(terms.y * o.sigma * np.sqrt(share))
    permanent = 0.314 * o.sigma * share * (terms.shares_outstanding / o.mean_volume) ** 0.25
    temporary = 0.142 * o.sigma * (share / terms.horizon_days) ** 0.6
    return float(permanent / 2.0 + temporary)


@phase
def taking(
    terms: Record,
    s: Record,
    account: Record,
    cell: Record,
    o: Record,
    quantity: float,
    reference: float,
) -> tuple[float, float, float]:
    """Half-spread, slippage and impact per unit, all at least 0, of taking `quantity` at `reference`."""
    spread = reference * terms.half_spread
    if terms.slippage == NO_SLIPPAGE:
        return spread, 0.0, 0.0
    if terms.slippage == BPS_SLIPPAGE:
        return spread, reference * terms.slip, 0.0
    if terms.slippage == VOLUME_SHARE:
        return spread, reference * _share_slippage(terms, s, cell, quantity), 0.0
    return spread, 0.0, reference * _impact(terms, account, o, o.quantity)


@rule
def fee(
    rules: Record,
    terms: Record,
    order: Record,
    quantity: float,
    worth: float,
    rate: float,
) -> float:
    """By notional, or by unit with a minimum an order, of which earlier fills have paid a part."""
    if np.isnan(rules.per_share):
        return float(worth * rate)
    due = (order.filled + quantity) * terms.contract_size * rules.per_share
    paid = order.fee_paid
    order.fee_paid = max(due, rules.minimum_fee, paid)
    return float(order.fee_paid - paid)


def uses_measures(slippage: int) -> bool:
    return slippage in (SQUARE_ROOT, ALMGREN)
