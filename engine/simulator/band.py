"""The band of prices within which nothing can happen to an instrument at rest: what its orders and its liquidation wait for."""

from typing import Any

import numpy as np

from engine.simulator.compiled import rule, unit
from engine.simulator.lookups import plan_of
from engine.simulator.orders import NEVER, is_live, trigger_of, waits_for_trigger
from engine.simulator.words import (
    ABSENT,
    AT_DISTANCE,
    ENTERS,
    EXPIRES,
    FREE,
    INVERSE,
    LEAVES,
    MARKET,
    PROTECTIVE_STOP,
    SPOT,
    STOP,
    TRIGGERED,
)

Record = Any


@rule
def _narrow(h: Record, o: Record) -> int:
    """Narrow the band by what one order waits for; gives for what else, as bits."""
    acts = ENTERS if o.role == FREE else LEAVES
    expires = EXPIRES if o.expires != NEVER else 0
    if o.type == MARKET:
        return acts | expires
    waits = waits_for_trigger(o)
    level = trigger_of(o) if waits else o.price
    if (o.side > 0) == waits:
        h.near_high = min(h.near_high, level)
    else:
        h.near_low = max(h.near_low, level)
    triggered = TRIGGERED if o.type == STOP and o.triggered else 0
    return triggered | (acts if o.fresh else 0) | expires


@unit("rules terms hot state account")
def rest(rules: Record, terms: Record, h: Record, s: Record, account: Record) -> int:
    """Where the price may go without anything happening; an empty band wakes it in the next bar."""
    h.near_low, h.near_high, h.mark_low_band, h.mark_high_band = -np.inf, np.inf, -np.inf, np.inf
    h.units, h.offset, h.coin, h.trails, h.waits, h.leave_at = 0.0, 0.0, 0.0, 0, 0, NEVER
    h.stop = np.nan
    for k in range(s.n_orders):
        o = s.orders[k]
        h.waits |= _narrow(h, o)
        if o.role == PROTECTIVE_STOP and is_live(o):
            h.stop = o.price
    restless = h.waits != 0 or rules.converts or rules.cross
    if s.quantity > 0.0:
        restless |= _rest_holding(rules, terms, h, s, account)
    h.low_band, h.high_band = np.inf if restless else h.near_low, h.near_high
    h.reach_low, h.reach_high = h.low_band, h.high_band
    if s.quantity > 0.0:
        narrow_by_trail(plan_of(rules, s.plan), h, s)
    return 0


@rule
def _rest_holding(rules: Record, terms: Record, h: Record, s: Record, account: Record) -> bool:
    """What a position adds to the band; True: it is looked at in every bar."""
    plan = plan_of(rules, s.plan)
    _weigh(terms, h, s)
    if not np.isnan(s.liquidation):
        _narrow_by_liquidation(rules, h, s)
    if plan.time_stop_bars > 0:
        h.leave_at = s.entry_bar + plan.time_stop_bars
        account.alarm = min(account.alarm, h.leave_at)
    outlived = outlived_its_session(plan, s, account)
    if outlived:
        h.leave_at = account.t
    return outlived or bool(s.sign < 0 and terms.kind == SPOT and terms.borrow_per_day > 0.0)


@rule
def outlived_its_session(plan: Record, s: Record, account: Record) -> bool:
    """Was the close of its session swallowed by a missing bar?"""
    return bool(plan.session_close and account.session > s.entry_session)


@rule
def narrow_by_trail(plan: Record, h: Record, s: Record) -> None:
    if plan.trail_kind != ABSENT or plan.runner_trail_kind != ABSENT:
        h.trails = 1 if plan.runner_trail_kind == ABSENT else 2
        if plan.trail_kind == AT_DISTANCE or plan.runner_trail_kind == AT_DISTANCE:
            h.low_band = np.inf
        else:
            h.high_band = min(h.high_band, s.highest) if s.sign > 0 else h.high_band
            h.low_band = max(h.low_band, s.highest) if s.sign < 0 else h.low_band


@rule
def _weigh(terms: Record, h: Record, s: Record) -> None:
    """What the position adds to equity is units × mark + offset − coin / mark."""
    units = s.sign * s.quantity * terms.contract_size
    if terms.kind == INVERSE:
        h.coin, h.offset = units, units / s.reference
    else:
        h.units = units
        h.offset = 0.0 if terms.kind == SPOT else -units * s.reference


@rule
def _narrow_by_liquidation(rules: Record, h: Record, s: Record) -> None:
    if rules.has_marks and s.sign > 0:
        h.mark_low_band = s.liquidation
    elif rules.has_marks:
        h.mark_high_band = s.liquidation
    elif s.sign > 0:
        h.near_low = max(h.near_low, s.liquidation)
    else:
        h.near_high = min(h.near_high, s.liquidation)


@rule
def worth(h: Record) -> float:
    if h.coin != 0.0:
        return float(h.offset - h.coin / h.mark)
    return float(h.units * h.mark + h.offset)
