"""Partition keys, and the sessions and strategies they stand for.

Market data is partitioned by session label: by day for intraday data sets, by month for daily
bars. Keys become sessions through the data set's calendar, never through Dagster's time window.
Research is partitioned by `strategy@version`, walk-forward by strategy version and window ordinal.
"""

from collections.abc import Iterable, Mapping
from datetime import date, timedelta
from typing import NamedTuple

import dagster as dg

from engine.bars import timeframe_us
from quality.datasets import Dataset
from resources.lake import Between

AS_OF_TAG = "gauntlet/as_of"
STRATEGIES = dg.DynamicPartitionsDefinition(name="strategies")
WINDOWS = dg.DynamicPartitionsDefinition(name="windows")
STRATEGY_WINDOWS = dg.MultiPartitionsDefinition({"strategy": STRATEGIES, "window": WINDOWS})
_MONTH = "%Y-%m"
_DAY = "%Y-%m-%d"


class Span(NamedTuple):
    """Days from `first` to `last`, both included; empty when `last` is before `first`."""

    first: date
    last: date

    @property
    def between(self) -> Between:
        """As a condition on sessions."""
        return Between(self.first, self.last + timedelta(days=1))


def market_partitions(dataset: Dataset) -> dg.TimeWindowPartitionsDefinition:
    if is_daily(dataset):
        start = dataset.start.replace(day=1).strftime(_MONTH)
        if dataset.end is None:
            return dg.MonthlyPartitionsDefinition(start, fmt=_MONTH, end_offset=1)
        return dg.MonthlyPartitionsDefinition(start, end_date=_next_month(dataset.end).strftime(_MONTH), fmt=_MONTH)
    start = dataset.start.strftime(_DAY)
    if dataset.end is None:
        return dg.DailyPartitionsDefinition(start)
    return dg.DailyPartitionsDefinition(start, end_date=(dataset.end + timedelta(days=1)).strftime(_DAY))


def is_daily(dataset: Dataset) -> bool:
    return timeframe_us(dataset.timeframe) >= timeframe_us("1d")


def partition_of(dataset: Dataset, session: date) -> str:
    return session.strftime(key_format(dataset))


def key_format(dataset: Dataset) -> str:
    return _MONTH if is_daily(dataset) else _DAY


def span(dataset: Dataset, keys: Iterable[str], *, as_of: date) -> Span:
    """The days that a contiguous range of keys stands for, within the data set and not after `as_of`."""
    ordered = sorted(keys)
    if is_daily(dataset):
        first = date.fromisoformat(f"{ordered[0]}-01")
        last = _next_month(date.fromisoformat(f"{ordered[-1]}-01")) - timedelta(days=1)
    else:
        first, last = date.fromisoformat(ordered[0]), date.fromisoformat(ordered[-1])
    return Span(max(first, dataset.start), min(last, as_of, dataset.end or last))


def as_of(tags: Mapping[str, str], default: date) -> date:
    """The session a run was told to look no further than; `default` when nobody said."""
    return min(date.fromisoformat(tags[AS_OF_TAG]), default) if AS_OF_TAG in tags else default


def _next_month(day: date) -> date:
    return (day.replace(day=1) + timedelta(days=32)).replace(day=1)
