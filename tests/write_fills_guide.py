"""docs/guides/fills.md and what stands in it by machine: the scenarios, and what the command prints of them.

    python -m tests.write_fills_guide

A line `    gauntlet simulate docs/guides/fills/NAME.yaml …` is followed by a fence with what it prints; a
line that names such a file in backticks and ends in a colon is followed by a fence with the file.
"""

import re
import shlex
import sys
from collections.abc import Callable
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

import pytest

from pipelines.cli import main

ROOT = Path(__file__).parents[1]
GUIDE = ROOT / "docs/guides/fills.md"
_FILE = re.compile(r"(`(docs/guides/fills/[a-z-]+\.yaml)`:\n\n)```yaml\n.*?^```$", re.MULTILINE | re.DOTALL)
_RUN = re.compile(r"(^    gauntlet (simulate docs/guides/fills/[^\n]+)\n\n)```text\n.*?^```$", re.MULTILINE | re.DOTALL)


def rendered(page: str) -> str:
    """The page with its fences written anew."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)
        page = _FILE.sub(lambda found: f"{found[1]}```yaml\n{(ROOT / found[2]).read_text()}```", page)
        return _RUN.sub(lambda found: f"{found[1]}```text\n{printed(found[2], patch.setattr)}```", page)


def printed(command: str, setattr_: Callable[[Any, str, Any], None]) -> str:
    """What `gauntlet COMMAND` prints, without the blanks at the ends of lines and empty lines around."""
    setattr_(sys, "argv", ["gauntlet", *shlex.split(command)])
    with redirect_stdout(StringIO()) as told, pytest.raises(SystemExit, match=r"^0$"):
        main.main()
    lines = [line.rstrip() for line in told.getvalue().splitlines()]
    return "".join(f"{line}\n" for line in "\n".join(lines).strip("\n").splitlines())


if __name__ == "__main__":
    GUIDE.write_text(rendered(GUIDE.read_text()))
