"""The git commit of the working tree, for the evidence."""

import shutil
import subprocess
from pathlib import Path
from typing import NamedTuple


class Commit(NamedTuple):
    """`id` is None outside a git repository; `dirty`: the tree differs from that commit."""

    id: str | None
    dirty: bool


def commit_of(folder: Path) -> Commit:
    git = shutil.which("git")
    if git is None:
        return Commit(None, dirty=True)
    head = _run(git, folder, "rev-parse", "HEAD")
    changes = _run(git, folder, "status", "--porcelain")
    if head is None or changes is None:
        return Commit(None, dirty=True)
    return Commit(head.strip(), dirty=bool(changes.strip()))


def _run(git: str, folder: Path, *arguments: str) -> str | None:
    done = subprocess.run([git, *arguments], cwd=folder, capture_output=True, text=True, check=False)  # noqa: S603 - fixed words
    return done.stdout if done.returncode == 0 else None
