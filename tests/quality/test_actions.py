"""Statements of corporate actions: which stand, which are set aside and why, and what a factor file says."""

from datetime import UTC, date, datetime, timedelta
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from engine.bars import forward_adjusted
from quality import tables
from quality.actions import ACTION, fold, from_factors, restated
from quality.datasets import Instrument
from tests.fakes import ONE, OTHER, small_dataset

DAY = date(2020, 6, 15)
AT = datetime(2024, 1, 1, tzinfo=UTC)
TERMS = {"quote": "USD", "settle": "USD", "tick": 0.01, "lot": 1, "min_notional": 0, "tier": "large"}
SPLIT = (DAY, "split", 2.0)
DIVIDEND = (DAY, "dividend", 0.5)


def instrument(**changes: Any) -> Instrument:
    return Instrument.model_validate({"id": ONE, "symbol": "one", **TERMS, **changes})


def statement(
    sequence: int,
    *actions: tuple[Any, Any, Any],
    source: str = "sample",
    of: str = ONE,
    span: tuple[date, date] | None = None,
) -> list[dict[str, Any]]:
    """The rows of one statement; without an action, the one row that says so."""
    first, last = span or (None, None)
    common = {
        "dataset": "small",
        "sequence": sequence,
        "instrument": of,
        "first": first,
        "last": last,
        "received_at": AT,
        "source": source,
        "origin": "a test",
    }
    rows = actions or ((None, None, None),)
    return [
        {**common, "line": line, "ex_date": ex_date, "kind": kind, "value": value}
        for line, (ex_date, kind, value) in enumerate(rows)
    ]


def folded(*statements: list[dict[str, Any]], **listing: Any) -> list[tuple[Any, ...]]:
    rows = tables.frame("raw_actions", [row for one in statements for row in one])
    return fold(rows, [instrument(**listing)]).actions.select(*ACTION).rows()


def set_aside(*statements: list[dict[str, Any]], **listing: Any) -> list[tuple[Any, ...]]:
    rows = tables.frame("raw_actions", [row for one in statements for row in one])
    return fold(rows, [instrument(**listing)]).set_aside.select("sequence", "line", "reasons").rows()


def later(days: int) -> date:
    return DAY + timedelta(days=days)


STANDING = [
    pytest.param([statement(1, SPLIT, DIVIDEND)], [DIVIDEND, SPLIT], id="one statement is believed"),
    pytest.param(
        [statement(1, SPLIT), statement(2, (DAY, "split", 3.0))], [(DAY, "split", 3.0)], id="a newer one restates it"
    ),
    pytest.param([statement(1, SPLIT, DIVIDEND), statement(2, SPLIT)], [SPLIT], id="what it lacks is withdrawn"),
    pytest.param([statement(1, SPLIT), statement(2)], [], id="one that states none withdraws all"),
    pytest.param(
        [statement(1, SPLIT), statement(2, span=(later(1), later(9)))], [SPLIT], id="it speaks only for its own days"
    ),
    pytest.param(
        [statement(1, SPLIT), statement(2, span=(DAY, later(9)))], [], id="of its own days it is all there is to say"
    ),
    pytest.param(
        [statement(1, SPLIT), statement(2, source="files")], [SPLIT], id="another source withdraws nothing of this one"
    ),
    pytest.param(
        [statement(1, SPLIT), statement(2, (DAY, "split", 3.0), source="files")],
        [(DAY, "split", 3.0)],
        id="of one ex-date the newer of two sources is believed",
    ),
    pytest.param(
        [statement(1, SPLIT), statement(2, (later(3), "split", 2.0), source="files")],
        [(later(3), "split", 2.0)],
        id="a split that two sources date a weekend apart is booked once",
    ),
    pytest.param(
        [statement(1, SPLIT), statement(2, (later(5), "split", 2.0), source="files")],
        [SPLIT, (later(5), "split", 2.0)],
        id="five days apart they are two",
    ),
    pytest.param(
        [statement(1, DIVIDEND), statement(2, (later(2), "dividend", 5.0), source="files")],
        [DIVIDEND, (later(2), "dividend", 5.0)],
        id="a special dividend beside a regular one is another",
    ),
    pytest.param(
        [statement(1, DIVIDEND, (DAY, "dividend", 2.0))],
        [(DAY, "dividend", 2.5)],
        id="two dividends of one day are added up",
    ),
    pytest.param([statement(1, DIVIDEND, DIVIDEND)], [DIVIDEND], id="the same twice counts once"),
    pytest.param([statement(1, SPLIT, of=OTHER)], [], id="an instrument that nobody wants is left out"),
]


@pytest.mark.parametrize(("statements", "believed"), STANDING)
def test_what_is_believed_follows_from_all_statements(
    statements: list[list[dict[str, Any]]], believed: list[tuple[Any, ...]]
) -> None:
    assert folded(*statements) == believed


ASIDE = [
    pytest.param((None, "split", 2.0), {}, ["no_ex_date"], id="no day"),
    pytest.param((DAY, "spin_off", 2.0), {}, ["unknown_kind"], id="a kind that nobody books"),
    pytest.param((DAY, None, 2.0), {}, ["unknown_kind"], id="no kind"),
    pytest.param((DAY, "split", 0.0), {}, ["unusable_value"], id="a split into nothing"),
    pytest.param((DAY, "dividend", -0.1), {}, ["unusable_value"], id="a dividend that is taken"),
    pytest.param((DAY, "dividend", float("nan")), {}, ["unusable_value"], id="a value that is no number"),
    pytest.param((DAY, "dividend", None), {}, ["unusable_value"], id="no value"),
    pytest.param((DAY, "split", 2.0), {"listed": DAY}, ["outside_listing"], id="the day it was listed: nobody held it"),
    pytest.param((DAY, "split", 2.0), {"delisted": later(-1)}, ["outside_listing"], id="after it was delisted"),
    pytest.param((None, None, 0.0), {}, ["no_ex_date", "unknown_kind", "unusable_value"], id="every reason is given"),
]


@pytest.mark.parametrize(("action", "listing", "reasons"), ASIDE)
def test_a_row_that_cannot_be_used_is_set_aside_with_its_reasons(
    action: tuple[Any, ...], listing: dict[str, Any], reasons: list[str]
) -> None:
    assert set_aside(statement(1, action), **listing) == [(1, 0, reasons)]
    assert folded(statement(1, action), **listing) == []


def test_two_different_splits_of_one_day_are_both_set_aside() -> None:
    both = statement(1, SPLIT, (DAY, "split", 7.0))
    assert folded(both) == []
    assert set_aside(both) == [(1, 0, ["conflicting_split"]), (1, 1, ["conflicting_split"])]


def test_what_another_source_states_otherwise_is_told() -> None:
    disputed = [statement(1, SPLIT), statement(2, (later(1), "split", 2.0), source="files")]
    assert set_aside(*disputed) == [(1, 0, ["stated_otherwise"])]
    assert set_aside(statement(1, SPLIT), statement(2, SPLIT, source="files")) == []


actions = st.tuples(
    st.integers(0, 40).map(later), st.sampled_from(["split", "dividend"]), st.sampled_from([0.5, 2.0, 3.0])
)
histories = st.lists(
    st.tuples(st.lists(actions, max_size=4), st.sampled_from(["sample", "files"])), min_size=1, max_size=5
)


@given(histories, st.randoms(use_true_random=False))
@settings(max_examples=30)
@pytest.mark.slow
def test_the_order_of_rows_means_nothing_and_an_action_is_believed_once(said: list[Any], random: Any) -> None:
    rows = [row for n, (stated, source) in enumerate(said, 1) for row in statement(n, *stated, source=source)]
    shuffled = random.sample(rows, len(rows))
    one, other = (fold(tables.frame("raw_actions", each), [instrument()]) for each in (rows, shuffled))
    assert_frame_equal(one.actions, other.actions)
    assert one.actions.select("instrument", "ex_date", "kind").is_unique().all()


@given(histories, st.lists(actions, max_size=4))
@settings(max_examples=30)
@pytest.mark.slow
def test_of_one_source_only_its_newest_statement_counts(said: list[Any], newest: list[Any]) -> None:
    before = [statement(n, *stated) for n, (stated, _) in enumerate(said, 1)]
    assert folded(*before, statement(99, *newest)) == folded(statement(99, *newest))


def test_a_restated_action_says_old_and_new() -> None:
    before = pl.DataFrame([(ONE, *SPLIT), (ONE, *DIVIDEND)], {"instrument": pl.String, **ACTION}, orient="row")
    after = pl.DataFrame(
        [(ONE, DAY, "split", 7.0), (ONE, later(1), "split", 2.0)], {"instrument": pl.String, **ACTION}, orient="row"
    )
    assert restated(before, after).rows() == [
        (ONE, DAY, "dividend", 0.5, None),
        (ONE, DAY, "split", 2.0, 7.0),
        (ONE, later(1), "split", None, 2.0),
    ]
    assert restated(before, before.with_columns(pl.col("value") * (1 + 1e-15))).is_empty()


# Factor files


def factors(*rows: tuple[date, float, float, float | None]) -> pl.DataFrame:
    return pl.DataFrame(
        rows, {"date": pl.Date, "price": pl.Float64, "split": pl.Float64, "close": pl.Float64}, orient="row"
    )


WEEK = [later(day) for day in (0, 1, 2, 3, 4, 7, 8)]  # Monday to Friday, Monday, Tuesday


def test_an_action_is_effective_at_the_session_after_its_row() -> None:
    """By hand: 1 paid on a close of 50 leaves 0.98; a row of a Friday is about the Monday."""
    stated = from_factors(factors((later(1), 0.98, 0.5, 50.0), (later(4), 1.0, 0.5, 60.0), (later(90), 1, 1, 0)), WEEK)
    assert stated.rows() == [(later(2), "dividend", 1.0), (later(7), "split", 2.0)]


def test_a_dividend_on_the_day_of_a_split_is_in_new_units() -> None:
    """100 before the day, two for one, then 1 paid on 50."""
    stated = from_factors(factors((later(1), 0.98, 0.5, 100.0), (later(90), 1, 1, 0)), WEEK)
    assert stated.rows() == [(later(2), "dividend", 1.0), (later(2), "split", 2.0)]


SPLITS = [(0.5, 2.0), (1.5, 2 / 3), (15.0, 1 / 15), (0.01785710 / 2, 112.0), (0.0357143, 28.0), (0.9987, 1 / 0.9987)]


@pytest.mark.parametrize(("before", "ratio"), SPLITS)
def test_a_ratio_of_whole_numbers_is_found_behind_seven_decimals(before: float, ratio: float) -> None:
    stated = from_factors(factors((later(1), 1, before, 50.0), (later(90), 1, 1, 0)), WEEK)
    assert stated["value"].to_list() == pytest.approx([ratio], rel=1e-5)


def test_a_dividend_without_a_reference_close_has_no_value_and_is_set_aside_later() -> None:
    stated = from_factors(factors((later(1), 0.98, 1, None), (later(90), 1, 1, None)), WEEK)
    assert stated.rows() == [(later(2), "dividend", None)]


def test_what_lies_before_the_sessions_or_after_them_has_no_ex_date_and_is_left_out() -> None:
    rows = factors((later(-3), 0.5, 1, 50.0), (later(8), 0.9, 1, 50.0), (later(90), 1, 1, 0))
    assert from_factors(rows, WEEK).is_empty()
    assert from_factors(rows, []).is_empty()


@given(
    st.lists(
        st.tuples(st.sampled_from([1.0, 2.0, 7.0, 0.5]), st.floats(0, 0.05), st.floats(20, 200)), min_size=2, max_size=8
    )
)
def test_the_actions_of_a_factor_file_carry_prices_forward_as_its_factors_carry_them_back(drawn: list[Any]) -> None:
    """A return adjusted either way is the same: price x price factor x split factor, against raw x our factor."""
    sessions = [later(day) for day in range(len(drawn) + 1)]
    closes = [close for _, _, close in drawn] + [100.0]
    price = split = 1.0
    rows = [(later(90), 1.0, 1.0, 0.0)]
    for day in reversed(range(len(drawn))):
        ratio, share, _ = drawn[day]
        split, price = split / ratio, price * (1 - share)
        rows.insert(0, (sessions[day], price, split, closes[day]))
    bars = pl.DataFrame({"session": sessions, "ts": sessions, "close": closes, "volume": [1.0] * len(sessions)})
    bars = bars.with_columns(open="close", high="close", low="close")
    stated = from_factors(factors(*rows), sessions)
    forward = forward_adjusted(bars, stated)["close"]
    back = [close * row[1] * row[2] for close, row in zip(closes, rows, strict=True)]
    assert (forward / forward[0]).to_list() == pytest.approx([one / back[0] for one in back], rel=1e-3)


# Listing


BANK = {"id": "BAC.XNYS", "symbol": "BAC", "listed": date(1998, 1, 2), **TERMS}
MERGED = {**BANK, "former": [{"symbol": "NB", "until": date(1998, 9, 30)}]}  # NationsBank took over name and ticker


def test_a_renamed_instrument_is_asked_for_under_the_name_of_each_day() -> None:
    """Trap 28: one company under several names is one instrument."""
    spans = list(Instrument.model_validate(MERGED).asked_as(date(1998, 9, 1), date(1998, 10, 31)))
    assert spans == [("NB", date(1998, 9, 1), date(1998, 9, 30)), ("BAC", date(1998, 10, 1), date(1998, 10, 31))]


ASKED = [
    pytest.param({}, (date(1999, 1, 1), date(1999, 1, 2)), ["BAC"], id="after it was renamed"),
    pytest.param({}, (date(1998, 2, 1), date(1998, 2, 2)), ["NB"], id="before it was renamed"),
    pytest.param({}, (date(1997, 2, 1), date(1998, 1, 1)), [], id="before it was listed"),
    pytest.param({"delisted": date(1999, 1, 1)}, (date(1999, 1, 2), date(1999, 2, 1)), [], id="after it was delisted"),
    pytest.param({}, (date(1998, 9, 30), date(1998, 9, 30)), ["NB"], id="the last day under the old name"),
]


@pytest.mark.parametrize(("listing", "span", "names"), ASKED)
def test_nobody_is_asked_for_days_on_which_it_was_not_listed(
    listing: dict[str, Any], span: tuple[date, date], names: list[str]
) -> None:
    assert [one[0] for one in Instrument.model_validate({**MERGED, **listing}).asked_as(*span)] == names


@given(st.lists(st.integers(0, 60), max_size=4, unique=True), st.integers(0, 70), st.integers(0, 70))
def test_the_spans_of_an_instrument_tile_its_listing(ends: list[int], a: int, b: int) -> None:
    listed, delisted = later(0), later(65)
    former = [{"symbol": f"N{day}", "until": later(day)} for day in sorted(ends)]
    one = instrument(listed=listed, delisted=delisted, former=former)
    spans = list(one.asked_as(later(min(a, b)), later(max(a, b))))
    asked = [first + timedelta(days=n) for _, first, last in spans for n in range((last - first).days + 1)]
    assert asked == [later(day) for day in range(min(a, b), min(max(a, b), 65) + 1)]


REFUSED = [
    pytest.param({"former": [{"symbol": "A", "until": later(1)}] * 2}, "names follow each other", id="not in order"),
    pytest.param({"listed": later(1), "former": [{"symbol": "A", "until": DAY}]}, "2020-06-16", id="before listing"),
    pytest.param({"delisted": DAY, "former": [{"symbol": "A", "until": DAY}]}, "delisted", id="until the very end"),
    pytest.param({"tags": ["halal", "halal"]}, "each tag once", id="a tag twice"),
    pytest.param({"listed": later(1), "delisted": DAY}, "or later", id="delisted before listed"),
]


@pytest.mark.parametrize(("changes", "sentence"), REFUSED)
def test_a_listing_that_cannot_be_is_refused(changes: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        instrument(**changes)


def test_a_universe_is_named_once() -> None:
    with pytest.raises(ValueError, match="each universe once"):
        small_dataset(universes=["liquid", "liquid"])
