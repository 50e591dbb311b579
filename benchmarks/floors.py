"""Bare numba loops of the strategies in `simulator.py`: the same stop, ladder, break-even and costs, written for one purpose.

They write an equity curve and a log of trades, know neither orders nor records nor ticks, and give the number of trades,
which the benchmarks compare with the kernel's. Signals are those of the tape: 1 enter long, 2 exit long, 4 enter short,
8 exit short.
"""

from typing import Any

import numpy as np
from numba import njit

TAKER, MAKER, SPREAD, SLIP, STOP = 5e-4, 2e-4, 1e-4, 1e-4, 0.02


@njit(nogil=True)
def typical(opens: Any, highs: Any, lows: Any, closes: Any, signals: Any, equity: Any, trades: Any) -> int:
    """Long only, half of equity: a stop 2 % below, 40 % off at 1 R and at 2.5 R, break-even after the first."""
    cash, quantity, stop, entry, before, leg, waiting, n = 1e6, 0.0, 0.0, 0.0, 0.0, 0.0, 0, 0
    first, second, rung, entered = np.inf, np.inf, 0, 0
    for t in range(equity.size):
        if waiting & 1 and quantity == 0.0:
            entry = opens[t, 0] * (1.0 + SPREAD + SLIP)
            before, entered, rung = cash, t, 0
            quantity = cash * 0.5 / opens[t, 0]
            leg = 0.4 * quantity
            cash -= quantity * entry * (1.0 + TAKER)
            stop, first, second = entry * (1.0 - STOP), entry * (1.0 + STOP), entry * (1.0 + 2.5 * STOP)
        leaves = 0.0
        if quantity > 0.0:
            if waiting & 2:
                leaves = opens[t, 0]
            elif lows[t, 0] <= stop:
                leaves = min(opens[t, 0], stop)
            elif rung == 0 and highs[t, 0] > first:
                cash += leg * max(opens[t, 0], first) * (1.0 - MAKER)
                quantity, stop, rung = quantity - leg, entry, 1
            if leaves == 0.0 and rung == 1 and highs[t, 0] > second:
                cash += leg * max(opens[t, 0], second) * (1.0 - MAKER)
                quantity, rung = quantity - leg, 2
        if leaves > 0.0:
            cash += quantity * leaves * (1.0 - SPREAD - SLIP) * (1.0 - TAKER)
            quantity = 0.0
            trades[n, 0], trades[n, 1], trades[n, 2], trades[n, 3] = entered, t, entry, cash - before
            n += 1
        equity[t] = cash + quantity * closes[t, 0]
        waiting = signals[t, 0]
    return n


@njit(nogil=True)
def shared(opens: Any, highs: Any, lows: Any, closes: Any, signals: Any, share: float, equity: Any, trades: Any) -> int:
    """The same with many instruments out of one account: one row of prices after the other."""
    width, cash, now, n = opens.shape[1], 1e6, 1e6, 0
    quantity, wanted, stop, entry = np.zeros(width), np.zeros(width), np.zeros(width), np.zeros(width)
    first, second, leg, paid = np.zeros(width), np.zeros(width), np.zeros(width), np.zeros(width)
    rung, entered, waiting = np.zeros(width, np.int64), np.zeros(width, np.int64), np.zeros(width, np.int8)
    for t in range(equity.size):
        held = 0.0
        for i in range(width):
            leaves = 0.0
            if quantity[i] > 0.0:
                if waiting[i] & 2:
                    leaves = opens[t, i]
                elif lows[t, i] <= stop[i]:
                    leaves = min(opens[t, i], stop[i])
                elif rung[i] < 2 and highs[t, i] > (first[i] if rung[i] == 0 else second[i]):
                    if rung[i] == 0:
                        cash += leg[i] * max(opens[t, i], first[i]) * (1.0 - MAKER)
                        paid[i] += leg[i] * max(opens[t, i], first[i]) * (1.0 - MAKER)
                        quantity[i], stop[i], rung[i] = quantity[i] - leg[i], entry[i], 1
                    if highs[t, i] > second[i]:
                        cash += leg[i] * max(opens[t, i], second[i]) * (1.0 - MAKER)
                        paid[i] += leg[i] * max(opens[t, i], second[i]) * (1.0 - MAKER)
                        quantity[i], rung[i] = quantity[i] - leg[i], 2
                if leaves > 0.0:
                    got = quantity[i] * leaves * (1.0 - SPREAD - SLIP) * (1.0 - TAKER)
                    cash, quantity[i] = cash + got, 0.0
                    trades[n, 0], trades[n, 1], trades[n, 2], trades[n, 3] = entered[i], t, entry[i], paid[i] + got
                    n += 1
            elif waiting[i] & 1:
                quantity[i], rung[i], entered[i] = wanted[i], 0, t
                entry[i] = opens[t, i] * (1.0 + SPREAD + SLIP)
                leg[i], paid[i] = 0.4 * quantity[i], -quantity[i] * entry[i] * (1.0 + TAKER)
                cash += paid[i]
                stop[i], first[i] = entry[i] * (1.0 - STOP), entry[i] * (1.0 + STOP)
                second[i] = entry[i] * (1.0 + 2.5 * STOP)
            held += quantity[i] * closes[t, i]
        now = cash + held
        equity[t] = now
        for i in range(width):
            waiting[i] = signals[t, i]
            if waiting[i] & 1:
                wanted[i] = now * share / closes[t, i]
    return n


@njit(nogil=True)
def everything(
    opens: Any,
    highs: Any,
    lows: Any,
    closes: Any,
    signals: Any,
    columns: Any,
    volume: float,
    equity: Any,
    trades: Any,
) -> int:
    """Both sides of a perpetual, 0.1 % of equity at risk: a stop at 3 ranges, a trail at 5, the ladder, funding, impact."""
    cash, quantity, sign, stop, entry, before, leg, waiting, n = 1e6, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0, 0
    first, second, rung, entered, extreme, peak, now = 0.0, 0.0, 0, 0, 0.0, 1e6, 1e6
    for t in range(equity.size):
        if quantity > 0.0 and t % 96 == 0:
            cash -= sign * quantity * opens[t, 0] * 1e-4
        leaves = 0.0
        if quantity > 0.0 and ((sign > 0.0 and waiting & 2) or (sign < 0.0 and waiting & 8)):
            leaves = opens[t, 0]
        while True:
            if leaves > 0.0:
                impact = 0.5 * columns[1, t - 1, 0] * np.sqrt(quantity / volume)
                paid = leaves * (1.0 - sign * (SPREAD + (0.0 if np.isnan(impact) else impact)))
                cash += sign * quantity * (paid - entry) - quantity * paid * TAKER
                trades[n, 0], trades[n, 1], trades[n, 2], trades[n, 3] = entered, t, entry, cash - before
                quantity, n = 0.0, n + 1
            if waiting & 5 and quantity == 0.0 and now > 0.1 * peak:
                sign = 1.0 if waiting & 1 else -1.0
                distance = 3.0 * columns[0, t - 1, 0]
                if distance > 0.0:
                    quantity = min(now * 0.001 / distance, 2.0 * now / closes[t - 1, 0])
                    impact = 0.5 * columns[1, t - 1, 0] * np.sqrt(quantity / volume)
                    entry = opens[t, 0] * (1.0 + sign * (SPREAD + (0.0 if np.isnan(impact) else impact)))
                    before, entered, rung, leg, extreme = cash, t, 0, 0.4 * quantity, entry
                    cash -= quantity * entry * TAKER
                    stop = entry - sign * distance
                    first, second = entry + sign * distance, entry + 2.5 * sign * distance
            waiting = 0
            if leaves > 0.0 and quantity == 0.0:
                break
            leaves = 0.0
            if quantity > 0.0:
                worst, best = (lows[t, 0], highs[t, 0]) if sign > 0.0 else (highs[t, 0], lows[t, 0])
                if sign * worst <= sign * stop:
                    leaves = sign * min(sign * opens[t, 0], sign * stop)
                    continue
                if rung == 0 and sign * best > sign * first:
                    paid = sign * max(sign * opens[t, 0], sign * first)
                    cash += sign * leg * (paid - entry) - leg * paid * MAKER
                    quantity, rung = quantity - leg, 1
                    stop = sign * max(sign * stop, sign * entry)
                if rung == 1 and sign * best > sign * second:
                    paid = sign * max(sign * opens[t, 0], sign * second)
                    cash += sign * leg * (paid - entry) - leg * paid * MAKER
                    quantity, rung = quantity - leg, 2
                extreme = sign * max(sign * extreme, sign * best)
                stop = sign * max(sign * stop, sign * (extreme - sign * 5.0 * columns[0, t, 0]))
            break
        now = cash + sign * quantity * (closes[t, 0] - entry)
        equity[t], peak = now, max(peak, now)
        waiting = signals[t, 0]
    return n


@njit(nogil=True)
def averages(closes: Any, lengths: Any) -> Any:
    """One row per length; NaN for the first bars."""
    out = np.full((lengths.size, closes.size), np.nan)
    for row in range(lengths.size):
        n, total = lengths[row], 0.0
        for t in range(closes.size):
            total += closes[t] - (closes[t - n] if t >= n else 0.0)
            if t >= n - 1:
                out[row, t] = total / n
    return out


@njit(nogil=True)
def crosses(fast: Any, slow: Any, signals: Any) -> None:
    """1 where the fast average crosses above the slow one, 2 where below; without a branch, so that bars go in vectors."""
    signals[0] = 0
    for t in range(1, fast.size):
        up = (fast[t] > slow[t]) & (fast[t - 1] <= slow[t - 1])
        down = (fast[t] <= slow[t]) & (fast[t - 1] > slow[t - 1])
        signals[t] = np.int8(up) + np.int8(2) * np.int8(down)


@njit(nogil=True)
def lean(opens: Any, closes: Any, signals: Any) -> tuple[float, int]:
    """Half of equity long from cross to cross, with costs: final equity and number of trades, and nothing on the way."""
    cash, quantity, n = 1e6, 0.0, 0
    for t in range(1, signals.size):
        if signals[t - 1] == 0:
            continue
        if signals[t - 1] == 1:
            quantity = cash * 0.5 / opens[t, 0]
            cash -= quantity * opens[t, 0] * (1.0 + SPREAD + SLIP + TAKER)
        elif quantity > 0.0:
            cash += quantity * opens[t, 0] * (1.0 - SPREAD - SLIP - TAKER)
            quantity, n = 0.0, n + 1
    return cash + quantity * closes[-1, 0], n
