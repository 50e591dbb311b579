"""Strategies asked bar by bar: what they see, what they cannot see, and that they decide as columns do."""

from typing import Any

import polars as pl
import pytest

from engine.causal import Bars, crossed_above, crossed_below
from engine.errors import StrategyError
from engine.indicators import sma
from engine.stateful import Answer, DataWindow
from engine.strategy import Signals, Stateful, Strategy, decide, warm_up_bars
from tests.bar_frames import random_walk

FRAMES = {"1h": random_walk("1h", 480, seed=3), "1d": random_walk("1d", 20, seed=4)}


class Crossing(Strategy):
    length: int = 10

    def signals(self, bars: Bars) -> Signals:
        mean = sma(bars.close, self.length)
        return Signals(enter=crossed_above(bars.close, mean), exit=crossed_below(bars.close, mean))


class SteppedCrossing(Stateful):
    warm_up = 10
    length: int = 10

    def start(self) -> dict[str, Any]:
        return {"above": False}

    def on_bar(self, bars: DataWindow, memory: dict[str, Any]) -> Answer:
        if len(bars) < self.length:
            return Answer()
        mean = float(pl.Series(bars.close[-self.length :]).mean())  # type: ignore[arg-type]
        was, memory["above"] = memory["above"], bars.close[-1] > mean
        return Answer(enter=memory["above"] and not was, exit=bars.close[-1] < mean and was)


def test_a_loop_decides_as_the_columns_that_say_the_same():
    stepped, columns = decide(SteppedCrossing(), FRAMES, "1h"), decide(Crossing(), FRAMES, "1h")
    assert stepped.columns == columns.columns
    assert stepped.schema == columns.schema
    assert stepped["enter"].to_list() == columns["enter"].to_list()
    assert stepped["enter"].sum() > 10
    assert warm_up_bars(SteppedCrossing(), "1h") == 10


def asked(on_bar):
    return decide(type("Probe", (Stateful,), {"on_bar": on_bar})(), FRAMES, "1h")


@pytest.mark.parametrize(
    "peek",
    [
        lambda bars: bars.close[len(bars)],
        lambda bars: bars.close[: len(bars) + 1],
        lambda bars: bars.close[-len(bars) - 1],
        lambda bars: bars.on("1d").close[len(bars.on("1d"))],
    ],
    ids=["the next bar", "a slice past the current one", "before the first", "the day that is forming"],
)
def test_past_the_current_bar_it_raises(peek):
    with pytest.raises(StrategyError, match=r"bars are known: -1 is the bar that has just closed"):
        asked(lambda self, bars, memory: Answer(enter=peek(bars) is None))


def test_what_is_seen_ends_with_the_current_bar():
    seen = []

    def on_bar(self, bars, memory):
        seen.append((len(bars), bars.close[-1], bars.close[:].size, bars.ts, len(bars.on("1d"))))
        return Answer()

    asked(on_bar)
    closes, opened = FRAMES["1h"]["close"], FRAMES["1h"]["ts"]
    assert seen == [(t + 1, closes[t], t + 1, opened[t], (t + 1) // 24) for t in range(480)]


def test_what_is_seen_cannot_be_written_to():
    def on_bar(self, bars, memory):
        bars.close[:][0] = 1.0

    with pytest.raises(StrategyError, match="read-only"):
        asked(on_bar)


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (None, "on_bar returned NoneType on the bar of 2020-01-01 00:00:00"),
        (Answer(enter=1), "enter is 1 on the bar"),
        (Answer(strength=1.5), "strength is 1.5 on the bar of .* from 0 to 1"),
        (Answer(stop=-1.0), "stop is -1 on the bar of .*, must be above 0"),
        (Answer(weight=float("nan")), "weight is nan on the bar"),
    ],
    ids=["nothing", "no truth", "too strong", "no distance", "no number"],
)
def test_an_answer_that_cannot_mean_anything_is_refused_with_its_bar(answer, message):
    with pytest.raises(StrategyError, match=message):
        asked(lambda self, bars, memory: answer)


def test_each_run_begins_with_a_memory_of_its_own():
    assert decide(SteppedCrossing(), FRAMES, "1h").equals(decide(SteppedCrossing(), FRAMES, "1h"))


def test_a_slice_cannot_be_widened_to_what_comes_after():
    seen = []

    def on_bar(self, bars, memory):
        last = bars.close[-2:]
        seen.append((last.base is None, last.flags.writeable))
        return Answer()

    asked(on_bar)
    assert set(seen) == {(True, False)}


@pytest.mark.parametrize("bars", [-1, 20.5, "x"])
def test_a_warm_up_is_a_number_of_bars(bars):
    silent = type("Silent", (Stateful,), {"warm_up": bars, "on_bar": lambda self, bars, memory: Answer()})()
    with pytest.raises(StrategyError, match=r"warm_up is .*, must be a whole number of at least 0"):
        decide(silent, FRAMES, "1h")


def test_a_setup_is_a_name():
    with pytest.raises(StrategyError, match="setup is 5 on the bar"):
        asked(lambda self, bars, memory: Answer(setup=5))
