"""A price move with a volume spike: somebody with size is in a hurry, and is followed."""

from engine.causal import Bars, Column
from engine.signals.measures import past
from engine.signals.signal_class import Scan, SignalClass, positive, whole


class VolumeSpike(SignalClass):
    """Fires on the side of a move of at least `move` on at least `times` the mean volume of the `length` bars before."""

    needs_volume = True
    move: float = positive(0.01)
    times: float = positive(3.0)
    length: int = whole(20, at_least=2)

    def scan(self, bars: Bars) -> Scan:
        spikes = self._volume(bars) >= self.times
        move = _move(bars)
        return Scan(long=(move >= self.move) & spikes, short=(move <= -self.move) & spikes)

    def strength(self, bars: Bars) -> Column:
        """The size of the move: 0.5 at `move`, 1 at twice of it."""
        return past(_move(bars).abs(), self.move)

    def confidence(self, bars: Bars) -> Column:
        """The size of the volume: 0.5 at `times` the mean, 1 at twice of it."""
        return past(self._volume(bars), self.times)

    def _volume(self, bars: Bars) -> Column:
        return bars.volume / bars.volume.lag(1).rolling_mean(self.length)


def _move(bars: Bars) -> Column:
    return bars.close / bars.close.lag(1) - 1.0
