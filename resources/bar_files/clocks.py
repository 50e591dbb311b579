"""Whether the stamps of a file fit the sessions of a calendar: its clock, before its bars are believed.

Stamps in another zone's time, or that name the closes of bars, break no rule of any row. A dozen weeks of
each series are looked at, so a file of any length and a stray stamp of any year cost the same.
"""

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta

import polars as pl

from engine.bars import timeframe_us
from quality.formats import Format
from quality.survey import distinct, fitting
from quality.suspicions import Suspicion, of_clock, sampled_weeks
from resources.bar_files.reading import BarFile
from resources.calendars import Anchor, Calendar

_WEEK = timedelta(days=7)
_SUNDAY = datetime(1970, 1, 4, tzinfo=UTC)  # from which `sampled_weeks` counts


def doubts(file: BarFile, calendar: Calendar) -> list[Suspicion]:
    """What looks wrong with the clock of a file's bars: `zone` or `label`, each once; never of daily bars."""
    if timeframe_us(file.timeframe) >= timeframe_us("1d"):
        return []
    found: dict[str, Suspicion] = {}
    for series in file.series:
        for one in _of_series(series.rows, calendar, file.timeframe):
            found.setdefault(one.name, one)
    return list(found.values())


def unsaid(layout: Format, *, timezone: str | None, label: str | None) -> frozenset[str]:
    """Of `zone` and `label`, what neither the layout states nor a person has said."""
    stated = layout.times.model_fields_set
    zone = timezone is None and not stated & {"zone", "misread_as"}
    return frozenset(
        name for name, open_ in (("zone", zone), ("label", label is None and "label" not in stated)) if open_
    )


def _of_series(rows: pl.DataFrame, calendar: Calendar, timeframe: str) -> list[Suspicion]:
    weeks = sampled_weeks(distinct(rows))
    week = (pl.col("ts") - _SUNDAY).dt.total_seconds() // int(_WEEK.total_seconds())
    seen = rows.select("ts").filter(week.is_in(weeks))
    around = sorted({near for one in weeks for near in (one - 1, one, one + 1)})
    spans = list(_spans(around, calendar))
    if not spans:
        return []

    def due(anchor: Anchor) -> pl.DataFrame:
        return pl.concat([calendar.due(first, last, timeframe, anchor=anchor) for first, last in spans])

    return of_clock(distinct(seen), fitting(seen, due("session"), due("clock")))


def _spans(weeks: list[int], calendar: Calendar) -> Iterator[tuple[date, date]]:
    for week in weeks:
        first = _SUNDAY.date() + week * _WEEK
        last = first + _WEEK - timedelta(days=1)
        if calendar.first <= first and last <= calendar.last:
            yield first, last
