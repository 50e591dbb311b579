"""Where the money went: the change in equity, split into the parts that every trade keeps of itself.

    change = edge - fees - spread - slippage - impact - borrow + funding + dividends

1. Parts are added up over closed trades and what is still open.
2. What they leave of the change in equity is unexplained. It may be what adding up floats loses, no more: 1e-9 of the
   cash or of the turnover, whichever is larger, because every flow of cash is a term of the sum.
3. The same is asked of each trade: its PnL is the sum of its own parts.

A record that was lost, doubled or written wrongly leaves something unexplained.
"""

from collections.abc import Mapping
from typing import Final, NamedTuple

import polars as pl

SIGNS: Final[Mapping[str, int]] = {
    "edge": 1,
    "fees": -1,
    "spread": -1,
    "slippage": -1,
    "impact": -1,
    "borrow": -1,
    "funding": 1,
    "dividends": 1,
}
NOISE: Final = 1e-9


class Attribution(NamedTuple):
    parts: Mapping[str, float]  # as they add to equity: what was paid is negative
    change: float  # in equity
    unexplained: float
    worst_trade: str | None  # that whose PnL its own parts explain least, where that is beyond the noise
    scale: float  # the cash or the turnover, whichever is larger

    @property
    def holds(self) -> bool:
        return abs(self.unexplained) <= NOISE * self.scale and self.worst_trade is None


def attribution(
    trades: pl.DataFrame, positions: pl.DataFrame, fills: pl.DataFrame, *, cash: float, equity: float
) -> Attribution:
    """Split what became of `cash` by the end.

    Args:
        trades: `trade pnl` and the parts, of closed trades; costs as positive numbers that were paid.
        positions: the same of what is still open.
        fills: `quantity price`, for the turnover.
        cash: at the start.
        equity: at the end.
    """
    columns = ["trade", "pnl", *SIGNS]
    held = pl.concat([trades.select(columns), positions.select(columns)])
    parts = {name: sign * float(held[name].sum()) for name, sign in SIGNS.items()}
    turnover = float((fills["quantity"] * fills["price"]).sum())
    change, scale = equity - cash, max(cash, turnover)
    return Attribution(parts, change, change - sum(parts.values()), _worst(held, scale), scale)


def _worst(held: pl.DataFrame, scale: float) -> str | None:
    explained = pl.sum_horizontal(sign * pl.col(name) for name, sign in SIGNS.items())
    off = held.select("trade", off=(pl.col("pnl") - explained).abs()).filter(~(pl.col("off") <= NOISE * scale))
    return None if off.is_empty() else str(off.sort("off", descending=True)["trade"][0])
