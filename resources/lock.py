"""One writer at a time: an operating-system lock in the home folder.

Whoever writes the lake holds it for its whole run. The kernel releases it when its holder
dies, however it dies, so there is nothing to clean up. Within one process it is re-entrant:
the terminal's night holds it, and the runs it starts in process find it held.
"""

import fcntl
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from resources.clock import now
from resources.errors import HomeBusyError

_held: dict[Path, int] = {}


@contextmanager
def held(path: Path, *, purpose: str, wait: bool) -> Iterator[None]:
    """Hold the lock at `path`; when another process has it, wait for it or raise HomeBusyError."""
    if _held.get(path, 0):
        _held[path] += 1
        try:
            yield
        finally:
            _held[path] -= 1
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        _acquire(descriptor, path, wait=wait)
        note = {"purpose": purpose, "process": os.getpid(), "since": now().strftime("%Y-%m-%dT%H:%M:%SZ")}
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, json.dumps(note).encode(), 0)
        _held[path] = 1
        yield
    finally:
        _held.pop(path, None)
        os.close(descriptor)


def _acquire(descriptor: int, path: Path, *, wait: bool) -> None:
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if not wait:
                raise HomeBusyError(path, _holder(descriptor)) from None
            time.sleep(0.2)
        else:
            return


def _holder(descriptor: int) -> str:
    try:
        note = json.loads(os.pread(descriptor, 4096, 0))
        return f"{note['purpose']} (process {note['process']}, since {note['since']})"
    except (ValueError, KeyError, TypeError):
        return "another process"
