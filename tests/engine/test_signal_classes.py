"""Signal classes: by hand on short charts, by laws on random walks, and together as one strategy."""

from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from engine.causal import Bars, crossed_above, crossed_below
from engine.errors import OutOfBoundsError, UnknownNameError
from engine.evaluation import evaluate
from engine.indicators import atr
from engine.signals.composed import composed, said_by
from engine.signals.registry import GROUPS, SIGNALS, members, signal
from engine.signals.signal_class import settings_of
from engine.strategy import Signals, Strategy, decide
from tests.bar_frames import random_walk

START = datetime(2024, 1, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)


def chart(closes, volumes=None):
    """Bars of one price each."""
    stamps = [START + n * HOUR for n in range(len(closes))]
    return pl.DataFrame(
        {
            "session": [ts.date() for ts in stamps],
            "ts": stamps,
            "known_at": [ts + HOUR for ts in stamps],
            **dict.fromkeys(("open", "high", "low", "close"), pl.Series(closes, dtype=pl.Float64)),
            "volume": pl.Series(volumes or [1.0] * len(closes), dtype=pl.Float64),
            "factor": 1.0,
        }
    )


def said(one, frame):
    """`long short strength confidence` of a class on every bar."""
    bars = Bars("1h")
    columns = {**one.scan(bars)._asdict(), "strength": one.strength(bars), "confidence": one.confidence(bars)}
    return evaluate(columns, {"1h": frame}, "1h")


def fires(one, frame):
    """By side, the bars on which a class fires."""
    found = said(one, frame)
    return {side: np.flatnonzero(found[side].fill_null(value=False)).tolist() for side in ("long", "short")}


def jumpy(seed, n=420):
    """A walk with gaps, bars of one price, stretches that stand still and volumes that burst or are missing."""
    rng = np.random.default_rng(seed)
    walk = random_walk("1h", n, seed=seed)
    scale = np.cumprod(rng.choice([1.0, 1.0, 1.0, 1.08, 0.93], n))
    scale[rng.random(n) < 0.3] = 1.0
    volume = pl.Series(rng.choice([0.0, 1.0, 2.0, 30.0], n)).set(pl.Series(rng.random(n) < 0.02), None)
    moved = walk.with_columns(pl.col("open", "high", "low", "close") * pl.Series(scale), volume=volume)
    still = pl.Series(np.arange(n) % 140 > 110)
    level = pl.when(still).then(100.0)
    return moved.with_columns(pl.coalesce(level, name).alias(name) for name in ("open", "high", "low", "close"))


# By hand


def test_a_volume_spike_is_a_move_on_a_multiple_of_the_volume_before():
    frame = chart([100, 100, 100, 103, 103, 100, 104, 104], [10, 10, 10, 31, 10, 60, 20, 90])
    one = signal("volume_spike", move=0.02, times=3, length=2)
    assert fires(one, frame) == {
        "long": [3],
        "short": [],
    }  # bar 5 falls by 2.9 % on 60 of a mean of 20.5, less than 3 times
    found = said(one, frame).row(3, named=True)
    assert found["strength"] == pytest.approx(0.03 / 0.02 / 2)
    assert found["confidence"] == pytest.approx(31 / 10 / 3 / 2)
    assert fires(signal("volume_spike", move=0.02, times=2, length=2), frame) == {"long": [3], "short": [5]}


def test_a_breakout_is_the_close_that_leaves_the_range():
    frame = chart([10, 10, 11, 10, 12, 13, 9, 8, 9, 10, 11])
    assert fires(signal("breakout", length=3), frame) == {
        "long": [4, 9],
        "short": [6],
    }  # at 5, 7, 10 it is outside still


def test_a_trend_goes_on_where_the_close_comes_back_over_its_fast_mean():
    frame = chart([10, 11, 12, 13, 14, 13, 15, 16])
    assert fires(signal("trend_continuation", fast=2, slow=4), frame) == {"long": [6], "short": []}
    mirrored = chart([20, 19, 18, 17, 16, 17, 15, 14])
    assert fires(signal("trend_continuation", fast=2, slow=4), mirrored) == {"long": [], "short": [6]}


def test_an_extreme_is_faded_where_it_comes_back():
    frame = chart([10, 10.1, 10, 10.1, 10, 7, 9.5, 10])
    one = signal("mean_reversion", length=5, width=1.5)
    assert fires(one, frame) == {"long": [6], "short": []}
    window = np.array([10.1, 10, 10.1, 10, 7])
    assert said(one, frame)["strength"][6] == pytest.approx(abs(7 - window.mean()) / window.std() / 1.5 / 2)
    steps = np.abs(np.diff([10.1, 10, 10.1, 10, 7, 9.5]))
    assert said(one, frame)["confidence"][6] == pytest.approx(1 - abs(9.5 - 10.1) / steps.sum())


def test_a_breakout_is_as_strong_as_it_is_far_outside_in_ranges():
    frame = random_walk("1h", 420, seed=3)
    one, bars = signal("breakout", length=10), Bars("1h")
    values = evaluate({"range": atr(bars, 14)}, {"1h": frame}, "1h")["range"]
    found = said(one, frame)
    high, close = frame["high"].to_numpy(), frame["close"].to_numpy()
    (fired,) = np.nonzero(found["long"].fill_null(value=False).to_numpy() & found["strength"].is_not_null().to_numpy())
    assert fired.size
    for t in fired:
        expected = min(1.0, (close[t] - high[t - 10 : t].max()) / values[int(t)])
        assert found["strength"][int(t)] == pytest.approx(expected)


# Laws


@pytest.mark.parametrize("name", SIGNALS)
@given(seed=st.integers(0, 10_000))
def test_strength_and_confidence_lie_within_zero_and_one(name, seed):
    found = said(signal(name), jumpy(seed))
    for column in ("strength", "confidence"):
        known = found[column].drop_nulls()
        assert known.len()
        assert known.is_between(0, 1).all()
    assert not (found["long"] & found["short"]).any()


@pytest.mark.parametrize("name", SIGNALS)
def test_what_a_class_says_is_said_without_the_bars_that_follow(name):
    frame, one = jumpy(7), signal(name)
    whole = said(one, frame)
    for cut in (120, 299, 300, 301, 360, 419):
        assert_frame_equal(said(one, frame.head(cut)), whole.head(cut))


@pytest.mark.parametrize("name", SIGNALS)
def test_every_class_fires_on_both_sides_of_a_long_walk(name):
    found = fires(signal(name), jumpy(11))
    assert all(found.values())


@pytest.mark.parametrize("name", SIGNALS)
def test_a_price_that_never_moves_fires_nothing(name):
    assert fires(signal(name), chart([100.0] * 400)) == {"long": [], "short": []}


# The registry


def test_a_group_stands_for_its_classes():
    assert dict(GROUPS) == {"momentum": {"breakout", "trend_continuation"}}
    assert members(frozenset({"momentum", "volume_spike"})) == {"breakout", "trend_continuation", "volume_spike"}


def test_an_unknown_class_or_setting_is_refused_with_the_nearest():
    with pytest.raises(UnknownNameError, match="did you mean 'breakout'"):
        signal("brakeout")
    with pytest.raises(UnknownNameError, match="did you mean 'length'"):
        signal("breakout", lenght=3)


@pytest.mark.parametrize(
    ("name", "wrong", "allowed"),
    [
        ("breakout", {"length": 1}, "a whole number of at least 2"),
        ("breakout", {"length": 2.5}, "a whole number of at least 2"),
        ("breakout", {"length": True}, "a whole number of at least 2"),
        ("mean_reversion", {"width": 0}, "a finite number above 0"),
        ("mean_reversion", {"width": float("inf")}, "a finite number above 0"),
        ("trend_continuation", {"fast": 50, "slow": 50}, "more than 50"),
    ],
)
def test_a_setting_outside_its_bounds_is_refused(name, wrong, allowed):
    with pytest.raises(OutOfBoundsError, match=allowed):
        signal(name, **wrong)


# Together


class ByHand(Strategy):
    """What a breakout of 10 bars alone comes to, written as a person would."""

    def signals(self, bars):
        ceiling, floor = bars.high.lag(1).rolling_max(10), bars.low.lag(1).rolling_min(10)
        return Signals(enter=crossed_above(bars.close, ceiling), enter_short=crossed_below(bars.close, floor))


def test_a_composed_strategy_is_the_one_written_by_hand():
    frames = {"1h": random_walk("1h", 600, seed=5)}
    one = decide(composed("Breakouts", ["breakout"])(breakout_length=10), frames, "1h")
    other = decide(ByHand(), frames, "1h")
    warm = (
        pl.int_range(pl.len()) >= 294
    )  # its strength is measured in average true ranges, which take so long to forget
    assert_frame_equal(
        one.filter(warm).select("ts", "enter", "enter_short"), other.filter(warm).select("ts", "enter", "enter_short")
    )
    assert one.filter(~warm)["enter"].any() is False
    assert one.filter(warm)["enter"].any()


def test_the_strongest_that_fires_names_the_entry():
    """Against a loop over what the classes say alone."""
    frame = jumpy(2, n=900)
    names = ["breakout", "mean_reversion", "volume_spike"]
    decided = decide(composed("Three", names)(), {"1h": frame}, "1h")
    alone = {name: said(signal(name), frame).to_dicts() for name in names}
    n_named = 0
    for t, row in enumerate(decided.to_dicts()):
        if t < 300:
            continue
        fired = [name for name in names if alone[name][t]["long"] or alone[name][t]["short"]]
        assert row["enter"] == any(bool(alone[name][t]["long"]) for name in names)
        assert row["enter_short"] == any(bool(alone[name][t]["short"]) for name in names)
        if not fired:
            assert (row["setup"], row["strength"], row["bias"]) == (None, 0.0, 0.0)
            continue
        leader = max(fired, key=lambda name: (alone[name][t]["strength"] or 0.0, [-ord(c) for c in name]))
        assert row["setup"] == leader
        assert row["strength"] == (alone[leader][t]["strength"] or 0.0)
        assert row["confidence"] == (alone[leader][t]["confidence"] or 0.0)
        assert row["bias"] == row["enter"] - row["enter_short"]
        n_named += 1
    assert n_named > 50


def test_a_class_that_does_not_know_keeps_no_other_from_firing():
    frame = random_walk("1h", 600, seed=5).with_columns(volume=pl.lit(None, pl.Float64))
    alone = decide(composed("One", ["breakout"])(), {"1h": frame}, "1h")
    beside = decide(composed("Two", ["breakout", "volume_spike"])(), {"1h": frame}, "1h")
    assert alone["enter"].any()
    assert_frame_equal(alone.select("enter", "enter_short", "setup"), beside.select("enter", "enter_short", "setup"))


def test_every_setting_is_a_parameter_of_the_composed_strategy():
    strategy = composed("Two", ["volume_spike", "breakout"])
    assert strategy(breakout_length=30) == strategy(breakout_length=30) != strategy()
    names = {f"breakout_{name}" for name in settings_of(SIGNALS["breakout"])}
    assert names < set(strategy.__dataclass_fields__)
    with pytest.raises(UnknownNameError, match="did you mean 'breakout'"):
        composed("None", ["brakeout"])


def test_classes_may_be_used_in_python_too():
    class Mine(Strategy):
        def signals(self, bars):
            return said_by({"breakout": signal("breakout", length=10)}, bars)

    frames = {"1h": random_walk("1h", 400, seed=5)}
    assert_frame_equal(
        decide(Mine(), frames, "1h"), decide(composed("B", ["breakout"])(breakout_length=10), frames, "1h")
    )
