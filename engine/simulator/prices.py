"""Rounding to tick and lot, and what quantities at prices are worth by kind of contract."""

from typing import Any

import numpy as np

from engine.simulator.compiled import rule
from engine.simulator.words import INVERSE

Record = Any  # one element of a record array, seen by compiled code


@rule
def floor_to(value: float, step: float) -> float:
    """Down to a multiple of `step`; 1e-9 of a step forgives binary fractions: 0.3 is three lots of 0.1."""
    units = value / step
    return float(np.floor(units + 1e-9 + 1e-12 * abs(units)) * step)


@rule
def limit_price(side: int, price: float, tick: float) -> float:
    """Buy limits down, sell limits up."""
    return side * floor_to(side * price, tick)


@rule
def stop_price(side: int, price: float, tick: float) -> float:
    """Buy stops up, sell stops down."""
    return -side * floor_to(-side * price, tick)


@rule
def value(terms: Record, quantity: float, price: float) -> float:
    """Of so many contracts, in the instrument's money: coin for an inverse one."""
    units = quantity * terms.contract_size
    return float(units / price if terms.kind == INVERSE else units * price)


@rule
def gain(terms: Record, sign: int, quantity: float, start: float, end: float) -> float:
    """What a position of `sign` makes between two prices, in the instrument's money."""
    if terms.kind == INVERSE:
        return float(sign * quantity * terms.contract_size * (1.0 / start - 1.0 / end))
    return float(sign * quantity * terms.contract_size * (end - start))
