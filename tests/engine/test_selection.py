"""Chosen on in-sample, judged on out-of-sample: nothing of the second may be seen by the first."""

import math
from datetime import date

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.causal import crossed_above, crossed_below
from engine.errors import InvalidInputError
from engine.evaluation import Kept
from engine.indicators import sma
from engine.selection import Trial, best, trials, walk
from engine.statistics import sharpe_ratio
from engine.strategy import Signals, Strategy
from engine.walk_forward import windows
from tests.makers import BUY, DAY, SELL, SESSION, Scripted, flat_bars, history_of, plan_of

PLAN = plan_of("X")
CLOSES = [100, 100, 110, 121, 120, 118, 119, 130, 131, 129, 140, 135]
# By the offset of a parameter set: when it buys and sells.
RISES = {0: BUY, 3: SELL}  # the two best days
FALLS = {2: BUY, 5: SELL}
SETS = {"rises": {"offset": 0.0}, "falls": {"offset": 10.0}, "idle": {"offset": 20.0}}


def days(first: int, end: int) -> list[date]:
    return [SESSION + n * DAY for n in range(first, end)]


def history(closes=CLOSES, *, judged=None):
    said: dict[int, float] = dict(RISES)
    said |= {n: code + 10 for n, code in FALLS.items()} | (judged or {})
    return history_of({"X": flat_bars(closes, said=said)})


def walked(past, *, in_sample=(0, 6), out_of_sample=(7, 10), sets=None):
    return walk(Scripted, sets or SETS, past, PLAN, in_sample=days(*in_sample), out_of_sample=days(*out_of_sample))


# The best of the trials


@pytest.mark.parametrize(
    ("tried", "chosen"),
    [
        pytest.param({"a": 0.1, "b": 0.3, "c": 0.2}, "b", id="the highest ratio"),
        pytest.param({"b": 0.3, "a": 0.3}, "a", id="of equals the smaller identity"),
        pytest.param({"a": math.nan, "b": -5.0}, "b", id="a loss is better than nothing measured"),
        pytest.param({"b": math.nan, "a": math.nan}, "a", id="of nothing measured the smaller identity"),
        pytest.param({"a": 0.0, "b": -0.0}, "a", id="zero has no sign"),
        pytest.param({"a": 1.0, "b": math.inf}, "b", id="no bound"),
    ],
)
def test_the_best_trial(tried, chosen):
    found = [Trial(identity, {}, sharpe) for identity, sharpe in tried.items()]
    assert best(found).identity == chosen
    assert best(found[::-1]).identity == chosen


# Trials


def test_every_set_is_a_trial_with_the_ratio_of_its_session_returns():
    found = {trial.identity: trial for trial in trials(Scripted, SETS, history(), PLAN, of=days(0, 6))}
    assert list(found) == list(SETS)
    assert [trial.params for trial in found.values()] == list(SETS.values())
    # "rises" buys one unit at 100 and sells at 120: equity 1,000 1,000 1,010 1,021 1,020 1,020
    equity = np.array([1_000, 1_000, 1_010, 1_021, 1_020, 1_020])
    returns = equity / np.array([1_000, *equity[:-1]]) - 1
    assert found["rises"].sharpe == pytest.approx(returns.mean() / returns.std(ddof=1))
    assert found["falls"].sharpe < 0
    assert math.isnan(found["idle"].sharpe)


def test_trials_start_flat_at_the_first_session_of_their_range():
    (found,) = trials(Scripted, {"rises": SETS["rises"]}, history(), PLAN, of=days(1, 6))
    assert math.isnan(found.sharpe)  # it would have bought on the close before


class Averaged(Strategy):
    fast: int
    slow: int

    def signals(self, bars):
        fast, slow = sma(bars.close, self.fast), sma(bars.close, self.slow)
        return Signals(enter=crossed_above(fast, slow), exit=crossed_below(fast, slow))


PAIRS = {f"{fast}/{slow}": {"fast": fast, "slow": slow} for fast in (1, 2) for slow in (3, 4)}


def test_sets_share_what_they_are_made_of_and_the_memo_keeps_it_for_the_next_run():
    memo, past = Kept(), history()
    tried = [trials(Averaged, PAIRS, past, PLAN, of=days(0, 6), memo=memo) for _ in range(2)]
    assert memo.misses == 4  # the averages of 1, 2, 3 and 4 bars
    told = {"in_sample": days(0, 6), "out_of_sample": days(7, 10)}
    kept = walk(Averaged, PAIRS, past, PLAN, **told, memo=memo)
    assert memo.misses == 4
    assert str(tried) == str([trials(Averaged, PAIRS, past, PLAN, of=days(0, 6))] * 2)
    assert kept.returns.equals(walk(Averaged, PAIRS, past, PLAN, **told).returns)


# A window


def test_what_did_best_in_sample_is_judged_out_of_sample():
    result = walked(history(judged={7: BUY}))
    assert result.chosen.identity == "rises"
    assert result.returns["session"].to_list() == days(7, 10)
    # bought at 131 on the second session, closed at the last close, 129
    assert result.returns["equity"].to_list() == [1_000, 1_000, 998]
    assert result.simulation.trades["pnl"].tolist() == [-2]


def test_out_of_sample_starts_flat_whatever_was_held_before():
    past = history_of({"X": flat_bars(CLOSES, said={0: BUY})})
    result = walked(past, sets={"rises": SETS["rises"]})
    assert result.chosen.sharpe > 0
    assert result.simulation.fills.size == 0
    assert result.returns["return"].to_list() == [0, 0, 0]


def test_a_set_that_never_traded_is_chosen_only_when_none_did():
    assert walked(history(), sets={"a": SETS["idle"], "b": SETS["falls"]}).chosen.identity == "b"
    assert walked(history(), sets={"b": SETS["idle"], "a": {"offset": 30.0}}).chosen.identity == "a"


@pytest.mark.parametrize("first", [pytest.param(5, id="the last day of in-sample"), pytest.param(2, id="inside it")])
def test_out_of_sample_that_begins_before_in_sample_ends_is_refused(first):
    message = rf"out-of-sample begins on {days(first, 9)[0]}, in-sample ends on {days(5, 6)[0]}: it must begin later"
    with pytest.raises(InvalidInputError, match=message):
        walked(history(), out_of_sample=(first, 9))


@given(st.lists(st.floats(50, 200), min_size=6, max_size=6))
@settings(max_examples=20)
@pytest.mark.slow
def test_bars_after_in_sample_change_nothing_of_the_choice(later):
    before, after = walked(history()), walked(history([*CLOSES[:6], *later], judged={6: SELL, 7: 13.0, 8: BUY}))
    assert after.chosen == before.chosen


@given(st.lists(st.floats(50, 200), min_size=3, max_size=3))
@settings(max_examples=20)
@pytest.mark.slow
def test_bars_after_out_of_sample_change_nothing_of_the_judgement(later):
    before = walked(history(judged={7: BUY}))
    after = walked(history([*CLOSES[:10], *later], judged={7: BUY, 10: SELL, 11: BUY}))
    assert after.returns.equals(before.returns)
    assert after.simulation.trades.tobytes() == before.simulation.trades.tobytes()


def test_bars_of_the_purge_belong_to_neither_side():
    before = walked(history(judged={7: BUY}))
    changed = [*CLOSES]
    changed[6] = 500
    after = walked(history(changed, judged={6: BUY, 7: BUY}))
    assert after.chosen == before.chosen
    # The decision in the purge would fill at the first open out-of-sample; the run starts flat after it.
    assert after.returns.equals(before.returns)


def test_the_ratio_of_a_choice_is_that_of_its_in_sample_returns_alone():
    past = history()
    chosen = walked(past).chosen
    (alone,) = trials(Scripted, {"rises": SETS["rises"]}, history(CLOSES[:6]), PLAN, of=days(0, 6))
    assert chosen == alone
    assert chosen.sharpe != pytest.approx(sharpe_ratio(walked(past).returns["return"].to_numpy()), nan_ok=True)


@given(
    in_sample=st.integers(1, 5),
    out_of_sample=st.integers(1, 3),
    purge=st.integers(0, 2),
    anchored=st.booleans(),
)
@settings(max_examples=15)
@pytest.mark.slow
def test_no_in_sample_session_reaches_into_out_of_sample(in_sample, out_of_sample, purge, anchored):
    past = history()
    known = dict(past.raw["X"].select("session", "known_at").iter_rows())
    opens = dict(past.raw["X"].select("session", "ts").iter_rows())
    found = windows(12, in_sample=in_sample, out_of_sample=out_of_sample, purge=purge, anchored=anchored)
    for window in found[:1] + found[1:][-1:]:
        inside, outside = ([past.sessions[n] for n in part] for part in window)
        assert max(known[session] for session in inside) + purge * DAY <= min(opens[session] for session in outside)
        result = walk(Scripted, SETS, past, PLAN, in_sample=inside, out_of_sample=outside)
        micros = [int(opens[session].timestamp()) * 1_000_000 for session in outside]
        assert result.bars.ts.tolist() == micros
        assert result.returns["session"].to_list() == outside
