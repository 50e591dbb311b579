"""What a run says while it works: Dagster's events, handed to whoever listens in this process.

A run that names the logger `progress` in its configuration sends its events here instead of to
the console.
"""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import dagster as dg

PROGRESS = "progress"
QUIET: dict[str, object] = {"loggers": {PROGRESS: {}}}
"""Run configuration of a run that is listened to."""

Listener = Callable[[dg.DagsterEvent], None]
_listeners: list[Listener] = []


@contextmanager
def listening(listener: Listener) -> Iterator[None]:
    _listeners.append(listener)
    try:
        yield
    finally:
        _listeners.remove(listener)


class _Handler(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        event = getattr(record, "dagster_meta", {}).get("dagster_event")
        for listener in _listeners:
            if event is not None:
                listener(event)


def _progress_logger(_: dg.InitLoggerContext) -> logging.Logger:
    quiet = logging.Logger(PROGRESS, level=logging.DEBUG)  # noqa: LOG001 - one a run, known to nobody else
    quiet.addHandler(_Handler())
    return quiet


progress_logger = dg.LoggerDefinition(_progress_logger, description="Events to the listeners of this process.")
