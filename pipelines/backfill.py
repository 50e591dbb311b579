"""A backfill: a range of sessions of one data set, asked for again, judged again, derived again.

1. The range is held against the sessions that the data set has, and widened to whole partitions.
2. One run of `market_<dataset>` over all of them. Sessions that were never asked for come first, so
   that the same backfill after an interruption goes on where it ended; where some of the range was
   asked for before, a second run then asks for all of it.
3. Told: rows, sessions whose digest is another one than before, and what is due because of it.

With `derive`, the source is left in peace: what is held is judged and derived again.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from typing import NamedTuple

import polars as pl

from assets.partitions import Span, partition_of, span
from pipelines import jobs, night
from pipelines.run_night import Failure, Say, require_known, working
from pipelines.workplace import Workplace
from quality.datasets import Dataset
from quality.hashes import document_hash
from resources.clock import now
from resources.errors import NobodyToAskError, OutsideDatasetError
from resources.intake import asked_until
from resources.market import calendar_of
from resources.retractions import standing_receipts

DERIVED = ("bars", "resampled_bars", "features")


class Backfilled(NamedTuple):
    """What a backfill did."""

    dataset: str
    days: Span  # whole partitions
    sessions: int
    rows: int
    new_rows: int
    restated: Mapping[str, Sequence[date]]  # sessions whose bars changed, by instrument
    due: Sequence[night.Work]
    run_ids: Sequence[str]
    failed: Sequence[Failure]
    seconds: float


def backfill(
    workplace: Workplace, name: str, *, first: date, last: date, derive: bool, wait: bool, say: Say
) -> Backfilled:
    """Ask for the sessions of a data set from `first` to `last` again, and make all that follows from them.

    Raises:
        UnknownDatasetError: the project has no data set `name`.
        NobodyToAskError: it comes as files, and not only what is held is to be judged again.
        OutsideDatasetError: it has not all of these days, or no session on any of them.
        HomeBusyError: another process is writing the home folder, and nobody wants to `wait`.
        BrokenLedgerError: the ledger does not hold what was published.
        ConfigurationError: a registered strategy version has changed.
    """
    started = time.monotonic()
    require_known(workplace, [name])
    dataset = workplace.project.datasets[name]
    if dataset.takes_files and not derive:
        raise NobodyToAskError(name)
    with working(workplace, purpose=f"gauntlet backfill {name}", wait=wait, say=say) as runs:
        newest = _newest(workplace, dataset, asked=(first, last))
        keys = _partitions(workplace, dataset, first, last, newest=newest)
        days = span(dataset, keys, as_of=newest)
        before = _digests(workplace, dataset, days)
        for work in _pieces(workplace, dataset, keys, days, newest=newest, derive=derive):
            runs.execute(work)
        restated = _restated(before, _digests(workplace, dataset, days))
        due = night.due(workplace, {name: newest})
    return Backfilled(
        dataset=name,
        days=days,
        sessions=len(calendar_of(workplace.project, dataset).sessions(*days)),
        rows=runs.rows.get(name, 0),
        new_rows=runs.new_rows.get(name, 0),
        restated=restated,
        due=due,
        run_ids=runs.run_ids,
        failed=runs.failed,
        seconds=time.monotonic() - started,
    )


def _newest(workplace: Workplace, dataset: Dataset, *, asked: tuple[date, date]) -> date:
    alone = workplace._replace(project=workplace.project._replace(datasets={dataset.name: dataset}))
    newest = night.as_of_now(alone, at=now()).get(dataset.name)
    if newest is None:
        raise OutsideDatasetError(dataset.name, asked=asked, span=None)
    if not dataset.start <= asked[0] <= asked[1] <= newest:
        raise OutsideDatasetError(dataset.name, asked=asked, span=(dataset.start, newest))
    return newest


def _partitions(workplace: Workplace, dataset: Dataset, first: date, last: date, *, newest: date) -> list[str]:
    sessions = calendar_of(workplace.project, dataset).sessions(first, last)
    if not sessions:
        raise OutsideDatasetError(dataset.name, asked=(first, last), span=(dataset.start, newest))
    return list(dict.fromkeys(partition_of(dataset, session) for session in sessions))


def _pieces(
    workplace: Workplace, dataset: Dataset, keys: Sequence[str], days: Span, *, newest: date, derive: bool
) -> Iterator[night.Work]:
    inputs = document_hash(["backfill", *keys, str(newest)])
    job = jobs.market_job(dataset.name)
    if derive:
        yield night.Work(job, tuple(keys), inputs, newest, only=DERIVED)
        return
    asks = night.Work(job, tuple(keys), inputs, newest)
    sessions = calendar_of(workplace.project, dataset).sessions(*days)
    receipts = standing_receipts(workplace.lake, dataset.name, source=dataset.source.kind)
    reached = set(asked_until(receipts, [one.id for one in dataset.instruments], sessions).values())
    yield asks
    if len(reached) > 1 or not reached & {None, sessions[-1]}:  # that run asked for what had never been asked for
        yield asks


def _digests(workplace: Workplace, dataset: Dataset, days: Span) -> pl.DataFrame:
    held = workplace.lake.read("digests", dataset=dataset.name, session=days.between)
    return held.select("instrument", "session", "digest")


def _restated(before: pl.DataFrame, after: pl.DataFrame) -> dict[str, list[date]]:
    """Sessions that were held before and are held otherwise now, or no more."""
    both = before.join(after, on=["instrument", "session"], how="left", suffix="_after")
    changed = both.filter(pl.col("digest_after").is_null() | (pl.col("digest") != pl.col("digest_after")))
    by_instrument = changed.sort("session").group_by("instrument").agg("session").sort("instrument")
    return dict(by_instrument.rows())
