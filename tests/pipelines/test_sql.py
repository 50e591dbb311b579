"""`gauntlet sql`: answers as a table, JSON or CSV; what cannot be asked ends in a sentence."""

import csv
import json
import sys
from datetime import UTC, datetime, timedelta
from io import StringIO
from pathlib import Path

import polars as pl
import pytest

from pipelines.cli.main import main
from pipelines.cli.sql import SHOWN_ROWS
from quality import tables
from resources.lake import Lake
from resources.warehouse import Warehouse

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
FIRST = datetime(2020, 1, 1, tzinfo=UTC)
ROW = {"dataset": "small", "instrument": "ONE.TEST", "sequence": 1, "filled": False, "volume": None}


def bars(n: int) -> pl.DataFrame:
    days = [FIRST + timedelta(days=day) for day in range(n)]
    prices = {"open": 2.0, "high": 3.0, "low": 1.0}
    return tables.frame(
        "bars",
        [{**ROW, **prices, "session": ts.date(), "ts": ts, "close": 1.5 + place / 2} for place, ts in enumerate(days)],
    )


@pytest.fixture
def lake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Lake:
    """Three bars and one list, in the lake and in the warehouse of this environment."""
    monkeypatch.setenv("GAUNTLET_HOME", str(tmp_path))
    made = Lake(root=str(tmp_path / "lake"), lock_path=str(tmp_path / "lock"))
    made.replace("bars", bars(3), dataset="small")
    record = {"control": "peeking [red]", "refused": True, "failed_rules": ["a", "b"], "decision": "x"}
    made.replace("control_record", tables.frame("control_record", [record]), control="peeking [red]")
    Warehouse(path=str(tmp_path / "warehouse.duckdb")).rebuild(made)
    return made


def run(monkeypatch: pytest.MonkeyPatch, *words: str) -> int:
    monkeypatch.setattr(sys, "argv", ["gauntlet", "sql", *words])
    with pytest.raises(SystemExit) as ended:
        main()
    return int(ended.value.code or 0)


def test_an_answer_is_a_table(lake: Lake, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(monkeypatch, "SELECT ts, close, volume, failed_rules FROM bars, control_record WHERE close > 2") == 0
    shown = capsys.readouterr()
    header, _, row = (line.split() for line in shown.out.splitlines() if line.strip())
    assert header == ["ts", "close", "volume", "failed_rules"]
    assert row == ["2020-01-03T00:00:00Z", "2.5", '["a",', '"b"]']
    assert shown.err == ""
    assert run(monkeypatch, "SELECT control FROM control_record") == 0
    assert "peeking [red]" in capsys.readouterr().out


def test_an_answer_in_json_has_every_value_as_json_can_say_it(
    lake: Lake, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    query = (
        "SELECT ts, session, close, volume, 'nan'::DOUBLE AS nothing, 1.50::DECIMAL(9, 2) AS exact, sum(1) AS whole, "
        "failed_rules, {'a': ts} AS inside, INTERVAL 1 DAY AS span, close AS close "
        "FROM bars, control_record WHERE close = 1.5 GROUP BY ALL"
    )
    assert run(monkeypatch, query, "--json") == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert row == {
        "ts": "2020-01-01T00:00:00Z",
        "session": "2020-01-01",
        "close": 1.5,
        "volume": None,
        "nothing": None,
        "exact": 1.5,
        "whole": 1,
        "failed_rules": ["a", "b"],
        "inside": {"a": "2020-01-01T00:00:00Z"},
        "span": "1 day, 0:00:00",
        "close_1": 1.5,
    }
    assert run(monkeypatch, "SELECT * FROM receipts", "--json") == 0
    assert json.loads(capsys.readouterr().out) == []


def test_an_answer_in_csv_can_be_read_again(
    lake: Lake, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, "SELECT session, close, volume, 'a, \"b\"' AS said FROM bars ORDER BY 1", "--csv") == 0
    read = list(csv.DictReader(StringIO(capsys.readouterr().out)))
    assert read[0] == {"session": "2020-01-01", "close": "1.5", "volume": "", "said": 'a, "b"'}
    assert len(read) == 3


def test_what_is_no_finite_number_is_named_and_only_null_is_blank(
    lake: Lake, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    query = "SELECT 'nan'::DOUBLE AS a, 'inf'::DOUBLE AS b, '-inf'::DOUBLE AS c, NULL::DOUBLE AS d, 1.5::DOUBLE AS e"
    assert run(monkeypatch, query) == 0
    assert capsys.readouterr().out.split()[-4:] == ["NaN", "inf", "-inf", "1.5"]
    assert run(monkeypatch, query, "--csv") == 0
    assert capsys.readouterr().out.splitlines()[1] == "NaN,inf,-inf,,1.5"


def test_a_long_answer_is_shown_in_part_and_written_whole(
    lake: Lake, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, "SELECT i FROM range(25000) t(i)") == 0
    shown = capsys.readouterr()
    assert len([line for line in shown.out.splitlines() if line.strip().isdigit()]) == SHOWN_ROWS
    assert f"the first {SHOWN_ROWS} rows of more: --csv and --json write all" in shown.err
    assert run(monkeypatch, "SELECT i FROM range(25000) t(i)", "--json") == 0
    assert len(json.loads(capsys.readouterr().out)) == 25_000


def test_the_lake_is_asked_for_what_came_since(
    lake: Lake, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    lake.replace("bars", bars(5), dataset="small")
    for words, n in (([], 3), (["--lake"], 5)):
        assert run(monkeypatch, "SELECT count(*) AS n FROM bars", "--json", *words) == 0
        assert json.loads(capsys.readouterr().out) == [{"n": n}]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["SELECT * FROM bar"], "there is no table 'bar': did you mean 'bars'? The tables are"),
        (["SELECT clse FROM bars"], 'Candidate bindings: "close"'),
        (["DELETE FROM receipts"], "DELETE is no query, and the warehouse is only read"),
        (["DELETE FROM receipts", "--lake"], "DELETE is no query, and the warehouse is only read"),
        (["SELECT 1", "--json", "--csv"], "name one"),
    ],
)
def test_what_cannot_be_asked_ends_in_a_sentence(
    lake: Lake, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], words: list[str], told: str
) -> None:
    assert run(monkeypatch, *words) == 2
    shown = capsys.readouterr()
    assert told in " ".join(shown.err.split())
    assert "Traceback" not in shown.err


def test_before_the_first_night_it_says_what_to_run(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, "SELECT 1") == 2
    assert "there is no warehouse yet" in (told := capsys.readouterr().err)
    assert "`gauntlet nightly` builds it" in told
    assert run(monkeypatch, "SELECT count(*) AS n FROM bars", "--json", "--lake") == 0, "a lake of nothing"


def test_the_notebook_runs_on_a_small_warehouse(lake: Lake, capsys: pytest.CaptureFixture[str]) -> None:
    notebook = json.loads((ROOT / "docs" / "notebooks" / "warehouse.ipynb").read_text())
    assert (notebook["nbformat"], notebook["nbformat_minor"]) == (4, 5)
    cells = ["".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "code"]
    names: dict[str, object] = {}
    for cell in cells:
        exec(compile(cell, "warehouse.ipynb", "exec"), names)  # noqa: S102 - a document under test
    assert "ONE.TEST" in capsys.readouterr().out
    assert all(cell["outputs"] == [] for cell in notebook["cells"] if cell["cell_type"] == "code")
