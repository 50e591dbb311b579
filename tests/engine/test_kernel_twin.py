"""The kernel against its slow twin: named scenarios, and random ones with shared accounts, marks, finer bars and guards."""

import math

import pytest
from hypothesis import assume, given, settings

from engine.simulator.scenario import simulated
from quality.fills_oracle import replayed
from tests.engine.test_fills_oracle import SCENARIOS, portfolios, scenarios

NEAR = {"rel_tol": 1e-9, "abs_tol": 1e-8}


def assert_alike(seen, wanted, place=""):
    """Ids, names and flags exactly; money to 1e-9."""
    if isinstance(wanted, dict):
        for key in wanted:
            assert key in seen, f"{place}.{key} is missing"
            assert_alike(seen[key], wanted[key], f"{place}.{key}")
    elif isinstance(wanted, list):
        assert len(seen) == len(wanted), f"{place}: {len(seen)} against {len(wanted)}"
        for k, pair in enumerate(zip(seen, wanted, strict=True)):
            assert_alike(*pair, f"{place}[{k}]")
    elif isinstance(wanted, float) and isinstance(seen, float):
        assert math.isclose(seen, wanted, **NEAR), f"{place}: {seen!r} against {wanted!r}"
    else:
        assert seen == wanted, f"{place}: {seen!r} against {wanted!r}"


def assert_agree(scenario):
    seen, wanted = simulated(scenario), replayed(scenario)
    assert kinds_of(seen.pop("warnings")) == kinds_of(wanted.pop("warnings"))
    assert_alike(seen, wanted)


def kinds_of(warnings):
    """The twin warns once an instrument or order, the kernel once a run."""
    kinds = (
        "participation cap",
        "the stop",
        "the last price",
        "last prices",
        "no stop moved",
        "a stop was to be moved",
    )
    kinds += ("no target moved", "targets were to be moved", "too few sessions", "last resort", "the cap on trades")
    alike = {"the stops": "the stop", "last prices": "the last price", "a stop was to be moved": "no stop moved"}
    alike |= {"targets were to be moved": "no target moved", "the cap on trades": "last resort"}
    found = {next(kind for kind in kinds if kind in one) for one in warnings}
    return {alike.get(kind, kind) for kind in found}


@pytest.mark.parametrize("name", SCENARIOS)
def test_they_agree_on_every_named_scenario(name):
    assert_agree(SCENARIOS[name][0])


@given(scenarios())
def test_they_agree_on_one_instrument(scenario):
    assert_agree(scenario)


@settings(max_examples=20, deadline=None)
@given(portfolios())
def test_they_agree_on_a_shared_account(scenario):
    times = {row[0] for rows in scenario["bars"].values() for row in rows}
    happens = [*scenario["decisions"], *scenario["actions"]]
    assume(all(one["bar"] < len(times) for one in happens))  # both skip the same bars now and then
    present = {name: {row[0] for row in rows} for name, rows in scenario["bars"].items()}
    clock = sorted(times)
    assume(all(clock[one["bar"]] in present[one["instrument"]] for one in scenario["actions"]))
    assert_agree(scenario)
