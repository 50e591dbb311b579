"""The rules of a universe: every exclusion has its reasons, and the dead stay in."""

from datetime import date, timedelta
from typing import Any

import polars as pl
import pytest

from quality.configuration import parse
from quality.datasets import Instrument
from quality.errors import ConfigurationError
from quality.universe import Universe, UniversePolicy, judge, of_dataset
from tests.fakes import ONE, small_dataset

FIRST = date(2024, 1, 1)  # a Monday
TERMS = {"quote": "USD", "settle": "USD", "tick": 0.01, "lot": 1, "min_notional": 0, "tier": "large"}
MEASURED = {"history_sessions": 300, "traded_value": 5e6, "spread_bps": 20.0, "completeness": 1.0}
TYPES = {"history_sessions": pl.Int64, **dict.fromkeys(["traded_value", "spread_bps", "completeness"], pl.Float64)}
ALL_RULES = {
    "min_history_sessions": {"limit": 250, "why": "a test"},
    "min_traded_value": {"limit": 1e6, "why": "a test"},
    "max_spread_bps": {"limit": 50, "why": "a test"},
    "min_completeness": {"limit": 0.95, "why": "a test"},
}


def universe(**rules: Any) -> Universe:
    return Universe.model_validate({"refresh": "weekly", "window_sessions": 20, **rules})


def tags(*names: str) -> dict[str, Any]:
    return {"tags": list(names), "why": "a test"}


def one(**listing: Any) -> Instrument:
    return Instrument.model_validate({"id": ONE, "symbol": "one", **TERMS, **listing})


def measured(*rows: dict[str, Any]) -> pl.DataFrame:
    """A session each, from a Monday on; the usual measures but for what each says."""
    days = [FIRST + timedelta(days=n) for n in range(len(rows))]
    frame = pl.DataFrame([{**MEASURED, **row} for row in rows], TYPES)
    return frame.select(pl.Series("session", days, pl.Date), pl.all())


def reasons(measures: dict[str, Any], rules: dict[str, Any], listing: dict[str, Any]) -> list[str]:
    (row,) = judge(measured(measures), one(**listing), universe(**rules)).to_dicts()
    assert row["member"] is (row["reasons"] == [])
    return list(row["reasons"])


SCENARIOS = [
    pytest.param({}, ALL_RULES, {}, [], id="who keeps every rule is a member"),
    pytest.param({"history_sessions": 249}, ALL_RULES, {}, ["min_history_sessions"], id="one session too young"),
    pytest.param({"traded_value": 999_999.0}, ALL_RULES, {}, ["min_traded_value"], id="too little trades"),
    pytest.param({"spread_bps": 50.1}, ALL_RULES, {}, ["max_spread_bps"], id="too wide"),
    pytest.param({"completeness": 0.9}, ALL_RULES, {}, ["min_completeness"], id="too many bars missing"),
    pytest.param({"spread_bps": 50.0, "traded_value": 1e6}, ALL_RULES, {}, [], id="a limit may be reached"),
    pytest.param(
        dict.fromkeys(MEASURED) | {"history_sessions": 0},
        ALL_RULES,
        {},
        list(ALL_RULES),
        id="what is not known breaks all",
    ),
    pytest.param(dict.fromkeys(MEASURED) | {"history_sessions": 0}, {}, {}, [], id="without rules everybody is in"),
    pytest.param({}, {"required_tags": tags("halal")}, {}, ["required_tags"], id="a required tag is missing"),
    pytest.param({}, {"required_tags": tags("halal")}, {"tags": ["halal", "big"]}, [], id="it has the required tag"),
    pytest.param(
        {}, {"forbidden_tags": tags("levered")}, {"tags": ["levered"]}, ["forbidden_tags"], id="it has a forbidden tag"
    ),
    pytest.param({}, ALL_RULES, {"listed": FIRST + timedelta(days=1)}, ["not_listed"], id="not listed yet"),
    pytest.param({}, ALL_RULES, {"delisted": FIRST - timedelta(days=1)}, ["not_listed"], id="not listed any more"),
    pytest.param({}, ALL_RULES, {"listed": FIRST, "delisted": FIRST}, [], id="listed for that one day"),
    pytest.param(
        {"spread_bps": 60.0, "completeness": 0.1},
        ALL_RULES,
        {"delisted": FIRST - timedelta(days=1)},
        ["max_spread_bps", "min_completeness", "not_listed"],
        id="every reason is given",
    ),
]


@pytest.mark.parametrize(("measures", "rules", "listing", "expected"), SCENARIOS)
def test_every_exclusion_has_its_reasons(
    measures: dict[str, Any], rules: dict[str, Any], listing: dict[str, Any], expected: list[str]
) -> None:
    assert sorted(reasons(measures, rules, listing)) == sorted(expected)


@pytest.mark.parametrize(
    ("refresh", "days"), [("weekly", [FIRST] * 7 + [FIRST + timedelta(days=7)] * 3), ("monthly", [FIRST] * 10)]
)
def test_what_was_measured_holds_until_the_next_week_or_month(refresh: str, days: list[date]) -> None:
    rows = [{"traded_value": float(n)} for n in range(10)]
    found = judge(measured(*rows), one(), universe(refresh=refresh, min_traded_value={"limit": 5, "why": "a test"}))
    assert found["measured_on"].to_list() == days
    assert found["traded_value"].to_list() == [float((day - FIRST).days) for day in days]
    assert found["member"].to_list() == [day != FIRST for day in days]


def test_a_month_without_its_first_days_is_measured_on_its_first_session() -> None:
    rows = measured({}, {}, {}).with_columns(session=pl.Series([date(2024, 1, 30), date(2024, 2, 5), date(2024, 2, 6)]))
    found = judge(rows, one(), universe(refresh="monthly"))
    assert found["measured_on"].to_list() == [date(2024, 1, 30), date(2024, 2, 5), date(2024, 2, 5)]


def test_the_dead_stay_in_until_their_last_session_and_the_newborn_wait_for_theirs() -> None:
    """Within a week, as listing is looked at every session."""
    delisted = judge(measured({}, {}, {}), one(delisted=FIRST + timedelta(days=1)), universe(**ALL_RULES))
    assert delisted["member"].to_list() == [True, True, False]
    listed = judge(measured({}, {}, {}), one(listed=FIRST + timedelta(days=1)), universe(**ALL_RULES))
    assert listed["member"].to_list() == [False, True, True]


@pytest.mark.parametrize(
    ("value", "tier"), [(None, "large"), (0.5, "large"), (1.0, "small"), (99.0, "small"), (100.0, "core")]
)
def test_a_tier_follows_what_trades_and_falls_back_on_the_data_sets(value: float | None, tier: str) -> None:
    (row,) = judge(measured({"traded_value": value}), one(), universe(tiers={"core": 100, "small": 1})).to_dicts()
    assert row["tier"] == tier


POLICY = """\
schema: 1
liquid:
  refresh: weekly
  window_sessions: 20
"""
REFUSED = [
    pytest.param("  max_spread: {limit: 5, why: x}", "unknown key 'liquid.max_spread'", id="a rule nobody knows"),
    pytest.param("  max_spread_bps: {limit: 5}", "why is missing", id="a rule without a why"),
    pytest.param("  min_completeness: {limit: 95, why: x}", "at most 1", id="a share of 95"),
    pytest.param("  min_history_sessions: {limit: 2.5, why: x}", "a whole number", id="half a session"),
    pytest.param("  required_tags: {tags: [], why: x}", "at least one", id="no tag at all"),
    pytest.param(
        "  required_tags: {tags: [a], why: x}\n  forbidden_tags: {tags: [a], why: x}",
        "required as well",
        id="both ways",
    ),
]


@pytest.mark.parametrize(("more", "sentence"), REFUSED)
def test_a_policy_that_cannot_be_read_is_refused_with_its_line(more: str, sentence: str) -> None:
    with pytest.raises(ConfigurationError, match=r"policies/universe.yaml:\d+: ") as refused:
        parse(POLICY + more, UniversePolicy, file="policies/universe.yaml")
    assert sentence in str(refused.value)


@pytest.mark.parametrize("key", ["refresh: daily", "window_sessions: 0"])
def test_how_often_and_how_far_back_is_bounded(key: str) -> None:
    name = key.partition(":")[0]
    text = "\n".join(f"  {key}" if name in line else line for line in POLICY.splitlines())
    with pytest.raises(ConfigurationError):
        parse(text, UniversePolicy, file="policies/universe.yaml")


REFERENCES = [
    pytest.param({"universes": ["liquid"]}, [], id="a universe that exists"),
    pytest.param({"universes": ["liqid"]}, ["liquid"], id="a slip of the pen"),
    pytest.param({"universes": ["liquid"], "volume": "ticks"}, ["volume is ticks"], id="no traded volume"),
    pytest.param({"universes": ["tagged"]}, ["not halal"], id="a tag that no instrument has"),
]


@pytest.mark.parametrize(("changes", "sentences"), REFERENCES)
def test_a_data_set_names_universes_that_its_instruments_can_be_in(
    changes: dict[str, Any], sentences: list[str]
) -> None:
    known = {"liquid": universe(**ALL_RULES), "tagged": universe(required_tags=tags("halal"))}
    refusals = list(of_dataset(small_dataset(**changes), universes=known))
    assert len(refusals) == len(sentences)
    for refusal, sentence in zip(refusals, sentences, strict=True):
        assert sentence in f"{refusal.expected} {refusal.nearest}"
