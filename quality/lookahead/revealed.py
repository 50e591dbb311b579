"""The prefix law at every bar for strategies that are asked bar by bar: bars are put there as they close.

Such a strategy has no tree to walk. It is run once more on arrays in which everything after the
current bar is NaN until that bar is over, so whatever it reads of later bars, by whatever way, is not
there. Every answer must be that of the run which had all bars from the start.
"""

from collections.abc import Mapping

import numpy as np
import polars as pl
from numpy.typing import NDArray

from engine.bars import timeframe_us
from engine.errors import EngineError
from engine.evaluation import Frames
from engine.stateful import Answer, DataWindow, ask_bar_by_bar
from engine.strategy import Stateful
from quality.lookahead.cuts import first_difference
from quality.lookahead.laws import Law, broken, held
from quality.lookahead.market import Market


def revealed(strategy: Stateful, market: Market, timeframe: str, whole: pl.DataFrame) -> Law:
    """Ask on every bar again with nothing there that comes after it; `whole` is what was decided with all there."""
    frames = market.frames[market.instrument]
    lengths = [name for name in frames if timeframe_us(name) >= timeframe_us(timeframe)]
    shown, memory = _Shown(frames), strategy.start()

    def ask(window: DataWindow) -> Answer:
        known = {name: len(window.on(name)) for name in lengths}
        shown.show(known)
        return strategy.on_bar(DataWindow(shown, known, timeframe), memory)  # type: ignore[arg-type]

    try:
        decided = ask_bar_by_bar(ask, frames, timeframe, warm_up=strategy.warm_up)
    except EngineError as error:
        return broken("prefix", f"with later bars hidden it cannot be asked: {error}")
    if difference := first_difference(decided, whole):
        row, column = difference
        detail = f"with later bars hidden the bar of {whole['ts'][row]} has {column} {decided[column][row]}"
        return broken("prefix", f"{detail}, with them {whole[column][row]}", first_bar=row, column=column)
    return held("prefix", f"asked on {whole.height} bars with every later one hidden, it answers the same")


class _Shown:
    """As `engine.stateful` keeps one instrument's columns, but NaN from the first bar on that is not known yet."""

    def __init__(self, frames: Frames) -> None:
        self._all = frames
        self._columns: dict[tuple[str, str], tuple[NDArray[np.float64], NDArray[np.float64]]] = {}
        self._known: Mapping[str, int] = {}

    def show(self, known: Mapping[str, int]) -> None:
        for (timeframe, _), (shown, values) in self._columns.items():
            new = slice(self._known[timeframe], known[timeframe])
            shown[new] = values[new]
        self._known = known

    @property
    def frames(self) -> Frames:
        return {name: bars.head(self._known.get(name, 0)) for name, bars in self._all.items()}

    def column(self, timeframe: str, name: str) -> NDArray[np.float64]:
        if (timeframe, name) not in self._columns:
            values = self._all[timeframe][name].cast(pl.Float64).fill_null(float("nan")).to_numpy()
            shown = np.full(values.size, np.nan)
            shown[: self._known[timeframe]] = values[: self._known[timeframe]]
            self._columns[timeframe, name] = shown, values
        return self._columns[timeframe, name][0]
