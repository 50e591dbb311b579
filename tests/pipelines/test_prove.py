"""`gauntlet prove`: from the certificate that a night keeps, or from the bars that are held."""

import json
import sys
from pathlib import Path
from typing import get_args

import dagster as dg
import pytest

from pipelines.cli.main import main
from pipelines.cli.prove import version_called
from pipelines.workplace import Workplace
from quality.lookahead.laws import LawName
from resources.errors import UnknownStrategyError
from tests.small_project import STRATEGY, instance, write_project


def run(monkeypatch: pytest.MonkeyPatch, *words: str) -> int:
    monkeypatch.setattr(sys, "argv", ["gauntlet", "prove", *words])
    with pytest.raises(SystemExit) as ended:
        main()
    return int(ended.value.code or 0)


def test_a_name_stands_for_its_newest_version() -> None:
    known = ["cross@1.9.0", "cross@1.10.0", "other@1.0.0"]
    assert version_called("cross", known) == "cross@1.10.0"
    assert version_called("cross@1.9.0", known) == "cross@1.9.0"
    with pytest.raises(UnknownStrategyError, match="did you mean 'cross'"):
        version_called("cros", known)


def test_without_bars_it_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    root = write_project(tmp_path / "project")
    monkeypatch.setenv("GAUNTLET_PROJECT", str(root))
    monkeypatch.setenv("GAUNTLET_HOME", str(root / "home"))
    assert run(monkeypatch, "small_cross") == 2
    assert capsys.readouterr().err.startswith("nothing is held of crypto_5m yet: `gauntlet nightly`")
    assert run(monkeypatch, "smal_cross") == 2
    assert "did you mean 'small_cross'" in capsys.readouterr().err


@pytest.mark.slow
def test_a_night_proves_every_law_and_the_command_shows_it(
    after: Workplace, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, "small_cross", "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert set(told) == {"strategy", "certified", "laws", "bars_checked", "code"}
    assert (told["strategy"], told["certified"]) == (STRATEGY, True)
    assert [law["law"] for law in told["laws"]] == [*get_args(LawName)]
    assert set(told["laws"][0]) == {"law", "passed", "first_bar", "column", "detail"}
    kept = after.lake.read("certificates", strategy=STRATEGY)
    assert told["code"] == kept["code"][0]
    assert told["bars_checked"] == kept["bars_checked"][0] > 1_000
    assert run(monkeypatch, STRATEGY) == 0
    assert "proved before for the same code" in capsys.readouterr().out
    for law in get_args(LawName):
        check = dg.AssetCheckKey(dg.AssetKey("certificates"), law)
        (newest,) = instance().event_log_storage.get_asset_check_execution_history(check, limit=1)
        assert newest.evaluation is not None
        assert newest.evaluation.passed, law


@pytest.mark.slow
def test_a_strategy_that_looks_ahead_is_proved_anew_and_named(
    after: Workplace, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its code has changed, so what was proved of it before counts for nothing."""
    from assets.certificates import certify, known_of
    from assets.inputs import newest_session
    from assets.research import history_of, plan_of
    from tests.lookahead_mutants import Tomorrow

    definition = after.project.strategies[STRATEGY]
    parameters = definition.configuration.parameters()
    cheat = type("Cheat", (Tomorrow,), {"__annotations__": dict.fromkeys(parameters, int), **parameters})
    last = newest_session(after.lake, after.project.datasets[definition.configuration.dataset], {})
    mutant = definition._replace(signal=cheat, code_hash="sha256:other")
    past, plan = history_of(after.lake, after.project, mutant, last=last), plan_of(after.project, mutant)
    proved = certify(after.project, mutant, past, plan, known_of(after.lake, after.project, mutant, last=last))
    assert not proved.certified
    broken = {law.law: law for law in proved.laws if not law.passed}
    assert set(broken) == {"static_walk", "prefix", "poison", "rare_states"}
    assert broken["prefix"].detail.startswith("BTCUSD.BITFINEX: enter: tomorrow(close on 1h)")
