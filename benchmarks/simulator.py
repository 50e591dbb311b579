"""The simulator's kernel on random walks: each beside a bare loop over the same signals, both on series not touched before.

Seconds are of one series, the best of three for each, so that what else runs on the machine counts little.
"""

import os
import subprocess
import sys
import time
from collections.abc import Callable
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from benchmarks import floors
from benchmarks.run import Measured
from engine.costs import FeePeriod, FeeTier
from engine.simulator.drivers import Live, listen, run, run_sleeves, run_sweep, writable
from engine.simulator.inputs import (
    DEFAULT_LADDER,
    Decisions,
    Exits,
    Funding,
    Guards,
    Instrument,
    Market,
    Rules,
    Size,
    Slippage,
    Stop,
    Trail,
)
from engine.simulator.packing import desk_of, logs_of, reset, tape_of
from engine.simulator.tape import Logs, Tape

N_BARS, N_SERIES, BAR_US, ROOM = 420_768, 8, 300_000_000, (20_000, 8_000, 40_000)
DAY_VOLUME, SHORT, ROUNDS = 288e6, 140_256, 3
FAST, SLOW = list(range(10, 110, 5)), list(range(120, 620, 10))  # bars of the sweep's averages
FEES = (FeePeriod(0, (FeeTier(0, 2, 5),)),)
TYPICAL = Rules(
    *(1e6, Size("equity_share", 0.5), FEES),
    exits=Exits(stop=Stop(pct=0.02), targets=DEFAULT_LADDER, break_even_after=1),
    slippage=Slippage("bps", bps=1.0),
    guards=Guards(max_position=1.0, max_daily_loss=0.2, max_drawdown=0.9),
)
EVERYTHING = Rules(
    *(1e6, Size("risk_per_trade", 0.001, cap=2.0), FEES),
    exits=Exits(
        stop=Stop(atr=3.0, length=14), trail=Trail(atr=5.0, length=14), targets=DEFAULT_LADDER, break_even_after=1
    ),
    slippage=Slippage("square_root", y=0.5, days=20),
    participation=0.1,
    guards=Guards(
        max_position=3.0,
        max_gross_exposure=3.0,
        max_leverage=3.0,
        max_daily_loss=0.2,
        max_drawdown=0.9,
        kill_switch=0.95,
    ),
)


class Room(NamedTuple):
    """What a bare loop writes into; touched before it is timed, as the kernel's is."""

    equity: NDArray[np.float64]
    trades: NDArray[np.float64]


def one_symbol_typical() -> Measured:
    return _beside_floor([_tape(_series(seed), TYPICAL) for seed in range(N_SERIES)])


def one_symbol_everything() -> Measured:
    return _beside_floor([_tape(_series(seed), EVERYTHING, perpetual=True) for seed in range(N_SERIES)])


def sleeves_two_threads() -> Measured:
    """Accounts of their own on two threads, beside the bare loop on one; each gives a hundred equity curves and logs."""
    tapes = [_tape(_series(seed, SHORT), TYPICAL) for seed in range(100)]
    run_sleeves(tapes[:2], 1e6, money=False)

    def floor() -> list[tuple[int, Room]]:
        rooms = [Room(np.empty(SHORT), np.empty((2_000, 4))) for _ in tapes]
        return [(_floored(tape, room), room) for tape, room in zip(tapes, rooms, strict=True)]

    floor()
    seconds, floor_seconds = np.inf, np.inf
    for _ in range(ROUNDS):
        sleeves, taken = _timed(lambda: run_sleeves(tapes, 1e6, threads=2, money=False))
        floored, taken_by_floor = _timed(floor)
        seconds, floor_seconds = min(seconds, taken), min(floor_seconds, taken_by_floor)
        for sleeve, (n, room) in zip(sleeves, floored, strict=True):
            _same_strategy(len(sleeve.logs.trades), sleeve.logs.equity[-1], n, room.equity[-1])
    return Measured(seconds, floor_seconds, "100 accounts x 140,256 bars; the floor on one thread")


def shared_account() -> Measured:
    """A hundred instruments out of one account, bar after bar through all of them, beside a bare loop that shares cash."""
    rules = TYPICAL._replace(size=Size("equity_share", 0.01))
    tape = _tape(np.stack([_series(seed, SHORT) for seed in range(100)], axis=2), rules)
    needed = (300_000, 120_000, 700_000)
    desk, logs, room = desk_of(tape, 1e6), logs_of(SHORT, needed, money=False), _room(SHORT, needed[1])
    prices = (tape.opens, tape.highs, tape.lows, tape.closes, tape.signals)
    run(tape, desk, logs, 0, 0)
    _touch(logs)
    floors.shared(*prices, 0.01, *room)
    seconds, floor_seconds = np.inf, np.inf
    for _ in range(ROUNDS):
        reset(desk, tape, 1e6)
        seconds = min(seconds, _timed(lambda: run(tape, desk, logs, 0, SHORT))[1])
        n_floored, taken = _timed(lambda: floors.shared(*prices, 0.01, *room))
        floor_seconds = min(floor_seconds, taken)
        _same_strategy(int(desk.accounts[0]["n_trades"]), logs.equity[-1], n_floored, room.equity[-1])
    return Measured(
        seconds, floor_seconds, f"{n_floored} trades, {seconds / SHORT / 100 * 1e9:.1f} ns a bar and instrument"
    )


def one_symbol_from_closes() -> Measured:
    """From closes to equity: the averages, their crosses and the clock, then the run; both sides take the same averages."""
    logs, room = logs_of(N_BARS, ROOM, money=False), _room(N_BARS)
    _touch(logs)
    taken = [_from_closes(_tape(_series(seed), TYPICAL), logs, room) for seed in range(N_SERIES)]
    seconds, floor_seconds = (sum(column) / N_SERIES for column in zip(*taken, strict=True))
    return Measured(seconds, floor_seconds, "two averages, crosses, clock and run")


def _from_closes(tape: Tape, logs: Logs, room: Room) -> tuple[float, float]:
    own, signals = writable(tape)
    desk, lengths = desk_of(own, 1e6), np.array([50, 200])

    def crossed(signals: NDArray[np.int8]) -> None:
        fast, slow = floors.averages(tape.closes.reshape(-1), lengths)
        floors.crosses(fast, slow, signals.reshape(-1))

    def kernel() -> None:
        crossed(signals)
        listen(own)
        run(own, desk, logs, 0, N_BARS)

    def floor() -> int:
        heard = np.empty((N_BARS, 1), np.int8)
        crossed(heard)
        return int(floors.typical(tape.opens, tape.highs, tape.lows, tape.closes, heard, *room))

    listen(own)
    run(own, desk, logs, 0, 0)
    floor()
    best = [np.inf, np.inf]
    for _ in range(ROUNDS):
        reset(desk, own, 1e6)
        best[0] = min(best[0], _timed(kernel)[1])
        n, taken = _timed(floor)
        best[1] = min(best[1], taken)
    _same_strategy(int(desk.accounts[0]["n_trades"]), logs.equity[-1], n, room.equity[-1])
    return best[0], best[1]


def sweep_1000() -> Measured:
    """A thousand pairs of averages, crosses and statistics included, beside bare loops that know signals alone."""
    closes = _series(0, SHORT)[3]
    tape = _tape(_series(0, SHORT), TYPICAL)
    averages = floors.averages(closes, np.array(FAST + SLOW))
    pairs = [(a, len(FAST) + b) for a in range(len(FAST)) for b in range(len(SLOW))]

    def signals_of(k: int, signals: NDArray[np.int8]) -> None:
        floors.crosses(averages[pairs[k][0]], averages[pairs[k][1]], signals.reshape(-1))

    def floor() -> int:
        signals, trades = np.zeros((SHORT, 1), np.int8), 0
        for k in range(len(pairs)):
            signals_of(k, signals)
            trades += floors.lean(tape.opens, tape.closes, signals.reshape(-1))[1]
        return trades

    run_sweep(tape, 1e6, signals_of, 2)
    floor()
    seconds, floor_seconds = np.inf, np.inf
    for _ in range(ROUNDS):
        found, taken = _timed(lambda: run_sweep(tape, 1e6, signals_of, len(pairs), threads=2))
        n_floored, taken_by_floor = _timed(floor)
        seconds, floor_seconds = min(seconds, taken), min(floor_seconds, taken_by_floor)
    trades = sum(one.n_trades for one in found)
    assert abs(trades - n_floored) <= 0.05 * n_floored, f"{trades} trades, the bare loops {n_floored}"
    return Measured(seconds, floor_seconds, f"{len(pairs)} runs, {trades} trades, on two threads; the floor on one")


def step_from_python() -> Measured:
    tape = _tape(_series(0), TYPICAL)
    live = Live(tape, desk_of(tape, 1e6), logs_of(N_BARS, ROOM))
    live.step(0)
    begun = time.perf_counter()
    for t in range(1, N_BARS):
        live.step(t)
    seconds = time.perf_counter() - begun
    return Measured(seconds, note=f"{seconds / N_BARS * 1e6:.2f} µs a bar")


def compile_cold() -> Measured:
    with TemporaryDirectory() as folder:
        return Measured(_first_run(folder), note="all compiled code, in a process of its own with nothing kept")


def compile_cached() -> Measured:
    with TemporaryDirectory() as folder:
        _first_run(folder)
        return Measured(
            min(_first_run(folder) for _ in range(ROUNDS)), note="loading what is kept; imports not counted"
        )


_FIRST = """
import time
from engine.simulator.scenario import simulated
bars = {"X": [[100, 101, 99, 100, 1000]] * 3}
buy = {"bar": 0, "instrument": "X", "do": "buy", "quantity": 1}
scenario = {"timeframe": "1d", "account": {"cash": 10000}, "instruments": {"X": {}}, "bars": bars, "decisions": [buy]}
begun = time.perf_counter()
simulated(scenario)
first = time.perf_counter()
simulated(scenario)
print(first - begun - (time.perf_counter() - first))
"""


def _first_run(folder: str) -> float:
    """Seconds that the first run takes longer than the second."""
    done = subprocess.run(
        [sys.executable, "-c", _FIRST],
        env=os.environ | {"NUMBA_CACHE_DIR": folder},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return float(done.stdout)


def _timed(work: Callable[[], Any]) -> tuple[Any, float]:
    begun = time.perf_counter()
    found = work()
    return found, time.perf_counter() - begun


def _series(seed: int, n_bars: int = N_BARS) -> np.ndarray[Any, Any]:
    """Open, high, low, close, and where two averages cross up and down."""
    random = np.random.default_rng(seed)
    closes = np.round(100 * np.exp(np.cumsum(random.normal(0, 1e-3, n_bars))), 2)
    opens = np.append(closes[:1], closes[:-1])
    highs = np.maximum(opens, closes) * (1 + np.abs(random.normal(0, 3e-4, n_bars)))
    lows = np.minimum(opens, closes) * (1 - np.abs(random.normal(0, 3e-4, n_bars)))
    sums = np.cumsum(np.append(0.0, closes))
    fast, slow = ((sums[200:] - sums[200 - n : -n]) / n for n in (50, 200))
    above = np.append(np.zeros(200, bool), (fast > slow)[1:])
    crossed = np.append(False, above[1:] != above[:-1])
    return np.stack([opens, highs, lows, closes, crossed & above, crossed & ~above])


def _tape(series: np.ndarray[Any, Any], rules: Rules, *, perpetual: bool = False) -> Tape:
    """Of rows of one instrument, or of [row, bar, instrument]."""
    opens, highs, lows, closes, up, down = (np.ascontiguousarray(row.reshape(len(row), -1)) for row in series)
    ts, shape = np.arange(len(opens)) * BAR_US, opens.shape
    no = np.broadcast_to(np.False_, shape)
    market = Market(
        *(ts, ts + BAR_US, opens, highs, lows, closes), np.broadcast_to(1.0, shape), np.broadcast_to(0.0, shape)
    )
    instrument = Instrument("X", 0.01, 0.0001, 5.0, 1.0)
    if perpetual:
        marks = {f"mark_{name}": getattr(market, name).copy() for name in ("opens", "highs", "lows", "closes")}
        funding = [Funding(int(at), 0, 1e-4) for at in ts[::96]]
        market = market._replace(**marks, volumes=np.full(shape, 1e6), funding=funding)
        instrument = instrument._replace(kind="linear", leverage=3.0)
    up, down = up > 0, down > 0
    shorts = (down, up) if perpetual else (no, no)
    decisions = Decisions(up, down, *shorts, np.broadcast_to(np.nan, shape), no)
    return tape_of(market, decisions, [instrument] * shape[1], rules)


def _room(n_bars: int, n_trades: int = ROOM[1]) -> Room:
    return Room(np.zeros(n_bars), np.zeros((n_trades, 4)))


def _floored(tape: Tape, room: Room) -> int:
    """Trades of the bare loop."""
    prices = (tape.opens, tape.highs, tape.lows, tape.closes, tape.signals)
    if tape.columns.size:
        return int(floors.everything(*prices, tape.columns, DAY_VOLUME, *room))
    return int(floors.typical(*prices, *room))


def _seconds(work: Callable[[], object]) -> float:
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def _touch(logs: Logs) -> None:
    for log in logs:
        log[:] = np.zeros(1, log.dtype)


def _beside_floor(tapes: list[Tape]) -> Measured:
    kernel, floor = [np.inf] * len(tapes), [np.inf] * len(tapes)
    room, logs = _room(N_BARS), logs_of(N_BARS, ROOM, money=False)
    desks = [desk_of(tape, 1e6) for tape in tapes]
    _touch(logs)
    run(tapes[0], desks[0], logs, 0, 0)
    for _ in range(3):
        for k, tape in enumerate(tapes):
            reset(desks[k], tape, 1e6)
            kernel[k] = min(kernel[k], _seconds(lambda tape=tape, desk=desks[k]: run(tape, desk, logs, 0, N_BARS)))  # type: ignore[misc]
            floor[k] = min(floor[k], _seconds(lambda tape=tape: _floored(tape, room)))  # type: ignore[misc]
            _same_strategy(
                int(desks[k].accounts[0]["n_trades"]), logs.equity[-1], _floored(tape, room), room.equity[-1]
            )
    n = len(tapes)
    return Measured(
        sum(kernel) / n, sum(floor) / n, f"{sum(kernel) / n / N_BARS * 1e9:.1f} ns a bar; equity and fills logged"
    )


def _same_strategy(n_trades: int, equity: float, n_floored: int, floored: float) -> None:
    """The kernel knows lots, ticks and paths, and yet it must have traded what the bare loop trades."""
    told = f"{n_trades} trades to {equity:.0f}, the bare loop {n_floored} to {floored:.0f}"
    assert abs(n_trades - n_floored) <= 0.02 * n_floored, told
    assert abs(equity - floored) <= 0.05 * floored, told
