"""What has happened goes from the outbox and the desk into the logs; rows are counted even where there is no room."""

from typing import Any

from engine.simulator.compiled import phase, rule
from engine.simulator.orders import is_live
from engine.simulator.paths import mark_trades
from engine.simulator.pointers import copy
from engine.simulator.tape import Logs

Record = Any


@phase
def _log_fill(logs: Logs, account: Record, row: Record, i: int) -> None:
    account.n_fills += 1
    if account.n_fills <= logs.fills.size:
        row.id, row.instrument = account.n_fills, i
        copy(row, logs.fills[account.n_fills - 1])


@phase
def _log_trade(logs: Logs, account: Record, row: Record, i: int) -> None:
    account.n_trades += 1
    account.n_ambiguous += int(row.ambiguous)
    if account.n_trades <= logs.trades.size:
        row.instrument = i
        copy(row, logs.trades[account.n_trades - 1])


@rule
def book(logs: Logs, s: Record, account: Record, box: Record, i: int) -> None:
    """Empty the outbox of instrument `i` into the logs."""
    if box.n_fills > 0:
        ambiguous = False
        for k in range(box.n_fills):
            ambiguous |= box.fills[k].ambiguous
        if ambiguous:
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
        copy(o, orders[o.id - 1])


@phase
def bury(orders: Any, s: Record, i: int) -> None:
    """Log the orders that have ended; the others close ranks."""
    kept = 0
    for k in range(s.n_orders):
        if is_live(s.orders[k]):
            if kept < k:
                copy(s.orders[k], s.orders[kept])
            kept += 1
        else:
            log_order(orders, s.orders[k], i)
    s.n_orders = kept
