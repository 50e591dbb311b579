"""vectorbt on the bars of `sys.argv[1]`: seconds and trades to standard output; runs in an environment of its own.

It acts on the bar it is told of; what is decided on a close is told one bar later, at that bar's open.
"""

import json
import sys
import time

import numpy as np
import pandas as pd
import vectorbt as vbt


def one(bars):
    opens, closes, enters, exits = (pd.Series(bars[name]) for name in ("opens", "closes", "enters", "exits"))
    enters, exits = enters.shift(1, fill_value=False), exits.shift(1, fill_value=False)
    return vbt.Portfolio.from_signals(
        closes,
        enters,
        exits,
        price=opens,
        size=1.0,
        fees=float(bars["fee"]),
        init_cash=float(bars["cash"]),
        freq="5min",
    )


def sweep(bars, n_at_once=50):
    """Net result of every pair of averages, so many pairs at a time."""
    closes, averages = pd.Series(bars["closes"]), bars["averages"]
    nets = []
    for first in range(0, len(bars["pairs"]), n_at_once):
        pairs = bars["pairs"][first : first + n_at_once]
        above = np.column_stack([averages[fast] > averages[slow] for fast, slow in pairs])
        changes = np.vstack([np.zeros((2, len(pairs)), bool), above[1:-1] != above[:-2]])  # one bar late
        changes[: int(bars["first"]) + 1] = False
        before = np.vstack([np.zeros((1, len(pairs)), bool), above[:-1]])
        folio = vbt.Portfolio.from_signals(
            *(closes, changes & before, changes & ~before),
            price=bars["opens"][:, None],
            size=1.0,
            fees=float(bars["fee"]),
            init_cash=float(bars["cash"]),
            freq="5min",
        )
        nets += [*folio.total_profit().to_numpy()]
        folio.max_drawdown()
    return nets


def main():
    bars = np.load(sys.argv[1])
    if sys.argv[2] == "sweep":
        sweep({**bars, "pairs": bars["pairs"][:2]})  # compiled
        begun = time.perf_counter()
        nets = sweep(bars)
        sys.stdout.write(json.dumps({"seconds": time.perf_counter() - begun, "nets": nets}))
        return
    seconds = []
    for _ in range(4):  # the first compiles
        begun = time.perf_counter()
        folio = one(bars)
        folio.value(), folio.trades.records
        seconds.append(time.perf_counter() - begun)
    trades = folio.trades.records
    closed = trades[trades["status"] == 1]
    kept = closed[["entry_idx", "exit_idx", "entry_price", "exit_price", "pnl"]].to_numpy().tolist()
    sys.stdout.write(json.dumps({"seconds": min(seconds[1:]), "trades": kept}))


main()
