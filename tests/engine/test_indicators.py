"""Indicators against published worked examples and slow twins, and the laws that every line of the registry keeps."""

from datetime import timedelta
from functools import cache
from itertools import pairwise

import numpy as np
import polars as pl
import polars_talib as talib
import pytest
from hypothesis import given
from hypothesis import strategies as st

import engine.indicators as public
from engine.causal import Bars, Column
from engine.errors import OutOfBoundsError, UnknownNameError
from engine.evaluation import evaluate
from engine.indicators import bollinger, ema, pivots, registry, rsi, sma, stoch, vwap
from engine.indicators.registry import INDICATORS, _never_waited_for, first_value, indicator, registered, values, whole
from tests.bar_frames import bar_frame, random_walk

DAYS, HOURS = Bars("1d"), Bars("1h")
WALK = random_walk("1h", 400, seed=1)
LONG = random_walk("1h", 6_000, seed=5)  # longer than the longest warm-up, the adaptive mean's
SHORTER = 600  # bars taken off its front, a whole number of sessions

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


def published(column, closes):
    return values({"it": column}, bar_frame(closes, step=timedelta(days=1)))["it"].to_list()


def test_sma_is_the_published_one():
    found = published(sma(DAYS.close, 10), INTEL)
    assert found[:9] == [None] * 9
    assert found[9:] == pytest.approx(INTEL_SMA, abs=0.0101)


def test_ema_is_the_published_one():
    found = published(ema(DAYS.close, 10), INTEL)
    assert found[:9] == [None] * 9
    assert found[9:] == pytest.approx(INTEL_EMA, abs=0.0101)


def test_rsi_is_the_published_one():
    found = published(rsi(DAYS.close, 14), QQQQ)
    assert found[:14] == [None] * 14
    assert found[14:] == pytest.approx(QQQQ_RSI, abs=0.0101)


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
    found = values({"it": indicator(name, DAYS, length=length)}, frame)["it"]
    np.testing.assert_allclose(found.to_numpy(), twin(frame, length), rtol=1e-10, equal_nan=True)


CLOSE = pl.col("close")
TALIB = {
    "sma": lambda length: talib.sma(CLOSE, timeperiod=length),
    "stddev": lambda length: talib.stddev(CLOSE, timeperiod=length, nbdev=1.0),
    "var": lambda length: talib.var(CLOSE, timeperiod=length, nbdev=1.0),
    "roc": lambda length: talib.roc(CLOSE, timeperiod=length),
    "mom": lambda length: talib.mom(CLOSE, timeperiod=length),
    "midpoint": lambda length: talib.midpoint(CLOSE, timeperiod=length),
    "midprice": lambda length: talib.midprice(pl.col("high"), pl.col("low"), timeperiod=length),
    "trima": lambda length: talib.trima(CLOSE, timeperiod=length),
    "mfi": lambda length: talib.mfi(pl.col("high"), pl.col("low"), CLOSE, pl.col("volume"), timeperiod=length),
    "cmou": lambda length: talib.cmou(CLOSE, timeperiod=length),
    "er": lambda length: talib.er(CLOSE, timeperiod=length),
    "vwma": lambda length: talib.vwma(CLOSE, pl.col("volume"), timeperiod=length),
    "hma": lambda length: talib.hma(CLOSE, timeperiod=length),
    "cmf": lambda length: talib.cmf(pl.col("high"), pl.col("low"), CLOSE, pl.col("volume"), timeperiod=length),
    "adr": lambda length: talib.adr(pl.col("high"), pl.col("low"), timeperiod=length),
    "highest": lambda length: talib.max(CLOSE, timeperiod=length),
    "lowest": lambda length: talib.min(CLOSE, timeperiod=length),
}


@pytest.mark.parametrize("name", TALIB)
@pytest.mark.parametrize("length", [4, pytest.param(9, marks=pytest.mark.slow), 20])
def test_windows_agree_with_talib(name, length):
    frame = random_walk("1d", 200, seed=3)
    found = values({"it": indicator(name, DAYS, length=length)}, frame)["it"]
    expected = frame.select(TALIB[name](length)).to_series().cast(pl.Float64).fill_nan(None)
    np.testing.assert_allclose(found.to_numpy(), expected.to_numpy(), rtol=1e-9, atol=1e-6, equal_nan=True)


def test_there_are_sixty_and_a_strategy_may_import_each_by_its_name():
    assert len(INDICATORS) >= 60
    for name, entry in INDICATORS.items():
        assert getattr(public, name) is entry.function


def test_the_middle_band_is_the_mean():
    bands = bollinger(DAYS.close, 20, 2.0)
    found = evaluate(bands._asdict(), {"1d": random_walk("1d", 40, seed=0)}, "1d").drop_nulls()
    np.testing.assert_allclose((found["lower"] + found["upper"]) / 2, found["middle"], rtol=1e-12)
    assert (found["lower"] < found["upper"]).all()


@pytest.mark.parametrize(
    ("name", "parameters", "bars"),
    [
        ("ema", {"length": 20}, 208), ("rsi", {"length": 14}, 280), ("atr", {"length": 14}, 280),
        ("atr", {"length": 1}, 1), ("sma", {"length": 20}, 0), ("roc", {"length": 20}, 0),
        ("dema", {"length": 20}, 2 * 208), ("tema", {"length": 20}, 3 * 208), ("trix", {"length": 20}, 3 * 208),
        ("adx", {"length": 14}, 2 * 280), ("tsi", {"slow": 20, "fast": 20}, 2 * 208),
    ],
)  # fmt: skip
def test_the_warm_up_is_the_smallest_n_that_forgets_and_their_sum_where_one_smooths_another(name, parameters, bars):
    entry = INDICATORS[name]
    assert {entry.warm_up(output, **parameters) for output in entry.outputs} == {bars}


def test_macd_forgets_when_its_slow_mean_and_then_its_signal_have():
    slow, signal = (INDICATORS["ema"].warm_up("value", length=length) for length in (26, 9))
    assert INDICATORS["macd"].warm_up("histogram") == slow + signal


@pytest.mark.parametrize("name", ["ema", "atr"])
def test_one_bar_less_would_remember(name):
    for length in range(2, 60):
        weight = {"ema": 2 / (length + 1), "atr": 1 / length}[name]
        n = INDICATORS[name].warm_up("value", length=length)
        assert (1 - weight) ** n < 1e-9 <= (1 - weight) ** (n - 1)


# The laws. Everything of the registry is computed at once, so that a new line costs no new test and little time.


def every(*, least=False):
    """Every output of the registry; with each parameter at its least, or as it is where it is left out."""
    columns = {}
    for name, entry in INDICATORS.items():
        smallest = {known: _least(parameter) for known, parameter in entry.parameters.items()} if least else {}
        columns |= {(name, output): column for output, column in entry.columns(HOURS, **smallest).items()}
    return {f"{name} {output}": column for (name, output), column in columns.items()}


def _least(parameter):
    least = parameter.bounds.least
    return least + 0.5 if parameter.bounds.above else least


EVERY = every()
AT_ONCE = {label: _never_waited_for(column) for label, column in EVERY.items()}
SKIPPED = {label for label in EVERY if INDICATORS[label.split()[0]].nulls == "skipped"}
BY_NAME = {name: [f"{name} {output}" for output in entry.outputs] for name, entry in INDICATORS.items()}


@cache
def of_all(change="none", t=0):
    return values(AT_ONCE, CHANGES[change](t))


def _replaced(t, by):
    return pl.concat([WALK[: t + 1], by[t + 1 :]])


def _gap(t):
    hole = pl.when(pl.int_range(pl.len()) == t).then(None)
    return WALK.with_columns(hole.otherwise(pl.col(name)).alias(name) for name in PRICED)


PRICED = ("open", "high", "low", "close", "volume")
CHANGES = {
    "none": lambda t: WALK,
    "cut": lambda t: WALK[: t + 1],
    "another walk": lambda t: _replaced(t, random_walk("1h", 400, seed=99)),
    "nothing": lambda t: _replaced(t, WALK.with_columns(pl.lit(None, pl.Float64).alias(name) for name in PRICED)),
    "a gap": _gap,
    "long": lambda t: LONG,
    "shorter": lambda t: LONG[SHORTER:],
}


def close(found, expected, *, within=1e-12):
    """Are two columns the same: null on the same bars, and numbers within a share of the largest?"""
    if not found.is_null().equals(expected.is_null()):
        return False
    apart, scale = (found - expected).abs().max(), expected.abs().max()
    return scale is None or apart <= within * scale


def test_the_first_value_stands_right_after_the_lookback_and_none_is_missing_after_it():
    found = {label: of_all()[label].is_null().arg_true().to_list() for label in EVERY if label not in SKIPPED}
    assert {label: list(range(first_value(EVERY[label]))) for label in found} == found


@pytest.mark.parametrize("t", [41, 250])
def test_values_on_cut_bars_are_those_on_all_bars(t):
    assert [label for label in EVERY if not of_all("cut", t)[label].equals(of_all()[label][: t + 1])] == []


@pytest.mark.parametrize("poison", ["another walk", "nothing"])
def test_what_comes_after_a_bar_changes_nothing_up_to_it(poison):
    found, expected = of_all(poison, 250)[:251], of_all()[:251]
    assert [label for label in EVERY if not close(found[label], expected[label])] == []


def test_more_history_changes_nothing_after_the_warm_up():
    longer, shorter = of_all("long")[SHORTER:], of_all("shorter")
    forgetting = [label for label in EVERY if INDICATORS[label.split()[0]].anchor != "start"]
    warm = {label: slice(EVERY[label].warm_up, None) for label in forgetting}
    assert [label for label, bars in warm.items() if shorter[label][bars].is_null().all()] == []
    assert [
        label for label, bars in warm.items() if not close(shorter[label][bars], longer[label][bars], within=1e-8)
    ] == []


def test_what_more_history_changes_for_good_says_where_it_counts_from():
    counts = {label for label, column in EVERY.items() if any(node.anchored for node in column.walk().values())}
    assert counts == {label for label in EVERY if INDICATORS[label.split()[0]].anchor is not None}


@pytest.mark.parametrize("name", ["obv", "sar", "supertrend", "nvi"])
def test_what_counts_from_the_start_never_forgets_it(name):
    assert any(not close(of_all("shorter")[label], of_all("long")[label][SHORTER:]) for label in BY_NAME[name])


def test_a_missing_value_does_what_the_registry_says():
    gap = 170  # the third bar of a session
    broken = []
    for label, column in EVERY.items():
        rule, found = INDICATORS[label.split()[0]].nulls, of_all("a gap", gap)[label]
        null = {bar for bar in found.is_null().arg_true().to_list() if bar >= gap}
        ends = {"window": gap + first_value(column) + 1, "rest": len(found), "session": 192, "skipped": gap}
        allowed = set(range(gap, ends[rule]))
        exact = rule in ("rest", "session")
        if not close(found[:gap], of_all()[label][:gap]) or not null <= allowed or (exact and null != allowed):
            broken.append(label)
    assert broken == []


SPIKED = pl.when(pl.int_range(pl.len()) == 100).then(1e12).otherwise(pl.col("close"))
FLAT, TINY, HUGE = pl.lit(10.0), pl.col("close") * 1e-300, pl.col("close") * 1e300


@pytest.mark.parametrize(
    ("price", "volume"),
    [
        pytest.param(FLAT, pl.lit(0.0), id="nothing moved and nothing was traded"),
        pytest.param(SPIKED, pl.col("volume"), id="one price that cannot be"),
        pytest.param(SPIKED, pl.lit(0.0), id="one price that cannot be, untraded", marks=pytest.mark.slow),
        pytest.param(TINY, pl.col("volume"), id="hardly a price", marks=pytest.mark.slow),
        pytest.param(HUGE, pl.col("volume") * 1e300, id="prices near the end of numbers", marks=pytest.mark.slow),
    ],
)
def test_no_value_is_ever_nan_or_infinite(price, volume):
    prices = [price.alias(name) for name in ("open", "high", "low", "close")]
    found = values(AT_ONCE, WALK.with_columns(*prices, volume=volume))
    assert [label for label in EVERY if not found[label].drop_nulls().is_finite().all()] == []


def test_without_volume_there_is_nothing_that_needs_it():
    found = values(AT_ONCE, WALK.with_columns(volume=pl.lit(None, pl.Float64)))
    needs = {label for name, entry in INDICATORS.items() if "volume" in entry.inputs for label in BY_NAME[name]}
    assert {label for label in EVERY if found[label].is_not_null().sum() == 0} == needs


@pytest.mark.parametrize("n", [pytest.param(0, marks=pytest.mark.slow), 1])
def test_a_series_shorter_than_the_lookback_has_no_values(n):
    found = values(AT_ONCE, WALK[:n])
    assert found.height == n
    for label, column in EVERY.items():
        assert found[label].is_not_null().sum() <= max(0, n - first_value(column)), label


def test_every_parameter_may_be_as_little_as_the_registry_says():
    found = values(columns := every(least=True), WALK)
    for label, column in columns.items():
        if label not in SKIPPED:
            assert found[label].is_not_null().arg_max() == first_value(column), label


@pytest.mark.slow
def test_what_a_strategy_sees_is_withheld_through_the_warm_up():
    shown = evaluate(EVERY, {"1h": LONG}, "1h")
    for label, column in EVERY.items():
        if label not in SKIPPED:
            assert shown[label].is_not_null().arg_max() == column.warm_up, label


@pytest.mark.slow
@pytest.mark.parametrize("t", range(0, 240, 5))
def test_values_on_bars_cut_anywhere_are_those_on_all_bars(t):
    found = values(AT_ONCE, WALK[: t + 1])
    assert [label for label in EVERY if not found[label].equals(of_all()[label][: t + 1])] == []


@pytest.mark.slow
@given(st.sampled_from(sorted(INDICATORS)), st.integers(2, 12), st.integers(1, 300), st.integers(0, 10_000))
def test_more_history_changes_nothing_whatever_the_length(name, length, n_earlier, seed):
    entry = INDICATORS[name]
    if (
        "length" not in entry.parameters
        or not entry.parameters["length"].fits(length)
        or entry.anchor
        or name == "kama"
    ):
        return
    frame = random_walk("1d", 1_500, seed=seed)
    columns = entry.columns(DAYS, length=length)
    longer = evaluate(columns, {"1d": frame}, "1d")[n_earlier:]
    shorter = evaluate(columns, {"1d": frame[n_earlier:]}, "1d")
    for output in columns:
        known = shorter[output].is_not_null()
        scale = max(1.0, float(longer[output].abs().max()))
        np.testing.assert_allclose(
            shorter[output].filter(known), longer[output].filter(known), rtol=0, atol=1e-8 * scale
        )
        assert known.any()


# What single ones promise besides.


def test_a_pivot_appears_on_the_bar_on_which_it_is_known_and_stands_until_a_newer_one_is():
    closes = [10.0, 11.0, 15.0, 12.0, 11.0, 10.5, 11.5, 13.0, 12.0, 11.0]
    level = pl.col("close")
    frame = bar_frame(closes, step=timedelta(days=1)).with_columns(high=level, low=level)
    found = values(pivots(DAYS, 2)._asdict(), frame)
    assert found["high"].to_list() == [None] * 4 + [15.0] * 5 + [13.0]
    assert found["high_bars_ago"].to_list() == [None] * 4 + [2.0, 3.0, 4.0, 5.0, 6.0, 2.0]
    assert found["low"].to_list() == [None] * 7 + [10.5] * 3
    assert found["low_bars_ago"].to_list() == [None] * 7 + [2.0, 3.0, 4.0]


def test_equal_tops_are_no_pivot():
    frame = bar_frame([1.0, 2.0, 5.0, 5.0, 2.0, 1.0, 1.0], step=timedelta(days=1)).with_columns(high=pl.col("close"))
    assert values({"it": pivots(DAYS, 2).high}, frame)["it"].to_list() == [None] * 7


def test_the_average_price_begins_anew_with_each_session():
    found = values({"it": vwap(HOURS)}, WALK)["it"]
    typical = (WALK["high"] + WALK["low"] + WALK["close"]) / 3
    opened = WALK["session"] != WALK["session"].shift(1)
    np.testing.assert_allclose(found.filter(opened.fill_null(value=True)), typical.filter(opened.fill_null(value=True)))
    first = WALK["session"] == WALK["session"][0]
    whole_day = (typical * WALK["volume"]).filter(first).sum() / WALK["volume"].filter(first).sum()
    assert found.filter(first)[-1] == pytest.approx(whole_day)


def test_the_cloud_over_a_bar_is_what_was_known_when_it_was_drawn_ahead():
    columns = INDICATORS["ichimoku"].columns(HOURS)
    found = values(columns, WALK)
    for line in "ab":
        assert found[f"span_{line}"][26:].equals(found[f"ahead_{line}"][:-26])


def test_a_supertrend_is_below_the_close_while_it_is_up_and_above_it_while_it_is_down():
    found = values(INDICATORS["supertrend"].columns(HOURS), WALK).with_columns(WALK["close"]).drop_nulls()
    assert set(found["direction"]) == {1.0, -1.0}
    assert ((found["close"] >= found["line"]) == (found["direction"] > 0)).all()


def test_the_registry_and_the_functions_give_the_same_column():
    assert indicator("sma", DAYS, length=7).key == sma(DAYS.close, 7).key
    assert indicator("stoch", DAYS, output="d", length=14).key == stoch(DAYS, 14).d.key


def test_a_new_one_is_a_function_and_a_line(monkeypatch):
    def spread(bars: Bars, length: int = 5) -> Column:
        """The mean of highs less lows in percent of the close."""
        return 100.0 * sma(bars.high - bars.low, length) / bars.close

    monkeypatch.setattr(registry, "INDICATORS", {})
    checked = registered(spread, "percent", "nobody", inputs="high low close", length=whole(1))

    assert registry.INDICATORS["spread"].computes == "The mean of highs less lows in percent of the close."
    assert registry.INDICATORS["spread"].lookback("value") == 4
    with pytest.raises(OutOfBoundsError, match="length is 0, must be a whole number from 1 to 100000"):
        checked(DAYS, 0)


@pytest.mark.parametrize(
    ("name", "parameters", "message"),
    [
        ("smaa", {}, r"unknown indicator 'smaa': did you mean 'sma'\?"),
        ("sma", {"lenght": 3}, r"unknown parameter of sma 'lenght': did you mean 'length'\?"),
        ("ema", {"length": 1}, "length is 1, must be a whole number from 2 to 100000"),
        ("sma", {"length": 2.5}, "length is 2.5, must be a whole number from 1 to 100000"),
        ("sma", {"length": True}, "length is True, must be a whole number"),
        ("bollinger", {"output": "upper", "width": 0}, "width is 0, must be a number above 0 and up to 1000"),
        ("bollinger", {"output": "upper", "width": float("nan")}, "width is nan"),
        ("bollinger", {}, "output of bollinger is None, must be one of lower, middle, upper"),
        ("bollinger", {"output": "uper"}, r"unknown output of bollinger 'uper': did you mean 'upper'\?"),
        ("sma", {"output": "middle"}, r"unknown output of sma 'middle': known are value"),
    ],
)
def test_a_wrong_name_or_parameter_says_what_is_right(name, parameters, message):
    with pytest.raises((UnknownNameError, OutOfBoundsError), match=message):
        indicator(name, DAYS, **parameters)
