"""Every column of structure against the slow twin, on charts that tie and break all the time; and cut at every bar."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.evaluation import evaluate
from engine.structure.fibonacci import confluence, extensions, last_leg, retracements
from engine.structure.levels import breaks, sweeps
from engine.structure.swings import stop_distances, swings
from engine.structure.zones import fair_value_gaps, order_blocks
from tests import structure_oracle as twin
from tests.charts import HOURS, chart, drawn, seen


def named(**groups):
    return {f"{group}.{name}": column for group, one in groups.items() for name, column in one._asdict().items()}


def columns(strength):
    of = swings(HOURS, strength)
    broken, gaps = breaks(HOURS, of), fair_value_gaps(HOURS)
    blocks = order_blocks(HOURS, broken)
    return named(
        swings=of,
        breaks=broken,
        sweeps=sweeps(HOURS, of),
        bullish_gap=gaps.bullish,
        bearish_gap=gaps.bearish,
        bullish_block=blocks.bullish,
        bearish_block=blocks.bearish,
    )


def expected(bars, n):
    down = twin.upside_down(bars)
    up_break, down_break = twin.broken(bars, n), twin.broken(down, n)
    trend = twin.trend(up_break, down_break)
    said = {
        "breaks.up": up_break,
        "breaks.down": down_break,
        "breaks.trend": trend,
        "breaks.change_up": [up and t > 0 and trend[t - 1] == -1 for t, up in enumerate(up_break)],
        "breaks.change_down": [broke and t > 0 and trend[t - 1] == 1 for t, broke in enumerate(down_break)],
        "sweeps.above": twin.swept(bars, n),
        "sweeps.below": twin.swept(down, n),
    }
    for name, found, price, sign in (
        ("high", twin.swing_highs(bars, n), 1, 1),
        ("low", twin.swing_highs(down, n), 2, 1),
    ):
        last = [twin.last_swing(found, n, t) for t in range(len(bars))]
        said[f"swings.new_{name}"] = [t - n in found for t in range(len(bars))]
        said[f"swings.{name}"] = [None if p is None else sign * bars[p][price] for p in last]
        said[f"swings.{name}_bars_ago"] = [None if p is None else t - p for t, p in enumerate(last)]
    for kind, born in (
        ("gap", (twin.gaps(bars), twin.gaps(down))),
        ("block", (twin.blocks(bars, up_break), twin.blocks(down, down_break))),
    ):
        said |= {f"bullish_{kind}.{name}": values for name, values in twin.zones(bars, born[0]).items()}
        below = twin.zones(down, born[1])
        below["top"], below["bottom"] = ([None if v is None else -v for v in below[name]] for name in ("bottom", "top"))
        said |= {f"bearish_{kind}.{name}": values for name, values in below.items()}
    return said


@given(drawn(), st.integers(1, 3))
def test_every_column_is_as_the_twin_says(bars, strength):
    of, answer = columns(strength), expected(bars, strength)
    assert of.keys() == answer.keys()
    assert seen(of, chart(bars)) == answer


def everything(strength):
    of = swings(HOURS, strength)
    leg = last_leg(of)
    unit = HOURS.high - HOURS.low
    levels = (*retracements(leg), *extensions(leg))
    below, above = stop_distances(HOURS, of, unit=unit, least=1, most=3)
    further = {"confluence": confluence(HOURS.close, levels, within=unit), "below": below, "above": above}
    return columns(strength) | named(leg=leg) | further


def test_every_column_is_explained_in_the_guide():
    guide = (Path(__file__).parents[3] / "docs/guides/structure.md").read_text()
    said = {name for key in everything(3) if "." in key for name in [key.split(".")[1]]}
    assert {name for name in said if f"`{name}`" not in guide} == set()


@pytest.mark.slow
@given(drawn(most=20), st.integers(1, 2))
def test_nothing_on_a_bar_changes_when_the_bars_after_it_are_cut(bars, strength):
    of, frame = everything(strength), chart(bars)
    whole = evaluate(of, {"1h": frame}, "1h")
    for n in range(1, frame.height):
        assert evaluate(of, {"1h": frame.head(n)}, "1h").equals(whole.head(n))


def test_nothing_on_a_bar_changes_when_the_bars_after_it_are_cut_on_one_chart():
    bars = [
        (5, 6, 4, 5),
        (5, 9, 5, 8),
        (8, 8, 6, 7),
        (7, 7, 3, 4),
        (4, 5, 2, 5),
        (5, 8, 5, 8),
        (9, 12, 9, 11),
        (11, 11, 7, 7),
    ]
    of, frame = everything(1), chart(bars)
    whole = evaluate(of, {"1h": frame}, "1h")
    for n in range(1, frame.height):
        assert evaluate(of, {"1h": frame.head(n)}, "1h").equals(whole.head(n))
