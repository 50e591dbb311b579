"""backtesting.py on the bars of `sys.argv[1]`: seconds and trades to standard output; runs in an environment of its own."""

import json
import sys
import time
import warnings

import numpy as np
import pandas as pd
from backtesting import Backtest, Strategy

warnings.filterwarnings("ignore")


class Crosses(Strategy):
    def init(self):
        pass

    def next(self):
        if self.data.Enters[-1] and not self.position:
            self.buy(size=1)
        elif self.data.Exits[-1] and self.position:
            self.position.close()


def main():
    bars = np.load(sys.argv[1])
    columns = {"Open": "opens", "High": "highs", "Low": "lows", "Close": "closes", "Enters": "enters", "Exits": "exits"}
    frame = pd.DataFrame({name: bars[column] for name, column in columns.items()})
    frame.index = pd.date_range("2020-01-01", periods=len(frame), freq="5min")
    begun = time.perf_counter()
    trades = Backtest(frame, Crosses, cash=float(bars["cash"]), commission=float(bars["fee"])).run()["_trades"]
    seconds = time.perf_counter() - begun
    kept = trades[["EntryBar", "ExitBar", "EntryPrice", "ExitPrice", "PnL"]].to_numpy().tolist()
    sys.stdout.write(json.dumps({"seconds": seconds, "trades": kept}))


main()
