"""The lock of the home folder: one process writes at a time, and a dead one writes no more."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from resources import lock
from resources.errors import HomeBusyError

HOLDER = """
import sys
from pathlib import Path
from resources import lock
with lock.held(Path(sys.argv[1]), purpose="run 4b825dc", wait=False):
    print("held", flush=True)
    sys.stdin.readline()
"""
Holder = subprocess.Popen[str]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "home" / "lock"


@pytest.fixture
def start_holder(path: Path) -> Iterator[Callable[[], Holder]]:
    """Starts another process that holds the lock until it is written to, or killed."""
    started: list[Holder] = []

    def start() -> Holder:
        holder = subprocess.Popen(
            [sys.executable, "-c", HOLDER, str(path)],
            cwd=Path(__file__).parents[2],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        started.append(holder)
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        return holder

    yield start
    for holder in started:
        holder.kill()
        holder.communicate()


def take(path: Path, *, wait: bool = False) -> None:
    with lock.held(path, purpose="a test", wait=wait):
        pass


def test_it_makes_the_home_folder_it_lies_in(path: Path) -> None:
    take(path)
    assert path.is_file()


def test_within_one_process_it_is_held_again_by_who_holds_it(path: Path) -> None:
    with lock.held(path, purpose="the night", wait=False):
        for _ in range(2):
            take(path, wait=True)
    take(path)


def test_it_is_free_again_after_an_error(path: Path) -> None:
    with pytest.raises(ZeroDivisionError), lock.held(path, purpose="the night", wait=False):
        raise ZeroDivisionError
    take(path)


def test_homes_do_not_share_a_lock(tmp_path: Path) -> None:
    with lock.held(tmp_path / "one" / "lock", purpose="one", wait=False):
        take(tmp_path / "other" / "lock")


def test_a_second_process_is_refused_and_told_who_holds_it(path: Path, start_holder: Callable[[], Holder]) -> None:
    holder = start_holder()
    with pytest.raises(HomeBusyError, match=rf"run 4b825dc \(process {holder.pid}, since 20.*Z\)") as refused:
        take(path)
    assert str(path.parent) in str(refused.value)
    holder.communicate("done\n")
    take(path)


def test_the_inner_end_does_not_release_what_the_outer_holds(path: Path) -> None:
    with lock.held(path, purpose="the night", wait=False):
        take(path)
        refused = subprocess.run(
            [sys.executable, "-c", HOLDER, str(path)], cwd=Path(__file__).parents[2], capture_output=True, check=False
        )
    assert refused.returncode != 0
    assert b"HomeBusyError: the night" in refused.stderr


def test_a_holder_without_a_readable_note_is_another_process(path: Path, start_holder: Callable[[], Holder]) -> None:
    start_holder()
    path.write_text("")
    with pytest.raises(HomeBusyError, match="another process is writing"):
        take(path)


@pytest.mark.slow
def test_a_killed_holder_holds_nothing(path: Path, start_holder: Callable[[], Holder]) -> None:
    holder = start_holder()
    os.kill(holder.pid, signal.SIGKILL)
    holder.wait()
    take(path)


@pytest.mark.slow
def test_who_waits_takes_it_when_the_holder_ends(path: Path, start_holder: Callable[[], Holder]) -> None:
    first = start_holder()
    waiting = subprocess.Popen(
        [sys.executable, "-c", HOLDER.replace("wait=False", "wait=True"), str(path)],
        cwd=Path(__file__).parents[2],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with pytest.raises(subprocess.TimeoutExpired):
        waiting.wait(timeout=1)
    first.communicate("done\n")
    assert waiting.communicate("done\n")[0] == "held\n"
    assert waiting.returncode == 0
