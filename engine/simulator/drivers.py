"""The compiled loops around the step. They own the arrays; rules stand below them and nowhere here."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from engine.simulator.compiled import INTERPRETED, entry
from engine.simulator.packing import desk_of, logs_of, with_signals
from engine.simulator.pointers import packed
from engine.simulator.positions import fold, pnl_at, unrealised, write_trade
from engine.simulator.quiet import glide
from engine.simulator.step import log_order, step
from engine.simulator.tape import Desk, Logs, Tape
from engine.simulator.words import SIGNALS_HERE


@entry("tape desk logs int int")
def run(tape: Tape, desk: Desk, logs: Logs, first: int, end: int) -> int:
    """Bars `first` to `end`, all instruments out of one account; continues where the desk stands.

    What was tried against the floor of 2.9 ns a bar (a loop over the same signals) with one symbol:

    - `step` alone, tape and desk by value: 30 to 45 ns. A quiet bar read bands, mark and account from memory, where
      every store of the logs may have changed them, and an event passed 300 words to each of its ten calls;
    - by address (`at`), and one bar after the other in variables: 20 ns on a busy machine;
    - `glide` as loops over columns, 16 bars compared at once: 12 ns where the floor took 2.1. Of these some 4 are the
      glide; the rest is events, half a microsecond each, a quarter of it waiting for columns to come from memory.
      Not tried: the five columns of time as one record.
    """
    t = first
    while t < end:
        if desk.hots.size == 1:
            t = glide(tape, desk, logs, t, end)
        if t < end:
            step(tape, desk, logs, t)
            t += 1
    return t


@entry("tape desk logs int int")
def run_every_bar(tape: Tape, desk: Desk, logs: Logs, first: int, end: int) -> int:
    """The same without gliding over quiet bars; what the tests compare with."""
    for t in range(first, end):
        step(tape, desk, logs, t)
    return end


@entry("tape desk logs")
def close_books(tape: Tape, desk: Desk, logs: Logs) -> int:
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
            row = logs.positions[n]
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


class Statistics(NamedTuple):
    """Of one run's equity curve."""

    net: float  # gained, of the cash at the start
    mean: float  # of returns from bar to bar
    deviation: float
    max_drawdown: float
    n_trades: int
    n_fills: int


def run_sleeves(tapes: Sequence[Tape], cash: float, *, threads: int = 2) -> list[tuple[Desk, Logs]]:
    """Accounts of their own, a tape each: the same answers whatever the number of threads.

    Threads of Python, because the compiled loop holds no lock; it needs no second, parallel compilation.
    """

    def sleeve(tape: Tape) -> tuple[Desk, Logs]:
        room = _ROOM
        while True:
            desk, logs = desk_of(tape, cash), logs_of(tape.ts.size, room)
            run(tape, desk, logs, 0, tape.ts.size)
            account = desk.accounts[0]
            counted = (int(account["n_fills"]), int(account["n_trades"]), int(account["n_orders"]))
            if all(n <= log.size for n, log in zip(counted, logs[:3], strict=True)):
                return desk, logs
            room = (max(room[0], counted[0]), max(room[1], counted[1]), max(room[2], counted[2]))

    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(sleeve, tapes))


_ROOM = (4096, 2048, 8192)


def run_sweep(
    tape: Tape, cash: float, signals_of: Callable[[int, NDArray[np.int8]], None], n: int, *, threads: int = 2
) -> list[Statistics]:
    """So many runs over one market; `signals_of` writes those of run `k` into a buffer, which is empty when it gets it.

    Each thread keeps one buffer of signals and one equity curve, and logs nothing else: memory does not grow with `n`.
    """
    found: list[Statistics | None] = [None] * n

    def share(first: int) -> None:
        signals = np.zeros(tape.closes.shape, np.int8)
        logs = logs_of(tape.ts.size, (0, 0, 0), money=False)
        own = tape._replace(rules=tape.rules.copy())  # in which the addresses of its desk stand
        for k in range(first, n, threads):
            signals[:] = 0
            signals_of(k, signals)
            heard = with_signals(own, signals)
            desk = desk_of(heard, cash)
            run(heard, desk, logs, 0, tape.ts.size)
            measure(desk, logs, cash)
            found[k] = _statistics(desk.accounts[0])

    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(share, range(threads)))
    return [one for one in found if one is not None]


def _statistics(account: Any) -> Statistics:
    return Statistics(
        net=float(account["net"]),
        mean=float(account["mean_return"]),
        deviation=float(account["deviation"]),
        max_drawdown=float(account["worst_drawdown"]),
        n_trades=int(account["n_trades"]),
        n_fills=int(account["n_fills"]),
    )


@entry("desk logs float")
def measure(desk: Desk, logs: Logs, cash: float) -> int:
    """Write the statistics of an equity curve, which began with `cash`, into the account."""
    account = desk.accounts[0]
    peak, before, worst, total, squares = cash, cash, 0.0, 0.0, 0.0
    for t in range(logs.equity.size):
        now = logs.equity[np.uint64(t)]
        change = now / before - 1.0
        total += change
        squares += change * change
        peak = max(peak, now)
        worst = max(worst, peak - now if peak <= 0.0 else 1.0 - now / peak)
        before = now
    n = logs.equity.size
    account.net, account.mean_return, account.worst_drawdown = before / cash - 1.0, total / n, worst
    account.deviation = np.sqrt(max(0.0, squares / n - (total / n) ** 2))
    return n


@entry("tape desk logs int")
def step_once(tape: Tape, desk: Desk, logs: Logs, t: int) -> int:
    step(tape, desk, logs, t)
    return t


class Live:
    """Bar by bar from Python: whoever steps writes what a bar's close says before that bar is stepped.

    Tape, desk and logs are handed to compiled code once: at every bar some fifty arrays would be unboxed again.
    """

    def __init__(self, tape: Tape, desk: Desk, logs: Logs) -> None:
        self._signals, self._clock = np.zeros(tape.closes.shape, np.int8), tape.clock.copy()
        if tape.signals.size:
            self._signals[:] = tape.signals
        self.tape = with_signals(tape, self._signals)
        self._clock = self.tape.clock.copy()
        clock = self._clock.view()
        clock.flags.writeable = False
        self.tape = self.tape._replace(clock=clock)
        self.desk, self.logs = desk, logs
        if not INTERPRETED:
            self._packed = [packed(*one) for one in (("tape", self.tape), ("desk", desk), ("logs", logs))]
            self._addresses = [one.ctypes.data for one in self._packed]

    def say(self, t: int, instrument: int, signal: int) -> None:
        """What was decided on the close of bar `t`, as the bits of `words`."""
        self._signals[t, instrument] = signal
        self._clock[t] |= SIGNALS_HERE

    def step(self, t: int) -> None:
        if INTERPRETED:
            step(self.tape, self.desk, self.logs, t)
        else:
            step_once.at(*self._addresses, t)
