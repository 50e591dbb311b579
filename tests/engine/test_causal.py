"""Causal columns against hand-made bars, slow twins in numpy, and the law that a cut changes nothing before it."""

from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.causal import Bars, Column, crossed_above, crossed_below, derived
from engine.errors import (
    ColumnKindError,
    FinerTimeframeError,
    FutureReferenceError,
    MissingTimeframeError,
    OutOfBoundsError,
    UnknownNameError,
)
from engine.evaluation import evaluate
from tests.bar_frames import bar_frame

H1, D1 = timedelta(hours=1), timedelta(days=1)
START = datetime(2020, 1, 1, tzinfo=UTC)
HOURS = Bars("1h")


def values(column: Column, **frames: pl.DataFrame) -> list[object]:
    named = {name.removeprefix("_"): frame for name, frame in frames.items()}
    return evaluate({"it": column}, named, "1h")["it"].to_list()


def hours(closes: list[float], **more: list[float | None]) -> pl.DataFrame:
    return bar_frame(closes, step=H1).with_columns(**{name: pl.Series(column) for name, column in more.items()})


@pytest.mark.parametrize("bars", [-1, 1.0, True, None, "1"])
def test_a_lag_cannot_name_the_future(bars):
    with pytest.raises(FutureReferenceError, match="whole number of bars, 0 or more"):
        HOURS.close.lag(bars)


def test_a_lag_is_the_value_so_many_bars_ago():
    assert values(HOURS.close.lag(2), _1h=hours([1, 2, 3, 4])) == [None, None, 1, 2]


def test_arithmetic_takes_numbers_on_either_side():
    c = HOURS.close
    column = (1 + c * 2 - 3) / 4 + 2 * c - (10 - c) + 8 / c + (-c).abs()
    close = 4.0
    expected = (1 + close * 2 - 3) / 4 + 2 * close - (10 - close) + 8 / close + abs(-close)
    assert values(column, _1h=hours([close])) == [expected]


def test_comparisons_and_logic_are_truths_per_bar():
    c = HOURS.close
    frame = hours([1, 2, 3])
    assert values((c > 1) & (c < 3), _1h=frame) == [False, True, False]
    assert values((c <= 1) | (c >= 3), _1h=frame) == [True, False, True]
    assert values(~(c == 2), _1h=frame) == [True, False, True]
    assert values(c != 2, _1h=frame) == [True, False, True]
    assert values(2 > c, _1h=frame) == [True, False, False]  # noqa: SIM300


def test_a_quotient_by_zero_is_not_known():
    column = HOURS.close / (HOURS.close - 2)
    assert values(column, _1h=hours([1, 2, 3])) == [-1, None, 3]
    assert values(column > 0, _1h=hours([1, 2, 3])) == [False, None, True]  # polars alone: infinity is above 0


def test_nan_in_a_feature_is_not_known():
    frame = hours([1, 1, 1], heat=[1.0, float("nan"), 3.0])
    heat = Bars("1h", {"heat": 0}).feature("heat")
    assert values(heat, _1h=frame) == [1, None, 3]
    assert values(heat > 2, _1h=frame) == [False, None, True]  # polars alone: NaN is above every number


def test_a_feature_waits_for_its_declared_warm_up():
    heat = Bars("1h", {"heat": 2}).feature("heat")
    assert values(heat, _1h=hours([1, 1, 1], heat=[1.0, 2.0, 3.0])) == [None, None, 3]


def test_an_unknown_feature_names_the_nearest():
    with pytest.raises(UnknownNameError, match=r"unknown feature 'atr14': did you mean 'atr_14'\?"):
        Bars("1h", {"atr_14": 0, "rsi_14": 0}).feature("atr14")


def test_a_truth_is_withheld_until_both_sides_are_warm():
    """Logic alone would answer early: true or unknown is true."""
    column = (HOURS.close > 0) | (HOURS.close.rolling_mean(3) > 0)
    assert values(column, _1h=hours([1, 1, 1, 1])) == [None, None, True, True]


def test_crossing_a_column_or_a_number_happens_on_one_bar():
    frame = hours([1, 3, 4, 2, 1, 3])
    assert values(crossed_above(HOURS.close, 2), _1h=frame) == [None, True, False, False, False, True]
    assert values(crossed_below(HOURS.close, 2), _1h=frame) == [None, False, False, False, True, False]
    opens = frame.with_columns(open=pl.lit(2.0))
    assert values(crossed_above(HOURS.close, HOURS.open), _1h=opens) == [None, True, False, False, False, True]


def test_crossing_a_longer_timeframe_looks_one_shorter_bar_back():
    days = bar_frame([10, 20], step=D1)
    closes = [5.0] * 23 + [9, 11, 12] + [15.0] * 22  # the day's 10 is known from bar 23, its 20 from bar 47
    seen = values(crossed_above(HOURS.close, HOURS.on("1d").close), _1h=hours(closes), _1d=days)
    assert seen == [None] * 24 + [True] + [False] * 23


def test_touching_and_turning_back_is_no_crossing():
    assert values(crossed_above(HOURS.close, 2), _1h=hours([1, 2, 1])) == [None, False, False]


def test_a_longer_bar_is_visible_from_its_close_and_not_before():
    days = bar_frame([10, 20], step=D1)
    seen = values(HOURS.on("1d").close, _1h=hours([1.0] * 50), _1d=days)
    # the bar labelled 23:00 closes with the day; the second day closes with bar 47
    assert seen == [None] * 23 + [10] * 24 + [20] * 3


def test_a_longer_bar_that_closes_inside_a_shorter_one_waits_for_the_next():
    early = bar_frame([10], step=D1).with_columns(known_at=pl.lit(START + timedelta(hours=1, minutes=30)))
    early = early.with_columns(pl.col("known_at").cast(pl.Datetime("us", "UTC")))
    seen = values(HOURS.on("1d").close, _1h=hours([1.0] * 3), _1d=early)
    assert seen == [None, 10, 10]  # known at 01:30, first seen on the bar that closes at 02:00


def test_missing_bars_do_not_move_what_a_longer_bar_shows():
    frame = hours([1.0] * 30)
    kept = frame.filter(pl.col("ts") != START + 24 * H1)
    seen = values(HOURS.on("1d").close, _1h=kept, _1d=bar_frame([10], step=D1))
    assert seen == [None] * 23 + [10] * 6


def test_timeframes_nest():
    four = bar_frame([1, 2, 3, 4, 5, 6], step=4 * H1)
    days = bar_frame([100], step=D1)
    column = Bars("4h").close + Bars("1d").close
    seen = values(HOURS.close * 0 + column, _1h=hours([1.0] * 25), _4h=four, _1d=days)
    assert seen == [None] * 23 + [106] * 2  # the last four hours of the day close with it


def test_a_warm_up_on_days_is_counted_in_days():
    column = HOURS.on("1d").close.rolling_mean(2).lag(1)
    days = bar_frame([1, 3, 5], step=D1)
    seen = values(column, _1h=hours([1.0] * 72), _1d=days)
    assert seen == [None] * 71 + [2]


def test_a_lag_after_alignment_is_counted_in_the_shorter_bars():
    column = HOURS.on("1d").close + HOURS.close * 0
    seen = values(column.lag(2), _1h=hours([1.0] * 27), _1d=bar_frame([10], step=D1))
    assert seen == [None] * 25 + [10] * 2


def test_a_shorter_timeframe_is_refused():
    with pytest.raises(FinerTimeframeError, match="5m bars asked for on 1h bars"):
        HOURS.on("5m")
    with pytest.raises(FinerTimeframeError, match="1h bars asked for on 1d bars"):
        evaluate({"it": HOURS.close}, {"1d": bar_frame([1], step=D1)}, "1d")


def test_a_timeframe_without_bars_is_refused():
    with pytest.raises(MissingTimeframeError, match="there are no 1d bars, only 1h"):
        values(HOURS.on("1d").close, _1h=hours([1]))


def test_the_same_timeframe_is_the_same_bars():
    assert HOURS.on("1h") is HOURS


@pytest.mark.parametrize(
    "misuse",
    [
        lambda c: (c > 1) + 1,
        lambda c: c & (c > 1),
        lambda c: ~c,
        lambda c: (c > 1) > 0,
        lambda c: (c > 1).rolling_mean(3),
        lambda c: (c > 1).abs(),
        lambda c: (c > 1) & True,
        lambda c: c > 1 and c < 3,
    ],
)
def test_truths_and_numbers_do_not_mix(misuse):
    with pytest.raises(ColumnKindError, match="compare numbers first"):
        misuse(HOURS.close)


@pytest.mark.parametrize("operand", [None, "2", float("nan"), float("inf"), True])
def test_an_operand_is_a_column_or_a_finite_number(operand):
    with pytest.raises(OutOfBoundsError, match="a column or a finite number"):
        HOURS.close > operand  # noqa: B015


@pytest.mark.parametrize("bars", [0, -3, 2.0, True])
def test_a_window_holds_at_least_this_bar(bars):
    with pytest.raises(
        OutOfBoundsError, match=r"the window of rolling_mean is .*, must be a whole number of at least 1"
    ):
        HOURS.close.rolling_mean(bars)


@given(st.lists(st.floats(1, 1000), min_size=1, max_size=40), st.integers(1, 8))
def test_rolling_windows_agree_with_numpy(closes, n):
    frame = {"1h": hours(closes)}
    c = HOURS.close
    columns = {
        "mean": (c.rolling_mean(n), np.mean),
        "std": (c.rolling_std(n), np.std),
        "min": (c.rolling_min(n), np.min),
        "max": (c.rolling_max(n), np.max),
        "sum": (c.rolling_sum(n), np.sum),
    }
    got = evaluate({name: column for name, (column, _) in columns.items()}, frame, "1h")
    for name, (_, twin) in columns.items():
        expected = [twin(closes[max(0, t - n + 1) : t + 1]) if t >= n - 1 else np.nan for t in range(len(closes))]
        tolerance = 2e-5 if name == "std" else 1e-8  # a difference of squares, whoever takes it
        np.testing.assert_allclose(got[name].to_numpy(), expected, rtol=1e-9, atol=tolerance)


BASES = st.sampled_from([HOURS.open, HOURS.high, HOURS.close, HOURS.volume, HOURS.on("4h").close, HOURS.on("1d").high])


def steps(columns):
    n = st.integers(1, 6)
    return st.one_of(
        st.builds(lambda a, b: a + b, columns, columns),
        st.builds(lambda a, b: a / b, columns, columns),
        st.builds(lambda a, b: a - b, columns, columns),
        st.builds(lambda a, k: a.lag(k), columns, n),
        st.builds(lambda a, k: a.rolling_mean(k), columns, n),
        st.builds(lambda a, k: a.rolling_std(k), columns, n),
        st.builds(lambda a, k: a.rolling_max(k), columns, n),
    )


@given(st.recursive(BASES, steps, max_leaves=6), st.integers(0, 1000), st.data())
def test_no_column_changes_when_later_bars_are_cut(column, seed, data):
    rng = np.random.default_rng(seed)
    n_days = 4
    frames = {
        "1h": bar_frame(rng.uniform(1, 100, n_days * 24).tolist(), step=H1, seed=seed),
        "4h": bar_frame(rng.uniform(1, 100, n_days * 6).tolist(), step=4 * H1, seed=seed),
        "1d": bar_frame(rng.uniform(1, 100, n_days).tolist(), step=D1, seed=seed),
    }
    frames["1h"] = frames["1h"].filter(pl.Series(rng.random(n_days * 24) > 0.1))  # bars go missing
    wanted = {"number": column, "truth": crossed_above(column, column.lag(1))}
    whole = evaluate(wanted, frames, "1h")
    n = data.draw(st.integers(1, whole.height))
    now = frames["1h"]["known_at"][n - 1]
    cut = {name: frame.filter(pl.col("known_at") <= now) for name, frame in frames.items()}
    assert evaluate(wanted, cut, "1h").equals(whole.head(n))


def test_derived_can_look_ahead_and_says_so_nowhere_else():
    """The door that negative controls use; that the proof sees through it is tested with the laws."""
    tomorrow = derived(lambda closes: closes.shift(-1), HOURS.close, name="tomorrow")
    assert values(tomorrow, _1h=hours([1, 2, 3])) == [2, 3, None]
