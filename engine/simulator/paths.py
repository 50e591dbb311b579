"""Inside the bar: the two paths, walked in full, and the choice between them.

A path is three straight legs. On each, again and again, the nearest thing that an order or the liquidation price does
happens: at equal prices exits before entries, then by order id. Where both paths give the same fills the event is
certain; else the policy chooses, and the fills that the other path lacks are marked, with their trades.
"""

from typing import Any

import numpy as np

from engine.simulator.compiled import phase, rule, unit
from engine.simulator.fills import attempt, liquidate
from engine.simulator.lookups import plan_of
from engine.simulator.orders import (
    is_limit,
    is_live,
    opens,
    protective_order,
    trigger_of,
    waits_for_trigger,
)
from engine.simulator.positions import see, unrealised
from engine.simulator.prices import stop_price
from engine.simulator.words import (
    ADVERSE,
    FAVOURABLE,
    MARKET,
    NONE,
    PROTECTIVE_STOP,
    STOP,
    TARGET,
)

Record = Any
SEVERAL = -2


@rule
def lies_beyond(rules: Record, side: int, price: float, limit: float) -> bool:
    """Has `price` passed a limit order's price so that it fills?"""
    return bool(side * price <= side * limit if rules.touch else side * price < side * limit)


@rule
def takes(terms: Record, side: int, price: float, limit: float) -> bool:
    """Would a limit order that is new at `price` be filled by what stands there? Equality takes."""
    return bool(side * price * (1.0 + side * terms.half_spread) <= side * limit)


@rule
def _distance(toward: int, start: float, level: float) -> float:
    return max(0.0, toward * (level - start))


@rule
def _is_reached(rules: Record, o: Record, t: int, start: float, end: float) -> bool:
    if not is_live(o) or o.blocked_on == t or o.fresh or o.type == MARKET:
        return False
    if waits_for_trigger(o):
        return bool(max(o.side * start, o.side * end) >= o.side * trigger_of(o))
    far = min(o.side * start, o.side * end)
    return bool(far <= o.side * o.price if rules.touch else far < o.side * o.price)


@phase
def _next_event(rules: Record, s: Record, account: Record, start: float, end: float) -> int:
    """The order that comes next between two prices; -1: none. `account.distance` says how far away it is."""
    found, found_exits = NONE, False
    account.distance = np.inf
    for k in range(s.n_orders):
        o = s.orders[k]
        if _is_reached(rules, o, account.t, start, end):
            waits = waits_for_trigger(o)
            toward = o.side if waits else -o.side
            distance = _distance(toward, start, trigger_of(o) if waits else o.price)
            exits = not opens(s, o)
            if distance < account.distance or (distance == account.distance and exits and not found_exits):
                found, found_exits, account.distance = k, exits, distance
    return found


@rule
def _last_price_liquidates(s: Record, account: Record, k: int, start: float, end: float) -> bool:
    """Does the price, going between two places, liquidate before order `k` fills? Exits at the same price come first."""
    sign = s.sign
    if min(sign * start, sign * end) > sign * s.liquidation:
        return False
    distance = _distance(-sign, start, s.liquidation)
    if k == NONE or distance < account.distance:
        return True
    return distance == account.distance and opens(s, s.orders[k])


@rule
def _mark_liquidates(rules: Record, s: Record, account: Record, end: float, mark_end: float) -> bool:
    """Does the mark liquidate on this leg? A stop that is nearer on the last price contests it."""
    sign, contested = s.sign, False
    if sign * mark_end > sign * s.liquidation:
        return False
    k = protective_order(s)
    if k != NONE:
        o = s.orders[k]
        reached = sign * end <= sign * o.price and sign * o.price > sign * s.liquidation
        contested = reached and not o.triggered and o.blocked_on != account.t
    if contested:
        account.conflict = 1
        if rules.policy == FAVOURABLE:
            s.contested = 1
            return False
    return True


@rule
def _liquidation_comes(
    rules: Record, s: Record, account: Record, k: int, start: float, end: float, mark_end: float
) -> bool:
    if s.quantity == 0.0 or np.isnan(s.liquidation):
        return False
    if rules.has_marks:
        return not np.isnan(mark_end) and _mark_liquidates(rules, s, account, end, mark_end)
    return _last_price_liquidates(s, account, k, start, end)


@unit("rules terms state account box cell float")
def judge_new_targets(
    rules: Record,
    terms: Record,
    s: Record,
    account: Record,
    box: Record,
    cell: Record,
    price: float,
) -> int:
    """A target that the price of its entry lies beyond already is taken at once, as taker."""
    k = 0
    while k < s.n_orders:
        o = s.orders[k]
        if o.role == TARGET and o.fresh:
            o.fresh = False
            if is_live(o) and takes(terms, o.side, price, o.price):
                attempt(rules, terms, s, account, box, cell, k, price, 0)
        k += 1
    return 0


@phase
def trigger_stop_limit(
    rules: Record,
    terms: Record,
    s: Record,
    account: Record,
    box: Record,
    cell: Record,
    k: int,
    price: float,
) -> None:
    """It is a limit now that is new at `price`: what is marketable takes, the rest rests."""
    o = s.orders[k]
    o.triggered, o.fresh = True, False
    if takes(terms, o.side, price, o.price):
        attempt(rules, terms, s, account, box, cell, k, price, 0)


@phase
def _judge_stop(
    rules: Record, terms: Record, s: Record, account: Record, box: Record, cell: Record, price: float
) -> None:
    """A stop that the price of its entry lies beyond already fires at once, before targets do."""
    k = protective_order(s)
    if k != NONE and not s.orders[k].triggered and s.orders[k].side * price >= s.orders[k].side * s.orders[k].price:
        s.orders[k].triggered = True
        attempt(rules, terms, s, account, box, cell, k, price, 0)


@phase
def _happen(
    rules: Record,
    terms: Record,
    s: Record,
    account: Record,
    box: Record,
    cell: Record,
    k: int,
    price: float,
) -> None:
    o = s.orders[k]
    n, enters = box.n_fills, opens(s, o)
    if o.type == STOP:
        o.triggered = True
        attempt(rules, terms, s, account, box, cell, k, price, 0)
    elif is_limit(o):
        attempt(rules, terms, s, account, box, cell, k, o.price, 1)
    else:
        trigger_stop_limit(rules, terms, s, account, box, cell, k, price)
    if enters and box.n_fills > n:
        _judge_stop(rules, terms, s, account, box, cell, price)
    judge_new_targets(rules, terms, s, account, box, cell, price)


@phase
def _walk_leg(
    rules: Record,
    terms: Record,
    s: Record,
    account: Record,
    box: Record,
    cell: Record,
    start: float,
    end: float,
    mark_end: float,
) -> None:
    """From one price straight to another; `mark_end`: where the mark goes meanwhile, NaN where it stands still."""
    at, direction = start, 1.0 if end >= start else -1.0
    while True:
        s.here = at
        see(s, at)
        k = _next_event(rules, s, account, at, end)
        account.conflict = 0
        if _liquidation_comes(rules, s, account, k, at, end, mark_end):
            conflict, reached = account.conflict, s.liquidation
            if not rules.has_marks:
                if s.sign * at > s.sign * reached:
                    at = reached
                see(s, at)
                reached = at
            liquidate(rules, terms, s, account, box, cell, reached)
            box.fills[box.n_fills - 1].ambiguous |= conflict != 0
            continue
        if k == NONE:
            break
        at += direction * account.distance
        if account.distance > 0.0:
            at = trigger_of(s.orders[k]) if waits_for_trigger(s.orders[k]) else s.orders[k].price
        s.here = at
        see(s, at)
        _happen(rules, terms, s, account, box, cell, k, at)
    see(s, end)


@unit("rules terms state account box cell int")
def walk(
    rules: Record,
    terms: Record,
    s: Record,
    account: Record,
    box: Record,
    cell: Record,
    high_first: int,
) -> int:
    """Walk one path in full."""
    first, second = (cell.high, cell.low) if high_first else (cell.low, cell.high)
    mark_1, mark_2 = (cell.mark_high, cell.mark_low) if high_first else (cell.mark_low, cell.mark_high)
    s.contested = 0
    _walk_leg(rules, terms, s, account, box, cell, cell.join, cell.open, np.nan)
    _walk_leg(rules, terms, s, account, box, cell, cell.open, first, mark_1)
    _walk_leg(rules, terms, s, account, box, cell, first, second, mark_2)
    _walk_leg(rules, terms, s, account, box, cell, second, cell.close, cell.mark_close)
    _walk_leg(rules, terms, s, account, box, cell, cell.close, cell.finish, np.nan)
    return 0


@rule
def _liquidation_is_reached(rules: Record, s: Record, cell: Record, low: float, high: float) -> bool:
    if s.quantity == 0.0 or np.isnan(s.liquidation):
        return False
    if rules.has_marks:
        low, high = cell.mark_low, cell.mark_high
    return bool(low <= s.liquidation if s.sign > 0 else high >= s.liquidation)


@rule
def _fills_alike(rules: Record, terms: Record, s: Record, o: Record, low: float, high: float) -> bool:
    """Does it fill in one piece, and move nothing to where the price goes in this bar, whichever path it takes?"""
    left = o.quantity - o.filled
    if o.role == PROTECTIVE_STOP:
        return bool(s.quantity <= left and s.quantity <= min(s.room, s.taker_room))
    if o.role != TARGET or left > s.room:
        return False
    if plan_of(rules, s.plan).break_even_after == 0:
        return True
    level = stop_price(-s.sign, s.entry, terms.tick)
    return bool(level < low if s.sign > 0 else level > high)


@unit("rules terms state account cell")
def what_is_reached(rules: Record, terms: Record, s: Record, account: Record, cell: Record) -> int:
    """The place of the one order that is, and fills alike on either path; -1: none; -2: both must be walked."""
    low, high, found = min(cell.low, cell.join, cell.finish), max(cell.high, cell.join, cell.finish), NONE
    for k in range(s.n_orders):
        if _is_reached(rules, s.orders[k], account.t, low, high):
            found = k if found == NONE else SEVERAL
    if _liquidation_is_reached(rules, s, cell, low, high):
        return SEVERAL
    if found >= 0 and (rules.thorough or not _fills_alike(rules, terms, s, s.orders[found], low, high)):
        return SEVERAL
    return found


# The choice


@rule
def _same(first: Record, second: Record, new: int) -> bool:
    return bool(
        first.side == second.side
        and (first.order == second.order or min(first.order, second.order) >= new)
        and first.why == second.why
        and first.maker == second.maker
        and abs(first.quantity - second.quantity) <= 1e-9 * first.quantity
        and abs(first.reference - second.reference) <= 1e-9 * first.reference
    )


@phase
def _lacks(other: Record, box: Record, k: int) -> bool:
    """Has the other path fewer fills like fill `k` than this one has up to it?"""
    wanted = 0
    for j in range(k + 1):
        if _same(box.fills[j], box.fills[k], box.first_new):
            wanted += 1
    for j in range(other.n_fills):
        if _same(other.fills[j], box.fills[k], box.first_new):
            wanted -= 1
    return wanted > 0


@unit("box box")
def same_fills(first: Record, second: Record) -> int:
    if first.n_fills != second.n_fills:
        return False
    for k in range(first.n_fills):
        if _lacks(second, first, k):
            return False
    return True


@unit("box box", seldom=True)
def mark_what_the_other_lacks(box: Record, other: Record) -> int:
    for k in range(box.n_fills):
        if _lacks(other, box, k):
            box.fills[k].ambiguous = True
    return 0


@unit("state box", seldom=True)
def mark_trades(s: Record, box: Record) -> int:
    """A trade is ambiguous where one of its fills is."""
    for k in range(box.n_fills):
        if box.fills[k].ambiguous:
            if box.fills[k].trade == s.trade:
                s.ambiguous = 1
            for j in range(box.n_trades):
                if box.trades[j].id == box.fills[k].trade:
                    box.trades[j].ambiguous = True
    return 0


@phase
def worth_at_close(terms: Record, s: Record, account: Record, cell: Record) -> float:
    return float(account.cash + unrealised(terms, s, cell.finish, cell.rate))


@phase
def choose(rules: Record, cell: Record, gain: float, slack: float) -> int:
    """0: the path by the high first; 1: by the low first. `gain` is what the second leaves more."""
    adverse = 1 if gain < -slack else 0
    if rules.policy == ADVERSE:
        return adverse
    if rules.policy == FAVOURABLE:
        return 1 if gain > slack else 0
    up, down = cell.high - cell.open, cell.open - cell.low
    if up == down:
        return adverse
    return 0 if up < down else 1
