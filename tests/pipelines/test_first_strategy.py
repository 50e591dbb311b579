"""`gauntlet new` and `gauntlet backtest`, and the guide to them, done as it says."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from pipelines.cli.main import main
from pipelines.workplace import Workplace, open_workplace
from resources.ledger_store import LedgerStore
from tests.small_project import write_project

GUIDE = (Path(__file__).parents[2] / "docs/guides/first-strategy.md").read_text()


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("GAUNTLET_PROJECT", str(write_project(tmp_path)))
    monkeypatch.setenv("GAUNTLET_HOME", str(tmp_path / "home"))
    return tmp_path


def gauntlet(monkeypatch: pytest.MonkeyPatch, *words: str) -> int:
    monkeypatch.setattr(sys, "argv", ["gauntlet", *words])
    with pytest.raises(SystemExit) as left:
        main()
    return int(left.value.code or 0)


def test_three_files_are_written_and_the_signal_is_under_ten_lines(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert gauntlet(monkeypatch, "new", "dip_buyer") == 0
    told = capsys.readouterr().out
    for file in ("strategies/dip_buyer.py", "strategies/dip_buyer.yaml", "tests/strategies/test_dip_buyer.py"):
        assert f"wrote {file}\n" in told
    lines = (project / "strategies/dip_buyer.py").read_text().splitlines()
    assert len([line for line in lines if line.strip()]) < 10
    definition = open_workplace().project.strategies["dip_buyer@1.0.0"]
    assert definition.configuration.parameters() == {"length": 50}
    assert (definition.configuration.dataset, definition.configuration.timeframe) == ("crypto_5m", "1h")


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["small_cross"], "small_cross is taken: strategies/small_cross.py is there, and nothing is written over it"),
        (["Dip-Buyer"], "no strategy can be called 'Dip-Buyer': did you mean 'dip_buyer'?"),
        (["../up"], "no strategy can be called '../up': did you mean 'up'?"),
        (["x" * 80], "at most 60 characters"),
        (["signals"], "did you mean 'my_signals'? Write a name whose class is not Signals"),
        (["it", "--dataset", "crypto_5"], "no data set is called 'crypto_5': did you mean 'crypto_5m'?"),
        (["it", "--timeframe", "7m"], "strategies/it.yaml:8: timeframe is '7m', expected one of 1d, 1h, 5m"),
    ],
)
def test_what_cannot_be_made_is_refused_and_nothing_is_written(
    project: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    words: list[str],
    sentence: str,
) -> None:
    assert gauntlet(monkeypatch, "new", *words) == 2
    assert sentence in capsys.readouterr().err
    assert sorted(path.name for path in (project / "strategies").iterdir()) == ["small_cross.py", "small_cross.yaml"]
    assert not (project / "tests").exists()


def test_an_author_is_written_so_that_it_is_read_back(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert gauntlet(monkeypatch, "new", "it", "--author", 'null: "A" #1') == 0
    assert open_workplace().project.strategies["it@1.0.0"].configuration.author == 'null: "A" #1'


@pytest.mark.slow
@pytest.mark.parametrize("words", [[], ["--timeframe", "1d"], ["--timeframe", "5m"]])
def test_the_test_that_is_written_passes_at_once(
    project: Path, monkeypatch: pytest.MonkeyPatch, words: list[str]
) -> None:
    assert gauntlet(monkeypatch, "new", "it", *words) == 0
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests"]
    paths = {"PYTHONPATH": ":".join(path for path in sys.path if path)}
    done = subprocess.run(command, cwd=project, env=paths, capture_output=True, text=True, check=False, timeout=120)
    assert "3 passed" in done.stdout, done.stdout


def test_a_look_at_a_strategy_that_is_not_there_names_the_nearest(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert gauntlet(monkeypatch, "backtest", "small_cros") == 2
    assert "did you mean 'small_cross'?" in capsys.readouterr().err


@pytest.mark.slow
def test_a_look_on_a_fresh_clone_brings_the_bars_in_and_registers_nothing(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert gauntlet(monkeypatch, "new", "my") == 0
    capsys.readouterr()
    assert gauntlet(monkeypatch, "backtest", "my", "--json") == 0
    said = capsys.readouterr()
    assert "nothing is held of crypto_5m yet: its bars are brought in first" in said.err
    told = json.loads(said.out)
    assert (told["strategy"], told["from"], told["to"]) == ("my@1.0.0", "2017-07-01", "2017-07-21")
    assert [path["path"] for path in told["paths"]] == ["adverse", "likely", "favourable"]
    assert told["n_trades"] > 0
    assert told["net_return"] == pytest.approx((told["edge"] - sum(told["costs"].values())) / 100_000)
    assert told["trials"] == {"family": "my", "counted": 1, "new": True}
    workplace = open_workplace()
    assert LedgerStore(workplace.settings.ledger).entries() == []
    assert workplace.lake.read("trials")["strategy"].to_list() == ["my@1.0.0"]
    assert workplace.lake.read("equity").is_empty()

    assert gauntlet(monkeypatch, "backtest", "my", "--json") == 0
    assert json.loads(capsys.readouterr().out)["trials"] == {"family": "my", "counted": 1, "new": False}


@pytest.mark.slow
def test_a_look_and_a_night_see_the_same(
    after: Workplace, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    scorecard = after.lake.read("scorecards", strategy="small_cross@1.0.0")
    measured = dict(scorecard.select("metric", "value").rows())
    assert gauntlet(monkeypatch, "backtest", "small_cross", "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert {name: told[name] for name in ("net_return", "sharpe", "max_drawdown", "n_trades")} == {
        name: measured[name] for name in ("net_return", "sharpe", "max_drawdown", "n_trades")
    }
    assert told["trials"]["new"] is False, "the night had looked at it"


@pytest.mark.slow
def test_a_strategy_that_fails_is_told_with_its_line(
    after: Workplace, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    signal = after.settings.project / "strategies/small_cross.py"
    signal.write_text(signal.read_text().replace("return Signals(", "return Signals(1 / 0, "))
    assert gauntlet(monkeypatch, "backtest", "small_cross") == 2
    told = capsys.readouterr().err
    assert "SmallCross (small_cross.py:14): ZeroDivisionError: division by zero" in told
    assert "Traceback" not in told


@pytest.mark.slow
def test_the_guide_does_what_it_says(
    after: Workplace, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    root = after.settings.project
    commands = re.findall(r"^    gauntlet (.+)$", GUIDE, re.MULTILINE)
    assert [command.split()[0] for command in commands] == ["new", *["backtest"] * 3, "nightly", "migrate"]
    shown, changed = re.findall(r"^```python\n(.*?)^```$", GUIDE, re.MULTILINE | re.DOTALL)
    (old, new), signal, configuration = (
        re.findall(r"`(value: \d+)`", GUIDE),
        root / "strategies/dip_buyer.py",
        root / "strategies/dip_buyer.yaml",
    )
    results = []
    for command in commands:
        assert gauntlet(monkeypatch, *command.split()) == 0, command
        results.append(capsys.readouterr().out)
        if command.startswith("new"):
            assert shown in signal.read_text()
        elif len(results) == 2:
            configuration.write_text(configuration.read_text().replace(old, new))
        elif len(results) == 3:
            signal.write_text(changed)
    assert [re.findall(r"trial (\d) of", one) for one in results[1:4]] == [["1"], ["2"], ["3"]]
    assert len(set(results[1:4])) == 3, "each change changed something"
    signal.write_text(changed.replace("40.0", "35.0"))
    assert gauntlet(monkeypatch, "nightly") == 2
    (sentence,) = re.findall(r"^```text\n(.*?)^```$", GUIDE, re.MULTILINE | re.DOTALL)
    assert capsys.readouterr().err == sentence
