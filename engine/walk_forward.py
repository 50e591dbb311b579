"""Windows that move in time: choose on the past, judge on what came after.

1. The first window chooses on `in_sample` periods, leaves out `purge` periods, and judges on `out_of_sample` periods.
2. Each further window begins where the judging of the one before ended, so the judged periods are one stretch without
   gap or overlap, and can be stitched into one curve.
3. Rolling windows choose on the same number of periods each, anchored ones on everything since the first.

The purge keeps what was decided at the end of in-sample, and is still open, out of what it is judged on. A period is
whatever the caller counts in (sessions, for the walk-forward of a strategy); here it is an index.
"""

import math
from typing import NamedTuple

from engine.errors import OutOfBoundsError


class Window(NamedTuple):
    """One pair of half-open index ranges."""

    in_sample: range
    out_of_sample: range


def windows(
    n_periods: int, *, in_sample: int, out_of_sample: int, purge: int = 0, anchored: bool = False
) -> list[Window]:
    """All complete windows that fit in `n_periods`; none when there is too little history.

    Eight periods, chosen on four and judged on two:

    >>> for window in windows(8, in_sample=4, out_of_sample=2):
    ...     print(list(window.in_sample), list(window.out_of_sample))
    [0, 1, 2, 3] [4, 5]
    [2, 3, 4, 5] [6, 7]

    With a purge of one, period 4 belongs to neither side of the first window, and a second no longer fits:

    >>> for window in windows(8, in_sample=4, out_of_sample=2, purge=1):
    ...     print(list(window.in_sample), list(window.out_of_sample))
    [0, 1, 2, 3] [5, 6]

    Anchored, in-sample grows:

    >>> for window in windows(9, in_sample=4, out_of_sample=2, purge=1, anchored=True):
    ...     print(list(window.in_sample), list(window.out_of_sample))
    [0, 1, 2, 3] [5, 6]
    [0, 1, 2, 3, 4, 5] [7, 8]

    Args:
        n_periods: length of the history.
        in_sample: periods to choose on, at least 1 (anchored: in the first window).
        out_of_sample: periods to judge on, at least 1.
        purge: periods between the two that belong to neither.
        anchored: choose on everything from period 0.

    Returns:
        `(n_periods - in_sample - purge) // out_of_sample` of them, in order of time.

    Raises:
        OutOfBoundsError: a length below 1, a negative purge or a negative history.
    """
    for name, periods, least in (
        ("n_periods", n_periods, 0),
        ("in_sample", in_sample, 1),
        ("out_of_sample", out_of_sample, 1),
        ("purge", purge, 0),
    ):
        if periods < least:
            raise OutOfBoundsError(name, periods, allowed=f"at least {least}", remedy="pass a number of periods")
    return [
        Window(
            in_sample=range(0 if anchored else start - purge - in_sample, start - purge),
            out_of_sample=range(start, start + out_of_sample),
        )
        for start in range(in_sample + purge, n_periods - out_of_sample + 1, out_of_sample)
    ]


def degradation(in_sample: float, out_of_sample: float) -> float:
    """The share of an in-sample ratio that is gone out of sample: (in_sample - out_of_sample) / in_sample.

    Args:
        in_sample: the ratio on what was chosen on.
        out_of_sample: the same ratio on what was judged on.

    Returns:
        0 when nothing is lost, 1 when all is, above 1 when it turned negative, below 0 when it improved. NaN when
        in-sample is not positive, where a share of it means nothing, and when an argument is NaN.
    """
    return (in_sample - out_of_sample) / in_sample if in_sample > 0.0 else math.nan
