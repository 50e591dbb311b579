"""Writing behind: in order, and nothing after what failed."""

import time
from errno import ENOSPC
from pathlib import Path

import polars as pl
import pytest

from quality import tables
from resources.behind import Behind
from resources.lake import Condition, Lake


class Failing(Lake):
    """A lake whose `raw_bars` cannot be written, as is found out after some time."""

    def replace(self, name: str, frame: pl.DataFrame, **window: Condition) -> None:
        if name == "raw_bars":
            time.sleep(0.05)
            raise OSError(ENOSPC, "no space is left")
        super().replace(name, frame, **window)


def digests(instrument: str) -> pl.DataFrame:
    row = {"dataset": "small", "session": None, "instrument": instrument, "digest": "d", "n_bars": 1, "sequence": 1}
    return pl.DataFrame([row], schema=tables.table("digests").columns).with_columns(session=pl.date(2020, 1, 1))


def write(lake: Lake, *instruments: str) -> None:
    """Something that can be written, something that cannot, and the rest."""
    with Behind(lake) as behind:
        behind.replace("digests", digests(instruments[0]), dataset="small", instrument=instruments[0])
        behind.replace("raw_bars", tables.empty("raw_bars"), dataset="small")
        for instrument in instruments[1:]:
            behind.append("digests", digests(instrument))


def test_what_follows_a_write_that_failed_is_not_written(tmp_path: Path) -> None:
    lake = Failing(root=str(tmp_path), lock_path="")
    with pytest.raises(OSError, match="no space"):
        write(lake, "A", "B", "C")
    assert lake.read("digests")["instrument"].to_list() == ["A"]


def test_after_a_failure_another_may_write(tmp_path: Path) -> None:
    lake = Failing(root=str(tmp_path), lock_path="")
    with pytest.raises(OSError, match="no space"):
        write(lake, "A", "B")
    with Behind(lake) as behind:
        behind.append("digests", digests("C"))
    assert lake.read("digests")["instrument"].sort().to_list() == ["A", "C"]
