"""A night in one process: ask the planner, run what is due, ask again, until nothing is.

The home folder's lock is held throughout. A piece that fails is told and left; the others go on,
and what depends on it waits for the next night.
"""

import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from datetime import date
from types import MappingProxyType
from typing import Any, NamedTuple

import dagster as dg
import polars as pl
from rich.markup import escape

from pipelines import night
from pipelines.code_location import build
from pipelines.progress import QUIET, listening
from pipelines.registration import partition_requests, register
from pipelines.requests import assets_of
from pipelines.workplace import Workplace
from quality import tables
from quality.datasets import Dataset, Instrument
from quality.documents import nearest
from resources import lock
from resources.clock import now
from resources.errors import (
    BrokenLedgerError,
    HomeBusyError,
    NoSessionError,
    UnknownDatasetError,
    UnknownInstrumentError,
)

_OUR_ERROR = re.compile(r"^(?:(?:engine|quality|resources)\.errors\.\w+|dagster\.\S+AssetCheckFailedError): ")
BY_TERMINAL = {"gauntlet/by": "terminal"}
SHOWN_COUNTS = 6
_RESTATED = list(tables.table("restatements").key)
_UNFINISHED = [dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.NOT_STARTED]
Say = Callable[[str], None]


class Failure(NamedTuple):
    work: str
    reason: str


class Refused(NamedTuple):
    """A file of an inbox that was not taken in."""

    dataset: str
    file: str
    about: str


class Done(NamedTuple):
    """What a night did."""

    as_of: Mapping[str, date]
    run_ids: Sequence[str]
    failed: Sequence[Failure]
    new_rows: Mapping[str, int]  # by data set
    seconds: float
    refused: Sequence[Refused] = ()
    restated: Mapping[str, int] = MappingProxyType({})  # bars, by data set


def run_night(workplace: Workplace, *, only: Sequence[str], no_later_than: date | None, say: Say) -> Done:
    """Run everything that is due for the data sets `only` (all when empty), up to a session.

    Raises:
        UnknownDatasetError: `only` names a data set that the project has not.
        NoSessionError: no data set has a session by then.
        HomeBusyError: another process is writing the home folder.
        BrokenLedgerError: the ledger does not hold what was published.
        ConfigurationError: a registered strategy version has changed.
    """
    started = time.monotonic()
    require_known(workplace, only)
    with working(workplace, purpose="gauntlet nightly", wait=False, say=say) as runs:
        restated_before = _restated(workplace)
        for work in night.imports(workplace, at=now()):
            if not only or work.dataset in only:
                runs.execute(work)
        newest = night.as_of_now(workplace, at=now(), no_later_than=no_later_than)
        as_of = {name: last for name, last in newest.items() if not only or name in only}
        if not as_of and not runs.failed:
            raise NoSessionError(no_later_than, min(dataset.start for dataset in workplace.project.datasets.values()))
        _add_partitions(workplace, as_of, runs.instance)
        work_off(workplace, as_of, runs)
        restated = _restated(workplace).join(restated_before, on=_RESTATED, how="anti", nulls_equal=True)
    return Done(
        as_of,
        runs.run_ids,
        runs.failed,
        runs.new_rows,
        time.monotonic() - started,
        refused=runs.refused,
        restated=dict(restated.group_by("dataset").len().rows()),
    )


def work_off(
    workplace: Workplace, as_of: night.AsOf, runs: "Runs", *, wanted: Callable[[night.Work], bool] = lambda _: True
) -> None:
    """Run what is `wanted` of that which is due, job by job, until nothing of it is."""
    while True:
        due = night.due(workplace, as_of, given_up=runs.has_tried)
        waiting = [work for work in due if wanted(work) and not runs.has_tried(work)]
        if not waiting:
            return
        for work in _first_job(waiting):
            runs.execute(work)


@contextmanager
def working(workplace: Workplace, *, purpose: str, wait: bool, say: Say) -> Iterator["Runs"]:
    """As `holding`, with every strategy version registered; raises ConfigurationError too, when one has changed."""
    with holding(workplace, purpose=purpose, wait=wait, say=say) as runs:
        register(workplace.project, workplace.lake, workplace.ledger.store(), at=now())
        yield runs
        workplace.ledger.publish_head()


@contextmanager
def holding(workplace: Workplace, *, purpose: str, wait: bool, say: Say) -> Iterator["Runs"]:
    """Hold the home, with a sound ledger, and run what is asked for in it.

    Raises HomeBusyError and BrokenLedgerError; with `wait`, a busy home is told and waited for.
    """
    with ExitStack() as home:
        try:
            home.enter_context(lock.held(workplace.settings.lock, purpose=purpose, wait=False))
        except HomeBusyError as busy:
            if not wait:
                raise
            say(f"waiting: {escape(str(busy))}")
            home.enter_context(lock.held(workplace.settings.lock, purpose=purpose, wait=True))
        _require_sound_ledger(workplace)
        runs = Runs(workplace, build(workplace), dg.DagsterInstance.get(), say)
        _close_dead_runs(runs.instance)
        yield runs


class Runs:
    """The runs of one night or backfill, and what came of them."""

    _last_said: tuple[str | None, Sequence[str]] | None = None

    def __init__(
        self, workplace: Workplace, definitions: dg.Definitions, instance: dg.DagsterInstance, say: Say
    ) -> None:
        self.workplace = workplace
        self.definitions = definitions
        self.repository = definitions.get_repository_def()
        self.instance = instance
        self.say = say
        self.run_ids: list[str] = []
        self.failed: list[Failure] = []
        self.rows: dict[str, int] = {}  # received, by data set
        self.new_rows: dict[str, int] = {}
        self.refused: list[Refused] = []
        self._tried: set[tuple[str, str]] = set()

    def has_tried(self, work: night.Work) -> bool:
        return (str(work), work.inputs) in self._tried

    def execute(self, work: night.Work) -> None:
        self._tried.add((str(work), work.inputs))
        self.say(f"[bold]{escape(str(work))}[/bold]")
        self._last_said = None
        with listening(self._heard):
            result = self.definitions.resolve_job_def(work.job).execute_in_process(
                instance=self.instance,
                partition_key=work.partitions[0] if len(work.partitions) == 1 else None,
                asset_selection=assets_of(work, self.repository),
                tags={**work.tags, **work.partition_tags, **BY_TERMINAL},
                run_config=QUIET,
                raise_on_error=False,
            )
        self.run_ids.append(result.run_id)
        if not result.success and _interrupted(result):  # Dagster catches Ctrl-C and calls it a failure
            raise KeyboardInterrupt
        if not result.success:
            self.failed.append(Failure(str(work), _reason(result)))
            self.say(f"  [red]failed[/red] {escape(self.failed[-1].reason)}")

    def _heard(self, event: dg.DagsterEvent) -> None:
        if event.event_type != dg.DagsterEventType.ASSET_MATERIALIZATION:
            return
        materialization = event.step_materialization_data.materialization
        path = materialization.asset_key.path
        if self._last_said == (event.step_key, path):  # a range run records every partition of the range
            return
        self._last_said = (event.step_key, path)
        values = {name: value.value for name, value in materialization.metadata.items()}
        if path[-1] == "raw_bars":
            for counted, name in ((self.rows, "rows"), (self.new_rows, "new_rows")):
                counted[path[0]] = counted.get(path[0], 0) + int(str(values[name]))
        if path[-1] == "imported_files":
            self.refused += _refusals(path[0], materialization.metadata["files"])
        counts = [f"{name} {_told(value)}" for name, value in values.items() if isinstance(value, int | float)]
        told = ", ".join(counts[:SHOWN_COUNTS]) + (
            f" and {len(counts) - SHOWN_COUNTS} more" if counts[SHOWN_COUNTS:] else ""
        )
        self.say(f"  {escape('/'.join(path))}  [dim]{escape(told)}[/dim]")


def require_known(workplace: Workplace, only: Sequence[str]) -> None:
    """Raises UnknownDatasetError for a name that no data set of the project has."""
    known = workplace.project.datasets
    for name in only:
        if name not in known:
            raise UnknownDatasetError(name, known, nearest(name, known))


def named(workplace: Workplace, dataset: str, instrument: str) -> tuple[Dataset, Instrument]:
    """A data set, and an instrument of it whose id may be typed in lower case.

    Raises UnknownDatasetError and UnknownInstrumentError.
    """
    require_known(workplace, [dataset])
    into = workplace.project.datasets[dataset]
    ids = {one.id: one for one in into.instruments}
    if instrument.upper() not in ids:
        raise UnknownInstrumentError(instrument, f"the data set {dataset}", ids)
    return into, ids[instrument.upper()]


def _restated(workplace: Workplace) -> pl.DataFrame:
    """Every bar of the lake that a later receipt changed or withdrew, by what tells it from all others."""
    told = workplace.lake.scan("restatements").filter(pl.col("kind") != "superseded")
    return told.select(_RESTATED).collect()


def _require_sound_ledger(workplace: Workplace) -> None:
    verification = workplace.ledger.verify()
    if not verification.ok:
        raise BrokenLedgerError(verification.broken[0].entry, verification.broken[0].problem)


def _add_partitions(workplace: Workplace, as_of: Mapping[str, date], instance: dg.DagsterInstance) -> None:
    for request in partition_requests(workplace.project, as_of):
        instance.add_dynamic_partitions(request.partitions_def_name, list(request.partition_keys))


def _close_dead_runs(instance: dg.DagsterInstance) -> None:
    """Runs that were killed: whoever holds the lock knows that nobody is working on them.

    What they held of a pool is given back first, or the next run that needs it would wait for ever.
    """
    storage = instance.event_log_storage
    for pool in storage.get_concurrency_keys():
        held = storage.get_concurrency_info(pool)
        for run_id in held.active_run_ids | held.assigned_run_ids | held.pending_run_ids:
            storage.free_concurrency_slots_for_run(run_id)
    for run in instance.get_runs(dg.RunsFilter(tags=BY_TERMINAL, statuses=_UNFINISHED)):
        instance.report_run_failed(run, "the terminal that ran it was killed")


def _first_job(due: Sequence[night.Work]) -> list[night.Work]:
    """The pieces of the first job that is due; what comes after may depend on them."""
    return [work for work in due if work.job == due[0].job]


def _interrupted(result: dg.ExecuteInProcessResult) -> bool:
    return any("DagsterExecutionInterruptedError" in message for message in _errors(result))


def _reason(result: dg.ExecuteInProcessResult) -> str:
    """What ended the run, as a sentence: our own refusal where there is one, else the first cause."""
    errors = _errors(result)
    ours = [message for message in errors if _OUR_ERROR.match(message)]
    return _OUR_ERROR.sub("", (ours or errors[-1:] or ["no reason was recorded: see the run in the UI"])[0])


def _errors(result: dg.ExecuteInProcessResult) -> list[str]:
    """What failed first, from the outermost error to its cause."""
    for event in result.all_events:
        error = None
        if event.is_step_failure:
            error = event.step_failure_data.error
        elif event.is_job_event and event.is_failure:
            error = event.job_failure_data.error
        chain = []
        while error is not None:
            chain.append(error.message.strip())
            error = error.cause
        if chain:
            return chain
    return []


def _refusals(dataset: str, files: dg.MetadataValue[Any]) -> list[Refused]:
    rows = [record.data for record in files.records] if isinstance(files, dg.TableMetadataValue) else []
    return [Refused(dataset, str(one["file"]), str(one["about"])) for one in rows if one["outcome"] == "refused"]


def _told(value: float) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:,.4g}"
