"""Orders as they rest with one instrument, in order of id: made, ended, and found by what they are."""

from typing import Any

import numpy as np

from engine.simulator.compiled import rule, unit
from engine.simulator.schema import MAXIMUM_ORDERS
from engine.simulator.words import (
    EXIT,
    FREE,
    LIMIT,
    NONE,
    OPEN,
    PARTIALLY_FILLED,
    POSITION_CLOSED,
    PROTECTIVE_STOP,
    REJECTED,
    STOP,
    STOP_LIMIT,
)

Record = Any
NEVER = 1 << 62


@unit("state account int int int float")
def new_order(
    s: Record,
    account: Record,
    side: int,
    type_: int,
    role: int,
    quantity: float,
) -> int:
    """Give the next id to an order of this instrument; gives its place among the orders that rest."""
    account.n_orders += 1
    k = s.n_orders
    if k >= MAXIMUM_ORDERS:  # no room: the run is repeated with more
        account.overflow = 1
        k = MAXIMUM_ORDERS - 1
    s.n_orders = k + 1
    o = s.orders[k]
    o.id, o.client, o.decided_on, o.closed_on, o.side, o.type, o.role = (
        account.n_orders,
        NONE,
        account.t,
        NONE,
        side,
        type_,
        role,
    )
    o.leg, o.why, o.status, o.reason, o.expires, o.plan = 0, 0, OPEN, NONE, NEVER, 0
    o.blocked_on, o.asked_on, o.size_model = NONE, NONE, NONE
    o.requested, o.quantity, o.filled, o.price, o.trigger, o.fee_paid = (
        quantity,
        quantity,
        0.0,
        np.nan,
        np.nan,
        0.0,
    )
    o.maker, o.taker, o.stop_distance, o.trail_distance, o.scale = (
        account.maker,
        account.taker,
        np.nan,
        np.nan,
        1.0,
    )
    o.post_only, o.triggered, o.fresh, o.reduces_only, o.everything = (
        False,
        False,
        True,
        False,
        False,
    )
    o.size_amount, o.equity_seen, o.price_seen, o.distance_seen, o.heat_seen = (
        np.nan,
        np.nan,
        np.nan,
        np.nan,
        np.nan,
    )
    o.strength, o.confidence, o.regime = np.nan, np.nan, np.nan
    o.sigma, o.mean_volume = (
        s.volatility,
        s.mean_volume,
    )  # as when the position was decided on
    return k


@rule
def is_live(o: Record) -> bool:
    return bool(o.status <= PARTIALLY_FILLED)


@rule
def is_limit(o: Record) -> bool:
    """Is it a limit by now?"""
    return bool(o.type == LIMIT or (o.type == STOP_LIMIT and o.triggered))


@rule
def waits_for_trigger(o: Record) -> bool:
    return bool(o.type == STOP or (o.type == STOP_LIMIT and not o.triggered))


@rule
def trigger_of(o: Record) -> float:
    return float(o.trigger if o.type == STOP_LIMIT else o.price)


@rule
def reduces(s: Record, o: Record) -> bool:
    return bool(o.reduces_only or (s.quantity > 0.0 and o.side != s.sign))


@rule
def opens(s: Record, o: Record) -> bool:
    return bool(o.role == FREE and not reduces(s, o))


@rule
def is_entry(o: Record) -> bool:
    """Does it wait to open or add? Decided against a position that another order closes, too."""
    return bool(is_live(o) and o.role == FREE and not o.reduces_only)


@rule
def end(o: Record, account: Record, status: int, reason: int) -> int:
    o.status, o.reason, o.closed_on = status, reason, account.t
    return 0


@rule
def refuse(o: Record, account: Record, reason: int) -> int:
    """Rejected, or withdrawn where a part has filled."""
    end(o, account, REJECTED if o.filled == 0.0 else REJECTED + 2, reason)
    return 0


@unit("state account")
def end_what_belonged_to_the_position(s: Record, account: Record) -> int:
    for k in range(s.n_orders):
        o = s.orders[k]
        if (o.role != FREE or o.reduces_only) and is_live(o):
            end(o, account, REJECTED + 2, POSITION_CLOSED)
    return 0


@rule
def protective_order(s: Record) -> int:
    for k in range(s.n_orders):
        if s.orders[k].role == PROTECTIVE_STOP and is_live(s.orders[k]):
            return k
    return NONE


@rule
def leaves_altogether(s: Record) -> int:
    """Does an order wait that closes all of the position?"""
    for k in range(s.n_orders):
        o = s.orders[k]
        if is_live(o) and o.role == EXIT and o.everything:
            return True
    return False


@rule
def waits_to_open(s: Record, side: int) -> int:
    """Does an entry of this side wait?"""
    for k in range(s.n_orders):
        o = s.orders[k]
        if is_entry(o) and o.side == side:
            return True
    return False
