"""Bars in which nothing happens: over those of the only instrument time glides.

While its price stays within the band of what it waits for only its mark moves, and equity with it. That needs no step:
`glide` goes over columns, whose bars are compared several at once, and stops before the first bar of which there is any
doubt. What is decided on the close of such a bar is decided here, too.
"""

from typing import Any

import numpy as np

from engine.simulator.band import narrow_by_trail
from engine.simulator.compiled import rule, unit
from engine.simulator.decide import decide
from engine.simulator.exits import nearer
from engine.simulator.lookups import plan_of
from engine.simulator.orders import protective_order
from engine.simulator.pointers import ahead, values_of
from engine.simulator.prices import floor_to
from engine.simulator.tape import Desk, Logs, Tape
from engine.simulator.words import (
    AT_PCT,
    DECISIONS_HERE,
    EVENTS_HERE,
    NEW_DAY,
    NONE,
    SESSION_ENDS,
    SESSION_STARTS,
    SIGNALS_HERE,
    TRAILED,
    WINDOW_ENDS,
)

Record = Any
LOUD, DECIDES = EVENTS_HERE | SESSION_STARTS | SESSION_ENDS | WINDOW_ENDS, DECISIONS_HERE | SIGNALS_HERE
_BLOCK = 64  # bars


@rule
def _within(lows: Any, highs: Any, first: int, end: int, low_band: float, high_band: float) -> int:
    """The first bar that leaves the band; NaN leaves it."""
    start = first
    while start < end:
        stop, outside = min(start + _BLOCK, end), 0
        for t in range(start, stop):  # without leaving in between, so that several bars are compared at once
            outside += int(not ((lows[t] > low_band) & (highs[t] < high_band)))
        if outside:
            while lows[start] > low_band and highs[start] < high_band:
                start += 1
            return start
        start = stop
    return end


@rule
def _fetch(tape: Tape, t: int) -> None:
    """Have what is read on a bar, and on the close before it, brought from memory all at once, while time glides there."""
    if t < tape.ts.size:
        ahead(values_of(tape.times), t - 1)
        ahead(values_of(tape.times), t)
        ahead(values_of(tape.closes), t - 1)
        ahead(values_of(tape.opens), t)
        ahead(values_of(tape.volumes), t)
        ahead(values_of(tape.signals), t)
        ahead(values_of(tape.clock), t)
        if tape.mark_opens.size:
            ahead(values_of(tape.mark_opens), t)
            ahead(values_of(tape.mark_highs), t)
            ahead(values_of(tape.mark_lows), t)
            ahead(values_of(tape.mark_closes), t)
        for column in range(tape.columns.shape[0]):
            ahead(values_of(tape.columns), column * tape.ts.size + t - 1)


@rule
def _stretch(tape: Tape, account: Record, first: int, end: int) -> tuple[int, int, int]:
    """What stands in the calendar of `first`, where the stretch from it on ends, and what stands in that of its last bar.

    It ends with the next bar in whose calendar anything stands, where that is but a decision on its close, else before.
    """
    touched, k, here = values_of(tape.touched), account.next_touched, 0
    while touched[k] >> 8 < first:
        k += 1
    account.next_touched = k
    if touched[k] >> 8 == first:
        here = touched[k] & 255
        k += 1
    if here & DECIDES:
        return here, first + 1, here
    stop, there = touched[k] >> 8, touched[k] & 255
    if there & ~NEW_DAY:
        _fetch(tape, stop if there & LOUD else stop + 1)
    if stop < end and not there & ~DECIDES:
        return here, stop + 1, there
    return here, min(end, stop), 0


@rule
def _quiet_until(tape: Tape, h: Record, first: int, end: int) -> int:
    """The first bar that may bring anything. With nothing held and nothing waiting no price can, nor a missing bar."""
    if h.reach_low == -np.inf and h.reach_high == np.inf and h.units == 0.0:
        return end
    t = _within(values_of(tape.lows), values_of(tape.highs), first, end, h.reach_low, h.reach_high)
    if tape.mark_opens.size and h.units != 0.0:
        lows, highs = values_of(tape.mark_lows), values_of(tape.mark_highs)
        if h.mark_high_band == np.inf:
            highs = lows  # one column says enough
        elif h.mark_low_band == -np.inf:
            lows = highs
        t = _within(lows, highs, first, t, h.mark_low_band, h.mark_high_band)
    return t


@rule
def _worth_over(
    tape: Tape, logs: Logs, h: Record, account: Record, rate: float, first: int, end: int, least: float
) -> int:
    """Write equity; ends before a bar on which it may be too low to go on."""
    closes, equities, cash, units, offset = (
        values_of(tape.closes),
        values_of(logs.equity),
        account.cash,
        h.units,
        h.offset,
    )
    equity, peak, t = account.equity, account.peak, first
    if units == 0.0:
        if not cash > max(peak, cash) * least:
            return first
        for flat in range(first, end):
            equities[flat] = cash
        account.equity, account.peak = cash, max(peak, cash)
        return end
    while t < end:
        if t + 4 <= end:  # as if the best of four came before their worst
            a, b = cash + (units * closes[t] + offset) * rate, cash + (units * closes[t + 1] + offset) * rate
            c, d = cash + (units * closes[t + 2] + offset) * rate, cash + (units * closes[t + 3] + offset) * rate
            higher = max(peak, max(max(a, b), max(c, d)))
            if min(min(a, b), min(c, d)) > higher * least:
                equities[t], equities[t + 1], equities[t + 2], equities[t + 3] = a, b, c, d
                equity, peak, t = d, higher, t + 4
                continue
        now = cash + (units * closes[t] + offset) * rate
        higher = max(peak, now)
        if not now > higher * least:
            break
        equities[t] = now
        equity, peak, t = now, higher, t + 1
    account.equity, account.peak = equity, peak
    return t


@rule
def _see_over(tape: Tape, h: Record, first: int, end: int) -> None:
    """The lowest and the highest price while something is held."""
    lows, highs, t = values_of(tape.lows), values_of(tape.highs), first
    low, low_1, low_2, low_3 = h.low_seen, np.inf, np.inf, np.inf
    high, high_1, high_2, high_3 = h.high_seen, -np.inf, -np.inf, -np.inf
    while t + 4 <= end:
        low, low_1 = min(low, lows[t]), min(low_1, lows[t + 1])
        low_2, low_3 = min(low_2, lows[t + 2]), min(low_3, lows[t + 3])
        high, high_1 = max(high, highs[t]), max(high_1, highs[t + 1])
        high_2, high_3 = max(high_2, highs[t + 2]), max(high_3, highs[t + 3])
        t += 4
    while t < end:
        low, high, t = min(low, lows[t]), max(high, highs[t]), t + 1
    h.low_seen, h.high_seen = min(min(low, low_1), min(low_2, low_3)), max(max(high, high_1), max(high_2, high_3))


@rule
def _write_over(tape: Tape, logs: Logs, h: Record, account: Record, rate: float, first: int, end: int) -> None:
    """What else is known of bars on which nothing happened."""
    closes, width, cash = values_of(tape.closes), abs(h.units), account.cash
    last = end - 1
    while last > first and np.isnan(closes[last]):  # only where nothing is held, and a missing bar is no doubt
        last -= 1
    if not np.isnan(closes[last]):
        h.mark = closes[last]
    account.gross = width * h.mark * rate if width > 0.0 else 0.0
    account.drawdown = 1.0 - account.equity / account.peak if account.peak > 0.0 else 0.0
    if not logs.cash.size:
        return
    cashes, grosses = values_of(logs.cash), values_of(logs.gross)
    for t in range(first, end):
        cashes[t] = cash
    if width == 0.0:
        for t in range(first, end):
            grosses[t] = 0.0
    else:
        for t in range(first, end):
            grosses[t] = width * closes[t] * rate


@unit("tape desk logs int int float")
def _glide_trailed(tape: Tape, desk: Desk, logs: Logs, first: int, end: int, least: float) -> int:
    """The same with a trail, which moves often: bar after bar, everything in variables; the stop follows at the end.

    Prices count in the position's direction, so that a short is a long: `-price` rounds as `price` does.
    """
    rules, terms, h, s, account = tape.rules[0], tape.terms[0], desk.hots[0], desk.states[0], desk.accounts[0]
    plan, sign, rate = plan_of(rules, s.plan), float(s.sign), desk.cells[0].rate
    o = s.orders[protective_order(s)]
    lows, highs, closes, equities = (
        values_of(tape.lows),
        values_of(tape.highs),
        values_of(tape.closes),
        values_of(logs.equity),
    )
    extremes, distances = highs if sign > 0.0 else lows, values_of(tape.columns)
    marks = values_of(tape.mark_lows) if sign > 0.0 else values_of(tape.mark_highs)
    marked, liquidated = tape.mark_opens.size > 0, sign * (h.mark_low_band if sign > 0.0 else h.mark_high_band)
    measured, row, share, multiple = (
        plan.trail_kind != AT_PCT,
        plan.trail_column * tape.ts.size,
        1.0 - sign * plan.trail,
        plan.trail,
    )
    near_low, near_high, price = h.near_low, h.near_high, sign * o.price
    cash, units, offset, equity, peak = account.cash, h.units, h.offset, account.equity, account.peak
    low_seen, high_seen, highest, level = h.low_seen, h.high_seen, sign * s.highest, sign * s.trail_level
    tick, t = terms.tick, first
    while t < end:
        low, high = lows[t], highs[t]
        if not (low > near_low and high < near_high) or (marked and not sign * marks[t] > liquidated):
            break
        now = cash + (units * closes[t] + offset) * rate
        higher = max(peak, now)
        if not now > higher * least:
            break
        equities[t], equity, peak = now, now, higher
        low_seen, high_seen = min(low_seen, low), max(high_seen, high)
        highest = max(highest, sign * extremes[t])
        raw = highest - multiple * distances[row + t] if measured else highest * share
        if not raw <= level - 1e-6 * tick and not np.isnan(raw):
            stands = floor_to(raw, tick)
            if not stands <= level:
                level = stands
                if stands > price:
                    price = stands
                    near_low, near_high = (
                        (max(near_low, price), near_high) if sign > 0.0 else (near_low, min(near_high, -price))
                    )
        t += 1
    if t > first:
        account.equity, account.peak, h.low_seen, h.high_seen = equity, peak, low_seen, high_seen
        s.highest, s.trail_level = sign * highest, sign * level
        if price > sign * o.price:
            o.price, h.stop, s.stop_why = sign * price, sign * price, TRAILED
        h.near_low, h.near_high, h.low_band, h.high_band = near_low, near_high, near_low, near_high
        h.reach_low, h.reach_high = near_low, near_high
        narrow_by_trail(plan, h, s)
    return t


@rule
def _follows(s: Record) -> bool:
    """Has the trail a stop that it can move, and that no decision has loosened?"""
    k = protective_order(s)
    return bool(k != NONE and not s.orders[k].triggered and not nearer(s.sign, s.trail_level, s.orders[k].price))


@unit("tape desk logs int int")
def glide(tape: Tape, desk: Desk, logs: Logs, first: int, end: int) -> int:
    """The only instrument, over bars in which nothing happens but that its trail moves; gives the first other one.

    Any doubt ends the stretch: `step` decides. Tests hold both to the same bytes.
    """
    account, h, s, rules = desk.accounts[0], desk.hots[0], desk.states[0], tape.rules[0]
    rate = desk.cells[0].rate
    least = -np.inf if account.killed else 1.0 - rules.kill_switch + 1e-9
    end = min(end, account.alarm)
    while first < end and h.coin == 0.0 and h.trails < 2 and not tape.finer.size:
        here, stop, there = _stretch(tape, account, first, end)
        if here & LOUD:
            break
        before = account.equity
        quiet = stop
        if h.trails:
            if not (h.reach_low < np.inf and _follows(s)):
                break
            quiet = _glide_trailed(tape, desk, logs, first, stop, least)
        else:
            quiet = _quiet_until(tape, h, first, stop)
            quiet = _worth_over(tape, logs, h, account, rate, first, quiet, least)
            if h.units != 0.0:
                _see_over(tape, h, first, quiet)
        if quiet < stop:
            _fetch(tape, quiet)
        if quiet == first:
            break
        if here & NEW_DAY:
            account.day_equity = before
        _write_over(tape, logs, h, account, rate, first, quiet)
        first = quiet
        if quiet == stop and there & DECIDES:
            decide(tape, desk, logs, account, stop - 1, there)
    return first
