"""2. The open: exits first, stage after stage through all instruments, then orders by their ids."""

from typing import Any

import numpy as np

from engine.simulator.band import outlived_its_session
from engine.simulator.books import book
from engine.simulator.carried_in import judge_wallet
from engine.simulator.compiled import phase, rule, unit
from engine.simulator.fills import attempt, exit_order, liquidate
from engine.simulator.lookups import plan_of
from engine.simulator.orders import NEVER, is_limit, is_live, leaves_altogether, opens, reduces, refuse, trigger_of
from engine.simulator.paths import judge_new_targets, lies_beyond, takes, trigger_stop_limit
from engine.simulator.tape import Desk, Logs, Tape
from engine.simulator.words import (
    BEYOND,
    ENTERS,
    EXIT,
    FREE,
    LEAVES,
    MARKET,
    NONE,
    POST_ONLY_WOULD_TAKE,
    PROTECTIVE_STOP,
    SESSION_CLOSE,
    SESSION_STARTS,
    STOP,
    TARGET,
    TIME,
    TRIGGERED,
)

Record = Any


@unit("rules terms state account box cell", seldom=True)
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
def at_open(tape: Tape, desk: Desk, logs: Logs, account: Record, t: int) -> None:
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
                    judge_wallet(tape, desk, account, i)
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
            judge_wallet(tape, desk, account, i)
        if exits:
            _act_at_open(tape.rules[0], tape.terms[i], s, account, box, desk.cells[i], k)
        else:
            _entry_at_open(tape.rules[0], tape.terms[i], s, account, box, desk.cells[i], k)
        book(logs, s, account, box, i)
        i, k = _next_at_open(desk, account, order, exits)
    return 0
