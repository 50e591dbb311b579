"""The counts of a file: against a slow twin, against the inventory of real files, and by hand where a rule has an edge."""

import json
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from itertools import groupby, pairwise
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.cli.check import due_bars
from quality.survey import Survey, between, failing_sessions, fitting, survey
from resources.bar_files.reading import read_bar_file
from resources.calendars import open_calendar
from resources.errors import ExchangedColumnsError, NoDataError
from resources.sources.protocol import RECEIVED
from tests.makers import service_level
from tests.sample_packing import SHARED

DAY = date(2024, 3, 4)
MIDNIGHT = datetime(2024, 3, 4, tzinfo=UTC)
PRICES = ("open", "high", "low", "close")
needs_shared_data = pytest.mark.skipif(not SHARED.is_dir(), reason="the shared data is not beside this checkout")


class Row(NamedTuple):
    minute: int | None  # of the day; None is unreadable
    open: float | None = 10.0
    high: float | None = 12.0
    low: float | None = 9.0
    close: float | None = 11.0
    volume: float | None = 5.0


def frame(rows: Sequence[Row]) -> pl.DataFrame:
    stamps = [None if row.minute is None else MIDNIGHT + timedelta(minutes=row.minute) for row in rows]
    return pl.DataFrame(
        [(line, ts, *row[1:]) for line, (ts, row) in enumerate(zip(stamps, rows, strict=True), start=1)],
        dict(RECEIVED),
        orient="row",
    )


def due(timeframe: str = "5m", *, calendar: str = "24/7", last: date = DAY) -> pl.DataFrame:
    return open_calendar(calendar).due(DAY, last, timeframe)


def counted(*rows: Row, timeframe: str = "5m") -> Survey:
    return survey(frame(rows), due(timeframe), timeframe=timeframe)


# By hand


def test_a_file_of_good_bars_passes() -> None:
    assert counted(*(Row(5 * i, close=10 + i / 1000) for i in range(288))) == Survey(
        rows=288,
        first=MIDNIGHT,
        last=MIDNIGHT + timedelta(minutes=1435),
        expected=288,
        present=288,
        missing=0,
        completeness=1.0,
        duplicates_identical=0,
        duplicates_conflicting=0,
        out_of_order=0,
        off_grid=0,
        off_session=0,
        unparsable_ts=0,
        null_ohlc=0,
        non_positive_price=0,
        high_below_body=0,
        low_above_body=0,
        negative_volume=0,
        zero_volume=0,
        stale_run_max=0,
        max_gap_bars=0,
        sessions=1,
        sessions_below_sla=0,
        passed=True,
    )


SCENARIOS: list[tuple[list[Row], dict[str, Any]]] = [
    pytest.param([Row(0), Row(0)], {"duplicates_identical": 1, "passed": True}, id="an identical duplicate is no harm"),
    pytest.param(
        [Row(0), Row(0, close=9.5), Row(0)],
        {"duplicates_identical": 1, "duplicates_conflicting": 1, "passed": False},
        id="the third row equals the first: one contradicts, one repeats",
    ),
    pytest.param([Row(0, volume=None), Row(0, volume=None)], {"duplicates_identical": 1}, id="no volume equals no volume"),
    pytest.param([Row(10), Row(0), Row(5), Row(10)], {"out_of_order": 2}, id="two came before an earlier one"),
    pytest.param([Row(0), Row(7), Row(7), Row(10)], {"off_grid": 1, "passed": False}, id="stamps off the grid count once"),
    pytest.param([Row(None)], {"unparsable_ts": 1, "first": None, "expected": 0, "completeness": None}, id="no stamp"),
    pytest.param([Row(0, close=None)], {"null_ohlc": 1, "present": 1, "passed": False}, id="a missing price is a present bar"),
    pytest.param([Row(0, high=float("inf"))], {"null_ohlc": 1, "high_below_body": 0}, id="an infinite price is none"),
    pytest.param([Row(0, *[0.0] * 4, volume=0.0)], {"non_positive_price": 1, "zero_volume": 1}, id="all zeros"),
    pytest.param([Row(0, high=9.5)], {"high_below_body": 1, "low_above_body": 0}, id="a high below the body"),
    pytest.param([Row(0, volume=-1.0)], {"negative_volume": 1, "passed": False}, id="a negative volume"),
    pytest.param([Row(0), Row(5, volume=0.0), Row(10), Row(15, open=10.5)], {"stale_run_max": 2}, id="repeats, whatever the volume"),
    pytest.param([Row(0), Row(20), Row(30)], {"missing": 4, "max_gap_bars": 3, "sessions_below_sla": 1}, id="gaps"),
]  # fmt: skip


@pytest.mark.parametrize(("rows", "expected"), SCENARIOS)
def test_a_defect_is_counted_where_it_belongs(rows: list[Row], expected: dict[str, Any]) -> None:
    seen = counted(*rows)._asdict()
    assert {name: seen[name] for name in expected} == expected


def test_without_a_calendar_nothing_is_due_and_rows_are_counted_all_the_same() -> None:
    seen = survey(frame([Row(0), Row(3, high=9.5)]), None, timeframe="5m")
    assert (seen.expected, seen.present, seen.missing, seen.completeness) == (None, None, None, None)
    assert (seen.off_grid, seen.off_session, seen.sessions) == (0, 0, 0)
    assert (seen.high_below_body, seen.passed) == (1, False)


def test_only_what_lies_between_the_first_and_the_last_stamp_is_asked_for() -> None:
    seen = counted(Row(600), Row(610))
    assert (seen.expected, seen.present, seen.sessions) == (3, 2, 1)


def test_a_stamp_between_sessions_is_off_session_and_one_between_bars_off_grid() -> None:
    half_past_nine, noon = 14 * 60 + 30, 17 * 60
    rows = frame([Row(half_past_nine), Row(noon + 3), Row(22 * 60)])
    seen = survey(rows, due(calendar="XNYS"), timeframe="5m")
    assert (seen.off_grid, seen.off_session, seen.present) == (1, 1, 1)


def test_the_grid_of_a_session_begins_at_its_open() -> None:
    half_past_ten, before_the_open = 15 * 60 + 30, 13 * 60 + 30
    seen = survey(frame([Row(before_the_open), Row(half_past_ten)]), due("1h", calendar="XNYS"), timeframe="1h")
    assert (seen.off_grid, seen.off_session, seen.present) == (0, 1, 1)


def test_hours_on_the_clock_are_held_against_the_clock() -> None:
    on_clock = open_calendar("XNYS").due(DAY, DAY, "1h", anchor="clock")
    assert fitting(frame([Row(60 * hour) for hour in range(14, 21)]), due("1h", calendar="XNYS"), on_clock) is on_clock
    assert fitting(frame([Row(60 * 15 + 30)]), due("1h", calendar="XNYS"), on_clock) is not on_clock


def test_a_session_may_miss_as_much_as_the_sla_allows() -> None:
    rows = frame([Row(5 * i, close=10 + i / 1000) for i in range(288) if i not in {7, 8, 9}])
    assert survey(rows, due(), timeframe="5m").sessions_below_sla == 1
    assert survey(rows, due(), timeframe="5m", completeness=0.98).passed


LIMITS: dict[str, Any] = {
    "completeness": {"at_least": 0.9},
    "quarantined": {"at_most": 0.4},
    "nan": {"severity": "warn"},
}
OUTSIDE = [Row(12 * 60 + 5 * i) for i in range(3)]  # before New York opens at 14:30 UTC
WIDE = Row(5, high=90.0)


@pytest.mark.parametrize(
    ("rows", "failing"),
    [
        pytest.param([Row(0), Row(5), Row(10)], 0, id="all there"),
        pytest.param([Row(0), Row(10)], 1, id="a third of the bars is missing"),
        pytest.param([Row(0), Row(5), Row(7, close=None), Row(10)], 0, id="a rule that only warns"),
        pytest.param([Row(0), Row(5), Row(7), Row(10)], 0, id="a refused row within the limit"),
        pytest.param([Row(0), Row(5), Row(6), Row(7), Row(8), Row(10)], 1, id="and beyond"),
    ],
)  # fmt: skip
def test_a_section_of_the_policy_judges_a_file_as_a_night_would(rows: list[Row], failing: int) -> None:
    received = frame(rows)
    asked = between(due(), received["ts"].min(), received["ts"].max())  # type: ignore[arg-type]  # all have stamps
    closes = open_calendar("24/7").closes(DAY, DAY)
    level = service_level(**LIMITS)
    assert failing_sessions(received, asked, closes, timeframe="5m", level=level) == failing


@pytest.mark.parametrize(
    ("calendar", "rows", "section", "failing"),
    [
        pytest.param("24/7", [Row(0), WIDE, Row(10)], {}, 0, id="a wide bar where no range is improbable"),
        pytest.param("24/7", [Row(0), WIDE, Row(10)], {"max_range_ratio": 9}, 1, id="a wider bar than is probable"),
        pytest.param("XNYS", [*OUTSIDE, Row(870), Row(875)], {}, 1, id="what traded before the open is refused"),
        pytest.param(
            "XNYS",
            [*OUTSIDE, Row(870), Row(875)],
            {"outside_hours": "expected"},
            0,
            id="and counts nowhere if expected",
        ),
        pytest.param(
            "24/7",
            [Row(0), Row(5), Row(15)],
            {"completeness": {"at_least": 0.5}, "no_trade_bars": "filled"}
            | {"filled": {"at_most": 0.2, "severity": "enforce", "why": "a test"}},
            1,
            id="more bars were filled than may be",
        ),
    ],
)
def test_everything_a_section_says_is_heeded(
    calendar: str, rows: list[Row], section: dict[str, Any], failing: int
) -> None:
    received = frame(rows)
    asked = between(due(calendar=calendar), received["ts"].min(), received["ts"].max())  # type: ignore[arg-type]
    closes = open_calendar(calendar).closes(DAY, DAY)
    level = service_level(**(LIMITS | section))
    assert failing_sessions(received, asked, closes, timeframe="5m", level=level) == failing


# Against a slow twin

values = st.sampled_from([None, float("nan"), -1.0, 0.0, 9.0, 10.0, 11.0])
rows = st.builds(
    Row, st.none() | st.integers(0, 60), values, values, values, values, st.sampled_from([None, -1.0, 0.0, 5.0])
)


def twin(rows: Sequence[Row], expected: Sequence[int]) -> dict[str, int]:
    """The counts in plain Python; `expected` are the minutes of all due bars of one session."""
    read = [row for row in rows if row.minute is not None]
    stamps = [row.minute for row in read]
    good = [row for row in rows if all(price is not None and price == price for price in row[1:5])]  # noqa: PLR0124 - NaN
    asked = [minute for minute in expected if stamps and min(stamps) <= minute <= max(stamps)]
    seen: dict[int, list[str]] = {}
    identical = conflicting = 0
    for row in read:
        earlier = seen.setdefault(row.minute, [])
        if str(row) in earlier:
            identical += 1
        elif earlier:
            conflicting += 1
        earlier.append(str(row))
    same = [a[1:5] == b[1:5] and None not in a[1:5] for a, b in pairwise(rows)]
    there = [minute in stamps for minute in asked]
    return {
        "rows": len(rows),
        "unparsable_ts": len(rows) - len(read),
        "null_ohlc": len(rows) - len(good),
        "non_positive_price": sum(min(row[1:5]) <= 0 for row in good),
        "high_below_body": sum(row.high < max(row.open, row.close) for row in good),
        "low_above_body": sum(row.low > min(row.open, row.close) for row in good),
        "negative_volume": sum(row.volume is not None and row.volume < 0 for row in rows),
        "zero_volume": sum(row.volume == 0 for row in rows),
        "duplicates_identical": identical,
        "duplicates_conflicting": conflicting,
        "out_of_order": sum(minute < max(stamps[:i]) for i, minute in enumerate(stamps) if i),
        "off_grid": len({minute for minute in stamps if minute % 5}),
        "expected": len(asked),
        "present": sum(there),
        "missing": len(asked) - sum(there),
        "max_gap_bars": max((len(list(run)) for absent, run in groupby(not one for one in there) if absent), default=0),
        "stale_run_max": max((len(list(run)) for repeats, run in groupby(same) if repeats), default=0),
    }


@given(st.lists(rows, max_size=25))
def test_every_count_is_that_of_the_slow_twin(rows: list[Row]) -> None:
    seen = counted(*rows)._asdict()
    expected = twin(rows, range(0, 24 * 60, 5))
    assert {name: seen[name] for name in expected} == expected


@given(st.lists(rows, min_size=1, max_size=15))
def test_what_is_present_and_what_is_missing_make_what_is_expected(rows: list[Row]) -> None:
    seen = counted(*rows)
    assert seen.present is not None
    assert seen.missing is not None
    assert seen.present + seen.missing == seen.expected
    assert counted(*rows, *rows).duplicates_identical >= seen.rows - seen.unparsable_ts


# Against the inventory of real files

COUNTS = {
    "rows": "rows",
    "ts_unparsable": "unparsable_ts",
    "rows_with_nan_ohlc": "null_ohlc",
    "nonpositive_price_rows": "non_positive_price",
    "negative_volume_rows": "negative_volume",
    "zero_volume_rows": "zero_volume",
    "out_of_order": "out_of_order",
    "dup_identical": "duplicates_identical",
    "dup_conflicting": "duplicates_conflicting",
    "stale_run_max": "stale_run_max",
    "expected": "expected",
    "present": "present",
    "missing": "missing",
    "max_gap_bars": "max_gap_bars",
    "off_grid": "off_grid",
    "off_session": "off_session",
}
HELD = {"expected", "present", "missing", "max_gap_bars", "off_grid", "off_session", "sessions", "sessions_below_sla"}
SAID: dict[str, dict[str, str]] = {
    "equity/ninjatrader/SPY_2011-03.csv.gz": {"format_name": "ninjatrader"},  # looks like histdata's
    "forex/histdata_EURUSD_1m_2017-01.csv.gz": {"format_name": "histdata"},
    "forex/histdata_EURUSD_1m_2017-02.csv.gz": {"format_name": "histdata"},
    "forex/histdata_EURUSD_1m_2017-03.csv.gz": {"format_name": "histdata"},
    "equity/intraday_SPY_1m_2020-12.csv.gz": {"timezone": "America/New_York"},
}
OTHERWISE = {
    "equity/lean_1m/SPY.parquet": (
        HELD,
        "the inventory asks for bars of the days that are there, the contract for all",
    ),
    "futures/backtrader_FESX_1m_2006.csv.gz": (HELD, "Eurex kept other hours in 2006 than any calendar knows"),
    "futures/lean_ES_1m.parquet": (
        {*HELD, "first", "last"},
        "the inventory shifts the stamps and asks for days present",
    ),
    "messy/yahoo_pairs/AV-L-1wk-bad-stock-split.csv.gz": (
        {"off_grid", "off_session"},
        "weeks have no grid: 0, not null",
    ),
    "messy/yahoo_pairs/AV-L-1wk-bad-stock-split-fixed.csv.gz": ({"off_grid", "off_session"}, "as its twin"),
}
REFUSED = {
    "messy/market_prices/MSFTALT_T2_low_high_cols_misnamed.csv.gz": ExchangedColumnsError,
    "messy/market_prices/f_MSFT_H1_fails_on_no_data.csv.gz": NoDataError,
}
CALENDARS = {"none": None, "FESX06": "XEUR", "CMES23": "CMES"}
QUICK = ("freqtrade_5m/ADA", "json/", "9988.HK", "MSFT_1H", "bad.csv", "mismatch", "zeros", "issue0859", "SSW-JO")


def inventory() -> list[Any]:
    files = json.loads((SHARED / "inventory.json").read_text())["files"] if SHARED.is_dir() else []
    return [
        pytest.param(
            file, id=file["path"], marks=[] if any(name in file["path"] for name in QUICK) else pytest.mark.slow
        )
        for file in files
        if file["kind"] == "bars"
    ]


@needs_shared_data
@pytest.mark.parametrize("file", inventory())
def test_a_real_file_has_the_counts_of_its_inventory(file: dict[str, Any]) -> None:
    path = file["path"]
    if path in REFUSED:
        with pytest.raises(REFUSED[path]):
            read_bar_file(SHARED / path)
        return
    otherwise, _ = OTHERWISE.get(path, (set(), ""))
    read = read_bar_file(SHARED / path, **SAID.get(path, {}))  # type: ignore[arg-type]  # options by name
    listed = file["series"][: len(read.series)]  # of two sets of columns the raw ones come first
    assert len(listed) == len(read.series)
    for series, counts in zip(read.series, (one["counts"] for one in listed), strict=True):
        name = CALENDARS.get(counts["calendar"], counts["calendar"])
        calendar = open_calendar(name) if name else None
        seen = survey(series.rows, due_bars(series.rows, calendar, read.timeframe), timeframe=read.timeframe)._asdict()
        wanted = {ours: counts[theirs] for theirs, ours in COUNTS.items() if theirs in counts}
        wanted |= {end: datetime.fromisoformat(counts[end]) for end in ("first", "last")}
        if sessions := counts.get("sessions"):
            wanted |= {"sessions": sessions["n"], "sessions_below_sla": sessions["n_below_sla"]}
        if calendar is None:
            wanted["max_gap_bars"] = 0
        assert {name: seen[name] for name in wanted if name not in otherwise} == {
            name: value for name, value in wanted.items() if name not in otherwise
        }
        broken = seen["high_below_body"], seen["low_above_body"]
        assert max(broken) <= counts["ohlc_violations"] <= sum(broken)


@needs_shared_data
def test_the_files_that_are_counted_otherwise_are_in_the_inventory() -> None:
    paths = {param.values[0]["path"] for param in inventory()}
    assert {*SAID, *OTHERWISE, *REFUSED} <= paths
    assert all(Path(SHARED / path).is_file() for path in paths)
