"""The simulator against arithmetic done by hand, and against the laws it must keep."""

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.costs import FeePeriod, FeeTier
from engine.errors import OutOfBoundsError, UnalignedError, UnknownNameError, UnusableBarError
from engine.simulator.inputs import Decisions, Exits, Instrument, Market, Rules, Size, Stop, Target
from engine.simulator.records import fills_frame, rejections_frame, trades_frame
from engine.simulator.simulation import simulate
from engine.simulator.words import REASONS, WHY

HOUR = 3_600_000_000
FREE = (FeePeriod(0, (FeeTier(0, 0, 0),)),)
X = Instrument("X", tick=0.01, lot=0.001, min_notional=0, half_spread_bps=0)
NAN = float("nan")
QUIET = (100, 101, 99, 100)


def market(*series, splits=(), dividends=(), bar_us=HOUR):
    """Consecutive bars from the epoch; a series of (open, high, low, close), or None, per instrument."""
    prices = np.array([[bar or (NAN,) * 4 for bar in bars] for bars in series], dtype=float)
    n_bars = prices.shape[1]
    ts = np.arange(n_bars) * bar_us
    split, dividend = np.ones((n_bars, len(series))), np.zeros((n_bars, len(series)))
    for bar, ratio in splits:
        split[bar, 0] = ratio
    for bar, amount in dividends:
        dividend[bar, 0] = amount
    opens, highs, lows, closes = (prices[:, :, k].T for k in range(4))
    return Market(ts, ts + bar_us, opens, highs, lows, closes, split, dividend)


def decisions(bars, *wanted, distance=NAN, embargoed=()):
    """`wanted`: (bar, what) or (bar, what, instrument), all else quiet; one stop distance throughout."""
    shape = bars.opens.shape
    signals = {name: np.zeros(shape, bool) for name in ("enter_long", "exit_long", "enter_short", "exit_short")}
    for bar, what, *instrument in wanted:
        signals[what][bar, instrument[0] if instrument else 0] = True
    embargo = np.zeros(shape, bool)
    embargo[list(embargoed)] = True
    return Decisions(**signals, stop_distances=np.full(shape, float(distance)), embargoed=embargo)


def rules(**changes):
    stop = Stop(distances=True) if changes.pop("stop", False) else None
    breaks_even = 1 if changes.pop("break_even_after_first", False) else None
    exits = Exits(stop=stop, targets=changes.pop("targets", ()), break_even_after=breaks_even)
    return Rules(**{"cash": 10_000.0, "size": Size("units", 1), "fees": FREE, "exits": exits, **changes})


def run(bars, *wanted, instruments=(X,), distance=NAN, embargoed=(), **changes):
    made = decisions(bars, *wanted, distance=distance, embargoed=embargoed)
    return simulate(bars, made, instruments, rules(stop=not np.isnan(distance), **changes))


def fills(result):
    return [(int(f["bar"]), WHY[f["why"]], float(f["quantity"]), float(f["price"])) for f in result.fills]


def refused(result):
    return [(int(row["closed_on"]), REASONS[row["reason"]]) for row in result.rejections]


def reasons(result):
    return [why for _, why, _, _ in fills(result)]


# Arithmetic done by hand


def test_what_is_decided_on_a_close_fills_at_the_next_open():
    bars = market([(10, 10.5, 10, 10.5), (11, 11.5, 11, 11.5), (12, 12.5, 12, 12.5)])
    result = run(bars, (0, "enter_long"), (1, "exit_long"), size=Size("units", 2), cash=100.0)
    assert fills(result) == [(1, "entry", 2, 11), (2, "signal", 2, 12)]
    assert result.equity.tolist() == [100, 101, 102]  # 2 x (11.5 - 11), then 2 x (12 - 11)
    assert result.gross_exposure.tolist() == [0, 23 / 101, 0]


def test_a_short_mirrors_a_long():
    bars = market([(12, 12.5, 12, 12.5), (12, 12, 11.5, 11.5), (11, 11, 10.5, 10.5)])
    result = run(bars, (0, "enter_short"), (1, "exit_short"), size=Size("units", 2), cash=100.0)
    assert result.equity.tolist() == [100, 101, 102]  # 2 x (12 - 11.5), then 2 x (12 - 11)


def test_the_contracts_example_stops_out_on_the_adverse_path_and_says_it_was_ambiguous():
    bars = market([(100, 101, 99, 100), (100, 112, 88, 100)])
    result = run(bars, (0, "enter_long"), distance=10, targets=(Target(1, 1),))
    assert fills(result) == [(1, "entry", 1, 100), (1, "stop", 1, 90)]
    assert result.fills["ambiguous"].tolist() == [False, True]
    assert result.ambiguous_trades == 1
    assert result.trades[["pnl", "edge", "r"]].tolist() == [(-10.0, -10.0, -1.0)]
    assert result.equity.tolist() == [10_000, 9_990]


def test_the_favourable_path_takes_the_target_of_the_same_bar():
    bars = market([QUIET, (100, 112, 88, 100)])
    result = run(bars, (0, "enter_long"), distance=10, targets=(Target(1, 1),), path="favourable")
    assert fills(result)[1:] == [(1, "target_1", 1, 110)]
    assert result.ambiguous_trades == 1


def test_a_bar_that_opens_beyond_the_stop_leaves_at_the_open():
    bars = market([QUIET, QUIET, (80, 95, 79, 90)])
    assert fills(run(bars, (0, "enter_long"), distance=10))[1:] == [(2, "stop", 1, 80)]


def test_a_bar_that_opens_beyond_a_target_fills_it_there_as_maker_without_spread():
    bars = market([QUIET, QUIET, (120, 121, 119, 120)])
    wide = X._replace(half_spread_bps=100)  # paid 101, stop 91, target 111
    result = run(bars, (0, "enter_long"), distance=10, targets=(Target(1, 1),), instruments=[wide])
    assert fills(result) == [(1, "entry", 1, 101), (2, "target_1", 1, 120)]
    assert result.fills["maker"].tolist() == [False, True]
    assert result.fills["spread"].tolist() == [1, 0]


@pytest.mark.parametrize(("limit_fill", "expected"), [("trade_through", []), ("touch", ["target_1"])])
def test_a_price_that_only_touches_a_target_fills_it_where_the_rule_says_touch(limit_fill, expected):
    bars = market([QUIET, QUIET, (100, 110, 100, 105)])
    result = run(bars, (0, "enter_long"), distance=10, targets=(Target(1, 1),), limit_fill=limit_fill)
    assert reasons(result)[1:] == expected


def test_a_ladder_leaves_in_legs_and_what_is_left_over_runs_to_break_even():
    # 10 units at 100, stop 90: 4 leave at 110, 4 at 125, the stop moves to 100 at the first; 2 leave there.
    bars = market([QUIET, QUIET, (101, 111, 101, 110), (110, 126, 110, 120), (110, 110, 99, 105)])
    ladder = {"targets": (Target(1, 0.4), Target(2.5, 0.4)), "break_even_after_first": True}
    result = run(bars, (0, "enter_long"), distance=10, size=Size("units", 10), cash=2_000.0, **ladder)
    assert fills(result)[1:] == [(2, "target_1", 4, 110), (3, "target_2", 4, 125), (4, "break_even", 2, 100)]
    assert result.trades["pnl"].tolist() == [140]  # 4 x 10 + 4 x 25 + 2 x 0
    assert result.trades["r"].tolist() == [1.4]  # over 10 x 10 at risk
    assert result.ambiguous_trades == 0


def test_the_move_to_break_even_acts_on_the_path_that_reaches_the_target_first():
    # High first: target at 110, then out at 100 on the way to 95. Low first: 95 is above the stop, then the target,
    # and the close at 104 is above break-even. Adverse takes the first; only its second fill is in doubt.
    bars = market([QUIET, QUIET, (101, 112, 95, 104)])
    ladder = {"targets": (Target(1, 0.5),), "break_even_after_first": True}
    result = run(bars, (0, "enter_long"), distance=10, size=Size("units", 2), **ladder)
    assert fills(result)[1:] == [(2, "target_1", 1, 110), (2, "break_even", 1, 100)]
    assert result.fills["ambiguous"].tolist() == [False, False, True]


def test_when_the_first_leg_floors_to_nothing_everything_leaves_at_the_first_target():
    bars = market([QUIET, QUIET, (101, 111, 101, 110)])
    whole = X._replace(lot=1)
    result = run(bars, (0, "enter_long"), distance=10, targets=(Target(1, 0.4), Target(2, 0.6)), instruments=[whole])
    assert fills(result)[1:] == [(2, "target_1", 1, 110)]


def test_what_legs_round_off_goes_to_the_last_one_when_there_is_no_runner():
    bars = market([QUIET, QUIET, (101, 131, 101, 130)])
    whole, ladder = X._replace(lot=1), (Target(1, 0.5), Target(2, 0.5))
    result = run(bars, (0, "enter_long"), distance=10, targets=ladder, size=Size("units", 5), instruments=[whole])
    assert fills(result)[1:] == [(2, "target_1", 2, 110), (2, "target_2", 3, 120)]


def test_stops_round_away_from_the_price_and_targets_too():
    coarse = X._replace(tick=1)  # paid 100, stop 97.6 -> 97, R 3, target 104.5 -> 105
    bars = market([QUIET, QUIET, (100, 105.5, 96, 100)])
    result = run(bars, (0, "enter_long"), distance=2.4, targets=(Target(1.5, 1),), instruments=[coarse])
    assert fills(result)[1:] == [(2, "stop", 1, 97)]
    result = run(bars, (0, "enter_short"), distance=2.4, targets=(Target(1, 1),), instruments=[coarse])
    assert fills(result)[1:] == [(2, "stop", 1, 103)]  # 102.4 -> 103


def test_an_entry_beyond_its_own_stop_enters_and_leaves_at_the_same_open_and_has_no_r():
    wide = X._replace(half_spread_bps=200)  # pays 102, stop 101, opens at 100
    result = run(market([QUIET, QUIET]), (0, "enter_long"), distance=1, instruments=[wide])
    assert fills(result) == [(1, "entry", 1, 102), (1, "stop", 1, 98)]
    assert result.trades["pnl"].tolist() == [-4]
    assert np.isnan(result.trades["r"]).all()


def test_fees_are_taken_on_the_price_paid():
    bars = market([QUIET, QUIET, (110, 111, 109, 110)])
    result = run(
        bars,
        (0, "enter_long"),
        (1, "exit_long"),
        instruments=[X._replace(half_spread_bps=100)],
        fees=(FeePeriod(0, (FeeTier(0, 10, 20),)),),
    )
    # paid 101 + 0.202, received 108.9 - 0.2178
    assert result.fills["fee"].tolist() == pytest.approx([0.202, 0.2178])
    trade = result.trades[0]
    assert trade["edge"] == 10
    assert trade["spread"] == pytest.approx(1 + 1.1)
    assert result.equity[-1] == pytest.approx(10_000 + 10 - 2.1 - 0.4198)


def test_the_fee_tier_is_that_of_the_volume_when_the_order_was_placed_and_a_boundary_belongs_to_the_higher():
    bars = market([QUIET] * 6)
    fees = (FeePeriod(0, (FeeTier(0, 10, 20), FeeTier(200, 5, 10))), FeePeriod(5 * HOUR, (FeeTier(0, 1, 1),)))
    # enters at bar 1 (volume 0), leaves at 2 (100), enters at 3 (200: the boundary), leaves at 5 (placed at 5 h)
    wanted = [(0, "enter_long"), (1, "exit_long"), (2, "enter_long"), (4, "exit_long")]
    result = run(bars, *wanted, fees=fees)
    assert result.fills["fee"].tolist() == pytest.approx([0.2, 0.2, 0.1, 0.01])


def test_volume_is_forgotten_after_thirty_days():
    bars = market([QUIET] * 6, bar_us=10 * 24 * HOUR)
    fees = (FeePeriod(0, (FeeTier(0, 0, 20), FeeTier(100, 0, 10))),)
    result = run(bars, (0, "enter_long"), (4, "exit_long"), fees=fees)  # bought in bar 1, placed at day 50
    assert result.fills["fee"].tolist() == pytest.approx([0.2, 0.2])


def test_a_protective_order_keeps_the_tier_of_its_entry():
    bars = market([QUIET, QUIET, (100, 100, 89, 95)])
    fees = (FeePeriod(0, (FeeTier(0, 0, 20), FeeTier(100, 0, 10))),)
    result = run(bars, (0, "enter_long"), distance=10, fees=fees)
    assert result.fills["fee"].tolist() == pytest.approx([0.2, 0.18])  # 90 x 20 bps


def test_a_short_pays_borrow_on_the_close_before_for_every_bar_it_is_carried_into():
    bars = market([QUIET, QUIET, None, (120, 121, 119, 120)], bar_us=24 * HOUR)
    result = run(bars, (0, "enter_short"), (1, "exit_short"), borrow_bps_per_day=10)
    # carried from the close of bar 1 (100) over the missing bar to that of bar 3: 100 x 10 bps x 2 days
    assert result.trades[["borrow", "pnl"]].tolist() == [(pytest.approx(0.2), pytest.approx(-20.2))]
    assert result.equity.tolist() == pytest.approx([10_000, 10_000, 10_000, 9_979.8])


def test_a_split_multiplies_what_is_held_and_divides_its_stop_and_pays_out_fractions():
    # 5 units at 100, stop 90. 3 for 2: 7.5 units, stop 60; half a unit is paid out at 66.
    bars = market([QUIET, QUIET, (66, 67, 66, 66), (60, 61, 59, 60)], splits=[(2, 1.5)])
    whole = X._replace(lot=1)
    result = run(bars, (0, "enter_long"), distance=10, size=Size("units", 5), instruments=[whole])
    assert fills(result)[1:] == [(2, "reduce", 0.5, 66), (3, "stop", 7, 60)]
    assert result.trades["pnl"].tolist() == [-47]  # 33 + 420 - 500


def test_a_split_reaches_the_order_decided_before_it():
    bars = market([QUIET, (50, 51, 44, 46)], splits=[(1, 2.0)])
    result = run(bars, (0, "enter_long"), distance=10)
    assert fills(result) == [(1, "entry", 2, 50), (1, "stop", 2, 45)]


def test_a_reverse_split_that_leaves_less_than_a_lot_refuses_the_order():
    bars = market([QUIET, (1000, 1000, 1000, 1000)], splits=[(1, 0.1)])
    result = run(bars, (0, "enter_long"), instruments=[X._replace(lot=1)])
    assert refused(result) == [(1, "below_min_notional")]


@pytest.mark.parametrize(("enter", "amount"), [("enter_long", 2.5), ("enter_short", -2.5)])
def test_a_dividend_is_paid_to_longs_and_by_shorts_on_what_was_carried_in(enter, amount):
    bars = market([QUIET, QUIET, QUIET], dividends=[(1, 9), (2, 0.25)])  # the first comes before the position
    result = run(bars, (0, enter), size=Size("units", 10), close_at_end=True)
    assert result.trades[["dividends", "pnl"]].tolist() == [(amount, amount)]


def test_an_opposite_entry_closes_and_opens_at_the_same_open_in_two_orders_and_two_trades():
    result = run(market([QUIET] * 4), (0, "enter_long"), (1, "enter_short"), (2, "enter_short"))
    assert reasons(result) == ["entry", "signal", "entry"]
    assert result.fills["bar"].tolist() == [1, 2, 2]
    assert result.fills["order"].tolist() == [1, 2, 3]
    assert result.fills["trade"].tolist() == [1, 1, 2]


def test_an_exit_wins_over_the_entry_of_the_same_side():
    result = run(market([QUIET] * 4), (0, "enter_long"), (1, "enter_long"), (1, "exit_long"), (2, "exit_short"))
    assert reasons(result) == ["entry", "signal"]


def test_entries_of_both_sides_are_refused():
    result = run(market([QUIET] * 3), (0, "enter_long"), (0, "enter_short"))
    assert refused(result) == [(0, "conflicting_signal")]
    assert not result.fills.size


def test_an_embargo_refuses_changes_once_each_and_lets_stops_go_on():
    bars = market([QUIET, QUIET, (100, 100, 89, 95), QUIET])
    wanted = [(0, "enter_long"), (1, "enter_short"), (1, "exit_long"), (2, "enter_long")]
    result = run(bars, *wanted, distance=10, embargoed=[1, 2])
    assert reasons(result) == ["entry", "stop"]
    assert refused(result) == [(1, "embargoed_data"), (2, "embargoed_data")]


def test_a_close_whose_position_left_at_the_same_open_is_position_closed():
    bars = market([QUIET, QUIET, (80, 80, 80, 80)])
    result = run(bars, (0, "enter_long"), (1, "exit_long"), distance=10)
    assert reasons(result) == ["entry", "stop"]
    assert refused(result) == [(2, "position_closed")]


def test_an_order_waits_for_the_next_bar_its_instrument_has_and_equity_stays():
    result = run(market([QUIET, None, (103, 103, 103, 103)], [QUIET] * 3), (0, "enter_long"), instruments=[X, X])
    assert fills(result) == [(2, "entry", 1, 103)]
    assert result.equity.tolist() == [10_000] * 3


def test_a_missing_bar_is_marked_at_the_last_close():
    result = run(market([QUIET, (100, 105, 100, 105), None]), (0, "enter_long"))
    assert result.equity.tolist() == [10_000, 10_005, 10_005]


def test_exits_free_the_cash_that_entries_of_the_same_open_need():
    bars = market([QUIET] * 4, [QUIET] * 4)
    wanted = [
        (0, "enter_long", 1),
        (1, "exit_long", 1),
        (1, "enter_long", 0),
    ]  # instrument 0 comes first, needs the 100
    result = run(bars, *wanted, instruments=[X, X._replace(id="Y")], cash=100.0)
    assert result.fills["instrument"].tolist() == [1, 1, 0]
    assert not result.rejections.size


def test_entries_fill_by_order_id_until_cash_is_spent():
    bars = market([QUIET, None, QUIET], [QUIET] * 3)
    wanted = [(0, "enter_long", 0), (1, "enter_long", 1)]  # the order of 0 has waited longer
    result = run(bars, *wanted, instruments=[X, X._replace(id="Y")], cash=150.0)
    assert result.fills["instrument"].tolist() == [0]
    assert refused(result) == [(2, "insufficient_cash")]


def test_an_entry_needs_its_costs_too_and_is_never_cut():
    fees = (FeePeriod(0, (FeeTier(0, 0, 100),)),)
    assert refused(run(market([QUIET] * 2), (0, "enter_long"), cash=100.99, fees=fees)) == [(1, "insufficient_cash")]
    assert reasons(run(market([QUIET] * 2), (0, "enter_long"), cash=101.0, fees=fees)) == ["entry"]


def test_a_short_locks_its_proceeds_and_its_notional():
    bars = market([QUIET] * 3, [QUIET] * 3)
    wanted = [(0, "enter_short", 0), (1, "enter_long", 1)]
    pair = [X, X._replace(id="Y")]
    assert reasons(run(bars, *wanted, instruments=pair, cash=200.0)) == ["entry", "entry"]
    assert refused(run(bars, *wanted, instruments=pair, cash=199.0)) == [(2, "insufficient_cash")]


def test_what_may_not_be_shorted_is_refused_but_the_long_is_closed():
    result = run(market([QUIET] * 4), (0, "enter_long"), (1, "enter_short"), instruments=[X._replace(shortable=False)])
    assert reasons(result) == ["entry", "signal"]
    assert refused(result) == [(1, "not_shortable")]


@pytest.mark.parametrize(
    ("size", "quantity"),
    [
        (Size("units", 3.0007), 3.0),  # floored to the lot
        (Size("notional", 250), 2.5),
        (Size("equity_share", 0.2), 20.0),  # 10 000 x 0.2 / 100
        (Size("risk_per_trade", 0.005), 25.0),  # 10 000 x 0.005 / 2
        (Size("risk_per_trade", 0.005, 0.1), 10.0),  # at most 10 000 x 0.1 / 100
    ],
)
def test_sizes_come_from_the_close_and_equity_of_the_decision(size, quantity):
    result = run(market([QUIET, (50, 51, 49, 50)]), (0, "enter_long"), distance=2, size=size)
    assert result.fills["quantity"].tolist()[:1] == pytest.approx([quantity])


def test_an_order_below_the_minimum_notional_is_refused_and_never_rounded_up():
    result = run(market([QUIET] * 2), (0, "enter_long"), instruments=[X._replace(min_notional=100.01)])
    assert refused(result) == [(0, "below_min_notional")]


def test_no_stop_where_one_is_needed_is_refused():
    bars = market([QUIET] * 2)
    result = simulate(bars, decisions(bars, (0, "enter_long")), [X], rules(stop=True))
    assert refused(result) == [(0, "invalid_stop")]


def test_a_window_closes_at_the_last_close_of_each_instrument_as_taker():
    bars = market([QUIET, QUIET, None], [QUIET, QUIET, (100, 120, 100, 120)])
    wanted = [(0, "enter_long", 0), (0, "enter_long", 1), (1, "exit_long", 0)]  # too late: 0 has no bar after 1
    result = run(bars, *wanted, instruments=[X, X._replace(id="Y", half_spread_bps=100)], close_at_end=True)
    assert fills(result)[2:] == [(1, "window_end", 1, 100), (2, "window_end", 1, pytest.approx(118.8))]
    assert not result.rejections.size


def test_logs_longer_than_their_first_room_are_complete():
    n = 20_001
    result = run(market([QUIET] * n), *((t, ("enter_long", "exit_long")[t % 2]) for t in range(n)))
    assert result.fills["id"].tolist() == list(range(1, n))
    assert result.trades["id"].tolist() == list(range(1, n // 2 + 1))


# Laws

seeds = st.integers(0, 2**32 - 1)
variants = st.sampled_from(
    [
        {},
        {"distance": 1.0},
        {"distance": 2.0, "targets": (Target(1, 0.5), Target(2, 0.5)), "break_even_after_first": True},
        {"distance": 1.5, "targets": (Target(1, 0.4),), "path": "favourable", "limit_fill": "touch"},
    ]
)
COSTS = {"fees": (FeePeriod(0, (FeeTier(0, 10, 20), FeeTier(20_000, 5, 10))),), "borrow_bps_per_day": 5.0}
SPREAD = X._replace(half_spread_bps=5)


def random_market(seed, *, n_bars=60, n_instruments=2):
    """Bars on a grid of 1/8, so that sums of prices are exact; a tenth of them missing, with splits and dividends."""
    rng = np.random.default_rng(seed)
    closes = 100 + np.cumsum(rng.integers(-12, 13, (n_bars, n_instruments)), axis=0) / 8
    opens = np.vstack([closes[:1], closes[:-1]]) + rng.integers(-4, 5, closes.shape) / 8
    highs = np.maximum(opens, closes) + rng.integers(0, 9, closes.shape) / 8
    lows = np.minimum(opens, closes) - rng.integers(0, 9, closes.shape) / 8
    splits = np.where(rng.random(closes.shape) < 0.02, 2.0, 1.0)
    dividends = np.where(rng.random(closes.shape) < 0.05, 0.5, 0.0)
    missing = rng.random(closes.shape) < 0.1
    splits[missing], dividends[missing] = 1.0, 0.0
    prices = [np.where(missing, np.nan, price) for price in (opens, highs, lows, closes)]
    ts = np.arange(n_bars) * 24 * HOUR
    return Market(ts, ts + 24 * HOUR, *prices, splits, dividends)


def random_decisions(seed, bars, distance=NAN):
    rng = np.random.default_rng(seed + 1)
    present = ~np.isnan(bars.opens)
    signals = [present & (rng.random(present.shape) < 0.15) for _ in range(4)]
    return Decisions(*signals, np.full(present.shape, distance), rng.random(present.shape) < 0.1)


def simulated(bars, made, *, distance=NAN, instruments=None, **changes):
    pair = instruments or [SPREAD, SPREAD._replace(id="Y")]
    return simulate(bars, made, pair, rules(stop=not np.isnan(distance), **{**COSTS, **changes}))


def up_to(result, t):
    """Everything that is known of a run at the close of bar `t`."""
    logs = [
        *(result.fills[result.fills["bar"] <= t], result.rejections[result.rejections["closed_on"] <= t]),
        result.trades[result.trades["exit_bar"] <= t],
    ]
    curves = [curve[: t + 1] for curve in (result.equity, result.cash, result.gross_exposure)]
    return [array.tobytes() for array in (*curves, *logs)]


@given(seeds, variants, st.integers(0, 58))
def test_a_decision_on_bar_t_moves_nothing_before_bar_t_plus_1(seed, variant, t):
    bars = random_market(seed)
    made = random_decisions(seed, bars, variant.get("distance", NAN))
    other = random_decisions(seed + 7, bars, variant.get("distance", NAN))
    changed = Decisions(*(np.concatenate([a[:t], b[t:]]) for a, b in zip(made[:6], other[:6], strict=True)))
    before, after = (simulated(bars, decided, **variant) for decided in (made, changed))
    fills_of = [result.fills[result.fills["bar"] <= t].tobytes() for result in (before, after)]
    assert fills_of[0] == fills_of[1]
    for name in ("equity", "cash", "gross_exposure"):
        np.testing.assert_array_equal(getattr(before, name)[: t + 1], getattr(after, name)[: t + 1])


@given(seeds, variants, st.integers(1, 59))
def test_cut_data_give_cut_results(seed, variant, n_bars):
    bars = random_market(seed)
    made = random_decisions(seed, bars, variant.get("distance", NAN))
    cut_bars, cut_made = Market(*(a[:n_bars] for a in bars[:8])), Decisions(*(a[:n_bars] for a in made[:6]))
    assert up_to(simulated(cut_bars, cut_made, **variant), n_bars - 1) == up_to(
        simulated(bars, made, **variant), n_bars - 1
    )


@given(seeds, variants)
def test_edge_less_costs_plus_dividends_is_the_change_in_equity(seed, variant):
    bars = random_market(seed)
    made = random_decisions(seed, bars, variant.get("distance", NAN))
    result = simulated(bars, made, close_at_end=True, size=Size("equity_share", 0.3), **variant)
    trades = result.trades
    parts = trades["edge"] - trades["fees"] - trades["spread"] - trades["borrow"] + trades["dividends"]
    np.testing.assert_allclose(parts, trades["pnl"], rtol=1e-9, atol=1e-9)
    assert result.equity[-1] - 10_000 == pytest.approx(parts.sum(), rel=1e-9, abs=1e-7)
    assert result.fills["fee"].sum() == pytest.approx(trades["fees"].sum(), rel=1e-9)
    assert np.isfinite(result.equity).all()
    assert result.cash[-1] == result.equity[-1]


@given(seeds, variants)
def test_shorts_on_mirrored_prices_earn_what_longs_earn(seed, variant):
    bars = random_market(seed, n_instruments=1)
    bars = bars._replace(splits=np.ones_like(bars.splits), dividends=bars.dividends * 0)
    made = random_decisions(seed, bars, variant.get("distance", NAN))
    mirror = 256 - bars.opens, 256 - bars.lows, 256 - bars.highs, 256 - bars.closes
    mirrored = bars._replace(opens=mirror[0], highs=mirror[1], lows=mirror[2], closes=mirror[3])
    swapped = Decisions(*made[2:4], *made[:2], *made[4:])
    free = {"fees": FREE, "borrow_bps_per_day": 0.0, "instruments": [X._replace(tick=0.125)], **variant}
    long, short = simulated(bars, made, **free), simulated(mirrored, swapped, **free)
    np.testing.assert_allclose(long.equity, short.equity, rtol=1e-12)


@given(seeds, variants)
def test_doubling_cash_and_sizes_doubles_pnl_when_costs_are_proportional(seed, variant):
    bars = random_market(seed)
    made = random_decisions(seed, bars, variant.get("distance", NAN))
    flat = {"fees": (FeePeriod(0, (FeeTier(0, 10, 20),)),), **variant}
    once = simulated(bars, made, size=Size("units", 8), **flat)
    twice = simulated(bars, made, size=Size("units", 16), cash=20_000.0, **flat)
    np.testing.assert_allclose(twice.equity, 2 * once.equity, rtol=1e-12)


@settings(max_examples=25)
@given(seeds)
def test_prices_that_never_move_give_exactly_minus_costs(seed):
    bars = market([(100, 100, 100, 100)] * 40)
    result = simulated(bars, random_decisions(seed, bars), instruments=[SPREAD], borrow_bps_per_day=0.0)
    costs = result.fills["fee"].sum() + result.fills["spread"].sum()
    assert result.equity[-1] == pytest.approx(10_000 - costs, abs=1e-9)


def test_the_same_inputs_give_the_same_bytes():
    bars = random_market(3)
    first, second = (simulated(bars, random_decisions(3, bars)) for _ in range(2))
    assert up_to(first, 60) == up_to(second, 60)


# Records for people


def test_frames_name_what_the_records_number():
    bars = market([QUIET, QUIET, (100, 100, 89, 95)])
    result = run(bars, (0, "enter_long"), (2, "enter_long"), (2, "enter_short"), distance=10)
    fill = fills_frame(result, bars, [X]).row(1, named=True)
    assert {"id": "f-000002", "order": "o-000002", "trade": "t-000001", "instrument": "X"}.items() <= fill.items()
    assert {"side": "sell", "why": "stop", "liquidity": "taker", "bar": 2}.items() <= fill.items()
    assert str(fill["ts"]) == "1970-01-01 02:00:00+00:00"
    trade = trades_frame(result, bars, [X]).row(0, named=True)
    assert {"id": "t-000001", "side": "long", "exit_reason": "stop", "r": -1.0, "pnl": -10.0}.items() <= trade.items()
    refusal = rejections_frame(result, bars, [X]).row(0, named=True)
    assert {"reason": "conflicting_signal", "side": None, "quantity": None}.items() <= refusal.items()


def test_frames_of_a_run_without_fills_have_the_same_columns():
    bars = market([QUIET])
    frame = trades_frame(run(bars), bars, [X])
    assert frame.is_empty()
    assert frame.schema["entry_ts"] == pl.Datetime("us", "UTC")


# Refusals


def test_a_refusal_names_every_shape():
    bars = market([QUIET] * 3)
    short = decisions(market([QUIET] * 2))
    with pytest.raises(UnalignedError, match=r"opens\[3, 1\].*enter_long\[2, 1\]"):
        simulate(bars, short, [X], rules())


@pytest.mark.parametrize(
    ("changes", "seen"),
    [
        pytest.param({"highs": 90.0}, "impossible prices", id="a high below the open"),
        pytest.param({"lows": 0.0}, "impossible prices", id="a price of zero"),
        pytest.param({"closes": NAN}, "impossible prices", id="a bar partly missing"),
        pytest.param({"splits": 0.0}, "impossible split", id="a split to nothing"),
        pytest.param({"dividends": NAN}, "impossible dividend", id="a dividend that is not known"),
        pytest.param({"known_at": 0}, "known at or before its open", id="a bar known before it opened"),
        pytest.param({"known_at": 9 * HOUR}, "known after the next bar opens", id="a bar known too late to act on"),
        pytest.param({"ts": 5 * HOUR, "known_at": 6 * HOUR}, "known after the next", id="times that go back"),
    ],
)
def test_a_bar_that_cannot_have_happened_is_refused_with_its_number(changes, seen):
    bars = market([QUIET] * 3)
    for name, value in changes.items():
        getattr(bars, name)[1] = value
    with pytest.raises(UnusableBarError, match=f"bar 1: {seen}"):
        run(bars)


def test_a_decision_without_a_bar_is_refused():
    with pytest.raises(UnusableBarError, match="bar 1: a decision without a bar"):
        run(market([QUIET, None]), (1, "enter_long"))


def test_a_time_before_the_fee_schedule_is_refused():
    with pytest.raises(UnusableBarError, match="bar 0: earlier than the fee schedule"):
        run(market([QUIET]), fees=(FeePeriod(2 * HOUR, FREE[0].tiers),))


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({"cash": 0.0}, "cash"),
        ({"size": Size("units", NAN)}, "size.amount"),
        ({"size": Size("risk_per_trade", 0.01)}, "stop"),
        ({"targets": (Target(1, 1),)}, "stop"),
        ({"borrow_bps_per_day": -1.0}, "borrow_bps_per_day"),
        ({"stop": True, "break_even_after_first": True}, "targets"),
        ({"stop": True, "targets": (Target(2, 0.5), Target(1, 0.5))}, "targets.r"),
        ({"stop": True, "targets": (Target(1, 0.7), Target(2, 0.7))}, "targets.share"),
        ({"stop": True, "targets": tuple(Target(k, 0.1) for k in range(1, 10))}, "targets"),
        ({"fees": ()}, "fees"),
        ({"fees": FREE * 2}, "fees"),
        ({"fees": (FeePeriod(0, (FeeTier(5, 0, 0),)),)}, "fees.tiers.volume"),
        ({"fees": (FeePeriod(0, (FeeTier(0, 0, NAN),)),)}, "fees.tiers"),
    ],
)
def test_a_rule_that_cannot_mean_anything_is_refused_by_name(changes, name):
    bars = market([QUIET])
    with pytest.raises(OutOfBoundsError, match=rf"^{name} is"):
        simulate(bars, decisions(bars), [X], rules(**changes))


def test_an_instrument_that_cannot_be_traded_is_refused_by_name():
    with pytest.raises(OutOfBoundsError, match=r"X\.lot is 0"):
        run(market([QUIET]), instruments=[X._replace(lot=0)])


def test_an_unknown_policy_is_refused_with_the_nearest():
    with pytest.raises(UnknownNameError, match="did you mean 'adverse'"):
        run(market([QUIET]), path="advers")
