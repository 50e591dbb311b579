"""Calendars: which sessions and bars should exist.

A calendar is a table of its sessions, one row each: label, open, a break in the middle where the
venue takes one, close, all in UTC. `24/7` is made here (a session is a UTC day); every other name
is an `exchange_calendars` code, whose schedule is taken over once and kept. Early closes, holidays
and daylight saving are in that table, so everything else is arithmetic on it:

1. A session is cut into its unbroken stretches, one or two.
2. Intraday bars start at a stretch's start and follow each other until it ends; the last one is
   known when the stretch ends, though its length may reach beyond.
3. A daily bar is labelled with its session's date at 00:00Z and known at the session's close.
"""

import warnings
from collections.abc import Callable, Iterable
from datetime import UTC, date, datetime, timedelta
from difflib import get_close_matches
from functools import lru_cache
from typing import Any

import polars as pl

from engine.bars import timeframe_us
from resources.errors import (
    CalendarSpanError,
    NotASessionError,
    UncountableTimeframeError,
    UnknownCalendarError,
    UnusableCalendarError,
)

ROUND_THE_CLOCK = "24/7"
_FIRST = date(1990, 1, 1)
_LAST = date(2099, 12, 31)  # of 24/7; an exchange is known to the library for about a year ahead
_UTC_US = pl.Datetime("us", "UTC")
_DAY_US = timeframe_us("1d")


class Calendar:
    """The sessions of one venue. All spans of sessions are inclusive at both ends."""

    def __init__(self, name: str, schedule: pl.DataFrame, *, first: date, last: date) -> None:
        self.name = name
        self.first = first  # nothing is known before it
        self.last = last  # nor after it
        self._schedule = schedule

    def sessions(self, first: date, last: date) -> list[date]:
        return self._between(first, last)["session"].to_list()

    def due(self, first: date, last: date, timeframe: str) -> pl.DataFrame:
        """Every bar that should exist: `session ts known_at`, sorted by ts."""
        length_us = timeframe_us(timeframe)
        if length_us > _DAY_US:
            raise UncountableTimeframeError(timeframe)
        sessions = self._between(first, last)
        if length_us == _DAY_US:
            return sessions.select(
                "session", pl.col("session").cast(_UTC_US).alias("ts"), pl.col("close").alias("known_at")
            )
        return _intraday(_stretches(sessions), timedelta(microseconds=length_us))

    def without(self, closed: Iterable[date]) -> "Calendar":
        """The same calendar, corrected: the venue was closed on these sessions."""
        days = list(closed)
        schedule = self._schedule.filter(~pl.col("session").is_in(days)) if days else self._schedule
        return Calendar(self.name, schedule, first=self.first, last=self.last)

    def session_close(self, session: date) -> datetime:
        closes = self._between(session, session)["close"]
        if closes.is_empty():
            raise NotASessionError(self.name, session)
        close: datetime = closes.item()
        return close

    def last_closed(self, now: datetime) -> date:
        """The newest session whose close is not after `now`."""
        self._require_known(now.astimezone(UTC).date())
        closed = self._schedule["session"].filter(self._schedule["close"] <= now)
        if closed.is_empty():
            raise CalendarSpanError(self.name, now.date(), first=self.first, last=self.last)
        session: date = closed[-1]
        return session

    def _between(self, first: date, last: date) -> pl.DataFrame:
        self._require_known(first)
        self._require_known(last)
        return self._schedule.filter(pl.col("session").is_between(first, last))

    def _require_known(self, day: date) -> None:
        if not self.first <= day <= self.last:
            raise CalendarSpanError(self.name, day, first=self.first, last=self.last)


@lru_cache
def open_calendar(name: str) -> Calendar:
    """`24/7`, or an `exchange_calendars` code such as XNYS."""
    if name == ROUND_THE_CLOCK:
        return Calendar(name, _every_day(), first=_FIRST, last=_LAST)
    exchange = _exchange(name)
    schedule = _schedule_of(exchange)
    return Calendar(name, schedule, first=_earliest(exchange), last=schedule["session"][-1])


def _every_day() -> pl.DataFrame:
    days = pl.DataFrame({"session": pl.date_range(_FIRST, _LAST, eager=True)})
    opens = pl.col("session").cast(_UTC_US)
    never = pl.lit(None, _UTC_US)
    return days.with_columns(open=opens, break_start=never, break_end=never, close=opens.dt.offset_by("1d"))


def _exchange(name: str) -> Any:  # the library is not typed
    import exchange_calendars as library  # type: ignore[import-untyped]  # takes 2 s

    known = library.get_calendar_names()
    if name not in known:
        raise UnknownCalendarError(name, get_close_matches(name.upper(), known))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the library (4.13) uses what pandas 3 deprecates
        try:
            return _reaching_back(library.get_calendar, name)
        except (ValueError, NotImplementedError) as error:
            raise UnusableCalendarError(name, str(error)) from error


def _reaching_back(get_calendar: Callable[..., Any], name: str) -> Any:
    try:
        return get_calendar(name, start=_FIRST)
    except ValueError:  # some are recorded from later on, and only one that was built tells from when
        return get_calendar(name, start=_earliest(get_calendar(name)))


def _earliest(exchange: Any) -> date:
    bound = exchange.bound_min()
    return _FIRST if bound is None else max(_FIRST, bound.date())


def _schedule_of(exchange: Any) -> pl.DataFrame:
    moments = ("open", "break_start", "break_end", "close")
    return pl.from_pandas(exchange.schedule.reset_index(names="session")).select(
        pl.col("session").cast(pl.Date), pl.col(moments).cast(_UTC_US)
    )


def _stretches(sessions: pl.DataFrame) -> pl.DataFrame:
    before = sessions.select("session", start="open", end=pl.coalesce("break_start", "close"))
    after = sessions.drop_nulls("break_start").select("session", start="break_end", end="close")
    return pl.concat([before, after]).sort("start")


def _intraday(stretches: pl.DataFrame, length: timedelta) -> pl.DataFrame:
    return (
        stretches.with_columns(ts=pl.datetime_ranges("start", "end", interval=length, closed="left"))
        .explode("ts", empty_as_null=False)
        .select("session", "ts", pl.min_horizontal(pl.col("ts") + length, "end").alias("known_at"))
    )
