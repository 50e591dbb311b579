"""Where the mark liquidates a position, and at what price that leaves it: named formulas of venues.

Side s = ±1, value = quantity × entry (inverse: quantity / entry, in coin), IM = value / leverage,
MM = value × maintenance_margin − maintenance_amount; quantity is contracts × contract_size.
"""

from typing import Any

import numpy as np

from engine.simulator.compiled import phase
from engine.simulator.prices import gain, value
from engine.simulator.words import (
    BINANCE,
    BYBIT_INVERSE,
    BYBIT_INVERSE_2026,
    BYBIT_LINEAR,
    INVERSE,
)

Record = Any


@phase
def liquidation_price(terms: Record, s: Record, wallet: float) -> float:
    """The mark at which the position is liquidated; NaN: never.

    `wallet` is read where margin is cross: the account's in the instrument's money, from which the costs of entering
    have been paid. They stand in the price paid as well, and are counted once.
    """
    if not terms.liquidates or s.quantity == 0.0:
        return np.nan
    sign, quantity = s.sign, s.quantity * terms.contract_size
    worth = value(terms, s.quantity, s.entry)
    margin, rate = worth / terms.leverage, terms.maintenance_margin
    maintenance = worth * rate - terms.maintenance_amount
    price = 0.0
    if terms.cross or terms.liquidation == BINANCE:
        held = margin + terms.extra_margin
        if terms.cross:
            held = wallet + gain(terms, sign, s.quantity, s.reference, s.entry)
        price = (held + terms.maintenance_amount - sign * quantity * s.entry) / (quantity * rate - sign * quantity)
    elif terms.liquidation == BYBIT_LINEAR:
        price = s.entry - sign * (margin - maintenance + terms.extra_margin) / quantity
    elif terms.liquidation == BYBIT_INVERSE:
        price = quantity / (worth + sign * (margin - maintenance))
    elif terms.liquidation == BYBIT_INVERSE_2026:
        price = quantity * (1.0 + sign * rate) / (worth + sign * worth / terms.leverage)
    else:
        price = (s.entry - sign * (margin + terms.extra_margin) / quantity) / (1.0 - sign * (rate + s.taker))
    return price if price > 0.0 else np.nan


@phase
def bankruptcy_price(terms: Record, s: Record, mark: float) -> float:
    """The price at which the position's own margin is gone; cross: the mark, the loss as it is."""
    if terms.cross:
        return mark
    margin = value(terms, s.quantity, s.entry) / terms.leverage + terms.extra_margin
    quantity = s.quantity * terms.contract_size
    if terms.kind == INVERSE:
        return float(quantity / (quantity / s.entry + s.sign * margin))
    return float(s.entry - s.sign * margin / quantity)


@phase
def maintenance(terms: Record, s: Record, mark: float, rate: float) -> float:
    """What the position must hold at `mark`, in the account's currency."""
    return float((value(terms, s.quantity, mark) * terms.maintenance_margin - terms.maintenance_amount) * rate)
