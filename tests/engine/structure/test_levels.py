"""Breaks, changes of character and sweeps by hand: what becomes of a level, and that it becomes it once."""

import pytest

from engine.structure.levels import breaks, sweeps
from engine.structure.swings import swings
from tests.charts import HOURS, bars_where, chart, seen

PEAK = [(2, 3, 2, 3), (3, 5, 3, 4), (4, 4, 3, 3)]  # the high of 5 is known on bar 2

# name: bars after the peak, and on which of them (from 3 on) what happens
FOLLOWS = {
    "a close beyond the level breaks it": ([(4, 6, 4, 6)], {"up": [3]}),
    "a close on the level does not": ([(4, 5, 4, 5)], {}),
    "a level is broken once": ([(4, 6, 4, 6), (6, 7, 5, 6.5)], {"up": [3]}),
    "a wick that comes back sweeps it": ([(4, 6, 4, 4)], {"above": [3]}),
    "a close on the level has come back": ([(4, 6, 4, 5)], {"above": [3]}),
    "what was swept may still be broken": ([(4, 6, 4, 4), (4, 5.5, 4, 5.5)], {"above": [3], "up": [4]}),
    "what was traded beyond is swept no more": ([(4, 6, 4, 4), (4, 5.5, 4, 4)], {"above": [3]}),
}


@pytest.mark.parametrize(("bars", "expected"), FOLLOWS.values(), ids=FOLLOWS)
def test_what_becomes_of_a_swing_high(bars, expected):
    assert happens([*PEAK, *bars]) == expected


@pytest.mark.parametrize(("bars", "expected"), FOLLOWS.values(), ids=FOLLOWS)
def test_the_same_becomes_of_a_swing_low_upside_down(bars, expected):
    """10 less the price: the low is 5 below."""
    mirrored = [(10 - opened, 10 - low, 10 - high, 10 - closed) for opened, high, low, closed in [*PEAK, *bars]]
    other = {"up": "down", "above": "below"}
    assert happens(mirrored) == {other[name]: at for name, at in expected.items()}


def happens(bars):
    of = swings(HOURS, 1)
    said = seen(breaks(HOURS, of)._asdict() | sweeps(HOURS, of)._asdict(), chart(bars))
    return {name: bars_where(said[name]) for name in ("up", "down", "above", "below") if any(said[name])}


def test_a_break_along_the_trend_is_of_structure_and_one_against_it_changes_the_character():
    bars = [
        *PEAK,
        (4, 6, 4, 6),  # 3: up, the first break: no change
        (6, 8, 6, 7),  # 4: a swing high of 8 and
        (7, 7, 4.5, 5),  # 5: a swing low of 4.5 follow
        (5, 9, 5, 9),  # 6: up again, along the trend
        (9, 9, 6, 7),
        (7, 7, 4, 4),  # 8: down below 4.5, against it
    ]
    said = seen(breaks(HOURS, swings(HOURS, 1))._asdict(), chart(bars))
    assert bars_where(said["up"]) == [3, 6]
    assert bars_where(said["down"]) == [8]
    assert not any(said["change_up"])
    assert bars_where(said["change_down"]) == [8]
    assert said["trend"] == [None] * 3 + [1] * 5 + [-1]


def test_a_level_stands_from_the_bar_after_it_is_known():
    """The bar that makes a swing known cannot break it: it is one of those it stands above."""
    assert happens([*PEAK[:2], (4, 4.5, 4, 4.5)]) == {}


def test_a_new_swing_renews_the_level():
    bars = [*PEAK, (3, 4.5, 3, 4.2), (4, 4, 3, 3), (3, 4.4, 3, 4.4), (4, 4.6, 4, 4.6)]
    assert happens(bars)["up"] == [6]  # above the swing high of 4.5 that is known on bar 4; 5 is forgotten
