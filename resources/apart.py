"""Work in a process of its own: what runs users' code for a night, so that no strategy can stop the others.

1. `apart` hands a function and its arguments to this process' worker, which is started when there is none, and
   gives what the function gives or raises what it raises.
2. In the worker a limit opens around every stretch of a user's own code: its file, the making of a strategy, the
   asking for signals. These say what is to be computed and compute nothing, so they get `CALL_SECONDS`. A watchdog
   that needs nothing of Python writes down where it stands and ends the process.
3. A whole piece of work gets `WORK_SECONDS`. Then its place is asked for, and the worker is ended.
4. A worker that ended is replaced with the next piece.

One worker serves all strategies of a night, as starting one costs about what starting a night does. What a strategy
prints goes to stderr. A worker ends with whoever started it.
"""

import atexit
import faulthandler
import json
import os
import pickle
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection, Pipe
from tempfile import TemporaryFile
from traceback import format_exc
from typing import IO, Any, NamedTuple, ParamSpec, TypeVar

from engine.errors import EngineError
from quality.errors import QualityError
from resources.errors import FailedApartError, LostWorkerError, OverdueStrategyError, ResourceError
from resources.user_code import limited_by

CALL_SECONDS = 10.0
WORK_SECONDS = 1800.0
_SERVE = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1])\n"
    "from resources.apart import serve; serve(int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4]))"
)
_OVERDUE = 1  # the watchdog's exit status
_PLACED_SECONDS = 1.0  # what writing down a place may take

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
                if not self._connection.poll(self.work_seconds):
                    process.send_signal(signal.SIGUSR1)
                    with suppress(subprocess.TimeoutExpired):
                        process.wait(_PLACED_SECONDS)
                    raise OverdueStrategyError(of.strategy, self._line(of), file=of.file, seconds=self.work_seconds)
                outcome = pickle.loads(self._connection.recv_bytes())  # noqa: S301 - of a process of ours
                answered = True
            except (EOFError, ConnectionError):
                status = process.wait()
                if status == _OVERDUE and (line := self._line(of)) is not None:
                    raise OverdueStrategyError(of.strategy, line, file=of.file, seconds=self.call_seconds) from None
                raise LostWorkerError(of.strategy, status) from None
            finally:
                if not answered:  # interrupted, for instance: the answer would be taken for another's
                    self.end()
        return _opened(outcome)

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
            handed = (theirs.fileno(), self._place.fileno())
            arguments = (json.dumps(sys.path), *map(str, handed), str(self.call_seconds))
            self._process = subprocess.Popen(  # noqa: S603 - this very program
                [sys.executable, "-P", "-W", "ignore", "-c", _SERVE, *arguments],
                stdin=subprocess.PIPE,  # it ends when this one does
                stdout=2,
                pass_fds=handed,
            )
            theirs.close()
        return self._process

    def _line(self, of: Code) -> int | None:
        """Where in the file the process stood, if it did."""
        self._place.seek(0)
        written = self._place.read().decode(errors="replace")
        found = re.search(rf'File "{re.escape(of.file)}", line (\d+)', written)
        return int(found[1]) if found else None


_worker = Worker()
atexit.register(_worker.end)
apart = _worker.run


def serve(connection_fd: int, place_fd: int, call_seconds: float) -> None:
    """What the worker does until nobody asks any more."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # of a terminal, it goes to all: whoever asked decides
    threading.Thread(target=_end_with_parent, daemon=True).start()
    connection = Connection(connection_fd)
    faulthandler.register(signal.SIGUSR1, file=place_fd, all_threads=False)

    @contextmanager
    def limit() -> Iterator[None]:
        faulthandler.dump_traceback_later(call_seconds, exit=True, file=place_fd)
        try:
            yield
        finally:
            faulthandler.cancel_dump_traceback_later()

    with limited_by(limit):
        while True:
            try:
                function, args, kwargs = pickle.loads(connection.recv_bytes())  # noqa: S301 - of whoever started this
            except EOFError:
                return
            connection.send_bytes(_outcome(function, args, kwargs))


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


def _opened(outcome: tuple[_Failure | None, Any]) -> Any:
    failure, given = outcome
    if failure is None:
        return given
    if failure.refusal is None:
        raise FailedApartError(failure.sentence, failure.traceback)
    kind, args, attributes = failure.refusal
    refusal = kind.__new__(kind, *args)  # its __init__ would take what its sentence was made of
    refusal.args = args
    vars(refusal).update(attributes)
    raise refusal
