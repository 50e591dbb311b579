"""The compiled loops around the step. They own the arrays; rules stand below them and nowhere here."""

from typing import Any

from engine.simulator.compiled import driver, phase
from engine.simulator.positions import fold, pnl_at, unrealised, write_trade
from engine.simulator.step import log_order, step
from engine.simulator.tape import Desk, Logs, Tape


@phase
def _bars(tape: Tape, desk: Desk, logs: Logs, first: int, end: int) -> None:
    for t in range(first, end):
        step(tape, desk, logs, t)


@driver
def run(tape: Tape, desk: Desk, logs: Logs, first: int, end: int) -> None:
    """Bars `first` to `end`, all instruments out of one account; continues where the desk stands.

    The loop stands in a function of its own, which counts no references: one that did took eleven times the floor.
    """
    _bars(tape, desk, logs, first, end)


@driver
def close_books(tape: Tape, desk: Desk, logs: Logs, positions: Any) -> int:
    """Log the orders that still rest, and write down what is still open; gives how many positions."""
    n = 0
    for i in range(tape.terms.size):
        s, terms = desk.states[i], tape.terms[i]
        for k in range(s.n_orders):
            log_order(logs.orders, s.orders[k], i)
        if s.quantity > 0.0:
            rate, mark = desk.cells[i].rate, desk.hots[i].mark
            s.low_seen, s.high_seen = (
                min(s.low_seen, desk.hots[i].low_seen),
                max(s.high_seen, desk.hots[i].high_seen),
            )
            fold(terms, s, rate)
            row = positions[n]
            write_trade(terms, s, row)
            row.instrument, row.quantity, row.entry_price, row.exit_price = (
                i,
                s.quantity,
                s.entry,
                mark,
            )
            row.pnl = pnl_at(terms, s, mark, rate)
            row.edge = s.edge + unrealised(terms, s, mark, rate)
            row.mae, row.mfe = min(s.mae, row.pnl), max(s.mfe, row.pnl)
            row.r = row.pnl / s.first_risk
            n += 1
    return n
