"""The shipped project as Dagster loads it."""

from pathlib import Path

import dagster as dg
import pytest
import yaml

from pipelines.code_location import build
from pipelines.workplace import open_workplace

CHECKOUT = Path(__file__).parents[2]
PER_DATASET = (
    *("raw_bars", "receipts", "bars", "quarantine", "digests", "sla_record", "restatements"),
    *("corporate_actions", "raw_actions", "universe", "features"),
)
RULES = {"completeness", "nan", "duplicates", "quarantined", "lateness", "stale_run", "jump", "disorder"}


@pytest.fixture(scope="module")
def definitions(tmp_path_factory: pytest.TempPathFactory) -> dg.Definitions:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GAUNTLET_HOME", str(tmp_path_factory.mktemp("home")))
        return build(open_workplace())


def test_the_code_location_loads(definitions: dg.Definitions) -> None:
    dg.Definitions.validate_loadable(definitions)


def test_every_data_set_has_its_assets_and_checks(definitions: dg.Definitions) -> None:
    graph = definitions.get_repository_def().asset_graph
    keys = {key.to_user_string() for key in graph.get_all_asset_keys()}
    for dataset in ("crypto_5m", "us_equities_1d"):
        assert {f"{dataset}/{table}" for table in PER_DATASET} <= keys
        checks = {key.name for key in graph.asset_check_keys if key.asset_key.path == [dataset, "bars"]}
        assert checks == RULES
    assert "crypto_5m/resampled_bars" in keys
    assert {
        "certificates",
        "backtest",
        "walk_forward",
        "scorecard",
        "controls",
        "promotion_review",
        "warehouse",
        "compaction",
        "data_docs",
    } <= keys


def test_crypto_is_partitioned_by_day_and_equities_by_month(definitions: dg.Definitions) -> None:
    graph = definitions.get_repository_def().asset_graph
    days = graph.get(dg.AssetKey(["crypto_5m", "bars"])).partitions_def
    months = graph.get(dg.AssetKey(["us_equities_1d", "bars"])).partitions_def
    assert days is not None
    assert months is not None
    assert (len(days.get_partition_keys()), days.get_partition_keys()[-1]) == (183, "2017-12-30")
    assert (len(months.get_partition_keys()), months.get_partition_keys()[-1]) == (279, "2021-03")


def test_jobs_schedules_and_sensors_are_there_and_on(definitions: dg.Definitions) -> None:
    repository = definitions.get_repository_def()
    assert {job.name for job in repository.get_all_jobs()} == {
        "market_crypto_5m", "market_us_equities_1d", "research", "walk_forward", "scorecards", "controls",
        "review_promotions", "maintenance", "write_data_docs", "__ASSET_JOB",
    }  # fmt: skip
    assert {one.default_status for one in repository.schedule_defs} == {dg.DefaultScheduleStatus.RUNNING}
    assert {one.default_status for one in repository.sensor_defs} == {dg.DefaultSensorStatus.RUNNING}
    assert len(repository.schedule_defs) == 3, "one a data set, and the documents"


def test_every_job_runs_in_one_process(definitions: dg.Definitions) -> None:
    assert {job.executor_def.name for job in definitions.resolve_all_job_defs()} == {"in_process"}


def test_the_workspace_names_the_code_location() -> None:
    (location,) = yaml.safe_load((CHECKOUT / "workspace.yaml").read_text())["load_from"]
    assert location["python_module"] == {"module_name": "pipelines.definitions", "location_name": "gauntlet"}
