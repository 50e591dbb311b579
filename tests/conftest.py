"""What every test shares: a compiled kernel kept between runs, and no home folder but its own."""

import os
from pathlib import Path

import pytest

from resources.settings import engine_hash

# Before numba is imported: compiling the simulator takes longer than all other tests together.
_CACHE = Path(__file__).parents[1] / ".pytest_cache" / "numba" / engine_hash().removeprefix("sha256:")[:16]
os.environ["NUMBA_CACHE_DIR"] = str(_CACHE)


@pytest.fixture(autouse=True)
def _own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GAUNTLET_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("GAUNTLET_PROJECT", raising=False)
