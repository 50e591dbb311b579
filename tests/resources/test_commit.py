"""The commit that evidence names: known in a repository, dirty as soon as the tree differs."""

import shutil
import subprocess
from pathlib import Path

import pytest

from resources.commit import Commit, commit_of

GIT = shutil.which("git") or pytest.skip("git is not installed", allow_module_level=True)
AUTHOR = ("-c", "user.name=test", "-c", "user.email=test@localhost", "-c", "commit.gpgsign=false")


@pytest.fixture(autouse=True)
def _no_repository_above(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    (tmp_path / "signal.py").write_text("pass\n")
    git(tmp_path, "init", "--quiet")
    git(tmp_path, "add", ".")
    git(tmp_path, *AUTHOR, "commit", "--quiet", "--message", "a signal")
    return tmp_path


def git(folder: Path, *arguments: str) -> str:
    return subprocess.run([GIT, *arguments], cwd=folder, capture_output=True, text=True, check=True).stdout


def test_a_clean_tree_is_its_commit(repository: Path) -> None:
    assert commit_of(repository) == Commit(git(repository, "rev-parse", "HEAD").strip(), dirty=False)


@pytest.mark.parametrize("file", ["signal.py", "new.py"], ids=["a changed file", "a new file"])
def test_a_tree_that_differs_is_dirty(repository: Path, file: str) -> None:
    (repository / file).write_text("changed\n")
    assert commit_of(repository).dirty


def test_a_repository_without_a_commit_has_none(tmp_path: Path) -> None:
    git(tmp_path, "init", "--quiet")
    assert commit_of(tmp_path) == Commit(None, dirty=True)


def test_outside_a_repository_there_is_no_commit_and_nothing_is_vouched_for(tmp_path: Path) -> None:
    assert commit_of(tmp_path) == Commit(None, dirty=True)


def test_without_git_nothing_is_vouched_for(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(repository))
    assert commit_of(repository) == Commit(None, dirty=True)
