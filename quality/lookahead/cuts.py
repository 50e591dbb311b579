"""The prefix law and the poison law for a strategy as a whole, whatever makes its decisions.

`every_bar` proves what a strategy says, node by node. Here it is asked as the backtest asks it, so
that what lies around the nodes is proved too: that longer bars and other instruments are laid beside,
that decisions are held back until all is warm. Asking costs milliseconds, so it is done at chosen
bars: at the last ones, at some that are spread evenly, and at bars on which something is decided,
the first and the last of each kind among them, as a cheat must decide something to gain by it.

Cut at a bar, the data are as they stood on its close, of every timeframe and instrument. Short data
begin where the strategy's warm-up needs them to; the run they are compared with begins there too, so
the two are compared exactly. At a few bars all data from the start are kept.
"""

from typing import NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from engine.errors import EngineError
from quality.lookahead.laws import Law, broken, held
from quality.lookahead.market import Decide, Market, another_walk, nothing

LAST_BARS = 16
SPREAD_BARS = 16
DECIDED_BARS = 8  # of each column
WHOLE_BARS = 4
POISONED_BARS = 4
BEYOND = 64
_TIMES = ("ts", "known_at")

Integers = NDArray[np.int64]


class Asked(NamedTuple):
    """A strategy that is asked about a market, as a function; `history`: the bars it needs before it decides."""

    decide: Decide
    market: Market
    timeframe: str
    history: int

    @property
    def bars(self) -> pl.DataFrame:
        return self.market.bars(self.timeframe)


def prefix_at_cuts(asked: Asked, whole: pl.DataFrame) -> Law:
    """Decide again on data cut at chosen bars, and compare with the runs that were not cut.

    Args:
        asked: the strategy and its market.
        whole: what it decides on all of it.

    Returns:
        The first cut that differs, by the bar and the column that came out differently. An empty series proves nothing.
    """
    last = asked.bars.height
    if last == 0:
        return broken("prefix", "there is no bar to check")
    if whole.height != last:
        return broken("prefix", f"the run gives {whole.height} rows for {last} bars, must be one for each")
    at = chosen(whole)
    for bar in at.tolist():
        begin = max(0, bar - asked.history)
        short = asked._replace(market=asked.market.since(asked.bars["ts"].to_physical()[begin], asked.timeframe))
        uncut = asked.decide(_until(short, min(bar + BEYOND, last - 1) - begin))
        if law := _cut_at(short, uncut, bar, dropped=begin):
            return law
    for bar in _spread(last, WHOLE_BARS).tolist():
        if law := _cut_at(asked, whole, bar, dropped=0):
            return _first_within(asked, whole, bar) or law
    return held("prefix", f"decisions on data cut at {at.size} bars are as with later data")


def poison(asked: Asked, whole: pl.DataFrame) -> Law:
    """Put NaN, and then other prices, into all that follows a bar, and see that no decision up to it moves."""
    last, n_asked = asked.bars.height, 0
    if last == 0:
        return broken("poison", "there is no bar to check")
    for bar in _spread(last, POISONED_BARS).tolist():
        for word, values in (("NaN", nothing), ("another random walk", another_walk)):
            now = asked.bars["known_at"]
            try:
                decided = asked.decide(asked.market.poisoned(now.to_physical()[bar], values))
            except EngineError:  # it may well refuse what came later
                continue
            n_asked += 1
            if difference := first_difference(decided.head(bar + 1), whole.head(bar + 1)):
                row, column = difference
                detail = (
                    f"with {word} after {now[bar]} the bar of {whole['ts'][row]} has {column} {decided[column][row]}"
                )
                detail += f", with what came {whole[column][row]}"
                return broken("poison", detail, first_bar=row, column=column)
    if n_asked == 0:
        return broken("poison", "it refuses to be asked about any other data")
    return held("poison", f"{n_asked} runs with NaN or other prices after a bar decide the same up to it")


def chosen(whole: pl.DataFrame) -> Integers:
    """The bars to cut at, in order."""
    n_bars = whole.height
    picked = [np.arange(max(0, n_bars - LAST_BARS), n_bars), _spread(n_bars, SPREAD_BARS)]
    for column in whole.drop(_TIMES, strict=False).iter_columns():
        decided = column if column.dtype == pl.Boolean else column.ne_missing(column.shift(1))
        bars = decided.arg_true().to_numpy()
        picked.append(bars[_spread(bars.size, DECIDED_BARS)])
    return np.unique(np.concatenate(picked)).astype(np.int64)


def first_difference(decided: pl.DataFrame, expected: pl.DataFrame) -> tuple[int, str] | None:
    """The first row that is not the same, and its column; the frames have the same shape."""
    if decided.equals(expected):
        return None
    differs = {
        column: int(rows[0])
        for column in expected.columns
        if len(rows := decided[column].ne_missing(expected[column]).arg_true())
    }
    column = min(differs, key=lambda name: differs[name])
    return differs[column], column


def _cut_at(asked: Asked, uncut: pl.DataFrame, bar: int, *, dropped: int) -> Law | None:
    """What is wrong with the decisions on data cut at `bar`, which counts from the start of the series."""
    cut_at = asked.bars["ts"][bar - dropped]
    try:
        decided = asked.decide(_until(asked, bar - dropped))
    except EngineError as error:
        return broken("prefix", f"cut at {cut_at} it cannot be asked: {error}", first_bar=bar)
    expected = uncut.head(bar - dropped + 1)
    if decided.height != expected.height or decided.schema != expected.schema:
        seen, allowed = (f"{table.height} rows of {', '.join(table.columns)}" for table in (decided, expected))
        detail = f"cut at {cut_at} there are {seen}, must be {allowed} as in the whole run"
        return broken("prefix", detail, first_bar=dropped + min(decided.height, expected.height))
    difference = first_difference(decided, expected)
    if difference is None:
        return None
    row, column = difference
    detail = (
        f"cut at {cut_at} the bar of {expected['ts'][row]} has {column} {decided[column][row]}, "
        f"with later data {expected[column][row]}"
    )
    return broken("prefix", detail, first_bar=dropped + row, column=column)


def _first_within(asked: Asked, whole: pl.DataFrame, bar: int) -> Law | None:
    """The first bar, by halves, from which on cuts differ: it lies no later than `bar`, which does."""
    least, most, found = -1, bar, None
    while most - least > 1:
        middle = (least + most) // 2
        law = _cut_at(asked, whole, middle, dropped=0)
        least, most, found = (middle, most, found) if law is None else (least, middle, law)
    return found


def _until(asked: Asked, bar: int) -> Market:
    return asked.market.known_by(asked.bars["known_at"].to_physical()[bar])


def _spread(n: int, wanted: int) -> Integers:
    return np.unique(np.linspace(0, n - 1, min(n, wanted)).astype(np.int64)) if n else np.zeros(0, np.int64)
