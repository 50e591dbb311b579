"""Users' Python, run: the file of a strategy becomes its class, and the class with parameters a strategy.

It runs from the text that is hashed: compiled files are neither read nor written, as they could be of
another text. A file runs once in a process, when the first strategy of it is made, which for a night is
a process of its own (`resources/apart.py`). There, and only there, a clock runs while the file does, while a
strategy is made, and whenever it is asked something.
"""

import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import lru_cache
from pathlib import Path
from traceback import walk_tb
from types import ModuleType
from typing import Any

from engine.strategy import Stateful, Strategy
from quality.errors import ConfigurationError, Problem

_limits: list[AbstractContextManager[Any]] = [nullcontext()]


@contextmanager
def limited_by(limit: AbstractContextManager[Any]) -> Iterator[None]:
    """Inside, whatever a user wrote runs within `limit`, which is entered anew each time."""
    _limits.append(limit)
    try:
        yield
    finally:
        _limits.pop()


def made(file: str, source: str, **parameters: Any) -> Strategy:
    """The strategy that the Python `source` of `file` declares, with these parameters.

    Raises:
        ConfigurationError: what the file, or the class on being made, raised, with its line.
    """
    with _limits[-1], _told(file):
        strategy = _class_of(file, source)(**parameters)
    for name in ("start", "on_bar") if isinstance(strategy, Stateful) else ("signals",):
        object.__setattr__(strategy, name, _asked(getattr(strategy, name)))  # frozen, and it stays equal to its like
    return strategy


@lru_cache(maxsize=256)
def _class_of(file: str, source: str) -> type[Strategy]:
    module = ModuleType(f"strategies.{Path(file).stem}")
    module.__file__ = file
    sys.modules[module.__name__] = module  # dataclasses look their annotations up there
    exec(compile(source, file, "exec", dont_inherit=True), module.__dict__)  # noqa: S102 - a user's own code, and read before
    (strategy,) = (
        value
        for value in vars(module).values()
        if isinstance(value, type) and issubclass(value, Strategy) and value.__module__ == module.__name__
    )
    return strategy


def _asked(method: Callable[..., Any]) -> Callable[..., Any]:
    def ask(*arguments: Any) -> Any:
        with _limits[-1]:
            try:
                return method(*arguments)
            except (SystemExit, KeyboardInterrupt, GeneratorExit) as error:  # of the strategy, not of who runs it
                message = f"{type(error).__name__}: {error}"
                raise RuntimeError(message).with_traceback(error.__traceback__) from None

    return ask


@contextmanager
def _told(file: str) -> Iterator[None]:
    try:
        yield
    except BaseException as error:  # noqa: BLE001 - whatever it raises is reported with its place
        name = f"strategies/{Path(file).name}"
        found = f"{type(error).__name__}: {error}"
        raise ConfigurationError([Problem(name, _raised_at(error, file), "", found, "Python that runs")]) from None


def _raised_at(error: BaseException, file: str) -> int | None:
    lines = [line for frame, line in walk_tb(error.__traceback__) if frame.f_code.co_filename == file]
    return lines[-1] if lines else None
