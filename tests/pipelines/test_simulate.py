"""`gauntlet simulate` as a person uses it: what it prints, how it ends, what it says of scenarios that mean nothing."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipelines.cli import simulate as command
from pipelines.cli.main import main
from quality.fills_oracle import replayed
from tests.write_fills_guide import GUIDE, ROOT, rendered

SCENARIO = """\
timeframe: 1d
account: {cash: 10000}
instruments:
  X: {tick: 0.01, lot: 0.001}
bars:
  X: [[100, 101, 99, 100, 1000], [100, 112, 88, 100, 1000]]
decisions:
  - {bar: 0, instrument: X, do: buy, quantity: 1, order: market, stop: 90, targets: [{price: 110, share: 1.0}]}
"""
EXCHANGE = """\
timeframe: 1h
calendar: XNYS
account: {cash: 10000}
instruments: {X: {}}
bars:
  X: [[2021-11-26T16:30:00Z, 100, 101, 99, 100, 1000], [2021-11-26T17:30:00Z, 100, 103, 99, 102, 1000]]
decisions:
  - {bar: 0, instrument: X, do: buy, quantity: 1, session_close: true}
"""
Ended = tuple[int, str, str]
Simulate = Callable[..., Ended]


@pytest.fixture
def simulate(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Simulate:
    def run(*words: object) -> Ended:
        monkeypatch.setattr(sys, "argv", ["gauntlet", "simulate", *map(str, words)])
        with pytest.raises(SystemExit) as ended:
            main()
        told = capsys.readouterr()
        return int(ended.value.code or 0), told.out, told.err

    return run


def written(folder: Path, text: str = SCENARIO, *, name: str = "mine.yaml", **changed: str) -> Path:
    for old, new in changed.items():
        assert text.count(old) == 1
        text = text.replace(old, new)
    path = folder / name
    path.write_text(text)
    return path


def error_of(out: str) -> dict[str, str]:
    document: dict[str, Any] = json.loads(out)
    assert list(document) == ["error"]
    assert list(document["error"]) == ["place", "reason"]
    return dict(document["error"])


def test_json_is_the_answer_of_the_contract(simulate: Simulate, tmp_path: Path) -> None:
    code, out, err = simulate(written(tmp_path), "--json")
    answer = json.loads(out)
    assert (code, err) == (0, "")
    assert list(answer) == ["orders", "fills", "trades", "open_positions", "equity", "ambiguous_trades", "warnings"]
    assert [(fill["side"], fill["price"], fill["why"], fill["ambiguous"]) for fill in answer["fills"]] == [
        ("buy", 100.0, "entry", False),
        ("sell", 90.0, "stop", True),
    ]
    assert answer["equity"] == [10_000.0, 9_990.0]


def test_the_path_of_the_command_goes_before_that_of_the_file(simulate: Simulate, tmp_path: Path) -> None:
    file = written(tmp_path, SCENARIO + "rules: {path: adverse}\n")
    assert json.loads(simulate(file, "--json")[1])["equity"][-1] == 9_990
    assert json.loads(simulate(file, "--json", "--path", "favourable")[1])["equity"][-1] == 10_010
    assert simulate(file, "--path", "worst")[0] == 2


def test_the_table_tells_what_happened_and_by_which_rule(simulate: Simulate, tmp_path: Path) -> None:
    code, out, err = simulate(written(tmp_path))
    assert (code, err) == (0, "")
    for words in (
        "decides: buy 1 at market (o-000001)",
        "acts from the next bar",
        "market: the first open after the decision",
        "stop at 90 (o-000002)",
        "target 1 at 110 (o-000003)",
        "sells 1 at 90 (o-000002, taker)",
        "stop: touched, its price, taker; ambiguous",
        "9,990",
        "1 of 1 trades; the adverse path was taken",
    ):
        assert words in out


def test_several_files_give_a_list_and_one_that_is_refused_does_not_hide_the_others(
    simulate: Simulate, tmp_path: Path
) -> None:
    good, bad = written(tmp_path), written(tmp_path, name="bad.yaml", **{"stop: 90": "stop: 120"})
    code, out, err = simulate(good, bad, good, "--json")
    listed = json.loads(out)
    assert code == 2
    assert [one["scenario"] for one in listed] == [str(good), str(bad), str(good)]
    assert [("error" in one, "equity" in one) for one in listed] == [(False, True), (True, False), (False, True)]
    assert "bad.yaml:8: decisions[0].targets[0].price is 110, expected a price above the stop (120)" in err
    assert simulate(good, good)[0] == 0
    code, out, err = simulate(bad, good)
    assert (code, "9,990" in out, "bad.yaml" in err) == (2, True, True)


@pytest.mark.parametrize(
    ("text", "place", "reason"),
    [
        pytest.param(
            SCENARIO.replace("bar: 0", "bar: 2"), "decisions[0].bar", "decisions[0].bar is 2, expected a bar from 0 to 1",
            id="a decision on a bar that does not exist",
        ),
        pytest.param(
            SCENARIO.replace("88, 100, 1000", "-88, 100, 1000"), "bars.X[1][2]", "bars.X[1][2] is -88, expected a price above 0",
            id="a negative price",
        ),
        pytest.param(SCENARIO + "  - {bar: 0\n", "line 10", "cannot be read as YAML", id="a bracket left open"),
        pytest.param("", "line 1", "the file is empty", id="an empty file"),
        pytest.param(SCENARIO + "calendar: XNYZ\n", "calendar", "XNYZ", id="a calendar that nobody knows"),
        pytest.param(
            EXCHANGE.replace("17:30", "18:30"), "bars.X[1][0]", "expected a 1h bar of XNYS", id="a bar after an early close"
        ),
        pytest.param(EXCHANGE.replace("2021-11", "1821-11"), "calendar", "1821", id="a bar before the calendar begins"),
    ],
)  # fmt: skip
def test_a_scenario_that_cannot_mean_anything_ends_with_2(
    simulate: Simulate, tmp_path: Path, text: str, place: str, reason: str
) -> None:
    file = written(tmp_path, text)
    code, out, err = simulate(file, "--json")
    error = error_of(out)
    assert (code, error["place"]) == (2, place)
    assert reason in error["reason"]
    assert "mine.yaml" in err
    assert reason in err
    assert "Traceback" not in err
    assert "mine.yaml" not in error["reason"]
    code, out, _ = simulate(file)
    assert (code, out) == (2, "")


def test_a_file_that_is_not_there_and_one_that_is_no_text(simulate: Simulate, tmp_path: Path) -> None:
    (tmp_path / "bytes.yaml").write_bytes(b"\xff\xfe")
    for name in ("none.yaml", "bytes.yaml"):
        code, out, err = simulate(tmp_path / name, "--json")
        assert (code, error_of(out)["place"]) == (2, "file")
        assert name in err


def test_weeks_are_not_counted_by_an_exchange(simulate: Simulate, tmp_path: Path) -> None:
    text = EXCHANGE.replace("1h", "1w").replace("[2021-11-26T16:30:00Z, ", "[2021-11-22, ")
    code, out, _ = simulate(written(tmp_path, text.replace("2021-11-26T17:30:00Z", "2021-11-29")), "--json")
    assert (code, error_of(out)["place"]) == (2, "timeframe")


def test_a_session_close_follows_the_calendars_early_closes(simulate: Simulate, tmp_path: Path) -> None:
    _, out, _ = simulate(written(tmp_path, EXCHANGE), "--json")
    assert [(fill["bar"], fill["price"], fill["why"]) for fill in json.loads(out)["fills"]] == [
        (1, 100.0, "entry"),
        (1, 102.0, "session_close"),
    ]


def test_bars_without_times_lie_on_the_calendars_first_days(
    simulate: Simulate, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[dict[str, Any]] = []
    file = written(tmp_path, SCENARIO + "calendar: XNYS\n")
    monkeypatch.setattr(command, "_simulated", lambda document: seen.append(document) or replayed(document))
    monkeypatch.setattr(sys, "argv", ["gauntlet", "simulate", str(file)])
    with pytest.raises(SystemExit):
        main()
    (document,) = seen
    assert [row[0] for row in document["bars"]["X"]] == ["1970-01-02T00:00:00Z", "1970-01-05T00:00:00Z"], (
        "a Friday, a Monday"
    )
    assert [opens[:10] for opens, _ in document["sessions"]] == ["1970-01-02", "1970-01-05", "1970-01-06"]


@pytest.mark.parametrize("file", sorted((ROOT / "docs/guides/fills").glob("*.yaml")), ids=lambda file: file.stem)
def test_every_scenario_of_the_guide_is_shown_in_it(file: Path) -> None:
    page = GUIDE.read_text()
    assert f"`docs/guides/fills/{file.name}`:" in page
    assert f"    gauntlet simulate docs/guides/fills/{file.name}" in page


@pytest.mark.slow
def test_the_guide_shows_what_the_command_prints() -> None:
    assert rendered(GUIDE.read_text()) == GUIDE.read_text(), "python -m tests.write_fills_guide writes it anew"
