"""A sample of real runs, on the kernel and on its slow twin, every night that code or windows changed.

1. `sampled` draws strategy versions and windows that were walked, from a seed that is a hash of what was walked and of
   the code: the same state, the same sample.
2. `replay` runs the window's first bars with the parameters chosen for it, on instruments of one cost tier, after some
   bars of warm-up, and writes that run down as a scenario (`engine/replay.py`).
3. The scenario is answered by the kernel and by the twin (`quality/fills_oracle.py`), which share no code. The run
   itself, the kernel's answer and the twin's must be the same, to 1e-9 of money.

A difference fails the check: one of the three is wrong about the contract.
"""

import json
from collections.abc import Mapping, Sequence
from datetime import date, datetime
from typing import TYPE_CHECKING, Any, NamedTuple

import dagster as dg
import numpy as np
import polars as pl

from assets import inputs, research
from assets.computed import computed_apart
from quality.datasets import ROUND_THE_CLOCK
from quality.hashes import document_hash
from resources.lake import Lake
from resources.project import Project, StrategyDefinition
from resources.settings import numbers_hash

if TYPE_CHECKING:
    from engine.backtest import Plan
    from engine.history import History
    from engine.simulator.inputs import Decisions

CHECK = "twin_agrees"
CELLS = 3  # a night
N_BARS = 300
WARM_UP_BARS = 100
SHOWN = 20  # differences
_IDS = {"id", "order"}


class Cell(NamedTuple):
    strategy: str
    window: str
    params: Mapping[str, Any]


class Replayed(NamedTuple):
    cell: Cell
    compared: str  # instruments, bars, fills; or why nothing was
    differences: Sequence[str]


def twin_replays(project: Project) -> list[dg.AssetsDefinition]:
    @dg.multi_asset(
        name="replay_sample",  # a step may not be called as another asset's job is
        specs=[
            dg.AssetSpec(
                "twin_replay",
                deps=[dg.AssetDep("walk_forward", partition_mapping=dg.AllPartitionMapping())],
                group_name="promotion",
                kinds={"numba", "python"},
                description="A sample of real runs, answered by the simulator and by its slow twin.",
            )
        ],
        check_specs=[
            dg.AssetCheckSpec(
                CHECK,
                asset=dg.AssetKey("twin_replay"),
                description="The run, the kernel's answer to its scenario and the twin's are the same.",
            )
        ],
    )
    def twin_replay(context: dg.AssetExecutionContext, lake: Lake) -> dg.MaterializeResult:
        current = inputs_of(lake)
        cells = sampled(lake, project, seed=current)
        found = [computed_apart(replay, lake, project, project.strategies[cell.strategy], cell) for cell in cells]
        inputs.record(lake, "twin_replay", {inputs.ALL: current}, run_id=context.run.run_id)
        return dg.MaterializeResult(
            metadata={
                "replayed": len(found),
                **{f"{one.cell.strategy} {one.cell.window}": one.compared for one in found},
            },
            check_results=[check(found)],
        )

    return [twin_replay]


def inputs_of(lake: Lake) -> str:
    """What was walked, and the code that walked it."""
    return document_hash([inputs.recorded(lake, "walk_forward"), numbers_hash()])


def sampled(lake: Lake, project: Project, *, seed: str) -> list[Cell]:
    """At most `CELLS` windows, of as many strategies as there are, drawn by `seed`."""
    walked = lake.read("windows", strategy=list(project.strategies)).sort("strategy", "window")
    cells = [Cell(*row) for row in walked.select("strategy", "window", "params").rows()]
    drawn = [cells[k] for k in np.random.default_rng(list(seed.encode())).permutation(len(cells))]
    first = {cell.strategy: cell for cell in reversed(drawn)}
    spread = [*first.values(), *(cell for cell in drawn if cell not in first.values())]
    return [cell._replace(params=json.loads(str(cell.params))) for cell in spread[:CELLS]]


def replay(lake: Lake, project: Project, definition: StrategyDefinition, cell: Cell) -> Replayed:
    """The first bars of a window, three times."""
    row = lake.read("windows", strategy=cell.strategy, window=cell.window).row(0, named=True)
    past = research.history_of(lake, project, definition, last=row["oos_last"])
    return compared(project, definition, past, cell, first=row["oos_first"])


def compared(project: Project, definition: StrategyDefinition, past: "History", cell: Cell, *, first: date) -> Replayed:
    """The bars from the session `first` on: as a run of the strategy, as a scenario of the kernel's, as one of the twin's."""
    from engine import backtest
    from engine.replay import differences, scenario_of
    from engine.simulator.records import answer
    from engine.simulator.scenario import simulated
    from engine.simulator.simulation import simulate
    from quality.fills_oracle import replayed

    plan = _of_one_tier(research.plan_of(project, definition))
    if plan.rates:
        return Replayed(cell, "nothing: the twin knows no rates between currencies", [])
    if plan.rules.guards.loss_streak_cooldown is not None:
        return Replayed(cell, "nothing: losing streaks are counted by regime, which a scenario does not know", [])
    on = backtest.grid(past, plan)
    decided = backtest.decisions(definition.signal(**cell.params), past, plan, on)
    begin = on.rows(first, first)[0]
    rows = (max(0, begin - WARM_UP_BARS), begin + N_BARS)
    bars, decided = backtest.part(on, decided, rows)
    decided = _silent_before(begin - rows[0], decided)
    simulation = simulate(bars, decided, plan.instruments, plan.rules)
    document = scenario_of(
        research.plan_document(project, definition, cell.params),
        bars,
        simulation,
        plan.instruments,
        cash=plan.rules.cash,
        sessions=_sessions(project, definition, past),
    )
    run = answer(simulation, plan.instruments, decided)
    kernel = simulated(document)
    twin = replayed(document, document.get("sessions"))  # type: ignore[no-untyped-call]  # plain Python on purpose
    found = [f"run and kernel: {one}" for one in differences(_unnumbered(run), _unnumbered(kernel))]
    found += [f"kernel and twin: {one}" for one in differences(_sized(kernel), _sized(twin))]
    shape = f"{len(plan.instruments)} instruments, {len(bars.ts)} bars, {len(simulation.fills)} fills"
    return Replayed(cell, shape, found)


def check(found: Sequence[Replayed]) -> dg.AssetCheckResult:
    differing = [f"{one.cell.strategy} {one.cell.window}: {place}" for one in found for place in one.differences]
    return dg.AssetCheckResult(
        asset_key=dg.AssetKey("twin_replay"),
        check_name=CHECK,
        passed=not differing,
        severity=dg.AssetCheckSeverity.ERROR,
        metadata={"differences": len(differing), "first": "; ".join(differing[:SHOWN]) or "none"},
    )


def _of_one_tier(plan: "Plan") -> "Plan":
    """The instruments of the half-spread that most have, as a scenario knows one; of sleeves the first of them."""
    spreads = [one.half_spread_bps for one in plan.instruments]
    usual = max(spreads, key=lambda spread: (spreads.count(spread), spread))
    traded = tuple(one for one in plan.instruments if one.half_spread_bps == usual)
    if plan.capital == "shared":
        return plan._replace(instruments=traded)
    part = plan.rules._replace(cash=plan.rules.cash / len(plan.instruments))
    return plan._replace(instruments=traded[:1], rules=part, capital="shared")


def _silent_before(begin: int, decided: "Decisions") -> "Decisions":
    from engine.simulator.inputs import SIGNALS

    spoken = np.arange(len(decided.enter_long))[:, None] >= begin
    heard: dict[str, Any] = {name: getattr(decided, name) & spoken for name in SIGNALS}
    return decided._replace(**heard)


def _sessions(project: Project, definition: StrategyDefinition, past: "History") -> list[tuple[datetime, datetime]]:
    """None of a calendar that never closes, where a session is the UTC day."""
    if project.datasets[definition.configuration.dataset].calendar == ROUND_THE_CLOCK:
        return []
    sessions = past.due.group_by("session").agg(opens=pl.col("ts").min(), closes=pl.col("known_at").max())
    return sessions.sort("session").select("opens", "closes").rows()


def _unnumbered(document: Mapping[str, Any]) -> dict[str, Any]:
    """What happened, without the ids: a run numbers refusals too that no scenario can have."""
    happened = {
        name: [{key: value for key, value in one.items() if key not in _IDS} for one in document[name]]
        for name in ("fills", "trades", "open_positions")
    }
    return {**happened, "equity": document["equity"]}


def _sized(document: Mapping[str, Any]) -> dict[str, Any]:
    """Without warnings, which each says in its own words; an order that was never sized asked for nothing."""
    orders = [{**one, "requested": one["requested"] or 0.0} for one in document["orders"]]
    return {**{name: value for name, value in document.items() if name != "warnings"}, "orders": orders}
