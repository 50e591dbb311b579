"""What a strategy must provide: parameters as typed fields, and `signals`.

    class SmaCross(Strategy):
        fast: int = 20
        slow: int = 100

        def signals(self, bars: Bars) -> Signals:
            fast, slow = sma(bars.close, self.fast), sma(bars.close, self.slow)
            return Signals(enter=crossed_above(fast, slow), exit=crossed_below(fast, slow))

A subclass becomes a frozen dataclass whose fields are keyword-only, so `SmaCross(fast=10)` is a
value: equal parameters, equal strategy. `decide` asks it for its signals, computes them on one
instrument's bars and holds back every decision until all of them are warm. A decision belongs to
the close of its bar; that it acts at the next open is the simulator's doing, not this module's.

Whatever goes wrong in a strategy's own code comes back as a StrategyError with the line of its file.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil
from traceback import walk_tb
from typing import NamedTuple, dataclass_transform

import polars as pl

from engine.bars import timeframe_us
from engine.causal import BAR_COLUMNS, Bars, Column, evaluate
from engine.errors import EngineError, StrategyError


class Signals(NamedTuple):
    """Truths on each bar's close; what is left out never happens. An exit on the same bar wins over an entry."""

    enter: Column | None = None
    exit: Column | None = None
    enter_short: Column | None = None
    exit_short: Column | None = None


@dataclass_transform(kw_only_default=True, frozen_default=True)
class Strategy(ABC):
    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        dataclass(frozen=True, kw_only=True)(cls)

    @abstractmethod
    def signals(self, bars: Bars) -> Signals:
        """Say when to enter and when to leave, in causal columns of `bars`."""


def decide(strategy: Strategy, frames: Mapping[str, pl.DataFrame], timeframe: str) -> pl.DataFrame:
    """The decisions of `strategy` on the close of every bar of `timeframe`.

    Args:
        strategy: with its parameters.
        frames: one instrument's bar frames by timeframe; further columns of the base frame are its features, null
            through their own warm-up.
        timeframe: the one the strategy runs on.

    Returns:
        `ts known_at enter exit enter_short exit_short`, one row per bar, never null: what is not known decides nothing,
        and nothing is decided before every signal has been known once.

    Raises:
        StrategyError: the strategy raised, returned no Signals, or asked for bars that do not exist.
    """
    features = [name for name in frames[timeframe].columns if name not in BAR_COLUMNS] if timeframe in frames else []
    signals = _signals(strategy, Bars(timeframe, dict.fromkeys(features, 0)))
    said = {name: column for name, column in signals._asdict().items() if column is not None}
    try:
        values = evaluate(said, frames, timeframe)
    except (EngineError, pl.exceptions.PolarsError) as error:
        raise _refusal(strategy, error) from error
    warm = pl.all_horizontal(pl.lit(value=True), *(pl.col(name).is_not_null().cum_max() for name in said))
    return values.select(
        "ts",
        "known_at",
        *((pl.col(name).fill_null(value=False) & warm if name in said else pl.lit(value=False)).alias(name)
          for name in Signals._fields),
    )  # fmt: skip


def warm_up_bars(strategy: Strategy, timeframe: str, *, features: Mapping[str, int] | None = None) -> int:
    """Bars of `timeframe` before the first on which `strategy` can decide, where none is missing.

    Args:
        strategy: with its parameters.
        timeframe: the one it runs on.
        features: the features of the data set and the warm-up each declares, in bars of `timeframe`.

    Returns:
        The longest warm-up of its signals. A longer timeframe's counts by the clock, which is exact around the clock
        and too many where sessions are shorter; one more of its bars is added, as the series may begin inside one.
    """
    signals = _signals(strategy, Bars(timeframe, features or {}))
    return max((_warm_up(column, timeframe) for column in signals if column is not None), default=0)


def _signals(strategy: Strategy, bars: Bars) -> Signals:
    try:
        signals = strategy.signals(bars)
    except Exception as error:  # whatever a user's code may raise is reported with its place
        raise _refusal(strategy, error) from error
    if not isinstance(signals, Signals):
        raise _refusal(strategy, f"signals returned {type(signals).__name__}, must return Signals(enter=…, exit=…)")
    for name, column in signals._asdict().items():
        if column is not None and not (isinstance(column, Column) and column.kind == "truth"):
            found = f"a column of {column.kind}s" if isinstance(column, Column) else repr(column)
            raise _refusal(strategy, f"{name} is {found}, must be a column of truths: compare it with something")
    return signals


def _refusal(strategy: Strategy, problem: Exception | str) -> StrategyError:
    code = type(strategy).signals.__code__
    line = code.co_firstlineno
    if isinstance(problem, Exception):
        lines = [at for frame, at in walk_tb(problem.__traceback__) if frame.f_code.co_filename == code.co_filename]
        line = lines[-1] if lines else line
        problem = str(problem) if isinstance(problem, EngineError) else f"{type(problem).__name__}: {problem}"
    return StrategyError(type(strategy).__name__, problem, file=code.co_filename, line=line)


def _warm_up(column: Column, timeframe: str) -> int:
    ratio = timeframe_us(column.timeframe) / timeframe_us(timeframe)
    forming = 0 if column.timeframe == timeframe else 1
    own = ceil((column.warm_up + forming) * ratio)
    longer = (_warm_up(of, timeframe) + ceil(column.needs[name] * ratio) for name, of in column.longer.items())
    return max(own, *longer, 0)
