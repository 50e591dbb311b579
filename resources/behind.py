"""Writing behind: what is handed over is written in the order it came, while the next batch is computed.

One thread writes, and only so much waits that no more than a batch or two is held in memory. A
write that fails is raised where the next one is handed over, or at the end; nothing after it is
written.

Measured on 12 instruments of four years of five-minute bars and two cores: reading, judging and
folding take about as long as writing what they made, so the two at once take little more than one.
"""

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from types import TracebackType
from typing import Self

import polars as pl

from resources.lake import Condition, Lake

WAITING = 3
_THREAD = ThreadPoolExecutor(1, thread_name_prefix="writing")  # one for all: it keeps the tables it opened


class Behind:
    """A lake to hand writes over to; leaving it waits until all are done."""

    def __init__(self, lake: Lake) -> None:
        self._lake = lake
        self._pending: deque[Future[None]] = deque()
        self._failed = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, raised: BaseException | None, where: TracebackType | None
    ) -> None:
        try:
            while self._pending:
                self._pending.popleft().result()
        finally:
            for write in self._pending:
                write.cancel()
            wait(self._pending)

    def replace(self, name: str, frame: pl.DataFrame, **window: Condition) -> None:
        self._hand_over(lambda: self._lake.replace(name, frame, **window))

    def append(self, name: str, frame: pl.DataFrame) -> None:
        self._hand_over(lambda: self._lake.append(name, frame))

    def _hand_over(self, write: Callable[[], None]) -> None:
        while len(self._pending) >= WAITING or (self._pending and self._pending[0].done()):
            self._pending.popleft().result()
        self._pending.append(_THREAD.submit(self._unless_one_failed, write))

    def _unless_one_failed(self, write: Callable[[], None]) -> None:
        if self._failed:  # what follows may speak of what was not written, as a receipt does of its rows
            return
        try:
            write()
        except BaseException:
            self._failed = True
            raise
