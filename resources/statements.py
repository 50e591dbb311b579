"""Keeping what sources state of corporate actions: every statement once, as received, in the order they came.

A statement speaks for the days from `first` to `last`, or for all time where they are None: a factor
file says everything there is to say of an instrument, a bar file only what happened in its span. The
same again is not kept again, unless its source has said something else of those days in between, or
it came with bars that were not held: a receipt that stands stands with what its file stated.
"""

from collections.abc import Iterable
from datetime import date, datetime
from typing import NamedTuple

import polars as pl

from quality import tables
from quality.actions import ACTION
from resources.lake import Lake
from resources.retractions import standing_statements

NO_RECEIPTS = tables.empty("receipts")


class Statement(NamedTuple):
    """What one source says of one instrument."""

    instrument: str  # its id
    actions: pl.DataFrame  # ex_date kind value; empty where it states that there are none
    source: str  # the kind of source; a newer statement of the same kind restates this one
    origin: str  # the file or address, the same on every machine, without secrets
    first: date | None = None
    last: date | None = None


def keep(
    lake: Lake,
    dataset: str,
    statements: Iterable[Statement],
    *,
    at: datetime,
    receipts: pl.DataFrame = NO_RECEIPTS,
) -> int:
    """Append those that say something new, or came with one of the new `receipts`, in one transaction; how many did."""
    numbered = lake.scan("raw_actions", dataset=dataset).select(pl.col("sequence").max()).collect().item()
    known, newest = standing_statements(lake, dataset), int(numbered or 0)
    new: list[pl.DataFrame] = []
    with_bars = set(receipts.select("instrument", "origin", "first_session", "last_session").rows())
    for statement in statements:
        of_file = (statement.instrument, statement.origin, statement.first, statement.last)
        if of_file not in with_bars and _is_held(known, statement):
            continue
        sequence = newest + len(new) + 1
        new.append(_rows(dataset, statement, sequence=sequence, at=at))
        known = pl.concat([known, new[-1]])
    if new:
        lake.append("raw_actions", pl.concat(new))
    return len(new)


def _rows(dataset: str, statement: Statement, *, sequence: int, at: datetime) -> pl.DataFrame:
    """A row for each action, or one without any."""
    stated = statement.actions.select(ACTION.names()).match_to_schema(ACTION)
    if stated.is_empty():
        stated = ACTION.to_frame().clear(1)
    return stated.with_row_index("line").select(
        dataset=pl.lit(dataset),
        sequence=pl.lit(sequence, pl.Int64),
        line=pl.col("line").cast(pl.Int64),
        instrument=pl.lit(statement.instrument),
        first=pl.lit(statement.first, pl.Date),
        last=pl.lit(statement.last, pl.Date),
        ex_date="ex_date",
        kind="kind",
        value="value",
        received_at=pl.lit(at).cast(tables.TS),
        source=pl.lit(statement.source),
        origin=pl.lit(statement.origin),
    )


def _is_held(known: pl.DataFrame, statement: Statement) -> bool:
    """Did the newest statement of this source about these days say the same, in whatever order?"""
    of_source = known.filter(pl.col("instrument") == statement.instrument, pl.col("source") == statement.source)
    begin, end = statement.first or date.min, statement.last or date.max
    overlapping = of_source.filter(
        pl.col("first").fill_null(date.min) <= end, pl.col("last").fill_null(date.max) >= begin
    )
    newest = overlapping.filter(pl.col("sequence") == pl.col("sequence").max())
    if newest.is_empty() or (newest["first"][0], newest["last"][0]) != (statement.first, statement.last):
        return False
    held = newest.filter(pl.any_horizontal(pl.col(column).is_not_null() for column in ACTION))
    return (
        held.select(ACTION.names())
        .sort(ACTION.names())
        .equals(statement.actions.select(ACTION.names()).sort(ACTION.names()))
    )
