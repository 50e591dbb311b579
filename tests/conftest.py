"""What every test shares: a compiled kernel kept between runs, no home folder but its own, no asserted time."""

import os
from pathlib import Path

import hypothesis
import pytest
from xdist.scheduler import LoadFileScheduling, Scheduling

from resources.settings import engine_hash

# Before numba is imported: compiling the simulator takes longer than all other tests together.
_CACHE = Path(__file__).parents[1] / ".pytest_cache" / "numba" / engine_hash().removeprefix("sha256:")[:16]
os.environ["NUMBA_CACHE_DIR"] = str(_CACHE)

# A law is tried on a few examples every time, and on many where time is taken for it (`make test-slow`).
hypothesis.settings.register_profile("quick", deadline=None, max_examples=25)
hypothesis.settings.register_profile("thorough", deadline=None, max_examples=100)
hypothesis.settings.load_profile("quick")


class ByFile(LoadFileScheduling):
    """A file's tests go to one worker, which makes its fixtures once; all of tests/pipelines share one night.

    The slow ones take much longer than the night, and are spread over the workers by file.
    """

    def _split_scope(self, nodeid: str) -> str:
        shares_the_night = nodeid.startswith("tests/pipelines/") and self.config.option.markexpr == "not slow"
        return "tests/pipelines" if shares_the_night else super()._split_scope(nodeid)


def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> Scheduling:
    return ByFile(config, log)


@pytest.fixture(autouse=True)
def _own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GAUNTLET_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("GAUNTLET_PROJECT", raising=False)
