"""What the checks on bars say beside their verdict."""

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from assets.market_data import market_data
from assets.sla_checks import outages
from quality import tables
from resources.lake import Lake
from resources.project import load
from tests.fakes import ONE, OTHER, small_dataset
from tests.small_project import FIRST, write_project

DAYS = [date(2020, 1, 1) + timedelta(days=n) for n in range(14)]


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(root=str(tmp_path / "lake"), lock_path=str(tmp_path / "lock"))


def keep(
    lake: Lake, *days: date, kind: str = "outage", dataset: str = "small", of: Sequence[str] = (ONE, OTHER)
) -> None:
    rows = [
        {"dataset": dataset, "instrument": name, "session": day, "first": at, "last": at, "n_bars": 1, "kind": kind}
        for day in days
        for at in [datetime.combine(day, datetime.min.time(), UTC)]
        for name in of
    ]
    lake.append("gaps", tables.frame("gaps", rows))


def sessions(told: Any) -> list[str]:
    return [record.data["session"] for record in told["outages"].records]


def test_an_outage_is_told_once_for_all_instruments_with_what_asks_again(lake: Lake) -> None:
    keep(lake, DAYS[3], DAYS[5])
    keep(lake, DAYS[7], kind="unknown")
    told = outages(lake, small_dataset(ONE, OTHER), DAYS[9])
    assert sessions(told) == ["2020-01-04", "2020-01-06"]
    assert told["ask again"].value == "gauntlet backfill small --from 2020-01-04 --to 2020-01-06"


def test_the_ten_newest_up_to_the_session_that_is_looked_at_are_told(lake: Lake) -> None:
    keep(lake, *DAYS)
    told = outages(lake, small_dataset(ONE, OTHER), DAYS[12])
    assert sessions(told) == [str(day) for day in DAYS[3:13]]
    assert told["ask again"].value == "gauntlet backfill small --from 2020-01-04 --to 2020-01-13"


def test_nothing_is_told_where_nothing_was_out_and_nobody_is_asked_for_files(lake: Lake) -> None:
    assert outages(lake, small_dataset(ONE, OTHER), DAYS[9]) == {}
    keep(lake, DAYS[3])
    told = outages(lake, small_dataset(ONE, OTHER, source={"kind": "files"}), DAYS[9])
    assert [*told] == ["outages"]


@pytest.mark.slow
def test_the_check_of_completeness_names_outages(lake: Lake, tmp_path: Path) -> None:
    project = load(write_project(tmp_path / "project"))
    dataset = project.datasets["crypto_5m"]
    label = {"dataset": "crypto_5m", "instrument": dataset.ids[0], "session": FIRST + timedelta(days=1)}
    said = {"value": 1.0, "limit": 0.99, "due": 288, "seen": 288, "passed": True, "enforced": True}
    rules = [{**label, **said, "rule": rule} for rule in project.sla[dataset.sla].limits]
    lake.append("sla_record", tables.frame("sla_record", rules))
    keep(lake, FIRST, dataset="crypto_5m", of=dataset.ids)

    (checks,) = [one for one in market_data(project, dataset) if isinstance(one, dg.AssetChecksDefinition)]
    job = dg.define_asset_job("check", selection=dg.AssetSelection.checks(checks))
    found = dg.Definitions(asset_checks=[checks], jobs=[job], resources={"lake": lake}).resolve_job_def("check")
    said_of = {one.check_name: one.metadata for one in found.execute_in_process().get_asset_check_evaluations()}
    assert sessions(said_of["completeness"]) == [str(FIRST)]
    assert said_of["completeness"]["ask again"].value == f"gauntlet backfill crypto_5m --from {FIRST} --to {FIRST}"
    assert {name for name, metadata in said_of.items() if "outages" in metadata} == {"completeness"}
