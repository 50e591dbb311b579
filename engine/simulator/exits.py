"""How a position is protected and left: stop, trail, targets, break-even, each active with the fill of its entry."""

from typing import Any

import numpy as np

from engine.simulator.compiled import phase, rule, unit
from engine.simulator.lookups import plan_of
from engine.simulator.orders import end, is_live, new_order, protective_order
from engine.simulator.prices import floor_to, gain, limit_price, stop_price
from engine.simulator.words import (
    ABSENT,
    AT_PCT,
    AT_PRICE,
    BREAK_EVEN,
    CANCELLED,
    CANCELLED_BY_DECISION,
    LATER_EXITS_IGNORED,
    LIMIT,
    NONE,
    PROTECTIVE_STOP,
    STOP,
    STOPPED,
    TARGET,
    TRAILED,
)

Record = Any


@rule
def nearer(sign: int, first: float, second: float) -> bool:
    """Does `first` protect a position of `sign` more closely than `second`? NaN protects nothing."""
    return bool(not np.isnan(first) and (np.isnan(second) or sign * first > sign * second))


@rule
def trail_below(kind: int, amount: float, sign: int, extreme: float, distance: float) -> float:
    """Where a trail stands: a share off the extreme, or a distance from it."""
    if kind == AT_PCT:
        return extreme * (1.0 - sign * amount)
    return extreme - sign * distance


@phase
def _place_stop(terms: Record, plan: Record, s: Record, o: Record) -> None:
    """The levels of stop and trail from the price paid; NaN where there is none."""
    sign = s.sign
    s.stop_level, s.trail_level, s.runner_level = np.nan, np.nan, np.nan
    s.highest, s.runs = s.entry, 0
    if plan.stop_kind == AT_PRICE:
        s.stop_level = stop_price(-sign, plan.stop / o.scale, terms.tick)
    elif plan.stop_kind == AT_PCT:
        s.stop_level = stop_price(-sign, s.entry * (1.0 - sign * plan.stop), terms.tick)
    elif plan.stop_kind != ABSENT:
        s.stop_level = stop_price(-sign, s.entry - sign * o.stop_distance, terms.tick)
    if plan.trail_kind != ABSENT:
        raw = trail_below(plan.trail_kind, plan.trail, sign, s.highest, o.trail_distance)
        s.trail_level = stop_price(-sign, raw, terms.tick)
    s.highest = -sign * np.inf


@phase
def _order_stop(s: Record, account: Record) -> None:
    level, why = s.stop_level, STOPPED
    if nearer(s.sign, s.trail_level, s.stop_level):
        level, why = s.trail_level, TRAILED
    if not np.isnan(level):
        k = new_order(s, account, -s.sign, STOP, PROTECTIVE_STOP, s.quantity)
        o = s.orders[k]
        o.price, o.fresh, o.maker, o.taker, o.decided_on = (
            level,
            False,
            s.maker,
            s.taker,
            s.decided_on,
        )
        s.stop_why = why


@phase
def _measure_risk(terms: Record, s: Record, quantity: float, reference: float, rate: float) -> None:
    base = s.trail_level if nearer(s.sign, s.trail_level, s.stop_level) else s.stop_level
    s.r_from, s.unit_risk, s.first_risk = s.entry, s.sign * (s.entry - base), np.nan
    if s.sign * reference > s.sign * base and s.unit_risk > 0.0:  # false too where there is no stop
        s.first_risk = abs(gain(terms, s.sign, quantity, s.entry, base)) * rate


@phase
def _share_out(terms: Record, plan: Record, s: Record) -> None:
    """Legs of the ladder over all that was entered: each floored to the lot, the rest to the runner or the last."""
    last, given = plan.n_targets - 1, 0.0
    s.all_at = NONE if plan.runner else last
    first_is_nothing = plan.n_targets > 0 and floor_to(s.ladder_base * plan.target_share[0], terms.lot) <= 0.0
    if first_is_nothing:
        s.all_at = 0
    for k in range(plan.n_targets):
        if not s.legs_ended & 1 << k:  # of one that has ended stands what it filled
            s.leg[k] = floor_to(s.ladder_base * plan.target_share[k], terms.lot)
            if k == last and not plan.runner:
                s.leg[k] = max(0.0, np.rint((s.ladder_base - given) / terms.lot) * terms.lot)
            if first_is_nothing:
                s.leg[k] = s.ladder_base if k == 0 else 0.0
        given += s.leg[k]


@phase
def _order_targets(terms: Record, plan: Record, s: Record, account: Record, scale: float) -> None:
    for leg in range(plan.n_targets):
        if s.leg[leg] > 0.0 and not s.legs_ordered & 1 << leg:
            s.legs_ordered |= 1 << leg
            level = plan.target_price[leg] / scale
            if np.isnan(level):
                level = s.r_from + s.sign * plan.target_r[leg] * s.unit_risk
            k = new_order(s, account, -s.sign, LIMIT, TARGET, s.leg[leg])
            o = s.orders[k]
            o.price, o.leg = limit_price(-s.sign, level, terms.tick), leg
            o.maker, o.taker, o.decided_on = s.maker, s.taker, s.ladder_decided_on
            o.requested = s.ladder_base * plan.target_share[leg]


@phase
def resize(s: Record, account: Record) -> None:
    """The stop covers what is held; each target its leg."""
    for k in range(s.n_orders):
        o = s.orders[k]
        if is_live(o):
            if o.role == PROTECTIVE_STOP and s.quantity > 0.0:
                o.quantity = o.filled + s.quantity
                o.requested = o.quantity
            elif o.role == TARGET:
                o.quantity = max(o.filled, s.leg[o.leg])
                if o.quantity <= o.filled:
                    end(o, account, CANCELLED, CANCELLED_BY_DECISION)


@unit("rules terms state account int float float float")
def protect(
    rules: Record,
    terms: Record,
    s: Record,
    account: Record,
    k: int,
    quantity: float,
    reference: float,
    rate: float,
) -> int:
    """After an entry fill: place the exits of the first, resize those of the first for every other."""
    o = s.orders[k]
    if s.first_order == 0:
        s.first_order, s.plan, s.maker, s.taker, s.legs_filled = (
            o.id,
            o.plan,
            o.maker,
            o.taker,
            0,
        )
        s.decided_on, s.ladder, s.legs_ordered, s.legs_ended = o.decided_on, o.plan, 0, 0
        s.ladder_decided_on = o.decided_on
        s.strength, s.confidence, s.regime, s.heat, s.scale = (
            o.strength,
            o.confidence,
            o.regime,
            o.heat_seen,
            o.scale,
        )
        plan = plan_of(rules, o.plan)
        _place_stop(terms, plan, s, o)
        _measure_risk(terms, s, quantity, reference, rate)
        _share_out(terms, plan, s)
        _order_stop(s, account)
        _order_targets(terms, plan, s, account, o.scale)
        return 0
    if o.id != s.first_order and plan_of(rules, o.plan).has_exits:
        account.warnings |= LATER_EXITS_IGNORED
    ladder = plan_of(rules, s.ladder)
    _share_out(terms, ladder, s)
    resize(s, account)
    _order_targets(terms, ladder, s, account, s.scale)
    for leg_order in range(s.n_orders):
        o = s.orders[leg_order]
        if o.role == TARGET and is_live(o):
            o.requested = s.ladder_base * ladder.target_share[o.leg]
    return 0


@phase
def _raise_stop(s: Record, level: float, why: int) -> None:
    """Move the protective stop to `level` where that is nearer; it never loosens."""
    k = protective_order(s)
    if k != NONE and not s.orders[k].triggered and nearer(s.sign, level, s.orders[k].price):
        s.orders[k].price = level
        s.stop_why = why


@phase
def after_target(rules: Record, terms: Record, s: Record, account: Record, o: Record) -> None:
    """A target has filled in full: break-even acts at once, the runner's trail from the next bar."""
    plan = plan_of(rules, s.plan)
    s.legs_filled += 1
    s.legs_ended |= 1 << o.leg
    s.leg[o.leg] = o.filled
    if o.leg + 1 == plan.break_even_after:
        level = stop_price(-s.sign, s.entry, terms.tick)
        if protective_order(s) == NONE:
            _stop_order_at(s, account, level)
            s.orders[s.n_orders - 1].decided_on = s.decided_on
            s.stop_why = BREAK_EVEN
        _raise_stop(s, level, BREAK_EVEN)
    if plan.runner_trail_kind != ABSENT and not _rests(s, TARGET):
        s.runs = 1


@phase
def _stop_order_at(s: Record, account: Record, level: float) -> None:
    k = new_order(s, account, -s.sign, STOP, PROTECTIVE_STOP, s.quantity)
    o = s.orders[k]
    o.price, o.fresh, o.maker, o.taker = level, False, s.maker, s.taker


@phase
def _rests(s: Record, role: int) -> bool:
    for k in range(s.n_orders):
        if s.orders[k].role == role and is_live(s.orders[k]):
            return True
    return False


@unit("rules terms state account float float float")
def trail(
    rules: Record,
    terms: Record,
    s: Record,
    account: Record,
    extreme: float,
    distance: float,
    runner: float,
) -> int:
    """On a close: follow the extreme of completed bars; what moves acts from the next bar."""
    sign = s.sign
    s.highest = sign * max(sign * s.highest, sign * extreme)
    plan = plan_of(rules, s.plan)
    if plan.runner_trail_kind != ABSENT and not (plan.runner_trail_kind != AT_PCT and np.isnan(runner)):
        raw = trail_below(
            plan.runner_trail_kind,
            plan.runner_trail,
            sign,
            s.highest,
            plan.runner_trail * runner,
        )
        level = stop_price(-sign, raw, terms.tick)
        if nearer(sign, level, s.runner_level):
            s.runner_level = level
        if s.runs:
            _follow(s, account, s.runner_level)
    if plan.trail_kind != ABSENT and not (plan.trail_kind != AT_PCT and np.isnan(distance)):
        raw = trail_below(plan.trail_kind, plan.trail, sign, s.highest, plan.trail * distance)
        level = stop_price(-sign, raw, terms.tick)
        if nearer(sign, level, s.trail_level):
            s.trail_level = level
        _follow(s, account, s.trail_level)
    return 0


@phase
def _follow(s: Record, account: Record, level: float) -> None:
    if protective_order(s) == NONE:
        _stop_order_at(s, account, level)
        s.stop_why = TRAILED
    else:
        _raise_stop(s, level, TRAILED)


@unit("terms state account float", seldom=True)
def move_stop(terms: Record, s: Record, account: Record, price: float) -> int:
    """A decision moves the stop, to either side."""
    level = stop_price(-s.sign, price, terms.tick)
    k = protective_order(s)
    if k == NONE:
        _stop_order_at(s, account, level)
    else:
        s.orders[k].price = level
    s.stop_level, s.stop_why = level, STOPPED
    return 0


@unit("rules terms state account int", seldom=True)
def move_targets(rules: Record, terms: Record, s: Record, account: Record, plan: int) -> int:
    """A decision replaces the targets of what is left by those of another plan; its shares are of the whole."""
    for k in range(s.n_orders):
        o = s.orders[k]
        if o.role == TARGET and is_live(o):
            end(o, account, CANCELLED, CANCELLED_BY_DECISION)
    s.ladder, s.ladder_base, s.scale, s.r_from = plan, s.quantity, 1.0, s.entry
    s.legs_filled, s.legs_ordered, s.legs_ended = 0, 0, 0
    wanted = plan_of(rules, plan)
    _share_out(terms, wanted, s)
    s.ladder_decided_on = account.t
    _order_targets(terms, wanted, s, account, 1.0)
    return 0
