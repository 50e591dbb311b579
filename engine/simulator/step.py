"""One bar, in the contract's order: what is carried in, the open, inside, marking, decisions.

The functions of this module hold arrays and are merged into the drivers; what they call works on records. Nothing
happens to most instruments in most bars. So each lives in a small `HOT` record with the band of prices within which
nothing can happen to it, and only what leaves its band, or is touched by calendar or decision, is woken: gathered into
a `CELL`, taken through every step, and put to rest again with a new band.
"""

from typing import Any

import numpy as np

from engine.simulator.band import outlived_its_session, rest, worth
from engine.simulator.books import book, bury
from engine.simulator.carry import charge_borrow, charge_funding, pay_dividend, split
from engine.simulator.compiled import phase, rule, unit
from engine.simulator.decide import column_of, decide, keep_time, update_tier
from engine.simulator.deciding import cancel_entries
from engine.simulator.exits import trail
from engine.simulator.fills import attempt, exit_order, leave, liquidate
from engine.simulator.liquidation import liquidation_price, maintenance
from engine.simulator.lookups import hot_at, plan_of
from engine.simulator.orders import (
    NEVER,
    end,
    end_what_belonged_to_the_position,
    is_limit,
    is_live,
    leaves_altogether,
    opens,
    reduces,
    refuse,
    trigger_of,
)
from engine.simulator.paths import (
    SEVERAL,
    choose,
    judge_new_targets,
    lies_beyond,
    mark_what_the_other_lacks,
    same_fills,
    takes,
    trigger_stop_limit,
    walk,
    what_is_reached,
    worth_at_close,
)
from engine.simulator.pointers import ahead, copy, copy_head, values_of
from engine.simulator.positions import relock, see, unrealised
from engine.simulator.prices import floor_to, value
from engine.simulator.schema import ORDER, STATE
from engine.simulator.tape import Desk, Logs, Tape
from engine.simulator.words import (
    ABSENT,
    BEYOND,
    CANCELLED_BY_DECISION,
    DELIST,
    DELISTED,
    DIVIDEND,
    ENTERS,
    EVENTS_HERE,
    EXIT,
    EXPIRED,
    EXPIRES,
    FREE,
    FUNDING_AT_OPEN,
    FUNDING_BEFORE,
    FUNDING_INSIDE,
    KILL_SWITCH,
    KILLED,
    LEAVES,
    MARKET,
    NEW_DAY,
    NONE,
    POST_ONLY_WOULD_TAKE,
    PROTECTIVE_STOP,
    SESSION_CLOSE,
    SESSION_ENDS,
    SESSION_STARTS,
    SPLIT,
    SPOT,
    STOP,
    TARGET,
    TIME,
    TRIGGERED,
    TTL_EXPIRED,
    VOLUME_SHARE,
    WINDOW_END,
    WINDOW_ENDS,
)

Record = Any
NO_ALARM = 1 << 62
LOUD = EVENTS_HERE | SESSION_STARTS | SESSION_ENDS | WINDOW_ENDS
_HEAD = STATE.fields["orders"][1]  # type: ignore[index]  # bytes before the orders
_ORDER = ORDER.itemsize


# Waking and resting


@rule
def _load(tape: Tape, cell: Record, t: int, i: int) -> None:
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
    if s.quantity > 0.0:
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
            desk.hots[i].waits |= ENTERS | LEAVES | TRIGGERED  # its prices are others now
            if s.quantity == 0.0:
                end_what_belonged_to_the_position(s, account)
            s.liquidation = liquidation_price(x, s, (account.cash + s.wallet_of_others) / cell.rate)
        elif event.kind == DIVIDEND:
            pay_dividend(x, s, account, cell, event.value)
        elif event.kind == FUNDING_BEFORE or event.kind == FUNDING_AT_OPEN:
            if event.kind == FUNDING_AT_OPEN:  # what is entered at this open pays too
                cell.funding_due += value(x, 1.0, event.mark) * event.value
            charge_funding(x, s, account, cell, event.value, event.mark)
        book(logs, s, account, box, i)
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
        waits = o.role == PROTECTIVE_STOP and is_live(o) and o.blocked_on != account.t and s.quantity > 0.0
        if waits and (o.triggered or o.side * cell.open >= o.side * o.price):
            o.triggered = True
            attempt(rules, terms, s, account, box, cell, k, cell.open, 0)
    return 0


@unit("rules terms state account box cell")
def _limits_at_open(rules: Record, terms: Record, s: Record, account: Record, box: Record, cell: Record) -> int:
    """Targets and other resting limits that reduce and that the open lies beyond, at the open, as maker."""
    for k in range(s.n_orders):
        o = s.orders[k]
        rests = s.quantity > 0.0 and is_live(o) and not opens(s, o) and is_limit(o) and not o.fresh
        if rests and lies_beyond(rules, o.side, cell.open, o.price):
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


@phase
def _exits_are_due(rules: Record, s: Record, account: Record) -> None:
    """A time stop; a session close that a missing bar swallowed."""
    plan = plan_of(rules, s.plan)
    if plan.time_stop_bars > 0 and account.t >= s.entry_bar + plan.time_stop_bars and not _leaves_for(s, TIME):
        exit_order(s, account, TIME)
    if outlived_its_session(plan, s, account) and not leaves_altogether(s):
        exit_order(s, account, SESSION_CLOSE)


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
    if s.quantity == 0.0:
        return False
    return bool(o.role == EXIT or (o.role == TARGET and o.fresh) or (o.role == FREE and reduces(s, o)))


@phase
def _next_at_open(desk: Desk, account: Record, after: int, exits: int) -> tuple[int, int]:
    """Instrument and place of the order with the next id that may act at the open, to exit or to enter; (-1, -1): none."""
    found, place, lowest = NONE, NONE, NEVER
    for n in range(account.n_active):
        i = desk.active[n]
        s = desk.states[i]
        if desk.cells[i].stirs:
            for k in range(s.n_orders):
                o = s.orders[k]
                waits = is_live(o) and o.blocked_on != account.t and o.asked_on != account.t
                meant = _exits_at_open(s, o) if exits else o.role == FREE
                if waits and meant and o.id > after and o.id < lowest:
                    found, place, lowest = i, k, o.id
    return found, place


@rule
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
def _stirs(rules: Record, h: Record, s: Record, account: Record, cell: Record, starts: int) -> int:
    """What this open may bring: nothing where it lies within the prices of all that rests, and nothing waits for it."""
    if not cell.present or (s.n_orders == 0 and s.quantity == 0.0):
        return 0
    stirs = h.waits & (ENTERS | LEAVES | TRIGGERED)
    if starts or account.t >= h.leave_at:
        stirs |= LEAVES
    within = h.near_low < cell.open and cell.open < h.near_high
    if within and rules.has_marks and s.quantity > 0.0:
        within = h.mark_low_band < cell.mark_open and cell.mark_open < h.mark_high_band
    return stirs if within and not rules.cross and not rules.thorough else stirs | ENTERS | LEAVES | BEYOND


@rule
def _open(tape: Tape, desk: Desk, logs: Logs, account: Record, t: int) -> None:
    stirs, leaves, starts = 0, 0, tape.clock[t] & SESSION_STARTS
    for n in range(account.n_active):
        i = desk.active[n]
        s, cell = desk.states[i], desk.cells[i]
        cell.stirs = _stirs(tape.rules[0], desk.hots[i], s, account, cell, starts)
        stirs |= cell.stirs
        leaves |= cell.stirs if s.quantity > 0.0 else 0
    account.at_open = 1
    if leaves:
        _exits_of_open(tape, desk, logs, account, leaves)
    if stirs & (ENTERS | TRIGGERED | BEYOND):
        _act_by_id(tape, desk, logs, account, 0)
    account.at_open = 0


@unit("tape desk logs account int")
def _exits_of_open(tape: Tape, desk: Desk, logs: Logs, account: Record, stirs: int) -> int:
    """Stage after stage for all instruments: liquidation, stops, limits that reduce; then market exits by their ids."""
    rules, box = tape.rules[0], desk.boxes[0]
    for stage in range(0 if stirs & (BEYOND | TRIGGERED) else 3, 3):
        for n in range(account.n_active):
            i = desk.active[n]
            x, s, cell = tape.terms[i], desk.states[i], desk.cells[i]
            if cell.stirs and s.quantity > 0.0:
                if rules.cross:
                    _judge_wallet(tape, desk, account, i)
                if stage == 0:
                    _liquidate_at_open(rules, x, s, account, box, cell)
                elif stage == 1:
                    _stops_at_open(rules, x, s, account, box, cell)
                else:
                    _limits_at_open(rules, x, s, account, box, cell)
                book(logs, s, account, box, i)
    for n in range(account.n_active):
        i = desk.active[n]
        if desk.cells[i].stirs and desk.states[i].quantity > 0.0:
            _exits_are_due(rules, desk.states[i], account)
    _act_by_id(tape, desk, logs, account, 1)
    return 0


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
        book(logs, s, account, box, i)
        i, k = _next_at_open(desk, account, order, exits)
    return 0


# 3. and 4. Inside the bar


@rule
def _copy_state(desk: Desk, source: int, target: int) -> None:
    """Without the room for orders that is empty."""
    copy_head(desk.states[source], desk.states[target], _HEAD + desk.states[source].n_orders * _ORDER)


@unit("tape desk int")
def _walk_both(tape: Tape, desk: Desk, i: int) -> int:
    """Walk both paths on drafts, and keep the one that the policy picks; gives its outbox."""
    rules, terms, cell = tape.rules[0], tape.terms[i], desk.cells[i]
    n = desk.states.size - 2
    for path in range(2):
        _copy_state(desk, i, n + path)
        copy(desk.accounts[0], desk.accounts[1 + path])
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
    copy(desk.accounts[1 + chosen], desk.accounts[0])
    return 1 + chosen


@unit("tape desk logs account int")
def _inside_one(tape: Tape, desk: Desk, logs: Logs, account: Record, i: int) -> int:
    rules, terms, s, cell = tape.rules[0], tape.terms[i], desk.states[i], desk.cells[i]
    reached, box = what_is_reached(rules, terms, s, account, cell), desk.boxes[0]
    if reached == NONE:
        for price in (cell.join, cell.low, cell.high, cell.finish):
            see(s, price)
        return 0
    if reached == SEVERAL:
        box = desk.boxes[_walk_both(tape, desk, i)]
    else:  # both paths would give its fill: the one that would be chosen is walked in place
        walk(rules, terms, s, account, box, cell, 1 - choose(rules, cell, 0.0, 1e-9))
    book(logs, s, account, box, i)
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
    _load(tape, cell, t, i)
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
        k = exit_order(s, account, SESSION_CLOSE)
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
                book(logs, s, account, box, i)
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
            book(logs, s, account, box, i)
        if desk.hots[i].waits & EXPIRES:
            _expire(s, account, account.slot)
    if tape.clock[t] & EVENTS_HERE:
        _delist(tape, desk, logs, account, t)
        while account.next_event < tape.events.size and tape.events[account.next_event].bar <= t:
            account.next_event += 1


# 5. Marking


@rule
def _put_to_rest(desk: Desk, account: Record) -> None:
    for n in range(account.n_active):
        i = desk.active[n]
        s, cell = desk.states[i], desk.cells[i]
        if cell.present:
            s.mark, s.marked_at, s.last_close = cell.close, account.close_us, cell.close
        desk.hots[i].mark = s.mark


@rule
def _mark(rules: Record, desk: Desk, logs: Logs, account: Record, t: int) -> None:
    equity, gross = account.cash, 0.0
    hots, converts = rules.hots, rules.converts
    for i in range(desk.hots.size):
        h = hot_at(hots, i)
        rate = desk.cells[i].rate if converts else 1.0
        if h.coin != 0.0:
            equity += worth(h) * rate
            gross += (abs(h.units) * h.mark + abs(h.coin) / h.mark) * rate
        else:  # without a branch on what is held, which no processor foresees
            equity += (h.units * h.mark + h.offset) * rate if h.units != 0.0 else 0.0
            gross += abs(h.units) * h.mark * rate if h.units != 0.0 else 0.0
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
            o, x = s.orders[exit_order(s, account, KILLED)], tape.terms[i]
            o.sigma = column_of(tape, x.sigma_column, t, i, x.sigma)
            o.mean_volume = column_of(tape, x.volume_column, t, i, x.mean_volume)
        rest(tape.rules[0], tape.terms[i], desk.hots[i], s, account)
    return 0


@rule
def _follow_trails(tape: Tape, desk: Desk, account: Record, t: int) -> None:
    for n in range(account.n_active):
        i = desk.active[n]
        s, cell = desk.states[i], desk.cells[i]
        plan = plan_of(tape.rules[0], s.plan)
        if s.quantity > 0.0 and cell.present and (plan.trail_kind != ABSENT or plan.runner_trail_kind != ABSENT):
            distance = tape.columns[plan.trail_column, t, i] if plan.trail_column >= 0 else np.nan
            runner = tape.columns[plan.runner_trail_column, t, i] if plan.runner_trail_column >= 0 else np.nan
            extreme = cell.high if s.sign > 0 else cell.low
            trail(tape.rules[0], tape.terms[i], s, account, extreme, distance, runner)


# The clock of one bar


@phase
def _new_day(account: Record) -> None:
    account.day_equity = account.equity


@rule
def _marks_are_quiet(tape: Tape, h: Record, cell: int) -> bool:
    if h.units == 0.0 and h.coin == 0.0:
        return True
    lows, highs = values_of(tape.mark_lows), values_of(tape.mark_highs)
    return bool(lows[cell] > h.mark_low_band and highs[cell] < h.mark_high_band)


@rule
def _waits_for_nothing(h: Record) -> bool:
    """No price concerns it: finer bars may leave the range of their bar."""
    return bool(h.units == 0.0 and h.coin == 0.0 and h.low_band == -np.inf and h.high_band == np.inf)


@rule
def _wake_who_must(tape: Tape, desk: Desk, account: Record, t: int, loud: bool) -> None:
    """Who leaves its band; NaN leaves every one: what has no bar is woken, and finds nothing to do.

    Of what is tried in every bar for every instrument: with rows and records looked up anew for each this loop alone took
    20 ns where a bare one takes 4 with all it does.
    """
    lows, highs, closes, hots = values_of(tape.lows), values_of(tape.highs), values_of(tape.closes), tape.rules[0].hots
    n, n_active, marked, finer = desk.hots.size, 0, tape.mark_opens.size > 0, tape.finer.size > 0
    for i in range(n):
        h, cell = hot_at(hots, i), t * n + i
        low, high = lows[cell], highs[cell]
        quiet = not loud and low > h.low_band and high < h.high_band and (not marked or _marks_are_quiet(tape, h, cell))
        if quiet and (not finer or _waits_for_nothing(h)):
            h.mark = closes[cell]
            h.low_seen, h.high_seen = min(h.low_seen, low), max(h.high_seen, high)  # unread where nothing is held
        else:
            ahead(values_of(tape.opens), cell)
            ahead(values_of(tape.volumes), cell)
            desk.active[n_active] = i
            n_active += 1
    account.n_active = n_active


@unit("tape desk logs int")
def _events_of_bar(tape: Tape, desk: Desk, logs: Logs, t: int) -> int:
    """Everything between one close and the next, for the instruments that are awake."""
    rules, account = tape.rules[0], desk.accounts[0]
    keep_time(tape, account, t)
    for n in range(account.n_active):
        i = desk.active[n]
        _load(tape, desk.cells[i], t, i)
        _wake(rules, tape.terms[i], desk.hots[i], desk.states[i], desk.cells[i])
    if rules.has_contracts or rules.converts:
        _carry_marks(tape, desk, account)
    for n in range(account.n_active):
        i = desk.active[n]
        if desk.hots[i].waits & EXPIRES:
            _expire(desk.states[i], account, account.slot - 1)  # bars may lie between this and the last
    _carry_in(tape, desk, logs, account, t)
    _open(tape, desk, logs, account, t)
    if tape.clock[t] & EVENTS_HERE:
        _fund_inside(tape, desk, account, t)
    _inside(tape, desk, logs, account, t)
    _at_close(tape, desk, logs, account, t)
    if tape.tiers.size > 1:
        update_tier(tape, desk, account)
    _put_to_rest(desk, account)
    return 0


@rule
def _rest_all(tape: Tape, desk: Desk, logs: Logs, account: Record) -> None:
    for n in range(account.n_active):
        i = desk.active[n]
        if desk.states[i].n_orders > 0:
            bury(logs.orders, desk.states[i], i)
        rest(tape.rules[0], tape.terms[i], desk.hots[i], desk.states[i], account)


@rule
def step(tape: Tape, desk: Desk, logs: Logs, t: int) -> None:
    """Bar `t`."""
    account, rules, here = desk.accounts[0], tape.rules[0], int(tape.clock[t])
    if here & NEW_DAY:
        _new_day(account)
    loud = bool(here & LOUD) or t >= account.alarm
    if t >= account.alarm:
        account.alarm = NO_ALARM
    _wake_who_must(tape, desk, account, t, loud)
    if account.n_active > 0:
        _events_of_bar(tape, desk, logs, t)
        _follow_trails(tape, desk, account, t)
        _rest_all(tape, desk, logs, account)
    _mark(rules, desk, logs, account, t)
    account.drawdown = 1.0 - account.equity / account.peak if account.peak > 0.0 else 0.0
    if not account.killed and account.drawdown > rules.kill_switch * (1.0 + 1e-12):
        keep_time(tape, account, t)
        if tape.tiers.size > 1:
            update_tier(tape, desk, account)
        _kill(tape, desk, account, t)
    decide(tape, desk, logs, account, t, here)
