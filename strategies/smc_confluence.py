"""Sweeps, order blocks and fair-value gaps, entered where structure, confluence, momentum, volume and regime agree."""

from engine.causal import Bars, where
from engine.indicators import atr, rsi, sma
from engine.scorer import Components, Setup, direction, gate
from engine.strategy import Signals, Strategy
from engine.structure.fibonacci import confluence, extensions, last_leg, retracements
from engine.structure.levels import breaks, sweeps
from engine.structure.swings import stop_distances, swings
from engine.structure.zones import fair_value_gaps, order_blocks


class SmcConfluence(Strategy):
    strength: int = 3  # bars on either side of a swing
    minimum: float = 0.6  # score of an order block; a sweep needs less, a gap more

    def signals(self, bars: Bars) -> Signals:
        near, far = swings(bars, self.strength), swings(bars, 4 * self.strength)
        longer = bars.on("4h")
        broken, swept, gaps = breaks(bars, near), sweeps(bars, near), fair_value_gaps(bars)
        blocks, leg, unit = order_blocks(bars, broken), last_leg(far), atr(bars, 14)
        halfway, *_ = retracements(leg, (0.5,))
        levels = [*retracements(last_leg(near)), *retracements(leg), *extensions(leg)]
        levels += [edge for zone in (*blocks, *gaps) for edge in (zone.top, zone.bottom)]
        long = Components(
            structure=where(broken.trend > 0, 0.5, 0) + where(bars.close < halfway, 0.5, 0),
            confluence=confluence(bars.close, levels, within=unit * 0.5),
            momentum=rsi(bars.close, 14) / 100,
            volume=bars.volume / sma(bars.volume, 20) / 2,
            regime=direction(bars.close, 48),
        )
        setups = {
            "sweep": Setup(swept.below, swept.above, self.minimum - 0.05),
            "order_block": Setup(blocks.bullish.held, blocks.bearish.held, self.minimum),
            "fair_value_gap": Setup(gaps.bullish.held, gaps.bearish.held, self.minimum + 0.05),
        }
        gated = gate(setups, long, long.mirrored(), bias=breaks(longer, swings(longer, self.strength)).trend)
        below, above = stop_distances(bars, near, unit=unit, least=1, most=4)
        return Signals(
            enter=gated.enter,
            exit=broken.change_down,
            enter_short=gated.enter_short,
            exit_short=broken.change_up,
            strength=gated.strength,
            bias=gated.bias,
            setups=gated.setups,
            stop=where(gated.bias > 0, below, above),
            gated=gated,
        )
