"""Schedules: every data set is asked for once a night, after its calendar's sessions have closed; then the documents."""

from datetime import UTC

import dagster as dg

from assets import data_docs, inputs
from pipelines import jobs, night
from pipelines.registration import unchanged
from pipelines.requests import run_requests
from pipelines.workplace import Workplace
from quality.datasets import Dataset
from resources.calendars import ROUND_THE_CLOCK

_AT = {ROUND_THE_CLOCK: "30 0 * * *"}
_AFTER_THE_LAST_CLOSE = "0 4 * * *"  # UTC: every exchange's session of the day before has closed by then
_AFTER_THE_NIGHTS = "30 5 * * *"


def schedules(workplace: Workplace) -> list[dg.ScheduleDefinition]:
    asked = [dataset for dataset in workplace.project.datasets.values() if not dataset.takes_files]
    return [*(_nightly(workplace, dataset) for dataset in asked), _documents(workplace)]


def _documents(workplace: Workplace) -> dg.ScheduleDefinition:
    @dg.schedule(
        name="data_docs_nightly",
        job_name=jobs.DATA_DOCS,
        cron_schedule=_AFTER_THE_NIGHTS,
        execution_timezone="UTC",
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description="Hold the warehouse of the night against every expectation.",
    )
    def data_docs_nightly(context: dg.ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:
        if not data_docs.is_due(workplace.lake):
            return dg.SkipReason("the pages show the present warehouse")
        warehouse = inputs.recorded(workplace.lake, "warehouse")[inputs.ALL]
        day = context.scheduled_execution_time.astimezone(UTC).date()  # what failed is asked for again the next night
        return dg.RunRequest(run_key=f"{warehouse}:{day}")

    return data_docs_nightly


def _nightly(workplace: Workplace, dataset: Dataset) -> dg.ScheduleDefinition:
    job = jobs.market_job(dataset.name)

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
        told = workplace._replace(project=unchanged(workplace.project, workplace.lake, workplace.ledger.store()))
        work = [one for one in night.due(told, night.as_of_now(told, at=at)) if one.job == job]
        requests = run_requests(work, context.instance, context.repository_def)
        return requests or dg.SkipReason(f"nothing of {dataset.name} is due")

    return nightly
