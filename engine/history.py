"""What a strategy is tested on, read once and handed to everything that runs it."""

from collections.abc import Mapping, Sequence
from datetime import date
from typing import NamedTuple

import polars as pl


class History(NamedTuple):
    """What a strategy is tested on.

    `raw` and `frames` are keyed by instrument: raw bars of the plan's timeframe (`session ts known_at open high low
    close volume`), and bar frames by timeframe (forward-adjusted, as strategies see them). `raw` also has the series
    that convert currencies, and `finer` the raw bars of a shorter timeframe, where the plan asks for them. `due` is
    every bar of the plan's timeframe that should exist (`session ts known_at`), sorted. `actions` has `instrument
    ex_date kind value`, `embargo` has `session instrument embargoed`. `sessions` are all of the calendar's, in order;
    `features` are the columns that the frames of the plan's timeframe carry besides.
    """

    sessions: Sequence[date]
    raw: Mapping[str, pl.DataFrame]
    frames: Mapping[str, Mapping[str, pl.DataFrame]]
    actions: pl.DataFrame
    embargo: pl.DataFrame
    due: pl.DataFrame
    finer: Mapping[str, pl.DataFrame]
    features: Sequence[str] = ()
    members: pl.DataFrame | None = None  # session instrument: who may be entered in it; everybody by default
