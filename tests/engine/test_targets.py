"""Target positions and weights, and entries sent as limits: by hand, and by the law that a target is what is held."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.errors import OutOfBoundsError
from engine.simulator.inputs import Entry, Guards, Instrument
from engine.simulator.simulation import simulate
from tests.engine.test_simulator import NAN, QUIET, X, decisions, fills, market, refused, rules, run

FLAT = [(100, 100, 100, 100)] * 6


def held(bars, *, instrument=X, embargoed=(), multipliers=None, weights=None, targets=None, **changes):
    """A run that is told one target after the other, None: nothing new."""
    shape = bars.opens.shape
    wanted = np.full(shape, np.nan)
    for bar, value in enumerate(weights or targets):
        wanted[bar, 0] = np.nan if value is None else value
    said = decisions(bars, embargoed=embargoed)._replace(
        **{"weights" if weights else "targets": wanted},
        multipliers=None if multipliers is None else np.array(multipliers, dtype=float)[:, None],
    )
    return simulate(bars, said, [instrument], rules(**changes))


def signed(result):
    """What each fill did to the position."""
    return [(int(f["bar"]), float(f["quantity"] * f["side"])) for f in result.fills]


def test_a_target_is_held_from_the_next_open_until_another_is_said():
    result = held(market(FLAT), targets=[2, None, 5, 5, 1, None])
    assert signed(result) == [(1, 2), (3, 3), (5, -4)]


def test_a_target_that_flips_leaves_first_and_enters_at_the_same_open():
    result = held(market(FLAT), targets=[2, -3, None, 0])
    assert signed(result) == [(1, 2), (2, -2), (2, -3), (4, 3)]
    assert [float(trade["quantity"]) for trade in result.trades] == [2, 3]
    assert [trade["entry_bar"] for trade in result.trades] == [1, 2]


def test_an_unchanged_target_makes_no_order_though_a_weight_drifts():
    rising = [(100, 100, 100, 100), (100, 200, 100, 200), (200, 200, 200, 200), (200, 200, 200, 200)]
    result = held(market(rising), weights=[0.5, 0.5, 0.5, 0.25])
    assert signed(result) == [(1, 50)]  # and what is said on the last close never acts


def test_a_weight_is_units_by_close_and_equity_at_the_decision_floored_to_the_lot():
    """At the close of the third bar equity is 10,000 + 50 x 200 and a unit is 300: a quarter is 16 units."""
    bars = market(
        [(100, 100, 100, 100), (100, 300, 100, 300), (300, 300, 300, 300), (300, 300, 300, 300), (1, 1, 1, 1)]
    )
    whole = Instrument("X", tick=0.01, lot=1, min_notional=0, half_spread_bps=0)
    result = held(bars, instrument=whole, weights=[0.5, None, 0.25, None, None])
    assert signed(result) == [(1, 50), (3, -34)]


@pytest.mark.parametrize(("band", "expected"), [(0.01, [(1, 50), (2, 1)]), (0.0101, [(1, 50)])])
def test_no_order_for_a_change_below_the_band(band, expected):
    assert signed(held(market(FLAT), weights=[0.5, 0.51], rebalance_band=band)) == expected


def test_targets_below_a_lot_are_none():
    assert signed(held(market(FLAT), targets=[0.0004, 0.0015])) == [(2, 0.001)]


def test_what_is_embargoed_changes_nothing_and_says_so():
    result = held(market(FLAT), targets=[2, 0, None, 1], embargoed=[1])
    assert refused(result) == [(1, "embargoed_data")]
    assert signed(result) == [(1, 2), (4, -1)]


def test_a_regime_makes_a_target_smaller_or_refuses_to_add_but_never_to_leave():
    result = held(market(FLAT), targets=[4, 8, 2, None], multipliers=[0.5, 0, 0, 1, 1, 1])
    assert signed(result) == [(1, 2)]
    assert refused(result) == [(1, "regime_not_allowed")]
    leaving = held(market(FLAT), targets=[4, 1, None, None], multipliers=[1, 0, 0, 1, 1, 1])
    assert signed(leaving) == [(1, 4), (2, -3)]


def test_guards_refuse_what_a_target_would_add():
    result = held(market(FLAT), weights=[0.5, 0.9], guards=Guards(max_position=0.6))
    assert signed(result) == [(1, 50)]
    assert refused(result) == [(1, "max_position")]


def test_what_still_rests_of_an_earlier_target_is_withdrawn():
    """Half of a bar's volume fills; the rest of the first target is taken back when the second comes."""
    bars = market(FLAT)._replace(volumes=np.full((6, 1), 2.0))
    result = held(bars, targets=[4, 3, None, None], participation=0.5)
    assert signed(result) == [(1, 1), (2, 1), (3, 1)]


def test_targets_and_weights_are_not_said_together():
    bars = market(FLAT)
    both = decisions(bars)._replace(targets=np.zeros(bars.opens.shape), weights=np.zeros(bars.opens.shape))
    with pytest.raises(OutOfBoundsError, match="one of the two"):
        simulate(bars, both, [X], rules())
    with pytest.raises(OutOfBoundsError, match="finite"):
        held(bars, targets=[float("inf")])


@given(st.lists(st.one_of(st.none(), st.integers(-5, 5)), min_size=1, max_size=30))
def test_what_is_held_is_the_last_target_said_before_the_bar(wanted):
    bars = market([(100, 101, 99, 100)] * (len(wanted) + 1))
    result = held(bars, targets=wanted)
    position = np.zeros(len(wanted) + 1)
    for bar, change in signed(result):
        position[bar:] += change
    told = 0
    for bar, target in enumerate(wanted):
        told = told if target is None else target
        assert position[bar + 1] == pytest.approx(told)
    n_flips = sum(1 for fill in result.fills)
    assert n_flips <= 2 * len(wanted)


# Entries sent as limits


def test_an_entry_may_be_sent_as_a_limit_below_the_close():
    bars = market([QUIET, (100, 101, 99.5, 100), (100, 101, 98, 100), QUIET])
    entry = Entry("limit", offset_bps=100, ttl_bars=2)
    assert fills(run(bars, (0, "enter_long"), rebalance_band=0, entry=entry)) == [(2, "entry", 1, 99)]


def test_a_short_is_sent_above_the_close_and_what_does_not_fill_expires():
    bars = market([QUIET] * 4)
    short = run(bars, (0, "enter_short"), entry=Entry("limit", offset_bps=200, ttl_bars=2))
    assert fills(short) == []
    assert short.orders[["type", "price", "status"]].tolist() == [(1, 102.0, 4)]


def test_an_exit_is_sent_at_market_whatever_entries_are():
    bars = market([QUIET, (100, 101, 98, 100), QUIET, QUIET])
    result = run(bars, (0, "enter_long"), (2, "exit_long"), entry=Entry("limit", offset_bps=100))
    assert [(bar, why) for bar, why, _, _ in fills(result)] == [(1, "entry"), (3, "signal")]


def test_an_entry_that_is_not_known_is_refused():
    with pytest.raises(OutOfBoundsError, match=r"entry.offset_bps"):
        run(market([QUIET] * 2), entry=Entry("limit", offset_bps=-1), distance=NAN)
