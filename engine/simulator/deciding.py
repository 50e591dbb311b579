"""What is decided on a close becomes orders for the next bar: signals of a strategy, or decisions from a list."""

from typing import Any

import numpy as np

from engine.simulator.compiled import phase, rule, unit
from engine.simulator.exits import move_stop, move_targets
from engine.simulator.lookups import hot_at, plan_of, state_of, terms_of
from engine.simulator.orders import (
    end,
    is_live,
    leaves_altogether,
    new_order,
    refuse,
    waits_to_open,
)
from engine.simulator.prices import floor_to, limit_price, stop_price, value
from engine.simulator.risk import judge
from engine.simulator.words import (
    BELOW_MIN_NOTIONAL,
    BUY,
    CANCEL,
    CANCELLED,
    CANCELLED_BY_DECISION,
    CLOSE,
    CONFLICTING_SIGNAL,
    EMBARGOED,
    EMBARGOED_DATA,
    ENTER_LONG,
    ENTER_SHORT,
    EXIT,
    EXIT_LONG,
    EXIT_SHORT,
    FREE,
    LIMIT,
    MARKET,
    MOVE_STOP,
    NO_POSITION,
    NO_STOP_TO_MOVE,
    NO_TARGETS_TO_MOVE,
    NONE,
    OPEN,
    REJECTED,
    SELL,
    SIGNAL,
    STOP,
    STOP_LIMIT,
)

Record = Any


@phase
def heat_of(rules: Record, account: Record, left: int) -> float:
    """Share of equity that is lost if every protective stop fills at its price; instrument `left` is left first."""
    at_risk, hots = 0.0, rules.hots
    for j in range(rules.n_instruments):
        h = hot_at(hots, j)
        if j != left and not np.isnan(h.stop):
            if h.coin != 0.0:
                at_risk += max(0.0, -(h.coin * (1.0 / h.mark - 1.0 / h.stop)))
            else:
                at_risk += max(0.0, -(h.units * (h.stop - h.mark)))
    return at_risk / account.equity if account.equity > 0.0 else np.inf


@phase
def _price(terms: Record, o: Record, d: Record) -> None:
    if o.type in (LIMIT, STOP_LIMIT):
        o.price = limit_price(o.side, d.price, terms.tick)
    if o.type == STOP:
        o.price = stop_price(o.side, d.price, terms.tick)
    if o.type == STOP_LIMIT:
        o.trigger = stop_price(o.side, d.trigger, terms.tick)


@rule
def _write_terms(o: Record, account: Record, d: Record) -> None:
    o.client, o.plan, o.post_only = d.client, d.plan, d.post_only
    o.stop_distance, o.trail_distance = d.stop_distance, d.trail_distance
    o.equity_seen, o.price_seen = account.equity, d.close
    o.strength, o.confidence, o.regime = d.strength, d.confidence, d.regime
    o.sigma, o.mean_volume = d.sigma, d.mean_volume
    if d.ttl > 0:
        o.expires = account.slot + d.ttl


@unit("rules account decision int")
def _trade(rules: Record, account: Record, d: Record, side: int) -> int:
    s = state_of(rules, d.instrument)
    k = new_order(s, account, side, d.type, FREE, d.quantity)
    o = s.orders[k]
    _write_terms(o, account, d)
    o.heat_seen = heat_of(rules, account, d.instrument if s.quantity == 0.0 else NONE)
    _price(terms_of(rules, d.instrument), o, d)
    o.reduces_only = s.quantity > 0.0 and side != s.sign and not leaves_altogether(s)
    o.quantity = 0.0
    o.status = REJECTED  # not counted among what waits while it is judged
    reason = judge(rules, account, d, o)
    o.status = OPEN
    if reason != NONE:
        refuse(o, account, reason)
    return 0


@phase
def _close(rules: Record, account: Record, d: Record) -> None:
    s = state_of(rules, d.instrument)
    quantity = s.quantity if np.isnan(d.quantity) else d.quantity
    k = new_order(s, account, -s.sign if s.quantity > 0.0 else 0, d.type, EXIT, d.quantity)
    o = s.orders[k]
    _write_terms(o, account, d)
    o.why, o.everything = SIGNAL, np.isnan(d.quantity)
    o.requested = quantity
    o.quantity = floor_to(quantity, terms_of(rules, d.instrument).lot) if s.quantity > 0.0 else 0.0
    if s.quantity == 0.0:
        refuse(o, account, NO_POSITION)
    elif d.embargoed:
        refuse(o, account, EMBARGOED_DATA)
    elif o.quantity <= 0.0:
        refuse(o, account, BELOW_MIN_NOTIONAL)
    else:
        _price(terms_of(rules, d.instrument), o, d)


@unit("state account int int")
def cancel_entries(s: Record, account: Record, client: int, reason: int) -> int:
    """Withdraw what rests and protects nothing: all of it, or the one of that client id."""
    for k in range(s.n_orders):
        o = s.orders[k]
        named = client != NONE and o.client == client
        if is_live(o) and (named or (client == NONE and o.role == FREE)):
            end(o, account, CANCELLED, reason)
    return 0


@unit("rules account decision", seldom=True)
def follow_decision(rules: Record, account: Record, d: Record) -> int:
    """One decision of the list."""
    s = state_of(rules, d.instrument)
    if d.do in (BUY, SELL):
        _trade(rules, account, d, 1 if d.do == BUY else -1)
    elif d.do == CLOSE:
        _close(rules, account, d)
    elif d.do == CANCEL:
        cancel_entries(s, account, d.client, CANCELLED_BY_DECISION)
    elif s.quantity == 0.0:
        account.warnings |= NO_STOP_TO_MOVE if d.do == MOVE_STOP else NO_TARGETS_TO_MOVE
    elif d.do == MOVE_STOP:
        move_stop(
            terms_of(rules, d.instrument),
            s,
            account,
            plan_of(rules, d.plan).stop,
        )
    else:
        move_targets(rules, terms_of(rules, d.instrument), s, account, d.plan)
    return 0


@rule
def _refuse_signal(s: Record, account: Record, side: int, reason: int) -> None:
    k = new_order(s, account, side, MARKET, FREE, np.nan)
    refuse(s.orders[k], account, reason)


@rule
def follow_signal(
    rules: Record,
    account: Record,
    d: Record,
    signal: int,
) -> int:
    """What a strategy says on a close: an exit order, an entry order, both, or a refusal."""
    s = state_of(rules, d.instrument)
    goes_long = bool(signal & ENTER_LONG) and not signal & EXIT_LONG
    goes_short = bool(signal & ENTER_SHORT) and not signal & EXIT_SHORT
    side = int(goes_long) - int(goes_short)
    held = s.sign if s.quantity > 0.0 else 0
    leaves = (held > 0 and (bool(signal & EXIT_LONG) or goes_short)) or (
        held < 0 and (bool(signal & EXIT_SHORT) or goes_long)
    )
    enters = side != 0 and side != held
    if goes_long and goes_short:
        _refuse_signal(s, account, 0, CONFLICTING_SIGNAL)
        return 0
    if signal & EMBARGOED and (leaves or enters):
        _refuse_signal(s, account, side if enters else -held, EMBARGOED_DATA)
        return 0
    if leaves:
        d.quantity = np.nan
        _close(rules, account, d)
    if enters and not waits_to_open(s, side):
        cancel_entries(s, account, NONE, CANCELLED_BY_DECISION)
        _send_as_told(rules, d, side)
        if leaves:  # both at the same open: judged as from flat
            _enter_after_leaving(rules, account, d, side)
        else:
            _trade(rules, account, d, side)
    return 0


@rule
def _send_as_told(rules: Record, d: Record, side: int) -> None:
    d.quantity, d.type = np.nan, rules.entry_type
    d.price, d.ttl = d.close * (1.0 - side * rules.entry_offset), rules.entry_ttl
    d.post_only = rules.entry_post_only


@unit("rules account decision float")
def follow_target(rules: Record, account: Record, d: Record, target: float) -> int:
    """A position to hold, signed: what is to leave first, then what is to be entered, both at the next open."""
    s, x = state_of(rules, d.instrument), terms_of(rules, d.instrument)
    each = value(x, 1.0, d.close) * d.rate  # worth of one contract
    wanted = max(0.0, account.equity) * target / each if rules.targets_are_weights else target
    if d.multiplier > 0.0:
        wanted *= d.multiplier
    wanted = floor_to(abs(wanted), x.lot) * (1 if wanted > 0.0 else -1)
    held = s.sign * (s.quantity - _leaving(s)) if s.quantity > 0.0 else 0.0
    change = wanted - held
    if abs(change) < 0.5 * x.lot or abs(change) * each < rules.rebalance_band * account.equity:
        return 0
    side = 1 if change > 0.0 else -1
    if d.embargoed:
        _refuse_signal(s, account, side, EMBARGOED_DATA)
        return 0
    cancel_entries(s, account, NONE, CANCELLED_BY_DECISION)
    leaves = min(abs(held), abs(change)) if side * held < 0.0 else 0.0
    enters = floor_to(abs(change) - leaves, x.lot)
    if leaves > 0.0:
        d.quantity = np.nan if leaves == abs(held) else leaves
        _close(rules, account, d)
    if enters > 0.0:
        d.quantity = enters
        if leaves > 0.0:
            _enter_after_leaving(rules, account, d, side)
        else:
            _trade(rules, account, d, side)
    return 0


@phase
def _leaving(s: Record) -> float:
    """What waits to leave already."""
    leaving = 0.0
    for k in range(s.n_orders):
        o = s.orders[k]
        if is_live(o) and o.role == EXIT:
            leaving += o.quantity - o.filled
    return leaving


@phase
def _enter_after_leaving(rules: Record, account: Record, d: Record, side: int) -> None:
    s = state_of(rules, d.instrument)
    quantity = s.quantity
    s.quantity = 0.0
    _trade(rules, account, d, side)
    s.quantity = quantity
