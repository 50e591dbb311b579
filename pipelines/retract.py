"""A retraction: receipts taken back, as if they had never come.

1. The receipts are looked up; one that is not there, or was taken back before, refuses all of them.
2. What their rows had a part in is forgotten, so that it is due. Of a data set made of files some sessions may be due no
   more, as nothing else reaches that far: what was made of those is removed.
3. They are written to `retractions`. Whatever they spoke for is due from then on.

A kill before the third leaves everything due that was forgotten, and the next night makes it again as it was.
"""

from collections.abc import Sequence
from datetime import date, timedelta
from typing import NamedTuple

import polars as pl

from assets.market_data import BESIDE_BARS
from assets.partitions import partition_of
from pipelines.run_night import require_known
from pipelines.workplace import Workplace
from quality import tables
from quality.datasets import Dataset
from resources import lock, retractions
from resources.clock import now
from resources.errors import NoReasonError
from resources.lake import Between, Lake
from resources.market import calendar_of, sessions_until

_MADE = ("bars", *BESIDE_BARS, "resampled_bars", "features", "universe")
_NAME_THEIR_ROW = ("bars", "quarantine", "restatements")  # tables with the sequence a row is of


class Retracted(NamedTuple):
    """What a retraction took back."""

    receipts: pl.DataFrame
    n_statements: int  # of corporate actions


def retract(workplace: Workplace, name: str, sequences: Sequence[int], *, why: str) -> Retracted:
    """Let the receipts of a data set with these numbers count for nothing from now on.

    Raises:
        UnknownDatasetError: the project has no data set `name`.
        NoReasonError: `why` says nothing.
        UnknownReceiptError: the data set has not all of these receipts.
        RetractedBeforeError: one of them was retracted before.
        HomeBusyError: another process is writing the home folder.
    """
    require_known(workplace, [name])
    if not why.strip():
        raise NoReasonError
    dataset, lake = workplace.project.datasets[name], workplace.lake
    with lock.held(workplace.settings.lock, purpose="gauntlet retract", wait=False):
        taken_back = retractions.named(lake, name, sequences)
        wanted, n_before = taken_back["sequence"].to_list(), _n_statements(lake, name)
        _forget(lake, dataset, bars=_sessions_with_rows(lake, name, wanted))
        _remove(lake, dataset, _no_longer_due(workplace, dataset, without=wanted))
        retractions.keep(lake, name, wanted, why=why.strip(), at=now())
    return Retracted(taken_back, n_before - _n_statements(lake, name))


def _n_statements(lake: Lake, name: str) -> int:
    return retractions.standing_statements(lake, name)["sequence"].n_unique()


def _sessions_with_rows(lake: Lake, name: str, sequences: list[int]) -> list[date]:
    """Where rows of these receipts are told of: a stray one may lie in a session that its receipt does not speak for."""
    told = [lake.read(table, dataset=name, sequence=sequences).select("session") for table in _NAME_THEIR_ROW]
    return pl.concat(told)["session"].unique().sort().to_list()


def _no_longer_due(workplace: Workplace, dataset: Dataset, *, without: list[int]) -> list[date]:
    """The sessions of a data set made of files that only these receipts reach."""
    if not dataset.takes_files:
        return []
    calendar, source, at = calendar_of(workplace.project, dataset), workplace.sources.open(dataset), now()
    held = retractions.standing_receipts(workplace.lake, dataset.name)
    left = held.filter(~pl.col("sequence").is_in(without))
    before, after = (sessions_until(dataset, calendar, source, receipts, at=at) for receipts in (held, left))
    return before[len(after) :]


def _remove(lake: Lake, dataset: Dataset, sessions: Sequence[date]) -> None:
    if not sessions:
        return
    _forget(lake, dataset, bars=sessions, features=sessions)
    lake.replace("work_record", tables.empty("work_record"), step=f"universe:{dataset.name}")
    for table in _MADE:
        window = Between(sessions[0], sessions[-1] + timedelta(days=1))
        lake.replace(table, tables.empty(table), dataset=dataset.name, session=window)


def _forget(lake: Lake, dataset: Dataset, **steps: Sequence[date]) -> None:
    """Let what each of `steps` made of these sessions be due."""
    for step, sessions in steps.items():
        keys = sorted({partition_of(dataset, session) for session in sessions})
        if keys:
            lake.replace("work_record", tables.empty("work_record"), step=f"{step}:{dataset.name}", partition=keys)
