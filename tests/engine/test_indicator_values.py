"""Indicators against values of other people's: what TA-Lib, Stock Indicators and Tulip Indicators are tested with.

Each file of `tests/golden/indicators` names the repository and the commit that its numbers were read from. None of them
was computed by this project.
"""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import yaml

from engine.causal import Bars
from engine.indicators.registry import INDICATORS, values

FOLDER = Path(__file__).parents[1] / "golden/indicators"
FILES = {path.stem: yaml.load(path.read_text(), yaml.CSafeLoader) for path in sorted(FOLDER.glob("*.yaml"))}
DAYS = Bars("1d")
SINCE = datetime(2017, 1, 3, tzinfo=UTC)


def bars_of(file: str, case: dict[str, Any]) -> pl.DataFrame:
    series = case.get("series")
    frame = pl.read_csv(FOLDER / FILES[file]["bars"]) if series is None else pl.DataFrame(series)
    prices = frame.select(pl.exclude("date").cast(pl.Float64))
    ts = pl.Series("ts", [SINCE + timedelta(days=day) for day in range(frame.height)], dtype=pl.Datetime("us", "UTC"))
    session = pl.lit(SINCE.date()) if case.get("sessions") == "one" else pl.col("ts").dt.date()
    return prices.with_columns(ts).with_columns(session=session)


def within(expected: str | float, digits: int | None) -> float:
    """One of the last digit that is written, or of the last that counts."""
    if isinstance(expected, str):
        return 1.0001 * 10.0 ** -len(expected.partition(".")[2])
    return abs(expected) * 10.0 ** -(digits or 9) + 1e-9


def computed(file: str) -> list[pl.Series]:
    """What each case of a file asks for, those on the same bars at once."""
    together: dict[str, list[int]] = {}
    for number, case in enumerate(FILES[file]["cases"]):
        together.setdefault(str((case.get("series"), case.get("sessions"))), []).append(number)
    found: dict[int, pl.Series] = {}
    for numbers in together.values():
        cases = {str(number): FILES[file]["cases"][number] for number in numbers}
        columns = {
            number: INDICATORS[case["indicator"]].columns(DAYS, **case["parameters"])[case["output"]]
            for number, case in cases.items()
        }
        frame = values(columns, bars_of(file, cases[str(numbers[0])]))
        found |= {number: frame[str(number)] for number in numbers}
    return [found[number] for number in sorted(found)]


@pytest.mark.parametrize("file", FILES)
def test_values_are_the_published_ones(file: str) -> None:
    wrong = [
        f"{case['indicator']} {case['output']} on bar {bar}: {found[bar]}, published {expected}"
        for case, found in zip(FILES[file]["cases"], computed(file), strict=True)
        for bar, expected in case["values"].items()
        if found[bar] is None or abs(found[bar] - float(expected)) > within(expected, FILES[file].get("digits"))
    ]
    assert wrong == []


def test_most_indicators_are_checked_against_somebody_else() -> None:
    assert len({case["indicator"] for content in FILES.values() for case in content["cases"]}) >= 80


def test_every_file_says_where_its_numbers_come_from() -> None:
    for content in FILES.values():
        assert content["source"].keys() == {"repository", "commit", "files"}
        assert len(content["source"]["commit"]) == 40
