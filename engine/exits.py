"""Distances of protective stops, decided with everything else on a bar's close.

A distance is in raw price units: orders fill at raw prices, and indicators see forward-adjusted
ones, so an average true range is divided by the bar's own adjustment factor.
"""

import numpy as np
import polars as pl
from numpy.typing import NDArray

from engine.causal import Bars, evaluate, positive_number
from engine.errors import OutOfBoundsError
from engine.indicators import atr as average_true_range

_OWN = "1d"  # a single frame is measured by its own bars alone, so any name for its timeframe will do


def stop_distances(
    frame: pl.DataFrame, *, pct: float | None = None, atr: float | None = None, length: int | None = None
) -> NDArray[np.float64]:
    """How far from the entry a stop lies when it is decided on each bar.

    Args:
        frame: one instrument's bar frame, with forward-adjusted prices and `factor`.
        pct: a share of the close (0.02 is 2 %); or
        atr: so many average true ranges,
        length: over so many bars (Wilder).

    Returns:
        One distance per bar in raw price units, above zero or NaN; NaN through the indicator's warm-up and where the
        range is zero, since a stop at the entry price is none.

    Raises:
        OutOfBoundsError: not exactly one of the two forms, or a value that is not above zero.
    """
    if pct is not None and atr is None and length is None:
        adjusted = frame.get_column("close") * positive_number("pct", pct)
    elif pct is None and atr is not None and length is not None:
        ranges = average_true_range(Bars(_OWN), length) * positive_number("atr", atr)
        adjusted = evaluate({"distance": ranges}, {_OWN: frame}, _OWN).get_column("distance")
    else:
        given = {"pct": pct, "atr": atr, "length": length}
        raise OutOfBoundsError("stop", given, allowed="pct alone, or atr and length together")
    distances = (adjusted / frame.get_column("factor")).to_numpy()
    return np.where(distances > 0, distances, np.nan)
