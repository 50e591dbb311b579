"""Sensors: each asks for the work of one job as soon as what it reads is there.

All call the planner. A tick costs a look at the tables' versions while nothing has changed.
"""

from collections.abc import Iterable, Mapping

import dagster as dg

from pipelines import jobs, night
from pipelines.registration import partition_requests, register, unchanged
from pipelines.requests import ATTEMPTS, run_requests
from pipelines.workplace import Workplace
from quality import tables
from quality.hashes import document_hash
from resources.clock import now
from resources.project import Project
from resources.settings import numbers_hash

INTERVAL_SECONDS = 60
FILES_INTERVAL_SECONDS = 30


def sensors(workplace: Workplace, all_jobs: Mapping[str, jobs.Job]) -> list[dg.SensorDefinition]:
    market = [jobs.market_job(name) for name in workplace.project.datasets]
    waits_for = {
        "new_receipts": (market, "Receipts that no bars were made from yet."),
        "changed_market_data": ([jobs.RESEARCH], "Bars that a backtest has not seen."),
        "complete_windows": ([jobs.WALK_FORWARD], "Windows that are complete and not walked."),
        "new_results": ([jobs.SCORECARDS], "Backtests and windows that no scorecard has."),
        "controls_of_the_night": ([jobs.CONTROLS], "Negative controls on new bars, code or policy."),
        "new_scorecards": ([jobs.REVIEWS], "Scorecards without a review, and reviews that expired."),
        "changed_tables": ([jobs.MAINTENANCE], "Tables that the warehouse does not show yet."),
    }
    files = [
        all_jobs[jobs.import_job(name)] for name, dataset in workplace.project.datasets.items() if dataset.takes_files
    ]
    dropped = [_dropped_files(workplace, files)] if files else []
    return [
        *dropped,
        *(
            _sensor(workplace, name, [all_jobs[job] for job in names], about)
            for name, (names, about) in waits_for.items()
        ),
    ]


def _dropped_files(workplace: Workplace, of_jobs: list[jobs.Job]) -> dg.SensorDefinition:
    @dg.sensor(
        name="dropped_files",
        jobs=of_jobs,
        minimum_interval_seconds=FILES_INTERVAL_SECONDS,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Files in an inbox that nobody is writing to any more.",
    )
    def take_in(context: dg.SensorEvaluationContext) -> dg.SensorResult:
        waiting = night.imports(workplace, at=now())
        requests = run_requests(waiting, context.instance, context.repository_def)
        if not requests:
            return dg.SensorResult(skip_reason=_given_up(waiting) if waiting else "no file waits")
        return dg.SensorResult(run_requests=requests)

    return take_in


def _given_up(waiting: Iterable[night.Work]) -> str:
    names = ", ".join(work.dataset for work in waiting)
    return (
        f"files of {names} were to be taken in {ATTEMPTS} times and wait still: see the last run of the job, make the "
        "folder writable or drop them anew; tomorrow they are tried again"
    )


def _sensor(workplace: Workplace, name: str, of_jobs: list[jobs.Job], about: str) -> dg.SensorDefinition:
    names = {job.name for job in of_jobs}
    written = identity(workplace.project)

    @dg.sensor(
        name=name,
        jobs=of_jobs,
        minimum_interval_seconds=INTERVAL_SECONDS,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description=about,
    )
    def ask(context: dg.SensorEvaluationContext) -> dg.SensorResult:
        seen = fingerprint(workplace, written)
        if context.cursor == seen:
            return dg.SensorResult(skip_reason="nothing changed since nothing was due")
        ledger = workplace.ledger.store()
        project = unchanged(workplace.project, workplace.lake, ledger)
        refused = register(project, workplace.lake, ledger, at=now())
        for sentence in (*map(str, project.left_out), *refused.values()):
            context.log.warning(sentence)
        told = workplace._replace(project=project)
        as_of = night.as_of_now(told, at=now())

        def given_up(work: night.Work) -> bool:
            return not run_requests([work], context.instance, None)

        due = [work for work in night.due(told, as_of, given_up=given_up) if work.job in names]
        mine = [work for work in due if not work.asks_source]  # the schedule asks sources, once a night
        if not mine:
            return dg.SensorResult(skip_reason="nothing is due", cursor=seen)
        requests = run_requests(mine, context.instance, context.repository_def)
        if not requests:
            return dg.SensorResult(skip_reason=f"due, but every attempt failed: {', '.join(map(str, mine))}")
        return dg.SensorResult(run_requests=requests, dynamic_partitions_requests=partition_requests(project, as_of))

    return ask


def fingerprint(workplace: Workplace, written: str) -> str:
    """What a tick looks at first: what is written, the version of every table, the ledger's length, the day."""
    versions = {name: workplace.lake.version(name) for name in tables.TABLES}
    return document_hash([written, versions, len(workplace.ledger.store().files()), str(now().date())])


def identity(project: Project) -> str:
    """Of everything that people wrote, code included."""
    sections = (project.datasets, project.sla, project.costs, project.risk, project.universes)
    return document_hash(
        [
            *[{name: one.model_dump(mode="json") for name, one in section.items()} for section in sections],
            {name: [one.model_dump(mode="json") for one in rows] for name, rows in project.corrections.items()},
            {key: [one.code_hash, one.configuration_hash] for key, one in project.strategies.items()},
            project.promotion.document(),
            numbers_hash(),
        ]
    )
