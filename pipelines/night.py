"""The one planner: what is due, in the order of a night.

A piece of work is due when the hash of what it would read differs from the hash it was last
computed from (`assets/inputs.py`), and everything it reads is there:

0. `import_<dataset>`: files that wait in an inbox (`imports`; everything else is `due`).
1. `market_<dataset>`: sessions that were never asked for; corporate actions; partitions whose
   receipts, rules or features changed. A data set whose newest session blocked gets no features
   and no research.
2. `research`, `walk_forward` for complete windows, `scorecards`, each once what it reads is done.
3. `controls` with a replay on the twin, then `review_promotions` for whatever was measured anew or has expired.
4. `maintenance`, when a table changed and nothing else is due, but for what fails whenever it is tried.

Terminal, schedule and sensors all ask here, so they agree; when nothing changed it is empty.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import date, datetime
from pathlib import Path
from typing import NamedTuple

from assets import controls, corporate_actions, inputs, research, twin_replay, universe
from assets.partitions import AS_OF_TAG, partition_of
from assets.promotion import NEXT_STAGE
from pipelines import jobs
from pipelines.workplace import Workplace
from quality import ledger as chain
from quality import sla
from quality.datasets import Dataset
from quality.hashes import document_hash
from resources.clock import now
from resources.errors import UnusableInboxError
from resources.inbox import waiting
from resources.intake import asked_until
from resources.lake import Lake
from resources.market import calendar_of, sessions_until
from resources.project import Project, StrategyDefinition
from resources.retractions import standing_receipts, standing_statements

AsOf = Mapping[str, date]
"""The newest session to look at, by data set."""

_FROM_BARS = ("bars", "resampled_bars", "features")


class Work(NamedTuple):
    """One run that is due."""

    job: str
    partitions: tuple[str, ...]  # a contiguous range, run as one; none for an unpartitioned job
    inputs: str
    as_of: date
    only: tuple[str, ...] = ()  # assets of the job that have to run; all when empty

    @property
    def asks_source(self) -> bool:
        return self.job.startswith(jobs.MARKET) and not self.only

    @property
    def takes_files(self) -> bool:
        return self.job.startswith(jobs.IMPORT)

    @property
    def dataset(self) -> str:
        """Whose market data it is; nobody's for research."""
        return self.job.removeprefix(jobs.MARKET).removeprefix(jobs.IMPORT)

    @property
    def tags(self) -> dict[str, str]:
        return {AS_OF_TAG: str(self.as_of), "gauntlet/inputs": self.inputs}

    @property
    def partition_tags(self) -> dict[str, str]:
        if len(self.partitions) < 2:
            return {}
        return {
            "dagster/asset_partition_range_start": self.partitions[0],
            "dagster/asset_partition_range_end": self.partitions[-1],
        }

    def __str__(self) -> str:
        span = (
            f"{self.partitions[0]} to {self.partitions[-1]}" if len(self.partitions) > 1 else "".join(self.partitions)
        )
        return f"{self.job} {span}".strip()


def as_of_now(workplace: Workplace, *, at: datetime, no_later_than: date | None = None) -> dict[str, date]:
    """The newest session of every data set that has one by the instant `at`, and not after a given day."""
    newest = {}
    for name, dataset in workplace.project.datasets.items():
        receipts = standing_receipts(workplace.lake, name)
        calendar, source = calendar_of(workplace.project, dataset), workplace.sources.open(dataset)
        sessions = sessions_until(dataset, calendar, source, receipts, at=at)
        kept = [session for session in sessions if no_later_than is None or session <= no_later_than]
        if kept:
            newest[name] = kept[-1]
    return newest


def imports(workplace: Workplace, *, at: datetime) -> list[Work]:
    """Files that wait in an inbox at the instant `at`: to be taken in before anything else is asked about."""
    work = []
    for name, dataset in workplace.project.datasets.items():
        if dataset.takes_files:
            try:
                seen = waiting(dataset, workplace.settings, at=at)
            except UnusableInboxError as error:
                seen = str(error)  # the run will say so, and the other data sets go on
            if seen is not None:
                work.append(Work(jobs.import_job(name), (), document_hash(seen), at.date()))
    return work


def due(workplace: Workplace, as_of: AsOf, *, given_up: Callable[[Work], bool] = lambda _: False) -> list[Work]:
    """What is due, in the order of a night: the first pieces can run now, what depends on them is due afterwards.

    Work that was `given_up` stays due and is waited for no longer: the warehouse shows what there is without it.
    """
    project, lake = workplace.project, workplace.lake
    work: list[Work] = []
    standings = chain.stages(workplace.ledger.store().entries(), expires_days=project.promotion.evidence_expires_days)
    ready: dict[str, inputs.Held] = {}
    for name, last in as_of.items():
        dataset = project.datasets[name]
        asks, everyone_silent = _asks(project, dataset, lake, last)
        derived = [] if everyone_silent else list(_derived(project, dataset, lake, last))
        work += [*asks, *derived]
        if not derived and not everyone_silent and not is_blocked(project, dataset, lake, last):
            ready[name] = inputs.held(lake, dataset)

    reviewable: list[str] = []
    for key, definition in project.strategies.items():
        name = definition.configuration.dataset
        if name in ready and key in standings:
            pending = list(_strategy(project, definition, lake, ready[name], as_of[name]))
            work += pending
            if not pending:
                reviewable.append(key)
        elif name in ready:  # it could not be registered: its research says why
            work += _backtest(project, definition, lake, ready[name], as_of[name])

    base = controls.dataset_of(project)
    if base.name in ready:
        work += _controls(project, lake, as_of[base.name])
    if not any(one.job == jobs.CONTROLS for one in work):
        work += _reviews(project, lake, standings, reviewable, as_of)
    if as_of and all(one.asks_source or given_up(one) for one in work):  # what nobody could be asked for stays due
        work += _maintenance(lake, workplace.settings.warehouse, max(as_of.values()))
    return work


def is_blocked(project: Project, dataset: Dataset, lake: Lake, last: date) -> bool:
    """Did the newest judged session up to `last` fail for too many instruments?"""
    record = lake.read("sla_record", dataset=dataset.name, instrument=dataset.ids)
    share = project.sla[dataset.sla].block_share
    return sla.block(record.filter(record["session"] <= last), block_share=share).blocked


def _asks(project: Project, dataset: Dataset, lake: Lake, last: date) -> tuple[list[Work], bool]:
    """Sessions that some instrument was not asked for yet, and whether none was for the newest.

    Where only some are silent, what the others sent is worked on: it is their data that are late, and the SLA says so.
    """
    if dataset.takes_files:  # nobody can be asked for those
        return [], False
    sessions = calendar_of(project, dataset).sessions(dataset.start, last)
    receipts = standing_receipts(lake, dataset.name, source=dataset.source.kind)
    asked = asked_until(receipts, [instrument.id for instrument in dataset.instruments], sessions).values()
    least = None if None in asked else min(until for until in asked if until is not None)
    unasked = {partition_of(dataset, session) for session in sessions if least is None or session > least}
    order = list(dict.fromkeys(partition_of(dataset, session) for session in sessions))
    job = jobs.market_job(dataset.name)
    work = [Work(job, keys, document_hash(["ask", *keys, str(last)]), last) for keys in _ranges(order, unasked)]
    return work, all(until is None or until < sessions[-1] for until in asked)


def _derived(project: Project, dataset: Dataset, lake: Lake, last: date) -> Iterator[Work]:
    """What is made of that which was received."""
    name, job = dataset.name, jobs.market_job(dataset.name)
    sessions = calendar_of(project, dataset).sessions(dataset.start, last)
    receipts = standing_receipts(lake, name)
    order = list(dict.fromkeys(partition_of(dataset, session) for session in sessions))
    actions = corporate_actions.inputs_of(dataset, standing_statements(lake, name), last=last)
    if _differing(actions, inputs.recorded(lake, f"actions:{name}")):
        yield Work(job, (), actions[inputs.ALL], last, only=("corporate_actions",))
        return
    bars = inputs.bars(project, dataset, receipts, lake.read("corporate_actions", dataset=name), sessions)
    changed = _differing(bars, inputs.recorded(lake, f"bars:{name}"))
    for keys in _ranges(order, changed):
        yield Work(job, keys, document_hash([bars[key] for key in keys]), last, only=_FROM_BARS)
    if changed or is_blocked(project, dataset, lake, last):
        return
    held = inputs.held(lake, dataset)
    features = inputs.features(project, dataset, held, sessions)
    for keys in _ranges(order, _differing(features, inputs.recorded(lake, f"features:{name}"))):
        yield Work(job, keys, document_hash([features[key] for key in keys]), last, only=("resampled_bars", "features"))
    if dataset.universes:
        members = universe.inputs_of(
            dataset, project.universes, held, corrections=inputs.corrections(project, dataset), last=last
        )
        if _differing(members, inputs.recorded(lake, f"universe:{name}")):
            yield Work(job, (), members[inputs.ALL], last, only=("universe",))


def _strategy(
    project: Project, definition: StrategyDefinition, lake: Lake, of: inputs.Held, last: date
) -> Iterator[Work]:
    """Backtest and windows, which read only market data; then the scorecard, which reads both."""
    key = definition.configuration.key
    backtest = list(_backtest(project, definition, lake, of, last))
    yield from backtest
    pending = bool(backtest)
    walked = inputs.recorded(lake, "walk_forward")
    for window in research.complete_windows(project, definition, last=last):
        wanted = inputs.research(project, definition, lake, last=window.out_of_sample[-1], of=of)
        cell = f"{key}|{window.name}"
        if walked.get(cell) != wanted:
            pending = True
            yield Work(jobs.WALK_FORWARD, (cell,), wanted, last)
    if pending:
        return
    scorecard = research.scorecard_inputs(project, definition, lake, last=last)
    if inputs.recorded(lake, "scorecard").get(key) != scorecard:
        yield Work(jobs.SCORECARDS, (key,), scorecard, last)


def _backtest(
    project: Project, definition: StrategyDefinition, lake: Lake, of: inputs.Held, last: date
) -> Iterator[Work]:
    key = definition.configuration.key
    wanted = inputs.research(project, definition, lake, last=last, of=of)
    if inputs.recorded(lake, "backtest").get(key) != wanted:
        yield Work(jobs.RESEARCH, (key,), wanted, last)


def _controls(project: Project, lake: Lake, last: date) -> Iterator[Work]:
    wanted = inputs.controls(project, controls.definitions(project), lake, last=last)
    replayed = twin_replay.inputs_of(lake)
    judged = inputs.recorded(lake, "controls").get(inputs.ALL) == wanted
    if not judged or inputs.recorded(lake, "twin_replay").get(inputs.ALL) != replayed:
        yield Work(jobs.CONTROLS, (), document_hash([wanted, replayed]), last, only=("twin_replay",) if judged else ())


def _reviews(
    project: Project, lake: Lake, standings: Mapping[str, chain.Standing], keys: Iterable[str], as_of: AsOf
) -> Iterator[Work]:
    reviewed = inputs.recorded(lake, "review")
    at = now()
    for key in keys:
        standing = standings[key]
        wanted = inputs.review(project, lake, key, standing)
        expired = standing.stage in NEXT_STAGE and standing.expires is not None and standing.expires <= at
        if reviewed.get(key) != wanted or expired:
            last = as_of[project.strategies[key].configuration.dataset]
            yield Work(jobs.REVIEWS, (key,), document_hash([wanted, str(standing.expires)]), last)


def _maintenance(lake: Lake, warehouse: Path, last: date) -> Iterator[Work]:
    wanted = inputs.warehouse(lake)
    if inputs.recorded(lake, "warehouse").get(inputs.ALL) != wanted or not warehouse.exists():
        yield Work(jobs.MAINTENANCE, (), wanted, last)


def _differing(wanted: inputs.Inputs, recorded: inputs.Inputs) -> set[str]:
    return {key for key, value in wanted.items() if recorded.get(key) != value}


def _ranges(order: Sequence[str], keys: Iterable[str]) -> Iterator[tuple[str, ...]]:
    """`keys` as contiguous runs of `order`."""
    wanted = set(keys)
    run: list[str] = []
    for key in order:
        if key in wanted:
            run.append(key)
        elif run:
            yield tuple(run)
            run = []
    if run:
        yield tuple(run)
