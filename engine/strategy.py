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

Strategies that need a loop extend `Stateful` instead and are asked bar by bar.

Whatever goes wrong in a strategy's own code comes back as a StrategyError with the line of its file.
"""

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from math import ceil
from traceback import walk_tb
from types import FunctionType, MappingProxyType
from typing import Any, ClassVar, NamedTuple, dataclass_transform

import polars as pl

from engine.bars import timeframe_us
from engine.causal import BAR_COLUMNS, Bars, Column, whole_number
from engine.errors import EngineError, OutOfBoundsError, StrategyError
from engine.evaluation import OWN, Frames, Memo, evaluate
from engine.scorer import Gated
from engine.stateful import NUMBERS, SETUP, TRUTHS, WITHIN, Answer, DataWindow, ask_bar_by_bar


class Signals(NamedTuple):
    """What is said on each bar's close; what is left out is never said.

    Entries and exits are truths; an exit on the same bar wins over an entry. Or a target position is said instead, as
    units (`target`) or as a share of equity (`weight`); negative is short, and unknown leaves things as they are.
    """

    enter: Column | None = None
    exit: Column | None = None
    enter_short: Column | None = None
    exit_short: Column | None = None
    target: Column | None = None
    weight: Column | None = None
    strength: Column | None = None  # of the signal, 0 to 1
    confidence: Column | None = None  # in it, 0 to 1
    stop: Column | None = None  # distance from the entry, in price; of `exits: {stop: signal}`
    bias: Column | None = None  # which way the market is held to lean, -1 to 1
    setups: Mapping[str, Column] = MappingProxyType({})  # truths; the first that holds names the entry
    gated: Gated | None = None  # what a gate let pass and what it refused; for the record of candidates

    @property
    def said(self) -> dict[str, Column]:
        """Every column by its name, those of `setups` as `setup NAME`."""
        plain = {name: getattr(self, name) for name in (*TRUTHS, *NUMBERS)}
        named = {f"{SETUP} {name}": column for name, column in self.setups.items()}
        return {name: column for name, column in (plain | named).items() if column is not None}


@dataclass_transform(kw_only_default=True, frozen_default=True)
class Strategy(ABC):
    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        dataclass(frozen=True, kw_only=True)(cls)

    @abstractmethod
    def signals(self, bars: Bars) -> Signals:
        """Say when to enter and when to leave, in causal columns of `bars`."""


class Stateful(Strategy):
    """A strategy that is asked bar by bar: `engine.stateful` says how."""

    warm_up: ClassVar[int] = 0
    """Bars before the first on which it is listened to."""

    def signals(self, bars: Bars) -> Signals:
        """A stateful strategy says nothing in columns."""
        raise NotImplementedError(bars)

    def start(self) -> dict[str, Any]:
        """The memory before the first bar."""
        return {}

    @abstractmethod
    def on_bar(self, bars: DataWindow, memory: dict[str, Any]) -> Answer:
        """Say what to do, knowing the bars up to the one that has just closed."""


class Market(NamedTuple):
    """What one instrument's strategy may look at beside its own bars."""

    instrument: str = OWN
    others: Mapping[str, Frames] = MappingProxyType({})  # bar frames by timeframe, by instrument
    peers: Collection[str] | None = None  # whom functions across instruments look at; all by default
    members: pl.DataFrame | None = None  # session instrument: those of them that are looked at in a session
    memo: Memo | None = None


ALONE = Market()


def decide(
    strategy: Strategy, frames: Frames, timeframe: str, market: Market = ALONE, *, signals: Signals | None = None
) -> pl.DataFrame:
    """The decisions of `strategy` on the close of every bar of `timeframe`.

    Args:
        strategy: with its parameters.
        frames: one instrument's bar frames by timeframe; further columns of the base frame are its features, null
            through their own warm-up.
        timeframe: the one the strategy runs on.
        market: what it may look at beside.
        signals: what `asked` gave; asked anew by default, which costs as much as computing them on few bars.

    Returns:
        `ts known_at`, the truths `enter exit enter_short exit_short`, never null, the numbers `target weight strength
        confidence stop bias`, null where not known or not said, and `setup`, the name of the first that holds. One row
        per bar. What is not known decides nothing, and nothing is decided before every signal has been known once.

    Raises:
        StrategyError: the strategy raised, returned no Signals, asked for bars that do not exist, or said a number that
            is out of its bounds.
    """
    if isinstance(strategy, Stateful):
        try:
            return _asked_bar_by_bar(strategy, frames, timeframe)
        except Exception as error:  # whatever a user's code may raise is reported with its place
            raise refusal(strategy, error) from error
    said = (signals or asked(strategy, frames, timeframe)).said
    try:
        values = evaluate(said, frames, timeframe, **market._asdict())
    except (EngineError, pl.exceptions.PolarsError) as error:
        raise refusal(strategy, error) from error
    warm = is_warm(said)
    setups = [
        pl.when(pl.col(name)).then(pl.lit(name.removeprefix(f"{SETUP} "))) for name in said if name.startswith(SETUP)
    ]
    decided = values.select(
        "ts",
        "known_at",
        *((pl.col(name).fill_null(value=False) & warm if name in said else pl.lit(value=False)).alias(name)
          for name in TRUTHS),
        *((pl.when(warm).then(pl.col(name)) if name in said else pl.lit(None, pl.Float64)).alias(name)
          for name in NUMBERS),
        (pl.when(warm).then(pl.coalesce(setups)) if setups else pl.lit(None, pl.String)).alias(SETUP),
    )  # fmt: skip
    _within_bounds(strategy, decided)
    return decided


def asked(strategy: Strategy, frames: Frames, timeframe: str) -> Signals:
    """What `strategy` says of bars that have the features of these frames; in columns, a stateful one says nothing."""
    if isinstance(strategy, Stateful):
        return Signals()
    features = [name for name in frames[timeframe].columns if name not in BAR_COLUMNS] if timeframe in frames else []
    return signals_of(strategy, Bars(timeframe, dict.fromkeys(features, 0)))


def is_warm(said: Iterable[str]) -> pl.Expr:
    """Has every one of these columns been known once, by this bar?"""
    return pl.all_horizontal(pl.lit(value=True), *(pl.col(name).is_not_null().cum_max() for name in said))


def _asked_bar_by_bar(strategy: Stateful, frames: Frames, timeframe: str) -> pl.DataFrame:
    memory = strategy.start()
    return ask_bar_by_bar(
        lambda window: strategy.on_bar(window, memory), frames, timeframe, warm_up=_declared_warm_up(strategy)
    )


def _declared_warm_up(strategy: "Stateful") -> int:
    try:
        return whole_number("warm_up", strategy.warm_up, at_least=0)
    except OutOfBoundsError as error:
        raise refusal(strategy, error) from error


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
    if isinstance(strategy, Stateful):
        return _declared_warm_up(strategy)
    signals = signals_of(strategy, Bars(timeframe, features or {}))
    return max((_warm_up(column, timeframe, {}) for column in signals.said.values()), default=0)


def signals_of(strategy: Strategy, bars: Bars) -> Signals:
    """What `strategy` says of `bars`, every column of the kind it must be; StrategyError where it is not."""
    try:
        signals = strategy.signals(bars)
    except Exception as error:  # whatever a user's code may raise is reported with its place
        raise refusal(strategy, error) from error
    if not isinstance(signals, Signals):
        raise refusal(strategy, f"signals returned {type(signals).__name__}, must return Signals(enter=…, exit=…)")
    if not isinstance(signals.setups, Mapping) or not all(isinstance(name, str) for name in signals.setups):
        raise refusal(strategy, f"setups is {signals.setups!r}, must be truths by name")
    if not isinstance(signals.gated, Gated | None):
        raise refusal(strategy, f"gated is {signals.gated!r}, must be what `gate` gave")
    for name, column in signals.said.items():
        kind = "number" if name in NUMBERS else "truth"
        if not (isinstance(column, Column) and column.kind == kind):
            found = f"a column of {column.kind}s" if isinstance(column, Column) else repr(column)
            hint = ": compare it with something" if kind == "truth" else ""
            raise refusal(strategy, f"{name} is {found}, must be a column of {kind}s{hint}")
    positions = [name for name in ("target", "weight") if getattr(signals, name) is not None]
    if positions and len(positions) + sum(getattr(signals, name) is not None for name in TRUTHS) > 1:
        raise refusal(strategy, f"{positions[0]} beside other ways to say it, must stand alone: it says what is held")
    return signals


def _within_bounds(strategy: Strategy, decided: pl.DataFrame) -> None:
    for name, (least, greatest) in WITHIN.items():
        beyond = decided.filter(~pl.col(name).is_between(least, greatest))
        if not beyond.is_empty():
            seen = f"{name} is {beyond[name][0]:g} on the bar of {beyond['ts'][0]}"
            raise refusal(strategy, f"{seen}, must be from {least:g} to {greatest:g}")
    if not (narrow := decided.filter(pl.col("stop") <= 0)).is_empty():
        raise refusal(
            strategy, f"stop is {narrow['stop'][0]:g} on the bar of {narrow['ts'][0]}, must be above 0: a distance"
        )


def refusal(strategy: Strategy, problem: Exception | str) -> StrategyError:
    """What went wrong in a strategy's own code, with the line of its file."""
    code = _asked(strategy).__code__
    line = code.co_firstlineno
    if isinstance(problem, Exception):
        lines = [at for frame, at in walk_tb(problem.__traceback__) if frame.f_code.co_filename == code.co_filename]
        line = lines[-1] if lines else line
        problem = str(problem) if isinstance(problem, EngineError) else f"{type(problem).__name__}: {problem}"
    return StrategyError(type(strategy).__name__, problem, file=code.co_filename, line=line)


def _asked(strategy: Strategy) -> FunctionType:
    """The method of the strategy's own that is asked."""
    method: FunctionType = type(strategy).on_bar if isinstance(strategy, Stateful) else type(strategy).signals  # type: ignore[assignment]
    return method


def _warm_up(column: Column, timeframe: str, of: dict[str, int]) -> int:
    """In bars of `timeframe`, which is not longer than the column's own."""
    if column.key not in of:
        before = (_warm_up(operand, column.timeframe, of) for operand in column.operands)
        of[column.key] = max(before, default=0) + column.lookback + column.forgets
    if column.timeframe == timeframe:
        return of[column.key]
    return ceil((of[column.key] + 1) * timeframe_us(column.timeframe) / timeframe_us(timeframe))
