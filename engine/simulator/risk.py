"""May this order be made? Every reason to refuse one on the close it is decided, in the order of `words.REASONS`.

A guard rejects, it never cuts; exactly at a limit is allowed; orders not yet filled count in exposure. Pacing counts
from fills, in the clock's hours and in the days of the calendar.
"""

from typing import Any

import numpy as np

from engine.simulator.compiled import phase, rule, unit
from engine.simulator.lookups import cell_of, plan_of, size_of, state_of, terms_of
from engine.simulator.orders import is_entry, leaves_altogether
from engine.simulator.prices import floor_to, value
from engine.simulator.sizing import wanted_quantity
from engine.simulator.words import (
    ABSENT,
    AT_PCT,
    AT_PRICE,
    BELOW_MIN_NOTIONAL,
    CORRELATION_LIMIT,
    EMBARGOED_DATA,
    GLOBAL_TRADE_SPACING,
    HALTED,
    INVALID_STOP,
    INVERSE,
    KELLY,
    KILL_SWITCH,
    LOSS_STREAK_COOLDOWN,
    MARKET,
    MAX_DAILY_LOSS,
    MAX_DRAWDOWN,
    MAX_GROSS_EXPOSURE,
    MAX_LEVERAGE,
    MAX_NET_EXPOSURE,
    MAX_OPEN_POSITIONS,
    MAX_POSITION,
    MAX_TRADES_PER_DAY,
    MAX_TRADES_PER_HOUR,
    NO_EDGE,
    NONE,
    NOT_SHORTABLE,
    REGIME_NOT_ALLOWED,
    RISK_PER_TRADE,
    STALE_BAR,
    SYMBOL_COOLDOWN_ACTIVE,
    TRADES_CAPPED,
)

Record = Any
HOUR_US = 3_600_000_000
_AT_LIMIT = 1.0 + 1e-12
_NOTHING = 1e-300  # of which no limit is still no limit


@phase
def stop_distance(plan: Record, d: Record, side: int, price: float) -> float:
    """From the price of an order, or from the close for what is said as a distance, to the stop; NaN: not known."""
    if plan.stop_kind == AT_PRICE:
        return float(side * (price - plan.stop))
    return float(d.close * plan.stop if plan.stop_kind == AT_PCT else d.stop_distance)


@phase
def trail_distance(plan: Record, d: Record) -> float:
    """From the close to where a trail would start; NaN: not known."""
    return float(d.close * plan.trail if plan.trail_kind == AT_PCT else d.trail_distance)


@rule
def _is_protected(plan: Record) -> bool:
    return bool(plan.stop_kind != ABSENT or plan.trail_kind != ABSENT)


@rule
def _exits_are_usable(plan: Record, d: Record, to_stop: float, to_trail: float) -> bool:
    if plan.runner_trail_kind not in (ABSENT, AT_PCT) and np.isnan(d.runner_distance):
        return False
    if plan.trail_kind != ABSENT and not to_trail > 0.0:
        return False
    if plan.stop_kind != ABSENT and not 0.0 < to_stop < np.inf:
        return False
    return _is_protected(plan) or not plan.needs_stop


@phase
def _pending(terms: Record, s: Record, side: int) -> float:
    """What resting orders that would open or add on `side` are worth."""
    worth = 0.0
    for k in range(s.n_orders):
        o = s.orders[k]
        if is_entry(o) and o.side == side:
            worth += value(terms, o.quantity - o.filled, s.mark)
    return worth


@rule
def _held(terms: Record, s: Record) -> float:
    return value(terms, s.quantity, s.mark) if s.quantity > 0.0 and not leaves_altogether(s) else 0.0


@phase
def _exposure_guard(rules: Record, account: Record, i: int, side: int, worth: float) -> int:
    gross, net, count, mine = worth, side * worth, 1, 0.0
    first, end = (0, rules.n_instruments) if rules.limits_all else (i, i + 1)
    for j in range(first, end):
        x, s, rate = terms_of(rules, j), state_of(rules, j), cell_of(rules, j).rate
        held, buys, sells = (
            _held(x, s) * rate,
            _pending(x, s, 1) * rate,
            _pending(x, s, -1) * rate,
        )
        gross += held + buys + sells
        net += s.sign * held + buys - sells
        if j == i:
            mine = s.sign * held + buys - sells
        elif held + buys + sells > 0.0:
            count += 1
    equity = max(account.equity, _NOTHING) * _AT_LIMIT
    if abs(mine + side * worth) > rules.max_position * equity:
        return MAX_POSITION
    if gross > rules.max_gross_exposure * equity:
        return MAX_GROSS_EXPOSURE
    if abs(net) > rules.max_net_exposure * equity:
        return MAX_NET_EXPOSURE
    if gross > rules.max_leverage * equity:
        return MAX_LEVERAGE
    if count > rules.max_open_positions:
        return MAX_OPEN_POSITIONS
    return NONE


@phase
def _loss_guard(rules: Record, account: Record) -> int:
    allowed = rules.max_daily_loss * _AT_LIMIT
    if allowed < np.inf and account.day_equity - account.equity > allowed * account.day_equity:
        return MAX_DAILY_LOSS
    if account.drawdown > rules.max_drawdown * _AT_LIMIT:
        return MAX_DRAWDOWN
    return KILL_SWITCH if account.killed else NONE  # beyond both limits the first that the contract lists


@phase
def _waiting_entries(rules: Record) -> int:
    waiting = 0
    for j in range(rules.n_instruments):
        s = state_of(rules, j)
        for k in range(s.n_orders):
            o = s.orders[k]
            if is_entry(o) and o.filled == 0.0:
                waiting += 1
    return waiting


@phase
def _pacing_guard(rules: Record, account: Record, s: Record, regime: float) -> int:
    now = account.close_us
    if now - account.last_entry_us < rules.spacing_us:
        return GLOBAL_TRADE_SPACING
    won = s.last_win_us > s.last_loss_us
    since, pause = (s.last_win_us, rules.after_win_us) if won else (s.last_loss_us, rules.after_loss_us)
    if now - since < pause:
        return SYMBOL_COOLDOWN_ACTIVE
    if rules.max_trades_per_hour < np.inf or rules.max_trades_per_day < np.inf:
        waiting = _waiting_entries(rules)
        this_hour = account.entries_this_hour if account.hour == now // HOUR_US else 0
        if this_hour + waiting + 1 > rules.max_trades_per_hour:
            account.warnings |= TRADES_CAPPED
            return MAX_TRADES_PER_HOUR
        this_day = account.entries_this_day if account.day == account.next_session else 0
        if this_day + waiting + 1 > rules.max_trades_per_day:
            account.warnings |= TRADES_CAPPED
            return MAX_TRADES_PER_DAY
    r = 0 if np.isnan(regime) else int(regime)
    if account.streak[r] >= rules.streak_losses and now - account.last_loss_us[r] < rules.streak_us:
        return LOSS_STREAK_COOLDOWN
    return NONE


@phase
def _guards(rules: Record, account: Record, d: Record, side: int, worth: float) -> int:
    reason = _exposure_guard(rules, account, d.instrument, side, worth)
    if (
        reason == NONE
        and (d.correlation_long if side > 0 else d.correlation_short) > rules.correlation_limit * _AT_LIMIT
    ):
        reason = CORRELATION_LIMIT
    if reason == NONE:
        reason = _loss_guard(rules, account)
    if reason == NONE:
        reason = _pacing_guard(rules, account, state_of(rules, d.instrument), d.regime)
    return reason


@rule
def _not_now(s: Record, d: Record) -> int:
    """What forbids an entry whatever its size."""
    if s.delisted:
        return HALTED
    if d.embargoed:
        return EMBARGOED_DATA
    if not d.present:
        return STALE_BAR
    if d.multiplier == 0.0:
        return REGIME_NOT_ALLOWED
    return NONE if np.isnan(d.refusal) else int(d.refusal)


@rule
def _is_too_small(terms: Record, quantity: float, price: float) -> bool:
    units = quantity * terms.contract_size
    worth = units if terms.kind == INVERSE else units * price
    return bool(worth < terms.min_notional * (1.0 - 1e-12))


@rule
def _size(terms: Record, plan: Record, size: Record, account: Record, d: Record, o: Record) -> int:
    """What the order asks for, and how far its stop lies; gives why it may not be sized, -1: it may."""
    price = d.close if o.type == MARKET else o.price
    to_stop, to_trail = stop_distance(plan, d, o.side, price), trail_distance(plan, d)
    if not _exits_are_usable(plan, d, to_stop, to_trail):
        return INVALID_STOP
    trails = plan.stop_kind == ABSENT or (plan.trail_kind != ABSENT and to_trail < to_stop)
    o.distance_seen = to_trail if trails else to_stop
    if not np.isnan(o.requested):
        return NONE
    o.size_model, o.size_amount = size.model, size.amount
    if size.model == RISK_PER_TRADE and not _is_protected(plan):
        return INVALID_STOP
    start = price if plan.stop_kind == AT_PRICE and not trails else d.close
    stop = start - o.side * o.distance_seen
    o.requested = wanted_quantity(terms, size, account, d, o.side, start, stop) * d.multiplier
    if o.requested > 0.0:
        return NONE
    o.requested = 0.0
    return NO_EDGE if size.model == KELLY else NONE


@unit("rules account decision order")
def judge(rules: Record, account: Record, d: Record, o: Record) -> int:
    """Size the order of a decision to buy or sell, and say why it may not be made; -1: it may."""
    x, s, shrinks, reason = terms_of(rules, d.instrument), state_of(rules, d.instrument), o.reduces_only, NONE
    if s.delisted or d.embargoed or not shrinks:
        reason = _not_now(s, d)
    if reason == NONE and o.side < 0 and not x.shortable and not shrinks:
        reason = NOT_SHORTABLE
    if reason == NONE:
        reason = _size(x, plan_of(rules, o.plan), size_of(rules, d.sizing), account, d, o)
    if reason != NONE:
        return reason
    o.quantity = floor_to(o.requested, x.lot)
    if not o.quantity > 0.0 or (not shrinks and _is_too_small(x, o.quantity, d.close)):
        return BELOW_MIN_NOTIONAL
    return NONE if shrinks else _guards(rules, account, d, o.side, value(x, o.quantity, d.close) * d.rate)
