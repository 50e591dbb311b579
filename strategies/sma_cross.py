"""Long while the fast mean of the close is above the slow one: entered and left where they cross."""

from engine.causal import Bars, crossed_above, crossed_below
from engine.indicators import sma
from engine.strategy import Signals, Strategy


class SmaCross(Strategy):
    fast: int = 20
    slow: int = 100

    def signals(self, bars: Bars) -> Signals:
        fast, slow = sma(bars.close, self.fast), sma(bars.close, self.slow)
        return Signals(enter=crossed_above(fast, slow), exit=crossed_below(fast, slow))
