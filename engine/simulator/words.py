"""The contract's words, numbered: records hold the numbers, people and files the words.

A tuple's index is the number; the constants below each tuple name what compiled code compares with.
"""

from typing import Final, Literal

SizeModel = Literal[
    "units",
    "notional",
    "equity_share",
    "risk_per_trade",
    "kelly",
    "volatility_target",
    "inverse_volatility",
    "risk_parity",
]
Path = Literal["adverse", "favourable", "likely"]
LimitFill = Literal["trade_through", "touch"]
Kind = Literal["spot", "linear", "inverse"]
Liquidation = Literal["bybit_linear", "bybit_inverse", "bybit_inverse_2026", "binance", "okx"]
Margin = Literal["isolated", "cross"]
SlippageModel = Literal["none", "bps", "volume_share", "square_root", "almgren"]
Do = Literal["buy", "sell", "close", "cancel", "move_stop", "move_target"]
OrderType = Literal["market", "limit", "stop", "stop_limit"]

MAX_TARGETS: Final = 8
NONE: Final = -1
MONEY: Final = (
    "edge",
    "fees",
    "spread",
    "slippage",
    "impact",
    "funding",
    "borrow",
    "dividends",
)

# Why a fill happened.
WHY: Final = (
    *(
        "entry",
        "reduce",
        "stop",
        "trail",
        "break_even",
        "time",
        "signal",
        "session_close",
        "window_end",
    ),
    *("kill_switch", "delisted", "liquidation", "reduce"),
    *(f"target_{k}" for k in range(1, MAX_TARGETS + 1)),
)
(
    ENTRY,
    REDUCE,
    STOPPED,
    TRAILED,
    BREAK_EVEN,
    TIME,
    SIGNAL,
    SESSION_CLOSE,
    WINDOW_END,
) = range(9)
KILLED, DELISTED, LIQUIDATED, SPLIT_CASH, TARGET_1 = range(9, 14)

# Why an order was refused or withdrawn; guards are checked in this order.
REASONS: Final = (
    *(
        "post_only_would_take",
        "ttl_expired",
        "below_min_notional",
        "insufficient_cash",
        "not_shortable",
        "no_edge",
    ),
    *(
        "cancelled",
        "invalid_stop",
        "no_position",
        "position_closed",
        "conflicting_signal",
    ),
    *("regime_not_allowed", "embargoed_data", "stale_bar", "halted", "kill_switch"),
    *(
        "max_position",
        "max_gross_exposure",
        "max_net_exposure",
        "max_leverage",
        "slippage_exceeded",
    ),
    *("max_open_positions", "correlation_limit", "max_daily_loss", "max_drawdown"),
    *(
        "global_trade_spacing",
        "symbol_cooldown_active",
        "max_trades_per_hour",
        "max_trades_per_day",
    ),
    "loss_streak_cooldown",
)
(
    POST_ONLY_WOULD_TAKE,
    TTL_EXPIRED,
    BELOW_MIN_NOTIONAL,
    INSUFFICIENT_CASH,
    NOT_SHORTABLE,
    NO_EDGE,
) = range(6)
(
    CANCELLED_BY_DECISION,
    INVALID_STOP,
    NO_POSITION,
    POSITION_CLOSED,
    CONFLICTING_SIGNAL,
) = range(6, 11)
REGIME_NOT_ALLOWED, EMBARGOED_DATA, STALE_BAR, HALTED, KILL_SWITCH = range(11, 16)
MAX_POSITION, MAX_GROSS_EXPOSURE, MAX_NET_EXPOSURE, MAX_LEVERAGE, SLIPPAGE_EXCEEDED = range(16, 21)
MAX_OPEN_POSITIONS, CORRELATION_LIMIT, MAX_DAILY_LOSS, MAX_DRAWDOWN = range(21, 25)
(
    GLOBAL_TRADE_SPACING,
    SYMBOL_COOLDOWN_ACTIVE,
    MAX_TRADES_PER_HOUR,
    MAX_TRADES_PER_DAY,
) = range(25, 29)
LOSS_STREAK_COOLDOWN = 29

STATUSES: Final = (
    "open",
    "partially_filled",
    "filled",
    "rejected",
    "expired",
    "cancelled",
)
OPEN, PARTIALLY_FILLED, FILLED, REJECTED, EXPIRED, CANCELLED = range(6)

ORDER_TYPES: Final = ("market", "limit", "stop", "stop_limit")
MARKET, LIMIT, STOP, STOP_LIMIT = range(4)

# What an order is for: opening or reducing as it meets the position, leaving it, protecting it.
ROLES: Final = ("free", "exit", "protective_stop", "target")
FREE, EXIT, PROTECTIVE_STOP, TARGET = range(4)

DOINGS: Final = ("buy", "sell", "close", "cancel", "move_stop", "move_target")
BUY, SELL, CLOSE, CANCEL, MOVE_STOP, MOVE_TARGET = range(6)

SIZE_MODELS: Final = (
    "units",
    "notional",
    "equity_share",
    "risk_per_trade",
    "kelly",
    "share_column",
)
UNITS, NOTIONAL, EQUITY_SHARE, RISK_PER_TRADE, KELLY, SHARE_COLUMN = range(6)

KINDS: Final = ("spot", "linear", "inverse")
SPOT, LINEAR, INVERSE = range(3)
LIQUIDATIONS: Final = (
    "bybit_linear",
    "bybit_inverse",
    "bybit_inverse_2026",
    "binance",
    "okx",
)
BYBIT_LINEAR, BYBIT_INVERSE, BYBIT_INVERSE_2026, BINANCE, OKX = range(5)
SLIPPAGES: Final = ("none", "bps", "volume_share", "square_root", "almgren")
NO_SLIPPAGE, BPS_SLIPPAGE, VOLUME_SHARE, SQUARE_ROOT, ALMGREN = range(5)
PATHS: Final = ("adverse", "favourable", "likely")
ADVERSE, FAVOURABLE, LIKELY = range(3)

# How a stop or a trail is said.
ABSENT, AT_PRICE, AT_PCT, AT_DISTANCE = range(4)

# What stands in the calendar of a bar.
SPLIT, DIVIDEND, FUNDING_BEFORE, FUNDING_AT_OPEN, FUNDING_INSIDE, DELIST = range(6)
EVENTS_HERE, NEW_DAY, SESSION_ENDS, DECISIONS_HERE, WINDOW_ENDS, SIGNALS_HERE = 1, 2, 4, 8, 16, 32
BEFORE_ALL = -(1 << 62)  # a time, an hour or a session before any
SESSION_STARTS = 64  # as SESSION_ENDS, only where positions are closed with their session

# What an instrument's orders wait for, and what the open of a bar may bring it.
ENTERS, LEAVES, TRIGGERED, EXPIRES, BEYOND = 1, 2, 4, 8, 16

# What a strategy's signal says, added up in one number per bar and instrument.
ENTER_LONG, EXIT_LONG, ENTER_SHORT, EXIT_SHORT, EMBARGOED, TARGETS = 1, 2, 4, 8, 16, 32
SAYS = ENTER_LONG | EXIT_LONG | ENTER_SHORT | EXIT_SHORT | TARGETS

# What the run should be told beside its numbers, one bit each.
WARNINGS: Final = (
    "volume is not known on some bars: the participation cap is off there",
    "a position was added to: the stops and targets of the later order are ignored, the first ones hold",
    "leverage above 1 is liquidated on last prices: there are no mark bars",
    "a stop was to be moved where there was no position",
    "targets were to be moved where there was no position",
    "the cap on trades an hour or a day was reached: what paces trades before it did not hold",
    "square-root or almgren impact could not be measured on some fills and was not charged: too few sessions before",
)
VOLUME_UNKNOWN, LATER_EXITS_IGNORED, LIQUIDATED_ON_LAST = 1, 2, 4
NO_STOP_TO_MOVE, NO_TARGETS_TO_MOVE, TRADES_CAPPED, IMPACT_UNMEASURED = 8, 16, 32, 64
