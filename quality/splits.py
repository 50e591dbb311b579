"""Splits as they show in prices: which usual one is as large as a step from one price to the next."""

from math import log

USUAL = (1.5, 2, 3, 4, 5, 6, 7, 8, 10, 15, 20, 25, 30, 40, 50, 100)
"""New units per old one, of nearly all splits; reverse splits are their inverses."""


def nearest(step: float, *, within: float) -> str | None:
    """The split, as new units to old ones, that would explain a step; None where no usual one does.

    Args:
        step: log of the next price over the last one.
        within: of the log of a split's ratio, what the price may have moved by itself.

    >>> nearest(log(92.70 / 645.57), within=0.05)
    '7:1'
    >>> nearest(log(40.5 / 60), within=0.05)
    '3:2'
    >>> nearest(log(10.3 / 1.02), within=0.05)
    '1:10'
    """
    ratio = min(USUAL, key=lambda split: abs(log(split) - abs(step)))
    if abs(log(ratio) - abs(step)) > within:
        return None
    new, old = (3, 2) if ratio == 1.5 else (ratio, 1)
    return f"{new}:{old}" if step < 0 else f"{old}:{new}"
