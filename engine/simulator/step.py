"""One bar, in the contract's order: what is carried in, the open, inside, the close, marking, decisions.

The functions that hold arrays are merged into the drivers; what they call works on records. Nothing happens to most
instruments in most bars: only who leaves its band, or is touched by calendar or decision, is taken through every step.
"""

from typing import Any

from engine.simulator.carried_in import carry_in, carry_marks, fund_inside
from engine.simulator.closing import at_close, expire
from engine.simulator.compiled import phase, rule, unit
from engine.simulator.decide import decide, keep_time, update_tier
from engine.simulator.inside import inside
from engine.simulator.marking import follow_trails, kill, mark
from engine.simulator.opening import at_open
from engine.simulator.tape import Desk, Logs, Tape
from engine.simulator.waking import load, put_to_rest, rest_all, wake, wake_who_must
from engine.simulator.words import EVENTS_HERE, EXPIRES, NEW_DAY, SESSION_ENDS, SESSION_STARTS, WINDOW_ENDS

Record = Any
NO_ALARM = 1 << 62
LOUD = EVENTS_HERE | SESSION_STARTS | SESSION_ENDS | WINDOW_ENDS


@phase
def _new_day(account: Record) -> None:
    account.day_equity = account.equity


@unit("tape desk logs int")
def _events_of_bar(tape: Tape, desk: Desk, logs: Logs, t: int) -> int:
    """Everything between one close and the next, for the instruments that are awake."""
    rules, account = tape.rules[0], desk.accounts[0]
    keep_time(tape, account, t)
    for n in range(account.n_active):
        i = desk.active[n]
        load(tape, desk.cells[i], t, i)
        wake(rules, tape.terms[i], desk.hots[i], desk.states[i], desk.cells[i])
    if rules.has_contracts or rules.converts:
        carry_marks(tape, desk, account)
    for n in range(account.n_active):
        i = desk.active[n]
        if desk.hots[i].waits & EXPIRES:
            expire(desk.states[i], account, account.slot - 1)  # bars may lie between this and the last
    carry_in(tape, desk, logs, account, t)
    at_open(tape, desk, logs, account, t)
    if tape.clock[t] & EVENTS_HERE:
        fund_inside(tape, desk, account, t)
    inside(tape, desk, logs, account, t)
    at_close(tape, desk, logs, account, t)
    if tape.tiers.size > 1:
        update_tier(tape, desk, account)
    put_to_rest(desk, account)
    return 0


@rule
def step(tape: Tape, desk: Desk, logs: Logs, t: int) -> None:
    """Bar `t`."""
    account, rules, here = desk.accounts[0], tape.rules[0], int(tape.clock[t])
    if here & NEW_DAY:
        _new_day(account)
    loud = bool(here & LOUD) or t >= account.alarm
    if t >= account.alarm:
        account.alarm = NO_ALARM
    wake_who_must(tape, desk, account, t, loud)
    if account.n_active > 0:
        _events_of_bar(tape, desk, logs, t)
        follow_trails(tape, desk, account, t)
        rest_all(tape, desk, logs, account)
    mark(rules, desk, logs, account, t)
    account.drawdown = 1.0 - account.equity / account.peak if account.peak > 0.0 else 0.0
    if not account.killed and account.drawdown > rules.kill_switch * (1.0 + 1e-12):
        keep_time(tape, account, t)
        if tape.tiers.size > 1:
            update_tier(tape, desk, account)
        kill(tape, desk, account, t)
    decide(tape, desk, logs, account, t, here)
