"""A strategy can look back and name nothing of the future; what it may not say is said with its line."""

from pathlib import Path

import pytest

from quality.vocabulary import refused

ROOT = Path(__file__).parents[2]

MODEST = """\
from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import field
from enum import Enum
from typing import ClassVar

from engine.causal import Bars, Column, crossed_above
from engine.indicators import atr, bollinger, ema, roc, rsi, sma, stddev
from engine.strategy import Signals, Strategy


class Side(Enum):
    LONG = "long"


def _mean(columns: Sequence[Column]) -> Column | None:
    return sum(columns[1:], columns[0]) / len(columns)


class Modest(Strategy):
    sides: ClassVar[tuple[Side, ...]] = (Side.LONG,)
    lengths: tuple[int, ...] = (5, 10)
    f_fast: int = 3
    more: tuple[int, ...] = field(default=(1, 2))

    def __post_init__(self) -> None:
        if not all(math.isfinite(length) for length in self.lengths):
            raise ValueError(self.lengths)

    def signals(self, bars: Bars) -> Signals:
        level: Column = _mean([sma(bars.close, length) for length in self.lengths])
        lower, *_ = bollinger(bars.close.lag(self.f_fast), 20, 2.0)
        return Signals(enter=crossed_above(bars.close, level) & (bars.close > lower))
"""


def said(source: str) -> list[str]:
    return [str(problem) for problem in refused(source, file="it.py")]


@pytest.mark.parametrize("path", sorted((ROOT / "strategies").glob("*.py")), ids=lambda path: path.stem)
def test_the_strategies_that_come_with_the_package_say_nothing_else(path: Path) -> None:
    assert said(path.read_text()) == []


def test_plain_python_around_columns_is_allowed() -> None:
    assert said(MODEST) == []


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("from engine.causal import derived", "from engine.causal import derived"),
        ("from engine.causal import derived as d", "from engine.causal import derived"),
        ("from engine.indicators import INDICATORS", "from engine.indicators import INDICATORS"),
        ("from engine.indicators import indicator", "from engine.indicators import indicator"),
        ("from engine.indicators import derived", "from engine.indicators import derived"),
        ("from engine.indicators import pl", "from engine.indicators import pl"),
        ("from engine.causal import *", "from engine.causal import *"),
        ("from engine import causal", "from engine import …"),
        ("from . import causal", "from . import …"),
        ("import polars", "import polars"),
        ("import polars as pl", "import polars"),
        ("import typing", "import typing"),  # typing.sys leads to every module
        ("from typing import get_type_hints", "from typing import get_type_hints"),  # evaluates text
        ("from dataclasses import replace", "from dataclasses import replace"),  # another expression for a column
        ("from math import sin as __lt__", "__lt__"),
        ("bars.close.function", ".function"),
        ("SEEN = []", "[]"),
        ("SEEN: dict = {}", "{}"),
        ("COUNT = iter(range(9))", "iter(range(9))"),
        ("class Best:\n    seen = {}", "{}"),
        ("def f(seen=[]): pass", "the default []"),
        ("def f():\n    global seen", "global seen"),
        ("def f(): pass\nf.seen = 1", "f.seen set"),
        ("bars.close[:].base", ".base"),
        ("bars.close[:].ctypes.data", ".ctypes"),
        ("bars.close._rolling", "._rolling"),
        ("bars.close.__class__", ".__class__"),
        ("match bars.close:\n    case int(function=e): pass", ".function"),
        ("(x for x in ()).gi_frame", ".gi_frame"),
        ("__import__('polars')", "__import__"),
        ("eval('1')", "eval"),
        ("exec('1')", "exec"),
        ("open('bars.parquet')", "open"),
        ("getattr(bars.close, 'expression')", "getattr"),
        ("type(bars.close)", "type"),
        ("class N(int):\n    def __lt__(self, other): return False", "__lt__"),  # lag(N(-1))
        ("class N(int):\n    __lt__ = None", "__lt__"),
        ("from engine.causal import Column\nColumn(timeframe='1h', expression=None)", "Column made or used by hand"),
        ("from engine.causal import Column as C\nMine = C", "C made or used by hand"),
        ("from engine.causal import Column\ndef f(x: Column()): pass", "Column made or used by hand"),
        ("from engine.causal import Bars\nclass Mine(Bars): pass", "Bars made or used by hand"),
    ],
)
def test_a_door_on_the_last_line_is_refused_with_its_line_and_what_is_allowed(source: str, found: str) -> None:
    (problem,) = refused(source, file="it.py")
    assert (problem.found, problem.line) == (found, len(source.splitlines()))
    assert problem.expected


def test_all_that_is_refused_is_said_at_once_in_the_order_of_its_lines() -> None:
    assert [line.split(", ")[0] for line in said("x.function\nimport os\n\neval(open)\n")] == [
        "it.py:1: .function",
        "it.py:2: import os",
        "it.py:4: eval",
        "it.py:4: open",
    ]
