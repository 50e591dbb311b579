"""One strategy over history: bars to decisions to a simulation, and the returns that are judged.

1. `grid` lays the instruments' raw bars side by side on the union of their bars;
2. `decisions` asks the strategy, instrument by instrument, on adjusted columns, and lays its
   answers, the stop distances and the embargo on the same grid;
3. `run` simulates a half-open range of that grid, starting flat with the plan's cash;
4. `session_returns` reads the equity curve at session closes: the one series that every gated
   metric is computed on.

Decisions are computed on all of the history handed in, so bars before a range are warm-up only.
"""

from collections.abc import Sequence
from datetime import date
from typing import NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from engine import simulator
from engine.exits import stop_distances
from engine.history import History
from engine.strategy import Strategy, decide

Floats = NDArray[np.float64]
_SIGNALS = {"enter": "enter_long", "exit": "exit_long", "enter_short": "enter_short", "exit_short": "exit_short"}


class Stop(NamedTuple):
    """A protective stop: a share of the price, or a multiple of Wilder's ATR."""

    pct: float | None = None
    atr: float | None = None
    length: int | None = None


class Plan(NamedTuple):
    """Everything a run needs beside the signal and the data."""

    timeframe: str
    instruments: tuple[simulator.Instrument, ...]
    rules: simulator.Rules
    stop: Stop | None


class Grid(NamedTuple):
    """Raw bars of all instruments on one clock, and each bar's session."""

    bars: simulator.Market
    sessions: pl.Series  # Date, one per bar

    def rows(self, first: date, last: date) -> tuple[int, int]:
        """The half-open range of bars in the sessions from `first` to `last`, both included."""
        return int(self.sessions.search_sorted(first, "left")), int(self.sessions.search_sorted(last, "right"))


def grid(history: History, plan: Plan) -> Grid:
    """Lay the raw bars of the plan's instruments side by side; NaN where one has no bar."""
    clock = (
        pl.concat([history.raw[instrument.id].select("session", "ts", "known_at") for instrument in plan.instruments])
        .unique("ts")
        .sort("ts")
    )
    columns = {name: _laid_out(history, plan, clock, name) for name in ("open", "high", "low", "close")}
    splits, dividends = _actions(history, plan, clock, columns["close"])
    return Grid(
        simulator.Market(
            ts=clock["ts"].dt.timestamp("us").to_numpy(),
            known_at=clock["known_at"].dt.timestamp("us").to_numpy(),
            opens=columns["open"],
            highs=columns["high"],
            lows=columns["low"],
            closes=columns["close"],
            splits=splits,
            dividends=dividends,
        ),
        clock["session"],
    )


def decisions(strategy: Strategy, history: History, plan: Plan, on: Grid) -> simulator.Decisions:
    """What the strategy decides on each bar's close, on the grid; False where an instrument has no bar."""
    clock = pl.DataFrame({"ts": on.bars.ts}).with_columns(
        pl.col("ts").cast(pl.Datetime("us", "UTC")), session=on.sessions
    )
    shape = on.bars.closes.shape
    signals = {name: np.zeros(shape, dtype=np.bool_) for name in _SIGNALS.values()}
    distances, embargoed = np.full(shape, np.nan), np.zeros(shape, dtype=np.bool_)
    for column, instrument in enumerate(plan.instruments):
        frames = history.frames[instrument.id]
        decided = decide(strategy, frames, plan.timeframe)
        if plan.stop is not None:
            distance = stop_distances(frames[plan.timeframe], **plan.stop._asdict())
            decided = decided.with_columns(distance=pl.Series(distance, dtype=pl.Float64))
        laid_out = clock.join(decided, on="ts", how="left", maintain_order="left")
        for signal, name in _SIGNALS.items():
            signals[name][:, column] = laid_out[signal].fill_null(value=False).to_numpy()
        if plan.stop is not None:
            distances[:, column] = laid_out["distance"].fill_null(float("nan")).to_numpy()
        embargo = history.embargo.filter(pl.col("instrument") == instrument.id).select("session", "embargoed")
        held_back = clock.join(embargo, on="session", how="left", maintain_order="left")["embargoed"]
        embargoed[:, column] = held_back.fill_null(value=False).to_numpy()
    return simulator.Decisions(**signals, stop_distances=distances, embargoed=embargoed)


def tail(on: Grid, decided: simulator.Decisions, n_bars: int) -> tuple[Grid, simulator.Decisions]:
    """The last `n_bars` bars of a grid and of what was decided on it."""
    bars = simulator.Market(*(values[-n_bars:] for values in on.bars))
    return Grid(bars, on.sessions[-n_bars:]), simulator.Decisions(*(values[-n_bars:] for values in decided))


def run(
    on: Grid,
    decided: simulator.Decisions,
    plan: Plan,
    *,
    rows: tuple[int, int] | None = None,
    close_at_end: bool = False,
) -> simulator.Simulation:
    """Simulate the bars `rows` (half-open; all of them by default), starting flat with the plan's cash."""
    first, end = rows or (0, on.bars.ts.size)
    return simulator.simulate(
        simulator.Market(*(values[first:end] for values in on.bars)),
        simulator.Decisions(*(values[first:end] for values in decided)),
        plan.instruments,
        plan.rules._replace(close_at_end=close_at_end),
    )


def session_returns(
    simulation: simulator.Simulation, sessions: pl.Series, *, of: Sequence[date], cash: float
) -> pl.DataFrame:
    """`session equity return gross_exposure` at the close of every session in `of`.

    Args:
        simulation: of bars whose sessions are `sessions`.
        of: the sessions to report, in order, covering those of the bars. One without a bar keeps the equity before
            it, so its return is zero.
        cash: equity before the first session.
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
        .with_columns((pl.col("equity") / pl.col("equity").shift(1, fill_value=cash) - 1).alias("return"))
        .select("session", "equity", "return", "gross_exposure")
    )


def _laid_out(history: History, plan: Plan, clock: pl.DataFrame, name: str) -> Floats:
    columns = [
        clock.join(history.raw[instrument.id].select("ts", name), on="ts", how="left", maintain_order="left")[name]
        .fill_null(float("nan"))
        .to_numpy()
        for instrument in plan.instruments
    ]
    return np.ascontiguousarray(np.column_stack(columns))


def _actions(history: History, plan: Plan, clock: pl.DataFrame, closes: Floats) -> tuple[Floats, Floats]:
    """Splits and dividends on the instrument's first bar at or after each ex-date."""
    splits, dividends = np.ones(closes.shape), np.zeros(closes.shape)
    for column, instrument in enumerate(plan.instruments):
        present = np.flatnonzero(np.isfinite(closes[:, column]))
        own_sessions = clock["session"].gather(present)
        for action in history.actions.filter(pl.col("instrument") == instrument.id).iter_rows(named=True):
            at = int(own_sessions.search_sorted(action["ex_date"], "left"))
            if at in (0, present.size):  # nothing was held before the first bar; after the last nothing happens
                continue
            if action["kind"] == "split":
                splits[present[at], column] *= action["value"]
            else:
                dividends[present[at], column] += action["value"]
    return splits, dividends
