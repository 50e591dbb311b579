"""`gauntlet indicator` and `gauntlet indicators` as a person uses them."""

import json
import sys
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

from engine.indicators.registry import INDICATORS
from pipelines.cli.main import main

DAILY = Path(__file__).parents[1] / "golden/indicators/daily_502.csv"
Ended = tuple[int, str, str]
Gauntlet = Callable[..., Ended]


@pytest.fixture
def gauntlet(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Gauntlet:
    def run(*words: object) -> Ended:
        monkeypatch.setattr(sys, "argv", ["gauntlet", *map(str, words)])
        with pytest.raises(SystemExit) as ended:
            main()
        told = capsys.readouterr()
        return int(ended.value.code or 0), told.out, told.err

    return run


def test_values_are_aligned_to_the_bars_and_null_through_the_lookback(gauntlet: Gauntlet) -> None:
    code, out, _ = gauntlet("indicator", "rsi", "--param", "length=14", "--bars", DAILY, "--json")
    document = json.loads(out)
    assert code == 0
    assert document.keys() == {"name", "outputs"}
    assert document["name"] == "rsi"
    (found,) = document["outputs"].values()
    assert len(found) == 502
    assert found[:14] == [None] * 14
    assert found[14] is not None
    assert found[-1] == pytest.approx(42.0773, abs=1e-4)  # Stock.Indicators, tests/indicators/_testdata/results


def test_several_outputs_come_by_name(gauntlet: Gauntlet) -> None:
    _, out, _ = gauntlet(
        "indicator", "bollinger", "--bars", DAILY, "--param", "length=5", "--param", "width=1.5", "--json"
    )
    outputs = json.loads(out)["outputs"]
    assert list(outputs) == ["lower", "middle", "upper"]
    assert outputs["middle"][:5] == [
        None,
        None,
        None,
        None,
        pytest.approx(sum((212.8, 214.06, 213.89, 214.66, 213.95)) / 5),
    ]
    assert outputs["lower"][4] < outputs["middle"][4] < outputs["upper"][4]


def test_a_file_that_begins_with_its_newest_bar_is_put_in_order(gauntlet: Gauntlet, tmp_path: Path) -> None:
    turned = tmp_path / "turned.csv"
    pl.read_csv(DAILY).reverse().write_csv(turned)
    _, expected, _ = gauntlet("indicator", "ema", "--bars", DAILY, "--json")
    _, found, _ = gauntlet("indicator", "ema", "--bars", turned, "--json")
    assert found == expected


@pytest.mark.slow
def test_a_session_is_the_calendars(gauntlet: Gauntlet, tmp_path: Path) -> None:
    hours = tmp_path / "hours.csv"
    rows = [f"2024-01-0{day}T{hour:02}:00:00Z,{day},{day},{day},{day},1" for day in (2, 3) for hour in (20, 22)]
    hours.write_text("\n".join(["ts,open,high,low,close,volume", *rows, ""]))
    asked = ("indicator", "vwap", "--bars", hours, "--timeframe", "1h", "--json")
    by_day = json.loads(gauntlet(*asked)[1])["outputs"]["value"]
    by_exchange = json.loads(gauntlet(*asked, "--calendar", "XNYS")[1])["outputs"]["value"]
    assert by_day == [2, 2, 3, 3]
    assert by_exchange == [2, 2, 2.5, 3]  # after the close of the 2nd a bar is the 3rd's


def test_a_person_sees_the_newest_bars_and_from_where_on_there_are_values(gauntlet: Gauntlet) -> None:
    code, out, _ = gauntlet("indicator", "atr", "--bars", DAILY)
    assert code == 0
    assert "2018-12-31" in out
    assert "2018-11-30" in out
    assert "2018-11-29" not in out
    assert "value (price) from bar 15 on; 488 values on 502 bars" in out


def test_all_of_the_registry_is_listed(gauntlet: Gauntlet) -> None:
    code, out, _ = gauntlet("indicators")
    listed = json.loads(gauntlet("indicators", "--json")[1])
    assert code == 0
    assert [one["name"] for one in listed] == list(INDICATORS)
    assert all(f" {name} " in out for name in INDICATORS)
    (adx,) = (one for one in listed if one["name"] == "adx")
    assert adx["outputs"] == [{"name": "value", "unit": "0 to 100", "lookback": 27, "warm_up": 560}]
    assert adx["parameters"] == [
        {"name": "length", "type": "int", "default": 14, "allowed": "a whole number from 2 to 100000"}
    ]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("rsii", "--bars", DAILY), "unknown indicator 'rsii': did you mean 'rsi'?"),
        (("rsi", "--bars", DAILY, "--param", "lenght=3"), "unknown parameter of rsi 'lenght': did you mean 'length'?"),
        (("rsi", "--bars", DAILY, "--param", "length=1"), "length is 1, must be a whole number from 2 to 100000"),
        (("rsi", "--bars", DAILY, "--param", "length=2.5"), "length is '2.5', must be a whole number from 2 to 100000"),
        (("bollinger", "--bars", DAILY, "--param", "width=nan"), "width is nan, must be a number above 0"),
        (("rsi", "--bars", DAILY, "--param", "length"), "write --param length=14"),
        (("rsi", "--bars", "nowhere.csv"), "nowhere.csv cannot be opened"),
        (("rsi", "--bars", DAILY, "--series", "IBM"), "there is no series 'IBM'"),
        (("vwap", "--bars", DAILY, "--calendar", "XNYZ"), "calendar 'XNYZ'"),
    ],
)
def test_what_cannot_be_used_is_said_in_a_sentence(gauntlet: Gauntlet, words: tuple[object, ...], said: str) -> None:
    code, out, err = gauntlet("indicator", *words)
    assert (code, out) == (2, "")
    assert said in " ".join(err.replace("│", " ").split())


def test_bars_that_share_a_time_or_have_none_are_refused(gauntlet: Gauntlet, tmp_path: Path) -> None:
    lines = DAILY.read_text().splitlines()
    twice = tmp_path / "twice.csv"
    twice.write_text("\n".join([*lines[:30], lines[29], *lines[30:], ""]))
    code, _, err = gauntlet("indicator", "rsi", "--bars", twice)
    assert code == 2
    assert "0 rows have no readable time and 1 repeat one" in err
