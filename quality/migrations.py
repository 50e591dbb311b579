"""The schemas of the files that people write, and the way from each older one to the newest.

A file says its schema in the key `schema`; one without it is of schema 0, from before there were any. A migration
takes the text of a file one schema further and touches nothing else of it, so comments and order stay. Only layouts
of bar files (`formats/`) were ever written without a schema, so theirs is the only migration there is.

To raise a schema: change the model, add the step here, run `gauntlet migrate`.
"""

import re
from collections.abc import Callable, Mapping
from typing import Literal, NamedTuple

from quality.documents import Document, compose
from quality.errors import ConfigurationError, Refusal

Kind = Literal["datasets", "strategies", "policies", "formats"]
"""By the folder a file stands in."""

Step = Callable[[str], str]


def _with_schema(text: str) -> str:
    """`schema: 1` as the first key, below the comments that a file begins with."""
    lines = text.removeprefix("\ufeff").splitlines(keepends=True)
    first = next(n for n, line in enumerate(lines) if not re.match(r"\s*(#|%|---|$)", line))
    ending = "\r\n" if lines[first].endswith("\r\n") else "\n"
    return "".join([*lines[:first], f"schema: 1{ending}", *lines[first:]])


NEWEST: Mapping[Kind, int] = {"datasets": 1, "strategies": 1, "policies": 1, "formats": 1}
MIGRATIONS: Mapping[Kind, Mapping[int, Step]] = {"formats": {0: _with_schema}}


class Migrated(NamedTuple):
    text: str
    schemas: tuple[int, ...]  # that it had, oldest first, and the newest; one where it is as it was


def migrated(text: str, kind: Kind, *, file: str) -> Migrated:
    """The text of `file` (named in messages, not opened) in the newest schema of its kind.

    Raises:
        ConfigurationError: no YAML, or a schema that nothing is known of.
    """
    schemas = [schema_of(compose(text, file=file), kind)]
    while schemas[-1] < NEWEST[kind]:
        text = MIGRATIONS[kind][schemas[-1]](text)
        schemas.append(schemas[-1] + 1)
    return Migrated(text, tuple(schemas))


def schema_of(document: Document, kind: Kind) -> int:
    """The schema that a file is of.

    Raises:
        ConfigurationError: one that is newer than this Gauntlet, or that never was.
    """
    newest, written = NEWEST[kind], document.values.get("schema", 0)
    is_number = isinstance(written, int) and not isinstance(written, bool)
    if is_number and written in {newest, *MIGRATIONS.get(kind, ())}:
        return int(written)
    newer = f"at most {newest}: a newer Gauntlet wrote it, so update this one, or take the file as it was before"
    refusal = Refusal(("schema",), newer if is_number and written > newest else f"{newest}")
    if "schema" not in document.values:
        refusal = refusal._replace(found="{key} is missing")
    raise ConfigurationError(document.problems([refusal]))
