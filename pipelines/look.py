"""A look at one strategy: its backtest over what is held, at once, without a night.

1. Where nothing is held of its data set, its source is asked first, as a night would.
2. The file's parameters are simulated over the full span, in a process of their own.
3. The look is counted: whoever has seen a result has looked at a parameter set, and the policy's statistics must
   know of every one. Nothing is registered, so the files may change under the same version, and nothing is kept of
   the result but its ratio.
"""

from collections.abc import Mapping
from datetime import date
from typing import Any, NamedTuple

from assets import computed, inputs, research
from assets.backtest import count_trials
from assets.computed import Backtested, computed_apart
from pipelines import jobs, night
from pipelines.run_night import Runs, Say, holding, work_off
from pipelines.workplace import Workplace
from quality.datasets import Dataset
from quality.documents import nearest
from quality.evidence import encode
from quality.hashes import document_hash
from resources.clock import now
from resources.errors import NothingHeldError, UnknownStrategyError
from resources.project import Project, StrategyDefinition

COSTS = ("fees", "spread", "slippage", "impact", "borrow", "funding")


class Look(NamedTuple):
    definition: StrategyDefinition
    result: Backtested
    last: date
    metrics: Mapping[str, float]
    family: str
    n_trials: int  # of the family, this one included
    is_new: bool
    is_blocked: bool  # the newest session of its data set failed, so no night would research on it

    def document(self) -> dict[str, Any]:
        """What `gauntlet backtest --json` prints."""
        configuration, bears, parts = self.definition.configuration, self.result.bears, self.result.explained.parts
        return {
            "strategy": configuration.key,
            "dataset": configuration.dataset,
            "timeframe": configuration.timeframe,
            "from": str(self.result.first),
            "to": str(self.last),
            "params": configuration.parameters(),
            **{name: encode(value) for name, value in self.metrics.items()},
            "edge": encode(parts["edge"]),
            "costs": {name: encode(0.0 - parts[name]) for name in COSTS},  # as what was paid
            "paths": [path._asdict() for path in self.result.paths],
            "break_even_cost_multiple": encode(bears.break_even_cost_multiple.value),
            "capacity": encode(bears.capacity.value),
            "trials": {"family": self.family, "counted": self.n_trials, "new": self.is_new},
            "data_set_blocked": self.is_blocked,
            "warnings": list(self.result.warnings),
        }


def look(workplace: Workplace, name: str, *, say: Say) -> Look:
    """Backtest the strategy `name`, or `name@version`, and count that it was looked at.

    Raises:
        UnknownStrategyError: the project has none of this name.
        NothingHeldError: there are no bars of its data set, and its source gave none.
        HomeBusyError, BrokenLedgerError: as a night.
        StrategyError, UserCodeError: its own code failed, or did not end.
    """
    from engine.scorecard import backtest_metrics

    project = workplace.project
    definition = _definition(project, name)
    configuration, dataset = definition.configuration, project.datasets[definition.configuration.dataset]
    with holding(workplace, purpose=f"gauntlet backtest {name}", wait=False, say=say) as runs:
        if not _is_held(workplace, dataset):
            _ask(workplace, dataset, runs, say)
        last = inputs.newest_session(workplace.lake, dataset, {})
        params = configuration.parameters()
        sets = {document_hash(params): params}
        result = computed_apart(computed.backtest, workplace.lake, project, definition, last=last, sets=sets)
        is_new = count_trials(workplace.lake, definition, result.trials, last=last) > 0
        family = research.family_of(workplace.lake, definition)
        n_trials = workplace.lake.read("trials", family=family).height
    metrics = backtest_metrics(
        result.returns["return"].to_numpy(),
        result.written["trades"],
        periods_per_year=project.promotion.periods_per_year[dataset.calendar],
    )
    blocked = night.is_blocked(project, dataset, workplace.lake, last)
    return Look(definition, result, last, metrics, family, n_trials, is_new, blocked)


def _definition(project: Project, name: str) -> StrategyDefinition:
    """By its version; or by its name, which means that of the files, or the newest there is."""
    if name in project.strategies:
        return project.strategies[name]
    of_name = [one for one in project.strategies.values() if one.configuration.name == name]
    if not of_name:
        known = {one.configuration.name for one in project.strategies.values()}
        raise UnknownStrategyError(name, known, nearest(name, known))
    return max(of_name, key=lambda one: [int(number) for number in one.configuration.version.split(".")])


def _is_held(workplace: Workplace, dataset: Dataset) -> bool:
    return not workplace.lake.read("digests", dataset=dataset.name, instrument=dataset.ids).is_empty()


def _ask(workplace: Workplace, dataset: Dataset, runs: Runs, say: Say) -> None:
    """The market data of one data set, as a night brings it in."""
    say(f"nothing is held of {dataset.name} yet: its bars are brought in first")
    alone = workplace._replace(project=workplace.project._replace(strategies={}))
    for work in night.imports(alone, at=now()):
        if work.dataset == dataset.name:
            runs.execute(work)
    newest = night.as_of_now(alone, at=now()).get(dataset.name)
    if newest is not None:
        job = jobs.market_job(dataset.name)
        work_off(alone, {dataset.name: newest}, runs, wanted=lambda work: work.job == job)
    if not _is_held(workplace, dataset):
        raise NothingHeldError(dataset.name)
