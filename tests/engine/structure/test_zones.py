"""Fair-value gaps and order blocks by hand and as published: their edges, when they are known, and what ends them."""

from pathlib import Path

import pytest
import yaml

from engine.structure.levels import breaks
from engine.structure.swings import swings
from engine.structure.zones import fair_value_gaps, order_blocks
from tests.charts import HOURS, bars_where, chart, seen

PUBLISHED = Path(__file__).parents[2] / "golden/published_gaps.yaml"
GAP = [(2, 3, 1, 3), (3, 6, 3, 6), (6, 8, 5, 7)]  # from 3 to 5, known on bar 2

# name: bars after the gap; its top on each of them, and those on which it is entered, held and ended
AFTER_A_GAP = {
    "it stands while nothing trades into it": ([(7, 8, 6, 7)], [5], [], [], []),
    "one that is entered stands on": ([(7, 7, 4, 6), (6, 7, 6, 7)], [5, 5], [3], [3], []),
    "its edge is part of it": ([(7, 7, 5, 6)], [5], [3], [3], []),
    "it is filled at its far edge": ([(7, 7, 3, 4)], [None], [3], [3], [3]),
    "a close beyond it did not hold": ([(7, 7, 2, 2)], [None], [3], [], [3]),
    "what is filled is entered no more": ([(7, 7, 3, 4), (4, 5, 4, 5)], [None, None], [3], [3], [3]),
}


@pytest.mark.parametrize(("bars", "tops", "entered", "held", "ended"), AFTER_A_GAP.values(), ids=AFTER_A_GAP)
def test_what_becomes_of_a_gap(bars, tops, entered, held, ended):
    said = of_gaps([*GAP, *bars]).bullish
    assert said["top"] == [None, None, 5, *tops]
    assert [bars_where(said[name]) for name in ("entered", "held", "ended")] == [entered, held, ended]


@pytest.mark.parametrize(("bars", "tops", "entered", "held", "ended"), AFTER_A_GAP.values(), ids=AFTER_A_GAP)
def test_the_same_becomes_of_a_bearish_gap_upside_down(bars, tops, entered, held, ended):
    mirrored = [(10 - opened, 10 - low, 10 - high, 10 - closed) for opened, high, low, closed in [*GAP, *bars]]
    said = of_gaps(mirrored).bearish
    assert said["bottom"] == [None, None, 5, *(None if top is None else 10 - top for top in tops)]
    assert [bars_where(said[name]) for name in ("entered", "held", "ended")] == [entered, held, ended]


def of_gaps(bars):
    return of_zones(fair_value_gaps(HOURS), bars)


def of_zones(zones, bars):
    return zones._replace(**{side: seen(zone._asdict(), chart(bars)) for side, zone in zones._asdict().items()})


def test_a_gap_that_touches_is_none():
    assert of_gaps([(2, 3, 1, 3), (3, 6, 3, 6), (6, 8, 3, 7)]).bullish["top"] == [None, None, None]


def test_the_newest_gap_is_spoken_of_and_the_older_again_when_it_has_ended():
    higher = [*GAP, (7, 10, 7, 10), (10, 12, 9, 11)]  # from 8 to 9, known on bar 4
    said = of_gaps([*higher, (11, 11, 8, 9), (9, 11, 9, 10)]).bullish
    assert said["top"][4:] == [9, 7, 7]  # from 6 to 7, of bars 1 to 3, is next
    assert said["bars_ago"][4:] == [0, 2, 3]


def test_gaps_are_those_of_a_published_suite():
    published = yaml.safe_load(PUBLISHED.read_text())
    said = of_gaps([tuple(bar) for bar in published["bars"]])
    found = [
        {"middle": known_on - 1, "side": side, "top": zone["top"][known_on], "bottom": zone["bottom"][known_on]}
        for side, zone in said._asdict().items()
        for known_on in bars_where([ago == 0 for ago in zone["bars_ago"]])
    ]
    assert sorted(found, key=lambda gap: gap["middle"]) == published["gaps"] != []


PEAK = [(2, 3, 2, 3), (3, 5, 3, 4), (4, 4, 2.5, 3)]  # the high of 5 is known on bar 2, which closes down

# name: bars after the peak; top and bottom of the block on the last of them, and the bars on which it is mitigated
AFTER_A_PEAK = {
    "the last bar that closed down before the break": ([(3, 6, 3, 6)], (4, 2.5), []),
    "however long ago it was": ([(3, 4, 3, 4), (4, 5, 4, 4.5), (4.5, 6, 4.5, 6)], (4, 2.5), []),
    "a bar without a body is not against it": ([(3, 4, 3, 3), (3, 6, 3, 6)], (4, 2.5), []),
    "there is none without a break": ([(3, 5, 3, 5)], (None, None), []),
    "it stands until a bar trades into it": ([(3, 6, 3, 6), (6, 7, 5, 7)], (4, 2.5), []),
    "the first that does mitigates it": ([(3, 6, 3, 6), (6, 6, 4, 5)], (None, None), [4]),
    "the bar that breaks does not": ([(4, 6, 3, 6)], (4, 2.5), []),
}


@pytest.mark.parametrize(("bars", "zone", "mitigated"), AFTER_A_PEAK.values(), ids=AFTER_A_PEAK)
def test_what_becomes_of_an_order_block(bars, zone, mitigated):
    said = of_blocks([*PEAK, *bars]).bullish
    assert (said["top"][-1], said["bottom"][-1]) == zone
    assert bars_where(said["ended"]) == bars_where(said["entered"]) == mitigated


def of_blocks(bars):
    return of_zones(order_blocks(HOURS, breaks(HOURS, swings(HOURS, 1))), bars)


def test_a_block_is_known_on_the_bar_that_breaks_and_not_on_its_own():
    said = of_blocks([*PEAK, (3, 4, 3, 4), (4, 6, 4, 6)]).bullish
    assert said["top"] == [None, None, None, None, 4]
    assert said["bars_ago"][-1] == 0


def test_a_bar_serves_one_break_only():
    bars = [*PEAK, (3, 6, 3, 6), (6, 7, 3.5, 7), (7, 8, 6, 7.5), (7.5, 7.8, 6, 7.7), (7.7, 9, 7, 9)]
    said = of_blocks(bars).bullish  # mitigated on bar 4; 8 is broken on bar 7, and no bar has closed down since
    assert bars_where(said["ended"]) == [4]
    assert said["top"][3:] == [4, None, None, None, None]


def test_a_bearish_block_lies_above_the_price():
    mirrored = [(10 - o, 10 - low, 10 - high, 10 - c) for o, high, low, c in [*PEAK, (3, 6, 3, 6)]]
    said = of_blocks(mirrored).bearish
    assert (said["top"][-1], said["bottom"][-1]) == (7.5, 6)
