"""The environment, read here and nowhere else.

| variable | means | default |
|---|---|---|
| `GAUNTLET_PROJECT` | folder with datasets/, strategies/ and policies/ | the checkout |
| `GAUNTLET_HOME` | folder of all state | `.gauntlet` in the project folder |

`prepare()` must run before Dagster or numba is imported: it points both at the home folder.
"""

import os
import re
import shutil
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from pathlib import Path

from resources.errors import UnusableFolderError

_CHECKOUT = Path(__file__).resolve().parents[1]
_NOT_IN_A_HOME = re.compile(r"[=?\[\]\\^|\x00-\x1f\x7f]|%[0-9A-Fa-f]{2}")
"""What Delta or DuckDB cannot make a file below, or what would be read as a partition."""


@dataclass(frozen=True)
class Settings:
    project: Path
    home: Path

    @property
    def lake(self) -> Path:
        return self.home / "lake"

    @property
    def ledger(self) -> Path:
        return self.home / "ledger"

    @property
    def warehouse(self) -> Path:
        return self.home / "warehouse.duckdb"

    @property
    def lock(self) -> Path:
        return self.home / "lock"

    @property
    def dagster(self) -> Path:
        return self.home / "dagster"


def settings() -> Settings:
    """What the environment says. Raises UnusableFolderError when it names a person's folder that is not there."""
    project = _folder("GAUNTLET_PROJECT", default=_CHECKOUT)
    return Settings(project=project, home=_folder("GAUNTLET_HOME", default=project / ".gauntlet"))


def prepare() -> Settings:
    """Make the home folder and point Dagster and numba at it; safe to repeat.

    Raises UnusableFolderError when it cannot be made, written, or hold a lake.
    """
    current = settings()
    if found := _NOT_IN_A_HOME.search(str(current.home)):
        raise UnusableFolderError("GAUNTLET_HOME", current.home, f"no {found[0]!r} may be in its path")
    try:
        current.dagster.mkdir(parents=True, exist_ok=True)
        _copy_if_different(_CHECKOUT / "dagster.yaml", current.dagster / "dagster.yaml")
    except OSError as error:
        raise UnusableFolderError("GAUNTLET_HOME", current.home, error.strerror or str(error)) from error
    if not os.access(current.home, os.W_OK):
        raise UnusableFolderError("GAUNTLET_HOME", current.home, "it cannot be written")
    os.environ["DAGSTER_HOME"] = str(current.dagster)
    os.environ["GAUNTLET_EVENT_LOG"] = str(current.dagster / "history" / "runs")
    os.environ.setdefault("NUMBA_CACHE_DIR", str(current.home / "numba" / engine_hash().removeprefix("sha256:")[:16]))
    return current


def engine_hash() -> str:
    """`sha256:…` over the engine's source files, which decides what is computed again.

    numba's own cache looks at the file of the cached function only and misses edits of what it calls, so its folder
    carries this hash in its name.
    """
    return source_hash("engine/**/*.py")


def numbers_hash() -> str:
    """`sha256:…` over everything whose change may change a number: the project's code below the pipelines, and the pins.

    It is coarse on purpose. Recomputing after an edit costs a minute; a number that no longer follows from the code it
    is shown with costs the trust in all of them.
    """
    return source_hash(
        *(f"{room}/**/*.py" for room in ("engine", "quality", "resources", "assets")), "requirements.txt"
    )


@cache
def source_hash(*patterns: str) -> str:
    """`sha256:…` over the project's own source files that match, by name.

    Read once a process: an edit while a night runs does not change what that night is computing with.
    """
    digest = sha256()
    for source in sorted({path for pattern in patterns for path in _CHECKOUT.glob(pattern)}):
        digest.update(source.relative_to(_CHECKOUT).as_posix().encode() + b"\0" + source.read_bytes() + b"\0")
    return f"sha256:{digest.hexdigest()}"


def _folder(variable: str, *, default: Path) -> Path:
    named = os.environ.get(variable) or default
    try:
        return Path(named).expanduser().resolve()
    except (OSError, RuntimeError) as error:  # nobody of that name, or links in a circle
        raise UnusableFolderError(variable, named, str(error)) from error


def _copy_if_different(source: Path, target: Path) -> None:
    if not target.exists() or target.read_bytes() != source.read_bytes():
        shutil.copyfile(source, target)
