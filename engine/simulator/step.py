"""One bar, in the contract's order: what is carried in, the open, inside, marking, decisions.

The functions of this module hold arrays and are merged into the drivers; what they call works on records. Nothing
happens to most instruments in most bars. So each lives in a small `HOT` record with the band of prices within which
nothing can happen to it, and only what leaves its band, or is touched by calendar or decision, is woken: gathered into
a `CELL`, taken through every step, and put to rest again with a new band.
"""

from typing import Any

import numpy as np

from engine.costs import VOLUME_WINDOW_US
from engine.simulator.carry import charge_borrow, charge_funding, pay_dividend, split
from engine.simulator.compiled import phase, rule, unit
from engine.simulator.deciding import cancel_entries, follow_decision, follow_signal
from engine.simulator.exits import nearer, trail, trail_below
from engine.simulator.fills import attempt, exit_order, leave, liquidate
from engine.simulator.liquidation import liquidation_price, maintenance
from engine.simulator.lookups import plan_of
from engine.simulator.orders import (
    NEVER,
    end,
    end_what_belonged_to_the_position,
    is_limit,
    is_live,
    leaves_altogether,
    opens,
    protective_order,
    reduces,
    refuse,
    trigger_of,
    waits_for_trigger,
    waits_to_open,
)
from engine.simulator.paths import (
    anything_is_reached,
    choose,
    judge_new_targets,
    lies_beyond,
    mark_trades,
    mark_what_the_other_lacks,
    same_fills,
    takes,
    trigger_stop_limit,
    walk,
    worth_at_close,
)
from engine.simulator.positions import relock, see, unrealised
from engine.simulator.prices import floor_to, stop_price, value
from engine.simulator.schema import ORDER, STATE
from engine.simulator.tape import Desk, Logs, Tape
from engine.simulator.words import (
    ABSENT,
    AT_DISTANCE,
    CANCELLED_BY_DECISION,
    DECISIONS_HERE,
    DELIST,
    DELISTED,
    DIVIDEND,
    EVENTS_HERE,
    EXIT,
    EXPIRED,
    FREE,
    FUNDING_AT_OPEN,
    FUNDING_BEFORE,
    FUNDING_INSIDE,
    INVERSE,
    KILL_SWITCH,
    KILLED,
    MARKET,
    NEW_DAY,
    NONE,
    POST_ONLY_WOULD_TAKE,
    PROTECTIVE_STOP,
    SESSION_CLOSE,
    SESSION_ENDS,
    SESSION_STARTS,
    SHARE_COLUMN,
    SIGNALS_HERE,
    SPLIT,
    SPOT,
    STOP,
    TARGET,
    TIME,
    TTL_EXPIRED,
    VOLUME_SHARE,
    WINDOW_END,
    WINDOW_ENDS,
)

Record = Any
NO_ALARM = 1 << 62
ALL_BUT_NEW_DAY = 255 - NEW_DAY
_BLOCK = 16  # bars
_HEAD = STATE.fields["orders"][1] // 8  # words before the orders
_ORDER = ORDER.itemsize // 8


# Logs


@phase
def _log_fill(logs: Logs, account: Record, row: Record, i: int) -> None:
    account.n_fills += 1
    if account.n_fills <= logs.fills.size:
        row.id, row.instrument = account.n_fills, i
        logs.fills[account.n_fills - 1] = row


@phase
def _log_trade(logs: Logs, account: Record, row: Record, i: int) -> None:
    account.n_trades += 1
    account.n_ambiguous += int(row.ambiguous)
    if account.n_trades <= logs.trades.size:
        row.instrument = i
        logs.trades[account.n_trades - 1] = row


@rule
def _book(logs: Logs, s: Record, account: Record, box: Record, i: int) -> None:
    """Empty the outbox of instrument `i` into the logs."""
    if box.n_fills > 0:
        mark_trades(s, box)
        for k in range(box.n_fills):
            _log_fill(logs, account, box.fills[k], i)
        for k in range(box.n_trades):
            _log_trade(logs, account, box.trades[k], i)
        box.n_fills, box.n_trades = 0, 0


@phase
def log_order(orders: Any, o: Record, i: int) -> None:
    if o.id <= orders.size:
        o.instrument = i
        orders[o.id - 1] = o


@phase
def _bury(orders: Any, s: Record, i: int) -> None:
    """Log the orders that have ended; the others close ranks."""
    kept = 0
    for k in range(s.n_orders):
        if is_live(s.orders[k]):
            if kept < k:
                s.orders[kept] = s.orders[k]
            kept += 1
        else:
            log_order(orders, s.orders[k], i)
    s.n_orders = kept


# Waking and resting


@rule
def _load(tape: Tape, cell: Record, terms: Record, t: int, i: int) -> None:
    cell.open, cell.high, cell.low, cell.close = (
        tape.opens[t, i],
        tape.highs[t, i],
        tape.lows[t, i],
        tape.closes[t, i],
    )
    cell.present, cell.join, cell.finish = not np.isnan(cell.open), cell.open, cell.close
    cell.volume = tape.volumes[t, i] if tape.volumes.size else np.nan
    cell.rate = tape.conversions[t, i] if tape.conversions.size else 1.0
    if tape.mark_opens.size:
        cell.mark_open, cell.mark_high = tape.mark_opens[t, i], tape.mark_highs[t, i]
        cell.mark_low, cell.mark_close = tape.mark_lows[t, i], tape.mark_closes[t, i]
    else:
        cell.mark_open, cell.mark_high, cell.mark_low, cell.mark_close = (
            cell.open,
            cell.high,
            cell.low,
            cell.close,
        )
    cell.funding_due = 0.0


@rule
def _wake(rules: Record, terms: Record, h: Record, s: Record, cell: Record) -> None:
    s.low_seen, s.high_seen = min(s.low_seen, h.low_seen), max(s.high_seen, h.high_seen)
    h.low_seen, h.high_seen = np.inf, -np.inf
    s.mark = h.mark
    s.taken, s.room, s.taker_room, s.here = 0.0, np.inf, np.inf, cell.open
    if not np.isnan(cell.volume):
        volume = cell.volume / terms.contract_size
        if not np.isnan(rules.participation):
            s.room = floor_to(rules.participation * volume, terms.lot)
        if volume == 0.0:
            s.room = 0.0
        if terms.slippage == VOLUME_SHARE:
            s.taker_room = floor_to(terms.share_limit * volume, terms.lot)


@rule
def _narrow(rules: Record, h: Record, o: Record) -> bool:
    """Narrow the band by what one order waits for; True: it may act in any bar."""
    if o.type == MARKET or o.fresh or o.expires != NEVER or (o.type == STOP and o.triggered):
        return True
    waits = waits_for_trigger(o)
    level = trigger_of(o) if waits else o.price
    if (o.side > 0) == waits:
        h.high_band = min(h.high_band, level)
    else:
        h.low_band = max(h.low_band, level)
    return False


@unit("rules terms hot state account")
def _rest(rules: Record, terms: Record, h: Record, s: Record, account: Record) -> int:
    """Where the price may go without anything happening; an empty band wakes it in the next bar."""
    h.low_band, h.high_band, h.mark_low_band, h.mark_high_band = (
        -np.inf,
        np.inf,
        -np.inf,
        np.inf,
    )
    h.units, h.offset, h.coin = 0.0, 0.0, 0.0
    restless = rules.converts or rules.cross
    for k in range(s.n_orders):
        if _narrow(rules, h, s.orders[k]):
            restless = True
    plan = plan_of(rules, s.plan)
    if s.quantity > 0.0:
        _weigh(terms, h, s)
        if not np.isnan(s.liquidation):
            _narrow_by_liquidation(rules, h, s)
        if plan.time_stop_bars > 0:
            account.alarm = min(account.alarm, s.entry_bar + plan.time_stop_bars)
        restless |= _outlived_its_session(plan, s, account)
        restless |= s.sign < 0 and terms.kind == SPOT and terms.borrow_per_day > 0.0
    if restless:
        h.low_band = np.inf
    h.reach_low, h.reach_high, h.trails = h.low_band, h.high_band, 0
    if s.quantity > 0.0 and (plan.trail_kind != ABSENT or plan.runner_trail_kind != ABSENT):
        h.trails = 1 if plan.runner_trail_kind == ABSENT else 2
        if plan.trail_kind == AT_DISTANCE or plan.runner_trail_kind == AT_DISTANCE:
            h.low_band = np.inf
        else:
            h.high_band = min(h.high_band, s.highest) if s.sign > 0 else h.high_band
            h.low_band = max(h.low_band, s.highest) if s.sign < 0 else h.low_band
    return 0


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
        h.low_band = max(h.low_band, s.liquidation)
    else:
        h.high_band = min(h.high_band, s.liquidation)


@rule
def _worth(h: Record) -> float:
    if h.coin != 0.0:
        return float(h.offset - h.coin / h.mark)
    return float(h.units * h.mark + h.offset)


# 1. What is carried in


@phase
def _mark_before(tape: Tape, t: int, i: int) -> float:
    """The close of the last mark bar; of the last bar where that one has no mark."""
    before = t - 1
    while np.isnan(tape.closes[before, i]):
        before -= 1
    if tape.mark_closes.size and not np.isnan(tape.mark_closes[before, i]):
        return float(tape.mark_closes[before, i])
    return float(tape.closes[before, i])


@phase
def _carry_marks(tape: Tape, desk: Desk, account: Record) -> None:
    """Collateral at the rates of this bar, and the gains of contracts at the last marks before, which stand behind it."""
    account.unrealised = 0.0
    for i in range(tape.terms.size):
        s = desk.states[i]
        s.value_carried = 0.0
        if s.quantity > 0.0:
            s.mark_price = _mark_before(tape, account.t, i)
            relock(tape.terms[i], s, account, desk.cells[i].rate)


@unit("tape desk account int")
def _judge_wallet(tape: Tape, desk: Desk, account: Record, i: int) -> int:
    """Cross margin: what the account holds for a position by now, the others at their last marks before."""
    s = desk.states[i]
    s.wallet_of_others = 0.0
    for j in range(tape.terms.size):
        other = desk.states[j]
        if j != i and other.quantity > 0.0 and tape.terms[j].kind != SPOT:
            mark = other.entry if other.entry_bar == account.t else other.mark_price
            held = maintenance(tape.terms[j], other, mark, desk.cells[j].rate)
            s.wallet_of_others += unrealised(tape.terms[j], other, mark, desk.cells[j].rate) - held
    s.liquidation = liquidation_price(tape.terms[i], s, (account.cash + s.wallet_of_others) / desk.cells[i].rate)
    return 0


@rule
def _carry_in(tape: Tape, desk: Desk, logs: Logs, account: Record, t: int) -> None:
    if tape.clock[t] & EVENTS_HERE:
        _carry_events(tape, desk, logs, account, t)
    for n in range(account.n_active):
        i = desk.active[n]
        if desk.cells[i].present:
            charge_borrow(tape.terms[i], desk.states[i], account, desk.cells[i])


@unit("tape desk logs account int")
def _carry_events(tape: Tape, desk: Desk, logs: Logs, account: Record, t: int) -> int:
    for n in range(account.next_event, tape.events.size):
        event = tape.events[n]
        if event.bar != t:
            break
        i = event.instrument
        x, s, cell, box = tape.terms[i], desk.states[i], desk.cells[i], desk.boxes[0]
        if event.kind == SPLIT:
            split(tape.rules[0], x, s, account, box, cell, event.value)
            if s.quantity == 0.0:
                end_what_belonged_to_the_position(s, account)
            s.liquidation = liquidation_price(x, s, (account.cash + s.wallet_of_others) / cell.rate)
        elif event.kind == DIVIDEND:
            pay_dividend(x, s, account, cell, event.value)
        elif event.kind == FUNDING_BEFORE or event.kind == FUNDING_AT_OPEN:
            if event.kind == FUNDING_AT_OPEN:  # what is entered at this open pays too
                cell.funding_due += value(x, 1.0, event.mark) * event.value
            charge_funding(x, s, account, cell, event.value, event.mark)
        _book(logs, s, account, box, i)
    return 0


@unit("tape desk account int")
def _fund_inside(tape: Tape, desk: Desk, account: Record, t: int) -> int:
    """Instants strictly inside the bar are charged on the position after its open."""
    for n in range(account.next_event, tape.events.size):
        event = tape.events[n]
        if event.bar != t:
            break
        if event.kind == FUNDING_INSIDE:
            i = event.instrument
            see(desk.states[i], desk.cells[i].open)
            charge_funding(
                tape.terms[i],
                desk.states[i],
                account,
                desk.cells[i],
                event.value,
                event.mark,
            )
    return 0


# 2. The open


@unit("rules terms state account box cell")
def _liquidate_at_open(rules: Record, terms: Record, s: Record, account: Record, box: Record, cell: Record) -> int:
    if s.quantity > 0.0 and not np.isnan(s.liquidation) and s.sign * cell.mark_open <= s.sign * s.liquidation:
        liquidate(rules, terms, s, account, box, cell, cell.mark_open)
    return 0


@unit("rules terms state account box cell")
def _stops_at_open(rules: Record, terms: Record, s: Record, account: Record, box: Record, cell: Record) -> int:
    """Protective stops beyond which the bar opened, at the open."""
    for k in range(s.n_orders):
        o = s.orders[k]
        if o.role == PROTECTIVE_STOP and is_live(o) and o.blocked_on != account.t and s.quantity > 0.0:
            if o.triggered or o.side * cell.open >= o.side * o.price:
                o.triggered = True
                attempt(rules, terms, s, account, box, cell, k, cell.open, 0)
    return 0


@unit("rules terms state account box cell")
def _limits_at_open(rules: Record, terms: Record, s: Record, account: Record, box: Record, cell: Record) -> int:
    """Targets and other resting limits that reduce and that the open lies beyond, at the open, as maker."""
    for k in range(s.n_orders):
        o = s.orders[k]
        if s.quantity > 0.0 and is_live(o) and not opens(s, o) and is_limit(o) and not o.fresh:
            if lies_beyond(rules, o.side, cell.open, o.price):
                attempt(rules, terms, s, account, box, cell, k, cell.open, 1)
    return 0


@phase
def _new_limit(
    rules: Record,
    terms: Record,
    s: Record,
    account: Record,
    box: Record,
    cell: Record,
    k: int,
) -> None:
    o = s.orders[k]
    o.fresh = False
    if takes(terms, o.side, cell.open, o.price):
        if o.post_only:
            refuse(o, account, POST_ONLY_WOULD_TAKE)
        else:
            attempt(rules, terms, s, account, box, cell, k, cell.open, 0)


@unit("rules terms state account box cell int")
def _act_at_open(
    rules: Record,
    terms: Record,
    s: Record,
    account: Record,
    box: Record,
    cell: Record,
    k: int,
) -> int:
    """One order at the open, as taker or maker, or nothing; once a bar."""
    o = s.orders[k]
    o.asked_on = account.t
    if o.type == MARKET:
        attempt(rules, terms, s, account, box, cell, k, cell.open, 0)
    elif is_limit(o):
        if o.fresh:
            _new_limit(rules, terms, s, account, box, cell, k)
        elif lies_beyond(rules, o.side, cell.open, o.price):
            attempt(rules, terms, s, account, box, cell, k, cell.open, 1)
    elif o.triggered or o.side * cell.open >= o.side * trigger_of(o):
        if o.type == STOP:
            o.triggered = True
            attempt(rules, terms, s, account, box, cell, k, cell.open, 0)
        else:
            trigger_stop_limit(rules, terms, s, account, box, cell, k, cell.open)
    o.fresh = False
    return 0


@rule
def _outlived_its_session(plan: Record, s: Record, account: Record) -> bool:
    return bool(plan.session_close and account.session > s.entry_session)


@phase
def _exits_are_due(rules: Record, s: Record, account: Record) -> None:
    """A time stop; a session close that a missing bar swallowed."""
    plan = plan_of(rules, s.plan)
    if plan.time_stop_bars > 0 and account.t >= s.entry_bar + plan.time_stop_bars and not _leaves_for(s, TIME):
        exit_order(rules, s, account, TIME)
    if _outlived_its_session(plan, s, account) and not leaves_altogether(s):
        exit_order(rules, s, account, SESSION_CLOSE)


@phase
def _leaves_for(s: Record, why: int) -> bool:
    for k in range(s.n_orders):
        o = s.orders[k]
        if is_live(o) and o.role == EXIT and o.why == why:
            return True
    return False


@rule
def _exits_at_open(s: Record, o: Record) -> bool:
    """Market exits, what else reduces, and targets that are new."""
    return bool(
        s.quantity > 0.0 and (o.role == EXIT or (o.role == TARGET and o.fresh) or (o.role == FREE and reduces(s, o)))
    )


@phase
def _next_at_open(desk: Desk, account: Record, after: int, exits: int) -> tuple[int, int]:
    """Instrument and place of the order with the next id that has a bar and exits, or enters; (-1, -1): none."""
    found, place, lowest = NONE, NONE, NEVER
    for n in range(account.n_active):
        i = desk.active[n]
        s = desk.states[i]
        if desk.cells[i].present:
            for k in range(s.n_orders):
                o = s.orders[k]
                waits = is_live(o) and o.blocked_on != account.t and o.asked_on != account.t
                if waits and o.id > after and o.id < lowest:
                    if _exits_at_open(s, o) if exits else o.role == FREE:
                        found, place, lowest = i, k, o.id
    return found, place


@unit("rules terms state account box cell int")
def _entry_at_open(
    rules: Record,
    terms: Record,
    s: Record,
    account: Record,
    box: Record,
    cell: Record,
    k: int,
) -> int:
    """An entry, and its protection judged at once."""
    n = box.n_fills
    _act_at_open(rules, terms, s, account, box, cell, k)
    if box.n_fills > n:
        if rules.has_marks and s.entry_bar == account.t:
            _liquidate_at_open(rules, terms, s, account, box, cell)
        _stops_at_open(rules, terms, s, account, box, cell)
        judge_new_targets(rules, terms, s, account, box, cell, cell.open)
    return 0


@rule
def _open(tape: Tape, desk: Desk, logs: Logs, account: Record) -> None:
    rules, box = tape.rules[0], desk.boxes[0]
    account.at_open = 1
    for stage in range(3):
        for n in range(account.n_active):
            i = desk.active[n]
            x, s, cell = tape.terms[i], desk.states[i], desk.cells[i]
            if cell.present and (s.n_orders > 0 or s.quantity > 0.0):
                if rules.cross:
                    _judge_wallet(tape, desk, account, i)
                if stage == 0:
                    _liquidate_at_open(rules, x, s, account, box, cell)
                elif stage == 1:
                    _stops_at_open(rules, x, s, account, box, cell)
                else:
                    _limits_at_open(rules, x, s, account, box, cell)
                _book(logs, s, account, box, i)
    for n in range(account.n_active):
        i = desk.active[n]
        if desk.cells[i].present and desk.states[i].quantity > 0.0:
            _exits_are_due(rules, desk.states[i], account)
    _act_by_id(tape, desk, logs, account, 1)
    _act_by_id(tape, desk, logs, account, 0)
    account.at_open = 0


@unit("tape desk logs account int")
def _act_by_id(tape: Tape, desk: Desk, logs: Logs, account: Record, exits: int) -> int:
    """Orders of all instruments, one after the other: those that exit, or those that enter."""
    i, k = _next_at_open(desk, account, 0, exits)
    while i >= 0:
        s, box = desk.states[i], desk.boxes[0]
        order = s.orders[k].id
        if tape.rules[0].cross:
            _judge_wallet(tape, desk, account, i)
        if exits:
            _act_at_open(tape.rules[0], tape.terms[i], s, account, box, desk.cells[i], k)
        else:
            _entry_at_open(tape.rules[0], tape.terms[i], s, account, box, desk.cells[i], k)
        _book(logs, s, account, box, i)
        i, k = _next_at_open(desk, account, order, exits)
    return 0


# 3. and 4. Inside the bar


@rule
def _copy_state(desk: Desk, source: int, target: int) -> None:
    """Without the room for orders that is empty."""
    for word in range(_HEAD + desk.states[source].n_orders * _ORDER):
        desk.state_words[target, word] = desk.state_words[source, word]


@unit("tape desk int")
def _walk_both(tape: Tape, desk: Desk, i: int) -> int:
    """Walk both paths on drafts, and keep the one that the policy picks; gives its outbox."""
    rules, terms, cell = tape.rules[0], tape.terms[i], desk.cells[i]
    n = desk.states.size - 2
    for path in range(2):
        _copy_state(desk, i, n + path)
        desk.accounts[1 + path] = desk.accounts[0]
        box = desk.boxes[1 + path]
        box.n_fills, box.n_trades, box.first_new = 0, 0, desk.accounts[0].n_orders + 1
        walk(
            rules,
            terms,
            desk.states[n + path],
            desk.accounts[1 + path],
            box,
            cell,
            1 - path,
        )
    high_first = worth_at_close(terms, desk.states[n], desk.accounts[1], cell)
    low_first = worth_at_close(terms, desk.states[n + 1], desk.accounts[2], cell)
    chosen = choose(rules, cell, low_first - high_first, 1e-9 * max(1.0, abs(high_first - desk.accounts[0].cash)))
    if not same_fills(desk.boxes[1], desk.boxes[2]):
        mark_what_the_other_lacks(desk.boxes[1 + chosen], desk.boxes[2 - chosen])
    _copy_state(desk, n + chosen, i)
    desk.accounts[0] = desk.accounts[1 + chosen]
    return 1 + chosen


@unit("tape desk logs account int")
def _inside_one(tape: Tape, desk: Desk, logs: Logs, account: Record, i: int) -> int:
    s, cell = desk.states[i], desk.cells[i]
    if anything_is_reached(tape.rules[0], s, account, cell):
        box = desk.boxes[_walk_both(tape, desk, i)]
        _book(logs, s, account, box, i)
    else:
        for price in (cell.join, cell.low, cell.high, cell.finish):
            see(s, price)
    return 0


@unit("tape desk logs account int int")
def _true_path(tape: Tape, desk: Desk, logs: Logs, account: Record, t: int, i: int) -> int:
    """Through the finer bars of this one in order; each of them has two paths again."""
    cell = desk.cells[i]
    first, end = tape.finer_starts[t, i], tape.finer_ends[t, i]
    for row in range(first, end):
        cell.open, cell.high = tape.finer[0, row], tape.finer[1, row]
        cell.low, cell.close = tape.finer[2, row], tape.finer[3, row]
        cell.finish = tape.closes[t, i] if row == end - 1 else cell.close
        _inside_one(tape, desk, logs, account, i)
        cell.join = cell.close
        cell.mark_low, cell.mark_high, cell.mark_close = np.nan, np.nan, np.nan  # walked with the first of them
    _load(tape, cell, tape.terms[i], t, i)
    return 0


@rule
def _inside(tape: Tape, desk: Desk, logs: Logs, account: Record, t: int) -> None:
    for n in range(account.n_active):
        i = desk.active[n]
        s = desk.states[i]
        if desk.cells[i].present and (s.n_orders > 0 or s.quantity > 0.0):
            if tape.rules[0].cross:
                _judge_wallet(tape, desk, account, i)
            if tape.finer.size and tape.finer_ends[t, i] > tape.finer_starts[t, i]:
                _true_path(tape, desk, logs, account, t, i)
            else:
                _inside_one(tape, desk, logs, account, i)


# The close


@unit("state account int")
def _expire(s: Record, account: Record, slot: int) -> int:
    for k in range(s.n_orders):
        if is_live(s.orders[k]) and slot >= s.orders[k].expires:
            end(s.orders[k], account, EXPIRED, TTL_EXPIRED)
    return 0


@unit("rules terms state account box cell")
def _close_session(rules: Record, terms: Record, s: Record, account: Record, box: Record, cell: Record) -> int:
    if s.quantity > 0.0 and plan_of(rules, s.plan).session_close and not leaves_altogether(s):
        k = exit_order(rules, s, account, SESSION_CLOSE)
        attempt(rules, terms, s, account, box, cell, k, cell.close, 0)
    return 0


@unit("tape desk logs account int")
def _delist(tape: Tape, desk: Desk, logs: Logs, account: Record, t: int) -> int:
    for n in range(account.next_event, tape.events.size):
        event = tape.events[n]
        if event.bar != t:
            break
        if event.kind == DELIST:
            i = event.instrument
            s, box = desk.states[i], desk.boxes[0]
            if s.quantity > 0.0:
                price = desk.cells[i].close if desk.cells[i].present else s.mark
                price *= tape.rules[0].delisting_recovery
                leave(
                    tape.rules[0],
                    tape.terms[i],
                    s,
                    account,
                    box,
                    desk.cells[i],
                    DELISTED,
                    price,
                    1,
                )
                _book(logs, s, account, box, i)
            cancel_entries(s, account, NONE, CANCELLED_BY_DECISION)
            s.delisted = 1
    return 0


@rule
def _at_close(tape: Tape, desk: Desk, logs: Logs, account: Record, t: int) -> None:
    rules, box = tape.rules[0], desk.boxes[0]
    for n in range(account.n_active):
        i = desk.active[n]
        x, s, cell = tape.terms[i], desk.states[i], desk.cells[i]
        s.here = cell.close
        if cell.present:
            if tape.clock[t] & SESSION_ENDS:
                _close_session(rules, x, s, account, box, cell)
            if t == x.last_bar and s.quantity > 0.0:
                leave(rules, x, s, account, box, cell, WINDOW_END, cell.close, 0)
            _book(logs, s, account, box, i)
        if s.n_orders > 0:
            _expire(s, account, account.slot)
    if tape.clock[t] & EVENTS_HERE:
        _delist(tape, desk, logs, account, t)
        while account.next_event < tape.events.size and tape.events[account.next_event].bar <= t:
            account.next_event += 1


# 5. Marking


@rule
def _put_to_rest(tape: Tape, desk: Desk, logs: Logs, account: Record) -> None:
    for n in range(account.n_active):
        i = desk.active[n]
        s, cell = desk.states[i], desk.cells[i]
        if cell.present:
            s.mark, s.marked_at, s.last_close = cell.close, account.close_us, cell.close
        desk.hots[i].mark = s.mark


@rule
def _mark(tape: Tape, desk: Desk, logs: Logs, account: Record, t: int) -> None:
    equity, gross = account.cash, 0.0
    for i in range(desk.hots.size):
        h = desk.hots[i]
        if h.units != 0.0 or h.coin != 0.0:
            rate = desk.cells[i].rate
            equity += _worth(h) * rate
            gross += (abs(h.units) * h.mark + (abs(h.coin) / h.mark if h.coin != 0.0 else 0.0)) * rate
    account.equity, account.gross = equity, gross
    account.peak = max(account.peak, equity)
    logs.equity[t] = equity
    if logs.cash.size:
        logs.cash[t], logs.gross[t] = account.cash, gross


@unit("tape desk account int")
def _kill(tape: Tape, desk: Desk, account: Record, t: int) -> int:
    """Close everything at the next open, and refuse what comes after, until resumed."""
    account.killed = 1
    for i in range(tape.terms.size):
        s = desk.states[i]
        cancel_entries(s, account, NONE, KILL_SWITCH)
        if s.quantity > 0.0:
            o, x = s.orders[exit_order(tape.rules[0], s, account, KILLED)], tape.terms[i]
            o.sigma = _column(tape, x.sigma_column, t, i, x.sigma)
            o.mean_volume = _column(tape, x.volume_column, t, i, x.mean_volume)
        _rest(tape.rules[0], tape.terms[i], desk.hots[i], s, account)
    return 0


# 6. Decisions


@unit("tape desk account int")
def _follow_trails(tape: Tape, desk: Desk, account: Record, t: int) -> int:
    for n in range(account.n_active):
        i = desk.active[n]
        s, cell = desk.states[i], desk.cells[i]
        plan = plan_of(tape.rules[0], s.plan)
        if s.quantity > 0.0 and cell.present and (plan.trail_kind != ABSENT or plan.runner_trail_kind != ABSENT):
            distance = tape.columns[plan.trail_column, t, i] if plan.trail_column >= 0 else np.nan
            runner = tape.columns[plan.runner_trail_column, t, i] if plan.runner_trail_column >= 0 else np.nan
            extreme = cell.high if s.sign > 0 else cell.low
            trail(tape.rules[0], tape.terms[i], s, account, extreme, distance, runner)
    return 0


@phase
def _column(tape: Tape, column: int, t: int, i: int, otherwise: float) -> float:
    return tape.columns[column, t, i] if column >= 0 else otherwise


@phase
def _highest_correlation(tape: Tape, desk: Desk, t: int, i: int, side: int) -> float:
    """Of a position of `side` with any that is held or waits to be opened."""
    highest = -np.inf
    if tape.correlations.size:
        session = min(tape.next_sessions[t] - tape.sessions[0], tape.correlations.shape[0] - 1)
        for j in range(tape.terms.size):
            other, found = desk.states[j], tape.correlations[session, i, j]
            for towards in (-1, 1):
                held = other.quantity > 0.0 and other.sign == towards and not leaves_altogether(other)
                if j != i and not np.isnan(found) and (held or waits_to_open(other, towards)):
                    highest = max(highest, side * towards * found)
    return highest


@unit("tape desk decision int int")
def _brief(tape: Tape, desk: Desk, d: Record, t: int, i: int) -> int:
    """What is known on this bar, for a decision made on it."""
    rules, size = tape.rules[0], tape.sizes[d.sizing]
    plan = plan_of(rules, d.plan)
    for j in range(tape.terms.size):
        desk.states[j].mark = desk.hots[j].mark
    d.close, d.rate = desk.hots[i].mark, desk.cells[i].rate
    d.embargoed = bool(tape.signals.size and tape.signals[t, i] & 16)
    d.stop_distance = plan.stop * _column(tape, plan.stop_column, t, i, np.nan)
    d.trail_distance = plan.trail * _column(tape, plan.trail_column, t, i, np.nan)
    d.runner_distance = plan.runner_trail * _column(tape, plan.runner_trail_column, t, i, np.nan)
    d.share = _column(tape, size.column, t, i, np.nan) if size.model == SHARE_COLUMN else np.nan
    d.multiplier = _column(tape, rules.multiplier_column, t, i, 1.0)
    d.refusal = _column(tape, rules.refusal_column, t, i, np.nan)
    d.regime = _column(tape, rules.regime_column, t, i, np.nan)
    d.strength = _column(tape, rules.strength_column, t, i, np.nan)
    d.confidence = _column(tape, rules.confidence_column, t, i, np.nan)
    d.correlation_long = _highest_correlation(tape, desk, t, i, 1)
    d.correlation_short = _highest_correlation(tape, desk, t, i, -1)
    terms = tape.terms[i]
    d.sigma = _column(tape, terms.sigma_column, t, i, terms.sigma)
    d.mean_volume = _column(tape, terms.volume_column, t, i, terms.mean_volume)
    d.present = not np.isnan(tape.closes[t, i])
    return 0


@unit("tape desk logs account int")
def _decide_from_list(tape: Tape, desk: Desk, logs: Logs, account: Record, t: int) -> int:
    while account.next_decision < tape.decisions.size and tape.decisions[account.next_decision].bar <= t:
        desk.asked[0] = tape.decisions[account.next_decision]
        d = desk.asked[0]
        i = d.instrument
        _brief(tape, desk, d, t, i)
        follow_decision(tape.rules[0], account, d)
        _bury(logs.orders, desk.states[i], i)
        _rest(tape.rules[0], tape.terms[i], desk.hots[i], desk.states[i], account)
        account.next_decision += 1
    return 0


@unit("tape desk logs account int int int")
def _decide_from_signal(tape: Tape, desk: Desk, logs: Logs, account: Record, t: int, i: int, signal: int) -> int:
    d = desk.asked[0]
    d.instrument, d.type, d.plan, d.sizing = (
        i,
        MARKET,
        tape.terms[i].default_plan,
        tape.terms[i].default_size,
    )
    d.client, d.ttl, d.post_only, d.quantity, d.price, d.trigger = (
        NONE,
        0,
        False,
        np.nan,
        np.nan,
        np.nan,
    )
    _brief(tape, desk, d, t, i)
    follow_signal(tape.rules[0], account, d, signal)
    _bury(logs.orders, desk.states[i], i)
    _rest(tape.rules[0], tape.terms[i], desk.hots[i], desk.states[i], account)
    return 0


# The clock of one bar


@rule
def _tier(tiers: Any, volume: float, now: int) -> int:
    """The row of the last period that has started with the highest volume reached; 1e-9 forgives rounding."""
    found = 0
    for k in range(tiers.size):
        if tiers[k].start_us <= now and volume >= tiers[k].volume * (1.0 - 1e-9):
            found = k
    return found


@unit("tape desk account int")
def _update_tier(tape: Tape, desk: Desk, account: Record, t: int) -> int:
    """Volume is that of bars that opened in the last 30 days."""
    if tape.tiers.size == 1:
        account.traded = 0.0
        return 0
    while account.tail < account.n_traded and desk.traded_at[account.tail] < account.close_us - VOLUME_WINDOW_US:
        account.volume = max(0.0, account.volume - desk.traded[account.tail])  # rounding may leave less than nothing
        account.tail += 1
    if account.traded > 0.0:
        if account.n_traded == 0 or desk.traded_at[account.n_traded - 1] != account.now_us:
            account.n_traded += 1
        desk.traded[account.n_traded - 1] += account.traded
        desk.traded_at[account.n_traded - 1] = account.now_us
        account.volume += account.traded
        account.traded = 0.0
    account.tier = _tier(tape.tiers, account.volume, account.close_us)
    account.maker, account.taker = (
        tape.tiers[account.tier].maker,
        tape.tiers[account.tier].taker,
    )
    return 0


@phase
def _new_day(account: Record) -> None:
    account.day_equity = account.equity


@rule
def _is_quiet(tape: Tape, h: Record, t: int, i: int) -> bool:
    """False for NaN: what has no bar is woken, and finds nothing to do."""
    if not (tape.lows[t, i] > h.low_band and tape.highs[t, i] < h.high_band):
        return False
    if tape.finer.size and tape.finer_ends[t, i] > tape.finer_starts[t, i]:  # they may leave the range of their bar
        return bool(h.units == 0.0 and h.coin == 0.0 and h.low_band == -np.inf and h.high_band == np.inf)
    if tape.mark_opens.size and (h.units != 0.0 or h.coin != 0.0):
        return bool(tape.mark_lows[t, i] > h.mark_low_band and tape.mark_highs[t, i] < h.mark_high_band)
    return True


@rule
def _wake_who_must(tape: Tape, desk: Desk, account: Record, t: int, loud: bool) -> None:
    account.n_active = 0
    for i in range(desk.hots.size):
        h = desk.hots[i]
        if not loud and _is_quiet(tape, h, t, i):
            h.mark = tape.closes[t, i]
            h.low_seen, h.high_seen = (
                min(h.low_seen, tape.lows[t, i]),
                max(h.high_seen, tape.highs[t, i]),
            )
        else:
            desk.active[account.n_active] = i
            account.n_active += 1


@rule
def _keep_time(tape: Tape, account: Record, t: int) -> None:
    account.t, account.now_us, account.close_us, account.slot = (
        t,
        tape.ts[t],
        tape.known_at[t],
        tape.slots[t],
    )
    account.session, account.next_session = tape.sessions[t], tape.next_sessions[t]


@unit("tape desk logs int")
def _events_of_bar(tape: Tape, desk: Desk, logs: Logs, t: int) -> int:
    """Everything between one close and the next, for the instruments that are awake."""
    rules, account = tape.rules[0], desk.accounts[0]
    _keep_time(tape, account, t)
    for n in range(account.n_active):
        i = desk.active[n]
        _load(tape, desk.cells[i], tape.terms[i], t, i)
        _wake(rules, tape.terms[i], desk.hots[i], desk.states[i], desk.cells[i])
    if rules.has_contracts or rules.converts:
        _carry_marks(tape, desk, account)
    for n in range(account.n_active):
        if desk.states[desk.active[n]].n_orders > 0:
            _expire(desk.states[desk.active[n]], account, account.slot - 1)  # bars may lie between this and the last
    _carry_in(tape, desk, logs, account, t)
    _open(tape, desk, logs, account)
    if tape.clock[t] & EVENTS_HERE:
        _fund_inside(tape, desk, account, t)
    _inside(tape, desk, logs, account, t)
    _at_close(tape, desk, logs, account, t)
    _update_tier(tape, desk, account, t)
    _put_to_rest(tape, desk, logs, account)
    return 0


@rule
def _rest_all(tape: Tape, desk: Desk, logs: Logs, account: Record) -> None:
    for n in range(account.n_active):
        i = desk.active[n]
        if desk.states[i].n_orders > 0:
            _bury(logs.orders, desk.states[i], i)
        _rest(tape.rules[0], tape.terms[i], desk.hots[i], desk.states[i], account)


@rule
def _decide(tape: Tape, desk: Desk, logs: Logs, account: Record, t: int) -> None:
    if tape.clock[t] & DECISIONS_HERE:
        _keep_time(tape, account, t)
        _update_tier(tape, desk, account, t)
        _decide_from_list(tape, desk, logs, account, t)
    if tape.clock[t] & SIGNALS_HERE:
        for i in range(desk.hots.size):
            signal = tape.signals[t, i]
            if signal & 15 and t != tape.terms[i].last_bar:
                _keep_time(tape, account, t)
                _update_tier(tape, desk, account, t)
                _decide_from_signal(tape, desk, logs, account, t, i, signal)


@rule
def step(tape: Tape, desk: Desk, logs: Logs, t: int) -> None:
    """Bar `t`."""
    account, rules = desk.accounts[0], tape.rules[0]
    if tape.clock[t] & NEW_DAY:
        _new_day(account)
    loud = bool(tape.clock[t] & (EVENTS_HERE | SESSION_STARTS | SESSION_ENDS | WINDOW_ENDS)) or t >= account.alarm
    if t >= account.alarm:
        account.alarm = NO_ALARM
    _wake_who_must(tape, desk, account, t, loud)
    if account.n_active > 0:
        _events_of_bar(tape, desk, logs, t)
        _follow_trails(tape, desk, account, t)
        _rest_all(tape, desk, logs, account)
    _mark(tape, desk, logs, account, t)
    account.drawdown = 1.0 - account.equity / account.peak if account.peak > 0.0 else 0.0
    if not account.killed and account.drawdown > rules.kill_switch * (1.0 + 1e-12):
        _keep_time(tape, account, t)
        _update_tier(tape, desk, account, t)
        _kill(tape, desk, account, t)
    _decide(tape, desk, logs, account, t)


@rule
def _within(lows: Any, highs: Any, first: int, end: int, low_band: float, high_band: float) -> int:
    """The first bar that leaves the band; NaN leaves it."""
    start = first
    while start + _BLOCK <= end:  # without leaving in between, so that several bars are compared at once
        outside = 0
        for t in range(start, start + _BLOCK):
            outside += int(not ((lows[np.uint64(t), 0] > low_band) & (highs[np.uint64(t), 0] < high_band)))
        if outside:
            break
        start += _BLOCK
    for t in range(start, end):
        if not (lows[np.uint64(t), 0] > low_band and highs[np.uint64(t), 0] < high_band):
            return t
    return end


@rule
def _untouched(tape: Tape, account: Record, first: int, end: int) -> int:
    """The first bar behind `first` in whose calendar anything stands."""
    k = account.next_touched
    while tape.touched[k] <= first:
        k += 1
    account.next_touched = k
    return min(end, tape.touched[k])


@rule
def _trail_rests(tape: Tape, s: Record, first: int, end: int) -> tuple[int, float]:
    """The first bar on whose close the trail moves, and the extreme up to it."""
    plan, terms, sign, level = plan_of(tape.rules[0], s.plan), tape.terms[0], float(s.sign), s.trail_level
    extremes = tape.highs if s.sign > 0 else tape.lows
    measured, distance, highest = plan.trail_column >= 0, np.nan, s.highest
    k = protective_order(s)
    if k != NONE and nearer(s.sign, level, s.orders[k].price):  # a decision had loosened the stop
        return first, highest
    for t in range(first, end):
        highest = sign * max(sign * highest, sign * extremes[np.uint64(t), 0])
        if measured:
            distance = tape.columns[plan.trail_column, t, 0]
        raw = trail_below(plan.trail_kind, plan.trail, sign, highest, plan.trail * distance)
        if not sign * raw <= sign * level - 1e-6 * terms.tick and not np.isnan(raw):
            if nearer(s.sign, stop_price(-s.sign, raw, terms.tick), level):
                return t, highest
    return end, highest


@rule
def _worth_over(
    tape: Tape, logs: Logs, h: Record, account: Record, rate: float, first: int, end: int, least: float
) -> int:
    """Write equity; ends before a bar on which it may be too low to go on."""
    lows, highs, closes = tape.lows, tape.highs, tape.closes
    cash, units, offset, equities = account.cash, h.units, h.offset, logs.equity
    equity, peak = account.equity, account.peak
    if units == 0.0:
        if not cash > max(peak, cash) * least:
            return first
        for t in range(first, end):
            equities[np.uint64(t)] = cash
        account.equity, account.peak = cash, max(peak, cash)
        return end
    low, high, t = h.low_seen, h.high_seen, first
    while t < end:
        now = cash + (units * closes[np.uint64(t), 0] + offset) * rate
        higher = max(peak, now)
        if not now > higher * least:
            break
        low, high = min(low, lows[np.uint64(t), 0]), max(high, highs[np.uint64(t), 0])
        equities[np.uint64(t)] = now
        equity, peak = now, higher
        t += 1
    account.equity, account.peak, h.low_seen, h.high_seen = equity, peak, low, high
    return t


@rule
def _write_over(tape: Tape, logs: Logs, h: Record, account: Record, rate: float, first: int, end: int) -> None:
    """What else is known of bars on which nothing happened."""
    closes, width, cash, cashes, grosses = tape.closes, abs(h.units), account.cash, logs.cash, logs.gross
    h.mark = closes[end - 1, 0]
    account.gross = width * h.mark * rate
    account.drawdown = 1.0 - account.equity / account.peak if account.peak > 0.0 else 0.0
    if not cashes.size:
        return
    for t in range(first, end):
        cashes[np.uint64(t)] = cash
    if width == 0.0:
        for t in range(first, end):
            grosses[np.uint64(t)] = 0.0
    else:
        for t in range(first, end):
            grosses[np.uint64(t)] = width * closes[np.uint64(t), 0] * rate


@unit("tape desk logs int int")
def glide(tape: Tape, desk: Desk, logs: Logs, first: int, end: int) -> int:
    """The only instrument, over bars in which nothing happens but that its trail moves; gives the first other one.

    Loops over columns stand where `step` goes through records, a day at most at a time, so that a bar costs a few loads
    and compares. Any doubt, and NaN, end the stretch: `step` decides. Tests hold both to the same bytes. Indices are
    unsigned, or each would be asked whether it counts from the end.
    """
    account, h, s, rules = desk.accounts[0], desk.hots[0], desk.states[0], tape.rules[0]
    clock, rate = tape.clock, desk.cells[0].rate
    least = -np.inf if account.killed else 1.0 - rules.kill_switch + 1e-9
    end = min(end, account.alarm)
    glides = h.coin == 0.0 and h.trails < 2 and not tape.finer.size
    while first < end and glides and not clock[first] & ALL_BUT_NEW_DAY:
        t = _within(tape.lows, tape.highs, first, _untouched(tape, account, first, end), h.reach_low, h.reach_high)
        if tape.mark_opens.size and h.units != 0.0:
            t = _within(tape.mark_lows, tape.mark_highs, first, t, h.mark_low_band, h.mark_high_band)
        moves, highest = t, s.highest
        if h.trails:
            moves, highest = _trail_rests(tape, s, first, t)
            t = min(t, moves + 1)
        equity = account.equity
        ready = _worth_over(tape, logs, h, account, rate, first, t, least)
        if ready == first:
            break
        if ready < t:
            moves, highest = _trail_rests(tape, s, first, ready) if h.trails else (ready, highest)
        t = ready
        if clock[first] & NEW_DAY:
            account.day_equity = equity
        _write_over(tape, logs, h, account, rate, first, t)
        if h.trails:
            s.highest = highest
            if moves < t:
                _move_trail(tape, desk, moves)
        first = t
    return first


@rule
def _move_trail(tape: Tape, desk: Desk, t: int) -> None:
    rules, terms, s, account = tape.rules[0], tape.terms[0], desk.states[0], desk.accounts[0]
    column = plan_of(rules, s.plan).trail_column
    distance = tape.columns[column, t, 0] if column >= 0 else np.nan
    account.t = t
    trail(rules, terms, s, account, tape.highs[t, 0] if s.sign > 0 else tape.lows[t, 0], distance, np.nan)
    _rest(rules, terms, desk.hots[0], s, account)
