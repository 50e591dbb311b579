"""The files of a project in the newest schemas: what would be rewritten, and rewriting it."""

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from quality.errors import ConfigurationError, Problem
from quality.migrations import NEWEST, migrated


class Rewritten(NamedTuple):
    path: Path
    file: str  # below the project's folder
    schemas: tuple[int, ...]  # from the one it had to the newest
    text: str


def outdated(root: Path) -> list[Rewritten]:
    """Every file of an older schema under `root`, with what it becomes.

    Raises:
        ConfigurationError: files that cannot be read, or of a schema that is not known; with every such file.
    """
    found: list[Rewritten] = []
    problems: list[Problem] = []
    for kind in NEWEST:
        for path in sorted((root / kind).glob("[!._]*.yaml")):
            file = path.relative_to(root).as_posix()
            try:
                text, schemas = migrated(path.read_bytes().decode("utf-8-sig"), kind, file=file)
            except ConfigurationError as error:
                problems += error.problems
            except (OSError, UnicodeDecodeError) as error:
                problems.append(Problem(file, None, "", f"cannot be read ({error})", "a text file in UTF-8"))
            else:
                if len(schemas) > 1:
                    found.append(Rewritten(path, file, schemas, text))
    if problems:
        raise ConfigurationError(problems)
    return found


def rewrite(files: Iterable[Rewritten]) -> None:
    """Each whole or not at all."""
    for one in files:
        beside = one.path.with_name(f".{one.path.name}.new")
        beside.write_bytes(one.text.encode())
        beside.replace(one.path)
