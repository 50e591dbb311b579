"""What a night computes of one strategy version, each in a call that another process can answer.

A strategy's own code runs in these functions and in no asset: `computed_apart` has them answered where a
strategy that fails, or never ends, ends nothing but its own piece. They read the lake and write nothing.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import date
from functools import partial
from typing import TYPE_CHECKING, Any, Concatenate, NamedTuple, ParamSpec, TypeVar

import polars as pl

from assets import records, research
from assets.certificates import proved
from engine.strategy import warm_up_bars
from resources.apart import Code, apart
from resources.lake import Lake
from resources.project import Project, StrategyDefinition

if TYPE_CHECKING:
    from assets.research import Bears, WindowSessions
    from engine.attribution import Attribution
    from engine.report import PathResult
    from engine.selection import Trial
    from quality.lookahead.certificate import Certificate

Asked = ParamSpec("Asked")
Given = TypeVar("Given")
Params = Mapping[str, Any]


class Backtested(NamedTuple):
    """The full-span run with the file's parameters."""

    first: date
    written: records.Frames
    explained: "Attribution"
    returns: pl.DataFrame
    paths: "Sequence[PathResult]"
    bears: "Bears"
    cash: float
    warnings: Sequence[str]
    trials: "Sequence[Trial]"
    columns: Mapping[str, int]  # read and computed


class Walked(NamedTuple):
    """One window."""

    row: dict[str, Any]
    written: records.Frames
    explained: "Attribution"
    returns: pl.DataFrame
    columns: Mapping[str, int]


def computed_apart(
    function: Callable[Concatenate[Lake, Project, StrategyDefinition, Asked], Given],
    lake: Lake,
    project: Project,
    definition: StrategyDefinition,
    *args: Asked.args,
    **kwargs: Asked.kwargs,
) -> Given:
    """One of the functions below, answered by another process; raises what `resources.apart.apart` says."""
    alone = project._replace(strategies={definition.configuration.key: definition})
    return apart(code_of(definition), partial(function, lake, alone, definition), *args, **kwargs)


def code_of(definition: StrategyDefinition) -> Code:
    return Code(definition.configuration.key, definition.file)


def examined(lake: Lake, project: Project, definition: StrategyDefinition) -> None:  # noqa: ARG001 - asked as the others are
    """Raises what the strategy raises when it is made and asked what to compute, before there are any bars."""
    configuration = definition.configuration
    strategy = definition.signal(**configuration.parameters())
    features = project.datasets[configuration.dataset].features
    warm_up_bars(strategy, configuration.timeframe, features=dict.fromkeys(features, 0))


def certificate(lake: Lake, project: Project, definition: StrategyDefinition, *, last: date) -> "Certificate":
    return proved(lake, project, definition, last=last)


def backtest(
    lake: Lake, project: Project, definition: StrategyDefinition, *, last: date, sets: Mapping[str, Params]
) -> Backtested:
    """With the file's parameters; and as trials, with each of `sets`, by identity."""
    from engine.selection import trials

    past, plan = research.history_of(lake, project, definition, last=last), research.plan_of(project, definition)
    memo = research.columns_of(lake, past, plan)
    result = research.backtest_of(definition, past, plan, memo=memo)
    document = research.plan_document(project, definition, definition.configuration.parameters())
    key = definition.configuration.key
    written = records.frames(key, research.BACKTEST, plan=plan, document=document, **result._asdict())
    return Backtested(
        first=past.sessions[0],
        written=written,
        explained=records.attributed(written, result.simulation, plan),
        returns=result.returns,
        paths=result.paths,
        bears=result.bears,
        cash=plan.rules.cash,
        warnings=list(result.simulation.warnings),
        trials=trials(definition.signal, sets, past, plan, of=past.sessions, memo=memo),
        columns=memo.counts,
    )


def walk(lake: Lake, project: Project, definition: StrategyDefinition, *, window: "WindowSessions") -> Walked:
    past = research.history_of(lake, project, definition, last=window.out_of_sample[-1])
    plan, key = research.plan_of(project, definition), definition.configuration.key
    memo = research.columns_of(lake, past, plan)
    walked = research.walk_of(definition, past, plan, window, memo=memo)
    ran = walked._asdict()
    document = research.plan_document(project, definition, ran.pop("chosen").params)
    written = records.frames(key, window.name, plan=plan, document=document, **ran)
    return Walked(
        row=research.window_row(key, window, walked, n_sets=len(research.parameter_sets(definition))),
        written=written,
        explained=records.attributed(written, walked.simulation, plan),
        returns=walked.returns,
        columns=memo.counts,
    )
