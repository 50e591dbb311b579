"""The close: what ends with its session, its time to live, its window or its listing."""

from typing import Any

from engine.simulator.books import book
from engine.simulator.compiled import rule, unit
from engine.simulator.deciding import cancel_entries
from engine.simulator.fills import attempt, exit_order, leave
from engine.simulator.lookups import plan_of
from engine.simulator.orders import end, is_live, leaves_altogether
from engine.simulator.tape import Desk, Logs, Tape
from engine.simulator.words import (
    CANCELLED_BY_DECISION,
    DELIST,
    DELISTED,
    EVENTS_HERE,
    EXPIRED,
    EXPIRES,
    NONE,
    SESSION_CLOSE,
    SESSION_ENDS,
    TTL_EXPIRED,
    WINDOW_END,
)

Record = Any


@unit("state account int")
def expire(s: Record, account: Record, slot: int) -> int:
    for k in range(s.n_orders):
        if is_live(s.orders[k]) and slot >= s.orders[k].expires:
            end(s.orders[k], account, EXPIRED, TTL_EXPIRED)
    return 0


@unit("rules terms state account box cell", seldom=True)
def _close_session(rules: Record, terms: Record, s: Record, account: Record, box: Record, cell: Record) -> int:
    if s.quantity > 0.0 and plan_of(rules, s.plan).session_close and not leaves_altogether(s):
        k = exit_order(s, account, SESSION_CLOSE)
        attempt(rules, terms, s, account, box, cell, k, cell.close, 0)
    return 0


@unit("tape desk logs account int", seldom=True)
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
def at_close(tape: Tape, desk: Desk, logs: Logs, account: Record, t: int) -> None:
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
            expire(s, account, account.slot)
    if tape.clock[t] & EVENTS_HERE:
        _delist(tape, desk, logs, account, t)
        while account.next_event < tape.events.size and tape.events[account.next_event].bar <= t:
            account.next_event += 1
