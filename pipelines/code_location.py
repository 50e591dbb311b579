"""From a workplace to Dagster's definitions: assets, checks, jobs, schedules, sensors, resources."""

import warnings

import dagster as dg

from assets.backtest import backtests
from assets.controls import control_assets
from assets.data_docs import data_docs_assets
from assets.maintenance import compaction
from assets.market_data import market_data
from assets.promotion import promotion_reviews
from assets.scorecard import scorecards
from assets.twin_replay import twin_replays
from assets.walk_forward import walk_forwards
from assets.warehouse import warehouse
from pipelines.jobs import jobs
from pipelines.progress import PROGRESS, progress_logger
from pipelines.schedules import schedules
from pipelines.sensors import sensors
from pipelines.workplace import Workplace

# Dagster's exact version is pinned, so what is beta in it does not change under us.
warnings.filterwarnings("ignore", category=dg.BetaWarning)


def build(workplace: Workplace) -> dg.Definitions:
    project = workplace.project
    market = [one for dataset in project.datasets.values() for one in market_data(project, dataset)]
    gate = (control_assets, twin_replays, promotion_reviews)
    makers = (backtests, walk_forwards, scorecards, *gate, data_docs_assets)
    research = [make(project) for make in makers]
    checks = [one for one in market if isinstance(one, dg.AssetChecksDefinition)]
    assets = [one for one in market if not isinstance(one, dg.AssetChecksDefinition)]
    all_jobs = jobs(project.datasets)
    return dg.Definitions(
        assets=[*assets, *(asset for group in research for asset in group), compaction, warehouse],
        asset_checks=checks,
        jobs=list(all_jobs.values()),
        schedules=schedules(workplace),
        sensors=sensors(workplace, all_jobs),
        resources=workplace.resources,
        executor=dg.in_process_executor,
        loggers={"console": dg.colored_console_logger, PROGRESS: progress_logger},
    )
