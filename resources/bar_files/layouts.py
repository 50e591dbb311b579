"""The layouts that are known: those of the package, and those a project describes in its folder `formats`."""

from collections.abc import Mapping
from functools import cache
from pathlib import Path

from quality.configuration import read
from quality.documents import compose, nearest
from quality.errors import ConfigurationError, Problem
from quality.formats import Format
from quality.migrations import schema_of
from resources.errors import UnknownFormatError

_SHIPPED = Path(__file__).parents[1] / "formats"


def load_formats(project: Path | None = None) -> dict[str, Format]:
    """The package's layouts and those in `formats/` of a project, which win over those of the same name.

    Raises ConfigurationError with every problem of every file.
    """
    folder = project / "formats" if project else None
    return {**_shipped(), **(_read(folder) if folder and folder.is_dir() else {})}


def named(name: str, formats: Mapping[str, Format]) -> Format:
    if name not in formats:
        raise UnknownFormatError(name, formats, nearest(name, formats))
    return formats[name]


@cache
def _shipped() -> dict[str, Format]:
    return _read(_SHIPPED)


def _read(folder: Path) -> dict[str, Format]:
    formats: dict[str, Format] = {}
    problems: list[Problem] = []
    for path in sorted(folder.glob("*.yaml")):
        try:
            document = compose(path.read_text(encoding="utf-8"), file=path.name)
            schema_of(document, "formats")
            layout = read(document, Format)
        except ConfigurationError as error:
            problems += error.problems
        except (OSError, UnicodeDecodeError) as error:
            problems.append(Problem(path.name, None, "", f"it cannot be read ({error})"))
        else:
            if layout.name != path.stem:
                problems.append(
                    Problem(path.name, None, "name", f"name is {layout.name!r}", f"{path.stem!r}, as the file")
                )
            formats[layout.name] = layout
    if problems:
        raise ConfigurationError(problems)
    return formats
