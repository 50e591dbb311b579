"""Bars against a twin that folds them one by one, and against a split and a dividend worked by hand."""

import math
from datetime import UTC, date, datetime, timedelta

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from engine.bars import COLUMNS, bars_closing_at, forward_adjusted, resample, timeframe_us
from engine.causal import BAR_COLUMNS
from engine.errors import UnknownTimeframeError

UTC_TIME = pl.Datetime("us", "UTC")
FIVE_MINUTES = timedelta(minutes=5)
FIELDS = ("session", "ts", "known_at", *COLUMNS, "n_base", "n_due", "complete")

# A day at a venue: the minute of its open (on the five-minute grid), and for each bar due whether it is there.
days = st.lists(st.tuples(st.integers(0, 60), st.lists(st.booleans(), min_size=1, max_size=100)), max_size=3)


def grid_of(days):
    due, bars = [], []
    for number, (opens, there) in enumerate(days):
        session = date(2024, 3, 4) + timedelta(days=number)
        start = datetime(session.year, session.month, session.day, tzinfo=UTC) + opens * FIVE_MINUTES
        for i, present in enumerate(there):
            ts = start + i * FIVE_MINUTES
            due.append({"session": session, "ts": ts, "known_at": ts + FIVE_MINUTES})
            if present:
                price = 100.0 + math.sin(7 * i + number)
                bars.append([ts, price, price + i % 3, price - i % 5, price + math.cos(i), float(i)])
    due_schema = {"session": pl.Date, "ts": UTC_TIME, "known_at": UTC_TIME}
    bars_schema = {"ts": UTC_TIME, **dict.fromkeys(COLUMNS, pl.Float64)}
    return pl.DataFrame(bars, bars_schema, orient="row"), pl.DataFrame(due, due_schema)


def slow_resample(bars, due, *, minutes, min_share):
    there = {row["ts"]: row for row in bars.to_dicts()}
    folded = {}
    for row in due.to_dicts():
        first = min(other["ts"] for other in due.to_dicts() if other["session"] == row["session"])
        anchor = first if minutes > 60 else datetime(2000, 1, 1, tzinfo=UTC)
        label = anchor + (row["ts"] - anchor) // timedelta(minutes=minutes) * timedelta(minutes=minutes)
        folded.setdefault((row["session"], label), []).append(row)
    result = []
    for (session, label), members in folded.items():
        found = [there[row["ts"]] for row in members if row["ts"] in there]
        if not found or len(found) < min_share * len(members):
            continue
        volumes = [bar["volume"] for bar in found if bar["volume"] is not None]
        result.append(
            {
                "session": session,
                "ts": label,
                "known_at": members[-1]["known_at"],
                "open": found[0]["open"],
                "high": max(bar["high"] for bar in found),
                "low": min(bar["low"] for bar in found),
                "close": found[-1]["close"],
                "volume": sum(volumes) if volumes else None,
                "n_base": len(found),
                "n_due": len(members),
                "complete": len(found) == len(members),
            }
        )
    return result


# Timeframes


@given(st.integers(1, 10_000), st.sampled_from([("s", 1), ("m", 60), ("h", 3_600), ("d", 86_400), ("w", 604_800)]))
def test_a_timeframe_is_as_long_as_its_number_of_units(number, unit):
    letter, seconds = unit
    assert timeframe_us(f"{number}{letter}") == number * seconds * 1_000_000


@pytest.mark.parametrize("written", ["", "5", "m", "0m", "05m", "-5m", "5M", "1.5h", "5 m", "5m\n", "1mo", "1y"])
def test_what_is_no_timeframe_is_refused_with_what_to_write(written):
    with pytest.raises(UnknownTimeframeError, match="write 30s, 5m, 1h, 1d or 1w"):
        timeframe_us(written)


# Folding


@given(days, st.sampled_from([("15m", 15), ("1h", 60), ("4h", 240), ("1d", 1440)]), st.sampled_from([0.0, 0.5, 1.0]))
def test_folding_agrees_with_folding_one_by_one(days, longer, min_share):
    timeframe, minutes = longer
    bars, due = grid_of(days)
    folded = resample(bars, due, timeframe=timeframe, min_share=min_share)
    assert tuple(folded.columns) == FIELDS
    assert folded.to_dicts() == slow_resample(bars, due, minutes=minutes, min_share=min_share)


@given(days, st.sampled_from(["15m", "1h", "4h", "1d"]), st.data())
def test_a_bar_that_comes_later_changes_nothing_that_was_known_before(days, timeframe, data):
    """Bars are dropped from a moment on, as they were not there yet; the calendar was."""
    bars, due = grid_of(days)
    now = data.draw(st.sampled_from([datetime(2024, 3, 4, tzinfo=UTC), *due["known_at"]]))
    then = resample(bars.filter(pl.col("ts") + FIVE_MINUTES <= now), due, timeframe=timeframe, min_share=0.0)
    today = resample(bars, due, timeframe=timeframe, min_share=0.0)
    known = pl.col("known_at") <= now
    assert_frame_equal(then.filter(known), today.filter(known))


def test_longer_bars_start_at_the_session_open_and_end_with_the_session():
    """From half past nine to four: hours lie on the clock, four hours start at the open and the last is short."""
    bars, due = grid_of([(114, [True] * 78)])  # 09:30 to 16:00
    hours = resample(bars, due, timeframe="1h", min_share=0.5)["ts"]
    assert [ts.strftime("%H:%M") for ts in hours] == ["09:00", "10:00", "11:00", "12:00", "13:00", "14:00", "15:00"]
    four_hours = resample(bars, due, timeframe="4h", min_share=0.5)
    assert [ts.strftime("%H:%M") for ts in four_hours["ts"]] == ["09:30", "13:30"]
    assert [ts.strftime("%H:%M") for ts in four_hours["known_at"]] == ["13:30", "16:00"]


def test_a_bar_without_its_share_of_base_bars_does_not_exist():
    bars, due = grid_of([(0, [True, True, False, True, False, False])])
    folded = resample(bars, due, timeframe="15m", min_share=0.5)
    assert folded.select("n_base", "n_due", "complete").rows() == [(2, 3, False)]


def test_a_volume_that_was_never_reported_stays_unknown():
    bars, due = grid_of([(0, [True] * 6)])
    unknown = bars.with_columns(volume=pl.lit(None, pl.Float64))
    assert resample(unknown, due, timeframe="15m", min_share=0.5)["volume"].to_list() == [None, None]


# Adjusting


def daily(closes):
    sessions = [date(2024, 3, 4) + timedelta(days=number) for number in range(len(closes))]
    return pl.DataFrame(
        {
            "session": sessions,
            "ts": pl.Series(sessions).cast(UTC_TIME),
            **dict.fromkeys(["open", "high", "low", "close"], closes),
            "volume": [1_000.0] * len(closes),
        }
    )


def actions(*rows):
    return pl.DataFrame(rows, {"ex_date": pl.Date, "kind": pl.String, "value": pl.Float64}, orient="row")


def test_a_split_and_a_dividend_are_carried_forward_and_the_past_is_left_alone():
    """Worked by hand. Two for one on the third day, then one paid on a close of 50: 50 / (50 - 1) = 1 / 0.98."""
    bars = daily([98.0, 100.0, 51.0, 50.0, 49.0])
    adjusted = forward_adjusted(bars, actions((date(2024, 3, 6), "split", 2.0), (date(2024, 3, 8), "dividend", 1.0)))
    assert adjusted["factor"].to_list() == pytest.approx([1, 1, 2, 2, 2 / 0.98])
    assert adjusted["close"].to_list() == pytest.approx([98, 100, 102, 100, 100])
    assert adjusted["volume"].to_list() == [1_000, 1_000, 500, 500, 500]
    assert adjusted.columns == [*bars.columns, "factor"]


@pytest.mark.parametrize("paid", [51.0, 60.0])
def test_a_dividend_of_the_whole_close_or_more_carries_nothing(paid):
    """Nobody pays out more than the price: it was stated in other units, and a price of nothing or less is no price."""
    split, next_day = (date(2024, 3, 5), "split", 2.0), date(2024, 3, 6)
    bars = daily([102.0, 51.0, 50.0])
    adjusted = forward_adjusted(bars, actions(split, (next_day, "dividend", paid)))
    assert_frame_equal(adjusted, forward_adjusted(bars, actions(split)))
    on_one_day = forward_adjusted(bars, actions(split, (date(2024, 3, 5), "dividend", paid)))
    assert_frame_equal(on_one_day, forward_adjusted(bars, actions(split)))


def test_two_splits_multiply():
    known = actions((date(2024, 3, 5), "split", 2.0), (date(2024, 3, 6), "split", 0.2))
    adjusted = forward_adjusted(daily([100.0, 50.0, 250.0]), known)
    assert adjusted["factor"].to_list() == pytest.approx([1, 2, 0.4])
    assert adjusted["close"].to_list() == pytest.approx([100, 100, 100])


@given(
    st.lists(st.floats(10, 1_000), min_size=1, max_size=12),
    st.lists(st.tuples(st.integers(0, 14), st.sampled_from(["split", "dividend"]), st.floats(0.1, 5)), max_size=5),
    st.integers(0, 14),
)
def test_what_happens_later_changes_no_earlier_bar(closes, happened, today):
    ex_dates = [(date(2024, 3, 4) + timedelta(days=day), kind, value) for day, kind, value in happened]
    until = date(2024, 3, 4) + timedelta(days=today)
    bars = daily(closes)
    then = forward_adjusted(bars, actions(*(row for row in ex_dates if row[0] <= until)))
    now = forward_adjusted(bars, actions(*ex_dates))
    assert_frame_equal(then.filter(pl.col("session") <= until), now.filter(pl.col("session") <= until))


@given(st.lists(st.floats(10, 1_000), min_size=2, max_size=12), st.integers(1, 11), st.floats(0.1, 20))
def test_a_split_makes_no_return_of_its_own(closes, day, ratio):
    """The same prices, written in new units from the ex-date on, give the same adjusted closes."""
    split = [close / ratio if number >= day else close for number, close in enumerate(closes)]
    adjusted = forward_adjusted(daily(split), actions((date(2024, 3, 4) + timedelta(days=day), "split", ratio)))
    assert adjusted["close"].to_list() == pytest.approx(closes)


def test_without_actions_nothing_changes():
    bars = daily([10.0, 11.0])
    assert_frame_equal(forward_adjusted(bars, actions()), bars.with_columns(factor=pl.lit(1.0)))


def test_bars_made_of_closes_have_no_gap_and_no_price_beyond_their_ends():
    bars = bars_closing_at([10, 12, 11], "1h")
    assert bars["open"].to_list() == [10, 10, 12]
    assert bars["high"].to_list() == [10, 12, 12]
    assert bars["low"].to_list() == [10, 10, 11]
    assert bars["close"].to_list() == [10, 12, 11]
    assert (bars["known_at"] - bars["ts"]).unique().to_list() == [timedelta(hours=1)]
    assert bars["ts"][1:].to_list() == bars["known_at"][:-1].to_list()
    assert set(bars.columns) == set(BAR_COLUMNS)
