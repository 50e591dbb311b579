"""What a strategy's Python declares is what it would be if it ran; nothing of it runs."""

import dataclasses
from pathlib import Path

import pytest

from quality.declarations import Declared, asks_for_others, declared
from quality.errors import ConfigurationError
from resources.user_code import made

HEAD = "from engine.stateful import Answer\nfrom engine.strategy import Signals, Stateful, Strategy\n"
SHIPPED = sorted((Path(__file__).parents[2] / "strategies").glob("*.py"))
RICH = (
    HEAD
    + """
from dataclasses import dataclass, field, KW_ONLY
from typing import ClassVar

@dataclass(frozen=True, kw_only=True)
class Lengths:
    fast: int = 3

class It(Lengths, Strategy):
    sides: ClassVar[int] = 2
    _: KW_ONLY
    slow: "int"
    more: tuple[int, ...] = field(default=())
    width: float = field(repr=False)
    plain = 4

    def signals(self, bars):
        local: int = 3
        return Signals()
"""
)


def found(source: str) -> Declared:
    return declared(source, file="it.py")


def refused(source: str) -> str:
    with pytest.raises(ConfigurationError) as caught:
        found(source)
    return str(caught.value)


@pytest.mark.parametrize(
    "source", [RICH, *(path.read_text() for path in SHIPPED)], ids=["rich", *(path.stem for path in SHIPPED)]
)
def test_what_is_declared_is_what_the_class_has_when_it_is_made(source: str) -> None:
    said = found(source)
    needed = {name: 1 for name, parameter in said.parameters.items() if parameter.required}
    fields = dataclasses.fields(type(made("it.py", source, **needed)))  # type: ignore[arg-type]
    assert set(said.parameters) == {field.name for field in fields}
    none = dataclasses.MISSING
    assert set(needed) == {one.name for one in fields if one.default is none and one.default_factory is none}


def test_a_type_is_what_is_written() -> None:
    said = found(RICH).parameters
    assert {name: one.type for name, one in said.items()} == {
        "fast": "int", "slow": "int", "more": "tuple[int, ...]", "width": "float",
    }  # fmt: skip


@pytest.mark.parametrize(
    "line", ["while True: pass", "1 / 0", "raise SystemExit", "x = 10 ** 10 ** 10", "print('hello')"]
)
def test_nothing_runs(line: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert found(f"{line}\n{HEAD}class It(Strategy):\n    n: int = 1\n").name == "It"
    assert capsys.readouterr().out == ""


def test_a_strategy_that_needs_a_loop_is_one_too_under_any_name() -> None:
    assert found(f"{HEAD}class It(Stateful): pass\n").name == "It"
    assert found("from engine.strategy import Strategy as Base\nclass It(Base): pass\n").name == "It"


@pytest.mark.parametrize(
    ("source", "said"),
    [
        (HEAD, "it.py: the file defines no Strategy, expected one class at the top of the file"),
        (HEAD + "class A(Strategy): pass\nclass B(A): pass\n", "it.py: the file defines A, B, expected one class"),
        (HEAD + "if True:\n    class A(Strategy): pass\n", "it.py: the file defines no Strategy"),
        ("class It(\n", "it.py:1: SyntaxError: '(' was never closed"),
        ("x = 1\nreturn 3\n", "it.py:2: SyntaxError: 'return' outside function"),
        ("import os\n", "it.py:1: import os"),
        ("x = 1\0", "it.py"),
        ("x = " + "(" * 500 + ")" * 500, "it.py"),
    ],
    ids=["none", "two", "hidden", "no Python", "no program", "a door", "no text", "too deep"],
)
def test_what_is_no_strategy_is_refused(source: str, said: str) -> None:
    assert refused(source).startswith(said)


def test_whether_others_are_asked_for_is_told_without_asking() -> None:
    assert asks_for_others(HEAD + "class It(Strategy):\n    def signals(self, bars):\n        ask = bars.of\n")
    assert not any(asks_for_others(path.read_text()) for path in SHIPPED)
