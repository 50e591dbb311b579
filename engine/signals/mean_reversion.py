"""Mean reversion: an extreme is faded when the price begins to come back from it."""

from engine.causal import Bars, Column, crossed_above, crossed_below
from engine.indicators import sma, stddev
from engine.signals.measures import efficiency, past
from engine.signals.signal_class import Scan, SignalClass, positive, whole


class MeanReversion(SignalClass):
    """Fires against a close that was `width` deviations from the mean of `length` bars, where it comes back inside."""

    length: int = whole(20, at_least=2)
    width: float = positive(2.0)

    def scan(self, bars: Bars) -> Scan:
        away = self._away(bars)
        return Scan(long=crossed_above(away, -self.width), short=crossed_below(away, self.width))

    def strength(self, bars: Bars) -> Column:
        """How far outside it was on the bar before: 0.5 at `width`, 1 at twice of it."""
        return past(self._away(bars).lag(1).abs(), self.width)

    def confidence(self, bars: Bars) -> Column:
        """How little of a trend there was: 1 where the way of the `length` bars led nowhere."""
        return 1.0 - efficiency(bars.close, self.length).abs()

    def _away(self, bars: Bars) -> Column:
        return (bars.close - sma(bars.close, self.length)) / stddev(bars.close, self.length)
