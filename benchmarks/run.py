"""Run benchmarks and write what they measured to `results.json`, and as a table to the end of `README.md`.

    make bench                      all of them
    make bench ONLY=check_2m,night_100

Each runs in a process of its own, so that the peak of its memory is its own. A benchmark is a
function that returns a `Measured`: its seconds, and those of a floor or a peer timed beside it in
the same process where there is one. Ratios travel between machines, seconds do not.
"""

import json
import resource
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import NamedTuple

RESULTS = Path(__file__).parent / "results.json"
PAGE = Path(__file__).parent / "README.md"
SHOWN = ("seconds", "floor_seconds", "ratio", "peak_mib")
BENCHMARKS = {
    "pipeline_42m": "benchmarks.market_data:pipeline_42m",  # in this order: each works on the lake of the one before
    "night_100": "benchmarks.market_data:night_100",
    "read_instrument": "benchmarks.market_data:read_instrument",
    "reingest_day_100": "benchmarks.market_data:reingest_day_100",
    "check_2m": "benchmarks.check_2m:check_2m",
    "features_14m": "benchmarks.features:features_14m",
    "signals_1000": "benchmarks.features:signals_1000",
    "one_symbol_typical": "benchmarks.simulator:one_symbol_typical",
    "one_symbol_everything": "benchmarks.simulator:one_symbol_everything",
    "one_symbol_from_closes": "benchmarks.simulator:one_symbol_from_closes",
    "sleeves_two_threads": "benchmarks.simulator:sleeves_two_threads",
    "shared_account": "benchmarks.simulator:shared_account",
    "sweep_1000": "benchmarks.simulator:sweep_1000",
    "step_from_python": "benchmarks.simulator:step_from_python",
    "certificate_140k": "benchmarks.lookahead:certificate_140k",
    "compile_cold": "benchmarks.simulator:compile_cold",
    "compile_cached": "benchmarks.simulator:compile_cached",
}


class Measured(NamedTuple):
    seconds: float
    floor_seconds: float | None = None
    note: str = ""
    peak_mib: float | None = None  # where the work ran in another process than the benchmark


def main(only: Sequence[str]) -> None:
    unknown = [name for name in only if name not in BENCHMARKS]
    if unknown:
        sys.exit(f"no benchmark is called {unknown[0]!r}; there are {', '.join(BENCHMARKS)}")
    known = json.loads(RESULTS.read_text()) if RESULTS.exists() else []
    results = {row["name"]: row for row in known if row["name"] in BENCHMARKS}
    for name in only or BENCHMARKS:
        done = subprocess.run(
            [sys.executable, "-m", "benchmarks.run", "--one", name], stdout=subprocess.PIPE, check=True
        )
        results[name] = json.loads(done.stdout.splitlines()[-1])
        sys.stdout.write(_told(results[name]))
        rows = [results[one] for one in BENCHMARKS if one in results]
        RESULTS.write_text(json.dumps(rows, indent=2) + "\n")
        PAGE.write_text(with_table(PAGE.read_text(), rows))


def with_table(page: str, rows: Sequence[Mapping[str, object]]) -> str:
    """The page with its last table, whose first line stays, filled with `rows`."""
    above, heading, _ = page.rpartition(f"| name | {' | '.join(SHOWN)} |\n")
    cells = [["---"] * (len(SHOWN) + 1)]
    cells += [[f"`{row['name']}`", *("" if row[name] is None else str(row[name]) for name in SHOWN)] for row in rows]
    return above + heading + "".join(f"| {' | '.join(line)} |\n" for line in cells)


def one(name: str) -> dict[str, object]:
    module, _, function = BENCHMARKS[name].partition(":")
    measure: Callable[[], Measured] = getattr(import_module(module), function)
    measured = measure()
    floor = measured.floor_seconds
    peak = measured.peak_mib or resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {
        "name": name,
        "seconds": round(measured.seconds, 4),
        "floor_seconds": None if floor is None else round(floor, 4),
        "ratio": None if floor is None else round(measured.seconds / floor, 2),
        "peak_mib": round(peak),
        "note": measured.note,
    }


def _told(row: dict[str, object]) -> str:
    beside = f", {row['ratio']} x its floor" if row["ratio"] is not None else ""
    return f"{row['name']}: {row['seconds']} s{beside}, {row['peak_mib']} MiB; {row['note']}\n"


if __name__ == "__main__":
    if sys.argv[1:2] == ["--one"]:
        sys.stdout.write(json.dumps(one(sys.argv[2])) + "\n")
    else:
        main([name for argument in sys.argv[1:] for name in argument.split(",") if name])
