"""What every test shares: a compiled kernel kept between runs, no home folder but its own, no asserted time."""

import os
from pathlib import Path

import hypothesis
import pytest

from resources.settings import engine_hash

# Before numba is imported: compiling the simulator takes longer than all other tests together.
_CACHE = Path(__file__).parents[1] / ".pytest_cache" / "numba" / engine_hash().removeprefix("sha256:")[:16]
os.environ["NUMBA_CACHE_DIR"] = str(_CACHE)
os.environ["NUMBA_BOUNDSCHECK"] = (
    "1"  # an index beyond its array is a warning that nobody can raise: an error, as all are
)

# A law is tried on a few examples every time, and on many where time is taken for it (`make test-slow`).
hypothesis.settings.register_profile("quick", deadline=None, max_examples=10)
hypothesis.settings.register_profile("thorough", deadline=None, max_examples=100)
hypothesis.settings.load_profile("quick")


@pytest.hookimpl(tryfirst=True)  # before `-m` chooses
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Whatever needs a whole night takes its time."""
    for item in items:
        if "done" in getattr(item, "fixturenames", ()):
            item.add_marker("slow")


@pytest.fixture(autouse=True)
def _own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GAUNTLET_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("GAUNTLET_PROJECT", raising=False)
