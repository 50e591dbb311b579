"""Compile the simulator once, before tests run in parallel: processes that fill numba's cache together can crash."""

import os
from pathlib import Path

import tests.conftest  # noqa: F401 - it says where the cache is


def main() -> None:
    compiled = Path(os.environ["NUMBA_CACHE_DIR"]) / "compiled"
    if not compiled.exists():
        compile_all()
        compiled.touch()


def compile_all() -> None:
    import numpy as np

    from engine.costs import FeePeriod, FeeTier
    from engine.simulator.inputs import Decisions, Instrument, Market, Rules, Size
    from engine.simulator.simulation import simulate

    prices, no, minute = np.full((3, 1), 100.0), np.zeros((3, 1), dtype=bool), 60_000_000
    simulate(
        Market(
            ts=np.arange(3) * minute,
            known_at=np.arange(1, 4) * minute,
            opens=prices,
            highs=prices,
            lows=prices,
            closes=prices,
            splits=np.ones((3, 1)),
            dividends=np.zeros((3, 1)),
        ),
        Decisions(no, no, no, no, np.full((3, 1), np.nan), no),
        [Instrument("X", tick=0.01, lot=1.0, min_notional=0.0, half_spread_bps=0.0)],
        Rules(cash=1_000.0, size=Size("units", 1.0), fees=(FeePeriod(0, (FeeTier(0.0, 0.0, 0.0),)),)),
    )


if __name__ == "__main__":
    main()
