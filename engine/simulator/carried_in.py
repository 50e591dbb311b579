"""1. What is carried into a bar, for every instrument that is awake: events of the calendar, borrow, collateral."""

from typing import Any

import numpy as np

from engine.simulator.books import book
from engine.simulator.carry import charge_borrow, charge_funding, pay_dividend, split
from engine.simulator.compiled import phase, rule, unit
from engine.simulator.liquidation import liquidation_price, maintenance
from engine.simulator.orders import end_what_belonged_to_the_position
from engine.simulator.positions import relock, see, unrealised
from engine.simulator.prices import value
from engine.simulator.tape import Desk, Logs, Tape
from engine.simulator.words import (
    DIVIDEND,
    ENTERS,
    EVENTS_HERE,
    FUNDING_AT_OPEN,
    FUNDING_BEFORE,
    FUNDING_INSIDE,
    LEAVES,
    SPLIT,
    SPOT,
    TRIGGERED,
)

Record = Any


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
def carry_marks(tape: Tape, desk: Desk, account: Record) -> None:
    """Collateral at the rates of this bar, and the gains of contracts at the last marks before, which stand behind it."""
    account.unrealised = 0.0
    for i in range(tape.terms.size):
        s = desk.states[i]
        s.value_carried = 0.0
        if s.quantity > 0.0:
            s.mark_price = _mark_before(tape, account.t, i)
            relock(tape.terms[i], s, account, desk.cells[i].rate)


@unit("tape desk account int", seldom=True)
def judge_wallet(tape: Tape, desk: Desk, account: Record, i: int) -> int:
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
def carry_in(tape: Tape, desk: Desk, logs: Logs, account: Record, t: int) -> None:
    if tape.clock[t] & EVENTS_HERE:
        _carry_events(tape, desk, logs, account, t)
    for n in range(account.n_active):
        i = desk.active[n]
        if desk.cells[i].present:
            charge_borrow(tape.terms[i], desk.states[i], account, desk.cells[i])


@unit("tape desk logs account int", seldom=True)
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


@unit("tape desk account int", seldom=True)
def fund_inside(tape: Tape, desk: Desk, account: Record, t: int) -> int:
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
