"""What people write of costs and guards reaches the simulator."""

from pathlib import Path

import pytest

from assets.research import plan_of
from quality.costs import PerShare, VolumeShareSlippage
from resources.project import Project, StrategyDefinition, load

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def project() -> Project:
    return load(ROOT)


@pytest.fixture
def definition(project: Project) -> StrategyDefinition:
    return project.strategies["sma_cross@1.0.0"]


def test_the_guards_of_the_section_that_a_strategy_names(project: Project, definition: StrategyDefinition) -> None:
    guarded = definition.configuration.model_copy(update={"risk": "paced"})
    guards = plan_of(project, definition._replace(configuration=guarded)).rules.guards
    assert guards.max_open_positions == 10
    assert guards.correlation_limit == (0.9, 60)
    assert guards.symbol_cooldown_active == (0, 3600)
    assert guards.max_drawdown is None
    assert set(plan_of(project, definition).rules.guards) == {None}, "none is named, none guards"


def test_every_cost_of_its_section(project: Project, definition: StrategyDefinition) -> None:
    plain = project.costs["bitfinex"]
    costs = plain.model_copy(
        update={
            "fees": (),
            "per_share": PerShare(fee=0.005, minimum=1),
            "slippage": VolumeShareSlippage(model="volume_share", impact=0.1, limit=0.25),
            "participation": 0.1,
            "delisting_recovery": 0.3,
        }
    )
    rules = plan_of(project._replace(costs={"bitfinex": costs}), definition).rules
    assert rules.per_share == (0.005, 1)
    assert (rules.slippage.model, rules.slippage.impact, rules.slippage.limit) == ("volume_share", 0.1, 0.25)
    assert (rules.participation, rules.delisting_recovery) == (0.1, 0.3)
    assert [tier for period in rules.fees for tier in period.tiers] == [(0, 0, 0)]
