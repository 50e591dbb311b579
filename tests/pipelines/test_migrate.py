"""`gauntlet migrate` on a project's files."""

import shutil
import sys
from pathlib import Path

import pytest

from pipelines.cli.main import main
from resources.bar_files.layouts import load_formats
from tests.small_project import write_project

MINE = "# mine\nname: mine\nabout: my own\npositions: [ts, open, high, low, close]\ntimes: {patterns: [iso]}\n"


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("GAUNTLET_PROJECT", str(write_project(tmp_path)))
    (tmp_path / "formats").mkdir()
    (tmp_path / "formats/mine.yaml").write_text(MINE)
    return tmp_path


def migrate(monkeypatch: pytest.MonkeyPatch, *words: str) -> int:
    monkeypatch.setattr(sys, "argv", ["gauntlet", "migrate", *words])
    with pytest.raises(SystemExit) as left:
        main()
    return int(left.value.code or 0)


def test_what_is_older_is_told_then_rewritten_then_done(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    before = load_formats(project)["mine"]
    assert migrate(monkeypatch, "--check") == 1
    assert "formats/mine.yaml: is of schema 0, the newest is 1\n" in capsys.readouterr().out
    assert (project / "formats/mine.yaml").read_text() == MINE
    others = {path: path.read_bytes() for path in project.glob("*/*.yaml") if path.parent.name != "formats"}

    assert migrate(monkeypatch) == 0
    assert capsys.readouterr().out == "formats/mine.yaml: was of schema 0, the newest is 1\n1 rewritten\n"
    assert (project / "formats/mine.yaml").read_text() == MINE.replace("name: mine", "schema: 1\nname: mine")
    assert {path: path.read_bytes() for path in others} == others
    assert load_formats(project)["mine"] == before
    assert [path.name for path in (project / "formats").iterdir()] == ["mine.yaml"]

    assert migrate(monkeypatch, "--check") == migrate(monkeypatch) == 0
    assert capsys.readouterr().out == "every file is in the newest schema\n" * 2


def test_nothing_is_rewritten_where_a_file_is_of_a_schema_that_is_not_known(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = project / "strategies/small_cross.yaml"
    path.write_text(path.read_text().replace("schema: 1", "schema: 7"))
    shutil.copy(project / "policies/sla.yaml", project / "policies/broken.yaml")
    (project / "policies/broken.yaml").write_bytes(b"\xff")
    assert migrate(monkeypatch) == 2
    told = capsys.readouterr().err
    assert "strategies/small_cross.yaml:1: schema is 7, expected at most 1: a newer Gauntlet wrote it" in told
    assert "policies/broken.yaml: cannot be read" in told
    assert (project / "formats/mine.yaml").read_text() == MINE


def test_a_newer_file_is_refused_by_every_command_in_the_same_words(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = project / "policies/sla.yaml"
    path.write_text(path.read_text().replace("schema: 1", "schema: 2\nnew_key: 1"))
    monkeypatch.setattr(sys, "argv", ["gauntlet", "stages"])
    with pytest.raises(SystemExit):
        main()
    assert "policies/sla.yaml:4: schema is 2, expected at most 1: a newer Gauntlet wrote it" in capsys.readouterr().err
