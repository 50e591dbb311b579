"""A strategy with a gate: two setups that both hold often, and a bias that changes."""

from engine.causal import Bars
from engine.scorer import Components, Setup, direction, gate
from engine.strategy import Signals, Strategy


class Gated(Strategy):
    at_least: float = 0.5

    def signals(self, bars: Bars) -> Signals:
        rising = bars.close > bars.close.lag(1)
        long = Components(*(bars.close / bars.close.rolling_max(n) for n in (3, 5, 8, 13)), direction(bars.close, 5))
        setups = {
            "leap": Setup(rising & rising.lag(1), ~rising & ~rising.lag(1), self.at_least + 0.1),
            "step": Setup(rising, ~rising, self.at_least),
        }
        gated = gate(setups, long, long.mirrored(), bias=bars.close - bars.close.lag(9))
        return Signals(
            enter=gated.enter,
            exit=bars.close < bars.close.lag(5),
            enter_short=gated.enter_short,
            exit_short=bars.close > bars.close.lag(5),
            strength=gated.strength,
            setups=gated.setups,
            gated=gated,
        )
