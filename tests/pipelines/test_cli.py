"""The command line as a person uses it: what it prints, how it ends, and what it says to wrong input."""

import fcntl
import json
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from pipelines.cli.main import main
from pipelines.cli.report import console, verdicts_table
from pipelines.workplace import Workplace, open_workplace
from quality.ledger import Draft
from quality.promotion import Verdict
from resources.ledger_store import LedgerStore
from tests.small_project import STRATEGY, write_project


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    root = write_project(tmp_path / "project")
    monkeypatch.setenv("GAUNTLET_PROJECT", str(root))
    monkeypatch.setenv("GAUNTLET_HOME", str(root / "home"))
    return root


def run(monkeypatch: pytest.MonkeyPatch, *words: str) -> int:
    monkeypatch.setattr(sys, "argv", ["gauntlet", *words])
    with pytest.raises(SystemExit) as ended:
        main()
    return int(ended.value.code or 0)


def test_pages_are_not_written_while_somebody_else_writes(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    workplace = open_workplace()
    with workplace.settings.lock.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert run(monkeypatch, "data-docs") == 2
    assert capsys.readouterr().err.startswith("another process is writing")
    assert not (project / "home" / "data_docs").exists()


def test_the_commands_tell_of_one_night(
    after: Workplace, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    home = after.settings.home
    assert run(monkeypatch, "nightly", "--json") == 0
    night = json.loads(capsys.readouterr().out)
    assert night["new"] is False
    assert night["as_of"] == "2017-07-21"
    assert set(night) == {"as_of", "new", "datasets", "strategies", "controls", "seconds", "run_ids"}
    assert set(night["datasets"][0]) == {
        "name", "as_of", "sessions", "rows_received", "rows_accepted", "rows_quarantined", "new_rows", "blocked", "instruments",
    }  # fmt: skip
    assert set(night["datasets"][0]["instruments"][0]) == {"id", "completeness_min", "sessions_below_sla", "embargoed"}
    assert set(night["strategies"][0]) == {"strategy", "stage", "backtest", "walk_forward", "decision"}

    assert run(monkeypatch, "nightly") == 0
    report = capsys.readouterr().out
    assert "Nothing was new as of 2017-07-21" in report
    for rule in night["strategies"][0]["decision"]["verdicts"]:
        assert rule["metric"] in report
    assert "Look next" in report

    assert run(monkeypatch, "stages", "--json") == 0
    (standing,) = json.loads(capsys.readouterr().out)
    assert set(standing) == {"strategy", "stage", "since", "capital", "decision", "expires"}
    assert standing["strategy"] == STRATEGY
    assert standing["stage"] == "lab"

    assert run(monkeypatch, "review", STRATEGY, "--json") == 1, "refused"
    reviewed = json.loads(capsys.readouterr().out)
    assert set(reviewed) == {"strategy", "from", "to", "approved", "decision", "evidence", "verdicts"}
    assert [one["passed"] for one in reviewed["verdicts"]] == [
        one["passed"] for one in night["strategies"][0]["decision"]["verdicts"]
    ]

    entries = home / "ledger"
    before = sorted(path.name for path in entries.iterdir())
    assert run(monkeypatch, "review", STRATEGY, "--to", "live") == 1
    assert "paper to live: refused" in capsys.readouterr().out
    assert sorted(path.name for path in entries.iterdir()) == before, "a question about a later stage appends nothing"

    assert run(monkeypatch, "ledger", "show") == 0
    assert "registered" in capsys.readouterr().out
    assert run(monkeypatch, "ledger", "verify", "--json") == 0
    verified = json.loads(capsys.readouterr().out)
    assert verified["ok"] is True
    assert verified["head"] == json.loads((home / "head.json").read_text())["hash"]

    (entries / "000000002.json").unlink()
    assert run(monkeypatch, "ledger", "verify") == 1
    assert "entry 2 is missing" in capsys.readouterr().out
    assert run(monkeypatch, "nightly") == 1, "broken"
    assert "the ledger breaks at entry 2" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["nightly", "--dataset", "crypto_5"], "no data set is called 'crypto_5': did you mean 'crypto_5m'?"),
        (
            ["nightly", "--as-of", "1999-12-31"],
            "no data set has a session up to 1999-12-31: the earliest starts on 2017-07-01",
        ),
        (
            ["review", "small_cros@1.0.0"],
            "no strategy version is called 'small_cros@1.0.0': did you mean 'small_cross@1.0.0'?",
        ),
        (["review", STRATEGY], "small_cross@1.0.0 is not registered yet"),
    ],
)
def test_a_wrong_word_ends_in_a_sentence(
    project: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    words: list[str],
    sentence: str,
) -> None:
    assert run(monkeypatch, *words) == 2
    told = capsys.readouterr().err
    assert sentence in told
    assert "Traceback" not in told


@pytest.mark.parametrize(
    ("file", "old", "new", "sentence"),
    [
        ("datasets/crypto_5m.yaml", "calendar:", "calender:", "datasets/crypto_5m.yaml:4: unknown key 'calender': did you mean 'calendar'?"),
        ("datasets/crypto_5m.yaml", "start: 2017-07-01", "start: yesterday", "datasets/crypto_5m.yaml:8: start is 'yesterday', expected a date"),
        ("strategies/small_cross.yaml", "costs: bitfinex", "costs: bitfinx", "did you mean 'bitfinex'?"),
        ("strategies/small_cross.py", "return Signals", "retrun Signals", "strategies/small_cross.py:14: SyntaxError"),
        ("policies/sla.yaml", "severity: enforce", "severity: enforced", "crypto.completeness.severity is 'enforced': did you mean 'enforce'?"),
        ("policies/promotion.yaml", "metric: max_drawdown", "metric: max_drowdown", "did you mean 'max_drawdown'?"),
    ],
)  # fmt: skip
def test_a_wrong_file_is_told_with_its_line_and_nothing_runs(
    project: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    file: str,
    old: str,
    new: str,
    sentence: str,
) -> None:
    path = project / file
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    assert run(monkeypatch, "nightly") == 2
    told = capsys.readouterr().err
    assert sentence in told
    assert "Traceback" not in told
    assert not (project / "home" / "lake").exists()


def test_a_missing_policy_is_told(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (project / "policies" / "costs.yaml").unlink()
    assert run(monkeypatch, "nightly") == 2
    assert "policies/costs.yaml: the file is missing" in capsys.readouterr().err


def test_a_home_that_cannot_be_used_ends_in_a_sentence(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("GAUNTLET_HOME", "/dev/null/x")
    for words in (["nightly"], ["stages"], ["ledger", "verify"]):
        assert run(monkeypatch, *words) == 2
        told = capsys.readouterr().err
        assert told.startswith("GAUNTLET_HOME is /dev/null/x, which cannot be used")
        assert told.count("\n") == 1


def test_a_head_that_cannot_be_read_is_broken_and_not_a_wrong_use(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (project / "home").mkdir()
    (project / "home" / "head.json").write_text("?")
    assert run(monkeypatch, "ledger", "verify") == 1
    assert "head.json holds b'?'" in capsys.readouterr().err


def test_what_people_wrote_is_printed_as_they_wrote_it(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    why = "[risk desk] wants [/tmp/x] and [red]no[/red] :warning: \\"
    verdict = Verdict(metric="max_drawdown", value=0.5, bound="at_most", limit=0.25, passed=False, why=why)
    console().print(verdicts_table((verdict,)))
    assert why in capsys.readouterr().out

    store = LedgerStore(project / "home" / "ledger")
    at = datetime(2020, 1, 1, tzinfo=UTC)
    store.append(Draft(at=at, by="ada", kind="retired", strategy=STRATEGY, body={"reason": why}))
    assert run(monkeypatch, "ledger", "show") == 0
    assert why in capsys.readouterr().out


def test_a_review_of_what_was_measured_on_other_code_is_refused(
    after: Workplace, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    signal = after.settings.project / "strategies" / "small_cross.py"
    signal.write_text(signal.read_text().replace("crossed_above(fast, slow)", "crossed_above(slow, fast)"))
    assert run(monkeypatch, "review", STRATEGY) == 2
    told = capsys.readouterr().err
    assert "of small_cross@1.0.0 was made of other code, configuration or bars than there are now" in told
