"""5. Marking: equity at the close, trails that follow, and the switch that ends everything."""

from typing import Any

import numpy as np

from engine.simulator.band import rest, worth
from engine.simulator.compiled import rule, unit
from engine.simulator.decide import column_of
from engine.simulator.deciding import cancel_entries
from engine.simulator.exits import trail
from engine.simulator.fills import exit_order
from engine.simulator.lookups import hot_at, plan_of
from engine.simulator.tape import Desk, Logs, Tape
from engine.simulator.words import ABSENT, KILL_SWITCH, KILLED, NONE

Record = Any


@rule
def mark(rules: Record, desk: Desk, logs: Logs, account: Record, t: int) -> None:
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


@unit("tape desk account int", seldom=True)
def kill(tape: Tape, desk: Desk, account: Record, t: int) -> int:
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
def follow_trails(tape: Tape, desk: Desk, account: Record, t: int) -> None:
    for n in range(account.n_active):
        i = desk.active[n]
        s, cell = desk.states[i], desk.cells[i]
        plan = plan_of(tape.rules[0], s.plan)
        if s.quantity > 0.0 and cell.present and (plan.trail_kind != ABSENT or plan.runner_trail_kind != ABSENT):
            distance = tape.columns[plan.trail_column, t, i] if plan.trail_column >= 0 else np.nan
            runner = tape.columns[plan.runner_trail_column, t, i] if plan.runner_trail_column >= 0 else np.nan
            extreme = cell.high if s.sign > 0 else cell.low
            trail(tape.rules[0], tape.terms[i], s, account, extreme, distance, runner)
