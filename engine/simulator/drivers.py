"""The compiled loops around the step. They own the arrays; rules stand below them and nowhere here."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from sys import getrefcount
from threading import Lock
from typing import Any, ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray

from engine.simulator.books import log_order
from engine.simulator.compiled import INTERPRETED, entry, packed, pinned
from engine.simulator.packing import (
    begin_again,
    beginning,
    desk_of,
    logs_of,
    read_only,
    reset,
    with_signals,
)
from engine.simulator.pointers import values_of, words_of
from engine.simulator.positions import fold, pnl_at, unrealised, write_trade
from engine.simulator.quiet import glide
from engine.simulator.schema import FILL, ORDER, TRADE
from engine.simulator.step import step
from engine.simulator.tape import Desk, Logs, Tape
from engine.simulator.words import SAYS, SIGNALS_HERE

ALL_BUT_SIGNALS = 255 - SIGNALS_HERE


@entry("tape desk logs int int")
def run(tape: Tape, desk: Desk, logs: Logs, first: int, end: int) -> int:
    """Bars `first` to `end`, all instruments out of one account; continues where the desk stands.

    What was tried against bare loops of the same strategies (`benchmarks/floors.py`), in multiples of them:

    - `step` alone, tape and desk by value: 30 to 45 ns a bar; by address (`at`) 20; `glide` over columns 12: 5.8 x with
      typical rules, 15 x with everything (the floor then knew neither ladder nor trail);
    - one path in place where both give the same fill, an open passed over that can bring nothing: 3.4 and 4.6 x;
    - columns by their bare addresses, so that bars are compared in vectors; a trail in variables instead of leaving the
      glide at each of its moves, which come every few bars; memory of the next event asked for ahead: 3.2 and 3.4 x;
    - decisions on quiet bars within the glide, times of a bar in one record, the calendar's bits beside its bars, small
      units merged into their callers: 2.8 and 2.7 x. An event is 0.4 microseconds, spread flat over sixty functions.
    - all that an event reads asked for at once, records copied as memory, calendar bits handed on, no branch on what is
      held in loops over all instruments: everything 3.2 to 2.8, a shared account 3.5 to 3.1, each beside the build before;
    - instructions, of which an event needs 30 KB where a processor keeps 32: no negative index, no error that is never
      raised, `seldom` units apart, loops not unrolled. By valgrind's count of typical rules' 140 thousand bars: 5.8 to 5.5
      million instructions, 151 to 49 thousand of their lines missed, and 14 % fewer cycles with everything on;
    - No gain: numba's OPT 1 and 2, LLVM's level 2 (1 % by count), its SLP vectors, other thresholds of merging (0 to 400),
      loops without vectors, `forceinline` on units (their wrapper stays a call).
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


class Sleeve(NamedTuple):
    """What one of several accounts did; its logs have the rows that it filled and no others."""

    account: Any
    logs: Logs


def run_sleeves(tapes: Sequence[Tape], cash: float, *, threads: int = 2, money: bool = True) -> list[Sleeve]:
    """Accounts of their own, a tape each: the same answers whatever the number of threads.

    Threads of Python, because the compiled loop holds no lock; it needs no second, parallel compilation. Each keeps one
    desk and one room for logs: a desk for every tape took longer to touch than the run.
    """
    found: list[Sleeve | None] = [None] * len(tapes)
    waiting = iter(range(len(tapes)))

    def work() -> None:
        worker = _Worker()
        for k in waiting:
            found[k] = worker.sleeve(tapes[k], cash, money=money)

    _on_threads(work, min(threads, len(tapes)))
    return [one for one in found if one is not None]


class _Shelf:
    """Rows handed out one after the other from large pieces, which the system brings in by megabytes, five times as fast.

    A piece that no result holds any more is written to again: what the system takes back and gives anew, two threads
    waited for longer than for the runs.
    """

    _KEPT: ClassVar[list[NDArray[np.uint8]]] = []
    _LOCK: ClassVar[Lock] = Lock()
    _MOST: ClassVar[int] = 3 << 27  # bytes kept, whoever holds them

    def __init__(self, dtype: Any, rows: int) -> None:
        self._dtype, self._rows, self._free = np.dtype(dtype), rows, np.empty(0, dtype)

    def ahead(self, least: int) -> NDArray[Any]:
        """Room for at least so many rows, to be written before as many as it took are `taken`."""
        if self._free.size < least:
            self._free = np.empty(0, self._dtype)
            self._free = self._piece(max(least, self._rows))
        return self._free

    def taken(self, n: int) -> NDArray[Any]:
        rows, self._free = self._free[:n], self._free[n:]
        return rows

    def _piece(self, rows: int) -> NDArray[Any]:
        n_bytes = rows * self._dtype.itemsize
        with self._LOCK:
            for piece in self._KEPT:
                if piece.nbytes == n_bytes and getrefcount(piece) == _UNUSED:
                    return piece.view(self._dtype)
            piece = np.empty(n_bytes, np.uint8)
            if sum(one.nbytes for one in self._KEPT) + n_bytes <= self._MOST:
                self._KEPT.append(piece)
            return piece.view(self._dtype)


_UNUSED = 3  # references to a piece that is looked at: the list's, the loop's and the question's


class _Worker:
    """One thread's desk, kept from run to run, and the shelves its logs are written to, in their place from the first."""

    def __init__(self) -> None:
        self._desk: Desk | None = None
        self._packed: Any = None
        self._least = (4096, 2048, 8192)
        self._shelves = [_Shelf(kind, 16 * n) for kind, n in zip((FILL, TRADE, ORDER), self._least, strict=True)]
        self._columns = _Shelf(np.float64, 1 << 22)

    def desk(self, tape: Tape, cash: float) -> Desk:
        shape = (tape.terms.size, tape.ts.size)
        if self._desk is None or (self._desk.hots.size, self._desk.traded.size) != shape:
            self._desk = desk_of(tape, cash)
            self._packed = packed("desk", self._desk)
        else:
            reset(self._desk, tape, cash)
        return self._desk

    def sleeve(self, tape: Tape, cash: float, *, money: bool) -> Sleeve:
        n_bars, told = tape.ts.size, packed("tape", tape)
        self._columns.ahead(n_bars * (1 + 2 * money))
        columns = [self._columns.taken(n) for n in (n_bars, n_bars * money, n_bars * money)]
        while True:
            rooms = [shelf.ahead(n) for shelf, n in zip(self._shelves, self._least, strict=True)]
            desk, logs = self.desk(tape, cash), Logs(*rooms, *columns, np.zeros(tape.terms.size, TRADE))
            held = told, self._packed, packed("logs", logs)
            run(*held, 0, n_bars)
            n_positions = close_books(*held)
            account = desk.accounts[0]
            counted = (int(account["n_fills"]), int(account["n_trades"]), int(account["n_orders"]))
            if all(n <= room.size for n, room in zip(counted, rooms, strict=True)):
                rows = (shelf.taken(n) for shelf, n in zip(self._shelves, counted, strict=True))
                return Sleeve(account.copy(), Logs(*rows, *columns, logs.positions[:n_positions]))
            self._least = (2 * counted[0], 2 * counted[1], 2 * counted[2])


def _on_threads(work: Callable[[], None], threads: int) -> None:
    if threads <= 1:
        work()
        return
    with ThreadPoolExecutor(threads) as pool:
        for done in [pool.submit(work) for _ in range(threads)]:
            done.result()


def run_sweep(
    tape: Tape,
    cash: float,
    signals_of: Callable[[int, NDArray[np.int8]], None],
    n: int,
    *,
    read: Callable[[NDArray[np.float64]], Any] | None = None,
    threads: int = 2,
) -> list[Any]:
    """So many runs over one market; `signals_of` writes those of run `k` into a buffer, which is empty when it gets it.

    Gives what `read` makes of each equity curve, which is written over afterwards; its `Statistics` by default.

    Each thread keeps one buffer of signals, one desk and one equity curve, and logs nothing else: memory does not grow
    with `n`.
    """
    found: list[Any] = [None] * n
    waiting = iter(range(n))

    def work() -> None:
        logs = logs_of(tape.ts.size, (0, 0, 0), money=False)
        own, signals = writable(tape._replace(rules=tape.rules.copy()))
        desk = desk_of(own, cash)  # whose addresses stand in those rules
        fresh = beginning(desk)
        told, *held = pinned(own, desk, logs)
        for k in waiting:
            signals[:] = 0
            signals_of(k, signals)
            listen(told)
            begin_again(desk, fresh)
            run(told, *held, 0, tape.ts.size)
            if read is None:
                measure(*held, cash)
                found[k] = _statistics(desk.accounts[0])
            else:
                found[k] = read(logs.equity)

    _on_threads(work, min(threads, n))
    return found


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
    """Write the statistics of an equity curve, which began with `cash`, into the account.

    Net, mean and deviation of returns, and the deepest drawdown: divided only where something moved, or fell deeper.
    """
    account, equity, n = desk.accounts[0], values_of(logs.equity), logs.equity.size
    peak, before, worst, total, squares = cash, cash, 0.0, 0.0, 0.0
    for t in range(n):
        now = equity[t]
        if now == before:
            continue
        change = now / before - 1.0
        total += change
        squares += change * change
        peak, before = max(peak, now), now
        if now < peak * (1.0 - worst):
            worst = max(worst, peak - now if peak <= 0.0 else 1.0 - now / peak)
    mean = total / n
    account.net, account.mean_return, account.worst_drawdown = equity[n - 1] / cash - 1.0, mean, worst
    account.deviation = np.sqrt(max(0.0, squares / n - mean * mean))
    return n


def writable(tape: Tape) -> tuple[Tape, NDArray[np.int8]]:
    """The same tape with signals to write, and a clock of its own that `listen` sets by them."""
    signals = np.zeros(tape.closes.shape, np.int8)
    clock, touched = tape.clock.copy(), np.zeros(tape.ts.size + 1, np.int64)
    return tape._replace(signals=read_only(signals), clock=read_only(clock), touched=read_only(touched)), signals


@entry("tape")
def listen(tape: Tape) -> int:
    """Set the clock by the signals, and list the bars in which anything stands; eight are seen at once to have nothing."""
    n, width, clock, touched, signals = (
        0,
        tape.closes.shape[1],
        values_of(tape.clock),
        values_of(tape.touched),
        values_of(tape.signals),
    )
    clock_words, signal_words, words = words_of(tape.clock), words_of(tape.signals), tape.ts.size // 8
    for word in range(words + 1):
        stands = 1
        if word < words:
            stands = clock_words[word]
            for k in range(word * width, word * width + width):
                stands |= signal_words[k]
        if stands:
            for t in range(8 * word, min(8 * word + 8, tape.ts.size)):
                says = 0
                for cell in range(t * width, t * width + width):
                    says |= signals[cell]
                clock[t] = clock[t] & ALL_BUT_SIGNALS | (SIGNALS_HERE if says & SAYS else 0)
                if clock[t]:
                    touched[n] = t << 8 | int(clock[t])
                    n += 1
    touched[n] = 1 << 62
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
        self._signals = np.zeros(tape.closes.shape, np.int8)
        if tape.signals.size:
            self._signals[:] = tape.signals
        self.tape = with_signals(tape, self._signals)
        self._clock = self.tape.clock.copy()
        clock = self._clock.view()
        clock.flags.writeable = False
        self.tape = self.tape._replace(clock=clock)
        self.desk, self.logs = desk, logs
        self._held = pinned(self.tape, desk, logs)
        told = self._held if INTERPRETED else [one.address for one in self._held]
        self.step: Callable[[int], int] = partial(step_once if INTERPRETED else step_once.at, *told)
        """Bar `t`. No function of Python stands between: it took a fifth of the time."""

    def say(self, t: int, instrument: int, signal: int) -> None:
        """What was decided on the close of bar `t`, as the bits of `words`."""
        self._signals[t, instrument] = signal
        self._clock[t] |= SIGNALS_HERE
