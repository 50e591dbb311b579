"""Long after a rise over the last `lookback` days, short after a fall (Moskowitz, Ooi and Pedersen, 2012)."""

from engine.causal import Bars
from engine.indicators import roc
from engine.strategy import Signals, Strategy


class TimeSeriesMomentum(Strategy):
    lookback: int = 252

    def signals(self, bars: Bars) -> Signals:
        past_return = roc(bars.on("1d").close, self.lookback)
        return Signals(enter=past_return > 0, enter_short=past_return < 0)
