"""What a result hangs on, on runs small enough to be worked out by hand."""

import numpy as np
import pytest

from engine.backtest import decisions, grid, run
from engine.costs import FeePeriod, FeeTier
from engine.report import MOST_COSTS, MOST_RUNS, PATHS, break_even_cost_multiple, capacity, costs_multiplied, paths
from engine.simulator.inputs import Exits, PerShare, Size, Slippage, Stop, Target
from tests.makers import BUY, SELL, Scripted, flat_bars, history_of, plan_of

RISING = history_of({"X": flat_bars([100, 100, 110, 110], said={0: BUY, 2: SELL})})  # one unit earns 10


def fees(taker_bps: float) -> tuple[FeePeriod, ...]:
    return (FeePeriod(0, (FeeTier(0.0, 0.0, taker_bps),)),)


def prepared(plan, history=RISING):
    on = grid(history, plan)
    return on, decisions(Scripted(), history, plan, on), plan


# Paths


def test_the_three_paths_make_an_interval_of_what_no_bar_can_tell() -> None:
    """A bar from 100 that saw both 112 and 88: the stop at 90 lost 10, or the target at 110 won 10."""
    history = history_of({"X": flat_bars([100, 100, 103], said={0: BUY})})
    moved = {"high": [100.0, 112, 103], "low": [100.0, 88, 103], "close": [100.0, 103, 103], "volume": [9.0, 9, 9]}
    history.raw["X"] = history.raw["X"].with_columns(**{name: np.array(values) for name, values in moved.items()})
    exits = Exits(stop=Stop(pct=0.1), targets=(Target(1.0, 1.0),))
    found = {one.path: one for one in paths(*prepared(plan_of("X", exits=exits), history))}
    assert tuple(found) == PATHS
    results = [found[path].net_result for path in PATHS]
    assert results == pytest.approx([-10, -10, 10])  # both extremes are as near, so the likely path is the adverse one
    assert {one.ambiguous_share for one in found.values()} == {1.0}
    assert {one.entry_bar_exits for one in found.values()} == {1}
    assert found["adverse"].net_return == pytest.approx(-0.01)


def test_a_run_without_trades_has_no_share_of_ambiguous_ones() -> None:
    quiet = history_of({"X": flat_bars([100, 100])})
    assert {(one.net_result, one.ambiguous_share) for one in paths(*prepared(plan_of("X"), quiet))} == {(0, None)}


# Break-even


def test_of_a_fixed_number_of_units_the_multiple_is_the_edge_over_the_costs() -> None:
    """Fees of 1 % on 100 and on 110 are 2.1, the edge is 10: a straight line, which the first secant meets."""
    found = break_even_cost_multiple(*prepared(plan_of("X", fees=fees(100))))
    assert found.value == pytest.approx(10 / 2.1, rel=1e-9)
    assert found.n_runs <= 6


def test_costs_that_eat_the_edge_have_a_multiple_below_one() -> None:
    found = break_even_cost_multiple(*prepared(plan_of("X", fees=fees(800))))
    assert found.value == pytest.approx(10 / 16.8, rel=1e-9)


def test_where_sizes_follow_the_equity_the_simulator_says_another_multiple_than_the_line() -> None:
    """Two trades on all of the equity: the second is smaller for what the first has paid."""
    closes = [100, 100, 120, 120, 120, 100, 100, 130, 130]
    history = history_of({"X": flat_bars(closes, said={0: BUY, 2: SELL, 5: BUY, 7: SELL})})
    plan = plan_of("X", fees=fees(200), size=Size("equity_share", 0.5))
    plan = plan._replace(instruments=(plan.instruments[0]._replace(lot=1e-6),))
    on, decided, _ = prepared(plan, history)
    found = break_even_cost_multiple(on, decided, plan)
    assert found.value is not None
    at_zero = run(on, decided, costs_multiplied(plan, found.value))
    assert at_zero.equity[-1] == pytest.approx(1_000, abs=1e-3)
    trades = run(on, decided, plan).trades
    line = trades["edge"].sum() / trades["fees"].sum()
    assert abs(line / found.value - 1) > 0.01
    assert found.n_runs <= MOST_RUNS


def test_what_is_never_reached_is_a_bound() -> None:
    found = break_even_cost_multiple(*prepared(plan_of("X", fees=fees(1))))
    assert (found.value, found.is_bound) == (MOST_COSTS, True)


@pytest.mark.parametrize(
    ("rules", "history", "reason"),
    [
        pytest.param({}, RISING, "nothing costs anything", id="no costs"),
        pytest.param({"fees": fees(10)}, history_of({"X": flat_bars([100, 100])}), "no trade was made", id="no trades"),
        pytest.param(
            {"fees": fees(10)},
            history_of({"X": flat_bars([100, 100, 90], said={0: BUY})}),
            "earns nothing even without costs",
            id="no edge",
        ),
    ],
)
def test_a_multiple_that_means_nothing_has_a_reason(rules, history, reason) -> None:
    found = break_even_cost_multiple(*prepared(plan_of("X", **rules), history))
    assert found.value is None
    assert reason in found.reason


@pytest.mark.parametrize(
    ("rules", "part"),
    [
        ({"fees": fees(10)}, "fees"),
        ({"fees": (), "per_share": PerShare(0.01, 0.5)}, "fees"),
        ({"slippage": Slippage("bps", bps=10)}, "slippage"),
        ({"slippage": Slippage("volume_share", impact=0.02)}, "slippage"),
        ({"slippage": Slippage("square_root", y=0.1, sigma=0.01, volume=100.0)}, "impact"),
        ({"slippage": Slippage("almgren", sigma=0.01, volume=100.0, shares_outstanding=1e4)}, "impact"),
    ],
)
def test_every_cost_is_multiplied(rules, part) -> None:
    on, decided, plan = prepared(plan_of("X", **rules))
    once, thrice = (run(on, decided, costs_multiplied(plan, multiple)).trades[part].sum() for multiple in (1.0, 3.0))
    assert once > 0
    assert thrice == pytest.approx(3 * once)


# Capacity


def test_capacity_is_where_impact_takes_half_of_the_edge() -> None:
    """Impact of y x sigma x sqrt(Q / V) on both sides of a rise by a tenth, bought with half of the cash."""
    slippage = Slippage("square_root", y=1.0, sigma=0.02, volume=1_000.0)
    plan = plan_of("X", slippage=slippage, size=Size("equity_share", 0.5))
    plan = plan._replace(
        instruments=(plan.instruments[0]._replace(lot=1e-6),), rules=plan.rules._replace(participation=1e9)
    )
    on, decided, _ = prepared(plan)
    found = capacity(on, decided, plan)
    assert found.value is not None
    assert found.n_runs <= MOST_RUNS
    at = run(on, decided, plan._replace(rules=plan.rules._replace(cash=found.value))).trades
    assert at["impact"].sum() / at["edge"].sum() == pytest.approx(0.5, rel=0.02)
    # 100 Q i + 110 Q i = 10 Q / 2 with i = 0.02 sqrt(Q / 1000) and Q = cash / 200
    assert found.value == pytest.approx(200 * 1_000 * (5 / 210 / 0.02) ** 2, rel=0.05)


@pytest.mark.parametrize(
    ("rules", "reason"),
    [
        pytest.param({"slippage": Slippage("bps", bps=1)}, "the costs have no impact: slippage is bps", id="no impact"),
        pytest.param(
            {"slippage": Slippage("volume_share", impact=0.1)}, "a size of units does not grow", id="fixed sizes"
        ),
    ],
)
def test_no_capacity_has_a_reason(rules, reason) -> None:
    found = capacity(*prepared(plan_of("X", **rules)))
    assert found.value is None
    assert reason in found.reason
