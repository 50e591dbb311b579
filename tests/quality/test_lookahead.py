"""The laws hold for honest strategies and catch each mutant; the guide's table says which law catches what."""

import json
import re
from typing import get_args

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.causal import Bars, derived, kernel
from engine.indicators import ema, rsi
from engine.strategy import Signals, Strategy, signals_of
from quality.lookahead.certificate import MINIMUM_BARS, certificate, on_enough_bars
from quality.lookahead.chosen_before import Chosen, embargo, universe
from quality.lookahead.cuts import Asked, poison, prefix_at_cuts
from quality.lookahead.every_bar import every_bar
from quality.lookahead.laws import LawName, broken, held
from quality.lookahead.made_up import made_up
from quality.lookahead.market import Market, another_walk, nothing
from quality.lookahead.next_bar import next_bar
from quality.lookahead.polars_nodes import is_compiled, offences
from quality.lookahead.proof import as_computed, proof
from quality.lookahead.static_walk import static_walk
from strategies.bollinger_reversion import BollingerReversion
from strategies.sma_cross import SmaCross
from tests import lookahead_mutants as mutants
from tests.bar_frames import random_walk

X = pl.col("x")
LAWS: tuple[LawName, ...] = get_args(LawName)


def hours(n, *, seed=0):
    return Market("ONE", {"ONE": {"1h": random_walk("1h", n, seed=seed)}})


def said(strategy):
    return signals_of(strategy, Bars("1h")).said


def laws_of(columns, market):
    return {law.law: law for law in every_bar(columns, market, "1h")}


# The allowlist


@pytest.mark.parametrize(
    ("expression", "word"),
    [
        (X.shift(-1), "a shift from 1 bar ahead"),
        (X.diff(-2), "a difference from 2 bars ahead"),
        (X.shift(pl.col("n")), "a shift over a number of bars that is computed"),
        (X.rolling_mean(5, center=True).shift(3), "a centred window (mean of 5 bars)"),
        (X - X.mean(), "a whole-column mean"),
        (X - X.quantile(0.9), "a whole-column quantile"),
        (X.mean().over("session"), "a whole-column mean"),
        (X.backward_fill(), "a backward fill"),
        (X.fill_null(strategy="mean"), "a fill by a whole-column mean"),
        (X.cum_sum(reverse=True), "a running value from the end backwards"),
        (X.reverse(), "the reversed series"),
        (X.sort(), "the sorted series"),
        (X.interpolate(), "interpolation, which needs the next known value"),
        (X / pl.len(), "the number of bars, which later ones change"),
        (X.gather(3), "bars by number"),
        (X.filter(X > 1), "fewer bars than there are"),
        (X + pl.Series([1.0, 2.0]), "a series of its own, which no bar is cut from"),
        (X.map_batches(lambda values: values), "a Python function, which nobody can look into"),
        (X.rle_id(), "RLEID, which is not known to be causal"),
    ],
)
def test_what_is_not_known_to_be_causal_is_named(expression, word):
    assert offences(expression) == [word]


@pytest.mark.parametrize(
    "expression",
    [
        X.shift(0) + X.shift(3),
        X.rolling_mean(5) - X.rolling_std(5, ddof=0) + X.rolling_median(3),
        X.ewm_mean(span=9).forward_fill(),
        X.cum_sum().over("session"),
        X.struct.field("upper"),
        pl.int_range(pl.len()) - pl.when(X > 1).then(X.cum_max()).otherwise(X.cum_count()),
        pl.mean_horizontal(X, X.abs().sqrt().log().sign()).clip(0, 1).cast(pl.Float64).fill_nan(None),
        pl.col("ts").dt.hour() + pl.col("session").dt.weekday(),
        ~((X > 1) & X.is_not_null()) | X.is_between(0, 1),
    ],
)
def test_what_is_causal_is_let_through(expression):
    assert offences(expression) == []


def test_of_compiled_code_only_that_of_talib_is_let_through():
    column = ema(Bars("1h").close, 5)
    expression = column.function(X)
    assert is_compiled(expression)
    assert offences(expression) == []
    tree = expression.meta.serialize(format="json").replace("_polars_talib", "my_own")
    assert offences(pl.Expr.deserialize(tree.encode(), format="json")) == [
        "a compiled function that is not TA-Lib's (ema of my_own.abi3.so)"
    ]


def test_the_walk_names_the_node_in_the_strategys_own_terms():
    law = static_walk(said(mutants.Tomorrow()))
    assert (law.passed, law.column) == (False, "enter")
    assert law.detail == "enter: tomorrow(close on 1h) uses a shift from 1 bar ahead"


def test_a_kernel_is_let_through_where_the_engine_owns_it():
    def own(values):
        return values

    column = kernel(own, Bars("1h").close, name="mine") > 1
    assert "not the engine's own" in static_walk({"enter": column}).detail


# Every bar


def test_an_honest_strategy_keeps_the_laws_at_every_bar():
    laws = laws_of(said(SmaCross(fast=3, slow=9)), hours(200))
    assert all(law.passed for law in laws.values())
    assert "4 nodes cut at every one of 200 bars" in laws["prefix"].detail


def test_a_cheat_on_one_bar_of_many_is_found_on_that_bar():
    market = mutants.a_great_fall(900)
    law = laws_of(said(mutants.OnceInFiveYears()), market)["prefix"]
    assert (law.passed, law.first_bar, law.column) == (False, 300, "enter")
    assert "sight(close on 1h) is unknown on what is known at" in law.detail


def test_what_lies_farther_ahead_than_a_block_is_found():
    far = derived(lambda closes: closes.shift(-200).fill_null(0.0), Bars("1h").close, name="far")
    law = laws_of({"enter": far > 100.0}, hours(600))["prefix"]
    assert (law.passed, law.first_bar) == (False, 0)


def test_a_bit_in_the_tenth_digit_is_not_taken_for_rounding():
    assert not laws_of(said(mutants.InTheLastBit()), hours(200))["prefix"].passed


def test_a_warm_up_that_is_too_short_breaks_its_own_law_and_no_other():
    laws = laws_of(said(mutants.Understated()), hours(300))
    assert [name for name, law in laws.items() if not law.passed] == ["warm_up"]
    assert "with 4 bars of history" in laws["warm_up"].detail


def test_a_recursive_indicator_may_remember_more_of_a_wild_past_than_of_a_quiet_one():
    market = hours(800)
    wild = np.where(np.arange(800) % 400 < 30, 0.05, 0.0005)
    closes = 100 * np.exp(np.cumsum(np.random.default_rng(4).normal(0, 1, 800) * wild))
    bars = market.bars("1h").with_columns(close=pl.Series(closes))
    laws = laws_of({"enter": rsi(Bars("1h").close, 14) > 50}, market._replace(frames={"ONE": {"1h": bars}}))
    assert all(law.passed for law in laws.values()), laws


def test_nulls_in_the_middle_raise_no_false_alarm():
    market = hours(500)
    row = pl.int_range(pl.len())
    bars = market.bars("1h").with_columns(volume=pl.when(row % 97 != 50).then("volume"))
    columns = {
        "enter": Bars("1h").volume.rolling_mean(5) > Bars("1h").volume.lag(2),
        "exit": rsi(Bars("1h").volume, 5) > 50,
    }
    laws = laws_of(columns, market._replace(frames={"ONE": {"1h": bars}}))
    assert all(law.passed for law in laws.values()), laws


def test_what_is_grouped_by_session_is_cut_one_by_one():
    def of_session(function):
        return derived(
            lambda closes: function(closes).over("session"), Bars("1h").close, name="by_session", anchored=True
        )

    honest = laws_of({"enter": of_session(lambda closes: closes.cum_max()) > 1}, hours(60))
    ahead = laws_of({"enter": of_session(lambda closes: closes.cum_max(reverse=True)) > 1}, hours(60))
    assert (honest["prefix"].passed, ahead["prefix"].passed) == (True, False)


def test_a_bar_that_counts_as_known_before_it_has_closed_is_found():
    law = laws_of(said(BollingerReversion(length=3, width=1.0)), mutants.days_known_from_their_open())["alignment"]
    assert (law.passed, law.first_bar, law.column) == (False, 1, "1d")


def test_an_empty_series_proves_nothing():
    empty = hours(10)._replace(frames={"ONE": {"1h": hours(10).bars("1h").head(0)}})
    assert not any(law.passed for law in every_bar(said(SmaCross()), empty, "1h"))
    assert not next_bar(mutants._fills(1), {"enter": np.array([], dtype=bool)}).passed


def test_features_are_held_against_what_they_are_computed_from():
    market, column = hours(100), {"mean": Bars("1h").close.rolling_mean(3)}
    right = market.bars("1h").with_columns(mean=pl.col("close").rolling_mean(3))
    ahead = market.bars("1h").with_columns(mean=pl.col("close").rolling_mean(3).shift(-1))
    kept, moved = (market._replace(frames={"ONE": {"1h": bars}}) for bars in (right, ahead))
    assert as_computed(column, kept, "1h").passed
    assert as_computed(column, moved, "1h").first_bar == 1


# The whole


def asked(decide, market, history=0):
    return Asked(decide, market, "1h", history)


def test_a_past_that_is_repainted_is_caught_where_it_changed():
    def repaint(market):
        bars = market.bars("1h")
        return bars.select("ts", enter=pl.int_range(pl.len()) == pl.lit(5 if bars.height > 280 else 4))

    market = hours(288)
    law = prefix_at_cuts(asked(repaint, market, history=300), repaint(market))
    assert (law.passed, law.first_bar) == (False, 4)


@pytest.mark.parametrize(
    ("columns", "detail"),
    [
        pytest.param(lambda bars: bars.select("ts").head(3), "the run gives 3 rows for 90 bars", id="bars are lost"),
        pytest.param(
            lambda bars: bars.select("ts", "open" if bars.height == 90 else "close"), "must be", id="the shape changes"
        ),
    ],
)
def test_a_run_of_another_shape_is_no_pass(columns, detail):
    def decide(market):
        return columns(market.bars("1h"))

    law = prefix_at_cuts(asked(decide, hours(90), history=100), decide(hours(90)))
    assert not law.passed
    assert detail in law.detail


def test_poison_is_other_prices_of_the_same_bars():
    bars = random_walk("1h", 50, seed=1)
    walked = another_walk(bars)
    assert walked.columns == bars.columns
    assert walked["ts"].equals(bars["ts"])
    assert (walked["high"] >= walked["low"]).all()
    assert not walked["close"].equals(bars["close"])
    assert nothing(bars)["close"].is_nan().all()


def test_the_poison_law_catches_what_looks_at_how_the_series_ends():
    def decide(market):
        bars = market.bars("1h")
        return bars.select("ts", enter=pl.col("close") < pl.col("close").last())

    law = poison(asked(decide, hours(100)), decide(hours(100)))
    assert (law.passed, law.column) == (False, "enter")


def test_made_up_bars_hold_together_in_every_timeframe():
    invented = made_up(mutants.market(20), "1h", n_bars=2_000)
    bars, days = invented.bars("1h"), invented.frames["ONE"]["1d"]
    assert bars.height == 2_000
    assert days["known_at"].is_in(bars["known_at"].implode()).all()
    assert (bars["high"] >= bars.select(pl.max_horizontal("open", "close")).to_series()).all()
    moves = (bars["close"] / bars["close"].shift(1) - 1).drop_nulls()
    assert moves.min() < -0.3, "a crash"
    assert moves.max() > 0.3, "a spike"
    assert (moves == 0).sum() > 50, "a stretch without a move"
    assert invented.bars("1h").equals(made_up(mutants.market(20), "1h", n_bars=2_000).bars("1h"))


@pytest.mark.slow
@given(
    st.sampled_from([SmaCross(fast=3, slow=9), BollingerReversion(length=5, width=1.5), mutants.Recursive()]),
    st.integers(0, 10_000),
)
@settings(max_examples=10)
def test_an_honest_strategy_is_never_flagged(strategy, seed):
    market = mutants.market(60, seed=seed)
    there = np.random.default_rng(seed).random(60 * 24) > 0.05
    gapped = {**market.frames["ONE"], "1h": market.bars("1h").filter(pl.Series(there))}
    for law in proof(strategy, market._replace(frames={"ONE": gapped}), "1h").laws:
        assert law.passed, law.detail


# Next bar, universe, embargo


@given(st.integers(0, 1000))
@settings(max_examples=5)
def test_fills_at_the_next_open_keep_the_next_bar_law(seed):
    assert next_bar(mutants._fills(1), random_decisions(seed)).passed


@given(st.integers(0, 1000))
@settings(max_examples=5)
def test_a_kernel_that_fills_on_the_same_bar_is_caught(seed):
    law = next_bar(mutants._fills(0), random_decisions(seed))
    assert (law.passed, law.column) == (False, "equity")
    assert "moves equity on bar" in law.detail


def random_decisions(seed):
    rng = np.random.default_rng(seed)
    return {name: rng.random(60) < 0.2 for name in ("enter", "exit")}


def test_a_decision_that_was_never_made_is_tried_too():
    never = {name: np.zeros(60, dtype=bool) for name in ("enter", "exit")}
    assert not next_bar(mutants._fills(0), never).passed


def test_weights_are_turned_round_and_arrays_of_several_instruments_compared():
    def simulate(decisions, back):
        return {"equity": np.roll(np.nan_to_num(decisions["weights"]), back, axis=0)}

    weights = {"weights": np.full((10, 3), 0.5)}
    assert next_bar(lambda decisions: simulate(decisions, 0), weights, n_bars=10).first_bar == 0
    assert next_bar(lambda _: {"equity": np.full((10, 3), np.nan)}, weights).passed


def test_a_universe_of_nothing_and_verdicts_of_nobody_are_kept():
    assert universe({}).detail == "nothing is chosen by a universe"
    assert embargo(lambda record: record, mutants.verdicts().head(0)).detail == "no session was judged"


def test_a_member_by_the_sessions_own_volume_is_caught_on_a_session_of_choice():
    law = universe({"ONE": Chosen(mutants._chosen_by_today, mutants._sessions(), 10)})
    assert (law.passed, law.column) == (False, "traded_value")


def test_an_embargo_by_its_own_verdict_is_caught():
    assert embargo(mutants._embargoed_at_once, mutants.verdicts()).column == "embargoed"


# The certificate

HELD = [held(name, "") for name in LAWS]
BROKEN = broken("prefix", "differs", first_bar=7, column="enter")


def test_a_certificate_needs_every_law_on_every_instrument():
    good = certificate("sma_cross@1.0.0", {"A": HELD, "B": HELD}, bars_checked=1000, code="sha256:0")
    assert good.certified
    assert [law.law for law in good.laws] == [*LAWS]
    assert json.loads(good.model_dump_json())["laws"][0] == {
        "law": "static_walk",
        "passed": True,
        "first_bar": None,
        "column": None,
        "detail": "held on 2 instruments: ",
    }


@pytest.mark.parametrize(
    ("laws", "bars_checked", "detail"),
    [
        pytest.param({"A": HELD, "B": [BROKEN, *HELD]}, 1000, "B: differs", id="one broken law"),
        pytest.param({"A": HELD, "B": [HELD[0], *HELD[2:]]}, 1000, "B: not run", id="a law not run somewhere"),
        pytest.param({}, 0, "run on no instrument", id="nothing run"),
        pytest.param({"A": HELD}, 0, "", id="no bar checked"),
    ],
)
def test_what_was_not_proved_is_not_certified(laws, bars_checked, detail):
    refused = certificate("x@1.0.0", laws, bars_checked=bars_checked, code="sha256:0")
    assert not refused.certified
    assert refused.laws[1].detail == detail


def test_a_law_that_is_run_once_stands_for_all_instruments():
    once = [broken("next_bar", "on bar 3")]
    made = certificate("x@1.0.0", {"A": HELD}, once=once, bars_checked=9, code="sha256:0")
    assert [law.law for law in made.laws if not law.passed] == ["next_bar"]


def test_few_bars_prove_nothing():
    law = on_enough_bars(held("prefix", "fine"), MINIMUM_BARS - 1)
    assert law.detail == "only 499 bars to prove it on, 500 are needed"
    assert on_enough_bars(held("prefix", "fine"), MINIMUM_BARS).passed


# The guide


class Quiet(Strategy):
    def signals(self, bars: Bars) -> Signals:
        return Signals(enter=bars.close > 1e9)


@pytest.mark.slow
def test_what_never_fired_is_said():
    law = mutants.found(Quiet())["rare_states"]
    assert law.passed
    assert law.detail.endswith("never fired: enter")


@pytest.mark.slow
def test_the_table_of_the_guide_is_what_the_laws_say():
    page = mutants.GUIDE.read_text()
    assert mutants.with_table(page, mutants.table()) == page


def test_the_guides_table_has_every_mutant_caught_and_no_clean_one():
    rows = [line.split(" | ") for line in mutants.GUIDE.read_text().splitlines() if line.startswith("| ")]
    cells = {row[0].removeprefix("| "): row[1:] for row in rows}
    for name in mutants.MUTANTS:
        assert any("caught" in cell for cell in cells[name]), name
    for name in mutants.CLEAN:
        assert not any("caught" in cell for cell in cells[name]), name


@pytest.mark.slow
def test_the_example_of_the_guide_prints_what_stands_below_it(capsys):
    page = mutants.GUIDE.read_text()
    (code,) = re.findall(r"^```python\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    (printed,) = re.findall(r"^```text\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    exec(compile(code, mutants.GUIDE.name, "exec"), {})  # noqa: S102 - our own page
    assert capsys.readouterr().out == printed


def test_the_guide_has_every_law_and_says_what_each_is():
    page = mutants.GUIDE.read_text()
    assert [name for name in LAWS if f"| `{name}` |" not in page] == []
