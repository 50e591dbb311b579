"""Levels of Fibonacci: as a book has them, by hand, and how many of them meet as a score."""

import pytest

from engine.errors import OutOfBoundsError
from engine.structure.fibonacci import EXTENSIONS, RETRACEMENTS, confluence, extensions, last_leg, retracements
from engine.structure.swings import swings
from engine.structure.zones import fair_value_gaps
from tests.charts import HOURS, chart, ranges, seen

LEG = last_leg(swings(HOURS, 1))


def leg_of(*pairs):
    return chart(ranges(*pairs))


UP = leg_of((60, 55), (58, 48), (78, 57), (70, 60))  # from a low of 48 to a high of 78
DOWN = leg_of((80, 75), (99, 80), (70, 59), (80, 65))  # from a high of 99 to a low of 59

# Lim, The Handbook of Technical Analysis (2016), section 10.4: of a trough of 48 and a range of 30, half is 63 and 61.8
# percent is 66.54 (measured upward from the trough); of a peak of 99 and a trough of 59, downward from the peak by the
# same formula, which the sums beside repeat.
PUBLISHED = {
    "half of the way from 48 to 78": (UP, 0.5, 63.0),
    "what is 61.8 percent above 48 gives back 38.2": (UP, 0.382, 66.54),
    "23.6 percent of 40 above the low of 59": (DOWN, 0.236, 59 + 40 * 0.236),
}


@pytest.mark.parametrize(("frame", "ratio", "price"), PUBLISHED.values(), ids=PUBLISHED)
def test_a_retracement_gives_back_its_share_of_the_leg(frame, ratio, price):
    (level,) = retracements(LEG, (ratio,))
    assert seen({"level": level}, frame)["level"][-1] == pytest.approx(price)


def test_a_leg_goes_from_the_older_swing_to_the_newer():
    up, down = (seen(LEG._asdict(), frame) for frame in (UP, DOWN))
    assert [up[name][-1] for name in LEG._fields] == [48, 78, 1]
    assert [down[name][-1] for name in LEG._fields] == [99, 59, -1]


def test_a_leg_is_known_with_its_newer_end():
    assert seen(LEG._asdict(), UP)["end"] == [None, None, None, 78]


def test_two_swings_of_one_bar_are_no_leg():
    assert seen(LEG._asdict(), leg_of((5, 4), (9, 1), (6, 3)))["direction"] == [None, None, None]


def test_extensions_go_on_beyond_the_end():
    values = seen({str(n): level for n, level in enumerate(extensions(LEG))}, UP)
    assert [values[str(n)][-1] for n in range(3)] == pytest.approx([48 + 30 * ratio for ratio in EXTENSIONS])
    (below,) = extensions(LEG, (1.618,))
    assert seen({"below": below}, DOWN)["below"][-1] == pytest.approx(99 - 40 * 1.618)


@pytest.mark.parametrize("ratio", [0, 1, -0.5])
def test_a_retracement_lies_within_its_leg(ratio):
    with pytest.raises(OutOfBoundsError, match="between 0 and 1"):
        retracements(LEG, (ratio,))


def test_an_extension_lies_beyond_its_leg():
    with pytest.raises(OutOfBoundsError, match=r"ratio is 0\.5, must be more than 1"):
        extensions(LEG, (0.5,))


CLOSE = HOURS.close  # 60 on the last bar
NEAR, FAR = CLOSE + 1, CLOSE + 5
UNKNOWN = fair_value_gaps(HOURS).bullish.top  # there is none

# name: levels, how many are enough, the score on the last bar
MEETINGS = {
    "no level near is 0": ([FAR, FAR], 3, 0),
    "each level near is its part": ([NEAR, FAR, CLOSE - 2], 3, 2 / 3),
    "a distance that is just reached is near": ([CLOSE - 2], 1, 1),
    "more than enough is 1": ([NEAR] * 5, 3, 1),
    "a level that is not known is elsewhere": ([UNKNOWN, NEAR], 2, 0.5),
}


@pytest.mark.parametrize(("levels", "enough", "score"), MEETINGS.values(), ids=MEETINGS)
def test_confluence_is_how_many_levels_meet(levels, enough, score):
    met = confluence(CLOSE, levels, within=HOURS.high - CLOSE, enough=enough)
    assert seen({"met": met}, chart([(59, 62, 58, 60)] * 4))["met"][-1] == pytest.approx(score)


def test_confluence_needs_a_level():
    with pytest.raises(OutOfBoundsError, match="levels"):
        confluence(CLOSE, [], within=CLOSE)


def test_the_usual_ratios_are_ratios_of_fibonacci_numbers():
    """But for 0.5 and what roots make of them: 0.786 and 1.272 are the roots of 0.618 and 1.618."""
    golden = (1 + 5**0.5) / 2
    assert pytest.approx((golden**-3, golden**-2, 0.5, golden**-1, golden**-0.5), abs=5e-4) == RETRACEMENTS
    assert pytest.approx((golden**0.5, golden, golden**2), abs=5e-4) == EXTENSIONS
