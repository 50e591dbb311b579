"""Choosing parameters on in-sample, judging them on out-of-sample.

For one window: every parameter set is simulated on the in-sample sessions, each run starting
flat; the one with the best Sharpe ratio of session returns is chosen (ties go to the smaller
identity, a set that never traded is the worst); it is simulated on the out-of-sample sessions,
again from flat, and closed at its last close. The same is done once over the full span for each
set, which is how trials are counted and how their ratios' variance is known.

Signals are computed on all history up to the last session handed in, so what lies before a range
is warm-up only.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from datetime import date
from threading import Lock
from typing import Any, NamedTuple

import numpy as np
import polars as pl

from engine.backtest import Curves, Floats, Plan, decisions, grid, part, run, session_returns, sweep
from engine.candidates import all_candidates
from engine.errors import InvalidInputError
from engine.evaluation import Kept, Memo
from engine.history import History
from engine.report import PathResult, paths
from engine.simulator.inputs import Decisions, Market
from engine.simulator.simulation import Simulation
from engine.statistics import sharpe_ratio
from engine.strategy import Strategy

Params = Mapping[str, Any]
Sessions = Sequence[date]


class Trial(NamedTuple):
    """One parameter set that was looked at; `sharpe` is per session, NaN when its returns do not vary."""

    identity: str
    params: Params
    sharpe: float


class Walked(NamedTuple):
    """One window: what was chosen, and how it did afterwards. Ratios are per session."""

    chosen: Trial
    returns: pl.DataFrame  # session equity return gross_exposure, out-of-sample
    simulation: Simulation
    bars: Market  # out-of-sample
    paths: Sequence[PathResult]  # out-of-sample, on each path policy
    candidates: pl.DataFrame  # out-of-sample, of its gate
    decided: Decisions  # out-of-sample


def trials(
    make: Callable[..., Strategy],
    sets: Mapping[str, Params],
    history: History,
    plan: Plan,
    *,
    of: Sessions,
    memo: Memo | None = None,
) -> list[Trial]:
    """Every parameter set simulated over the sessions `of`, in the order of `sets` (params by identity).

    No indicator is computed twice for them; `memo` keeps what was computed on this history for longer.
    """
    on = grid(history, plan)
    rows = on.rows(of[0], of[-1])
    kept, deciding = Kept() if memo is None else memo, Lock()

    def decide_with(params: Params) -> Callable[[], Decisions]:
        def decided() -> Decisions:
            with deciding:  # two threads that ask at once would both compute what neither has kept yet
                return decisions(make(**params), history, plan, on, memo=kept)

        return decided

    def sharpe(equity: Floats) -> float:
        curves = Curves(equity, np.zeros_like(equity))
        returns = session_returns(curves, on.sessions[slice(*rows)], of=of, cash=plan.rules.cash)
        return sharpe_ratio(returns["return"].to_numpy())

    ratios = sweep(on, [decide_with(params) for params in sets.values()], plan, rows=rows, read=sharpe)
    return [Trial(*one, ratio) for one, ratio in zip(sets.items(), ratios, strict=True)]


def walk(
    make: Callable[..., Strategy],
    sets: Mapping[str, Params],
    history: History,
    plan: Plan,
    *,
    in_sample: Sessions,
    out_of_sample: Sessions,
    memo: Memo | None = None,
) -> Walked:
    """Choose on `in_sample`, judge on `out_of_sample`; both are sessions in order, the second after the first.

    Raises:
        InvalidInputError: out-of-sample does not begin after in-sample ends.
    """
    if out_of_sample[0] <= in_sample[-1]:
        msg = f"out-of-sample begins on {out_of_sample[0]}, in-sample ends on {in_sample[-1]}: it must begin later"
        raise InvalidInputError(msg)
    kept = Kept() if memo is None else memo
    chosen = best(trials(make, sets, history, plan, of=in_sample, memo=kept))
    on = grid(history, plan)
    first, end = rows = on.rows(out_of_sample[0], out_of_sample[-1])
    strategy = make(**chosen.params)
    decided = decisions(strategy, history, plan, on, memo=kept)
    simulation = run(on, decided, plan, rows=rows, close_at_end=True)
    bars, on_them = part(on, decided, rows)
    returns = session_returns(simulation, on.sessions[first:end], of=out_of_sample, cash=plan.rules.cash)
    asked = all_candidates(strategy, history, plan, within=(out_of_sample[0], out_of_sample[-1]), memo=kept)
    on_paths = paths(on, decided, plan, rows=rows, close_at_end=True)
    return Walked(chosen, returns, simulation, bars, on_paths, asked, on_them)


def best(tried: Sequence[Trial]) -> Trial:
    """The trial with the highest ratio; NaN is below every number, ties go to the smaller identity."""
    return min(
        tried,
        key=lambda trial: (
            math.isnan(trial.sharpe),
            -trial.sharpe if trial.sharpe == trial.sharpe else 0,
            trial.identity,
        ),
    )
