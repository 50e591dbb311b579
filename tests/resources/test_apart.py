"""Another process runs what users wrote: it answers as this one would, and is stopped where it does not end."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.causal import Bars
from engine.errors import OutOfBoundsError, StrategyError
from engine.strategy import decide
from quality.errors import ConfigurationError
from resources.apart import Code, Worker
from resources.errors import FailedApartError, LostWorkerError, OverdueStrategyError
from resources.user_code import made
from tests.bar_frames import random_walk

CODE = Code("it@1.0.0", "/somewhere/strategies/it.py")
HEAD = "from engine.causal import Bars\nfrom engine.strategy import Signals, Strategy\n"
BODY = "class It(Strategy):\n    def signals(self, bars: Bars) -> Signals:\n        {}\n"
STATEFUL = "from engine.stateful import Answer, DataWindow\nfrom engine.strategy import Stateful\nclass It(Stateful):\n    def on_bar(self, bars, memory):\n"

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def worker() -> Iterator[Worker]:
    made_for_all = Worker(call_seconds=1.0, work_seconds=20.0)
    yield made_for_all
    made_for_all.end()


def ask(source: str) -> int:
    """How often it entered on fifty bars."""
    return int(decide(made(CODE.file, source), {"1h": random_walk("1h", 50, seed=1)}, "1h")["enter"].sum())


def refuse(value: int) -> None:
    raise OutOfBoundsError("value", value, allowed="less")


def fail() -> None:
    raise LookupError(CODE)


def test_what_a_function_gives_comes_back_from_another_process(worker: Worker) -> None:
    assert worker.run(CODE, divmod, 7, 2) == (3, 1)
    assert worker.run(CODE, os.getpid) != os.getpid()
    assert worker.run(CODE, os.getpid) == worker.run(CODE, os.getpid), "one serves all"


def test_a_refusal_comes_back_as_it_was_and_anything_else_as_a_failure(worker: Worker) -> None:
    with pytest.raises(OutOfBoundsError, match="value is 3, must be less"):
        worker.run(CODE, refuse, 3)
    with pytest.raises(FailedApartError, match="LookupError: Code") as caught:
        worker.run(CODE, fail)
    assert "in fail" in caught.value.traceback


@pytest.mark.parametrize(
    ("source", "line"),
    [
        ("while True: pass\n" + HEAD + BODY.format("return Signals()"), 1),
        (HEAD + BODY.format("while True: pass"), 5),
        (HEAD + BODY.format("return 10 ** 10 ** 10"), 5),
        (HEAD + BODY.format("try:\n            while True: pass\n        except BaseException: return Signals()"), 6),
        (STATEFUL + "        while True: pass", 5),
        (HEAD + "class It(Strategy):\n    def __post_init__(self):\n        while True: pass\n    def signals(self, bars): pass", 5),
    ],
    ids=["a file", "signals", "a number that never gets done", "a loop that catches everything", "a bar", "the making"],
)  # fmt: skip
def test_what_does_not_end_is_stopped_and_told_with_its_line(worker: Worker, source: str, line: int) -> None:
    started = time.monotonic()
    with pytest.raises(OverdueStrategyError, match=rf"it@1.0.0 \(it.py:{line}\) ran for more than 1 s"):
        worker.run(CODE, ask, source)
    assert time.monotonic() - started < 15
    assert worker.run(CODE, divmod, 7, 2) == (3, 1), "the next piece finds another worker"


def test_work_around_a_strategy_is_bounded_too() -> None:
    impatient = Worker(work_seconds=4.0)
    with pytest.raises(OverdueStrategyError, match=r"it@1.0.0 ran for more than 4 s"):
        impatient.run(CODE, time.sleep, 60)
    impatient.end()


@pytest.mark.parametrize(
    ("source", "error", "said"),
    [
        ("print(undefined)\n" + HEAD + BODY.format("return Signals()"), ConfigurationError,
         r"strategies/it.py:1: NameError: name 'undefined' is not defined"),
        ("raise SystemExit('bye')\n" + HEAD + BODY.format("return Signals()"), ConfigurationError,
         r"strategies/it.py:1: SystemExit: bye"),
        (HEAD + BODY.format("raise ValueError('of mine')"), StrategyError, r"It \(it.py:5\): ValueError: of mine"),
        (HEAD + BODY.format("raise KeyboardInterrupt"), StrategyError, r"It \(it.py:5\): RuntimeError: KeyboardInterrupt"),
        (HEAD + BODY.format("return None"), StrategyError, r"It \(it.py:4\): signals returned NoneType, must return Signals"),
        (HEAD + BODY.format("return Signals(enter=bars.close)"), StrategyError, r"It \(it.py:4\): enter is a column of numbers"),
        (HEAD + BODY.format("return Signals(enter=[True, False])"), StrategyError, r"It \(it.py:4\): enter is \[True, False\]"),
    ],
    ids=["a name", "leaving", "an error", "an interrupt", "nothing", "numbers", "a list"],
)  # fmt: skip
def test_what_a_strategy_does_wrong_is_told_with_its_line(
    worker: Worker, source: str, error: type[Exception], said: str
) -> None:
    before = worker.run(CODE, os.getpid)
    with pytest.raises(error, match=said):
        worker.run(CODE, ask, source)
    assert worker.run(CODE, os.getpid) == before, "nothing had to be stopped"


def test_a_worker_that_was_killed_is_missed(worker: Worker) -> None:
    with pytest.raises(LostWorkerError, match=r"the process that ran it@1\.0\.0 ended by signal 9"):
        worker.run(CODE, os.kill, worker.run(CODE, os.getpid), 9)
    assert worker.run(CODE, divmod, 7, 2) == (3, 1)


def test_a_worker_ends_with_whoever_started_it(tmp_path: Path) -> None:
    script = (
        "import os, json, sys; sys.path[:] = json.loads(sys.argv[1])\n"
        "from resources.apart import Code, apart\n"
        "print(apart(Code('it@1.0.0', 'it.py'), os.getpid), flush=True); os.kill(os.getpid(), 9)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, json.dumps(sys.path)], capture_output=True, text=True, check=False, timeout=60
    )
    process = int(done.stdout)
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        try:
            os.kill(process, 0)
        except ProcessLookupError:
            return
        time.sleep(0.05)
    raise AssertionError(process)


def test_a_strategy_made_here_runs_without_a_limit_and_keeps_its_equality() -> None:
    source = (
        HEAD
        + "class It(Strategy):\n    n: int = 1\n    def signals(self, bars: Bars) -> Signals:\n        return Signals(enter=bars.close > self.n)\n"
    )
    one, same, other = made(CODE.file, source), made(CODE.file, source), made(CODE.file, source, n=2)
    assert one == same
    assert one != other
    assert str(one) == str(same)
    assert one.signals(Bars("1h")).enter is not None
