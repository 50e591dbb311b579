"""One night for all tests of the pipelines: made once, whoever needs it first, and looked at in copies."""

import shutil
from pathlib import Path

import pytest

from pipelines.workplace import Workplace
from resources import lock
from tests.small_project import open_small, quiet_night, write_project


@pytest.fixture(scope="session")
def done(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Path:
    """The small project after its first night."""
    own = tmp_path_factory.getbasetemp()
    shared = own if worker_id == "master" else own.parent
    root = shared / "small"
    with lock.held(shared / "small.lock", purpose="a test", wait=True):
        if not (root / "home" / "head.json").exists():
            root.mkdir(exist_ok=True)
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
