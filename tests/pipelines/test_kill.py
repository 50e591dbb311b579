"""A night that is killed, again and again, at any point: the next one leaves the same tables as if nothing had been.

Real processes, ended by SIGKILL: half of them between two transactions or in the middle of one, half
at a random moment. Each goes on from what the one before left, so together they are killed all
through the night. They are forked from a process that has imported everything and run nothing.
"""

import multiprocessing
import os
import random
import signal
import threading
import time
from collections.abc import Iterator
from multiprocessing.context import ForkServerContext, ForkServerProcess
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import Any, Literal

import polars as pl
import pytest

from pipelines.workplace import Workplace, open_workplace
from resources.lake import Lake
from tests.small_project import instance, open_small, write_project

pytestmark = pytest.mark.slow

KILLS = 20
Moment = Literal["before", "during", "after"]
MOMENTS: list[Moment] = ["before", "during", "after"]
WHEN = {"received_at", "computed_at", "first_seen", "run_id", "document", "decision"}
"""Columns that say when something was, or follow from it."""
TABLES = (
    *("receipts", "raw_bars", "bars", "quarantine", "digests", "sla_record", "restatements", "corporate_actions"),
    *("resampled_bars", "features", "certificates", "fills", "trades", "rejections", "equity", "windows", "trials"),
    *("scorecards", "work_record"),
)


def tables_of(workplace: Workplace) -> dict[str, pl.DataFrame]:
    """What a night leaves, in one order, but for when it was."""
    held = {}
    for name in TABLES:
        rows = workplace.lake.read(name)
        if name == "work_record":  # the warehouse's inputs are how often each table was written
            rows = rows.filter(pl.col("step") != "warehouse")
        rows = rows.drop(column for column in rows.columns if column in WHEN)
        held[name] = rows.sort([column for column in rows.columns if not isinstance(rows.schema[column], pl.List)])
    return held


def night(root: Path, nth: int | None, moment: Moment, begun: Event) -> None:
    """A whole night in this process; it kills itself at its `nth` transaction where one is given."""
    os.environ |= {"GAUNTLET_PROJECT": str(root), "GAUNTLET_HOME": str(root / "home")}
    if nth is not None:
        Lake._write = _deadly(Lake._write, nth, moment)  # type: ignore[method-assign]
    from pipelines.run_night import run_night

    done = run_night(open_workplace(), only=(), no_later_than=None, say=lambda _: begun.set())
    assert done.failed == []


def _deadly(write: Any, nth: int, moment: Moment) -> Any:
    left = nth

    def die() -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    def until_then(*arguments: Any, **options: Any) -> None:
        nonlocal left
        left -= 1
        if left == 0 and moment == "before":
            die()
        if left == 0 and moment == "during":
            threading.Timer(0.004, die).start()
        write(*arguments, **options)
        if left == 0:
            die()

    return until_then


@pytest.fixture(scope="module")
def nursery() -> Iterator[ForkServerContext]:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["pipelines.run_night", "pandera.polars", "deltalake", __name__])
    return context


def _start(nursery: ForkServerContext, root: Path, nth: int | None, moment: Moment) -> tuple[ForkServerProcess, Event]:
    begun = nursery.Event()
    process = nursery.Process(target=night, args=(root, nth, moment, begun))
    process.start()
    return process, begun


def test_nights_killed_at_any_point_leave_the_tables_of_an_undisturbed_one(
    nursery: Any, done: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chance = random.Random(7)  # noqa: S311 - nothing secret
    root = write_project(tmp_path / "killed")
    killed, nights = 0, 0
    while killed < KILLS:
        nights += 1
        by_transaction = nights % 2 == 0
        process, begun = _start(nursery, root, chance.randint(1, 8) if by_transaction else None, chance.choice(MOMENTS))
        if not by_transaction:
            begun.wait(timeout=60)
            time.sleep(chance.uniform(0.0, 1.2))
            process.kill()
        process.join(timeout=120)
        if process.exitcode == 0:  # this night was over before it was to be killed: on with another home
            _require_the_same(root, done, monkeypatch)
            root = write_project(tmp_path / f"killed{nights}")
        killed += process.exitcode == -signal.SIGKILL
        assert process.exitcode in {0, -signal.SIGKILL}
    process, _ = _start(nursery, root, None, "after")
    process.join(timeout=120)
    assert process.exitcode == 0
    _require_the_same(root, done, monkeypatch)


def _require_the_same(root: Path, undisturbed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = tables_of(open_small(undisturbed, monkeypatch))
    again = open_small(root, monkeypatch)
    for name, rows in tables_of(again).items():
        assert rows.equals(expected[name]), name
    assert again.ledger.verify().ok
    assert {run.status.value for run in instance().get_runs()} <= {"SUCCESS", "FAILURE"}, "no run stays open for ever"
