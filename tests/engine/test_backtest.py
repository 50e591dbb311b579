"""From bars to the one series of returns: the grid, what is decided on it, and equity at session closes."""

from datetime import date, timedelta
from itertools import pairwise

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.backtest import decisions, grid, run, session_returns, sweep
from engine.causal import Bars, where
from engine.errors import StrategyError
from engine.indicators import atr
from engine.simulator.inputs import Exits, Trail
from engine.simulator.inputs import Stop as ProtectiveStop
from engine.simulator.simulation import Simulation
from engine.strategy import Signals, Strategy
from tests.makers import (
    BUY,
    COVER,
    DAY,
    SELL,
    SESSION,
    SHORT,
    START,
    Scripted,
    due_bars,
    flat_bars,
    history_of,
    plan_of,
)

SIGNALS = ("enter_long", "exit_long", "enter_short", "exit_short")
HALF_DAY = timedelta(hours=12)


def session(n: int) -> date:
    return SESSION + n * DAY


def backtest(history, plan, **how):
    on = grid(history, plan)
    return run(on, decisions(Scripted(), history, plan, on), plan, **how)


def test_the_grid_knows_volumes_and_sessions():
    own = history_of({"X": flat_bars([1, 2, 3, 4], step=HALF_DAY)})
    own.raw["X"] = own.raw["X"].with_columns(volume=pl.Series([5.0, None, 7.0, 8.0]))
    bars = grid(own, plan_of("X")).bars
    assert listed(bars.volumes) == [[5.0], [None], [7.0], [8.0]]
    assert np.diff(bars.sessions).tolist() == [0, 1, 0]


def listed(values):
    return [[None if np.isnan(value) else float(value) for value in row] for row in values]


# The grid


def test_instruments_lie_side_by_side_on_the_union_of_their_bars():
    history = history_of({"X": flat_bars([10, None, 12, None]), "Y": flat_bars([None, 21, 22, None, 24])})
    bars = grid(history, plan_of("X", "Y")).bars
    assert listed(bars.closes) == [[10, None], [None, 21], [12, 22], [None, 24]]
    for prices in (bars.opens, bars.highs, bars.lows):
        assert listed(prices) == listed(bars.closes)
    micros = [int((START + n * DAY).timestamp()) * 1_000_000 for n in (0, 1, 2, 4)]
    assert bars.ts.tolist() == micros
    assert (bars.known_at - bars.ts).tolist() == [86_400_000_000] * 4


def test_rows_are_the_bars_of_the_sessions_both_ends_included():
    on = grid(history_of({"X": flat_bars([1, 2, 3, None, None, 6], step=HALF_DAY)}), plan_of("X"))
    assert on.sessions.to_list() == [session(0), session(0), session(1), session(2)]
    assert on.rows(session(0), session(1)) == (0, 3)
    assert on.rows(session(1), session(1)) == (2, 3)
    assert on.rows(session(-5), session(9)) == (0, 4)
    assert on.rows(session(3), session(9)) == (4, 4)


@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=12))
def test_nothing_stands_on_the_grid_that_was_not_received_and_nothing_is_lost(present):
    there = {name: [row[i] for row in present] for i, name in enumerate("XY")}
    if not all(map(any, there.values())):
        return
    closes = {name: [float(n + 1) if bar else None for n, bar in enumerate(bars)] for name, bars in there.items()}
    bars = grid(history_of({name: flat_bars(values) for name, values in closes.items()}), plan_of("X", "Y")).bars
    kept = [list(row) for row in zip(*closes.values(), strict=True) if any(row)]
    assert listed(bars.closes) == kept


@pytest.mark.parametrize(
    ("ex_date", "bar"),
    [
        pytest.param(session(2), 1, id="on a session with a bar it acts on that bar"),
        pytest.param(session(1), 1, id="on a session without a bar it acts on the first one after it"),
        pytest.param(session(0), None, id="on the first bar nothing was held before"),
        pytest.param(session(-1), None, id="before the first bar nothing was held"),
        pytest.param(session(9), None, id="after the last bar nothing happens"),
    ],
)
@pytest.mark.parametrize(("kind", "quiet", "value"), [("split", 1.0, 2.0), ("dividend", 0.0, 0.5)])
def test_a_corporate_action_acts_on_the_first_bar_at_or_after_its_ex_date(kind, quiet, value, ex_date, bar):
    closes = flat_bars([10, None, 12, 13])
    on = grid(history_of({"X": closes, "Y": closes}, actions=[("X", ex_date, kind, value)]), plan_of("X", "Y"))
    found = {"split": on.bars.splits, "dividend": on.bars.dividends}
    expected = np.full((3, 2), quiet)
    if bar is not None:
        expected[bar, 0] = value
    np.testing.assert_array_equal(found.pop(kind), expected)
    (other,) = found.values()
    assert len(np.unique(other)) == 1


def test_actions_that_meet_on_one_bar_add_up():
    actions = [
        ("X", session(1), "split", 2.0),
        ("X", session(2), "split", 3.0),
        ("X", session(2), "dividend", 0.5),
        ("X", session(3), "dividend", 0.25),
    ]
    bars = grid(history_of({"X": flat_bars([60, None, None, 10])}, actions=actions), plan_of("X")).bars
    assert bars.splits[:, 0].tolist() == [1, 6]
    assert bars.dividends[:, 0].tolist() == [0, 0.75]


@pytest.mark.parametrize("order", [1, -1])
def test_a_dividend_before_a_split_on_the_same_bar_is_paid_on_the_units_of_its_own_day(order):
    actions = [("X", session(2), "dividend", 1.0), ("X", session(3), "split", 2.0)][::order]
    bars = grid(history_of({"X": flat_bars([20, 20, None, 10])}, actions=actions), plan_of("X")).bars
    assert bars.splits[:, 0].tolist() == [1, 1, 2]
    assert bars.dividends[:, 0].tolist() == [0, 0, 0.5]  # per unit held after the split; a unit of before had 1


def test_a_position_is_worth_the_same_through_a_split_and_a_dividend():
    actions = [("X", session(2), "split", 2.0), ("X", session(3), "dividend", 1.0)]
    history = history_of({"X": flat_bars([100, 100, 50, 49, 49], said={0: BUY})}, actions=actions)
    assert backtest(history, plan_of("X")).equity.tolist() == [1_000] * 5


def test_an_embargo_lies_on_the_bars_of_its_session_and_instrument():
    bars = flat_bars([1, 2, 3, None, 5], step=HALF_DAY)
    on = grid(history_of({"X": bars, "Y": bars}, embargoed=[(session(1), "Y")]), plan_of("X", "Y"))
    assert on.embargoed.tolist() == [[False, False], [False, False], [False, True], [False, False]]


def test_slots_count_the_bars_that_are_due_and_missing():
    bars = grid(history_of({"X": flat_bars([1, None, None, 4, 5])}), plan_of("X")).bars
    assert np.diff(bars.slots).tolist() == [3, 1]


def test_a_session_ends_where_the_calendar_says_and_not_at_the_last_bar_that_came():
    """The second session lacks its last bar, which nobody knew while the bar before it was the newest."""
    half_days = due_bars(6, step=HALF_DAY)
    bars = grid(history_of({"X": flat_bars([1, 2, 3, None, 5], step=HALF_DAY)}, due=half_days), plan_of("X")).bars
    assert bars.session_ends.tolist() == [False, True, False, False]


# Decisions


def test_what_a_strategy_says_stands_on_the_bar_it_was_said_on():
    said = {0: BUY, 2: SELL, 3: SHORT, 4: COVER}
    history = history_of({"X": flat_bars([1] * 5, said=said)})
    decided = decisions(Scripted(), history, plan_of("X"), grid(history, plan_of("X")))
    assert {name: np.flatnonzero(getattr(decided, name)).tolist() for name in SIGNALS} == {
        "enter_long": [0],
        "exit_long": [2],
        "enter_short": [3],
        "exit_short": [4],
    }


def test_nothing_is_decided_where_an_instrument_has_no_bar():
    always = dict.fromkeys(range(5), BUY)
    bars = {"X": flat_bars([1, None, 1, None, 1], said=always), "Y": flat_bars([None, 1, 1, 1, None], said=always)}
    history, plan = history_of(bars), plan_of("X", "Y")
    on = grid(history, plan)
    decided = decisions(Scripted(), history, plan, on)
    np.testing.assert_array_equal(decided.enter_long, ~np.isnan(on.bars.closes))
    assert not any(getattr(decided, name).any() for name in SIGNALS[1:])


def test_a_change_of_tomorrow_decides_nothing_today():
    plan = plan_of("X")
    before, after = (history_of({"X": flat_bars([1] * 4, said={1: BUY, 3: last})}) for last in (SELL, SHORT))
    one, other = (decisions(Scripted(), history, plan, grid(history, plan)) for history in (before, after))
    for name in SIGNALS:
        np.testing.assert_array_equal(getattr(one, name)[:3], getattr(other, name)[:3])


# A run


def test_what_is_decided_on_a_close_is_bought_at_the_next_open():
    history = history_of({"X": flat_bars([100, 110, 130], said={0: BUY})})
    assert backtest(history, plan_of("X")).equity.tolist() == [1_000, 1_000, 1_020]


def test_a_range_starts_flat_with_the_plans_cash():
    history = history_of({"X": flat_bars([100, 110, 130, 150, 170], said={0: BUY, 3: BUY})})
    result = backtest(history, plan_of("X"), rows=(2, 5))
    assert result.equity.tolist() == [1_000, 1_000, 1_000]  # what was bought before belongs to another run
    assert result.fills["bar"].tolist() == [2]  # counted from the start of the range


def test_a_decision_on_the_last_bar_before_a_range_fills_nothing_inside_it():
    history = history_of({"X": flat_bars([100, 110, 130], said={0: BUY})})
    assert backtest(history, plan_of("X"), rows=(1, 3)).fills.size == 0


def test_a_range_is_the_same_run_whatever_lies_behind_it():
    said = {1: BUY, 3: SELL}
    short, long = (history_of({"X": flat_bars([100, 90, 110, 95, 120, *more], said=said)}) for more in ((), (1, 900)))
    one, other = (backtest(history, plan_of("X"), rows=(1, 5)) for history in (short, long))
    for mine, theirs in zip(one, other, strict=True):
        assert np.asarray(mine).tobytes() == np.asarray(theirs).tobytes()


def test_a_run_leaves_nothing_open_when_asked():
    history = history_of({"X": flat_bars([100, 110, 130], said={0: BUY})})
    assert backtest(history, plan_of("X")).trades.size == 0
    assert backtest(history, plan_of("X"), close_at_end=True).trades["pnl"].tolist() == [20]


def test_nothing_is_entered_while_the_ranges_of_the_exits_are_not_warm():
    """Wilder's mean over 3 bars forgets to a billionth in 52; the shorter one of a trail is warm by then."""
    closes = 100 + np.arange(60) % 7
    history = history_of({"X": flat_bars([*map(float, closes)], said=dict.fromkeys(range(60), BUY))})
    exits = Exits(stop=ProtectiveStop(atr=2.0, length=3), trail=Trail(atr=3.0, length=2))
    plan = plan_of("X", exits=exits)
    decided = decisions(Scripted(), history, plan, grid(history, plan)).enter_long[:, 0]
    assert np.flatnonzero(decided)[0] == atr(Bars("1d"), 3).warm_up > atr(Bars("1d"), 2).warm_up
    assert decided[np.flatnonzero(decided)[0] :].all()
    assert (2 / 3) ** np.flatnonzero(decided)[0] < 1e-9


def test_what_is_measured_is_measured_on_the_bars_before_a_range_too():
    closes = 100 + np.arange(60) % 7
    history = history_of({"X": flat_bars([*map(float, closes)], said={56: BUY})})
    plan = plan_of("X", exits=Exits(stop=ProtectiveStop(atr=2.0, length=3)))
    (order,) = backtest(history, plan, rows=(56, 60)).orders[:1]
    whole = backtest(history, plan).orders[0]
    assert order["distance_seen"] == whole["distance_seen"] > 0
    assert (order["decided_on"], whole["decided_on"]) == (0, 56)


# Returns at session closes


def simulation(equity, exposure=None):
    exposure = [0.0] * len(equity) if exposure is None else exposure
    nothing = np.empty(0)
    curves = (np.array(equity), np.array(equity), np.array(exposure), np.zeros(len(equity)))
    return Simulation(*curves, nothing, nothing, nothing, nothing, 0, ())


def returns_of(equity, sessions, of, exposure=None):
    on = flat_bars([1] * len(sessions))["session"].replace_strict(
        [session(n) for n in range(len(sessions))], [session(n) for n in sessions]
    )
    days = [session(n) for n in of]
    return session_returns(simulation(equity, exposure), on, of=days, cash=1_000.0)


def test_a_return_is_the_change_of_equity_from_close_to_close():
    found = returns_of([1_000.0, 1_100, 990], [0, 1, 2], of=[0, 1, 2])
    assert found.columns == ["session", "equity", "return", "drawdown", "gross_exposure"]
    assert found["return"].to_list() == pytest.approx([0, 0.1, -0.1])
    assert found["drawdown"].to_list() == pytest.approx([0, 0, 0.1])


def test_a_session_is_read_at_its_last_bar():
    found = returns_of([5.0, 1_100, 5, 990], [0, 0, 1, 1], of=[0, 1], exposure=[0.1, 0.2, 0.3, 0.4])
    assert found["equity"].to_list() == [1_100, 990]
    assert found["gross_exposure"].to_list() == [0.2, 0.4]
    assert found["return"].to_list() == pytest.approx([0.1, -0.1])


def test_a_session_without_a_bar_is_flat():
    found = returns_of([1_100.0, 1_210], [1, 3], of=[0, 1, 2, 3, 4], exposure=[0.5, 0.6])
    assert found["equity"].to_list() == [1_000, 1_100, 1_100, 1_210, 1_210]
    assert found["return"].to_list() == pytest.approx([0, 0.1, 0, 0.1, 0])
    assert found["gross_exposure"].to_list() == [0, 0.5, 0.5, 0.6, 0.6]


def test_a_day_on_which_nothing_is_held_counts_as_zero():
    history = history_of({"X": flat_bars([100, 100, 110, 120, 130], said={0: BUY, 2: SELL})})
    on = grid(history, plan_of("X"))
    found = session_returns(backtest(history, plan_of("X")), on.sessions, of=history.sessions, cash=1_000.0)
    assert found["return"].to_list() == pytest.approx([0, 0, 0.01, 10 / 1_010, 0])
    assert found["session"].to_list() == [session(n) for n in range(5)]


@given(st.lists(st.floats(1, 1_000), min_size=1, max_size=20), st.data())
def test_returns_compound_to_the_last_equity(equity, data):
    sessions = sorted(data.draw(st.lists(st.integers(0, 9), min_size=len(equity), max_size=len(equity))))
    found = returns_of(equity, sessions, of=range(10))
    assert 1_000 * (1 + found["return"]).product() == pytest.approx(equity[-1])
    closes = [
        value for (value, now), (_, then) in pairwise([*zip(equity, sessions, strict=True), (0, 10)]) if now != then
    ]
    assert found.filter(found["session"].is_in([session(n) for n in sessions]))["equity"].to_list() == closes


def test_an_account_with_nothing_left_is_closed_for_good():
    days = [session(n) for n in range(5)]
    equity = np.array([100.0, 50.0, -20.0, 30.0, 60.0])  # a short that lost more than there was, and came back
    nothing = np.zeros(5)
    simulation = Simulation(equity, nothing, nothing + 1, nothing, *(nothing,) * 4, ambiguous_trades=0, warnings=())
    returns = session_returns(simulation, pl.Series(days), of=days, cash=100.0)
    assert returns["equity"].to_list() == [100, 50, 0, 0, 0]
    assert returns["return"].to_list() == [0, -0.5, -1, 0, 0]
    assert returns["gross_exposure"].to_list() == [1, 1, 0, 0, 0]


def test_a_range_without_bars_is_a_flat_account():
    simulation = backtest(history_of({"X": flat_bars([10, 11])}), plan_of("X"), rows=(0, 0), close_at_end=True)
    assert simulation.equity.size == 0
    assert simulation.trades.size == 0


class Weighted(Strategy):
    """Half of the equity while the script says so, which only a change of tells."""

    share: float = 0.5

    def signals(self, bars):
        return Signals(weight=where(bars.feature("said") > 0, self.share, 0.0))


def weighted(closes, said):
    return history_of({"X": flat_bars(closes, said=said)})


def test_weights_are_held_without_a_sizer():
    history = weighted([100, 100, 100, 100], {0: 1, 1: 1})
    plan = plan_of("X", plan={"sized": False}, participation=100.0)
    result = run(on := grid(history, plan), decisions(Weighted(), history, plan, on), plan)
    assert [(int(fill["bar"]), float(fill["quantity"])) for fill in result.fills] == [(1, 5), (3, 5)]


@pytest.mark.parametrize(
    ("strategy", "plan", "message"),
    [
        (Weighted(), {}, "a size says it too: write `size: signal`"),
        (Scripted(), {"sized": False}, "leaves how much to it: write a sizer"),
    ],
    ids=["two sizes", "none"],
)
def test_how_much_is_said_by_one_of_the_two(strategy, plan, message):
    history = weighted([100, 100, 100], {0: BUY})
    made = plan_of("X", plan=plan)
    with pytest.raises(StrategyError, match=message):
        decisions(strategy, history, made, grid(history, made))


class Stopped(Strategy):
    def signals(self, bars):
        return Signals(enter=bars.feature("said") == BUY, stop=bars.close * 0.1)


def test_a_stop_that_nobody_listens_to_is_refused():
    history = weighted([100, 100, 100], {0: BUY})
    made = plan_of("X")
    with pytest.raises(StrategyError, match="write `stop: signal` under exits"):
        decisions(Stopped(), history, made, grid(history, made))


def test_a_stop_that_is_left_to_a_strategy_and_never_said_is_refused():
    history = weighted([100, 100, 100], {0: BUY})
    made = plan_of("X", exits=Exits(stop=ProtectiveStop(distances=True)))
    with pytest.raises(StrategyError, match="enters and says no stop"):
        decisions(Scripted(), history, made, grid(history, made))


def test_a_stop_that_is_said_is_a_distance_in_raw_prices():
    """Seen at 200 after a split of two for one, a tenth is 20; in the raw prices of 100 it is 10."""
    split = [("X", session(1), "split", 2.0)]
    history = history_of({"X": flat_bars([200, 100, 100, 89], said={1: BUY})}, actions=split)
    plan = plan_of("X", exits=Exits(stop=ProtectiveStop(distances=True)))
    result = run(on := grid(history, plan), decided := decisions(Stopped(), history, plan, on), plan)
    assert decided.stop_distances[1:, 0].tolist() == pytest.approx([10, 10, 8.9])
    assert [(int(fill["bar"]), float(fill["price"])) for fill in result.fills] == [(2, 100), (3, 89)]


def test_who_is_no_member_of_the_universe_is_not_entered_and_may_leave():
    members = pl.DataFrame({"session": [session(0), session(2)], "instrument": ["X", "X"]})
    history = weighted([100] * 5, {0: BUY, 1: SELL, 3: BUY})._replace(members=members)
    plan = plan_of("X")
    decided = decisions(Scripted(), history, plan, grid(history, plan))
    assert np.flatnonzero(decided.enter_long).tolist() == [0]
    assert np.flatnonzero(decided.exit_long).tolist() == [1]


def test_who_leaves_the_universe_is_held_at_nothing_by_a_target():
    members = pl.DataFrame({"session": [session(0), session(1)], "instrument": ["X", "X"]})
    history = weighted([100] * 4, dict.fromkeys(range(4), 1))._replace(members=members)
    plan = plan_of("X", plan={"sized": False}, participation=100.0)
    assert decisions(Weighted(), history, plan, grid(history, plan)).weights[:, 0].tolist() == [0.5, 0.5, 0, 0]


def test_a_sweep_of_targets_gives_what_each_run_gives():
    history = weighted([100, 110, 90, 120, 80, 100], {0: 1, 1: 1, 3: 1})
    plan = plan_of("X", plan={"sized": False}, participation=100.0)
    on, shares = grid(history, plan), (0.2, 0.5, 0.9)
    decided = [decisions(Weighted(share=share), history, plan, on) for share in shares]
    swept = sweep(on, [lambda one=one: one for one in decided], plan, rows=(1, 6), read=lambda equity: equity.tolist())
    assert swept == [run(on, one, plan, rows=(1, 6)).equity.tolist() for one in decided]
    assert len({curve[-1] for curve in swept}) == 3
