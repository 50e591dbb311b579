"""The strategy contract: parameters as values, decisions only when everything is known, errors with a line."""

from dataclasses import FrozenInstanceError, fields
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.bars import PRICES
from engine.causal import Bars, crossed_above
from engine.errors import FinerTimeframeError, StrategyError
from engine.indicators import ema, sma
from engine.stateful import NUMBERS, SETUP, TRUTHS
from engine.strategy import Signals, Strategy, decide, warm_up_bars
from strategies.bollinger_reversion import BollingerReversion
from strategies.sma_cross import SmaCross
from strategies.time_series_momentum import TimeSeriesMomentum
from tests.bar_frames import random_walk

HERE = Path(__file__).name
WAYS = list(TRUTHS)


def market(n_days: int = 60, *, seed: int = 0) -> dict[str, pl.DataFrame]:
    return {"1h": random_walk("1h", 24 * n_days, seed=seed), "1d": random_walk("1d", n_days, seed=seed + 1)}


class Patient(Strategy):
    """Enters at once, but leaves on a slow mean: nothing may be decided before the mean is there."""

    length: int = 5

    def signals(self, bars: Bars) -> Signals:
        return Signals(enter=bars.close > 0, exit=bars.close < sma(bars.close, self.length))


def test_parameters_are_the_fields_and_keyword_only():
    assert [(field.name, field.type, field.default) for field in fields(SmaCross)] == [
        ("fast", int, 20),
        ("slow", int, 100),
    ]
    assert SmaCross(fast=5) == SmaCross(fast=5, slow=100) != SmaCross()
    with pytest.raises(TypeError):
        SmaCross(5, 100)  # type: ignore[misc]


def test_a_strategy_is_a_value():
    with pytest.raises(FrozenInstanceError):
        SmaCross().fast = 3  # type: ignore[misc]


def test_nothing_is_decided_before_every_signal_is_known():
    decisions = decide(Patient(length=5), market(1), "1h")
    assert decisions.columns == ["ts", "known_at", *WAYS, *NUMBERS, SETUP]
    assert decisions["enter"].to_list() == [False] * 4 + [True] * 20
    assert decisions.select(WAYS).null_count().row(0) == (0, 0, 0, 0)
    assert decisions.select(WAYS).dtypes == [pl.Boolean] * 4
    assert not decisions["enter_short"].any()
    assert not decisions["exit_short"].any()


def test_a_strategy_without_signals_decides_nothing():
    class Idle(Strategy):
        def signals(self, bars: Bars) -> Signals:  # noqa: ARG002
            return Signals()

    decisions = decide(Idle(), market(1), "1h")
    assert decisions.height == 24
    assert not decisions.select(pl.any_horizontal(*WAYS)).to_series().any()
    assert warm_up_bars(Idle(), "1h") == 0


def test_bars_without_history_decide_nothing():
    frames = {name: frame.head(0) for name, frame in market(1).items()}
    assert decide(SmaCross(), frames, "1h").height == 0


def test_features_are_the_further_columns_of_the_base_frame():
    class Hot(Strategy):
        def signals(self, bars: Bars) -> Signals:
            return Signals(enter=bars.feature("heat") > 1)

    frames = market(1)
    heat = pl.Series([None, None, 2.0, *[0.0] * 21])
    decisions = decide(Hot(), {"1h": frames["1h"].with_columns(heat=heat)}, "1h")
    assert decisions["enter"].to_list() == [False, False, True, *[False] * 21]
    assert warm_up_bars(Hot(), "1h", features={"heat": 2}) == 2
    with pytest.raises(StrategyError, match="unknown feature 'heat'"):
        decide(Hot(), frames, "1h")


@pytest.mark.parametrize(
    ("strategy", "timeframe", "bars"),
    [
        (SmaCross(fast=20, slow=100), "1h", 100),  # 99 bars of lookback, one for the crossing
        (BollingerReversion(length=20), "1h", 480),  # 20 days around the clock
        (TimeSeriesMomentum(lookback=252), "1d", 252),
    ],
)
def test_the_warm_up_covers_all_bars_before_the_first_decision(strategy, timeframe, bars):
    assert warm_up_bars(strategy, timeframe) == bars
    frames = market(400)
    decisions = decide(strategy, frames, timeframe)
    first = decisions.select(pl.any_horizontal(*WAYS).arg_true().first()).item()
    assert first >= bars - (1 if isinstance(strategy, BollingerReversion) else 0)


def test_a_warm_up_of_a_longer_timeframe_counts_what_follows_it():
    class Slow(Strategy):
        def signals(self, bars: Bars) -> Signals:
            days = ema(bars.on("1d").close, 2)
            return Signals(enter=crossed_above(bars.close, days))

    # EMA 2: one bar of lookback and 19 until (1/3)^19 < 1e-9, in days, then one hour for the crossing
    assert warm_up_bars(Slow(), "1h") == 21 * 24 + 1


def broken(body):
    return type("Broken", (Strategy,), {"signals": body})()


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (lambda *_: 1 / 0, "ZeroDivisionError: division by zero"),
        (lambda _, bars: bars.colse, "AttributeError: 'Bars' object has no attribute 'colse'"),
        (lambda *_: None, "signals returned NoneType, must return Signals"),
        (lambda _, bars: Signals(enter=bars.close), "enter is a column of numbers, must be a column of truths"),
        (lambda *_: Signals(exit=True), "exit is True, must be a column of truths"),
        (lambda _, bars: Signals(enter=bars.close.lag(-1) > 0), r"lag\(-1\) is no bar of the past"),
        (lambda _, bars: Signals(enter=bars.on("5m").close > 0), "5m bars asked for on 1h bars"),
        (lambda _, bars: Signals(enter=bars.on("1w").close > 0), "there are no 1w bars, only 1h, 1d"),
        (lambda _, bars: Signals(enter=bars.close > 0 and bars.close > 1), "if/and/or/not needs one truth"),
    ],
)
def test_what_a_strategy_does_wrong_is_told_with_its_line(body, message):
    line = body.__code__.co_firstlineno
    with pytest.raises(StrategyError, match=rf"^Broken \({HERE}:{line}\): {message}") as caught:
        decide(broken(body), market(1), "1h")
    assert (caught.value.strategy, caught.value.line) == ("Broken", line)


def test_the_line_is_the_deepest_one_in_the_strategy_file():
    def helper(bars: Bars) -> Signals:
        return Signals(enter=bars.on("5m").close > 0)

    with pytest.raises(StrategyError) as caught:
        decide(broken(lambda _, bars: helper(bars)), market(1), "1h")
    assert caught.value.line == helper.__code__.co_firstlineno + 1
    assert isinstance(caught.value.__cause__, FinerTimeframeError)


def test_sma_cross_enters_where_the_means_cross():
    closes = [10.0, 10, 10, 10, 13, 16, 10, 4, 1]
    frame = random_walk("1d", len(closes), seed=0).with_columns(close=pl.Series(closes))
    decisions = decide(SmaCross(fast=1, slow=3), {"1d": frame}, "1d")
    # mean of three: 10 10 11 13 13 10 5 from bar 2 on
    assert decisions["enter"].arg_true().to_list() == [4]
    assert decisions["exit"].arg_true().to_list() == [6]


def test_momentum_is_long_after_a_rise_and_short_after_a_fall():
    frame = random_walk("1d", 6, seed=0).with_columns(close=pl.Series([1.0, 2, 3, 2, 1, 1]))
    decisions = decide(TimeSeriesMomentum(lookback=1), {"1d": frame}, "1d")
    assert decisions["enter"].arg_true().to_list() == [1, 2]
    assert decisions["enter_short"].arg_true().to_list() == [3, 4]


def test_reversion_buys_the_return_above_the_band_only_while_the_days_rise():
    frames = market(60, seed=5)
    rising = frames["1d"].with_columns(close=pl.int_range(1, 61).cast(pl.Float64))
    falling = frames["1d"].with_columns(close=pl.int_range(60, 0, -1).cast(pl.Float64))
    assert decide(BollingerReversion(), frames | {"1d": rising}, "1h")["enter"].any()
    assert not decide(BollingerReversion(), frames | {"1d": falling}, "1h")["enter"].any()


@given(st.integers(-8, 8), st.sampled_from([SmaCross(fast=3, slow=9), BollingerReversion(length=8)]))
@settings(max_examples=20)
def test_decisions_do_not_depend_on_the_unit_of_price(power, strategy):
    frames = market(30, seed=7)
    unit = 2.0**power  # a power of two changes no digit, so even ties stay ties
    scaled = {name: frame.with_columns(pl.col(*PRICES) * unit) for name, frame in frames.items()}
    assert decide(strategy, scaled, "1h").equals(decide(strategy, frames, "1h"))


class Saying(Strategy):
    """Says what it is told to, to see what is made of it."""

    def signals(self, bars: Bars) -> Signals:
        return Signals(enter=bars.close > 0)


def saying(**columns):
    return type(
        "Said", (Saying,), {"signals": lambda self, bars: Signals(**{k: f(bars) for k, f in columns.items()})}
    )()


def test_numbers_beside_an_entry_are_null_until_everything_is_known():
    strategy = saying(
        enter=lambda bars: bars.close > 0,
        strength=lambda bars: (bars.close - bars.close + 0.5).rolling_mean(3),
        stop=lambda bars: bars.close * 0.1,
        setups=lambda bars: {"never": bars.close < 0, "always": bars.close > 0},
    )
    decided = decide(strategy, market(1), "1h")
    assert decided["strength"].head(4).to_list() == [None, None, 0.5, 0.5]
    assert decided["setup"].head(3).to_list() == [None, None, "always"]
    assert decided["stop"].is_null().sum() == 2
    assert decided["weight"].is_null().all()


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"strength": lambda bars: bars.close}, "strength is .* on the bar of .*, must be from 0 to 1"),
        ({"bias": lambda bars: -bars.close}, "bias is -.*, must be from -1 to 1"),
        ({"stop": lambda bars: -bars.close}, "stop is -.*, must be above 0: a distance"),
        ({"strength": lambda bars: bars.close > 0}, "strength is a column of truths, must be a column of numbers"),
        (
            {"weight": lambda bars: bars.close * 0, "enter": lambda bars: bars.close > 0},
            "weight beside other ways to say it, must stand alone",
        ),
    ],
    ids=["strength", "bias", "stop", "a truth", "two ways"],
)
def test_what_cannot_be_meant_is_refused(columns, message):
    with pytest.raises(StrategyError, match=message):
        decide(saying(**columns), market(1), "1h")


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"setups": lambda bars: None}, "setups is None, must be truths by name"),
        ({"setups": lambda bars: {5: bars.close > 0}}, "must be truths by name"),
        ({"gated": lambda bars: bars.close}, "gated is .*, must be what `gate` gave"),
        ({"enter": lambda bars: bars.of(5).close > 0}, "instrument is 5, must be the id of one"),
    ],
    ids=["no setups", "a number for a name", "no gate", "a number for an instrument"],
)
def test_what_is_no_answer_is_refused_with_its_line(columns, message):
    with pytest.raises(StrategyError, match=message):
        decide(saying(**columns), market(1), "1h")
