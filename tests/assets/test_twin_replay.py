"""A sample of runs on the kernel and its twin: what is drawn, and that a kernel that errs is found out."""

from datetime import date
from typing import Any

import pytest

from assets import twin_replay
from assets.twin_replay import Cell, check, compared, sampled
from quality import tables
from resources.lake import Lake
from tests.walks import project_of, strategy, walked_history

FIRST = date(2020, 1, 8)
CELL = Cell("scripted@1.0.0", "w001", {})
WRITTEN: dict[str, dict[str, Any]] = {
    "plain": strategy(),
    "ladder, guards and finer bars": {
        **strategy(exits={"stop": {"pct": 0.02}, "targets": "default"}, risk={"max_open_positions": 1}, magnify="15m"),
        "costs": {"slippage": {"model": "square_root", "y": 0.5, "days": 5}, "borrow_bps_per_day": 5},
    },
    "trails, time stops and session closes": {
        **strategy(exits={"trail": {"atr": 2, "length": 5}, "time_stop_bars": 9, "session_close": True}),
        "costs": {"half_spread_bps": {"core": 0}},
    },
    "regimes": strategy(regimes={"allowed": ["trend", "chop"], "length": 5}),
    "sleeves": strategy(account={"cash": 10_000, "currency": "USD", "capital": "sleeves"}),
}


@pytest.fixture(autouse=True)
def few_bars(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(twin_replay, "N_BARS", 60)


@pytest.fixture(scope="module")
def history():
    return walked_history(14)


@pytest.mark.parametrize("name", WRITTEN)
def test_the_run_the_kernel_and_the_twin_are_the_same(name: str, history) -> None:
    project, definition = project_of(WRITTEN[name])
    found = compared(project, definition, history, CELL, first=FIRST)
    assert found.differences == []
    assert "160 bars" in found.compared
    assert int(found.compared.split()[-2]) > 10
    assert check([found]).passed


def test_a_kernel_that_errs_fails_the_check(history, monkeypatch: pytest.MonkeyPatch) -> None:
    """A fee of a tenth too much, charged by one of the two alone."""
    from engine.simulator import scenario

    project, definition = project_of(strategy())
    usual = scenario.simulated

    def dearer(document):
        answer = usual(document)
        answer["fills"][0]["fee"] *= 1.1
        return answer

    monkeypatch.setattr(scenario, "simulated", dearer)
    found = compared(project, definition, history, CELL, first=FIRST)
    result = check([found])
    assert not result.passed
    assert result.severity.value == "ERROR"
    assert any(place.startswith("kernel and twin: fills[0].fee is ") for place in found.differences)


def test_what_the_twin_cannot_know_is_said_and_not_compared(history) -> None:
    project, definition = project_of({"instrument": {"settle": "EUR"}, **strategy(fx={"EUR": "EURUSD.V"})})
    assert "no rates" in compared(project, definition, history, CELL, first=FIRST).compared
    project, definition = project_of(strategy(risk={"loss_streak_cooldown": {"losses": 2, "seconds": 60}}))
    assert "streaks are counted by regime" in compared(project, definition, history, CELL, first=FIRST).compared


@pytest.fixture
def lake(tmp_path) -> Lake:
    made = Lake(root=str(tmp_path / "lake"), lock_path=str(tmp_path / "lock"))
    day = dict.fromkeys(("in_sample_first", "in_sample_last", "oos_first", "oos_last"), FIRST)
    usual = {**day, "n_sets": 1, "params": "{}", "in_sample_sharpe": 1.0, "oos_sharpe": 1.0, "oos_net_return": 0.0}
    for name in ("a@1.0.0", "b@1.0.0", "scripted@1.0.0"):
        rows = [{**usual, "strategy": name, "window": f"w{n:03d}", "oos_trades": 1} for n in range(1, 6)]
        made.replace("windows", tables.frame("windows", rows), strategy=name)
    return made


def test_the_same_state_draws_the_same_sample_and_another_one_another(lake: Lake) -> None:
    project, definition = project_of({})
    known = project._replace(strategies=dict.fromkeys(("a@1.0.0", "b@1.0.0", "scripted@1.0.0"), definition))
    drawn = [sampled(lake, known, seed=seed) for seed in ("one", "one", "two", "three")]
    assert drawn[0] == drawn[1]
    assert len({str(one) for one in drawn}) > 1
    assert all({cell.strategy for cell in one} == set(known.strategies) for one in drawn), (
        "as many strategies as there are"
    )


def test_versions_that_left_the_project_are_not_drawn(lake: Lake) -> None:
    project, definition = project_of({})
    known = project._replace(strategies={"scripted@1.0.0": definition})
    assert {cell.strategy for cell in sampled(lake, known, seed="one")} == {"scripted@1.0.0"}
    assert sampled(lake, project._replace(strategies={}), seed="one") == []
