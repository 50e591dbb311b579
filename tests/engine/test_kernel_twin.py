"""The kernel against its slow twin: named scenarios, and random ones over the whole contract.

Not in the twin: `conversions`, of which the contract does not speak. Their law is in `test_simulator_laws.py`.
"""

import math
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from engine.simulator.scenario import simulated
from quality.fills_oracle import replayed
from tests.engine.test_fills_oracle import SCENARIOS, portfolios, scenarios
from tests.worlds import drawn, seeded

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


def means_something(scenario):
    """Impact may take more than the price: nobody's market."""
    return all(fill["price"] > 0 for fill in replayed(scenario, scenario.get("sessions"))["fills"])


def assert_agree(scenario):
    seen, wanted = simulated(scenario), replayed(scenario, scenario.get("sessions"))
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
@pytest.mark.slow
def test_they_agree_on_a_shared_account(scenario):
    clock = sorted(
        {row[0] for rows in scenario["bars"].values() for row in rows}
    )  # all skip the same bars now and then
    present = {name: {row[0] for row in rows} for name, rows in scenario["bars"].items()}

    def has_its_bar(one):
        return one["bar"] < len(clock) and clock[one["bar"]] in present[one["instrument"]]

    kept = {told: [one for one in scenario[told] if has_its_bar(one)] for told in ("decisions", "actions")}
    assert_agree(scenario | kept)  # the reader refuses the others


@settings(deadline=None)
@given(st.randoms(use_true_random=False))
def test_they_agree_on_a_world(random):
    scenario = drawn(random)
    assume(means_something(scenario))
    assert_agree(scenario)


THOUSANDS = """
from tests.engine.test_kernel_twin import assert_agree, means_something
from tests.worlds import drawn, seeded
for seed in range({first}, {end}):
    scenario = drawn(seeded(seed))
    if means_something(scenario):
        try:
            assert_agree(scenario)
        except Exception as error:
            raise AssertionError(f"world {{seed}}") from error
"""


def in_a_process_of_its_own(code, **environment):
    root = Path(__file__).parents[2]
    settings_of_it = os.environ | {"PYTHONPATH": str(root)} | environment
    return subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code],
        cwd=root,
        env=settings_of_it,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("first", "end", "how"),
    [(0, 4_000, {}), (4_000, 4_300, {"NUMBA_DISABLE_JIT": "1"}), (5_000, 5_500, {"NUMBA_BOUNDSCHECK": "1"})],
    ids=["compiled", "uncompiled", "with bounds checked"],
)
def test_they_agree_on_many_worlds(first, end, how, tmp_path):
    apart = {"NUMBA_CACHE_DIR": str(tmp_path)} if how else {}
    done = in_a_process_of_its_own(THOUSANDS.format(first=first, end=end), **how, **apart)
    assert done.returncode == 0, done.stderr[-2000:]


@pytest.mark.slow
def test_worlds_reach_what_they_are_for():
    """A drive that never liquidates or splits would agree on nothing."""
    answers = [replayed(one, one.get("sessions")) for one in (drawn(seeded(seed)) for seed in range(400))]
    reasons = {order["reason"] for answer in answers for order in answer["orders"]}
    whys = {fill["why"] for answer in answers for fill in answer["fills"]}
    assert {"entry", "reduce", "stop", "trail", "break_even", "time", "signal", "session_close"} <= whys
    assert {"kill_switch", "delisted", "liquidation", "target_1", "target_2"} <= whys
    assert {"insufficient_cash", "ttl_expired", "post_only_would_take", "invalid_stop", "no_position"} <= reasons
    assert {"slippage_exceeded", "no_edge", "not_shortable", "halted", "below_min_notional"} <= reasons
    assert {"max_position", "max_gross_exposure", "max_net_exposure", "max_leverage"} <= reasons
    assert {"correlation_limit", "max_daily_loss", "max_drawdown", "kill_switch"} <= reasons
    assert {"global_trade_spacing", "symbol_cooldown_active", "max_trades_per_hour", "max_trades_per_day"} <= reasons
    assert {"loss_streak_cooldown", "max_open_positions", "position_closed", "cancelled"} <= reasons
    assert any(fill["ambiguous"] for answer in answers for fill in answer["fills"])
    for part in ("fees", "spread", "slippage", "impact", "funding", "borrow", "dividends"):
        assert any(trade[part] for answer in answers for trade in answer["trades"]), part
