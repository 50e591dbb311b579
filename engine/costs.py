"""What trading costs: the dated fee schedule, as people write it and as the simulator reads it.

A schedule is a list of periods, each a list of tiers by the account's traded notional of the last
30 days. Which tier an order pays is fixed when it is placed: the last period that has started, and
in it the highest tier whose volume has been reached (a boundary belongs to the higher tier).
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from engine.errors import OutOfBoundsError

BPS = 1e-4
VOLUME_WINDOW_US = 30 * 86_400_000_000
SCHEDULE = np.dtype([("start_us", np.int64), ("volume", np.float64), ("maker", np.float64), ("taker", np.float64)])


class FeeTier(NamedTuple):
    volume: float  # traded notional of the last 30 days, from which on the tier holds
    maker_bps: float  # may be negative: a rebate
    taker_bps: float


class FeePeriod(NamedTuple):
    start_us: int  # µs since the epoch, UTC
    tiers: tuple[FeeTier, ...]


def schedule(fees: Sequence[FeePeriod]) -> NDArray[Any]:
    """Flatten `fees` into rows of `SCHEDULE`, sorted by start and volume, rates as fractions of the notional.

    Raises:
        OutOfBoundsError: no period, periods not in order, tiers that do not ascend from volume 0, or a rate that is
            NaN or of 100 % and more.
    """
    if not fees:
        raise OutOfBoundsError("fees", list(fees), allowed="at least one period", remedy="write a period with a tier")
    for earlier, later in pairwise(fees):
        if earlier.start_us >= later.start_us:
            raise OutOfBoundsError("fees", later.start_us, allowed=f"after {earlier.start_us}", remedy="sort by start")
    for period in fees:
        _check_tiers(period)
    return np.array(
        [
            (period.start_us, tier.volume, tier.maker_bps * BPS, tier.taker_bps * BPS)
            for period in fees
            for tier in period.tiers
        ],
        dtype=SCHEDULE,
    )


def _check_tiers(period: FeePeriod) -> None:
    volumes = [tier.volume for tier in period.tiers]
    if volumes[:1] != [0.0] or not all(lower < upper for lower, upper in pairwise(volumes)):
        raise OutOfBoundsError("fees.tiers.volume", volumes, allowed="ascending from 0")
    for tier in period.tiers:
        for rate in (tier.maker_bps, tier.taker_bps):
            if not abs(rate) < 1 / BPS:
                raise OutOfBoundsError("fees.tiers", tier, allowed="rates below 10000 bps")
