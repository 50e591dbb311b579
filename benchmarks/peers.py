"""Other backtesters on identical work, by identical rules of filling: the table of `README.md` under "Beside others".

    make bench-peers

Each peer runs in a virtual environment of its own, which is made in `.benchmarks/` the first time. One instrument of
random bars, long only, one unit at the next open where two averages cross, 5 bps a side, no stops: what all of them
can express alike. Trades must agree in bars, prices and PnL, or there is no table.
"""

import json
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numba import njit

from engine.costs import FeePeriod, FeeTier
from engine.simulator.drivers import run_sweep
from engine.simulator.inputs import Decisions, Instrument, Market, Rules, Size
from engine.simulator.packing import tape_of
from engine.simulator.simulation import simulate
from engine.simulator.words import ENTER_LONG, EXIT_LONG

HERE = Path(__file__).parent
PAGE = HERE / "README.md"
KEPT = HERE.parent / ".benchmarks"
PEERS = {"vectorbt": "vectorbt==1.2.0", "backtesting.py": "backtesting==0.6.6"}
HEADING = "| work | Gauntlet, s | vectorbt, s | backtesting.py, s |\n"
CASH, FEE, BAR_US = 1e6, 5e-4, 300_000_000
N_SWEPT, WINDOWS = 1_000, range(5, 330, 5)
RULES = Rules(CASH, Size("units", 1.0), (FeePeriod(0, (FeeTier(0, 5.0, 5.0),)),))
Bars = Mapping[str, Any]


def main() -> None:
    with TemporaryDirectory() as folder:
        one, swept = one_instrument(), swept_instrument()
        files = {name: Path(folder) / f"{name}.npz" for name in ("one", "sweep")}
        np.savez(files["one"], **one)
        np.savez(files["sweep"], **swept)
        peers = {name: peer_run(name, files["one"], "one") for name in PEERS}
        sweep = peer_run("vectorbt", files["sweep"], "sweep")
    seconds, trades = timed(lambda: our_trades(one))
    for name, answer in peers.items():
        check(f"trades of {name}", trades, np.array(answer["trades"]))
    swept_seconds, nets = timed(lambda: our_nets(swept))
    check("net results of vectorbt", nets, np.array(sweep["nets"]))
    lines = [
        ("1 instrument, 420,768 bars, with the trades", seconds, *(peers[name]["seconds"] for name in PEERS)),
        ("1,000 parameter sets, 140,256 bars, with the net results", swept_seconds, sweep["seconds"], None),
    ]
    PAGE.write_text(with_table(PAGE.read_text(), lines))
    sys.stdout.write(f"{len(trades)} trades and {len(nets)} net results agree\n")


def walk(seed: int, n: int) -> dict[str, Any]:
    """Bars of a random walk."""
    random = np.random.default_rng(seed)
    closes = np.round(100 * np.exp(np.cumsum(random.normal(0, 1e-3, n))), 2)
    opens = np.append(closes[:1], closes[:-1])
    highs = np.maximum(opens, closes) * (1 + np.abs(random.normal(0, 3e-4, n)))
    lows = np.minimum(opens, closes) * (1 - np.abs(random.normal(0, 3e-4, n)))
    return {"opens": opens, "highs": highs, "lows": lows, "closes": closes, "fee": FEE, "cash": CASH}


def averages_of(closes: np.ndarray[Any, Any], windows: Sequence[int]) -> np.ndarray[Any, Any]:
    sums, found = np.cumsum(np.append(0.0, closes)), np.full((len(windows), len(closes)), np.nan)
    for row, n in enumerate(windows):
        found[row, n - 1 :] = (sums[n:] - sums[:-n]) / n
    return found


def one_instrument() -> dict[str, Any]:
    """With where an average of 50 bars crosses one of 200."""
    bars = walk(0, 420_768)
    signals = np.zeros((420_768, 1), np.int8)
    crosses(*averages_of(bars["closes"], (50, 200)), 200, signals)
    return bars | {"enters": signals[:, 0] == ENTER_LONG, "exits": signals[:, 0] == EXIT_LONG}


def swept_instrument() -> dict[str, Any]:
    """With averages of all windows, and pairs of their rows."""
    bars = walk(1, 140_256)
    pairs = [(fast, slow) for slow in range(len(WINDOWS)) for fast in range(slow)][:N_SWEPT]
    return bars | {"averages": averages_of(bars["closes"], WINDOWS), "pairs": np.array(pairs), "first": WINDOWS[-1]}


def told(bars: Bars) -> tuple[Market, Decisions, list[Instrument], Rules]:
    shape = (len(bars["opens"]), 1)
    columns = [np.ascontiguousarray(bars[name].reshape(shape)) for name in ("opens", "highs", "lows", "closes")]
    ts, no = np.arange(shape[0]) * BAR_US, np.zeros(shape, bool)
    market = Market(ts, ts + BAR_US, *columns, splits=np.ones(shape), dividends=np.zeros(shape))
    enters, exits = (bars[name].reshape(shape) if name in bars else no for name in ("enters", "exits"))
    decided = Decisions(enters, exits, no, no, np.full(shape, np.nan), no)
    return market, decided, [Instrument("X", tick=0.01, lot=1.0, min_notional=0.0, half_spread_bps=0.0)], RULES


def our_trades(bars: Bars) -> np.ndarray[Any, Any]:
    done = simulate(*told(bars)).trades
    return np.column_stack([done[name] for name in ("entry_bar", "exit_bar", "entry_price", "exit_price", "pnl")])


def our_nets(bars: Bars) -> np.ndarray[Any, Any]:
    averages, pairs, first = bars["averages"], bars["pairs"], int(bars["first"])

    def signals_of(k: int, signals: np.ndarray[Any, Any]) -> None:
        fast, slow = pairs[k]
        crosses(averages[fast], averages[slow], first, signals)

    return np.array([one.net * CASH for one in run_sweep(tape_of(*told(bars)), CASH, signals_of, len(pairs))])


@njit(nogil=True)
def crosses(fast, slow, first, signals):  # type: ignore[no-untyped-def]
    """Long while the fast average stands above the slow one."""
    for t in range(first, fast.size):
        if (fast[t] > slow[t]) != (fast[t - 1] > slow[t - 1]):
            signals[t, 0] = ENTER_LONG if fast[t] > slow[t] else EXIT_LONG


def timed(work: Callable[[], np.ndarray[Any, Any]]) -> tuple[float, np.ndarray[Any, Any]]:
    """The best of three after a first, which compiles."""
    answer, seconds = work(), []
    for _ in range(3):
        begun = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - begun)
    return min(seconds), answer


def check(what: str, ours: np.ndarray[Any, Any], theirs: np.ndarray[Any, Any]) -> None:
    if ours.shape != theirs.shape or not np.allclose(ours, theirs, rtol=0, atol=1e-6):
        first = next((k for k, pair in enumerate(zip(ours, theirs, strict=False)) if not np.allclose(*pair)), None)
        sys.exit(f"{what} differ: {len(ours)} of ours, {len(theirs)} of theirs, first at {first}; no table was written")


def peer_run(name: str, bars: Path, work: str) -> dict[str, Any]:
    module = f"with_{name.removesuffix('.py')}.py"
    done = subprocess.run(
        [python_of(name), HERE / "peer_runs" / module, bars, work], stdout=subprocess.PIPE, check=True
    )
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answer


def python_of(name: str) -> Path:
    """The interpreter of the peer's own environment, which is made where there is none."""
    home = KEPT / PEERS[name].replace("==", "-")
    python = home / "bin/python"
    if not (home / "made").exists():
        subprocess.run([sys.executable, "-m", "venv", "--clear", home], check=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", PEERS[name]], check=True)
        (home / "made").touch()
    return python


def with_table(page: str, lines: list[tuple[Any, ...]]) -> str:
    """The page with the table of peers, whose heading stays, filled anew."""
    above, heading, below = page.partition(HEADING)
    rest = below[below.index("\n\n") :] if "\n\n" in below else "\n"
    rows = ["| --- | --- | --- | --- |", *("| " + " | ".join(map(_cell, line)) + " |" for line in lines)]
    return above + heading + "\n".join(rows) + rest


def _cell(value: str | float | None) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else f"{value:.3f}"


if __name__ == "__main__":
    main()
