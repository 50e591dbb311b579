"""The records that compiled code works on. One schema for saving, hashing, sweeping and resuming.

Records, because a record is passed as one pointer: the same source with arrays or tuples in the step ran five to fifty
times slower (`docs`: the measurement stands in the project's notes on its kernel). An instrument that does nothing
lives in its `HOT` record of a cache line; everything else of it, its resting orders included, stands in `STATE`.
"""

from typing import Any, Final

import numpy as np

from engine.simulator.words import MAX_TARGETS

MAXIMUM_ORDERS: Final = 256
"""Of one instrument that may rest at once; venues allow fewer."""

F, I, B = np.float64, np.int64, np.bool_  # noqa: E741 - a column of types reads best short


def _fields(kind: Any, names: str) -> list[tuple[str, Any]]:
    return [(name, kind) for name in names.split()]


def _record(fields: list[Any]) -> np.dtype[Any]:
    """Aligned without unnamed gaps, which numpy would copy as they were in memory; read by attribute, compiled or not."""
    filled: list[Any] = []
    flags = 0
    for field in [*fields, None]:
        if field is None or field[1] is not B:
            filled += [(f"_{len(filled) + k}", B) for k in range(-flags % 8)]
            flags = 0
        else:
            flags += 1
        filled += [field] if field else []
    return np.dtype((np.record, np.dtype(filled, align=True)))


RULES: Final = _record(
    _fields(I, "policy n_instruments")
    + _fields(I, "plans states terms cells sizes hots")  # addresses of the first of each
    + _fields(
        B,
        "touch has_marks cross converts has_contracts has_opinions limits_all thorough targets_are_weights entry_post_only",
    )  # thorough: no short cuts, for tests
    + _fields(F, "participation per_share minimum_fee delisting_recovery rebalance_band entry_offset")
    + _fields(
        I,
        "multiplier_column refusal_column regime_column strength_column confidence_column target_column entry_type entry_ttl",
    )
    + _fields(
        F,
        "max_position max_gross_exposure max_net_exposure max_leverage max_slippage max_open_positions",
    )
    + _fields(F, "correlation_limit max_daily_loss max_drawdown kill_switch")
    + _fields(
        F,
        "spacing_us after_win_us after_loss_us max_trades_per_hour max_trades_per_day",
    )
    + _fields(F, "streak_losses streak_us")
)
TERMS: Final = _record(  # what holds for one instrument throughout the run
    _fields(F, "tick lot min_notional half_spread borrow_per_day contract_size")
    + _fields(I, "kind liquidation last_bar default_plan default_size")
    + _fields(B, "shortable liquidates cross")
    + _fields(F, "leverage maintenance_margin maintenance_amount extra_margin")
    + _fields(I, "slippage sigma_column volume_column")
    + _fields(
        F,
        "slip share_impact share_limit y sigma mean_volume shares_outstanding horizon_days",
    )
)
PLAN: Final = _record(  # how a position is left, as it was asked for with its entry
    _fields(
        I,
        "stop_kind stop_column trail_kind trail_column runner_trail_kind runner_trail_column",
    )
    + _fields(F, "stop trail runner_trail")
    + _fields(I, "n_targets break_even_after time_stop_bars")
    + _fields(B, "session_close runner has_exits needs_stop")
    + [(name, F, (MAX_TARGETS,)) for name in ("target_price", "target_r", "target_share")]
)
SIZE: Final = _record(_fields(I, "model column min_trades") + _fields(F, "amount cap"))
DECISION: Final = _record(
    _fields(I, "bar instrument do type plan sizing client ttl")  # client: -1 none; of a cancel: -1 every one
    + _fields(B, "post_only")
    + _fields(F, "quantity price trigger")  # quantity NaN: by `size`, or all
    # what is known on the bar, filled in when its turn comes
    + _fields(B, "embargoed present")
    + _fields(
        F,
        "close rate stop_distance trail_distance runner_distance share multiplier refusal regime strength confidence sigma mean_volume",
    )
    + _fields(F, "correlation_long correlation_short")
)
TIME: Final = _record(_fields(I, "opened known_at slot session next_session"))  # next: of the moment a decision acts in
EVENT: Final = _record(_fields(I, "bar instrument kind") + _fields(F, "value mark"))

ORDER: Final = _record(
    _fields(
        I,
        "id client decided_on closed_on instrument side type role leg why status reason expires plan",
    )
    + _fields(
        F,
        "requested quantity filled price trigger maker taker fee_paid stop_distance trail_distance",
    )
    + _fields(B, "post_only triggered fresh reduces_only everything")
    + _fields(I, "blocked_on asked_on size_model")
    + _fields(F, "scale")  # splits since it was decided: what its plan says in prices is divided by it
    # what sizing and risk saw
    + _fields(
        F,
        "size_amount equity_seen price_seen distance_seen heat_seen strength confidence regime sigma mean_volume",
    )
)
FILL: Final = _record(
    _fields(I, "id order trade bar instrument side why")  # order 0: no order, a corporate action
    + _fields(F, "quantity price reference fee spread slippage impact")
    + _fields(B, "maker ambiguous")
)
TRADE: Final = _record(
    _fields(I, "id instrument side entry_bar exit_bar exit_reason entry_order")
    + _fields(F, "quantity entry_price exit_price pnl")
    + _fields(F, "edge fees spread slippage impact funding borrow dividends")
    + _fields(
        F,
        "r mae mfe pnl_pct position_before position_after equity_before equity_after heat fill_quality",
    )
    + _fields(
        F,
        "strength confidence regime volatility_at_entry volume_at_entry drawdown_at_entry",
    )
    + _fields(I, "tier")
    + _fields(B, "ambiguous")
)
CELL: Final = _record(  # one instrument in one bar, gathered where something may happen
    _fields(
        F,
        "open high low close volume mark_open mark_high mark_low mark_close rate join finish",
    )
    + _fields(F, "funding_due")  # per contract, at this open
    + _fields(I, "stirs")  # what the open may bring, as bits of `words`
    + _fields(B, "present session_ends")
)
HOT: Final = _record(
    _fields(
        F,
        "low_band high_band units offset coin mark low_seen high_seen mark_low_band mark_high_band reach_low reach_high",
    )
    + _fields(F, "near_low near_high stop")  # the prices at which what rests acts, restless or not
    + _fields(I, "trails waits leave_at")
)

ACCOUNT: Final = _record(
    _fields(
        F,
        "cash locked unrealised equity peak day_equity drawdown heat traded volume maker taker gross distance",
    )
    + _fields(
        I,
        "tail n_traded next_touched n_orders n_fills n_entries n_trades n_ambiguous n_active next_event next_decision warnings",
    )
    + _fields(
        I,
        "overflow missing_mark killed tier at_open conflict alarm t now_us close_us slot session next_session",
    )
    # pacing
    + _fields(I, "last_entry_us hour day entries_this_hour entries_this_day")
    # closed trades, for Kelly
    + _fields(F, "n_closed n_wins n_losses sum_wins sum_losses")
    + [("streak", I, (MAX_TARGETS,)), ("last_loss_us", I, (MAX_TARGETS,))]
    # statistics, where they were asked for
    + _fields(F, "net mean_return deviation worst_drawdown")
)
STATE: Final = _record(
    # the position: flat when quantity is 0
    _fields(
        I,
        "sign plan trade all_at legs_filled stop_why marked_at first_order entry_bar delisted",
    )
    + _fields(
        F,
        "quantity entry reference locked value_carried maker taker mark mark_price last_close",
    )
    + _fields(
        F,
        "stop_level trail_level highest liquidation wallet_of_others first_risk r_from unit_risk",
    )
    + _fields(I, "runs n_orders decided_on ladder ladder_decided_on entry_session legs_ordered legs_ended")
    # its trade so far
    + _fields(
        F,
        "edge fees spread slippage impact funding borrow dividends mae mfe low_seen high_seen",
    )
    + _fields(
        F,
        "entered entered_value left left_value equity_before heat",
    )
    + _fields(
        F,
        "strength confidence regime fill_quality volatility mean_volume volume_at_entry drawdown position_before",
    )
    + _fields(I, "ambiguous contested tier")
    + _fields(F, "scale ladder_base runner_level")
    # this bar
    + _fields(F, "room taker_room taken here")
    # cooldown
    + _fields(I, "last_win_us last_loss_us")
    + [("leg", F, (MAX_TARGETS,)), ("orders", ORDER, (MAXIMUM_ORDERS,))]
)
"""Orders come last: a draft of a state copies no more of them than rest."""

OUTBOX: Final = _record(
    [
        *_fields(I, "n_fills n_trades first_new"),
        ("fills", FILL, (2 * MAXIMUM_ORDERS,)),
        ("trades", TRADE, (MAXIMUM_ORDERS,)),
    ]
)
