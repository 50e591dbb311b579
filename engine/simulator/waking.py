"""Who wakes in a bar, and rests again after it.

An instrument at rest lives in its small `HOT` record with the band of prices within which nothing can happen to it. What
leaves its band, or is touched by the calendar, is gathered into a `CELL`, and put to rest again with a new band.
"""

from typing import Any

import numpy as np

from engine.simulator.band import rest
from engine.simulator.books import bury
from engine.simulator.compiled import rule
from engine.simulator.lookups import hot_at
from engine.simulator.pointers import ahead, values_of
from engine.simulator.prices import floor_to
from engine.simulator.tape import Desk, Logs, Tape
from engine.simulator.words import VOLUME_SHARE

Record = Any


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
def wake_who_must(tape: Tape, desk: Desk, account: Record, t: int, loud: bool) -> None:
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


@rule
def load(tape: Tape, cell: Record, t: int, i: int) -> None:
    k = t * tape.closes.shape[1] + i
    cell.open, cell.high, cell.low, cell.close = (
        values_of(tape.opens)[k],
        values_of(tape.highs)[k],
        values_of(tape.lows)[k],
        values_of(tape.closes)[k],
    )
    cell.present, cell.join, cell.finish = not np.isnan(cell.open), cell.open, cell.close
    cell.volume = values_of(tape.volumes)[k] if tape.volumes.size else np.nan
    cell.rate = values_of(tape.conversions)[k] if tape.conversions.size else 1.0
    if tape.mark_opens.size:
        cell.mark_open, cell.mark_high = values_of(tape.mark_opens)[k], values_of(tape.mark_highs)[k]
        cell.mark_low, cell.mark_close = values_of(tape.mark_lows)[k], values_of(tape.mark_closes)[k]
    else:
        cell.mark_open, cell.mark_high, cell.mark_low, cell.mark_close = (
            cell.open,
            cell.high,
            cell.low,
            cell.close,
        )
    cell.funding_due = 0.0


@rule
def wake(rules: Record, terms: Record, h: Record, s: Record, cell: Record) -> None:
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


@rule
def put_to_rest(desk: Desk, account: Record) -> None:
    for n in range(account.n_active):
        i = desk.active[n]
        s, cell = desk.states[i], desk.cells[i]
        if cell.present:
            s.mark, s.marked_at, s.last_close = cell.close, account.close_us, cell.close
        desk.hots[i].mark = s.mark


@rule
def rest_all(tape: Tape, desk: Desk, logs: Logs, account: Record) -> None:
    for n in range(account.n_active):
        i = desk.active[n]
        if desk.states[i].n_orders > 0:
            bury(logs.orders, desk.states[i], i)
        rest(tape.rules[0], tape.terms[i], desk.hots[i], desk.states[i], account)
