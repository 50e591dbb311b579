"""The guide of indicators against the registry: its list is what there is, and its example of a new one works.

`python -m tests.engine.test_indicator_guide` writes the list anew.
"""

import re
from pathlib import Path
from types import SimpleNamespace

import pytest

import engine.indicators as public
from engine.causal import Bars
from engine.indicators import registry, volatility
from engine.indicators.registry import INDICATORS, Indicator, indicator, values
from tests.bar_frames import random_walk

GUIDE = Path(__file__).parents[2] / "docs/guides/indicators.md"
HEADING = "## The list\n"
COLUMNS = (
    "| name | computes | outputs (unit) | parameters | lookback | warm-up | nulls |\n|---|---|---|---|---|---|---|\n"
)


def listed() -> str:
    return COLUMNS + "".join(map(row, INDICATORS.values()))


def row(entry: Indicator) -> str:
    outputs = ", ".join(f"`{output}` ({entry.units[output]})" for output in entry.outputs)
    parameters = ", ".join(f"`{name}={parameter.default}`" for name, parameter in entry.parameters.items())
    lookback = max(entry.lookback(output) for output in entry.outputs)
    warm_up = max(entry.warm_up(output) for output in entry.outputs)
    forgets = f"{warm_up:,}" if entry.anchor is None else entry.anchor
    return (
        f"| `{entry.name}` | {entry.computes} | {outputs} | {parameters} | {lookback} | {forgets} | {entry.nulls} |\n"
    )


def with_list(page: str) -> str:
    before, after = page.split(HEADING)
    return f"{before}{HEADING}{after.split('| name |')[0]}{listed()}"


def test_the_list_in_the_guide_is_the_registry() -> None:
    page = GUIDE.read_text()
    assert page == with_list(page), "write it anew: python -m tests.engine.test_indicator_guide"


def test_the_new_one_of_the_guide_is_a_function_and_a_line_and_works(monkeypatch: pytest.MonkeyPatch) -> None:
    _, function, line = re.findall(r"^```python\n(.*?)^```$", GUIDE.read_text(), re.MULTILINE | re.DOTALL)
    monkeypatch.setattr(registry, "INDICATORS", dict(INDICATORS))
    written = dict(vars(volatility))
    exec(function, written)  # noqa: S102
    exec(line, {**vars(public), "volatility": SimpleNamespace(**written)})  # noqa: S102
    frame = random_walk("1h", 40, seed=3)
    found = values({"it": indicator("body", Bars("1h"), length=5)}, frame)["it"]
    share = (frame["close"] - frame["open"]).abs() / (frame["high"] - frame["low"])
    assert found.null_count() == 4
    assert found[-1] == pytest.approx(share.tail(5).mean())


if __name__ == "__main__":
    GUIDE.write_text(with_list(GUIDE.read_text()))
