"""`gauntlet check` of a CSV of 2 million one-minute bars, start-up included, as a person waits for it.

The floor beside it is a process that starts, reads the same file with polars and casts its columns.
"""

import resource
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import polars as pl

from benchmarks.run import Measured

N_ROWS = 2_000_000
FILE = Path(__file__).parents[1] / ".benchmarks" / f"check_{N_ROWS}.csv"
_CHECK = "from pipelines.cli.main import main; main()"
_READ = "import sys, polars as pl; pl.read_csv(sys.argv[1], try_parse_dates=True)"


def check_2m() -> Measured:
    _write()
    floor = min(_seconds(_READ, str(FILE)) for _ in range(3))
    before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    seconds = min(_seconds(_CHECK, "check", str(FILE), "--json") for _ in range(3))
    peak = max(before, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss) / 1024
    return Measured(seconds, floor, f"{N_ROWS:,} rows, {FILE.stat().st_size >> 20} MiB; best of 3 processes", peak)


def _write() -> None:
    """A random walk, made once."""
    if FILE.exists():
        return
    FILE.parent.mkdir(parents=True, exist_ok=True)
    closes = 100 * np.exp(np.cumsum(np.random.default_rng(7).normal(0, 1e-4, N_ROWS)))
    start = datetime(2014, 1, 1, tzinfo=UTC)
    frame = pl.DataFrame({"close": closes.round(4)}).with_row_index("minute")
    frame.select(
        ts=(pl.lit(start) + pl.duration(minutes="minute")).dt.strftime("%Y-%m-%d %H:%M:%S"),
        open=pl.col("close").shift(1).fill_null(100.0),
        high=(pl.max_horizontal("close", pl.col("close").shift(1).fill_null(100.0)) + 0.01).round(4),
        low=(pl.min_horizontal("close", pl.col("close").shift(1).fill_null(100.0)) - 0.01).round(4),
        close="close",
        volume=pl.col("minute") % 97 + 1,
    ).write_csv(FILE)


def _seconds(program: str, *words: str) -> float:
    begun = time.perf_counter()
    subprocess.run([sys.executable, "-c", program, *words], stdout=subprocess.DEVNULL, check=True)
    return time.perf_counter() - begun
