"""Receiving: what a source delivers becomes a receipt and raw rows, once.

1. Every instrument wanted is asked for, in order, and after it the sessions of it that are asked for
   again, one by one; an instrument that cannot be delivered is noted and the others go on.
2. A delivery is told from another by what it speaks for and what came. The same again is not
   recorded again, unless another delivery of the instrument, of some of its sessions, came in
   between. Of a session that is asked for again, what came last may have come with other sessions:
   then its own rows are compared. What was retracted is as if it had not come.
3. What is new is kept in batches. Raw rows are written before their receipts: rows without a
   receipt count for nothing, and the next delivery takes their number, so a kill in between loses
   and doubles nothing.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import date, datetime, timedelta
from hashlib import sha256
from typing import NamedTuple

import numpy as np
import polars as pl

from engine.bars import COLUMNS
from quality import tables
from quality.bars import moments
from quality.datasets import Dataset
from resources.behind import Behind
from resources.calendars import Calendar
from resources.errors import NothingDeliveredError, SourceError
from resources.lake import Between, Condition, Lake
from resources.retractions import standing_receipts
from resources.sources.protocol import Delivery, Source

BATCH_ROWS = 500_000  # kept together in one transaction; what an interrupted night may have to ask for again


class Received(NamedTuple):
    """What one asking brought."""

    rows: int
    new_rows: int
    receipts: pl.DataFrame  # the new ones
    failed: dict[str, str]  # why, by instrument that could not be delivered


class Again(NamedTuple):
    """A session that is asked for again, and the moments that belong to it: from `begin` up to `end`, without it."""

    session: date
    begin: datetime
    end: datetime


NOTHING_AGAIN: Mapping[str, Sequence[Again]] = {}


class _Held(NamedTuple):
    """What is known of a receipt when another delivery comes."""

    sequence: int
    first: date
    last: date
    content: str


def receive(
    lake: Lake,
    dataset: Dataset,
    source: Source,
    *,
    firsts: Mapping[str, date],
    last: date,
    at: datetime,
    again: Mapping[str, Sequence[Again]] = NOTHING_AGAIN,
) -> Received:
    """Ask the source for each instrument's sessions from its day in `firsts` to `last` and keep what is new.

    The sessions in `again` are asked for one at a time, where the instrument's own could be delivered: one that fails
    is noted like another failure of the instrument, and loses nothing.

    Raises NothingDeliveredError when no instrument could be delivered.
    """
    silent: dict[str, str] = {}
    silent_again: dict[str, str] = {}

    def asked() -> Iterator[Delivery]:
        new = {instrument: [(first, last)] for instrument, first in firsts.items()}
        yield from _delivered(source, dataset, new, silent)
        answered = {
            instrument: [(one.session, one.session) for one in sessions]
            for instrument, sessions in again.items()
            if instrument not in silent
        }
        yield from _delivered(source, dataset, answered, silent_again)

    kept = keep(lake, dataset, asked(), at=at, again=again)
    if silent and len(silent) == len(firsts):
        raise NothingDeliveredError(dataset.name, silent)
    source.settle()
    return kept._replace(failed=silent | silent_again)


def _delivered(
    source: Source, dataset: Dataset, spans: Mapping[str, Sequence[tuple[date, date]]], failed: dict[str, str]
) -> Iterator[Delivery]:
    """What comes of each instrument's spans; why one could not be delivered is noted in `failed`."""
    for instrument in dataset.instruments:
        try:
            for first, last in spans.get(instrument.id, ()):
                yield from source.deliveries(instrument, first=first, last=last)
        except SourceError as error:
            failed[instrument.id] = str(error)


def keep(
    lake: Lake,
    dataset: Dataset,
    deliveries: Iterable[Delivery],
    *,
    at: datetime,
    source: str | None = None,
    again: Mapping[str, Sequence[Again]] = NOTHING_AGAIN,
) -> Received:
    """Make receipts and raw rows of what is new in `deliveries`; what came before one of them raises is kept.

    `source` is the kind that delivered, where it is another than the data set's own; `again` as for `receive`.
    """
    with Behind(lake) as behind:
        keeper = _Keeper(lake, behind, dataset, at, source=source or dataset.source.kind, again=again)
        try:
            for delivery in deliveries:
                keeper.take(delivery)
        finally:
            keeper.write()
    return Received(keeper.seen, int(keeper.receipts["n_rows"].sum()), keeper.receipts, {})


class _Keeper:
    """Deliveries on their way into the lake."""

    def __init__(
        self,
        lake: Lake,
        behind: Behind,
        dataset: Dataset,
        at: datetime,
        *,
        source: str,
        again: Mapping[str, Sequence[Again]],
    ) -> None:
        self.seen = 0
        self.receipts = tables.empty("receipts")
        self._lake, self._behind, self._dataset, self._at, self._source = lake, behind, dataset, at, source
        self._again = {(name, one.session): one for name, sessions in again.items() for one in sessions}
        self._rows: list[pl.DataFrame] = []
        self._waiting: list[dict[str, object]] = []
        self._held: dict[str, list[_Held]] = defaultdict(list)
        numbered = lake.scan("receipts", dataset=dataset.name).select(pl.col("sequence").max()).collect().item()
        self._sequence = int(numbered or 0)
        known = standing_receipts(lake, dataset.name).sort("sequence")
        held_as = ("instrument", "sequence", "first_session", "last_session", "content")
        for instrument, *held in known.select(held_as).rows():
            self._held[instrument].append(_Held(*held))

    def take(self, delivery: Delivery) -> None:
        self.seen += delivery.rows.height
        content = _content(delivery)
        held = self._held[delivery.instrument]
        overlapping = [one for one in held if one.last >= delivery.first and one.first <= delivery.last]
        if overlapping and (overlapping[-1].content == content or self._is_part(delivery, overlapping[-1])):
            return
        self._sequence += 1
        held.append(_Held(self._sequence, delivery.first, delivery.last, content))
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

    def _is_part(self, delivery: Delivery, held: _Held) -> bool:
        """Did a receipt of other sessions too bring the same of a session that is asked for again?"""
        one = self._again.get((delivery.instrument, delivery.first))
        if one is None or delivery.first != delivery.last or held.first == held.last:
            return False
        of_session: dict[str, Condition] = {"sequence": held.sequence, "ts": Between(one.begin, one.end)}
        rows = self._lake.read("raw_bars", dataset=self._dataset.name, instrument=delivery.instrument, **of_session)
        return rows.sort("line").select("ts", *COLUMNS).equals(delivery.rows.select("ts", *COLUMNS))

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


def overlap(
    calendar: Calendar,
    receipts: pl.DataFrame,
    firsts: Mapping[str, date],
    *,
    start: date,
    n_sessions: int,
) -> dict[str, list[Again]]:
    """By instrument, the sessions right before its day in `firsts` that were asked for before, at most `n_sessions`."""
    again: dict[str, list[Again]] = {}
    for first in set(firsts.values()):
        sessions = calendar.sessions(start, first - timedelta(days=1))[-n_sessions:] if n_sessions else []
        if sessions:
            near = moments(calendar.closes(sessions[0], sessions[-1]))
            windows = [Again(*row) for row in near.filter(pl.col("session").is_in(sessions)).rows()]
            asked = asked_sessions(receipts, sessions)
            for instrument in (name for name, day in firsts.items() if day == first):
                again[instrument] = [one for one in windows if one.session in asked.get(instrument, ())]
    return again


def asked_sessions(receipts: pl.DataFrame, sessions: Sequence[date]) -> dict[str, set[date]]:
    """By instrument, those of `sessions`, in order, that it was asked for."""
    near = receipts.filter(pl.col("last_session") >= sessions[0], pl.col("first_session") <= sessions[-1])
    asked: dict[str, set[date]] = defaultdict(set)
    for instrument, first, last in near.select("instrument", "first_session", "last_session").rows():
        asked[instrument].update(session for session in sessions if first <= session <= last)
    return asked


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
