"""What others have published, as golden cases (`tests/golden/published_fills.yaml`, with their sources), run through the simulator."""

import copy
from pathlib import Path

import pytest
import yaml

from engine.simulator.scenario import simulated
from tests.engine.test_fills_oracle import world

CASES = yaml.safe_load((Path(__file__).parents[1] / "golden" / "published_fills.yaml").read_text())
ABOUT = 1e-5  # of the price: published prices are rounded, at worst to cents of 1,114.78


def scenario_of(case):
    given = copy.deepcopy(case["scenario"])
    decisions = [one | {"instrument": "X"} for one in given.pop("decisions")]
    rules = {"liquidate_on": "last"} | given.pop("rules", {})
    return world(given.pop("bars"), *decisions, rules=rules, **given)


def cases_with(key):
    return [pytest.param(one, id=one["case"]) for one in CASES if key in one]


@pytest.mark.parametrize("case", cases_with("fills"))
def test_published_fills(case):
    fills = simulated(scenario_of(case))["fills"]
    assert [(fill["side"], fill["quantity"], pytest.approx(fill["price"], rel=1e-12)) for fill in fills] == [
        tuple(row) for row in case["fills"]
    ]


@pytest.mark.parametrize("case", cases_with("fees"))
def test_published_fees(case):
    assert [fill["fee"] for fill in simulated(scenario_of(case))["fills"]] == pytest.approx(case["fees"])


@pytest.mark.parametrize("case", cases_with("funding"))
def test_published_funding(case):
    (position,) = simulated(scenario_of(case))["open_positions"]
    assert position["funding"] == pytest.approx(case["funding"], abs=1e-15)


@pytest.mark.parametrize("case", cases_with("liquidation"))
def test_published_liquidation_prices(case):
    sign = 1 if case["scenario"]["decisions"][0]["do"] == "buy" else -1
    found = {}
    for side in (-1, 1):
        scenario = scenario_of(case)
        scenario["rules"] = {"liquidate_on": "mark"}
        mark = case["liquidation"] * (1 + side * ABOUT)
        opens = scenario["bars"]["X"][0][0]
        calm = [opens] * 4
        scenario["mark_bars"] = {"X": [calm, calm, [opens, max(opens, mark), min(opens, mark), opens]]}
        found[side] = [fill["why"] for fill in simulated(scenario)["fills"]]
    assert found[-sign] == ["entry", "liquidation"]
    assert found[sign] == ["entry"]


def test_every_case_names_its_source():
    for case in CASES:
        assert case["source"]
        assert {"fills", "fees", "funding", "liquidation"} & set(case)
