"""The environment, read here and nowhere else.

| variable | means | default |
|---|---|---|
| `GAUNTLET_PROJECT` | folder with datasets/, strategies/ and policies/ | the checkout |
| `GAUNTLET_HOME` | folder of all state | `.gauntlet` in the project folder |

`prepare()` must run before Dagster or numba is imported: it points both at the home folder.
"""

import os
import shutil
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from pathlib import Path

_CHECKOUT = Path(__file__).resolve().parents[1]


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
    project = Path(os.environ.get("GAUNTLET_PROJECT") or _CHECKOUT).expanduser().resolve()
    home = Path(os.environ.get("GAUNTLET_HOME") or project / ".gauntlet").expanduser().resolve()
    return Settings(project=project, home=home)


def prepare() -> Settings:
    """Make the home folder and point Dagster and numba at it; safe to repeat."""
    current = settings()
    current.dagster.mkdir(parents=True, exist_ok=True)
    _copy_if_different(_CHECKOUT / "dagster.yaml", current.dagster / "dagster.yaml")
    os.environ["DAGSTER_HOME"] = str(current.dagster)
    os.environ["GAUNTLET_EVENT_LOG"] = str(current.dagster / "history" / "runs")
    os.environ.setdefault("NUMBA_CACHE_DIR", str(current.home / "numba" / engine_hash().removeprefix("sha256:")[:16]))
    return current


def engine_hash() -> str:
    """`sha256:…` over the engine's source files, which decides what is computed again.

    numba's own cache looks at the file of the cached function only and misses edits of what it calls, so its folder
    carries this hash in its name.
    """
    return source_hash("engine/*.py")


@cache
def source_hash(*patterns: str) -> str:
    """`sha256:…` over the project's own source files that match, by name.

    Read once a process: an edit while a night runs does not change what that night is computing with.
    """
    digest = sha256()
    for source in sorted({path for pattern in patterns for path in _CHECKOUT.glob(pattern)}):
        digest.update(source.relative_to(_CHECKOUT).as_posix().encode() + b"\0" + source.read_bytes() + b"\0")
    return f"sha256:{digest.hexdigest()}"


def _copy_if_different(source: Path, target: Path) -> None:
    if not target.exists() or target.read_bytes() != source.read_bytes():
        shutil.copyfile(source, target)
