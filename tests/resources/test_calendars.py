"""Calendars: dates and hours typed by hand from outside, and laws that hold for every span."""

from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from engine.errors import UnknownTimeframeError
from quality.configuration import parse
from quality.errors import ConfigurationError
from quality.policies import Correction
from resources.calendars import Calendar, open_calendar
from resources.errors import (
    CalendarSpanError,
    NotASessionError,
    UncountableTimeframeError,
    UnknownCalendarError,
    UnusableCalendarError,
)
from resources.project import load

NEW_YORK = ZoneInfo("America/New_York")
HONG_KONG = "Asia/Hong_Kong"
CHECKOUT = Path(__file__).parents[2]
NAMES = ("24/7", "XNYS", "XHKG", "FX")


def _at(day: date, hour: int, minute: int = 0) -> datetime:
    return datetime(day.year, day.month, day.day, hour, minute, tzinfo=NEW_YORK).astimezone(UTC)


def _clock_hours(name: str, day: date, timeframe: str) -> list[str]:
    zone = {"XNYS": "America/New_York", "XHKG": "Asia/Hong_Kong"}[name]
    due = open_calendar(name).due(day, day, timeframe)
    return due["ts"].dt.convert_time_zone(zone).dt.strftime("%H:%M").to_list()


def test_a_day_round_the_clock_has_288_five_minute_bars() -> None:
    day = date(2017, 7, 1)
    due = open_calendar("24/7").due(day, day, "5m")
    assert due.height == 288
    assert due.row(0) == (day, datetime(2017, 7, 1, tzinfo=UTC), datetime(2017, 7, 1, 0, 5, tzinfo=UTC))
    assert due.row(-1) == (day, datetime(2017, 7, 1, 23, 55, tzinfo=UTC), datetime(2017, 7, 2, tzinfo=UTC))


def test_round_the_clock_every_day_is_a_session_that_ends_at_midnight() -> None:
    calendar = open_calendar("24/7")
    assert len(calendar.sessions(date(2016, 1, 1), date(2016, 12, 31))) == 366
    assert calendar.session_close(date(2016, 2, 28)) == datetime(2016, 2, 29, tzinfo=UTC)


def test_new_york_has_78_five_minute_bars_from_half_past_nine_to_four() -> None:
    day = date(2020, 11, 25)
    due = open_calendar("XNYS").due(day, day, "5m")
    assert due.height == 78
    assert due["ts"][0] == _at(day, 9, 30)
    assert due["ts"][-1] == _at(day, 15, 55)
    assert due["known_at"][-1] == _at(day, 16)


def test_new_york_closes_at_one_on_the_day_after_thanksgiving() -> None:
    day = date(2020, 11, 27)
    calendar = open_calendar("XNYS")
    due = calendar.due(day, day, "5m")
    assert due.height == 42
    assert due["known_at"][-1] == _at(day, 13)
    assert calendar.session_close(day) == _at(day, 13)


def test_new_york_was_closed_for_four_days_in_september_2001() -> None:
    sessions = open_calendar("XNYS").sessions(date(2001, 9, 10), date(2001, 9, 17))
    assert sessions == [date(2001, 9, 10), date(2001, 9, 17)]


@pytest.mark.parametrize(
    ("day", "opens_at_utc"),
    [
        pytest.param(date(2020, 3, 6), "14:30", id="the Friday before the clocks go forward"),
        pytest.param(date(2020, 3, 9), "13:30", id="the Monday after"),
        pytest.param(date(2020, 10, 30), "13:30", id="the Friday before the clocks go back"),
        pytest.param(date(2020, 11, 2), "14:30", id="the Monday after that"),
    ],
)
def test_the_session_follows_new_yorks_clock_through_daylight_saving(day: date, opens_at_utc: str) -> None:
    due = open_calendar("XNYS").due(day, day, "5m")
    assert due["ts"][0].strftime("%H:%M") == opens_at_utc
    assert due.height == 78


def test_a_daily_bar_is_labelled_with_its_session_and_known_at_its_close() -> None:
    due = open_calendar("XNYS").due(date(2020, 11, 26), date(2020, 11, 30), "1d")  # a Thursday holiday to a Monday
    assert due.rows() == [
        (date(2020, 11, 27), datetime(2020, 11, 27, tzinfo=UTC), _at(date(2020, 11, 27), 13)),
        (date(2020, 11, 30), datetime(2020, 11, 30, tzinfo=UTC), _at(date(2020, 11, 30), 16)),
    ]


def test_no_bar_is_due_in_hong_kongs_lunch_break() -> None:
    day = date(2020, 1, 2)
    assert _clock_hours("XHKG", day, "30m") == [
        *("09:30", "10:00", "10:30", "11:00", "11:30"),
        *("13:00", "13:30", "14:00", "14:30", "15:00", "15:30"),
    ]


def test_hong_kong_goes_home_at_lunch_on_the_eve_of_the_new_year() -> None:
    assert _clock_hours("XHKG", date(2020, 1, 24), "30m") == ["09:30", "10:00", "10:30", "11:00", "11:30"]


def test_a_last_bar_longer_than_what_is_left_is_known_when_the_session_closes() -> None:
    day = date(2020, 11, 25)
    due = open_calendar("XNYS").due(day, day, "1h")
    assert due.height == 7
    assert due["ts"][-1] == _at(day, 15, 30)
    assert due["known_at"][-1] == _at(day, 16)


def test_a_session_is_closed_from_its_close_on() -> None:
    calendar = open_calendar("XNYS")
    friday, monday = date(2020, 11, 27), date(2020, 11, 30)
    assert calendar.last_closed(_at(friday, 13)) == friday
    assert calendar.last_closed(_at(friday, 13) - timedelta(microseconds=1)) == date(2020, 11, 25)
    assert calendar.last_closed(_at(monday, 15, 59)) == friday


def test_no_session_closed_before_the_first_one_did() -> None:
    with pytest.raises(CalendarSpanError):
        open_calendar("24/7").last_closed(datetime(1970, 1, 1, 12, tzinfo=UTC))


def _corrected(name: str, **says: object) -> Calendar:
    return open_calendar(name).corrected([Correction.model_validate({"why": "it is known", **says})])


def test_a_corrected_calendar_leaves_out_what_the_library_does_not_know_was_closed() -> None:
    # Hong Kong stayed shut for typhoon Saola and for the black rainstorm a week later (../shared/data/README.md).
    hong_kong = open_calendar("XHKG")
    shut = [date(2023, 9, 1), date(2023, 9, 8)]
    corrected = hong_kong.corrected([Correction(session=day, closed=True, why="weather") for day in shut])
    span = date(2023, 8, 31), date(2023, 9, 11)
    assert set(hong_kong.sessions(*span)) - set(corrected.sessions(*span)) == set(shut)
    assert not set(corrected.due(*span, "5m")["session"]) & set(shut)
    assert corrected.last_closed(datetime(2023, 9, 1, 12, tzinfo=UTC)) == date(2023, 8, 31)
    assert_frame_equal(hong_kong.corrected([]).due(*span, "5m"), hong_kong.due(*span, "5m"))


def test_new_york_opened_late_a_year_after_the_attack() -> None:
    # What SPY.parquet of ../shared/data/equity/lean_1h has of that day: the hours from 11:00 on.
    day = date(2002, 9, 11)
    corrected = open_calendar("XNYS").corrected(load(CHECKOUT).corrections["XNYS"])
    assert corrected.due(day, day, "1h", anchor="clock")["ts"].to_list() == [_at(day, hour) for hour in range(11, 16)]
    before, after = day - timedelta(days=1), day + timedelta(days=1)
    assert corrected.due(before, after, "30m").height == 13 + 10 + 13
    assert_frame_equal(corrected.due(day, day, "1d"), open_calendar("XNYS").due(day, day, "1d"))


def test_the_shipped_corrections_are_of_calendars_that_can_be_opened() -> None:
    for name, corrections in load(CHECKOUT).corrections.items():
        library, corrected = open_calendar(name), open_calendar(name).corrected(corrections)
        for one in corrections:
            day = library.sessions(one.first, one.first + timedelta(days=7))[0]
            assert not corrected.due(day, day, "1m").equals(library.due(day, day, "1m")), f"{name} {day} is no other"


@pytest.mark.parametrize(
    ("says", "expected"),
    [
        pytest.param({"session": date(2020, 1, 2), "closes": "15:00"}, ["09:30", "15:00"], id="an early close"),
        pytest.param({"session": date(2020, 1, 2), "opens": "10:30"}, ["10:30", "16:00"], id="a late opening"),
        pytest.param({"session": date(2020, 1, 2), "closes": "12:00"}, ["09:30", "12:00"], id="home at lunch"),
        pytest.param({"from": date(2019, 1, 1), "closes": "15:00"}, ["09:30", "15:00"], id="every session since"),
        pytest.param(
            {"from": date(2019, 1, 1), "to": date(2019, 12, 31), "closes": "15:00"}, ["09:30", "16:00"], id="until then"
        ),
        pytest.param(
            {"session": date(2020, 1, 2), "closes": "18:00"}, ["09:30", "16:00"], id="a session is never longer"
        ),
    ],
)
def test_a_correction_cuts_the_sessions_it_names(says: dict[str, object], expected: list[str]) -> None:
    day = date(2020, 1, 2)
    due = (
        _corrected("XHKG", **says)
        .due(day, day, "30m")
        .with_columns(pl.col("ts", "known_at").dt.convert_time_zone(HONG_KONG))
    )
    assert [due["ts"][0].strftime("%H:%M"), due["known_at"][-1].strftime("%H:%M")] == expected


def test_hours_of_a_night_session_are_those_within_it() -> None:
    # The hour in which Chicago's electronic market rests, and a session that ended early on the day before a holiday.
    chicago = _corrected("CMES", **{"from": date(2015, 9, 21), "closes": "16:00"})
    monday, holiday = date(2020, 1, 6), date(2020, 7, 3)
    due = chicago.due(monday, monday, "1h")
    assert due.height == 23
    assert due["known_at"][-1] == datetime(2020, 1, 6, 22, tzinfo=UTC)
    assert_frame_equal(chicago.due(holiday, holiday, "1h"), open_calendar("CMES").due(holiday, holiday, "1h"))


def test_a_break_can_be_added() -> None:
    day = date(2020, 11, 25)
    halted = _corrected("XNYS", session=day, **{"break": ["11:00", "11:30"]}).due(day, day, "30m")
    assert halted.height == 12
    assert _at(day, 11) not in set(halted["ts"])


@pytest.mark.parametrize(
    ("says", "sentence"),
    [
        pytest.param("closed: true", "session: DATE, or from: DATE", id="no session"),
        pytest.param("session: 2020-01-02", "closed: true, or opens, closes or break", id="nothing said of it"),
        pytest.param(
            "session: 2020-01-02, closed: true, opens: 12:00", "closed: true, or opens", id="closed and opened"
        ),
        pytest.param(
            "session: 2020-01-02, closes: 4 pm", "a time of day such as 16:00", id="another way to write hours"
        ),
        pytest.param("session: 2020-01-02, break: [12:00, 11:00]", "an end after its start", id="a break backwards"),
        pytest.param(
            "session: 2020-01-02, to: 2020-01-03, closed: true", "a date not before from", id="to without from"
        ),
    ],
)
def test_a_correction_that_says_too_little_or_too_much_is_refused(says: str, sentence: str) -> None:
    with pytest.raises(ConfigurationError, match=sentence):
        parse(f"{{{says}, why: it is known}}", Correction, file="calendars.yaml")


def test_currencies_trade_from_sunday_to_friday_five_o_clock_in_new_york() -> None:
    fx = open_calendar("FX")
    assert fx.sessions(date(2017, 3, 10), date(2017, 3, 14)) == [
        date(2017, 3, 10),
        date(2017, 3, 13),
        date(2017, 3, 14),
    ]
    monday = fx.due(date(2017, 3, 13), date(2017, 3, 13), "1h")
    assert monday["ts"][0] == _at(date(2017, 3, 12), 17)  # a Sunday, a day after the clocks went forward
    assert monday["ts"][0].strftime("%H:%M") == "21:00"
    assert monday.height == 24
    assert fx.session_close(date(2017, 3, 10)) == datetime(2017, 3, 10, 22, tzinfo=UTC)


def test_a_month_of_currencies_has_the_minutes_that_were_counted_elsewhere() -> None:
    # GBPUSD_1m_bid_2012-02 in ../shared/data/inventory.json, by a checker that shares no code with ours.
    due = open_calendar("FX").due(date(2012, 1, 31), date(2012, 3, 1), "1m")
    first, last = datetime(2012, 2, 1, tzinfo=UTC), datetime(2012, 3, 1, tzinfo=UTC)
    assert due.filter(pl.col("ts").is_between(first, last)).height == 30_241


def test_bars_on_the_clock_begin_at_full_hours_and_know_the_session_only() -> None:
    day = date(2020, 11, 25)
    due = open_calendar("XNYS").due(day, day, "1h", anchor="clock")
    assert due["ts"].to_list() == [_at(day, hour) for hour in range(9, 16)]
    assert due["known_at"][-1] == _at(day, 16)


def test_what_lies_between_closes_belongs_to_the_next_session() -> None:
    friday, monday = date(2020, 11, 27), date(2020, 11, 30)
    assert open_calendar("XNYS").closes(friday, friday).rows() == [
        (date(2020, 11, 25), _at(date(2020, 11, 25), 9, 30), _at(date(2020, 11, 25), 16)),
        (friday, _at(friday, 9, 30), _at(friday, 13)),
        (monday, _at(monday, 9, 30), _at(monday, 16)),
    ]


def test_closes_end_where_the_calendar_does() -> None:
    calendar = open_calendar("24/7")
    assert calendar.closes(calendar.first, calendar.first)["session"].to_list() == [date(1970, 1, 1), date(1970, 1, 2)]
    assert calendar.closes(calendar.last, calendar.last)["session"].to_list() == [
        date(2099, 12, 30),
        date(2099, 12, 31),
    ]


def test_a_calendar_is_opened_once() -> None:
    assert open_calendar("XNYS") is open_calendar("XNYS")


@pytest.mark.slow
def test_a_venue_recorded_from_later_on_is_opened_from_there() -> None:
    tokyo = open_calendar("XTKS")
    assert tokyo.first == date(1997, 1, 1)
    assert tokyo.sessions(date(1997, 1, 1), date(1997, 1, 7)) == [date(1997, 1, 6), date(1997, 1, 7)]


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        pytest.param("XNYZ", "'XNYZ'.*did you mean.*XNYS", id="a slip of the pen gets the nearest names"),
        pytest.param(
            "forex", "'forex' is neither 24/7 nor FX nor an exchange_calendars code", id="another word for it"
        ),
    ],
)
def test_an_unknown_name_is_refused(name: str, sentence: str) -> None:
    with pytest.raises(UnknownCalendarError, match=sentence):
        open_calendar(name)


@pytest.mark.slow
def test_a_calendar_the_library_cannot_build_is_refused_in_one_sentence() -> None:
    with pytest.raises(UnusableCalendarError, match="XTAE cannot be built"):
        open_calendar("XTAE")


def test_a_day_that_is_no_session_has_no_close() -> None:
    with pytest.raises(NotASessionError, match="2020-11-26 is no session of calendar XNYS"):
        open_calendar("XNYS").session_close(date(2020, 11, 26))


def test_a_day_a_calendar_does_not_know_is_refused_with_those_it_knows() -> None:
    with pytest.raises(CalendarSpanError, match=r"XNYS knows 1970-01-01 to .*, got 1969-12-31"):
        open_calendar("XNYS").sessions(date(1969, 12, 31), date(1970, 1, 31))


def test_bars_longer_than_a_session_are_not_counted() -> None:
    with pytest.raises(UncountableTimeframeError, match="'1w'"):
        open_calendar("24/7").due(date(2020, 1, 1), date(2020, 1, 31), "1w")
    with pytest.raises(UnknownTimeframeError):
        open_calendar("24/7").due(date(2020, 1, 1), date(2020, 1, 31), "five minutes")


def test_nothing_is_due_when_no_session_lies_in_the_span() -> None:
    calendar = open_calendar("XNYS")
    saturday, sunday = date(2020, 11, 28), date(2020, 11, 29)
    assert calendar.sessions(saturday, sunday) == []
    for timeframe in ("5m", "1d"):
        assert calendar.due(saturday, sunday, timeframe).is_empty()


@st.composite
def spans(draw: st.DrawFn) -> tuple[date, date]:
    first = draw(st.dates(date(1998, 1, 1), date(2024, 1, 1)))
    return first, first + timedelta(days=draw(st.integers(0, 40)))


@given(name=st.sampled_from(NAMES), span=spans(), timeframe=st.sampled_from(("5m", "1h", "1d")))
def test_bars_are_due_in_the_sessions_and_in_no_others(name: str, span: tuple[date, date], timeframe: str) -> None:
    calendar = open_calendar(name)
    due = calendar.due(*span, timeframe)
    assert due["session"].unique(maintain_order=True).to_list() == calendar.sessions(*span)
    assert due.schema == {"session": pl.Date, "ts": pl.Datetime("us", "UTC"), "known_at": pl.Datetime("us", "UTC")}


@given(name=st.sampled_from(NAMES), span=spans(), timeframe=st.sampled_from(("5m", "7m", "1h")))
def test_one_bar_is_known_before_the_next_one_opens(name: str, span: tuple[date, date], timeframe: str) -> None:
    due = open_calendar(name).due(*span, timeframe)
    assert (due["ts"] < due["known_at"]).all()
    assert (due["known_at"][:-1] <= due["ts"][1:]).all()


@given(name=st.sampled_from(NAMES), span=spans(), timeframe=st.sampled_from(("5m", "1d")))
def test_the_last_bar_of_a_session_is_known_at_its_close(name: str, span: tuple[date, date], timeframe: str) -> None:
    calendar = open_calendar(name)
    last = calendar.due(*span, timeframe).group_by("session").agg(pl.col("known_at").max())
    assert all(calendar.session_close(session) == known_at for session, known_at in last.iter_rows())


@given(name=st.sampled_from(NAMES), span=spans())
def test_a_span_is_the_sum_of_its_days(name: str, span: tuple[date, date]) -> None:
    calendar = open_calendar(name)
    first, last = span
    days = [first + timedelta(days=n) for n in range((last - first).days + 1)]
    assert_frame_equal(pl.concat([calendar.due(day, day, "1h") for day in days]), calendar.due(first, last, "1h"))
