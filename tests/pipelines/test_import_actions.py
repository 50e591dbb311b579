"""`gauntlet import-actions` as a person uses it: what it keeps, what it says, and what it refuses."""

import json
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from pipelines.cli.main import main
from quality import tables
from resources.lake import Lake
from tests.small_project import write_project

# Two for one from the session after 10 July 2017 on, and a dividend of 1 on a close of 2,500 three days later.
FACTORS = "20170710,0.9996,0.5,2500\n20170713,0.9996,1,2500\n20501231,1,1,0\n"
NAMES = "20130401,xbt\n20170705,xbt\n20501231,btc\n"
WHERE = ("--dataset", "crypto_5m", "--instrument", "BTCUSD.BITFINEX")


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    root = write_project(tmp_path / "project")
    monkeypatch.setenv("GAUNTLET_PROJECT", str(root))
    monkeypatch.setenv("GAUNTLET_HOME", str(root / "home"))
    (root / "btc.csv").write_text(FACTORS)
    return root


def run(monkeypatch: pytest.MonkeyPatch, *words: str) -> int:
    monkeypatch.setattr(sys, "argv", ["gauntlet", "import-actions", *words])
    with pytest.raises(SystemExit) as ended:
        main()
    return int(ended.value.code or 0)


def stated(project: Path) -> list[tuple[Any, ...]]:
    lake = Lake(root=str(project / "home" / "lake"), lock_path=str(project / "home" / "lock"))
    return lake.read("raw_actions").sort("sequence", "line").select("source", "origin", "kind", "value").rows()


def test_a_factor_file_is_kept_once_and_says_what_it_changes(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, str(project / "btc.csv"), *WHERE) == 0
    said = capsys.readouterr().out
    assert "btc.csv states of BTCUSD.BITFINEX: splits 1, dividends 1; kept" in said
    assert "2017-07-11 split: none -> 2" in said
    assert "2017-07-14 dividend: none -> 1" in said
    assert "gauntlet nightly" in said
    kept = [("factor_file", "btc.csv", "split", 2.0), ("factor_file", "btc.csv", "dividend", 1.0)]
    assert stated(project) == kept

    assert run(monkeypatch, str(project / "btc.csv"), *WHERE, "--json") == 0
    again = json.loads(capsys.readouterr().out)
    assert again["new"] is False
    assert again["changes"] == [
        {"ex_date": "2017-07-11", "kind": "split", "old": None, "new": 2.0},
        {"ex_date": "2017-07-14", "kind": "dividend", "old": None, "new": 1.0},
    ], "nothing is believed before a night has folded it"
    assert stated(project) == kept


def test_an_id_may_be_typed_in_lower_case(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    where = ("--dataset", "crypto_5m", "--instrument", "btcusd.bitfinex")
    assert run(monkeypatch, str(project / "btc.csv"), *where) == 0
    assert "btc.csv states of BTCUSD.BITFINEX" in capsys.readouterr().out


def test_a_map_file_changes_nothing_and_says_what_to_write(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (project / "map.csv").write_text(NAMES)
    assert run(monkeypatch, str(project / "map.csv"), *WHERE) == 0
    said = capsys.readouterr().out
    assert "listed: 2013-04-01, former: [{symbol: XBT, until: 2017-07-05}]" in said
    assert "datasets/crypto_5m.yaml" in said
    assert stated(project) == []

    dataset = project / "datasets" / "crypto_5m.yaml"
    listing = "listed: 2013-04-01, former: [{symbol: XBT, until: 2017-07-05}], tier"
    dataset.write_text(dataset.read_text().replace("tier", listing, 1))
    assert run(monkeypatch, str(project / "map.csv"), *WHERE) == 0
    assert "Nothing to do" in capsys.readouterr().out


def test_closes_of_another_size_than_those_held_are_suspicious(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    lake = Lake(root=str(project / "home" / "lake"), lock_path=str(project / "home" / "lock"))
    session = datetime(2017, 7, 10, tzinfo=UTC)
    labels = {"dataset": "crypto_5m", "instrument": "BTCUSD.BITFINEX", "sequence": 1, "filled": False}
    closes = [(session, 25_000.0), (session + timedelta(hours=1), 2_400.0)]  # the last of the session counts
    held = [
        {
            **labels,
            "session": ts.date(),
            "ts": ts,
            **dict.fromkeys(("open", "high", "low", "close"), close),
            "volume": 1.0,
        }
        for ts, close in closes
    ]
    lake.append("bars", tables.frame("bars", held))
    assert run(monkeypatch, str(project / "btc.csv"), *WHERE, "--json") == 0
    assert json.loads(capsys.readouterr().out)["suspicious"] == []
    (project / "other.csv").write_text(FACTORS.replace("2500", "30"))
    assert run(monkeypatch, str(project / "other.csv"), *WHERE) == 0
    assert "suspicious: its closes are 0.0125 times those held of 1 session that both have" in capsys.readouterr().out
    assert len(stated(project)) == 4, "said, and kept"


@pytest.mark.parametrize(
    ("file", "text", "named"),
    [
        pytest.param("ethusd.csv", FACTORS, "ETHUSD.BITFINEX", id="the name of a factor file"),
        pytest.param("map.csv", NAMES.replace("btc", "ethusd"), "ETHUSD.BITFINEX", id="the newest name in a map file"),
    ],
)
def test_actions_of_another_instrument_are_refused(
    project: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    file: str,
    text: str,
    named: str,
) -> None:
    (project / file).write_text(text)
    assert run(monkeypatch, str(project / file), *WHERE) == 2
    assert f"{file} says {named}, and was brought for BTCUSD.BITFINEX" in capsys.readouterr().err
    assert stated(project) == []
    assert run(monkeypatch, str(project / file), "--dataset", "crypto_5m", "--instrument", named) == 0


REFUSED = [
    pytest.param(("nowhere.csv", *WHERE), "no plain file", id="no file"),
    pytest.param(("datasets/crypto_5m.yaml", *WHERE), "expected lines such as", id="another kind of file"),
    pytest.param(("btc.csv", "--dataset", "crypto", "--instrument", "X"), "did you mean 'crypto_5m'", id="no data set"),
    pytest.param(
        ("btc.csv", "--dataset", "crypto_5m", "--instrument", "BTC"), "it has BTCUSD.BITFINEX, ETH", id="no instrument"
    ),
]


@pytest.mark.parametrize(("words", "sentence"), REFUSED)
def test_what_cannot_be_done_is_said_in_a_sentence(
    project: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    words: tuple[str, ...],
    sentence: str,
) -> None:
    assert run(monkeypatch, str(project / words[0]), *words[1:]) == 2
    assert sentence in capsys.readouterr().err
