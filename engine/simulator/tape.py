"""What a driver holds: the tape it reads, the desk it works on, the logs it fills. Arrays live here and no deeper."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Records = NDArray[Any]


class Tape(NamedTuple):
    """Read only. Columns are [n_bars, n_instruments]; one that is not there is [0, 0]."""

    ts: Integers
    times: Records  # all that is known of a bar's time in one place, or an event would wait for five columns
    clock: NDArray[np.uint8]
    touched: Integers  # where anything stands in the clock: bar × 256 + what stands there; and one that never comes
    opens: Floats
    highs: Floats
    lows: Floats
    closes: Floats
    volumes: Floats
    mark_opens: Floats
    mark_highs: Floats
    mark_lows: Floats
    mark_closes: Floats
    conversions: Floats
    columns: Floats  # [n_columns, n_bars, n_instruments] measured on the past: ranges, deviations, shares, multipliers
    signals: NDArray[np.int8]
    correlations: Floats  # [n_sessions, n_instruments, n_instruments], of the sessions before
    finer: Floats  # [4, n_rows] open, high, low, close
    finer_starts: Integers
    finer_ends: Integers
    rules: Records
    terms: Records
    plans: Records
    sizes: Records
    tiers: Records
    events: Records
    decisions: Records


class Desk(NamedTuple):
    """Where things stand. The last two states, and accounts and boxes but the first, are drafts of the two paths."""

    hots: Records
    states: Records
    state_words: Integers  # the same memory
    accounts: Records
    boxes: Records
    cells: Records
    active: Integers
    traded: Floats  # worth of what was traded, and when: bars with trades only, one after the other
    traded_at: Integers
    asked: Records


class Logs(NamedTuple):
    """What happened. Rows are counted past the end: the same inputs again, with room for all of them, fill them."""

    fills: Records
    trades: Records
    orders: Records
    equity: Floats
    cash: Floats  # [0], as the next one, where nobody asks
    gross: Floats
    positions: Records  # TRADE, one for each instrument at most: what is still open when books are closed
