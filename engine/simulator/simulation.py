"""One run: bars and decisions in; orders, fills, trades and an equity curve out.

A decision is made on the close of a bar and acts at the next open of its instrument. The shift is made below this door
and nowhere else. Order of events: `step.py`; rules: the modules it names, and the contract.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from engine.errors import TooManyOrdersError, UnusableBarError
from engine.simulator.checks import check
from engine.simulator.drivers import Sleeve, run_sleeves
from engine.simulator.inputs import Decisions, Floats, Instrument, Market, Rules
from engine.simulator.packing import tape_of
from engine.simulator.schema import MAXIMUM_ORDERS
from engine.simulator.words import (
    BELOW_MIN_NOTIONAL,
    CANCELLED,
    EXIT,
    LIQUIDATED_ON_LAST,
    POSITION_CLOSED,
    REJECTED,
    WARNINGS,
)

Records = NDArray[Any]


class Simulation(NamedTuple):
    """What happened; the first four have one row per bar."""

    equity: Floats  # cash plus positions marked at the close
    cash: Floats
    gross_exposure: Floats  # marked positions, absolute, as a share of equity; inf where equity is not positive
    drawdown: Floats  # distance from the running peak of equity, the cash at the start included
    fills: Records  # FILL, by id
    trades: Records  # TRADE, by id; closed ones only
    orders: Records  # ORDER, by id
    positions: Records  # TRADE, what is still open at the end: `exit_price` is the mark, `pnl` and parts so far
    ambiguous_trades: int
    warnings: tuple[str, ...]

    @property
    def rejections(self) -> Records:
        """Orders refused, or withdrawn because their position was gone."""
        orders = self.orders
        gone = (orders["reason"] == POSITION_CLOSED) & (orders["role"] == EXIT)
        gone |= (orders["reason"] == BELOW_MIN_NOTIONAL) & (orders["filled"] == 0)
        return np.asarray(orders[(orders["status"] == REJECTED) | (orders["status"] == CANCELLED) & gone])


def simulate(
    market: Market,
    decisions: Decisions,
    instruments: Sequence[Instrument],
    rules: Rules,
) -> Simulation:
    """Trade `decisions` on `market`, all instruments out of one account, starting flat.

    NaN: a missing bar, or no stop distance; it never reaches the result.

    Raises:
        UnalignedError: shapes differ.
        UnusableBarError: times not ascending, a bar partly missing or impossible, an action or a decision without bar,
            no mark where funding is due.
        OutOfBoundsError, UnknownNameError: an instrument, a rule or a fee that cannot mean anything.
        TooManyOrdersError: more orders of one instrument resting at once than there is room for.
    """
    return simulate_each([Told(market, decisions, instruments, rules)])[0]


class Told(NamedTuple):
    """What one run is told."""

    market: Market
    decisions: Decisions
    instruments: Sequence[Instrument]
    rules: Rules


def simulate_each(told: Sequence[Told], *, threads: int = 2) -> list[Simulation]:
    """Runs that know nothing of each other, with the same cash each: the same answers on any number of threads.

    Raises:
        As `simulate`.
    """
    for one in told:
        check(*one)
    done = run_sleeves([tape_of(*one) for one in told], told[0].rules.cash, threads=threads)
    return [_simulation(*pair) for pair in zip(told, done, strict=True)]


def _simulation(told: Told, done: Sleeve) -> Simulation:
    account, logs = done
    if account["overflow"]:
        raise TooManyOrdersError(MAXIMUM_ORDERS)
    if account["missing_mark"]:
        raise UnusableBarError(
            int(account["missing_mark"]) - 1,
            seen="no mark for the funding of a position",
            allowed="a mark where funding is due",
            remedy="give `mark` or mark bars",
        )
    peak = np.maximum(np.maximum.accumulate(logs.equity), told.rules.cash) if len(logs.equity) else logs.equity
    with np.errstate(divide="ignore", invalid="ignore"):
        exposure = np.where(
            logs.gross == 0.0,
            0.0,
            np.where(logs.equity > 0.0, logs.gross / logs.equity, np.inf),
        )
    return Simulation(
        equity=logs.equity,
        cash=logs.cash,
        gross_exposure=exposure,
        drawdown=1.0 - logs.equity / peak,
        fills=logs.fills,
        trades=logs.trades[np.argsort(logs.trades["id"])],
        orders=logs.orders,
        positions=logs.positions,
        ambiguous_trades=int(account["n_ambiguous"]),
        warnings=_warnings(int(account["warnings"]), told.instruments, told.rules),
    )


def _warnings(bits: int, instruments: Sequence[Instrument], rules: Rules) -> tuple[str, ...]:
    if rules.liquidate_on_last and any(one.kind != "spot" and one.leverage > 1 for one in instruments):
        bits |= LIQUIDATED_ON_LAST
    return tuple(text for k, text in enumerate(WARNINGS) if bits >> k & 1)
