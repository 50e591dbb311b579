"""Momentum: the breakout out of a range, and the trend that goes on after a pause."""

from engine.causal import Bars, Column, crossed_above, crossed_below, maximum, where
from engine.errors import OutOfBoundsError
from engine.indicators import atr, sma
from engine.signals.measures import efficiency
from engine.signals.signal_class import Scan, SignalClass, whole

_RANGE = 14
"""Bars of the average true range by which distances are measured."""


class Breakout(SignalClass):
    """Fires where the close leaves the range of the `length` bars before."""

    group = "momentum"
    length: int = whole(20, at_least=2)

    def scan(self, bars: Bars) -> Scan:
        ceiling, floor = self._range(bars)
        return Scan(long=crossed_above(bars.close, ceiling), short=crossed_below(bars.close, floor))

    def strength(self, bars: Bars) -> Column:
        """How far the close is outside: 1 at one average true range and beyond."""
        ceiling, floor = self._range(bars)
        outside = maximum(maximum(bars.close - ceiling, floor - bars.close), 0.0)
        return (outside / atr(bars, _RANGE)).clip(0.0, 1.0)

    def confidence(self, bars: Bars) -> Column:
        """How near the close is to the end of its bar that lies outside: 1 at it, 0.5 in a bar of one price."""
        ceiling, _ = self._range(bars)
        height = bars.high - bars.low
        up = where(height > 0, ((bars.close - bars.low) / height).clip(0.0, 1.0), 0.5)
        return where(bars.close > ceiling, up, 1.0 - up)

    def _range(self, bars: Bars) -> tuple[Column, Column]:
        return bars.high.lag(1).rolling_max(self.length), bars.low.lag(1).rolling_min(self.length)


class TrendContinuation(SignalClass):
    """Fires where the close comes back over its fast mean, while that is on the same side of the slow one."""

    group = "momentum"
    fast: int = whole(20, at_least=2)
    slow: int = whole(100, at_least=3)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.slow <= self.fast:
            raise OutOfBoundsError("slow", self.slow, allowed=f"more than {self.fast} (fast)")

    def scan(self, bars: Bars) -> Scan:
        fast, slow = sma(bars.close, self.fast), sma(bars.close, self.slow)
        return Scan(
            long=crossed_above(bars.close, fast) & (fast > slow), short=crossed_below(bars.close, fast) & (fast < slow)
        )

    def strength(self, bars: Bars) -> Column:
        """How far the means are apart: 1 at two average true ranges and beyond."""
        apart = (sma(bars.close, self.fast) - sma(bars.close, self.slow)).abs()
        return (apart / (2.0 * atr(bars, _RANGE))).clip(0.0, 1.0)

    def confidence(self, bars: Bars) -> Column:
        """How straight the way of the `slow` bars was."""
        return efficiency(bars.close, self.slow).abs()
