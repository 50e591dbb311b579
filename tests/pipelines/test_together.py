"""Backfills and a night at the same time, as processes, while others read: nothing is lost, doubled or half there."""

import os
import subprocess
import sys
import threading
import time
from datetime import date
from pathlib import Path

import duckdb
import pytest

from pipelines.workplace import Workplace
from resources.lake import Lake
from tests.pipelines.test_kill import tables_of
from tests.small_project import FIRST, LAST, open_small, write_project

pytestmark = pytest.mark.slow

HOLD = (
    "import sys; from pathlib import Path; from resources import lock\n"
    "with lock.held(Path(sys.argv[1]), purpose='a test', wait=True): print('held', flush=True); sys.stdin.readline()"
)


def _gauntlet(root: Path, *words: str) -> subprocess.Popen[str]:
    environment = {**os.environ, "GAUNTLET_PROJECT": str(root), "GAUNTLET_HOME": str(root / "home")}
    command = [Path(sys.executable).with_name("gauntlet"), *words]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def _backfill(root: Path, first: date, last: date, *words: str) -> subprocess.Popen[str]:
    return _gauntlet(root, "backfill", "crypto_5m", "--from", str(first), "--to", str(last), *words)


def _nightly_once_it_is_free(root: Path) -> str:
    for _ in range(60):
        process = _gauntlet(root, "nightly")
        told, _ = process.communicate(timeout=240)
        if process.returncode != 2:
            assert process.returncode == 0, told
            return told
        assert "is writing" in told
        time.sleep(0.5)
    raise AssertionError(told)


class Watching(threading.Thread):
    """Reads lake and warehouse all the time and notes whatever is not whole."""

    def __init__(self, lake: Lake, warehouse: Path, whole: dict[tuple[str, date], int]) -> None:
        super().__init__()
        self.lake, self.warehouse, self.whole = lake, warehouse, whole  # how many bars a session has
        self.wrong: list[str] = []
        self.looks = 0
        self.over = threading.Event()

    def run(self) -> None:
        while not self.over.is_set():
            try:
                self._look()
            except Exception as error:  # noqa: BLE001 - whatever it is, the test is to see it
                self.wrong.append(repr(error))
            self.looks += 1
            time.sleep(0.02)

    def _look(self) -> None:
        counts = self.lake.read("bars").group_by("instrument", "session").len().rows()
        self.wrong += [f"{row}" for row in counts if row[-1] != self.whole[row[:2]]]
        if self.warehouse.exists():
            with duckdb.connect(self.warehouse, read_only=True) as connection:
                connection.execute(
                    "SELECT count(*) FROM bars JOIN digests USING (dataset, instrument, session)"
                ).fetchone()


def test_overlapping_backfills_and_a_night_at_once_leave_what_a_night_alone_leaves(
    done: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root, expected = write_project(tmp_path), tables_of(open_small(done, monkeypatch))
    small = open_small(root, monkeypatch)
    whole = {row[:2]: row[2] for row in expected["digests"].select("instrument", "session", "n_bars").rows()}
    watching = Watching(small.lake, small.settings.warehouse, whole)
    watching.start()
    middle = date(2017, 7, 10)
    backfills = [
        _backfill(root, FIRST, date(2017, 7, 14), "--wait"),
        _backfill(root, middle, LAST, "--wait"),
    ]
    _nightly_once_it_is_free(root)
    for process in backfills:
        told, _ = process.communicate(timeout=240)
        assert process.returncode == 0, told
    _nightly_once_it_is_free(root)
    watching.over.set()
    watching.join()
    assert watching.wrong == []
    assert watching.looks > 10

    left = tables_of(small)
    for name in ("bars", "quarantine", "sla_record", "resampled_bars", "features", "fills", "equity", "windows"):
        drop = [column for column in ("sequence",) if column in left[name].columns]  # several receipts, not one
        assert left[name].drop(drop).equals(expected[name].drop(drop)), name
    _require_nothing_doubled(small)


def _require_nothing_doubled(small: Workplace) -> None:
    raw, receipts = small.lake.read("raw_bars"), small.lake.read("receipts")
    assert not raw.select("sequence", "line").is_duplicated().any()
    assert not receipts["sequence"].is_duplicated().any()
    assert raw.height == receipts["n_rows"].sum()


def test_a_backfill_says_who_is_writing_or_waits_for_it(done: Path, tmp_path: Path) -> None:
    root = write_project(tmp_path)
    home = root / "home"
    home.mkdir()
    hold = [sys.executable, "-c", HOLD, str(home / "lock")]
    with subprocess.Popen(hold, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline().strip() == "held"
        waiting, refused = _backfill(root, LAST, LAST, "--wait"), _backfill(root, LAST, LAST)
        told, _ = refused.communicate(timeout=60)
        assert refused.returncode == 2
        assert f"a test (process {holder.pid}, since " in told
        assert "Traceback" not in told
        assert waiting.stdout is not None
        waits = waiting.stdout.readline()
        holder.communicate("enough\n", timeout=10)
    told, _ = waiting.communicate(timeout=120)
    assert waiting.returncode == 0, told
    assert "waiting: a test" in waits
    assert f"crypto_5m from {LAST} to {LAST}: 1 sessions" in told
