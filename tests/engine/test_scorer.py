"""The scorer: five components to a score, a gate by setup and bias, and a record of all that was asked of it."""

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.candidates import COLUMNS, candidates
from engine.causal import Bars
from engine.errors import OutOfBoundsError
from engine.scorer import LONG, SHORT, Components, Setup, Weights, direction, gate, refusals
from engine.strategy import Signals, Strategy, decide
from tests.bar_frames import random_walk
from tests.charts import HOURS, chart, seen
from tests.gated import Gated

CLOSE = HOURS.close


def flat(*closes):
    return chart([(close, close, close, close) for close in closes])


def score_of(components, weights=None, closes=(0.5,)):
    setup = Setup(CLOSE > 0, CLOSE > 0, at_least=0)
    short = components.mirrored()
    gated = gate({"any": setup}, components, short, bias=CLOSE, **({"weights": weights} if weights else {}))
    said = seen({"long": gated.sides[LONG].score, "short": gated.sides[SHORT].score}, flat(*closes))
    return said["long"][-1], said["short"][-1]


HALF = Components(*(CLOSE,) * 5)  # all 0.5, the close

# name: components, weights, score of a long and of a short
SCORES = {
    "equal weights give the mean": (HALF._replace(volume=CLOSE + 0.5), None, (0.6, 0.6)),
    "structure, momentum and regime are mirrored": (HALF._replace(structure=CLOSE + 0.4), None, (0.58, 0.42)),
    "only the ratios of weights count": (HALF._replace(volume=CLOSE + 0.5), Weights(0, 0, 0, 2, 2), (0.75, 0.75)),
    "a component beyond 1 is cut to it": (HALF._replace(volume=CLOSE * 8), None, (0.6, 0.6)),
    "a component below 0 is cut to it": (HALF._replace(volume=CLOSE - 3), None, (0.4, 0.4)),
    "one that is not known leaves no score": (HALF._replace(volume=CLOSE / 0), None, (None, None)),
}


@pytest.mark.parametrize(("components", "weights", "scores"), SCORES.values(), ids=SCORES)
def test_a_score_is_the_weighted_mean_of_its_components(components, weights, scores):
    assert score_of(components, weights) == pytest.approx(scores)


@given(st.lists(st.floats(-3, 3), min_size=5, max_size=5), st.lists(st.floats(0, 5), min_size=5, max_size=5))
def test_a_score_is_from_0_to_1_whatever_is_put_into_it(offsets, weights):
    if not sum(weights):
        return
    scores = score_of(Components(*(CLOSE + offset for offset in offsets)), Weights(*weights))
    assert all(0 <= score <= 1 for score in scores)


# name: score, bias, side, why it is refused, of a setup that asks for 0.6
REFUSED = {
    "good enough, and the bias leans its way": (0.6, 1, LONG, []),
    "a short with a bias down": (0.9, -0.2, SHORT, []),
    "a score too low": (0.59, 1, LONG, ["below_minimum"]),
    "a bias the other way": (0.7, -1, LONG, ["against_bias"]),
    "no bias is none its way": (0.7, 0, SHORT, ["against_bias"]),
    "every reason is told": (0.1, 1, SHORT, ["below_minimum", "against_bias"]),
    "what is not known is no pass": (None, None, LONG, ["score_unknown", "bias_unknown"]),
}


@pytest.mark.parametrize(("score", "bias", "side", "why"), REFUSED.values(), ids=REFUSED)
def test_a_gate_refuses_with_every_reason(score, bias, side, why):
    assert refusals(score, bias, side=side, at_least=0.6) == why


@pytest.mark.parametrize(
    ("setups", "weights", "message"),
    [
        ({}, Weights(), "one setup or more"),
        ({"a": Setup(CLOSE > 0, CLOSE > 0, at_least=1.5)}, Weights(), r"at_least is 1\.5, must be from 0 to 1"),
        ({"a": Setup(CLOSE > 0, CLOSE > 0, at_least=0.5)}, Weights(0, 0, 0, 0, 0), "one above it"),
        ({"a": Setup(CLOSE > 0, CLOSE > 0, at_least=0.5)}, Weights(volume=-1), "none below 0"),
    ],
    ids=["no setup", "a minimum no score reaches", "no weight", "a weight below 0"],
)
def test_a_gate_that_cannot_mean_anything_is_refused(setups, weights, message):
    with pytest.raises(OutOfBoundsError, match=message):
        gate(setups, HALF, HALF, bias=CLOSE, weights=weights)


@pytest.mark.parametrize(
    ("closes", "expected"),
    [((1, 2, 3, 4), 1), ((4, 3, 2, 1), 0), ((1, 2, 1, 2), 2 / 3), ((1, 2, 3, 1), 0.5), ((1, 1, 1, 1), None)],
    ids=["straight up", "straight down", "up on the whole", "nowhere", "nothing moved"],
)
def test_direction_is_how_straight_the_way_was(closes, expected):
    assert seen({"it": direction(CLOSE, 3)}, flat(*closes))["it"][-1] == pytest.approx(expected)


FRAMES = {"1h": random_walk("1h", 300, seed=3)}


def test_a_candidate_that_is_not_refused_is_an_entry_of_that_close_and_no_other_is():
    decided, asked = decide(Gated(), FRAMES, "1h"), candidates(Gated(), FRAMES, "1h")
    passed = asked.filter(pl.col("refused").list.len() == 0)
    for side, entry in (("long", "enter"), ("short", "enter_short")):
        let_in = passed.filter(pl.col("side") == side)
        assert set(let_in["ts"]) == set(decided.filter(entry)["ts"]) != set()
        scored = decided.join(let_in, on="ts")
        assert scored["strength"].to_list() == scored["score"].to_list()
        first = let_in.unique("ts", keep="first", maintain_order=True)
        assert decided.join(first, on="ts").select((pl.col("setup") == pl.col("setup_right")).all()).item()
    assert {reason for reasons in asked["refused"] for reason in reasons} == {"below_minimum", "against_bias"}


def test_components_and_weights_make_the_score():
    asked = candidates(Gated(), FRAMES, "1h")
    parts = [pl.col(name) * pl.col("weights").list.get(n) for n, name in enumerate(Components._fields)]
    assert asked.select((pl.sum_horizontal(parts) - pl.col("score")).abs().max()).item() < 1e-12


def test_nothing_is_a_candidate_before_the_strategy_is_warm():
    decided, asked = decide(Gated(), FRAMES, "1h"), candidates(Gated(), FRAMES, "1h")
    first_known = decided.filter(pl.col("strength").is_not_null())["ts"][0]
    assert asked["ts"][0] >= first_known


def test_a_strategy_without_a_gate_has_no_candidates():
    class Always(Strategy):
        def signals(self, bars: Bars) -> Signals:
            return Signals(enter=bars.close > 0)

    asked = candidates(Always(), FRAMES, "1h")
    assert asked.is_empty()
    assert asked.schema == COLUMNS
