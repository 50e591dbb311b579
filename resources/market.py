"""What research reads: bars, corporate actions and SLA verdicts of a data set, up to a session.

Whoever reads bars for a decision reads `sla_record` with them. Reading is per instrument; prices
come raw for the simulator and forward-adjusted for the strategy.
"""

from collections.abc import Mapping, Sequence
from datetime import date, datetime

import polars as pl

from engine.bars import COLUMNS, forward_adjusted, timeframe_us
from engine.history import History
from quality import sla
from quality.datasets import Dataset, Instrument
from resources.calendars import Calendar, open_calendar
from resources.lake import Lake
from resources.project import Project
from resources.sources.protocol import Source


def calendar_of(project: Project, dataset: Dataset) -> Calendar:
    """The data set's calendar with the project's dated corrections."""
    return open_calendar(dataset.calendar).without(closed_sessions(project, dataset))


def closed_sessions(project: Project, dataset: Dataset) -> list[date]:
    """Sessions the calendar has and the venue had not, as `policies/calendars.yaml` says."""
    return [correction.session for correction in project.corrections.get(dataset.calendar, ())]


def sessions_until(dataset: Dataset, calendar: Calendar, source: Source, *, at: datetime) -> list[date]:
    """The sessions that should be there at the instant `at`: closed by then, and within what data set and source span."""
    ends = [calendar.last_closed(at), dataset.end, source.last_session()]
    last = min(end for end in ends if end is not None)
    return calendar.sessions(dataset.start, last) if last >= dataset.start else []


def due_bars(dataset: Dataset, calendar: Calendar, instrument: Instrument, *, first: date, last: date) -> pl.DataFrame:
    """`session ts known_at` of every bar one instrument should have, within its listing."""
    listed, delisted = max(first, instrument.listed or first), min(last, instrument.delisted or last)
    due = calendar.due(first, last, dataset.timeframe)
    return due.filter(pl.col("session").is_between(listed, delisted))


def history(
    lake: Lake, dataset: Dataset, calendar: Calendar, *, instruments: Sequence[str], timeframe: str, last: date
) -> History:
    """Everything a strategy on `timeframe` may be tested on, from the data set's start to the session `last`."""
    actions = lake.read("corporate_actions", dataset=dataset.name).drop("dataset")
    record = lake.scan("sla_record", dataset=dataset.name).filter(pl.col("session") <= last).collect()
    timeframes = [name for name in dataset.timeframes if timeframe_us(name) >= timeframe_us(timeframe)]
    features = tuple(dataset.features) if timeframe == dataset.timeframe else ()
    raw: dict[str, pl.DataFrame] = {}
    frames: dict[str, dict[str, pl.DataFrame]] = {}
    for instrument in instruments:
        bars = {
            name: raw_bars(lake, dataset, calendar, instrument=instrument, timeframe=name, last=last)
            for name in timeframes
        }
        raw[instrument] = bars[timeframe]
        frames[instrument] = bar_frames(bars, actions.filter(pl.col("instrument") == instrument))
        if features:
            values = lake.read("features", dataset=dataset.name, instrument=instrument).select("ts", *features)
            frames[instrument][timeframe] = frames[instrument][timeframe].join(
                values, on="ts", how="left", maintain_order="left"
            )
    sessions = calendar.sessions(dataset.start, last)
    return History(sessions, raw, frames, actions, sla.embargo(record), features)


def bar_frames(bars: Mapping[str, pl.DataFrame], actions: pl.DataFrame) -> dict[str, pl.DataFrame]:
    """One instrument's bars as strategies and features see them, by timeframe: carried forward over `actions`."""
    return {name: forward_adjusted(raw, actions).drop("session") for name, raw in bars.items()}


def raw_bars(
    lake: Lake, dataset: Dataset, calendar: Calendar, *, instrument: str, timeframe: str, last: date
) -> pl.DataFrame:
    """One instrument's raw bars up to `last`: `session ts known_at open high low close volume`, sorted."""
    wanted = ("session", "ts", "known_at", *COLUMNS)
    if timeframe != dataset.timeframe:
        rows = lake.scan("resampled_bars", dataset=dataset.name, instrument=instrument, timeframe=timeframe)
        return rows.filter(pl.col("session") <= last).select(wanted).sort("ts").collect()
    rows = lake.scan("bars", dataset=dataset.name, instrument=instrument).filter(pl.col("session") <= last)
    due = calendar.due(dataset.start, last, timeframe).select("ts", "known_at")
    return rows.collect().join(due, on="ts", how="inner").select(wanted).sort("ts")
