"""Receiving: what a source delivers becomes a receipt and raw rows, once.

A delivery is told from another by what was asked for and what came. The same again is not
recorded again, unless another delivery for the same instrument came in between. Raw rows are
written before their receipt: rows without a receipt count for nothing, and the next delivery
takes their number, so a kill in between loses and doubles nothing.
"""

from collections.abc import Iterable, Sequence
from datetime import UTC, date, datetime, time, timedelta
from hashlib import sha256
from typing import NamedTuple

import polars as pl

from quality import tables
from quality.datasets import Dataset
from resources.lake import Condition, Lake
from resources.sources.protocol import Delivery, Source


class Received(NamedTuple):
    """What one asking brought."""

    rows: int
    new_rows: int
    receipts: pl.DataFrame  # the new ones


def receive(lake: Lake, dataset: Dataset, source: Source, *, first: date, last: date, at: datetime) -> Received:
    """Ask the source for every instrument's sessions from `first` to `last` and keep what is new."""
    known = lake.read("receipts", dataset=dataset.name).sort("sequence")
    sequence = int(known["sequence"].max() or 0)  # type: ignore[arg-type]
    receipts, rows, seen = [], [], 0
    for instrument in dataset.instruments:
        delivery = source.fetch(instrument, first=first, last=last)
        seen += delivery.rows.height
        receipt = _receipt(dataset, delivery, first=first, last=last, at=at)
        if _is_held(known, receipt, first, last):
            continue
        sequence += 1
        receipts.append({**receipt, "sequence": sequence})
        rows.append(
            delivery.rows.with_columns(
                dataset=pl.lit(dataset.name),
                instrument=pl.lit(instrument.id),
                sequence=pl.lit(sequence, dtype=pl.Int64),
            )
        )
    new = tables.frame("receipts", receipts)
    if rows:
        window: dict[str, Condition] = {"dataset": dataset.name, "sequence": new["sequence"].to_list()}
        arrived = pl.concat(rows).select(*tables.table("raw_bars").columns)
        lake.replace("raw_bars", arrived, **window)
        lake.append("receipts", new)
    return Received(seen, int(new["n_rows"].sum()), new)


def raw_rows(lake: Lake, dataset: Dataset, instrument: str, *, first: date, end: date) -> pl.DataFrame:
    """One instrument's received rows of `[first, end)`, with those that have no readable ts.

    `sequence line ts open high low close volume received_at first_session`; only rows that have a receipt.
    """
    receipts = lake.read("receipts", dataset=dataset.name, instrument=instrument)
    receipts = receipts.filter(pl.col("last_session") >= first, pl.col("first_session") < end)
    rows = lake.scan("raw_bars", dataset=dataset.name, instrument=instrument).filter(
        pl.col("ts").is_null()
        | ((pl.col("ts") >= _midnight(first)) & (pl.col("ts") < _midnight(end + timedelta(days=1))))
    )
    return (
        rows.collect()
        .join(receipts.select("sequence", "received_at", "first_session", "last_session"), on="sequence", how="inner")
        .drop("dataset", "instrument")
    )


def asked_until(receipts: pl.DataFrame, instruments: Iterable[str], sessions: Sequence[date]) -> date | None:
    """The last of `sessions`, in order, up to which every instrument was asked for all; None before the first."""
    asked = [
        receipts.filter(pl.col("instrument") == instrument).select("first_session", "last_session").rows()
        for instrument in instruments
    ]
    until = None
    for session in sessions:
        if not all(any(first <= session <= last for first, last in spans) for spans in asked):
            break
        until = session
    return until


def _receipt(dataset: Dataset, delivery: Delivery, *, first: date, last: date, at: datetime) -> dict[str, object]:
    rows = delivery.rows
    content = sha256(f"{delivery.instrument} {first} {last}\n".encode())
    content.update(rows.write_ipc(None, compression="uncompressed").getvalue())
    return {
        "dataset": dataset.name,
        "instrument": delivery.instrument,
        "content": f"sha256:{content.hexdigest()}",
        "first_session": first,
        "last_session": last,
        "first": rows["ts"].min(),
        "last": rows["ts"].max(),
        "n_rows": rows.height,
        "received_at": at,
        "source": dataset.source.kind,
        "origin": delivery.origin,
    }


def _is_held(known: pl.DataFrame, receipt: dict[str, object], first: date, last: date) -> bool:
    of_instrument = known.filter(pl.col("instrument") == receipt["instrument"])
    overlapping = of_instrument.filter(pl.col("last_session") >= first, pl.col("first_session") <= last)
    return not overlapping.is_empty() and overlapping["content"][-1] == receipt["content"]


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time(), tzinfo=UTC)
