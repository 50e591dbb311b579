"""Executing an order as far as volume, cash and guards allow, and what follows from its fill."""

from typing import Any

import numpy as np

from engine.simulator.compiled import phase, rule, unit
from engine.simulator.costs import fee, taking
from engine.simulator.exits import after_target, protect, resize
from engine.simulator.liquidation import bankruptcy_price, liquidation_price
from engine.simulator.orders import (
    end,
    end_what_belonged_to_the_position,
    is_limit,
    is_live,
    new_order,
    opens,
    reduces,
    refuse,
)
from engine.simulator.positions import available, execute
from engine.simulator.prices import floor_to, value
from engine.simulator.words import (
    CANCELLED,
    DELISTED,
    ENTRY,
    EXIT,
    FILLED,
    INSUFFICIENT_CASH,
    LIQUIDATED,
    MARKET,
    NOT_SHORTABLE,
    PARTIALLY_FILLED,
    POSITION_CLOSED,
    PROTECTIVE_STOP,
    REDUCE,
    SESSION_CLOSE,
    SLIPPAGE_EXCEEDED,
    SPOT,
    TARGET,
    TARGET_1,
    TIME,
    VOLUME_SHARE,
    VOLUME_UNKNOWN,
)

Record = Any
HOUR_US = 3_600_000_000


@rule
def _why(s: Record, o: Record) -> int:
    if o.role == PROTECTIVE_STOP:
        return s.stop_why
    if o.role == TARGET:
        return TARGET_1 + o.leg
    if o.role == EXIT:
        return o.why
    return REDUCE if reduces(s, o) else ENTRY


@rule
def _fillable(terms: Record, s: Record, o: Record, maker: int) -> float:
    """What is left of the order, within the position where it reduces, and within what volume allows."""
    wanted = o.quantity - o.filled
    if reduces(s, o):
        wanted = min(wanted, s.quantity)
    allowed = s.room if maker else min(s.room, s.taker_room)
    return wanted if wanted <= allowed else floor_to(allowed, terms.lot)


@phase
def _costs_within_limit(o: Record, reference: float, costs: tuple[float, float, float]) -> tuple[float, float, float]:
    """Never worse than its limit: impact and slippage give way, in that order."""
    spread, slippage, impact = costs
    room = max(0.0, o.side * (o.price - reference))
    spread = min(spread, room)
    slippage = min(slippage, room - spread)
    return spread, slippage, min(impact, room - spread - slippage)


@rule
def _need(terms: Record, s: Record, worth: float, fee_due: float, rate: float) -> float:
    """Price or margin, of what is paid with its costs, and fee of opening for `worth`."""
    if terms.kind == SPOT:
        return worth + fee_due
    extra = terms.extra_margin * rate if s.quantity == 0.0 else 0.0
    return worth / terms.leverage + extra + fee_due


@phase
def _refusal(
    rules: Record,
    terms: Record,
    s: Record,
    account: Record,
    o: Record,
    quantity: float,
    reference: float,
    costs: tuple[float, float, float],
    maker: int,
    rate: float,
) -> int:
    """Why an order may not open or add now; -1: it may."""
    if o.side < 0 and not terms.shortable:
        return NOT_SHORTABLE
    if costs[0] + costs[1] + costs[2] > rules.max_slippage * reference * (1.0 + 1e-12):
        return SLIPPAGE_EXCEEDED
    price = reference + o.side * (costs[0] + costs[1] + costs[2])
    paid_before = o.fee_paid
    worth = value(terms, quantity, price) * rate
    fee_due = fee(rules, terms, o, quantity, worth, o.maker if maker else o.taker)
    o.fee_paid = paid_before  # asked, not yet paid
    if _need(terms, s, worth, fee_due, rate) * (1.0 - 1e-12) > available(account):
        return INSUFFICIENT_CASH
    return -1


@rule
def _count_entry(account: Record) -> None:
    hour = account.now_us // HOUR_US
    account.entries_this_hour = account.entries_this_hour + 1 if hour == account.hour else 1
    account.entries_this_day = account.entries_this_day + 1 if account.session == account.day else 1
    account.hour, account.day = hour, account.session


@phase
def _charge_funding_on_entry(s: Record, account: Record, cell: Record, side: int, quantity: float) -> None:
    """What is entered at the open of an instant of funding pays too."""
    if np.isnan(cell.funding_due):
        account.missing_mark = account.t + 1
    received = -side * quantity * cell.funding_due * cell.rate
    account.cash += received
    s.funding += received


@rule
def _after_reducing(rules: Record, terms: Record, s: Record, account: Record, k: int) -> int:
    o = s.orders[k]
    if s.quantity == 0.0:
        if is_live(o):
            end(o, account, CANCELLED, POSITION_CLOSED)
        end_what_belonged_to_the_position(s, account)
        return 0
    if o.role == TARGET and o.status == FILLED:
        after_target(rules, terms, s, account, o)
    resize(s, account)
    return 0


@rule
def _costs(
    terms: Record, s: Record, account: Record, cell: Record, o: Record, quantity: float, reference: float, maker: int
) -> tuple[float, float, float]:
    """Half-spread, slippage and impact per unit; NaN: at its limit or better it does not fill."""
    if maker:
        return 0.0, 0.0, 0.0
    costs = taking(terms, s, account, cell, o, quantity, reference)
    if not is_limit(o):
        return costs
    if terms.slippage == VOLUME_SHARE:
        worse = costs[0] + costs[1] > o.side * (o.price - reference) + 1e-12 * reference
        return (np.nan, np.nan, np.nan) if worse else _costs_within_limit(o, reference, costs)
    return _costs_within_limit(o, reference, costs)


@rule
def _open_or_add(
    rules: Record,
    terms: Record,
    s: Record,
    account: Record,
    box: Record,
    cell: Record,
    k: int,
    quantity: float,
    reference: float,
    costs: tuple[float, float, float],
    maker: int,
) -> bool:
    """Open a position or add to it, and protect it; False: refused."""
    o = s.orders[k]
    side = o.side
    reason = _refusal(rules, terms, s, account, o, quantity, reference, costs, maker, cell.rate)
    if reason >= 0:
        refuse(o, account, reason)
        return False
    if s.quantity == 0.0:
        _note_entry(s, o, costs, cell)
    _take(rules, terms, s, account, box, cell, o, quantity, reference, costs, maker)
    account.last_entry_us = account.now_us  # spacing counts from every fill, the caps from the first
    if o.filled == quantity:
        _count_entry(account)
    if account.at_open and cell.funding_due != 0.0:
        _charge_funding_on_entry(s, account, cell, side, quantity)
    protect(rules, terms, s, account, k, quantity, reference, cell.rate)
    return True


@unit("rules terms state account box cell int float int")
def attempt(
    rules: Record,
    terms: Record,
    s: Record,
    account: Record,
    box: Record,
    cell: Record,
    k: int,
    reference: float,
    maker: int,
) -> int:
    """Fill order `k` at `reference` as far as it may; what is left does nothing more in this bar."""
    o = s.orders[k]
    if o.everything:
        o.quantity = o.filled + s.quantity
    quantity = _fillable(terms, s, o, maker)
    if np.isnan(cell.volume) and not np.isnan(rules.participation):
        account.warnings |= VOLUME_UNKNOWN
    o.blocked_on = account.t
    takes = is_limit(o) and not maker
    if not quantity > 0.0:
        if takes:
            o.blocked_on = -1  # what may not take may still rest
        return 0
    costs = _costs(terms, s, account, cell, o, quantity, reference, maker)
    if np.isnan(costs[0]):
        return 0
    if opens(s, o):
        if not _open_or_add(rules, terms, s, account, box, cell, k, quantity, reference, costs, maker):
            return 0
    else:
        _take(rules, terms, s, account, box, cell, o, quantity, reference, costs, maker)
        _after_reducing(rules, terms, s, account, k)
    if takes and s.room > 0.0:
        o.blocked_on = -1  # what volume does not let it take rests
    s.liquidation = liquidation_price(terms, s, (account.cash + s.wallet_of_others) / cell.rate)
    return 0


@rule
def _note_entry(s: Record, o: Record, costs: tuple[float, float, float], cell: Record) -> None:
    half_range = (cell.high - cell.low) / 2.0
    s.fill_quality = 1.0 - (costs[0] + costs[1] + costs[2]) / half_range if half_range > 0.0 else np.nan
    s.volatility, s.mean_volume, s.volume_at_entry = o.sigma, o.mean_volume, cell.volume


@rule
def _take(
    rules: Record,
    terms: Record,
    s: Record,
    account: Record,
    box: Record,
    cell: Record,
    o: Record,
    quantity: float,
    reference: float,
    costs: tuple[float, float, float],
    maker: int,
) -> None:
    side, why = o.side, _why(s, o)
    price = reference + side * (costs[0] + costs[1] + costs[2])
    worth = value(terms, quantity, price) * cell.rate
    fee_due = 0.0
    if why != DELISTED:
        fee_due = fee(rules, terms, o, quantity, worth, o.maker if maker else o.taker)
    o.filled += quantity
    s.room -= quantity
    if not maker:
        s.taker_room -= quantity
    if o.quantity - o.filled < 0.5 * terms.lot:
        end(o, account, FILLED, -1)
    else:
        o.status = PARTIALLY_FILLED
    execute(
        terms,
        s,
        account,
        box,
        cell.rate,
        o.id,
        side,
        quantity,
        reference,
        costs[0],
        costs[1],
        costs[2],
        fee_due,
        why,
        maker,
    )
    s.tier = account.tier


@unit("state account int")
def exit_order(s: Record, account: Record, why: int) -> int:
    """An order to leave with everything, at the market."""
    k = new_order(s, account, -s.sign, MARKET, EXIT, s.quantity)
    o = s.orders[k]
    o.why, o.everything = why, True
    if why in (TIME, SESSION_CLOSE, LIQUIDATED):
        o.maker, o.taker = s.maker, s.taker
    if why in (TIME, SESSION_CLOSE):
        o.decided_on = s.decided_on
    return k


@unit("rules terms state account box cell int float int", seldom=True)
def leave(
    rules: Record,
    terms: Record,
    s: Record,
    account: Record,
    box: Record,
    cell: Record,
    why: int,
    reference: float,
    free: int,
) -> int:
    """Leave with everything whatever volume says; `free`: at the price itself, without half-spread and slippage."""
    k = exit_order(s, account, why)
    o = s.orders[k]
    costs = (0.0, 0.0, 0.0)
    if not free:
        costs = taking(terms, s, account, cell, o, s.quantity, reference)
    room, taker_room, taken = s.room, s.taker_room, s.taken
    _take(rules, terms, s, account, box, cell, o, s.quantity, reference, costs, 0)
    s.room, s.taker_room, s.taken = room, taker_room, taken
    end_what_belonged_to_the_position(s, account)
    s.liquidation = np.nan
    return 0


@unit("rules terms state account box cell float", seldom=True)
def liquidate(
    rules: Record,
    terms: Record,
    s: Record,
    account: Record,
    box: Record,
    cell: Record,
    mark: float,
) -> int:
    price = bankruptcy_price(terms, s, mark)
    leave(rules, terms, s, account, box, cell, LIQUIDATED, price, 1)
    return 0
