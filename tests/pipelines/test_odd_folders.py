"""A night where the folder's name is one that programs stumble over."""

from pathlib import Path

import duckdb
import pytest

from tests.small_project import open_small, quiet_night, write_project


@pytest.mark.slow
def test_a_night_runs_in_a_folder_with_spaces_and_an_apostrophe(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "it's a home"
    root.mkdir()
    workplace = open_small(write_project(root), monkeypatch)
    first = quiet_night(workplace)
    assert first.failed == []
    assert first.new_rows["crypto_5m"] > 0
    again = quiet_night(workplace)
    assert (again.run_ids, again.failed) == ([], []), "what was written is found again"
    with duckdb.connect(workplace.sql.path, read_only=True) as connection:
        assert connection.sql("SELECT count(DISTINCT instrument) FROM bars").fetchall() == [(2,)]
