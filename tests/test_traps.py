"""The list of traps of market data against the tests: each of them is named by the test that shows it.

A test names a trap in its name (`test_trap_8_…`, or `test_08_…` where traps are read from files), in the id of a row
of its table (`11: local time typed as UTC`), or in its docstring (`Trap 12`).
"""

import re
from pathlib import Path

HERE = Path(__file__).parent
N_TRAPS = 49
BY_NUMBER_ALONE = ("quality/test_suspicions.py", "resources/test_bar_files.py")
NAMED = re.compile(r'def test_trap_(\d+)_|"""Trap (\d+)[:.]')
NUMBERED = re.compile(r'def test_(\d\d)_|id="(\d+): ')


def named(pattern: re.Pattern[str], text: str) -> set[int]:
    return {int(number) for found in pattern.findall(text) for number in found if number}


def test_every_trap_is_named_by_a_test() -> None:
    traps = {trap for file in HERE.rglob("test_*.py") for trap in named(NAMED, file.read_text())}
    for file in BY_NUMBER_ALONE:
        traps |= named(NUMBERED, (HERE / file).read_text())
    assert traps == set(range(1, N_TRAPS + 1))
