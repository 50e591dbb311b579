"""Work that is due, as Dagster's run requests.

The run key says partition, input digest and attempt, so the same work is never asked for twice
while it waits or runs, and a failed piece is tried again once; then it waits for changed inputs
or for a person. Work that was done before, and is due again because inputs went back to what they
were, counts as another attempt. So does, of files in an inbox, a run that succeeded: they were to be
moved away, and lie there still.
"""

from collections.abc import Iterable

import dagster as dg

from pipelines.night import Work

ATTEMPTS = 2
_FAILED = [dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED]
_SUCCEEDED = [dg.DagsterRunStatus.SUCCESS]


def run_requests(
    work: Iterable[Work], instance: dg.DagsterInstance, definitions: dg.RepositoryDefinition | None
) -> list[dg.RunRequest]:
    requests = []
    for one in work:
        failed = instance.get_runs_count(dg.RunsFilter(job_name=one.job, tags=one.tags, statuses=_FAILED))
        succeeded = instance.get_runs_count(dg.RunsFilter(job_name=one.job, tags=one.tags, statuses=_SUCCEEDED))
        if failed + (succeeded if one.takes_files else 0) < ATTEMPTS:
            requests.append(run_request(one, failed + succeeded, assets_of(one, definitions)))
    return requests


def run_request(work: Work, attempt: int, assets: list[dg.AssetKey] | None) -> dg.RunRequest:
    single = work.partitions[0] if len(work.partitions) == 1 else None
    span = f"{work.partitions[0]}..{work.partitions[-1]}" if work.partitions else ""
    return dg.RunRequest(
        run_key=f"{work.job}:{span}:{work.inputs}:{attempt}",
        job_name=work.job,
        partition_key=single,
        asset_selection=assets,
        tags={**work.tags, **work.partition_tags},
    )


def assets_of(work: Work, definitions: dg.RepositoryDefinition | None) -> list[dg.AssetKey] | None:
    """Which of the job's assets have to run; None for all."""
    if not work.only or definitions is None:
        return None
    keys = definitions.get_job(work.job).asset_layer.executable_asset_keys
    return [key for key in keys if key.path[-1] in work.only]
