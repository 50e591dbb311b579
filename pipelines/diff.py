"""What a source changed of the past since a day, read from `restatements`.

A restated bar is said by the receipt that changed, superseded or withdrew it; a day is compared
with when that receipt came.
"""

from datetime import UTC, date, datetime, time

import polars as pl

from engine.bars import PRICES
from resources.lake import Between, Lake

KINDS = ("changed", "withdrawn", "superseded")


def restated_bars(lake: Lake, dataset: str, *, since: date, instrument: str | None = None) -> pl.DataFrame:
    """The rows of `restatements` that receipts since the day `since` made, in the order of bars."""
    of = {"dataset": dataset, **({"instrument": instrument} if instrument else {})}
    came = Between(datetime.combine(since, time(), UTC), datetime.max.replace(tzinfo=UTC))
    return lake.read("restatements", **of, received_at=came).sort("instrument", "ts", "sequence", "kind", "line")


def by_session(bars: pl.DataFrame) -> pl.DataFrame:
    """`instrument session changed withdrawn superseded largest volumes`, a row per session with restated bars.

    `largest` is the greatest change of a price relative to what it was, null where all were withdrawn; `volumes` counts
    bars with another volume. That of a bar in which little traded may change by any factor, so it is no measure.
    """
    changes = [((pl.col(f"new_{price}") - pl.col(price)) / pl.col(price)).abs().fill_nan(None) for price in PRICES]
    other_volume = (pl.col("kind") != "withdrawn") & pl.col("new_volume").ne_missing(pl.col("volume"))
    return (
        bars.with_columns(largest=pl.max_horizontal(changes))
        .group_by("instrument", "session")
        .agg(
            *((pl.col("kind") == kind).sum().alias(kind) for kind in KINDS),
            pl.col("largest").max(),
            volumes=other_volume.sum(),
        )
        .sort("instrument", "session")
    )
