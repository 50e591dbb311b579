"""One night for all tests of the pipelines: made once and looked at in copies."""

import shutil
from pathlib import Path

import pytest

from pipelines.workplace import Workplace
from tests.small_project import open_small, quiet_night, write_project


@pytest.fixture(scope="session")
def done(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small project after its first night."""
    root = tmp_path_factory.mktemp("small")
    with pytest.MonkeyPatch.context() as patch:
        night = quiet_night(open_small(write_project(root), patch))
    assert night.failed == []
    assert night.run_ids
    return root


@pytest.fixture
def after(done: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workplace:
    """A copy of it, opened."""
    copy = tmp_path / "copy"
    shutil.copytree(done, copy)
    return open_small(copy, monkeypatch)
