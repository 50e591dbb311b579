"""Calendars: which sessions and bars should exist.

A calendar is a table of its sessions, one row each: label, open, a break in the middle where the
venue takes one, close, all in UTC. `24/7` is made here (a session is a UTC day), and so is `FX`
(Monday to Friday, each from 17:00 in New York of the day before to 17:00); every other name is an
`exchange_calendars` code, whose schedule is taken over once and kept. Early closes, holidays and
daylight saving are in that table, so everything else is arithmetic on it:

1. Dated corrections are applied: they close a session, or cut it short at either end or in the middle.
2. A session is cut into its unbroken stretches, one or two.
3. Intraday bars start at a stretch's start (or at the clock's mark before it, where a source lays
   its bars on the clock) and follow each other until it ends; the last one is known when the
   stretch ends, though its length may reach beyond.
4. A daily bar is labelled with its session's date at 00:00Z and known at the session's close.
"""

import warnings
from collections.abc import Callable, Iterable
from datetime import UTC, date, datetime, timedelta
from difflib import get_close_matches
from functools import lru_cache
from typing import Any, Literal

import polars as pl

from engine.bars import timeframe_us
from quality.policies import Correction
from resources.errors import (
    CalendarSpanError,
    NotASessionError,
    UncountableTimeframeError,
    UnknownCalendarError,
    UnusableCalendarError,
)

ROUND_THE_CLOCK = "24/7"
CURRENCIES = "FX"
Anchor = Literal["session", "clock"]
_FIRST = date(1970, 1, 1)
_LAST = date(2099, 12, 31)  # of 24/7 and FX; an exchange is known to the library for about a year ahead
_NEW_YORK = "America/New_York"
_UTC_US = pl.Datetime("us", "UTC")
_DAY_US = timeframe_us("1d")


class Calendar:
    """The sessions of one venue. All spans of sessions are inclusive at both ends."""

    def __init__(self, name: str, schedule: pl.DataFrame, *, first: date, last: date, zone: str = "UTC") -> None:
        self.name = name
        self.first = first  # nothing is known before it
        self.last = last  # nor after it
        self.zone = zone  # of the venue's clock
        self._schedule = schedule
        self._due: tuple[object, pl.DataFrame] | None = None  # of the last asking: all instruments are asked the same

    def sessions(self, first: date, last: date) -> list[date]:
        return self._between(first, last)["session"].to_list()

    def due(self, first: date, last: date, timeframe: str, *, anchor: Anchor = "session") -> pl.DataFrame:
        """Every bar that should exist: `session ts known_at`, sorted by ts.

        `anchor` says where bars shorter than a day start: with their session, or on the clock's (UTC) multiples of the
        timeframe, the first one then covering what the session has of it.
        """
        asked = (first, last, timeframe, anchor)
        known = self._due
        if known is None or known[0] != asked:
            known = self._due = asked, self._bars_due(first, last, timeframe, anchor)
        return known[1]

    def _bars_due(self, first: date, last: date, timeframe: str, anchor: Anchor) -> pl.DataFrame:
        length_us = timeframe_us(timeframe)
        if length_us > _DAY_US:
            raise UncountableTimeframeError(timeframe)
        sessions = self._between(first, last)
        if length_us == _DAY_US:
            return sessions.select(
                "session", pl.col("session").cast(_UTC_US).alias("ts"), pl.col("close").alias("known_at")
            )
        return _intraday(_stretches(sessions), timedelta(microseconds=length_us), anchor)

    def closes(self, first: date, last: date) -> pl.DataFrame:
        """`session open close`, sorted, with one more session beyond each end where one is known.

        A stamp at which no bar is due belongs to the first of these sessions that closes after it.
        """
        self._require_known(first)
        self._require_known(last)
        sessions = self._schedule["session"]
        begin = max(sessions.search_sorted(first) - 1, 0)
        end = sessions.search_sorted(last, side="right") + 1
        return self._schedule[begin:end].select("session", "open", "close")

    def corrected(self, corrections: Iterable[Correction]) -> "Calendar":
        """The same calendar where the venue is known to have kept other hours."""
        schedule = self._schedule
        for correction in corrections:
            schedule = _corrected(schedule, correction, self.zone)
        return Calendar(self.name, schedule, first=self.first, last=self.last, zone=self.zone)

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
    """`24/7`, `FX`, or an `exchange_calendars` code such as XNYS."""
    if name == ROUND_THE_CLOCK:
        return Calendar(name, _every_day(), first=_FIRST, last=_LAST)
    if name == CURRENCIES:
        return Calendar(name, _currency_days(), first=_FIRST, last=_LAST, zone=_NEW_YORK)
    exchange = _exchange(name)
    schedule = _schedule_of(exchange)
    return Calendar(name, schedule, first=_earliest(exchange), last=schedule["session"][-1], zone=str(exchange.tz))


def _every_day() -> pl.DataFrame:
    opens = pl.col("session").cast(_UTC_US)
    return _unbroken(_days(), opens, opens.dt.offset_by("1d"))


def _currency_days() -> pl.DataFrame:
    five = pl.col("session").cast(pl.Datetime("us")).dt.offset_by("17h")
    opens, closes = (
        moment.dt.replace_time_zone(_NEW_YORK).cast(_UTC_US) for moment in (five.dt.offset_by("-1d"), five)
    )
    return _unbroken(_days().filter(pl.col("session").dt.weekday() <= 5), opens, closes)


def _days() -> pl.DataFrame:
    return pl.DataFrame({"session": pl.date_range(_FIRST, _LAST, eager=True)})


def _unbroken(days: pl.DataFrame, opens: pl.Expr, closes: pl.Expr) -> pl.DataFrame:
    never = pl.lit(None, _UTC_US)
    return days.with_columns(open=opens, break_start=never, break_end=never, close=closes)


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


def _corrected(schedule: pl.DataFrame, correction: Correction, zone: str) -> pl.DataFrame:
    """A session is only ever cut: hours that a correction names outside of it change nothing."""
    meant = pl.col("session").is_between(correction.first, correction.last)
    if correction.closed:
        return schedule.filter(~meant)

    def moved(column: str, clock: str | None) -> pl.Expr:
        return pl.when(meant).then(_within(clock, zone)).fill_null(pl.col(column)) if clock else pl.col(column)

    pause, resume = correction.break_ or (None, None)
    cut = schedule.with_columns(
        open=moved("open", correction.opens),
        break_start=moved("break_start", pause),
        break_end=moved("break_end", resume),
        close=moved("close", correction.closes),
    )
    inside = (pl.col("break_start") > pl.col("open")) & (pl.col("break_end") < pl.col("close"))
    return cut.with_columns(pl.when(inside).then(pl.col("break_start", "break_end")))


def _within(clock: str, zone: str) -> pl.Expr:
    """The moment at which the venue's clock shows this within a session, which may have opened the evening before."""
    hours, minutes = clock.split(":")
    there = pl.col("session").cast(pl.Datetime("us")) + pl.duration(hours=int(hours), minutes=int(minutes))
    candidates = [
        moment.dt.replace_time_zone(zone, ambiguous="earliest", non_existent="null").cast(_UTC_US)
        for moment in (there, there - pl.duration(days=1))
    ]
    inside = [(pl.col("open") < moment) & (moment < pl.col("close")) for moment in candidates]
    return pl.coalesce(*(pl.when(one).then(moment) for one, moment in zip(inside, candidates, strict=True)))


def _stretches(sessions: pl.DataFrame) -> pl.DataFrame:
    before = sessions.select("session", start="open", end=pl.coalesce("break_start", "close"))
    after = sessions.drop_nulls("break_start").select("session", start="break_end", end="close")
    return pl.concat([before, after]).sort("start")


def _intraday(stretches: pl.DataFrame, length: timedelta, anchor: Anchor) -> pl.DataFrame:
    begin = pl.col("start") if anchor == "session" else pl.col("start").dt.truncate(length)
    due = (
        stretches.with_columns(ts=pl.datetime_ranges(begin, "end", interval=length, closed="left"))
        .explode("ts", empty_as_null=False)
        .select("session", "ts", pl.min_horizontal(pl.col("ts") + length, "end").alias("known_at"))
    )
    return due if anchor == "session" else due.unique("ts", keep="first", maintain_order=True)  # one spans a break
