"""Indicators against published worked examples, TA-Lib, slow twins, and the laws of lookback and warm-up."""

from dataclasses import replace
from datetime import timedelta
from itertools import pairwise

import numpy as np
import polars as pl
import polars_talib as talib
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.causal import Bars
from engine.errors import OutOfBoundsError, UnknownNameError
from engine.evaluation import evaluate
from engine.indicators import INDICATORS, bollinger, ema, indicator, rsi, sma
from tests.bar_frames import bar_frame, random_walk

DAYS = Bars("1d")

# StockCharts ChartSchool, "Moving Averages - Simple and Exponential", the spreadsheet example (Intel, 10 days).
INTEL = [
    22.27, 22.19, 22.08, 22.17, 22.18, 22.13, 22.23, 22.43, 22.24, 22.29, 22.15, 22.39, 22.38, 22.61, 23.36,
    24.05, 23.75, 23.83, 23.95, 23.63, 23.82, 23.87, 23.65, 23.19, 23.10, 23.33, 22.68, 23.10, 22.40, 22.17,
]  # fmt: skip
INTEL_SMA = [
    22.22, 22.21, 22.23, 22.26, 22.30, 22.42, 22.61, 22.77, 22.91, 23.08, 23.21,
    23.38, 23.53, 23.65, 23.71, 23.68, 23.61, 23.50, 23.43, 23.28, 23.13,
]  # fmt: skip
INTEL_EMA = [
    22.22, 22.21, 22.24, 22.27, 22.33, 22.52, 22.80, 22.97, 23.13, 23.28, 23.34,
    23.43, 23.51, 23.53, 23.47, 23.40, 23.39, 23.26, 23.23, 23.08, 22.92,
]  # fmt: skip
# The same, "Relative Strength Index (RSI)", the spreadsheet example (QQQQ, 14 days).
QQQQ = [
    44.3389, 44.0902, 44.1497, 43.6124, 44.3278, 44.8264, 45.0955, 45.4245, 45.8433, 46.0826, 45.8931,
    46.0328, 45.6140, 46.2820, 46.2820, 46.0028, 46.0328, 46.4116, 46.2222, 45.6439, 46.2122, 46.2521,
    45.7137, 46.4515, 45.7835, 45.3548, 44.0288, 44.1783, 44.2181, 44.5672, 43.4205, 42.6628, 43.1314,
]  # fmt: skip
QQQQ_RSI = [
    70.53, 66.32, 66.55, 69.41, 66.36, 57.97, 62.93, 63.26, 56.06, 62.38,
    54.71, 50.42, 39.99, 41.46, 41.87, 45.46, 37.30, 33.08, 37.77,
]  # fmt: skip


def from_lookback(column, frame):
    """The values before the warm-up withholds them: published examples start at the lookback."""
    return evaluate({"it": replace(column, lookback=0, forgets=0)}, {"1d": frame}, "1d")["it"]


def published(column, closes):
    return from_lookback(column, bar_frame(closes, step=timedelta(days=1))).to_list()


def test_sma_is_the_published_one():
    values = published(sma(DAYS.close, 10), INTEL)
    assert values[:9] == [None] * 9
    assert values[9:] == pytest.approx(INTEL_SMA, abs=0.0101)


def test_ema_is_the_published_one():
    values = published(ema(DAYS.close, 10), INTEL)
    assert values[:9] == [None] * 9
    assert values[9:] == pytest.approx(INTEL_EMA, abs=0.0101)


def test_rsi_is_the_published_one():
    values = published(rsi(DAYS.close, 14), QQQQ)
    assert values[:14] == [None] * 14
    assert values[14:] == pytest.approx(QQQQ_RSI, abs=0.0101)


def slow_smoothed(values, alpha, start, length):
    """Exponential smoothing from the mean of values[start : start + length], one step at a time."""
    out = [np.nan] * (start + length)
    out[-1] = sum(values[start : start + length]) / length
    for value in values[start + length :]:
        out.append(alpha * value + (1 - alpha) * out[-1])
    return np.array(out)


def slow_ema(frame, length):
    return slow_smoothed(frame["close"].to_list(), 2 / (length + 1), 0, length)


def slow_rsi(frame, length):
    closes = frame["close"].to_list()
    moves = [0.0, *(after - before for before, after in pairwise(closes))]
    rises = slow_smoothed([max(move, 0.0) for move in moves], 1 / length, 1, length)
    falls = slow_smoothed([max(-move, 0.0) for move in moves], 1 / length, 1, length)
    return 100 * rises / (rises + falls)


def slow_atr(frame, length):
    highs, lows, closes = (frame[name].to_list() for name in ("high", "low", "close"))
    bars = zip(highs[1:], lows[1:], closes[:-1], strict=True)
    ranges = [0.0, *(max(high - low, abs(high - before), abs(low - before)) for high, low, before in bars)]
    return slow_smoothed(ranges, 1 / length, 1, length)


@pytest.mark.parametrize(("name", "twin"), [("ema", slow_ema), ("rsi", slow_rsi), ("atr", slow_atr)])
@pytest.mark.parametrize("length", [2, 5, 14])
def test_recursive_indicators_agree_with_their_slow_twins(name, twin, length):
    frame = random_walk("1d", 300, seed=length)
    values = from_lookback(indicator(name, DAYS, length=length), frame)
    np.testing.assert_allclose(values.to_numpy(), twin(frame, length), rtol=1e-10, equal_nan=True)


CLOSE = pl.col("close")
TALIB = {
    "sma": lambda p: talib.sma(CLOSE, timeperiod=p["length"]),
    "stddev": lambda p: talib.stddev(CLOSE, timeperiod=p["length"], nbdev=1.0),
    "roc": lambda p: talib.roc(CLOSE, timeperiod=p["length"]),
    "bollinger_lower": lambda p: talib.bbands(
        CLOSE, timeperiod=p["length"], nbdevup=p["width"], nbdevdn=p["width"]
    ).struct.field("lowerband"),
    "bollinger_upper": lambda p: talib.bbands(
        CLOSE, timeperiod=p["length"], nbdevup=p["width"], nbdevdn=p["width"]
    ).struct.field("upperband"),
}


@pytest.mark.parametrize("name", TALIB)
@pytest.mark.parametrize("length", [2, 5, 20])
def test_windows_agree_with_talib(name, length):
    frame = random_walk("1d", 200, seed=3)
    parameters = {known: parameter.default for known, parameter in INDICATORS[name].parameters.items()}
    parameters["length"] = length
    values = from_lookback(indicator(name, DAYS, **parameters), frame)
    expected = frame.select(TALIB[name](parameters)).to_series().fill_nan(None)
    np.testing.assert_allclose(values.to_numpy(), expected.to_numpy(), rtol=1e-9, atol=1e-6, equal_nan=True)


def test_the_middle_band_is_the_mean():
    lower, middle, upper = bollinger(DAYS.close, 20, 2.0)
    frame = random_walk("1d", 40, seed=0)
    values = evaluate({"lower": lower, "middle": middle, "upper": upper}, {"1d": frame}, "1d").drop_nulls()
    np.testing.assert_allclose((values["lower"] + values["upper"]) / 2, values["middle"], rtol=1e-12)
    assert (values["lower"] < values["upper"]).all()


@pytest.mark.parametrize(
    ("name", "length", "bars"),
    [("ema", 20, 208), ("rsi", 14, 280), ("atr", 14, 280), ("atr", 1, 1), ("sma", 20, 0), ("roc", 20, 0)],
)
def test_the_warm_up_is_the_smallest_n_that_forgets(name, length, bars):
    assert INDICATORS[name].warm_up(length=length) == bars


@pytest.mark.parametrize("length", range(2, 60))
def test_one_bar_less_would_remember(length):
    for name, alpha in (("ema", 2 / (length + 1)), ("atr", 1 / length)):
        n = INDICATORS[name].warm_up(length=length)
        assert (1 - alpha) ** n < 1e-9 <= (1 - alpha) ** (n - 1)


@pytest.mark.parametrize("name", INDICATORS)
def test_the_first_value_comes_after_the_lookback_and_is_withheld_through_the_warm_up(name):
    entry = INDICATORS[name]
    parameters = {known: parameter.default for known, parameter in entry.parameters.items()}
    column = indicator(name, DAYS)
    frame = random_walk("1d", 400, seed=1)
    lookback, warm = entry.lookback(**parameters), entry.lookback(**parameters) + entry.warm_up(**parameters)
    values = from_lookback(column, frame)
    assert values.is_null().arg_true().to_list() == list(range(lookback))
    shown = evaluate({"it": column}, {"1d": frame}, "1d")["it"]
    assert shown.is_null().arg_true().to_list() == list(range(warm))
    assert shown.is_nan().sum() == 0


@given(st.sampled_from(sorted(INDICATORS)), st.integers(2, 12), st.integers(1, 300), st.integers(0, 10_000))
def test_more_history_before_the_warm_up_changes_nothing_after_it(name, length, n_earlier, seed):
    frame = random_walk("1d", 900, seed=seed)
    column = {"it": indicator(name, DAYS, length=length)}
    longer = evaluate(column, {"1d": frame}, "1d")["it"][n_earlier:]
    shorter = evaluate(column, {"1d": frame[n_earlier:]}, "1d")["it"]
    known = shorter.is_not_null()
    scale = max(1.0, float(longer.abs().max()))
    np.testing.assert_allclose(shorter.filter(known), longer.filter(known), rtol=0, atol=1e-8 * scale)
    assert known.any()


@pytest.mark.parametrize("name", INDICATORS)
def test_a_gap_in_the_input_is_never_a_number(name):
    frame = random_walk("1d", 400, seed=2)
    holes = frame.with_columns(
        pl.when(pl.int_range(pl.len()) == 350).then(None).otherwise(pl.col(price)).alias(price)
        for price in ("high", "low", "close")
    )
    shown = evaluate({"it": indicator(name, DAYS)}, {"1d": holes}, "1d")["it"]
    assert shown[350] is None
    assert shown.is_nan().sum() == 0


def test_a_series_shorter_than_the_lookback_has_no_values():
    for name in INDICATORS:
        for n in (0, 1):
            frame = random_walk("1d", 5, seed=0).head(n)
            assert evaluate({"it": indicator(name, DAYS)}, {"1d": frame}, "1d")["it"].to_list() == [None] * n


def test_the_registry_and_the_functions_give_the_same_column():
    frame = random_walk("1d", 100, seed=4)
    both = {"registered": indicator("sma", DAYS, length=7), "called": sma(DAYS.close, 7)}
    values = evaluate(both, {"1d": frame}, "1d")
    assert values["registered"].equals(values["called"])


@pytest.mark.parametrize(
    ("name", "parameters", "message"),
    [
        ("smaa", {}, r"unknown indicator 'smaa': did you mean 'sma'\?"),
        ("sma", {"lenght": 3}, r"unknown parameter of sma 'lenght': did you mean 'length'\?"),
        ("ema", {"length": 1}, "length is 1, must be a whole number of at least 2"),
        ("sma", {"length": 2.5}, "length is 2.5, must be a whole number of at least 1"),
        ("bollinger_lower", {"width": 0}, "width is 0, must be a finite number above 0"),
    ],
)
def test_a_wrong_name_or_parameter_says_what_is_right(name, parameters, message):
    with pytest.raises((UnknownNameError, OutOfBoundsError), match=message):
        indicator(name, DAYS, **parameters)
