"""One strategy over history: bars to decisions to a simulation, and the returns that are judged.

1. `grid` lays the instruments' raw bars side by side on the union of their bars, and beside them
   what does not depend on the signal: volumes, corporate actions, stop distances, embargoes;
2. `decisions` asks the strategy, instrument by instrument, on adjusted columns, and lays its
   answers on the same grid;
3. `run` simulates a half-open range of that grid, starting flat with the plan's cash;
4. `session_returns` reads the equity curve at session closes: the one series that every gated
   metric is computed on.

Decisions are computed on all of the history handed in, so bars before a range are warm-up only.
"""

from collections.abc import Sequence
from datetime import date
from typing import Any, NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from engine.bars import PRICES
from engine.exits import stop_distances
from engine.history import History
from engine.simulator import inputs
from engine.simulator.simulation import Simulation, simulate
from engine.strategy import Strategy, decide

Floats = NDArray[np.float64]
Truths = NDArray[np.bool_]
_SIGNALS = {"enter": "enter_long", "exit": "exit_long", "enter_short": "enter_short", "exit_short": "exit_short"}


class Stop(NamedTuple):
    """A protective stop: a share of the price, or a multiple of Wilder's ATR."""

    pct: float | None = None
    atr: float | None = None
    length: int | None = None


class Plan(NamedTuple):
    """Everything a run needs beside the signal and the data."""

    timeframe: str
    instruments: tuple[inputs.Instrument, ...]
    rules: inputs.Rules
    stop: Stop | None


class Grid(NamedTuple):
    """Everything on one clock that does not depend on the signal; arrays are bars, or bars x instruments."""

    bars: inputs.Market
    sessions: pl.Series  # Date, one per bar
    stop_distances: Floats  # of a stop decided on each bar's close; NaN where there is none
    embargoed: Truths
    rows_of: tuple[NDArray[np.int64], ...]  # by instrument: where its own bars lie on the clock

    def rows(self, first: date, last: date) -> tuple[int, int]:
        """The half-open range of bars in the sessions from `first` to `last`, both included."""
        return int(self.sessions.search_sorted(first, "left")), int(self.sessions.search_sorted(last, "right"))


def grid(history: History, plan: Plan) -> Grid:
    """Lay the raw bars of the plan's instruments side by side; NaN where one has no bar."""
    ids = [instrument.id for instrument in plan.instruments]
    clock = (
        pl.concat([history.raw[instrument].select("session", "ts", "known_at") for instrument in ids])
        .unique("ts")
        .sort("ts")
    )
    rows_of = tuple(clock["ts"].search_sorted(history.raw[instrument]["ts"]).to_numpy() for instrument in ids)
    prices = {
        name: _laid_out([history.raw[instrument][name].to_numpy() for instrument in ids], rows_of, clock.height)
        for name in PRICES
    }
    splits, dividends = _actions(history, plan, clock, rows_of)
    stop = [stop_distances(history.frames[one][plan.timeframe], **plan.stop._asdict()) for one in ids if plan.stop]
    return Grid(
        inputs.Market(
            ts=clock["ts"].dt.timestamp("us").to_numpy(),
            known_at=clock["known_at"].dt.timestamp("us").to_numpy(),
            opens=prices["open"],
            highs=prices["high"],
            lows=prices["low"],
            closes=prices["close"],
            splits=splits,
            dividends=dividends,
            volumes=_laid_out([history.raw[one]["volume"].to_numpy() for one in ids], rows_of, clock.height),
            sessions=clock["session"].to_physical().cast(pl.Int64).to_numpy(),
        ),
        sessions=clock["session"],
        stop_distances=_laid_out(stop, rows_of, clock.height) if stop else np.full((clock.height, len(ids)), np.nan),
        embargoed=np.column_stack([_embargoed(history, instrument, clock) for instrument in ids]),
        rows_of=rows_of,
    )


def decisions(strategy: Strategy, history: History, plan: Plan, on: Grid) -> inputs.Decisions:
    """What the strategy decides on each bar's close, on the grid; False where an instrument has no bar."""
    signals: dict[str, Any] = {name: np.zeros(on.bars.closes.shape, dtype=np.bool_) for name in _SIGNALS.values()}
    for column, (instrument, rows) in enumerate(zip(plan.instruments, on.rows_of, strict=True)):
        decided = decide(strategy, history.frames[instrument.id], plan.timeframe)
        for signal, name in _SIGNALS.items():
            signals[name][rows, column] = decided[signal].to_numpy()
    return inputs.Decisions(**signals, stop_distances=on.stop_distances, embargoed=on.embargoed)


def part(on: Grid, decided: inputs.Decisions, rows: tuple[int, int]) -> tuple[inputs.Market, inputs.Decisions]:
    """The bars `rows` (half-open), and what was decided on them."""
    wanted = slice(*rows)
    bars: dict[str, Any] = {
        name: values[wanted] for name, values in on.bars._asdict().items() if isinstance(values, np.ndarray)
    }
    answers: dict[str, Any] = {
        name: values[wanted] for name, values in decided._asdict().items() if isinstance(values, np.ndarray)
    }
    return on.bars._replace(**bars), decided._replace(**answers)


def run(
    on: Grid,
    decided: inputs.Decisions,
    plan: Plan,
    *,
    rows: tuple[int, int] | None = None,
    close_at_end: bool = False,
) -> Simulation:
    """Simulate the bars `rows` (half-open; all of them by default), starting flat with the plan's cash."""
    bars, on_them = part(on, decided, rows or (0, on.bars.ts.size))
    return simulate(bars, on_them, plan.instruments, plan.rules._replace(close_at_end=close_at_end))


def session_returns(simulation: Simulation, sessions: pl.Series, *, of: Sequence[date], cash: float) -> pl.DataFrame:
    """`session equity return gross_exposure` at the close of every session in `of`.

    Args:
        simulation: of bars whose sessions are `sessions`.
        of: the sessions to report, in order, covering those of the bars. One without a bar keeps the equity before
            it, so its return is zero.
        cash: equity before the first session.

    An account that closes a session with nothing left is closed for good: it returns -1 there and 0 ever after,
    whatever the simulation went on to do with money that was not there.
    """
    closes = (
        pl.DataFrame({"session": sessions, "equity": simulation.equity, "gross_exposure": simulation.gross_exposure})
        .group_by("session", maintain_order=True)
        .last()
    )
    return (
        pl.DataFrame({"session": list(of)}, schema={"session": pl.Date})
        .join(closes, on="session", how="left", maintain_order="left")
        .with_columns(
            pl.col("equity").forward_fill().fill_null(cash), pl.col("gross_exposure").forward_fill().fill_null(0)
        )
        .with_columns(solvent=(pl.col("equity") > 0).cum_min())
        .with_columns(pl.when("solvent").then(pl.col("equity", "gross_exposure")).otherwise(0.0))
        .with_columns(before=pl.col("equity").shift(1, fill_value=cash))
        .with_columns(
            pl.when(pl.col("before") > 0).then(pl.col("equity") / pl.col("before") - 1).otherwise(0.0).alias("return")
        )
        .select("session", "equity", "return", "gross_exposure")
    )


def _laid_out(columns: Sequence[Floats], rows_of: Sequence[NDArray[np.int64]], height: int) -> Floats:
    laid_out = np.full((height, len(columns)), np.nan)
    for column, (values, rows) in enumerate(zip(columns, rows_of, strict=True)):
        laid_out[rows, column] = values
    return laid_out


def _embargoed(history: History, instrument: str, clock: pl.DataFrame) -> Truths:
    own = history.embargo.filter(pl.col("instrument") == instrument).select("session", "embargoed")
    held_back = clock.join(own, on="session", how="left", maintain_order="left")["embargoed"]
    return held_back.fill_null(value=False).to_numpy()


def _actions(
    history: History, plan: Plan, clock: pl.DataFrame, rows_of: Sequence[NDArray[np.int64]]
) -> tuple[Floats, Floats]:
    """Splits and dividends on the instrument's first bar at or after each ex-date.

    A dividend is cash per unit held after its own day's split, on the grid after its bar's: where a later split acts on
    the same bar, there are more units to share it.
    """
    shape = (clock.height, len(plan.instruments))
    splits, dividends = np.ones(shape), np.zeros(shape)
    for column, (instrument, rows) in enumerate(zip(plan.instruments, rows_of, strict=True)):
        sessions = history.raw[instrument.id]["session"]
        own = history.actions.filter(pl.col("instrument") == instrument.id)
        for action in own.sort("ex_date", "kind", descending=[False, True]).iter_rows(named=True):  # splits first
            at = int(sessions.search_sorted(action["ex_date"], "left"))
            if at in (0, len(sessions)):  # nothing was held before the first bar; after the last nothing happens
                continue
            if action["kind"] == "split":
                splits[rows[at], column] *= action["value"]
                dividends[rows[at], column] /= action["value"]
            else:
                dividends[rows[at], column] += action["value"]
    return splits, dividends
