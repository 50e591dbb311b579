"""Long when the close comes back above its lower Bollinger band while the days rise; out at the middle band."""

from engine.causal import Bars, crossed_above
from engine.indicators import bollinger, sma
from engine.strategy import Signals, Strategy


class BollingerReversion(Strategy):
    length: int = 20
    width: float = 2.0

    def signals(self, bars: Bars) -> Signals:
        lower, middle, _ = bollinger(bars.close, self.length, self.width)
        days = bars.on("1d").close
        rising = days > sma(days, self.length)
        return Signals(enter=crossed_above(bars.close, lower) & rising, exit=bars.close >= middle)
