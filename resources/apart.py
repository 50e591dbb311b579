"""Work in a process of its own: what runs users' code for a night, so that no strategy can stop the others.

1. `apart` hands a function and its arguments to this process' worker, which is started when there is none, and
   gives what the function gives or raises what it raises.
2. In the worker, every stretch of a user's own code (its file, the making of a strategy, each question to it)
   begins with noting the time in memory that both share, and ends with erasing it. A stretch says what is to be
   computed, or what to do on one bar; it gets `CALL_SECONDS`. A whole piece of work gets `WORK_SECONDS`.
3. What takes longer is asked for its place, which it writes down without any help of Python's, and is ended: so a
   loop is found that catches everything, and a power that never gets done.
4. A worker that ended is replaced with the next piece.

One worker serves all strategies of a night, as starting one costs about what starting a night does. What a strategy
prints goes to stderr. A worker ends with whoever started it.
"""

import atexit
import faulthandler
import json
import mmap
import os
import pickle
import re
import signal
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.connection import Connection, Pipe
from tempfile import TemporaryFile
from traceback import format_exc
from typing import IO, Any, NamedTuple, ParamSpec, TypeVar, cast

from engine.errors import EngineError
from quality.errors import QualityError
from resources.errors import FailedApartError, LostWorkerError, OverdueStrategyError, ResourceError
from resources.user_code import limited_by

CALL_SECONDS = 10.0
WORK_SECONDS = 1800.0
_SERVE = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1])\n"
    "from resources.apart import serve; serve(*map(int, sys.argv[2:5]), float(sys.argv[5]))"
)
_LOOKS_SECONDS = 0.2
_PLACED_SECONDS = 0.5  # what writing down a place may take
_SINCE = struct.Struct("=d")

Asked = ParamSpec("Asked")
Given = TypeVar("Given")


class Code(NamedTuple):
    """Whose code runs, for what is said of it."""

    strategy: str  # name@version
    file: str


class Worker:
    """A process that is started when it is needed, and again when it ended."""

    def __init__(self, *, call_seconds: float = CALL_SECONDS, work_seconds: float = WORK_SECONDS) -> None:
        self.call_seconds = call_seconds
        self.work_seconds = work_seconds
        self._one_at_a_time = threading.RLock()
        self._process: subprocess.Popen[bytes] | None = None
        self._connection: Connection
        self._place: IO[bytes]
        self._stretch: _Stretch

    def run(self, of: Code, function: Callable[Asked, Given], *args: Asked.args, **kwargs: Asked.kwargs) -> Given:
        """`function` of these arguments; all of them, and what it gives, can be pickled.

        Raises:
            OverdueStrategyError: it did not come to an end in time.
            LostWorkerError: the process ended without an answer.
            FailedApartError: anything that is no refusal of ours; refusals are raised as they are.
        """
        with self._one_at_a_time:
            process = self._running()
            answered = False
            try:
                self._connection.send_bytes(pickle.dumps((function, args, kwargs), protocol=5))
                self._wait(of, process)
                outcome = pickle.loads(self._connection.recv_bytes())  # noqa: S301 - of a process of ours
                answered = True
            except (EOFError, ConnectionError):
                raise LostWorkerError(of.strategy, process.wait()) from None
            finally:
                if not answered:  # interrupted, for instance: the answer would be taken for another's
                    self.end()
        return cast("Given", _opened(outcome, of))

    def end(self) -> None:
        """Stop the process, whatever it does."""
        with self._one_at_a_time:
            if self._process is not None:
                self._process.kill()
                self._process.wait()
                assert self._process.stdin is not None  # noqa: S101 - it was started with one
                self._process.stdin.close()
                self._connection.close()
                self._place.close()
            self._process = None

    def _running(self) -> "subprocess.Popen[bytes]":
        if self._process is None or self._process.poll() is not None:
            self.end()
            self._place = TemporaryFile()  # noqa: SIM115 - as long as the process
            self._connection, theirs = Pipe()
            with TemporaryFile() as shared:
                shared.write(_SINCE.pack(0.0))
                shared.flush()
                self._stretch = _Stretch(shared.fileno())
                handed = (theirs.fileno(), self._place.fileno(), shared.fileno())
                arguments = (json.dumps(sys.path), *map(str, handed), str(self.work_seconds))
                self._process = subprocess.Popen(  # noqa: S603 - this very program
                    [sys.executable, "-P", "-W", "ignore", "-c", _SERVE, *arguments],
                    stdin=subprocess.PIPE,  # it ends when this one does
                    stdout=2,
                    pass_fds=handed,
                )
            theirs.close()
        return self._process

    def _wait(self, of: Code, process: "subprocess.Popen[bytes]") -> None:
        started = time.monotonic()
        while not self._connection.poll(_LOOKS_SECONDS):
            for since, allowed in ((self._stretch.since, self.call_seconds), (started, self.work_seconds)):
                if since and time.monotonic() - since > allowed:
                    process.send_signal(signal.SIGUSR1)
                    with suppress(subprocess.TimeoutExpired):
                        process.wait(_PLACED_SECONDS)
                    raise OverdueStrategyError(of.strategy, self._line(of), file=of.file, seconds=allowed)

    def _line(self, of: Code) -> int | None:
        """Where in the file the process stood, if it did."""
        self._place.seek(0)
        written = self._place.read().decode(errors="replace")
        found = re.search(rf'File "{re.escape(of.file)}", line (\d+)', written)
        return int(found[1]) if found else None


_worker = Worker()
atexit.register(_worker.end)
apart = _worker.run


class _Stretch:
    """A user's own code runs inside: since when stands in memory that two processes share, 0 while none does."""

    def __init__(self, shared_fd: int) -> None:
        self._memory = mmap.mmap(shared_fd, _SINCE.size)

    @property
    def since(self) -> float:
        return float(_SINCE.unpack_from(self._memory)[0])

    def __enter__(self) -> None:
        _SINCE.pack_into(self._memory, 0, time.monotonic())

    def __exit__(self, *_: object) -> None:
        _SINCE.pack_into(self._memory, 0, 0.0)


def serve(connection_fd: int, place_fd: int, shared_fd: int, work_seconds: float) -> None:
    """What the worker does until nobody asks any more."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # of a terminal, it goes to all: whoever asked decides
    threading.Thread(target=_end_with_parent, daemon=True).start()
    connection = Connection(connection_fd)
    faulthandler.register(signal.SIGUSR1, file=place_fd)
    with limited_by(_Stretch(shared_fd)):
        while True:
            try:
                function, args, kwargs = pickle.loads(connection.recv_bytes())  # noqa: S301 - of whoever started this
            except EOFError:
                return
            faulthandler.dump_traceback_later(2 * work_seconds, exit=True, file=place_fd)  # where nobody waits any more
            outcome = _outcome(function, args, kwargs)
            faulthandler.cancel_dump_traceback_later()
            connection.send_bytes(outcome)


def _end_with_parent() -> None:
    os.read(0, 1)
    os._exit(0)


def _outcome(function: Callable[..., Any], args: Any, kwargs: Any) -> bytes:
    try:
        return pickle.dumps((None, function(*args, **kwargs)), protocol=5)
    except Exception as error:  # noqa: BLE001 - whoever asked is told
        told = (type(error), error.args, vars(error)) if _is_refusal(error) else None
        return pickle.dumps((_Failure(told, f"{type(error).__name__}: {error}", format_exc()), None))


class _Failure(NamedTuple):
    refusal: tuple[type[Exception], tuple[Any, ...], dict[str, Any]] | None
    sentence: str
    traceback: str


def _is_refusal(error: Exception) -> bool:
    return isinstance(error, EngineError | QualityError | ResourceError)


def _opened(outcome: tuple[_Failure | None, Any], of: Code) -> Any:
    failure, given = outcome
    if failure is None:
        return given
    if failure.refusal is None:
        raise FailedApartError(of.strategy, failure.sentence, failure.traceback)
    kind, args, attributes = failure.refusal
    refusal = kind.__new__(kind, *args)  # its __init__ would take what its sentence was made of
    refusal.args = args
    vars(refusal).update(attributes)
    raise refusal
