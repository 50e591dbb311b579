"""What a run is told: market, decisions, instruments and rules, as plain values with units in their names."""

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from engine.costs import FeePeriod
from engine.simulator.words import (
    Do,
    Kind,
    LimitFill,
    Liquidation,
    Margin,
    OrderType,
    Path,
    SizeModel,
    SlippageModel,
)

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Truths = NDArray[np.bool_]


class Instrument(NamedTuple):
    id: str
    tick: float
    lot: float  # in contracts
    min_notional: float
    half_spread_bps: float
    shortable: bool = True
    kind: Kind = "spot"
    leverage: float = 1.0
    maintenance_margin: float = 0.005
    maintenance_amount: float = 0.0
    extra_margin: float = 0.0
    contract_size: float = 1.0
    liquidation: Liquidation = "bybit_linear"
    margin: Margin = "isolated"


class Funding(NamedTuple):
    at_us: int
    instrument: int
    rate: float
    mark: float = float("nan")  # NaN: the open of the mark bar


class Finer(NamedTuple):
    """Finer bars of the same instruments: those of bar `t`, instrument `i` are rows `starts[t, i]` to `ends[t, i]`."""

    opens: Floats  # [n_rows], as the next three
    highs: Floats
    lows: Floats
    closes: Floats
    starts: Integers  # [n_bars, n_instruments]
    ends: Integers


class Market(NamedTuple):
    """Raw bars of all instruments on the union of their times."""

    ts: Integers  # [n_bars] open, µs since the epoch, UTC
    known_at: Integers  # [n_bars] close; no later than the next open
    opens: Floats  # [n_bars, n_instruments], as all below; all four NaN where the instrument has no bar
    highs: Floats
    lows: Floats
    closes: Floats
    splits: Floats  # 1.0, or new units per old one, on the first bar at or after the ex-date
    dividends: Floats  # cash per unit held after the bar's split, else 0.0
    volumes: Floats | None = None  # NaN where not known
    mark_opens: Floats | None = None  # mark prices, the four of them or none
    mark_highs: Floats | None = None
    mark_lows: Floats | None = None
    mark_closes: Floats | None = None
    conversions: Floats | None = None  # what one unit of the instrument's money is worth in the account's
    delisted: Truths | None = None  # True on an instrument's last bar
    sessions: Integers | None = None  # [n_bars] a number per session, ascending; the UTC day by default
    session_ends: Truths | None = None  # [n_bars] True on a session's last bar; by default where the next one begins
    slots: Integers | None = None  # [n_bars] bars due so far, missing ones included; those that are there by default
    funding: Sequence[Funding] = ()
    finer: Finer | None = None


class Stop(NamedTuple):
    """One of: a price; a share of the fill's price; a multiple of Wilder's ATR; `Decisions.stop_distances`."""

    price: float | None = None
    pct: float | None = None
    atr: float | None = None
    length: int | None = None
    distances: bool = False


class Trail(NamedTuple):
    """A share of the highest high, or a multiple of Wilder's ATR below it."""

    pct: float | None = None
    atr: float | None = None
    length: int | None = None


class Target(NamedTuple):
    r: float | None  # distance from the price paid in multiples of that to the first stop; None where `price` is given
    share: float  # of the entered quantity
    price: float | None = None


DEFAULT_LADDER = (Target(1.0, 0.4), Target(2.5, 0.4))
"""`targets: default` of the contract, with `break_even_after=1`; what is left runs."""


class Exits(NamedTuple):
    """How a position is left beside signals. Nothing is added that was not asked for."""

    stop: Stop | None = None
    targets: tuple[Target, ...] = ()
    trail: Trail | None = None
    runner_trail: Trail | None = None  # of what is left after the last target
    break_even_after: int | None = None  # so many targets
    time_stop_bars: int | None = None
    session_close: bool = False


class Size(NamedTuple):
    model: SizeModel
    amount: float  # units; notional; share of equity; share at risk; fraction (kelly); annual (volatility_target)
    cap: float = 1.0  # largest share of equity; risk_per_trade, kelly and volatility_target
    days: int = 0  # sessions measured; volatility_target, inverse_volatility, risk_parity
    periods_per_year: float = 365.0  # volatility_target
    min_trades: int = 0  # kelly


class Slippage(NamedTuple):
    """`none`; `bps`; `volume_share: impact, limit`; `square_root: y`; `almgren: shares_outstanding, horizon_days`.

    The last two take `sigma` and `volume` of a session, or measure them over the past `days` sessions.
    """

    model: SlippageModel = "none"
    bps: float = 0.0
    impact: float = 0.0
    limit: float = 1.0
    y: float = 0.0
    sigma: float | None = None
    volume: float | None = None
    days: int | None = None
    shares_outstanding: float = 0.0
    horizon_days: float = 1.0


class Correlation(NamedTuple):
    limit: float
    days: int


class Cooldown(NamedTuple):
    after_win_seconds: float = 0.0
    after_loss_seconds: float = 0.0


class LossStreak(NamedTuple):
    losses: int
    seconds: float


class Guards(NamedTuple):
    """Limits that reject entries; None: not limited. Exactly at a limit is allowed."""

    max_position: float | None = None
    max_gross_exposure: float | None = None
    max_net_exposure: float | None = None
    max_leverage: float | None = None
    max_slippage_bps: float | None = None
    max_open_positions: int | None = None
    correlation_limit: Correlation | None = None
    max_daily_loss: float | None = None
    max_drawdown: float | None = None
    kill_switch: float | None = None  # drawdown beyond which everything is closed
    global_trade_spacing: float | None = None  # seconds
    symbol_cooldown_active: Cooldown | None = None
    max_trades_per_hour: int | None = None
    max_trades_per_day: int | None = None
    loss_streak_cooldown: LossStreak | None = None


class PerShare(NamedTuple):
    fee: float
    minimum: float  # per order


class Entry(NamedTuple):
    """How entries that signals ask for are sent: at market, or as a limit so far on the better side of the close."""

    type: Literal["market", "limit"] = "market"
    offset_bps: float = 0.0
    ttl_bars: int | None = None
    post_only: bool = False


class Rules(NamedTuple):
    cash: float
    size: Size
    fees: tuple[FeePeriod, ...]
    borrow_bps_per_day: float = 0.0
    exits: Exits = Exits()
    limit_fill: LimitFill = "trade_through"
    path: Path = "adverse"
    close_at_end: bool = False
    slippage: Slippage = Slippage()
    slippage_of: tuple[Slippage, ...] = ()  # one per instrument, where they differ
    per_share: PerShare | None = None  # instead of `fees`
    participation: float = 1.0
    liquidate_on_last: bool = False
    delisting_recovery: float = 1.0
    guards: Guards = Guards()
    entry: Entry = Entry()
    rebalance_band: float = 0.0  # share of equity; no order for a change of a target below it


class Decision(NamedTuple):
    """One decision made on the close of `bar`, acting from the next bar on."""

    bar: int
    instrument: int
    do: Do
    quantity: float | None = None  # or `size`; a close without it leaves altogether
    size: Size | None = None
    order: OrderType = "market"
    price: float | None = None  # of a limit; of a stop
    trigger: float | None = None  # of a stop_limit
    post_only: bool = False
    exits: Exits = Exits()  # of a buy or sell; `stop` or `targets` of move_stop, move_target
    ttl_bars: int | None = None
    client_order_id: str | None = None


class Decisions(NamedTuple):
    """What was decided on each bar's close: columns [n_bars, n_instruments] of signals, or a list, or both."""

    enter_long: Truths
    exit_long: Truths
    enter_short: Truths
    exit_short: Truths
    stop_distances: Floats  # in raw price, above 0; NaN where there is none; read by `Stop(distances=True)`
    embargoed: Truths  # a wanted change is rejected; stops and targets go on
    listed: Sequence[Decision] = ()  # ascending by bar
    multipliers: Floats | None = None  # of sizes, by regime; 0: `regime_not_allowed`
    refusals: NDArray[Any] | None = None  # NaN, or the number in words.REASONS for which entries are refused
    regimes: Floats | None = None  # a number below 8 per regime, for streaks and records
    strengths: Floats | None = None
    confidences: Floats | None = None
    targets: Floats | None = None  # signed contracts to hold; NaN: as before. An unchanged target makes no order
    weights: Floats | None = None  # the same as a share of equity; one of the two
    # What follows no run looks at: records have it from here.
    regime_names: tuple[str, ...] = ()
    regime_confidences: Floats | None = None
    setups: Integers | None = None  # the place in `setup_names`, or -1
    setup_names: tuple[str, ...] = ()
    biases: Floats | None = None


SIGNALS = Decisions._fields[:4]
"""What a strategy may say on a close."""


def listed(decisions: Sequence[Decision], *, shape: tuple[int, int]) -> Decisions:
    """Decisions from a list alone."""
    no = np.zeros(shape, dtype=np.bool_)
    return Decisions(no, no, no, no, np.full(shape, np.nan), no, tuple(decisions))
