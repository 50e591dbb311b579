"""What a source changed of the past since a day, read from `restatements`.

A restated bar is said by the receipt that changed, superseded or withdrew it; a day is compared
with when that receipt came.
"""

from datetime import UTC, date, datetime, time

import polars as pl

from engine.bars import COLUMNS
from resources.lake import Between, Lake

KINDS = ("changed", "withdrawn", "superseded")


def restated_bars(lake: Lake, dataset: str, *, since: date, instrument: str | None = None) -> pl.DataFrame:
    """The rows of `restatements` that receipts since the day `since` made, in the order of bars."""
    of = {"dataset": dataset, **({"instrument": instrument} if instrument else {})}
    came = Between(datetime.combine(since, time(), UTC), datetime.max.replace(tzinfo=UTC))
    return lake.read("restatements", **of, received_at=came).sort("instrument", "ts", "sequence", "kind", "line")


def by_session(bars: pl.DataFrame) -> pl.DataFrame:
    """`instrument session changed withdrawn superseded largest`, a row per session with restated bars.

    `largest` is the greatest change of a price or volume relative to what it was; null where all were withdrawn, and
    infinite where something became of nothing.
    """
    changes = [((pl.col(f"new_{column}") - pl.col(column)) / pl.col(column)).abs().fill_nan(None) for column in COLUMNS]
    return (
        bars.with_columns(largest=pl.max_horizontal(changes))
        .group_by("instrument", "session")
        .agg(*((pl.col("kind") == kind).sum().alias(kind) for kind in KINDS), pl.col("largest").max())
        .sort("instrument", "session")
    )
