"""What is carried into a bar: borrow, splits, dividends, funding."""

from typing import Any

import numpy as np

from engine.simulator.compiled import phase, rule, unit
from engine.simulator.exits import resize
from engine.simulator.lookups import plan_of
from engine.simulator.orders import end, is_live
from engine.simulator.positions import execute, fold
from engine.simulator.prices import floor_to, value
from engine.simulator.words import BELOW_MIN_NOTIONAL, CANCELLED, EXIT, FREE, NONE, SPLIT_CASH, SPOT, TARGET

Record = Any
DAY_US = 86_400_000_000.0


@phase
def charge_borrow(terms: Record, s: Record, account: Record, cell: Record) -> None:
    """A spot short pays on the close before, for the time from that close to this one."""
    if s.sign < 0 and s.quantity > 0.0 and terms.kind == SPOT and terms.borrow_per_day > 0.0:
        fold(terms, s, cell.rate)
        days = (account.close_us - s.marked_at) / DAY_US
        due = value(terms, s.quantity, s.mark) * terms.borrow_per_day * days * cell.rate
        account.cash -= due
        s.borrow += due


@phase
def charge_funding(terms: Record, s: Record, account: Record, cell: Record, rate: float, mark: float) -> None:
    """Longs pay a positive rate on the mark, shorts receive it."""
    if s.quantity > 0.0:
        fold(terms, s, cell.rate)
        if np.isnan(mark):
            account.missing_mark = account.t + 1
        received = -s.sign * value(terms, s.quantity, mark) * rate * cell.rate
        account.cash += received
        s.funding += received


@phase
def pay_dividend(terms: Record, s: Record, account: Record, cell: Record, amount: float) -> None:
    if s.quantity > 0.0:
        fold(terms, s, cell.rate)
        paid = s.sign * s.quantity * terms.contract_size * amount * cell.rate
        account.cash += paid
        s.dividends += paid


@phase
def _split_orders(terms: Record, s: Record, account: Record, ratio: float) -> None:
    for k in range(s.n_orders):
        o = s.orders[k]
        if is_live(o):
            if o.role in (FREE, EXIT):  # protective orders are resized with what they protect
                o.quantity = o.filled + floor_to((o.quantity - o.filled) * ratio, terms.lot)
            o.price /= ratio
            o.trigger /= ratio
            o.stop_distance /= ratio
            o.trail_distance /= ratio
            o.scale *= ratio
            if terms.volume_column >= 0:
                o.mean_volume *= ratio
            if (o.role == FREE or (o.role == EXIT and not o.everything)) and o.quantity - o.filled <= 0.0:
                end(o, account, CANCELLED, BELOW_MIN_NOTIONAL)


@rule
def _split_levels(s: Record, ratio: float) -> None:
    s.entry /= ratio
    s.reference /= ratio
    s.stop_level /= ratio
    s.trail_level /= ratio
    s.runner_level /= ratio
    s.highest /= ratio
    s.r_from /= ratio
    s.unit_risk /= ratio
    s.scale *= ratio


@phase
def _split_legs(terms: Record, s: Record, last: int, ratio: float, whole: float) -> None:
    """What is left of each floors again; leg `last` takes the rest, or the first everything where nothing is left of it."""
    wanted, given = 0.0, 0.0
    for k in range(s.n_orders):
        o = s.orders[k]
        if o.role == TARGET and is_live(o):
            wanted += o.quantity - o.filled
            left = floor_to((o.quantity - o.filled) * ratio, terms.lot)
            if o.leg == last:
                left = max(0.0, np.rint((floor_to(wanted * ratio, terms.lot) - given) / terms.lot) * terms.lot)
            given += left
            if o.leg == 0 and left <= 0.0:
                left = whole
            s.leg[o.leg] = o.filled + left


@unit("rules terms state account box cell float", seldom=True)
def split(rules: Record, terms: Record, s: Record, account: Record, box: Record, cell: Record, ratio: float) -> int:
    """More units at lower prices; fractions of a lot are paid out at the open."""
    _split_orders(terms, s, account, ratio)
    if s.quantity == 0.0:
        return 0
    fold(terms, s, cell.rate)
    _split_levels(s, ratio)
    if terms.volume_column >= 0:
        s.mean_volume *= ratio
    held = s.quantity * ratio
    whole = floor_to(held, terms.lot)
    s.ladder_base = floor_to(s.ladder_base * ratio, terms.lot)
    ladder = plan_of(rules, s.ladder)
    _split_legs(terms, s, NONE if ladder.runner else ladder.n_targets - 1, ratio, whole)
    s.quantity, s.mark = held, s.mark / ratio
    if held - whole > terms.lot * (1e-9 + 1e-12 * held / terms.lot):
        left = held - whole
        execute(
            terms,
            s,
            account,
            box,
            cell.rate,
            0,
            -s.sign,
            left,
            cell.open,
            0.0,
            0.0,
            0.0,
            0.0,
            SPLIT_CASH,
            1,
        )
    if s.quantity > 0.0:
        resize(s, account)
    return 0
