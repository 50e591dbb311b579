"""What is known of an instrument before a session: against a slow twin, worked by hand, and causal."""

import math
from datetime import date, timedelta
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from engine.universe import MEASURES, measures

FIRST = date(2024, 1, 1)
SCHEMA = {
    **dict.fromkeys(["high", "low", "close", "volume", "factor"], pl.Float64),
    **dict.fromkeys(["due", "seen"], pl.Int64),
}
ABSENT = (None,) * 5


def known(*rows: tuple[Any, ...]) -> pl.DataFrame:
    """Rows of `high low close volume factor due seen`, a session each."""
    days = [FIRST + timedelta(days=n) for n in range(len(rows))]
    return pl.DataFrame(rows, SCHEMA, orient="row").select(pl.Series("session", days, pl.Date), pl.all())


def bar(
    close: float, volume: float | None = 10.0, *, reach: float = 0.02, due: int = 1, seen: int = 1
) -> tuple[Any, ...]:
    return (close * (1 + reach), close * (1 - reach), close, volume, 1.0, due, seen)


def slow_measures(rows: list[dict[str, Any]], window: int) -> list[tuple[Any, ...]]:
    """Plainly, session by session: what stands above the functions under test, said once more."""
    found = []
    for i in range(len(rows)):
        past, recent = rows[:i], rows[max(0, i - window) : i]
        traded = [
            row["close"] * row["volume"] if row["close"] is not None else 0.0
            for j, row in enumerate(rows[:i])
            if j >= i - window and any(one["close"] is not None for one in rows[: j + 1])
        ]
        spreads = []
        for j in range(max(1, i - window), i):
            one, two = rows[j - 1], rows[j]
            if one["close"] is not None and two["close"] is not None:
                c, eta, eta_next = (
                    math.log(one["close"] * one["factor"]),
                    (math.log(one["high"] * one["factor"]) + math.log(one["low"] * one["factor"])) / 2,
                    (math.log(two["high"] * two["factor"]) + math.log(two["low"] * two["factor"])) / 2,
                )
                spreads.append(1e4 * math.sqrt(max(4 * (c - eta) * (c - eta_next), 0.0)))
        due, seen = sum(row["due"] or 0 for row in recent), sum(row["seen"] or 0 for row in recent)
        found.append(
            (
                sum(row["close"] is not None for row in past),
                sum(traded) / len(traded) if traded else None,
                sum(spreads) / len(spreads) if spreads else None,
                seen / due if due else None,
            )
        )
    return found


prices = st.floats(1, 1_000)
bars = st.builds(
    lambda low, up, share, volume, factor, due, seen: (
        low * up,
        low,
        low * (1 + share * (up - 1)),
        volume,
        factor,
        due,
        min(due, seen),
    ),
    prices,
    st.floats(1, 1.2),
    st.floats(0, 1),
    st.floats(0, 1e9),
    st.floats(0.5, 2),
    st.integers(1, 5),
    st.integers(0, 5),
)
absent = st.sampled_from([(*ABSENT, 1, 0), (*ABSENT, None, None), (*ABSENT, 0, 0)])
histories = st.lists(st.one_of(bars, bars, absent), max_size=14)


@given(histories, st.integers(1, 6))
def test_the_measures_are_those_of_a_slow_twin(rows: list[Any], window: int) -> None:
    frame = known(*rows)
    fast = measures(frame, window_sessions=window).select(MEASURES).rows()
    slow = slow_measures(frame.to_dicts(), window)
    assert len(fast) == len(slow)
    for one, other in zip(fast, slow, strict=True):
        assert [value is None for value in one] == [value is None for value in other]
        expected = [value for value in other if value is not None]
        assert [value for value in one if value is not None] == pytest.approx(expected, rel=1e-6, abs=1e-3)


@given(histories, histories, st.integers(1, 6))
def test_nothing_from_a_session_on_changes_what_was_known_before_it(
    past: list[Any], futures: list[Any], window: int
) -> None:
    one, other = known(*past, bar(1.0)), known(*past, *futures, bar(1e12, 1e12))
    n = len(past) + 1
    assert_frame_equal(
        measures(one, window_sessions=window).head(n), measures(other, window_sessions=window).head(n), check_exact=True
    )


@given(histories, st.lists(st.just(bar(1e12, 1e12)), max_size=4))
def test_what_left_the_window_leaves_no_trace(recent: list[Any], long_ago: list[Any]) -> None:
    """Where a running sum would keep the rounding of numbers that are far larger."""
    window = len(recent) + 1
    start = [bar(10.0)] * (window + 1)
    one = measures(known(bar(10.0), *start, *recent, bar(1.0)), window_sessions=window)
    other = measures(known(bar(10.0), *long_ago, *start, *recent, bar(1.0)), window_sessions=window)
    columns = ["traded_value", "spread_bps", "completeness"]
    assert one.tail(1).select(columns).equals(other.tail(1).select(columns))


def test_by_hand() -> None:
    found = measures(known(bar(100, 5), (*ABSENT, 1, 0), bar(110, 10), bar(120, 1)), window_sessions=2)
    assert found["history_sessions"].to_list() == [0, 1, 1, 2]
    assert found["traded_value"].to_list() == [None, 500, 250, 550]
    assert found["completeness"].to_list() == [None, 1.0, 0.5, 0.5]


def test_an_instrument_is_not_held_to_the_sessions_before_its_first_bar() -> None:
    found = measures(known(*[(*ABSENT, 0, 0)] * 5, bar(100, 7), bar(100, 9)), window_sessions=5)
    assert found["traded_value"].to_list() == [None] * 6 + [700.0]


def test_without_a_volume_nothing_is_known_of_what_trades() -> None:
    assert measures(known(bar(100, None), bar(100, None)), window_sessions=2)["traded_value"].to_list() == [None, None]


def test_without_sessions_nothing_is_measured() -> None:
    assert measures(known(), window_sessions=3).height == 0


def test_a_split_is_no_spread() -> None:
    """Two for one: carried forward, it is as if it had never been."""
    split = (51.0, 49.0, 50.0, 20.0, 2.0, 1, 1)
    one, other = ([bar(100.0), after, after] for after in (split, bar(100.0)))
    found = [measures(known(*rows), window_sessions=2)["spread_bps"][-1] for rows in (one, other)]
    assert found[0] == pytest.approx(found[1])


@pytest.mark.parametrize("spread_bps", [100, 300])
def test_the_proxy_finds_the_spread_that_prices_bounced_by(spread_bps: int) -> None:
    """Known answer: efficient prices of 390 minutes a session, each traded at bid or ask with even chance.

    1 % of daily volatility over 1,000 sessions. Pairs that come out below zero count as zero and none counts as less,
    so the mean reads high, the more so the smaller the spread is.
    """
    rng = np.random.default_rng(7)
    efficient = np.cumsum(rng.normal(0, 0.01 / np.sqrt(390), 390 * 1_000))
    traded = np.exp(efficient + rng.choice([-1, 1], efficient.size) * spread_bps / 2e4).reshape(1_000, 390)
    rows = [(day.max(), day.min(), day[-1], 1.0, 1.0, 1, 1) for day in traded]
    found = measures(known(*rows, bar(1.0)), window_sessions=1_000)["spread_bps"][-1]
    assert found == pytest.approx(spread_bps, rel=0.35)
