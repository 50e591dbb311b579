"""Trees of columns on bars: other instruments, functions across them, the memo, and names in the strategy's own terms."""

from datetime import timedelta

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.causal import (
    Bars,
    bars_since,
    crossed_above,
    deviation_across,
    kernel,
    log,
    maximum,
    mean_across,
    minimum,
    rank,
    sign,
    sqrt,
    value_when,
    where,
)
from engine.errors import ColumnKindError, OutOfBoundsError, UnknownNameError
from engine.evaluation import Kept, evaluate
from engine.indicators import ema, sma
from tests.bar_frames import bar_frame, random_walk

HOUR = timedelta(hours=1)
HOURS = Bars("1h")
CLOSE = HOURS.close


def values(column, closes, **more):
    return evaluate({"it": column}, {"1h": bar_frame(closes, step=HOUR)}, "1h", **more)["it"].to_list()


@pytest.mark.parametrize(
    ("column", "expected"),
    [
        (CLOSE.expanding_max(), [3, 3, 4, 4]),
        (CLOSE.expanding_min(), [3, 1, 1, 1]),
        (CLOSE.expanding_sum(), [3, 4, 8, 10]),
        (CLOSE.expanding_mean(), [3, 2, 8 / 3, 2.5]),
        (CLOSE.rolling_median(3), [None, None, 3, 2]),
        ((CLOSE > 2).rolling_count(2), [None, 1, 1, 1]),
        (where(CLOSE > 2, CLOSE, 0), [3, 0, 4, 0]),
        (maximum(CLOSE, 2), [3, 2, 4, 2]),
        (minimum(CLOSE, 2), [2, 1, 2, 2]),
        (sign(CLOSE - 2), [1, -1, 1, 0]),
        (sqrt(CLOSE - 2), [1, None, 2**0.5, 0]),
        (log(CLOSE - 3), [None, None, 0, None]),
        (CLOSE.clip(2, 3), [3, 2, 3, 2]),
        (bars_since(CLOSE > 3), [None, None, 0, 1]),
        (value_when(CLOSE < 2, CLOSE), [None, 1, 1, 1]),
        (HOURS.new_session, [True, False, False, False]),
        (HOURS.minute_of_day, [0, 60, 120, 180]),
        (HOURS.weekday, [3, 3, 3, 3]),  # 2020-01-01 was a Wednesday
    ],
    ids=str,
)
def test_a_function_of_columns_by_hand(column, expected):
    assert values(column, [3.0, 1.0, 4.0, 2.0]) == pytest.approx(expected)


def test_bounds_of_a_clip_are_in_order():
    with pytest.raises(OutOfBoundsError, match="more than 3"):
        CLOSE.clip(3, 3)


def test_another_instrument_is_seen_from_its_close_on():
    other = bar_frame([10.0, 20.0, 30.0], step=HOUR)
    late = other.with_columns(pl.col("known_at").dt.offset_by("30m"))  # closes inside the next bar
    assert values(HOURS.of("B").close, [1.0, 1.0, 1.0], others={"B": {"1h": late}}) == [None, 10, 20]


def test_an_instrument_that_is_not_there_is_named():
    with pytest.raises(UnknownNameError, match="unknown instrument 'BTC': did you mean 'BTCUSD'"):
        values(HOURS.of("BTC").close, [1.0], others={"BTCUSD": {"1h": bar_frame([1.0], step=HOUR)}})


def test_an_instrument_may_name_itself():
    spread = CLOSE - HOURS.of("A").close.lag(1)
    assert values(spread, [1.0, 3.0], instrument="A") == [None, 2]


def market(**closes):
    return {name: {"1h": bar_frame(own, step=HOUR)} for name, own in closes.items()}


def test_a_rank_counts_those_below_and_half_of_the_equal():
    others = market(B=[2.0, 1.0, 9.0], C=[3.0, 1.0, 9.0])
    assert values(rank(CLOSE), [1.0, 1.0, 10.0], instrument="A", others=others) == [0, 0.5, 1]


def test_who_has_no_bar_is_not_ranked():
    others = market(B=[2.0, 2.0])
    others["B"]["1h"] = others["B"]["1h"].head(1)
    assert values(rank(CLOSE), [1.0, 1.0], instrument="A", others=others) == [0, 0.5]


def test_peers_are_those_that_are_asked_for():
    others = market(B=[2.0], C=[3.0])
    assert values(mean_across(CLOSE), [1.0], instrument="A", others=others, peers=["A", "C"]) == [2]
    assert values(deviation_across(CLOSE), [1.0], instrument="A", others=others, peers=["A", "C"]) == [1]


def test_functions_across_instruments_are_for_the_bars_handed_in():
    with pytest.raises(ColumnKindError, match="a column of B"):
        rank(HOURS.of("B").close)


def test_functions_across_look_at_each_ones_own_columns():
    """Both instruments' own means are compared, not the asked one's mean with itself."""
    others = market(B=[5.0, 1.0])
    assert values(rank(CLOSE.rolling_mean(2)), [2.0, 2.0], instrument="A", others=others) == [None, 0]


def doubled(closes):
    return 2 * closes


def test_a_kernel_is_a_function_of_arrays():
    column = kernel(doubled, CLOSE, name="doubled")
    assert values(column, [1.0, 2.0]) == [2, 4]
    assert str(column) == "doubled(close on 1h)"


def test_a_column_says_itself_in_the_strategys_terms():
    said = str(crossed_above(sma(CLOSE, 20), HOURS.on("1d").close * 2) & (HOURS.of("B").volume > 0))
    assert said == "(crossed_above(rolling_mean(close on 1h, 20), (close on 1d * 2)) & (volume of B on 1h > 0))"


def test_equal_columns_have_one_key_and_others_another():
    assert sma(CLOSE, 20).key == sma(HOURS.close, 20).key
    different = [
        CLOSE,
        HOURS.open,
        sma(CLOSE, 20),
        sma(CLOSE, 21),
        ema(CLOSE, 20),
        HOURS.on("1d").close,
        HOURS.of("B").close,
    ]
    assert len({column.key for column in different}) == len(different)


def test_a_sweep_computes_no_indicator_twice():
    memo, frames = Kept(), {"1h": random_walk("1h", 300, seed=1)}
    pairs = [(fast, slow) for fast in (5, 10, 20) for slow in (30, 40, 50)]
    for fast, slow in pairs:
        evaluate({"it": crossed_above(sma(CLOSE, fast), sma(CLOSE, slow))}, frames, "1h", memo=memo)
    assert (memo.misses, memo.hits) == (6, 2 * len(pairs) - 6)


NUMBERS = st.sampled_from([CLOSE, HOURS.open, HOURS.on("4h").close, HOURS.of("B").close, HOURS.of("B").on("4h").low])


def steps(columns):
    n = st.integers(1, 5)
    return st.one_of(
        st.builds(lambda a, b: a - b, columns, columns),
        st.builds(lambda a, k: a.lag(k), columns, n),
        st.builds(lambda a, k: a.rolling_mean(k), columns, n),
        st.builds(lambda a: a.expanding_max(), columns),
        st.builds(lambda a, b: value_when(a > b, a), columns, columns),
        st.builds(lambda a, b: bars_since(crossed_above(a, b)), columns, columns),
        st.builds(maximum, columns, columns),
    )


@given(st.recursive(NUMBERS, steps, max_leaves=6), st.integers(0, 1000), st.data())
def test_no_column_changes_when_later_bars_of_anyone_are_cut(column, seed, data):
    rng = np.random.default_rng(seed)

    def drawn(more):
        return {
            "1h": random_walk("1h", 72, seed=seed + more).filter(pl.Series(rng.random(72) > 0.1)),
            "4h": random_walk("4h", 18, seed=seed + more),
        }

    own, other = drawn(0), drawn(1)
    wanted = {"number": column, "truth": column > column.lag(1)}
    if column.instrument is None:
        wanted["rank"] = rank(column)
    whole = evaluate(wanted, own, "1h", instrument="A", others={"B": other}, memo=Kept())
    n = data.draw(st.integers(1, whole.height))
    now = own["1h"]["known_at"][n - 1]

    def cut(frames):
        return {name: frame.filter(pl.col("known_at") <= now) for name, frame in frames.items()}

    assert evaluate(wanted, cut(own), "1h", instrument="A", others={"B": cut(other)}).equals(whole.head(n))


def test_who_is_no_member_in_a_session_is_not_looked_at():
    day = timedelta(hours=24)
    others = {"B": {"1h": bar_frame([2.0, 2.0], step=day)}, "C": {"1h": bar_frame([3.0, 3.0], step=day)}}
    sessions = others["B"]["1h"]["session"]
    members = pl.DataFrame({"session": [*sessions, *sessions, sessions[1]], "instrument": ["A", "A", "B", "B", "C"]})
    frames = {"1h": bar_frame([2.5, 2.5], step=day)}
    asked = evaluate({"it": rank(CLOSE)}, frames, "1h", instrument="A", others=others, members=members)
    assert asked["it"].to_list() == [1, 0.5]
    outside = members.filter(pl.col("instrument") != "A")
    asked = evaluate({"it": rank(CLOSE)}, frames, "1h", instrument="A", others=others, members=outside)
    assert asked["it"].to_list() == [None, None]
