"""Swings by hand: where they stand out, when they are known, and stops beyond them."""

import pytest

from engine.causal import Bars
from engine.errors import OutOfBoundsError
from engine.structure.swings import stop_distances, swings
from tests.charts import HOURS, bars_where, chart, ranges, seen

# name: (high, low) of each bar, strength, bars on which a new high and a new low become known
CHARTS = {
    "a peak is known as many bars later as it is strong": ([(3, 1), (4, 2), (9, 3), (5, 3), (4, 3)], 2, [4], []),
    "a bar of strength 1 is known on the next": ([(3, 2), (5, 3), (4, 3)], 1, [2], []),
    "a trough is a peak upside down": ([(9, 6), (8, 5), (7, 1), (8, 4), (9, 5)], 2, [], [4]),
    "of equal highs the first counts": ([(3, 1), (5, 1), (5, 1), (3, 1)], 1, [2], []),
    "an equal high before it takes its place": ([(5, 1), (5, 1), (3, 1)], 1, [], []),
    "what is too near the first bar is none": ([(9, 1), (5, 1), (4, 1), (3, 1)], 1, [], []),
    "what is too near the last bar is not known yet": ([(3, 1), (4, 1), (9, 1), (5, 1)], 2, [], []),
    "one bar may be both": ([(5, 4), (9, 1), (6, 3)], 1, [2], [2]),
}


@pytest.mark.parametrize(("pairs", "strength", "highs", "lows"), CHARTS.values(), ids=CHARTS)
def test_swings_stand_out(pairs, strength, highs, lows):
    said = seen(swings(HOURS, strength)._asdict(), chart(ranges(*pairs)))
    assert (bars_where(said["new_high"]), bars_where(said["new_low"])) == (highs, lows)


def test_the_last_swing_stays_with_its_age_until_a_newer_is_known():
    said = seen(swings(HOURS, 1)._asdict(), chart(ranges((3, 1), (7, 2), (5, 3), (6, 4), (4, 3), (3, 2))))
    assert said["high"] == [None, None, 7, 7, 6, 6]
    assert said["high_bars_ago"] == [None, None, 1, 2, 1, 2]


def test_a_swing_has_a_strength():
    with pytest.raises(OutOfBoundsError, match="strength is 0, must be a whole number of at least 1"):
        swings(HOURS, 0)


# Close 10, the last swing low 7 and high 12, a unit of 4: a quarter of it beyond either.
STOPS = {
    "a quarter of a unit beyond the swing": ({"least": 0.5, "most": 9}, (4, 3)),
    "no nearer than the least": ({"least": 2, "most": 9}, (8, 8)),
    "no farther than the most": ({"least": 0.1, "most": 0.5}, (2, 2)),
}


@pytest.mark.parametrize(("bounds", "distances"), STOPS.values(), ids=STOPS)
def test_stops_lie_beyond_swings(bounds, distances):
    bars = [(9, 10, 9, 9), (9, 12, 7, 9), (9, 11, 8, 9), (9, 10, 9, 10)]
    below, above = stop_distances(HOURS, swings(HOURS, 1), unit=HOURS.close * 0.4, **bounds)
    said = seen({"below": below, "above": above}, chart(bars))
    assert (said["below"][-1], said["above"][-1]) == distances


def test_a_stop_lies_beyond_a_bar_that_reached_farther_than_the_swing():
    bars = [(9, 10, 9, 9), (9, 12, 7, 9), (9, 11, 8, 9), (9, 14, 6, 10)]
    stops = stop_distances(HOURS, swings(HOURS, 1), unit=HOURS.close * 0.4, least=0.1, most=9)
    said = seen(dict(zip(("below", "above"), stops, strict=True)), chart(bars))
    assert (said["below"][-1], said["above"][-1]) == (5, 5)


def test_a_stop_is_never_on_the_price():
    """Where nothing moves a range is 0, and a stop that far away is none."""
    bars = [(9, 10, 9, 9), (9, 12, 7, 9), (9, 11, 8, 9), (7, 7, 7, 7)]
    below, _ = stop_distances(HOURS, swings(HOURS, 1), unit=HOURS.high - HOURS.low, least=1, most=2)
    assert seen({"below": below}, chart(bars))["below"][-1] == pytest.approx(0.007)


def test_bounds_of_stops_are_in_order():
    with pytest.raises(OutOfBoundsError, match="most is 1, must be more than 2"):
        stop_distances(HOURS, swings(HOURS, 1), unit=HOURS.close, least=2, most=1)


def test_swings_of_a_longer_timeframe_are_asked_of_its_bars():
    assert swings(Bars("1h").on("4h"), 2).high.timeframe == "4h"
