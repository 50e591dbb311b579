"""The records of a simulation as frames for people: ids, times and names instead of numbers.

Ids are sequential (`f-000001`, `t-000001`, `o-000001`), so the same inputs give the same bytes. `ts` is the open of the
bar in which something happened; what happened inside the bar has no finer time.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl
from numpy.typing import NDArray

from engine.simulator import REASONS, REJECTIONS, Instrument, Market, Simulation


def fills_frame(simulation: Simulation, market: Market, instruments: Sequence[Instrument]) -> pl.DataFrame:
    """One row per fill: `id order trade bar ts instrument side quantity price reference fee spread why liquidity
    ambiguous`; `order` is null for the cash paid for fractions of a lot after a split."""
    return _frame(simulation.fills).select(
        _id("f", "id"),
        _id("o", "order"),
        _id("t", "trade"),
        "bar",
        _time(market, "bar").alias("ts"),
        _instrument(instruments),
        _named("side", {1: "buy", -1: "sell"}),
        *("quantity", "price", "reference", "fee", "spread"),
        _named("why", dict(enumerate(REASONS))),
        pl.when("maker").then(pl.lit("maker")).otherwise(pl.lit("taker")).alias("liquidity"),
        "ambiguous",
    )


def trades_frame(simulation: Simulation, market: Market, instruments: Sequence[Instrument]) -> pl.DataFrame:
    """One row per closed trade: `id instrument side entry_bar exit_bar entry_ts exit_ts quantity entry_price exit_price
    pnl edge fees spread borrow dividends r exit_reason ambiguous`; `r` is null where there was no first risk."""
    return _frame(simulation.trades).select(
        _id("t", "id"),
        _instrument(instruments),
        _named("side", {1: "long", -1: "short"}),
        *("entry_bar", "exit_bar"),
        _time(market, "entry_bar").alias("entry_ts"),
        _time(market, "exit_bar").alias("exit_ts"),
        *("quantity", "entry_price", "exit_price", "pnl", "edge", "fees", "spread", "borrow", "dividends"),
        pl.col("r").fill_nan(None),
        _named("exit_reason", dict(enumerate(REASONS))),
        "ambiguous",
    )


def rejections_frame(simulation: Simulation, market: Market, instruments: Sequence[Instrument]) -> pl.DataFrame:
    """One row per order refused or withdrawn: `order bar ts instrument side quantity reason`; `quantity` is null where
    it had not been sized, `side` where both sides were asked for."""
    return _frame(simulation.rejections).select(
        _id("o", "order"),
        "bar",
        _time(market, "bar").alias("ts"),
        _instrument(instruments),
        _named("side", {1: "buy", -1: "sell", 0: None}),
        pl.col("quantity").fill_nan(None),
        _named("reason", dict(enumerate(REJECTIONS))),
    )


def _frame(records: NDArray[Any]) -> pl.DataFrame:
    return pl.DataFrame({name: records[name] for name in records.dtype.names or ()})


def _id(prefix: str, column: str) -> pl.Expr:
    numbered = pl.lit(f"{prefix}-") + pl.col(column).cast(pl.String).str.zfill(6)
    return pl.when(pl.col(column) > 0).then(numbered).alias(column)


def _time(market: Market, bar: str) -> pl.Expr:
    times = pl.Series(market.ts).cast(pl.Datetime("us", "UTC"))
    return pl.lit(times).gather(pl.col(bar))


def _instrument(instruments: Sequence[Instrument]) -> pl.Expr:
    return _named("instrument", dict(enumerate(instrument.id for instrument in instruments)))


def _named(column: str, names: Mapping[int, str | None]) -> pl.Expr:
    return pl.col(column).replace_strict(names, return_dtype=pl.String)
