"""Receipts that were taken back, and what stands without them.

Receipts, raw rows and statements are never deleted. A row of `retractions` says that a receipt counts for nothing from
then on: neither its rows, nor the sessions it speaks for, nor what its file stated of corporate actions. Whoever judges,
asks again or recognises what came before reads `standing_receipts` and `standing_statements` in place of the tables.

A statement is that of the newest receipt of the same file name, instrument and sessions that came no later than it did:
a file's bars are kept before what it states.
"""

from collections.abc import Sequence
from datetime import datetime

import polars as pl

from quality import tables
from resources.errors import RetractedBeforeError, UnknownReceiptError
from resources.lake import Condition, Lake

SHOWN_NEAREST = 5
_FILE = ["instrument", "source", "origin", "first", "last"]


def standing_receipts(lake: Lake, dataset: str, **where: Condition) -> pl.DataFrame:
    """The receipts of a data set that count, of those that meet every condition."""
    receipts = lake.read("receipts", dataset=dataset, **where)
    return receipts.join(retracted(lake, dataset), on="sequence", how="anti", maintain_order="left")


def standing_statements(lake: Lake, dataset: str) -> pl.DataFrame:
    """The rows of `raw_actions` of a data set that count."""
    stated, taken_back = lake.read("raw_actions", dataset=dataset), retracted(lake, dataset)
    if taken_back.is_empty():
        return stated
    receipts = lake.read("receipts", dataset=dataset).select(
        "received_at", "instrument", "source", "origin", first="first_session", last="last_session", receipt="sequence"
    )
    of_files = stated.drop_nulls(["first", "last"]).select("received_at", *_FILE, "sequence").unique()
    fallen = (
        of_files.sort("received_at")
        .join_asof(receipts.sort("received_at", "receipt"), on="received_at", by=_FILE, check_sortedness=False)
        .join(taken_back, left_on="receipt", right_on="sequence", how="semi")
    )
    return stated.join(fallen, on="sequence", how="anti", maintain_order="left")


def retracted(lake: Lake, dataset: str) -> pl.DataFrame:
    """`sequence` of the receipts of a data set that count for nothing."""
    return lake.read("retractions", dataset=dataset).select("sequence")


def named(lake: Lake, dataset: str, sequences: Sequence[int]) -> pl.DataFrame:
    """The receipts with these numbers, in order.

    Raises:
        UnknownReceiptError: the data set has not all of them.
        RetractedBeforeError: one of them was retracted before.
    """
    receipts = lake.read("receipts", dataset=dataset).sort("sequence")
    for sequence in sequences:
        if sequence not in receipts["sequence"]:
            raise UnknownReceiptError(dataset, sequence, _nearest(receipts, sequence))
    before = lake.read("retractions", dataset=dataset, sequence=list(sequences)).sort("sequence")
    if not before.is_empty():
        _, sequence, at, why = before.row(0)
        raise RetractedBeforeError(dataset, sequence, at=at, why=why)
    return receipts.filter(pl.col("sequence").is_in(list(sequences)))


def keep(lake: Lake, dataset: str, sequences: Sequence[int], *, why: str, at: datetime) -> None:
    """Remember that these receipts count for nothing from now on, in one transaction."""
    rows = [{"dataset": dataset, "sequence": one, "retracted_at": at, "why": why} for one in sequences]
    lake.append("retractions", tables.frame("retractions", rows))


def _nearest(receipts: pl.DataFrame, sequence: int) -> list[str]:
    """Those whose numbers are nearest, described."""
    near = receipts.sort((pl.col("sequence") - sequence).abs()).head(SHOWN_NEAREST).sort("sequence")
    return [
        f"{row['sequence']} ({row['instrument']}, {row['origin']}, {row['first_session']} to {row['last_session']})"
        for row in near.iter_rows(named=True)
    ]
