"""The bar simulator: bars and decisions in; fills, trades, rejections and an equity curve out.

A decision is made on the close of a bar and acts at the next open of its instrument. The shift is made here and nowhere
else. Within one bar of the union of all instruments' bars, in this order (shorts mirror longs):

1. What is carried in: borrow of spot shorts from the close before to this one; a split, with fractions of a lot paid
   out at the open; a dividend.
2. The open: stops the bar opened beyond, at the open; targets it opened beyond, at the open as maker; market exits;
   then, by order id, market entries, if cash suffices. Stop and targets of an entry are placed from the price paid and
   judged at once, so an entry that opens beyond its own stop enters and leaves at the same open. (Targets lie in
   multiples of R beyond the price paid, so an entry cannot open beyond one.)
3. Inside the bar, where the range reaches a stop or a target, two paths: open, high, low, close and open, low, high,
   close. Each is walked in full. Where they give different fills the policy picks the path that leaves less
   (`adverse`) or more (`favourable`) PnL at the close, and fills that the other path lacks are marked ambiguous.
4. The last close of each instrument, when the run is asked to leave nothing open.
5. Marking to the close, or to the last close where the bar is missing; a missing bar fills nothing and orders wait.
6. Decisions, on the equity and the close just marked: direction, embargo, stop distance, size, one or two orders.

What signals mean: an entry when flat opens, when already held changes nothing, against a position closes it and opens
the other side at the same open (two orders, two trades). An exit acts on its own side only. Entry and exit of one side
on one bar cancel the entry; entries of both sides are rejected as `conflicting_signal` and change nothing.

Written for speed by layout: the rules see records and scalars, fills leave them through a small outbox in the account,
and only the drivers hold arrays. Every compiled function stands in this one file, because numba's cache looks at the
file of the cached function alone. `fastmath` would break it: infinite stops are the design.
"""

# ruff: noqa: PLR0917 (numba takes no keyword-only arguments)

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any, Final, Literal, NamedTuple, TypeVar, get_args

import numpy as np
from numba import njit
from numpy.typing import NDArray

from engine.costs import BPS, VOLUME_WINDOW_US, FeePeriod, schedule
from engine.errors import OutOfBoundsError, UnalignedError, UnknownNameError, UnusableBarError

Floats = NDArray[np.float64]
Records = NDArray[Any]
Record = Any  # one element of `Records`, seen by compiled code

SizeModel = Literal["units", "notional", "equity_share", "risk_per_trade"]
Path = Literal["adverse", "favourable"]
LimitFill = Literal["trade_through", "touch"]

MAX_TARGETS: Final = 8
DAY_US: Final = 86_400_000_000.0

# Why a fill happened: `fills["why"]` and `trades["exit_reason"]` index this.
REASONS: Final = (
    *("entry", "stop", "break_even", "signal", "window_end", "split_cash"),
    *(f"target_{k}" for k in range(1, MAX_TARGETS + 1)),
)
_ENTRY, _STOP, _BREAK_EVEN, _SIGNAL, _WINDOW_END, _SPLIT_CASH, _TARGET_1 = range(7)

# Why an order was refused or withdrawn: `rejections["reason"]` indexes this.
REJECTIONS: Final = (
    *("below_min_notional", "insufficient_cash", "not_shortable", "invalid_stop"),
    *("position_closed", "embargoed_data", "conflicting_signal"),
)
_BELOW_MIN_NOTIONAL, _INSUFFICIENT_CASH, _NOT_SHORTABLE, _INVALID_STOP, _POSITION_CLOSED, _EMBARGOED, _CONFLICT = range(
    7
)
_ACCEPTED = -1
_NO_ORDER = 0  # ids count from 1
_UNITS, _NOTIONAL, _EQUITY_SHARE, _RISK_PER_TRADE = range(4)

FILL: Final = np.dtype(
    [
        ("id", np.int64),
        ("order", np.int64),  # 0: no order, a corporate action
        ("trade", np.int64),
        ("bar", np.int64),
        ("instrument", np.int64),
        ("side", np.int64),  # 1 bought, -1 sold
        ("quantity", np.float64),
        ("price", np.float64),  # paid, half-spread included
        ("reference", np.float64),  # the open, stop or limit the price came from
        ("fee", np.float64),
        ("spread", np.float64),  # cash lost to the half-spread
        ("why", np.int64),  # index into REASONS
        ("maker", np.bool_),
        ("ambiguous", np.bool_),
    ]
)
TRADE: Final = np.dtype(
    [
        ("id", np.int64),  # in order of entry
        ("instrument", np.int64),
        ("side", np.int64),  # 1 long, -1 short
        ("entry_bar", np.int64),
        ("exit_bar", np.int64),
        ("quantity", np.float64),  # as entered; a split later on leaves it
        ("entry_price", np.float64),
        ("exit_price", np.float64),  # mean of the exit fills
        ("pnl", np.float64),  # edge - fees - spread - borrow + dividends
        ("edge", np.float64),  # at reference prices
        ("fees", np.float64),
        ("spread", np.float64),
        ("borrow", np.float64),
        ("dividends", np.float64),  # negative: paid by a short
        ("r", np.float64),  # pnl over the first risk; NaN without a stop, or where the entry was beyond it
        ("exit_reason", np.int64),  # index into REASONS, of the last fill
        ("ambiguous", np.bool_),
    ]
)
REJECTION: Final = np.dtype(
    [
        ("order", np.int64),
        ("bar", np.int64),
        ("instrument", np.int64),
        ("side", np.int64),  # 1 buy, -1 sell, 0 where both were asked for
        ("quantity", np.float64),  # NaN where it had not been sized
        ("reason", np.int64),  # index into REJECTIONS
    ]
)

# One instrument in one bar: a cache line, so the step reads bar and decision at once.
_CELL = np.dtype(
    [
        *((name, np.float64) for name in ("open", "high", "low", "close", "split", "dividend", "stop_distance")),
        *((name, np.bool_) for name in ("enter_long", "exit_long", "enter_short", "exit_short", "embargoed")),
    ],
    align=True,
)
_TERMS = np.dtype(  # what holds for one instrument throughout the run
    [
        *((name, np.float64) for name in ("tick", "lot", "min_notional", "half_spread", "borrow_per_day")),
        *((name, np.bool_) for name in ("shortable", "stop", "break_even", "touch", "favourable", "runner")),
        ("last_bar", np.int64),  # where the window ends for it; -1: it does not
        ("size_model", np.int64),
        *((name, np.float64) for name in ("amount", "cap")),
        ("n_targets", np.int64),
        *((name, np.float64, (MAX_TARGETS,)) for name in ("target_r", "target_share")),
    ],
    align=True,
)
_ACCOUNT = np.dtype(
    [
        *((name, np.float64) for name in ("cash", "locked", "equity", "traded", "volume")),
        *((name, np.int64) for name in ("tail", "n_orders", "n_waiting", "n_fills", "n_entries", "n_trades")),
        *((name, np.int64) for name in ("n_rejections", "n_ambiguous")),
        # the outbox: fills of one instrument not yet in the log
        ("n_out", np.int64),
        *((name, np.int64, (MAX_TARGETS + 2,)) for name in ("order", "side", "why", "maker", "ambiguous")),
        *((name, np.float64, (MAX_TARGETS + 2,)) for name in ("quantity", "price", "reference", "fee", "spread")),
    ]
)
_STATE = np.dtype(
    [
        ("mark", np.float64),  # the last close
        ("marked_at", np.int64),
        # the position: flat when quantity is 0
        *((name, np.int64) for name in ("sign", "next", "n_targets", "all_at", "stop_order", "stop_why", "trade")),
        *((name, np.float64) for name in ("quantity", "entry", "stop", "locked", "maker", "taker")),
        *((name, np.float64, (MAX_TARGETS,)) for name in ("target", "leg")),
        ("target_order", np.int64, (MAX_TARGETS,)),
        # its trade so far
        *((name, np.float64) for name in ("edge", "fees", "spread", "borrow", "dividends", "risk")),
        *((name, np.float64) for name in ("entered", "entry_price", "left", "received")),
        *((name, np.int64) for name in ("entry_bar", "ambiguous")),
        # market orders for its next open: none when the id is 0
        *((name, np.int64) for name in ("exit_order", "entry_order", "entry_sign")),
        *((name, np.float64) for name in ("exit_taker", "entry_quantity", "entry_distance")),
        *((name, np.float64) for name in ("entry_maker", "entry_taker")),
    ]
)


class Instrument(NamedTuple):
    id: str
    tick: float
    lot: float
    min_notional: float
    half_spread_bps: float
    shortable: bool = True


class Market(NamedTuple):
    """Raw bars of all instruments on the union of their times."""

    ts: NDArray[np.int64]  # [n_bars] open, µs since the epoch, UTC
    known_at: NDArray[np.int64]  # [n_bars] close; no later than the next open
    opens: Floats  # [n_bars, n_instruments], as all below; all four NaN where the instrument has no bar
    highs: Floats
    lows: Floats
    closes: Floats
    splits: Floats  # 1.0, or new units per old one, on the first bar at or after the ex-date
    dividends: Floats  # cash per unit held after the bar's split, else 0.0


class Decisions(NamedTuple):
    """What was decided on each bar's close, [n_bars, n_instruments]."""

    enter_long: NDArray[np.bool_]
    exit_long: NDArray[np.bool_]
    enter_short: NDArray[np.bool_]
    exit_short: NDArray[np.bool_]
    stop_distances: Floats  # in raw price, above 0; NaN where there is none
    embargoed: NDArray[np.bool_]  # a wanted change is rejected; stops and targets go on


class Size(NamedTuple):
    model: SizeModel
    amount: float  # units, notional, share of equity, or share of equity at risk
    cap: float = 1.0  # risk_per_trade: largest share of equity


class Target(NamedTuple):
    r: float  # distance from the price paid, in multiples of that to the first stop
    share: float  # of the entered quantity


class Rules(NamedTuple):
    cash: float
    size: Size
    fees: tuple[FeePeriod, ...]
    borrow_bps_per_day: float = 0.0
    stop: bool = False
    targets: tuple[Target, ...] = ()
    break_even_after_first: bool = False
    limit_fill: LimitFill = "trade_through"
    path: Path = "adverse"
    close_at_end: bool = False


class _Logs(NamedTuple):
    fills: Records
    trades: Records
    rejections: Records


class Simulation(NamedTuple):
    """What happened; the first three have one row per bar."""

    equity: Floats  # cash plus positions marked at the close
    cash: Floats
    gross_exposure: Floats  # marked positions, absolute, as a share of equity; inf where equity is not positive
    fills: Records  # FILL, by id
    trades: Records  # TRADE, by id; closed ones only, an open position is in the equity alone
    rejections: Records  # REJECTION, as they happened
    ambiguous_trades: int


def simulate(market: Market, decisions: Decisions, instruments: Sequence[Instrument], rules: Rules) -> Simulation:
    """Trade `decisions` on `market`, all instruments out of one cash account, starting flat.

    Costs: fees by `rules.fees` on the price paid, half-spread on what takes, borrow on shorts. Cash is checked when an
    entry fills: quantity times price paid, plus fee, must be within cash less what is locked, where a short locks its proceeds and as much
    again until it is closed. NaN: a missing bar, or no stop distance; it never reaches the result. Order of events and
    rules: the module's docstring and the contract `simulation.md`.

    Raises:
        UnalignedError: shapes differ.
        UnusableBarError: times not ascending, a bar partly missing or impossible, an action or a decision without bar.
        OutOfBoundsError, UnknownNameError: an instrument, a rule or a fee that cannot mean anything.
    """
    tiers = schedule(rules.fees)
    _check_instruments(instruments)
    _check_rules(rules)
    _check_shapes(market, decisions, len(instruments))
    ts, known_at = (np.ascontiguousarray(times, dtype=np.int64) for times in (market.ts, market.known_at))
    _check_times(ts, known_at, first_fee_us=rules.fees[0].start_us)
    cells = _cells(market, decisions)
    _check_cells(cells)
    terms = _terms(instruments, rules, cells)
    needed: tuple[int, ...] = (4096, 2048, 1024)
    logs = None
    while logs is None or any(log.size < count for log, count in zip(logs, needed, strict=True)):
        # Rows are counted past the end of a log: the same inputs again, with room for all of them, fill it.
        logs = _Logs(*(np.zeros(count, dtype) for count, dtype in zip(needed, (FILL, TRADE, REJECTION), strict=True)))
        equity, cash, gross_exposure = (np.empty(len(ts)) for _ in range(3))
        accounts = np.zeros(3, _ACCOUNT)  # the account itself, then a draft of it for each path
        accounts["cash"] = rules.cash
        _run(ts, known_at, cells, terms, tiers, accounts, logs, equity, cash, gross_exposure)
        needed = tuple(int(accounts[name][0]) for name in ("n_fills", "n_trades", "n_rejections"))
    fills, trades, rejections = (log[:count].copy() for log, count in zip(logs, needed, strict=True))
    trades.sort(order="id")
    return Simulation(
        equity, cash, gross_exposure, fills, trades, rejections, ambiguous_trades=int(accounts["n_ambiguous"][0])
    )


def _cells(market: Market, decisions: Decisions) -> Records:
    cells = np.empty(market.opens.shape, _CELL)
    columns = (*market[2:], decisions.stop_distances, *decisions[:4], decisions.embargoed)
    for name, values in zip(_CELL.names or (), columns, strict=True):
        cells[name] = values
    return cells


def _terms(instruments: Sequence[Instrument], rules: Rules, cells: Records) -> Records:
    terms = np.zeros(len(instruments), _TERMS)
    for name in ("tick", "lot", "min_notional", "shortable"):
        terms[name] = [getattr(instrument, name) for instrument in instruments]
    terms["half_spread"] = [instrument.half_spread_bps * BPS for instrument in instruments]
    terms["borrow_per_day"] = rules.borrow_bps_per_day * BPS
    terms["size_model"] = get_args(SizeModel).index(rules.size.model)
    terms["amount"], terms["cap"] = rules.size.amount, rules.size.cap
    terms["stop"], terms["break_even"] = rules.stop, rules.break_even_after_first
    terms["touch"], terms["favourable"] = rules.limit_fill == "touch", rules.path == "favourable"
    terms["runner"] = sum(target.share for target in rules.targets) < 1 - 1e-9
    terms["n_targets"] = len(rules.targets)
    for k, target in enumerate(rules.targets):
        terms["target_r"][:, k], terms["target_share"][:, k] = target
    terms["last_bar"] = -1
    if rules.close_at_end and len(cells):
        present = ~np.isnan(cells["open"])
        last_bars = len(cells) - 1 - present[::-1].argmax(axis=0)
        terms["last_bar"] = np.where(present.any(axis=0), last_bars, -1)
    return terms


def _check_instruments(instruments: Sequence[Instrument]) -> None:
    for instrument in instruments:
        for name in ("tick", "lot"):
            _check_bounds(f"{instrument.id}.{name}", getattr(instrument, name), above=0.0)
        _check_bounds(f"{instrument.id}.min_notional", instrument.min_notional, least=0.0)
        _check_bounds(f"{instrument.id}.half_spread_bps", instrument.half_spread_bps, least=0.0, below=1 / BPS)


def _check_rules(rules: Rules) -> None:
    for what, name, known in (
        ("size model", rules.size.model, SizeModel),
        ("path", rules.path, Path),
        ("limit fill", rules.limit_fill, LimitFill),
    ):
        if name not in get_args(known):
            raise UnknownNameError(what, name, known=get_args(known))
    _check_bounds("cash", rules.cash, above=0.0)
    _check_bounds("size.amount", rules.size.amount, above=0.0)
    _check_bounds("size.cap", rules.size.cap, above=0.0)
    _check_bounds("borrow_bps_per_day", rules.borrow_bps_per_day, least=0.0)
    if not rules.stop and (rules.targets or rules.size.model == "risk_per_trade"):
        raise OutOfBoundsError("stop", rules.stop, allowed="True", remedy="targets and risk_per_trade need a stop")
    _check_targets(rules)


def _check_targets(rules: Rules) -> None:
    if rules.break_even_after_first and not rules.targets:
        raise OutOfBoundsError("targets", rules.targets, allowed="at least one with break_even_after_first")
    if len(rules.targets) > MAX_TARGETS:
        raise OutOfBoundsError("targets", len(rules.targets), allowed=f"at most {MAX_TARGETS}")
    for target in rules.targets:
        _check_bounds("targets.r", target.r, above=0.0)
        _check_bounds("targets.share", target.share, above=0.0)
    if any(nearer.r >= farther.r for nearer, farther in pairwise(rules.targets)):
        raise OutOfBoundsError("targets.r", [target.r for target in rules.targets], allowed="ascending")
    if sum(target.share for target in rules.targets) > 1 + 1e-9:
        raise OutOfBoundsError("targets.share", [target.share for target in rules.targets], allowed="at most 1 in sum")


def _check_bounds(
    name: str, value: float, *, least: float = -np.inf, above: float = -np.inf, below: float = np.inf
) -> None:
    if not (least <= value < below and value > above):
        limits = [f"above {above:g}"] * (above > -np.inf) + [f"at least {least:g}"] * (least > -np.inf)
        allowed = " and ".join([*limits, "finite" if below == np.inf else f"below {below:g}"])
        raise OutOfBoundsError(name, value, allowed=allowed)


def _check_shapes(market: Market, decisions: Decisions, n_instruments: int) -> None:
    grid = (len(market.ts), n_instruments)
    grids = {**market._asdict(), **decisions._asdict()}
    times = {name: grids.pop(name) for name in ("ts", "known_at")}
    if any(array.shape != grid[:1] for array in times.values()) or any(array.shape != grid for array in grids.values()):
        shapes = {name: array.shape for name, array in (times | grids).items()}
        raise UnalignedError(instruments=(n_instruments,), **shapes)


def _check_times(ts: NDArray[np.int64], known_at: NDArray[np.int64], *, first_fee_us: int) -> None:
    for wrong, seen, allowed in (
        (known_at <= ts, "known at or before its open", "a bar is known at its close"),
        (np.append(ts[1:] < known_at[:-1], False), "known after the next bar opens", "the next open may act on it"),
        (np.append(ts[1:] <= ts[:-1], False), "does not come before the next one", "times ascend"),
        (known_at < first_fee_us, "earlier than the fee schedule", "every order has a fee"),
    ):
        if wrong.any():
            raise UnusableBarError(
                int(wrong.argmax()), seen=seen, allowed=allowed, remedy="mend ts, known_at or the schedule"
            )


def _check_cells(cells: Records) -> None:
    opens, highs, lows, closes = (cells[name] for name in ("open", "high", "low", "close"))
    prices = np.stack([opens, highs, lows, closes])
    absent = np.isnan(prices).all(axis=0)
    possible = (prices > 0).all(axis=0) & (prices < np.inf).all(axis=0) & (lows <= np.minimum(opens, closes))
    possible &= highs >= np.maximum(opens, closes)
    splits, dividends = cells["split"], cells["dividend"]
    acted = (splits != 1) | (dividends != 0)
    decided = np.logical_or.reduce([cells[name] for name in ("enter_long", "exit_long", "enter_short", "exit_short")])
    for wrong, seen, allowed in (
        (~absent & ~possible, "impossible prices", "0 < low <= open, close <= high < inf, or all four NaN"),
        (~((splits > 0) & (splits < np.inf)), "impossible split", "new units per old one are above 0 and finite"),
        (~((dividends >= 0) & (dividends < np.inf)), "impossible dividend", "cash per unit is at least 0 and finite"),
        (absent & acted, "a split or dividend without a bar", "it belongs to the first bar at or after the ex-date"),
        (absent & decided, "a decision without a bar", "decisions are made on a bar's close"),
    ):
        if wrong.any():
            bar, instrument = (int(k) for k in np.argwhere(wrong)[0])
            cell = dict(zip(_CELL.names or (), cells[bar, instrument].item(), strict=True))
            raise UnusableBarError(
                bar, seen=f"{seen} of instrument {instrument} ({cell})", allowed=allowed, remedy="mend this row"
            )


# Neither kind of function counts references to arrays, which had tripled the time: they allocate nothing, and numba
# refuses to compile them if they did. The switch is numba's own and stands in no type stub.
_UNCOUNTED: Final[dict[str, Any]] = {"error_model": "numpy", "_nrt": False}
_Function = TypeVar("_Function", bound=Callable[..., Any])


def _rule(function: _Function) -> _Function:
    """Compile a function that is merged into its callers."""
    compiled: _Function = njit(forceinline=True, **_UNCOUNTED)(function)
    return compiled


def _phase(function: _Function) -> _Function:
    """Compile a function that is called: what only an event needs is compiled once."""
    compiled: _Function = njit(**_UNCOUNTED)(function)
    return compiled


@_rule
def _slack(units: float) -> float:
    """Half of what binary fractions may be off before a floor counts: 0.3 is three lots of 0.1."""
    return 1e-9 + 1e-12 * abs(units)


@_rule
def _floor_to(value: float, step: float) -> float:
    units = value / step
    return float(np.floor(units + _slack(units)) * step)


@_rule
def _stop_level(sign: float, price: float, tick: float) -> float:
    return sign * _floor_to(sign * price, tick)


@_rule
def _target_level(sign: float, price: float, tick: float) -> float:
    return -sign * _floor_to(-sign * price, tick)


@_phase
def _execute(
    account: Record,
    half_spread: float,
    side: int,
    quantity: float,
    reference: float,
    rate: float,
    why: int,
    order: int,
    maker: int,
) -> float:
    price = reference if maker else reference * (1.0 + side * half_spread)
    fee = quantity * price * rate
    account.cash -= side * quantity * price + fee
    if order != _NO_ORDER:  # a corporate action is no turnover
        account.traded += quantity * price
    k = account.n_out
    account.order[k], account.side[k], account.why[k], account.maker[k], account.ambiguous[k] = (
        order,
        side,
        why,
        maker,
        0,
    )
    account.quantity[k], account.price[k], account.reference[k], account.fee[k] = quantity, price, reference, fee
    account.spread[k] = quantity * abs(price - reference)
    account.n_out = k + 1
    return float(price)


@_rule
def _reduce(s: Record, account: Record, quantity: float, lot: float) -> None:
    left = np.rint((s.quantity - quantity) / lot) * lot
    released = s.locked * (1.0 - left / s.quantity)
    account.locked -= released
    s.locked -= released
    s.quantity = left


@_phase
def _take(s: Record, account: Record, terms: Record, price: float, rate: float, why: int, order: int) -> None:
    """Leave with everything, as taker."""
    _execute(account, terms.half_spread, -s.sign, s.quantity, price, rate, why, order, 0)
    _reduce(s, account, s.quantity, terms.lot)


# 1. What is carried in


@_rule
def _accrue_borrow(s: Record, account: Record, terms: Record, now: int) -> None:
    if s.sign < 0:
        borrow = s.quantity * s.mark * terms.borrow_per_day * ((now - s.marked_at) / DAY_US)
        account.cash -= borrow
        s.borrow += borrow


@_phase
def _split_position(s: Record, account: Record, terms: Record, cell: Record) -> None:
    held = s.quantity * cell.split
    whole = _floor_to(held, terms.lot)
    s.entry /= cell.split
    s.stop /= cell.split
    for k in range(s.n_targets):
        s.target[k] /= cell.split
        s.leg[k] = _floor_to(s.leg[k] * cell.split, terms.lot)
    if s.next == 0 and s.n_targets > 0 and s.leg[0] == 0.0:
        s.all_at = 0
    s.quantity = held
    if held - whole > terms.lot * _slack(held / terms.lot):
        _execute(account, 0.0, -s.sign, held - whole, cell.open, 0.0, _SPLIT_CASH, _NO_ORDER, 1)
        _reduce(s, account, held - whole, terms.lot)


@_rule
def _split_order(s: Record, terms: Record, cell: Record) -> None:
    s.entry_quantity = _floor_to(s.entry_quantity * cell.split, terms.lot)
    s.entry_distance /= cell.split


@_rule
def _pay_dividend(s: Record, account: Record, cell: Record) -> None:
    amount = s.sign * s.quantity * cell.dividend
    account.cash += amount
    s.dividends += amount


@_rule
def _carry_in(s: Record, account: Record, terms: Record, cell: Record, now: int) -> None:
    if s.quantity > 0.0:
        _accrue_borrow(s, account, terms, now)
        if cell.split != 1.0:
            _split_position(s, account, terms, cell)
        _pay_dividend(s, account, cell)
    if s.entry_order != _NO_ORDER and cell.split != 1.0:
        _split_order(s, terms, cell)


# 2. The open


@_rule
def _stop_out_at_open(s: Record, account: Record, terms: Record, price: float) -> None:
    if s.quantity > 0.0 and s.sign * price <= s.sign * s.stop:
        _take(s, account, terms, price, s.taker, s.stop_why, s.stop_order)


@_rule
def _reaches(s: Record, terms: Record, price: float) -> bool:
    """Has `price` passed the next target?"""
    if s.next >= s.n_targets:
        return False
    if terms.touch:
        return bool(s.sign * price >= s.sign * s.target[s.next])
    return bool(s.sign * price > s.sign * s.target[s.next])


@_phase
def _take_targets(s: Record, account: Record, terms: Record, price: float, better: float) -> None:
    """Fill every target that `price` has passed: at its own price, or at `better` where the bar opened beyond it."""
    while s.quantity > 0.0 and _reaches(s, terms, price):
        k = s.next
        quantity = s.quantity if k == s.all_at else s.leg[k]
        if quantity > 0.0:
            reference = s.target[k] if np.isnan(better) else better
            _execute(account, 0.0, -s.sign, quantity, reference, s.maker, _TARGET_1 + k, s.target_order[k], 1)
            _reduce(s, account, quantity, terms.lot)
            if k == 0 and terms.break_even:
                s.stop = _stop_level(s.sign, s.entry, terms.tick)
                s.stop_why = _BREAK_EVEN
        s.next = k + 1


@_phase
def _lay_targets(s: Record, account: Record, terms: Record, risk: float) -> None:
    s.next = 0
    s.n_targets = terms.n_targets
    s.all_at = -1 if terms.runner else terms.n_targets - 1
    for k in range(terms.n_targets):
        s.target[k] = _target_level(s.sign, s.entry + s.sign * terms.target_r[k] * risk, terms.tick)
        s.leg[k] = _floor_to(s.quantity * terms.target_share[k], terms.lot)
        if s.leg[k] > 0.0 or k == 0:
            account.n_orders += 1
            s.target_order[k] = account.n_orders
    if terms.n_targets > 0 and s.leg[0] == 0.0:
        s.all_at = 0


@_rule
def _protect(s: Record, account: Record, terms: Record, opened: float) -> None:
    """Place stop and targets from the price paid; `opened` tells whether the entry was beyond its stop already."""
    s.stop, s.stop_why, s.stop_order, s.n_targets, s.risk = -s.sign * np.inf, _STOP, _NO_ORDER, 0, np.nan
    if terms.stop:
        account.n_orders += 1
        s.stop_order = account.n_orders
        s.stop = _stop_level(s.sign, s.entry - s.sign * s.entry_distance, terms.tick)
        risk = s.sign * (s.entry - s.stop)
        if s.sign * opened > s.sign * s.stop:
            s.risk = s.quantity * risk
        _lay_targets(s, account, terms, risk)


@_rule
def _start_trade(s: Record, account: Record, t: int) -> None:
    account.n_entries += 1
    s.trade, s.entry_bar, s.entered, s.entry_price = account.n_entries, t, s.quantity, s.entry
    s.edge, s.fees, s.spread, s.borrow, s.dividends, s.left, s.received, s.ambiguous = (
        0.0,
        0.0,
        0.0,
        0.0,
        0.0,
        0.0,
        0.0,
        0,
    )


@_phase
def _enter(s: Record, account: Record, terms: Record, cell: Record, t: int) -> int:
    """Open the position of a waiting entry order at the open, or say why not."""
    quantity, sign = s.entry_quantity, s.entry_sign
    if quantity <= 0.0:  # a reverse split left less than a lot
        return _BELOW_MIN_NOTIONAL
    price = cell.open * (1.0 + sign * terms.half_spread)
    if quantity * price * (1.0 + s.entry_taker) * (1.0 - 1e-12) > account.cash - account.locked:
        return _INSUFFICIENT_CASH
    s.sign, s.quantity, s.maker, s.taker = sign, quantity, s.entry_maker, s.entry_taker
    s.entry = _execute(account, terms.half_spread, sign, quantity, cell.open, s.taker, _ENTRY, s.entry_order, 0)
    s.locked = 2.0 * quantity * price if sign < 0 else 0.0
    account.locked += s.locked
    _start_trade(s, account, t)
    _protect(s, account, terms, cell.open)
    _stop_out_at_open(s, account, terms, cell.open)
    return _ACCEPTED


# 3. Inside the bar


@_rule
def _is_reached(s: Record, terms: Record, cell: Record) -> bool:
    far, near = (cell.high, cell.low) if s.sign > 0 else (cell.low, cell.high)
    return bool(s.quantity > 0.0 and (s.sign * near <= s.sign * s.stop or _reaches(s, terms, far)))


@_rule
def _walk(s: Record, account: Record, terms: Record, first: float, second: float, close: float) -> None:
    """Pass the turning points of one path: between two of them the price runs straight, so each is judged whole."""
    for price in (first, second, close):
        if s.quantity > 0.0 and s.sign * price <= s.sign * s.stop:
            _take(s, account, terms, s.stop, s.taker, s.stop_why, s.stop_order)
        _take_targets(s, account, terms, price, np.nan)


@_rule
def _has(other: Record, account: Record, k: int) -> bool:
    """Is fill `k` of this path also a fill of the other one?"""
    for j in range(other.n_out):
        same = other.why[j] == account.why[k] and other.quantity[j] == account.quantity[k]
        if same and other.reference[j] == account.reference[k]:
            return True
    return False


@_rule
def _choose(high_first: float, low_first: float, slack: float, terms: Record) -> int:
    """0: the path by the high first, also where both leave the same; 1: the path by the low first."""
    gain = low_first - high_first
    if terms.favourable:
        return 1 if gain > slack else 0
    return 1 if gain < -slack else 0


@_phase
def _walk_both(states: Records, accounts: Records, drafts: Records, terms: Record, cell: Record, i: int) -> None:
    """Walk both paths on drafts of position and account, and keep the one that the policy picks."""
    for path in range(2):
        drafts[path], accounts[1 + path] = states[i], accounts[0]
        first, second = (cell.high, cell.low) if path == 0 else (cell.low, cell.high)
        _walk(drafts[path], accounts[1 + path], terms, first, second, cell.close)
    # Written out: with a list comprehension here, numba 0.68 loses the marks set below.
    high_first = accounts[1].cash + drafts[0].sign * drafts[0].quantity * cell.close
    low_first = accounts[2].cash + drafts[1].sign * drafts[1].quantity * cell.close
    chosen = _choose(high_first, low_first, 1e-9 * states[i].quantity * cell.close, terms)
    account, other = accounts[1 + chosen], accounts[2 - chosen]
    for k in range(account.n_out):
        account.ambiguous[k] = not _has(other, account, k)
    states[i], accounts[0] = drafts[chosen], account


# 6. Decisions


@_rule
def _size(s: Record, account: Record, terms: Record, distance: float) -> float:
    if terms.size_model == _UNITS:
        return float(terms.amount)
    if terms.size_model == _NOTIONAL:
        return float(terms.amount / s.mark)
    if terms.size_model == _EQUITY_SHARE:
        return float(account.equity * terms.amount / s.mark)
    return float(min(account.equity * terms.amount / distance, terms.cap * account.equity / s.mark))


@_rule
def _order_entry(
    s: Record, account: Record, terms: Record, sign: int, distance: float, maker: float, taker: float
) -> int:
    """Make the entry order for the next open, or say why not."""
    s.entry_sign, s.entry_quantity, s.entry_distance = sign, np.nan, distance
    if sign < 0 and not terms.shortable:
        return _NOT_SHORTABLE
    if terms.stop and not (distance > 0.0 and distance < np.inf):
        return _INVALID_STOP
    s.entry_quantity = _size(s, account, terms, distance)
    floored = _floor_to(s.entry_quantity, terms.lot)
    if floored <= 0.0 or floored * s.mark < terms.min_notional * (1.0 - 1e-12):
        return _BELOW_MIN_NOTIONAL
    account.n_waiting += 1
    s.entry_order, s.entry_quantity, s.entry_maker, s.entry_taker = account.n_orders, floored, maker, taker
    return _ACCEPTED


@_phase
def _decide(s: Record, account: Record, terms: Record, cell: Record, maker: float, taker: float) -> int:
    """Turn the signals of a close into orders for the next open, or say why not."""
    enter_long, enter_short = cell.enter_long and not cell.exit_long, cell.enter_short and not cell.exit_short
    sign = int(enter_long) - int(enter_short)
    held = s.sign if s.quantity > 0.0 else 0
    leaves = (held > 0 and (cell.exit_long or enter_short)) or (held < 0 and (cell.exit_short or enter_long))
    enters = sign not in (0, held)
    s.entry_sign, s.entry_quantity = sign if enters else -held, np.nan
    if enter_long and enter_short:
        s.entry_sign = 0
        account.n_orders += 1
        return _CONFLICT
    if cell.embargoed and (leaves or enters):
        account.n_orders += 1
        return _EMBARGOED
    if leaves:
        account.n_orders += 1
        s.exit_order, s.exit_taker = account.n_orders, taker
    if enters:
        account.n_orders += 1
        return int(_order_entry(s, account, terms, sign, cell.stop_distance, maker, taker))
    return _ACCEPTED


# The drivers: they own the arrays and empty the outbox into the logs


@_phase
def _log_fill(fills: Records, s: Record, account: Record, k: int, t: int, i: int) -> None:
    account.n_fills += 1
    if account.n_fills > fills.size:
        return
    row = fills[account.n_fills - 1]
    row.id, row.order, row.trade, row.bar, row.instrument = account.n_fills, account.order[k], s.trade, t, i
    row.side, row.quantity, row.price = account.side[k], account.quantity[k], account.price[k]
    row.reference, row.fee, row.spread = account.reference[k], account.fee[k], account.spread[k]
    row.why, row.maker, row.ambiguous = account.why[k], account.maker[k] != 0, account.ambiguous[k] != 0


@_rule
def _add_to_trade(s: Record, account: Record, k: int) -> None:
    s.edge -= account.side[k] * account.quantity[k] * account.reference[k]
    s.fees += account.fee[k]
    s.spread += account.spread[k]
    s.ambiguous |= account.ambiguous[k]
    if account.why[k] != _ENTRY:
        s.left += account.quantity[k]
        s.received += account.quantity[k] * account.price[k]


@_phase
def _log_trade(trades: Records, s: Record, account: Record, why: int, t: int, i: int) -> None:
    account.n_trades += 1
    account.n_ambiguous += s.ambiguous
    if account.n_trades > trades.size:
        return
    row = trades[account.n_trades - 1]
    row.id, row.instrument, row.side, row.entry_bar, row.exit_bar = s.trade, i, s.sign, s.entry_bar, t
    row.quantity, row.entry_price, row.exit_price = s.entered, s.entry_price, s.received / s.left
    row.edge, row.fees, row.spread, row.borrow, row.dividends = s.edge, s.fees, s.spread, s.borrow, s.dividends
    row.pnl = s.edge - s.fees - s.spread - s.borrow + s.dividends
    row.r, row.exit_reason, row.ambiguous = row.pnl / s.risk, why, s.ambiguous != 0


@_phase
def _log_rejection(
    rejections: Records, account: Record, order: int, side: int, quantity: float, reason: int, t: int, i: int
) -> None:
    account.n_rejections += 1
    if account.n_rejections > rejections.size:
        return
    row = rejections[account.n_rejections - 1]
    row.order, row.bar, row.instrument, row.side, row.quantity, row.reason = order, t, i, side, quantity, reason


@_phase
def _empty_outbox(logs: _Logs, s: Record, account: Record, t: int, i: int) -> None:
    for k in range(account.n_out):
        _log_fill(logs.fills, s, account, k, t, i)
        _add_to_trade(s, account, k)
    if s.quantity == 0.0:  # the last fill of a position closes its trade
        _log_trade(logs.trades, s, account, account.why[account.n_out - 1], t, i)
    account.n_out = 0


@_rule
def _book(logs: _Logs, s: Record, account: Record, t: int, i: int) -> None:
    if account.n_out > 0:
        _empty_outbox(logs, s, account, t, i)


@_rule
def _carry_all_in(
    cells: Records, terms: Records, states: Records, account: Record, logs: _Logs, t: int, now: int
) -> None:
    for i in range(states.size):
        if not np.isnan(cells[t, i].open):
            _carry_in(states[i], account, terms[i], cells[t, i], now)
            _book(logs, states[i], account, t, i)


@_rule
def _open_protective(cells: Records, terms: Records, states: Records, account: Record, logs: _Logs, t: int) -> None:
    for i in range(states.size):
        _stop_out_at_open(states[i], account, terms[i], cells[t, i].open)
        _book(logs, states[i], account, t, i)
    for i in range(states.size):
        price = cells[t, i].open
        _take_targets(states[i], account, terms[i], price, price)
        _book(logs, states[i], account, t, i)


@_rule
def _open_exits(cells: Records, terms: Records, states: Records, account: Record, logs: _Logs, t: int) -> None:
    for i in range(states.size):
        s, price = states[i], cells[t, i].open
        if s.exit_order != _NO_ORDER and not np.isnan(price):
            if s.quantity > 0.0:
                _take(s, account, terms[i], price, s.exit_taker, _SIGNAL, s.exit_order)
                _book(logs, s, account, t, i)
            else:
                _log_rejection(logs.rejections, account, s.exit_order, -s.sign, np.nan, _POSITION_CLOSED, t, i)
            s.exit_order = _NO_ORDER


@_rule
def _next_entry(states: Records, cells: Records, t: int, after: int) -> int:
    """The instrument whose entry order comes next by id among those that can fill in this bar; -1: none."""
    found = -1
    for i in range(states.size):
        order = states[i].entry_order
        if order > after and not np.isnan(cells[t, i].open) and (found < 0 or order < states[found].entry_order):
            found = i
    return found


@_phase
def _open_entries(cells: Records, terms: Records, states: Records, account: Record, logs: _Logs, t: int) -> None:
    i = _next_entry(states, cells, t, _NO_ORDER)
    while i >= 0:
        s = states[i]
        order = s.entry_order
        reason = _enter(s, account, terms[i], cells[t, i], t)
        if reason == _ACCEPTED:
            _book(logs, s, account, t, i)
        else:
            _log_rejection(logs.rejections, account, order, s.entry_sign, s.entry_quantity, reason, t, i)
        s.entry_order = _NO_ORDER
        account.n_waiting -= 1
        i = _next_entry(states, cells, t, order)


@_rule
def _inside(
    cells: Records, terms: Records, states: Records, accounts: Records, drafts: Records, logs: _Logs, t: int
) -> None:
    for i in range(states.size):
        if _is_reached(states[i], terms[i], cells[t, i]):
            _walk_both(states, accounts, drafts, terms[i], cells[t, i], i)
            _book(logs, states[i], accounts[0], t, i)


@_rule
def _close_window(
    cells: Records, terms: Records, states: Records, account: Record, logs: _Logs, tier: Record, t: int
) -> None:
    for i in range(states.size):
        if t == terms[i].last_bar and states[i].quantity > 0.0:
            account.n_orders += 1
            _take(states[i], account, terms[i], cells[t, i].close, tier.taker, _WINDOW_END, account.n_orders)
            _book(logs, states[i], account, t, i)


@_rule
def _mark(states: Records, cells: Records, account: Record, t: int, now: int) -> float:
    """Mark every position to its last close; gives gross exposure as a share of equity."""
    account.equity, gross = account.cash, 0.0
    for i in range(states.size):
        s, close = states[i], cells[t, i].close
        if not np.isnan(close):
            s.mark, s.marked_at = close, now
        account.equity += s.sign * s.quantity * s.mark
        gross += s.quantity * s.mark
    if gross == 0.0:
        return 0.0
    return float(gross / account.equity) if account.equity > 0.0 else np.inf


@_rule
def _tier(tiers: Records, volume: float, now: int) -> int:
    """The row of the last period that has started with the highest volume reached; 1e-9 forgives rounding."""
    found = 0
    for k in range(tiers.size):
        if tiers[k].start_us <= now and volume >= tiers[k].volume * (1.0 - 1e-9):
            found = k
    return found


@_rule
def _forget_old_volume(account: Record, ts: NDArray[np.int64], traded: Floats, now: int) -> None:
    """Volume is that of bars that opened in the last 30 days."""
    while ts[account.tail] < now - VOLUME_WINDOW_US:
        account.volume = max(0.0, account.volume - traded[account.tail])  # rounding may leave less than nothing
        account.tail += 1


@_rule
def _decide_all(
    cells: Records, terms: Records, states: Records, account: Record, logs: _Logs, tier: Record, t: int
) -> None:
    for i in range(states.size):
        s, cell = states[i], cells[t, i]
        if (cell.enter_long or cell.exit_long or cell.enter_short or cell.exit_short) and t != terms[i].last_bar:
            reason = _decide(s, account, terms[i], cell, tier.maker, tier.taker)
            if reason != _ACCEPTED:
                quantity = s.entry_quantity
                _log_rejection(logs.rejections, account, account.n_orders, s.entry_sign, quantity, reason, t, i)


@njit(cache=True, error_model="numpy")
def _run(
    ts: NDArray[np.int64],
    known_at: NDArray[np.int64],
    cells: Records,
    terms: Records,
    tiers: Records,
    accounts: Records,
    logs: _Logs,
    equity: Floats,
    cash: Floats,
    gross_exposure: Floats,
) -> None:
    states, drafts = np.zeros(terms.size, _STATE), np.zeros(2, _STATE)
    traded = np.zeros(ts.size)
    account = accounts[0]
    for t in range(ts.size):
        now = known_at[t]
        _carry_all_in(cells, terms, states, account, logs, t, now)
        _open_protective(cells, terms, states, account, logs, t)
        _open_exits(cells, terms, states, account, logs, t)
        if account.n_waiting > 0:
            _open_entries(cells, terms, states, account, logs, t)
        _inside(cells, terms, states, accounts, drafts, logs, t)
        _forget_old_volume(account, ts, traded, now)
        tier = tiers[_tier(tiers, account.volume + account.traded, now)]
        _close_window(cells, terms, states, account, logs, tier, t)
        gross_exposure[t] = _mark(states, cells, account, t, now)
        equity[t], cash[t] = account.equity, account.cash
        _decide_all(cells, terms, states, account, logs, tier, t)
        traded[t] = account.traded
        account.volume += account.traded
        account.traded = 0.0
