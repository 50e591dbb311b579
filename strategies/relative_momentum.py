"""A third of the equity in each of the shares that rose more over the last year than most of the others did."""

from engine.causal import Bars, rank, where
from engine.indicators import roc
from engine.strategy import Signals, Strategy


class RelativeMomentum(Strategy):
    lookback: int = 252
    skip: int = 21
    share: float = 0.33

    def signals(self, bars: Bars) -> Signals:
        risen = roc(bars.close, self.lookback).lag(self.skip)  # the last month tends to be given back
        return Signals(weight=where((rank(risen) > 0.5) & (risen > 0), self.share, 0))
