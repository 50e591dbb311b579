"""Schedules: every data set is asked for once a night, after its calendar's sessions have closed."""

from datetime import UTC

import dagster as dg

from pipelines import night
from pipelines.jobs import market_job
from pipelines.registration import unchanged
from pipelines.requests import run_requests
from pipelines.workplace import Workplace
from quality.datasets import Dataset
from resources.calendars import ROUND_THE_CLOCK

_AT = {ROUND_THE_CLOCK: "30 0 * * *"}
_AFTER_THE_LAST_CLOSE = "0 4 * * *"  # UTC: every exchange's session of the day before has closed by then


def schedules(workplace: Workplace) -> list[dg.ScheduleDefinition]:
    return [_nightly(workplace, dataset) for dataset in workplace.project.datasets.values()]


def _nightly(workplace: Workplace, dataset: Dataset) -> dg.ScheduleDefinition:
    job = market_job(dataset.name)

    @dg.schedule(
        name=f"{dataset.name}_nightly",
        job_name=job,
        cron_schedule=_AT.get(dataset.calendar, _AFTER_THE_LAST_CLOSE),
        execution_timezone="UTC",
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description=f"Ask the source of {dataset.name} for the sessions that have closed since.",
    )
    def nightly(context: dg.ScheduleEvaluationContext) -> list[dg.RunRequest] | dg.SkipReason:
        at = context.scheduled_execution_time.astimezone(UTC)
        as_of = night.as_of_now(workplace.project, workplace.lake, workplace.sources, at=at)
        project = unchanged(workplace.project, workplace.ledger.store())
        work = [one for one in night.due(project, workplace.lake, workplace.ledger.store(), as_of) if one.job == job]
        requests = run_requests(work, context.instance, context.repository_def)
        return requests or dg.SkipReason(f"nothing of {dataset.name} is due")

    return nightly
