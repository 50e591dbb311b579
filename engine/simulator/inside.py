"""3. and 4. Inside the bar: along its finer bars where there are any, else both paths, and the one that is kept."""

from typing import Any

import numpy as np

from engine.simulator.books import book
from engine.simulator.carried_in import judge_wallet
from engine.simulator.compiled import rule, unit
from engine.simulator.paths import (
    SEVERAL,
    choose,
    mark_what_the_other_lacks,
    same_fills,
    walk,
    what_is_reached,
    worth_at_close,
)
from engine.simulator.pointers import copy, copy_head
from engine.simulator.positions import see
from engine.simulator.schema import ORDER, STATE
from engine.simulator.tape import Desk, Logs, Tape
from engine.simulator.waking import load
from engine.simulator.words import NONE

Record = Any
_HEAD = STATE.fields["orders"][1]  # type: ignore[index]  # bytes before the orders
_ORDER = ORDER.itemsize


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


@unit("tape desk logs account int int", seldom=True)
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
    load(tape, cell, t, i)
    return 0


@rule
def inside(tape: Tape, desk: Desk, logs: Logs, account: Record, t: int) -> None:
    for n in range(account.n_active):
        i = desk.active[n]
        s = desk.states[i]
        if desk.cells[i].present and (s.n_orders > 0 or s.quantity > 0.0):
            if tape.rules[0].cross:
                judge_wallet(tape, desk, account, i)
            if tape.finer.size and tape.finer_ends[t, i] > tape.finer_starts[t, i]:
                _true_path(tape, desk, logs, account, t, i)
            else:
                _inside_one(tape, desk, logs, account, i)
