"""Nights that are killed, interrupted or started twice, as real processes on a real home folder."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import polars as pl
import pytest

from pipelines.workplace import Workplace, open_workplace
from tests.small_project import instance, write_project

pytestmark = pytest.mark.slow

TABLES = {
    "receipts": ["received_at"],
    "raw_bars": [],
    "bars": [],
    "quarantine": [],
    "digests": [],
    "sla_record": [],
    "resampled_bars": [],
    "features": [],
    "certificates": [],
    "fills": [],
    "trades": [],
    "rejections": [],
    "equity": [],
    "windows": [],
    "trials": ["first_seen"],
    "scorecards": [],
}
"""Every table a night writes, and the columns that say when."""


def _environment(root: Path) -> dict[str, str]:
    return {**os.environ, "GAUNTLET_PROJECT": str(root), "GAUNTLET_HOME": str(root / "home")}


def _start(root: Path) -> subprocess.Popen[str]:
    gauntlet = Path(sys.executable).with_name("gauntlet")
    return subprocess.Popen(
        [gauntlet, "nightly"], env=_environment(root), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def _finish(root: Path) -> str:
    process = _start(root)
    told, _ = process.communicate(timeout=240)
    assert process.returncode == 0, told
    return told


def _held(root: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Workplace, dict[str, pl.DataFrame]]:
    for name in ("GAUNTLET_PROJECT", "GAUNTLET_HOME"):
        monkeypatch.setenv(name, _environment(root)[name])
    workplace = open_workplace()
    held = {}
    for name, when in TABLES.items():
        rows = workplace.lake.read(name).drop(when)
        held[name] = rows.sort([column for column in rows.columns if not isinstance(rows.schema[column], pl.List)])
    return workplace, held


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, pl.DataFrame]:
    root = write_project(tmp_path_factory.mktemp("undisturbed"))
    _finish(root)
    with pytest.MonkeyPatch.context() as patch:
        return _held(root, patch)[1]


def test_nights_killed_at_any_point_leave_the_same_tables(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, undisturbed: dict[str, pl.DataFrame]
) -> None:
    root = write_project(tmp_path)
    killed = 0
    for lines in range(1, 26, 3):  # each night gets a little further before it is killed
        process = _start(root)
        assert process.stdout is not None
        for _ in range(lines):
            if not process.stdout.readline():
                break
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
            killed += 1
        process.stdout.close()
        process.wait(timeout=30)
    assert killed >= 5
    _finish(root)
    workplace, held = _held(root, monkeypatch)
    for name, rows in undisturbed.items():
        assert held[name].equals(rows), name
    verification = workplace.ledger.verify()
    assert verification.ok
    kinds = [entry.kind for entry in workplace.ledger.store().entries()]
    assert kinds == ["registered", "policy", "decision"]
    assert {run.status.value for run in instance().get_runs()} <= {"SUCCESS", "FAILURE"}, "no run stays open for ever"


def test_an_interrupted_night_says_so_and_the_next_one_completes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, undisturbed: dict[str, pl.DataFrame]
) -> None:
    root = write_project(tmp_path)
    process = _start(root)
    assert process.stdout is not None
    for _ in range(8):
        process.stdout.readline()
    process.send_signal(signal.SIGINT)
    told, _ = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "interrupted: nothing is lost" in told
    assert "Traceback" not in told
    _finish(root)
    _, held = _held(root, monkeypatch)
    for name, rows in undisturbed.items():
        assert held[name].equals(rows), name


def test_the_second_of_two_at_once_says_who_is_working_and_ends(tmp_path: Path) -> None:
    root = write_project(tmp_path)
    first = _start(root)
    assert first.stdout is not None
    first.stdout.readline()
    second = _start(root)
    told, _ = second.communicate(timeout=60)
    assert second.returncode == 2
    assert f"gauntlet nightly (process {first.pid}, since " in told
    assert "Traceback" not in told
    rest, _ = first.communicate(timeout=240)
    assert first.returncode == 0, rest


def test_help_and_the_code_location_do_without_slow_libraries(tmp_path: Path) -> None:
    slow = "great_expectations arch pandera numba exchange_calendars ccxt scipy"
    listing = f"import sys; print(sorted(set('{slow}'.split()) & set(sys.modules)))"
    for statement, more in (
        ("import pipelines.definitions", ""),
        ("import pipelines.cli.main", " dagster polars rich.console"),
    ):
        code = f"{statement}; {listing.replace(slow, slow + more)}"
        done = subprocess.run(
            [sys.executable, "-W", "ignore", "-c", code],
            env={**os.environ, "GAUNTLET_HOME": str(tmp_path / "home")},
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        )
        assert done.stdout.strip() == "[]", statement


def test_a_daemons_run_waits_for_whoever_holds_the_home(tmp_path: Path) -> None:
    root = write_project(tmp_path)
    hold = (
        "import sys, time; from pathlib import Path; from resources import lock\n"
        "with lock.held(Path(sys.argv[1]), purpose='a test', wait=True): print('held', flush=True); time.sleep(3)"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", hold, str(root / "home" / "lock")], stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout is not None
    assert holder.stdout.readline().strip() == "held"
    started = time.monotonic()
    dagster = Path(sys.executable).with_name("dagster")
    environment = {
        **_environment(root),
        "DAGSTER_HOME": str(root / "home" / "dagster"),
        "GAUNTLET_EVENT_LOG": str(root / "home" / "dagster" / "history" / "runs"),
    }
    subprocess.run(
        [sys.executable, "-W", "ignore", "-c", "from resources.settings import prepare; prepare()"],
        env=environment,
        check=True,
    )
    done = subprocess.run(
        [dagster, "asset", "materialize", "-m", "pipelines.definitions", "--select", "warehouse"],
        env=environment, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    assert time.monotonic() - started > 2
    holder.communicate(timeout=10)
    assert holder.returncode == 0
