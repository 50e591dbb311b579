"""The event log says what Dagster's own says, from the same files, and keeps few of them open."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.storage.event_log import EventLogStorage, SqliteEventLogStorage

from resources import event_log
from resources.event_log import KeptOpenSqliteEventLog

OPEN_FILES = Path("/proc/self/fd")
KILLED = """
import os, signal, sys
import dagster as dg
from tests.resources.test_event_log import instance_of, run
with instance_of(sys.argv[1], "KeptOpenSqliteEventLog", "resources.event_log") as instance:
    run(instance)
    os.kill(os.getpid(), signal.SIGKILL)
"""


@dg.asset(partitions_def=dg.StaticPartitionsDefinition(["one", "other"]))
def bars() -> dg.MaterializeResult[None]:
    return dg.MaterializeResult(metadata={"rows": 3})


@dg.asset(deps=[bars])
def equity() -> dg.MaterializeResult[None]:
    return dg.MaterializeResult(metadata={"rows": 5})


@dg.asset_check(asset=bars)
def completeness() -> dg.AssetCheckResult:
    return dg.AssetCheckResult(passed=False, severity=dg.AssetCheckSeverity.WARN, metadata={"limit": 0.99})


def instance_of(folder: str | Path, name: str, module: str) -> dg.DagsterInstance:
    """An instance that keeps its runs under `folder` and its events in `folder`/events, as `dagster.yaml` has it."""
    Path(folder).mkdir(exist_ok=True)
    storage = {"module": module, "class": name, "config": {"base_dir": str(Path(folder) / "events")}}
    telemetry = {"telemetry": {"enabled": False}}
    return dg.DagsterInstance.local_temp(str(folder), overrides={"event_log_storage": storage, **telemetry})


def run(instance: dg.DagsterInstance) -> str:
    """Materialize and check a little; the id of the run."""
    quiet = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
    assets = [bars, equity, completeness]
    return dg.materialize(assets, partition_key="one", instance=instance, run_config=quiet).run_id


def told(storage: EventLogStorage, run_id: str) -> dict[str, object]:
    """What people and sensors ask an event log for, without ids and times."""
    entries = [record.event_log_entry for record in storage.get_records_for_run(run_id).records]
    newest = [record.asset_entry.last_materialization_record for record in storage.get_asset_records()]
    written = [record.asset_materialization for record in newest if record is not None]
    checked = storage.get_asset_check_execution_history(completeness.check_key, limit=5)
    return {
        "events": [(entry.dagster_event_type, entry.step_key, entry.level) for entry in entries],
        "assets": sorted(key.to_user_string() for key in storage.all_asset_keys()),
        "newest": sorted(str((each.asset_key, each.metadata, each.partition)) for each in written if each is not None),
        "partitions": storage.get_materialized_partitions(bars.key),
        "check": [record.status.value for record in checked],
        "n_steps": storage.get_stats_for_run(run_id).steps_succeeded,
    }


def open_databases(folder: Path) -> set[str]:
    links = [link.readlink() for link in OPEN_FILES.iterdir() if link.is_symlink()]
    return {link.name for link in links if link.is_relative_to(folder) and link.suffix == ".db"}


@pytest.fixture
def storage(tmp_path: Path) -> Iterator[KeptOpenSqliteEventLog]:
    kept = KeptOpenSqliteEventLog(str(tmp_path / "events"))
    yield kept
    kept.dispose()


def store(storage: EventLogStorage, run_id: str) -> None:
    said = {"error_info": None, "level": "info", "user_message": run_id, "timestamp": 0.0}
    storage.store_event(dg.EventLogEntry(**said, run_id=run_id))  # type: ignore[no-untyped-call]


def messages(storage: EventLogStorage, run_id: str) -> list[str]:
    return [entry.user_message for entry in storage.get_logs_for_run(run_id)]


@pytest.mark.slow
def test_it_tells_of_a_run_what_dagsters_own_tells(tmp_path: Path) -> None:
    ours = instance_of(tmp_path / "ours", "KeptOpenSqliteEventLog", "resources.event_log")
    theirs = instance_of(tmp_path / "theirs", "SqliteEventLogStorage", "dagster._core.storage.event_log")
    with ours, theirs:
        run_id = run(ours)
        said = told(ours.event_log_storage, run_id)
        assert said == told(theirs.event_log_storage, run(theirs))
        assert said == told(SqliteEventLogStorage(str(tmp_path / "ours" / "events")), run_id)
    assert said["assets"] == ["bars", "equity"]
    assert said["partitions"] == {"one"}
    assert said["check"] == ["FAILED"]
    assert said["n_steps"] == 3


def test_two_handles_on_one_folder_see_each_others_events(storage: KeptOpenSqliteEventLog, tmp_path: Path) -> None:
    daemon = KeptOpenSqliteEventLog(str(tmp_path / "events"))
    store(storage, "a")
    store(daemon, "a")
    assert messages(storage, "a") == messages(daemon, "a") == ["a", "a"]
    daemon.dispose()


@pytest.mark.skipif(not OPEN_FILES.is_dir(), reason="this system does not say which files are open")
@pytest.mark.slow
def test_many_runs_leave_few_databases_open(
    storage: KeptOpenSqliteEventLog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_log, "KEPT", 2)  # making a database takes half a second
    runs = ["a", "b", "c"]
    for run_id in runs:
        store(storage, run_id)
    assert open_databases(tmp_path) == {"b.db", "c.db"}
    assert [messages(storage, run_id) for run_id in runs] == [[run_id] for run_id in runs]
    storage.dispose()
    assert open_databases(tmp_path) == set()


def test_after_a_wipe_it_records_anew(storage: KeptOpenSqliteEventLog, tmp_path: Path) -> None:
    store(storage, "a")
    storage.wipe()
    assert messages(storage, "a") == []
    store(storage, "a")
    assert messages(SqliteEventLogStorage(str(tmp_path / "events")), "a") == ["a"]


@pytest.mark.slow
def test_what_a_killed_process_recorded_is_there(tmp_path: Path) -> None:
    killed = subprocess.run(
        [sys.executable, "-c", KILLED, str(tmp_path)], cwd=Path(__file__).parents[2], check=False, env=os.environ
    )
    assert killed.returncode == -signal.SIGKILL
    with instance_of(tmp_path, "KeptOpenSqliteEventLog", "resources.event_log") as instance:
        (record,) = instance.get_run_records()
        assert told(instance.event_log_storage, record.dagster_run.run_id)["n_steps"] == 3
