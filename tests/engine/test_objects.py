"""What is compiled is compiled from these sources, and reads nothing beyond its arrays."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from engine.errors import UnalignedError
from engine.simulator.packing import logs_of
from engine.simulator.pointers import Packed

ENGINE = Path(__file__).parents[2] / "engine"
BUY = """
from engine.simulator.scenario import simulated
bars = {"X": [[100, 101, 99, 100, 1000]] * 3}
buy = {"bar": 0, "instrument": "X", "do": "buy", "quantity": 1}
instruments = {"X": {"half_spread_bps": 100}}
told = {"timeframe": "1d", "account": {"cash": 10000}, "instruments": instruments, "bars": bars, "decisions": [buy]}
print(simulated(told)["fills"][0]["price"])
"""


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    """The package, to be edited."""
    shutil.copytree(ENGINE, tmp_path / "engine", ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path


def edit(copied: Path, file: str, seen: str, wanted: str) -> None:
    source = copied / "engine" / file
    assert seen in source.read_text()
    source.write_text(source.read_text().replace(seen, wanted))


def ran(copied: Path, code: str) -> subprocess.CompletedProcess[str]:
    settings = os.environ | {"NUMBA_CACHE_DIR": str(copied / "kept"), "PYTHONPATH": str(copied)}
    return subprocess.run(
        [sys.executable, "-c", code], cwd=copied, env=settings, capture_output=True, text=True, check=True
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("file", "seen", "wanted"),
    [
        ("simulator/prices.py", "units + 1e-9", "units + 2e-9"),
        ("costs.py", "VOLUME_WINDOW_US", "VOLUME_WINDOW_US  # taken by the package"),
    ],
)
def test_an_edit_of_anything_that_is_compiled_names_another_file(copied, file, seen, wanted):
    stamped = "from engine.simulator.objects import stamp; print(stamp())"
    before = ran(copied, stamped).stdout
    edit(copied, file, seen, wanted)
    assert ran(copied, stamped).stdout != before


@pytest.fixture(scope="module")
def before_and_after(tmp_path_factory):
    """A run, and another one after a helper was edited and two drivers read outside their arrays."""
    copied = tmp_path_factory.mktemp("copied")
    shutil.copytree(ENGINE, copied / "engine", ignore=shutil.ignore_patterns("__pycache__"))
    before = ran(copied, BUY)
    edit(copied, "simulator/costs.py", "reference * terms.half_spread", "reference * 2.0 * terms.half_spread")
    end = "            n += 1\n    return n\n"  # of `close_books`
    edit(copied, "simulator/drivers.py", end, end.replace("n += 1", "n += 1 + int(logs.orders[10**6].id)"))
    end = "            t += 1\n    return t\n"  # of `run`
    edit(copied, "simulator/drivers.py", end, end.replace("return t", "return t + int(logs.orders[-t].id)"))
    return before, ran(copied, BUY)


@pytest.mark.slow
def test_an_edited_helper_is_compiled_again(before_and_after):
    assert [float(run.stdout) for run in before_and_after] == [101, 102]


@pytest.mark.slow
def test_an_index_before_or_beyond_its_array_is_noticed(before_and_after):
    before, after = before_and_after
    assert "IndexError" not in before.stderr
    assert after.stderr.count("IndexError") == 2


def test_an_array_that_does_not_lie_in_one_piece_is_refused():
    logs = logs_of(4, (1, 1, 1))
    with pytest.raises(UnalignedError, match=r"logs\.equity"):
        Packed("logs", logs._replace(equity=np.zeros(8)[::2]))
