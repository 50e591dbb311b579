"""Receiving: what a source delivers becomes a receipt and raw rows, once.

1. Every instrument wanted is asked for, in order; an instrument that cannot be delivered is noted and the
   others go on.
2. A delivery is told from another by what it speaks for and what came. The same again is not
   recorded again, unless another delivery of the instrument, of some of its sessions, came in
   between.
3. What is new is kept in batches. Raw rows are written before their receipts: rows without a
   receipt count for nothing, and the next delivery takes their number, so a kill in between loses
   and doubles nothing.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import date, datetime
from hashlib import sha256
from typing import NamedTuple

import numpy as np
import polars as pl

from quality import tables
from quality.datasets import Dataset
from resources.behind import Behind
from resources.errors import NothingDeliveredError, SourceError
from resources.lake import Condition, Lake
from resources.sources.protocol import Delivery, Source

BATCH_ROWS = 500_000  # kept together in one transaction; what an interrupted night may have to ask for again


class Received(NamedTuple):
    """What one asking brought."""

    rows: int
    new_rows: int
    receipts: pl.DataFrame  # the new ones
    failed: dict[str, str]  # why, by instrument that could not be delivered


class _Held(NamedTuple):
    """What is known of a receipt when another delivery comes."""

    first: date
    last: date
    content: str


def receive(
    lake: Lake, dataset: Dataset, source: Source, *, firsts: Mapping[str, date], last: date, at: datetime
) -> Received:
    """Ask the source for each instrument's sessions from its day in `firsts` to `last` and keep what is new.

    Raises NothingDeliveredError when no instrument could be delivered.
    """
    failed: dict[str, str] = {}

    def asked() -> Iterator[Delivery]:
        for instrument in dataset.instruments:
            if instrument.id in firsts:
                try:
                    yield from source.deliveries(instrument, first=firsts[instrument.id], last=last)
                except SourceError as error:
                    failed[instrument.id] = str(error)

    kept = keep(lake, dataset, asked(), at=at)
    if failed and len(failed) == len(firsts):
        raise NothingDeliveredError(dataset.name, failed)
    source.settle()
    return kept._replace(failed=failed)


def keep(
    lake: Lake, dataset: Dataset, deliveries: Iterable[Delivery], *, at: datetime, source: str | None = None
) -> Received:
    """Make receipts and raw rows of what is new in `deliveries`; what came before one of them raises is kept.

    `source` is the kind that delivered, where it is another than the data set's own.
    """
    with Behind(lake) as behind:
        keeper = _Keeper(lake, behind, dataset, at, source or dataset.source.kind)
        try:
            for delivery in deliveries:
                keeper.take(delivery)
        finally:
            keeper.write()
    return Received(keeper.seen, int(keeper.receipts["n_rows"].sum()), keeper.receipts, {})


class _Keeper:
    """Deliveries on their way into the lake."""

    def __init__(self, lake: Lake, behind: Behind, dataset: Dataset, at: datetime, source: str) -> None:
        self.seen = 0
        self.receipts = tables.empty("receipts")
        self._behind, self._dataset, self._at, self._source = behind, dataset, at, source
        self._rows: list[pl.DataFrame] = []
        self._waiting: list[dict[str, object]] = []
        self._held: dict[str, list[_Held]] = defaultdict(list)
        known = lake.read("receipts", dataset=dataset.name).sort("sequence")
        self._sequence = int(known["sequence"].max() or 0)  # type: ignore[arg-type]
        for instrument, *held in known.select("instrument", "first_session", "last_session", "content").rows():
            self._held[instrument].append(_Held(*held))

    def take(self, delivery: Delivery) -> None:
        self.seen += delivery.rows.height
        content = _content(delivery)
        held = self._held[delivery.instrument]
        overlapping = [one for one in held if one.last >= delivery.first and one.first <= delivery.last]
        if overlapping and overlapping[-1].content == content:
            return
        held.append(_Held(delivery.first, delivery.last, content))
        self._sequence += 1
        self._waiting.append(self._receipt(delivery, content))
        self._rows.append(
            delivery.rows.select(
                pl.lit(self._dataset.name).alias("dataset"),
                pl.lit(delivery.instrument).alias("instrument"),
                pl.lit(self._sequence, dtype=pl.Int64).alias("sequence"),
                pl.all(),
            )
        )
        if sum(rows.height for rows in self._rows) >= BATCH_ROWS:
            self.write()

    def write(self) -> None:
        if not self._waiting:
            return
        new = tables.frame("receipts", self._waiting)
        window: dict[str, Condition] = {"dataset": self._dataset.name, "sequence": new["sequence"].to_list()}
        self._behind.replace("raw_bars", pl.concat(self._rows), **window)
        self._behind.append("receipts", new)
        self.receipts = pl.concat([self.receipts, new])
        self._rows, self._waiting = [], []

    def _receipt(self, delivery: Delivery, content: str) -> dict[str, object]:
        return {
            "dataset": self._dataset.name,
            "sequence": self._sequence,
            "instrument": delivery.instrument,
            "content": content,
            "first_session": delivery.first,
            "last_session": delivery.last,
            "first": delivery.rows["ts"].min(),
            "last": delivery.rows["ts"].max(),
            "n_rows": delivery.rows.height,
            "received_at": self._at,
            "source": self._source,
            "origin": delivery.origin,
        }


def asked_until(receipts: pl.DataFrame, instruments: Iterable[str], sessions: Sequence[date]) -> dict[str, date | None]:
    """By instrument, the last of `sessions`, in order, up to which it was asked for all; None before the first."""
    spans: dict[str, list[tuple[date, date]]] = {instrument: [] for instrument in instruments}
    for instrument, first, last in receipts.select("instrument", "first_session", "last_session").rows():
        if instrument in spans:
            spans[instrument].append((first, last))
    return {instrument: _reached(asked, sessions) for instrument, asked in spans.items()}


def _reached(spans: list[tuple[date, date]], sessions: Sequence[date]) -> date | None:
    """The last session without a gap before it: walked over spans by their starts, once."""
    reached, ordered, at = None, sorted(spans), 0
    covered = date.min
    for session in sessions:
        while at < len(ordered) and ordered[at][0] <= session:
            covered = max(covered, ordered[at][1])
            at += 1
        if covered < session:
            break
        reached = session
    return reached


def _content(delivery: Delivery) -> str:
    """A hash of what a delivery speaks for and of every value in it; -0.0 and 0.0 differ, as they came."""
    digest = sha256(f"{delivery.instrument} {delivery.first} {delivery.last} {delivery.rows.height}\n".encode())
    for column in delivery.rows.get_columns():
        digest.update(np.packbits(column.is_null().to_numpy()).tobytes())
        digest.update(column.to_physical().fill_null(0).to_numpy().tobytes())
    return f"sha256:{digest.hexdigest()}"
