"""Scenarios: what is read, what is refused and where, and that nothing is lost on the way to the simulator."""

import json
from datetime import UTC, date, datetime, timedelta
from math import isnan
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quality.configuration import parse
from quality.errors import ConfigurationError
from quality.fills_oracle import replayed
from quality.risk import Guards, RiskPolicy
from quality.scenarios import Scenario
from tests.engine.test_fills_oracle import SCENARIOS

FLAT = [100, 101, 99, 100, 1000]
WIDE = [100, 112, 88, 100, 1000]
PERPETUAL = {"kind": "linear", "leverage": 10}
SLIPPAGE = [
    {"model": "none"},
    {"model": "bps", "bps": 5},
    {"model": "volume_share", "impact": 0.1, "limit": 0.25},
    {"model": "square_root", "y": 0.8, "sigma": 0.02, "volume": 10_000},
    {"model": "square_root", "y": 0.8, "days": 20},
    {"model": "almgren", "sigma": 0.02, "days": 20, "shares_outstanding": 1e6, "horizon_days": 1},
]
FEES = [
    {},
    {"maker_bps": -1, "taker_bps": 5},
    {"fees": [{"from": "1970-01-01", "tiers": [{"volume": 0, "maker_bps": 1, "taker_bps": 2}]}]},
    {"per_share": {"fee": 0.005, "minimum": 1}},
]
SIZES = [
    {"quantity": 1},
    {"size": {"model": "units", "quantity": 2}},
    {"size": {"model": "notional", "notional": 500}},
    {"size": {"model": "equity_share", "share": 0.5}},
    {"size": {"model": "risk_per_trade", "risk": 0.01, "cap": 2}},
    {"size": {"model": "volatility_target", "annual": 0.2, "days": 20, "periods_per_year": 365, "cap": 1}},
    {"size": {"model": "kelly", "fraction": 0.5, "cap": 1, "min_trades": 30}},
    {"size": {"model": "inverse_volatility", "days": 20}},
    {"size": {"model": "risk_parity", "days": 20}},
]
ORDERS = [
    {},
    {"order": "market"},
    {"order": "limit", "price": 95, "post_only": True, "ttl_bars": 2},
    {"order": "stop", "price": 105},
    {"order": "stop_limit", "trigger": 105, "price": 106},
]
EXITS = [
    {},
    {"stop": 90, "targets": [{"price": 110, "share": 0.5}, {"r": 3, "share": 0.5}]},
    {"stop": {"pct": 0.1}, "targets": "default"},
    {"stop": {"atr": 2, "length": 14}, "targets": [{"r": 1, "share": 0.4}], "break_even_after": 1},
    {"trail": {"pct": 0.1}, "targets": [{"price": 120, "share": 0.5}], "runner_trail": {"atr": 3, "length": 5}},
    {"time_stop_bars": 3, "session_close": True, "client_order_id": "a"},
]
GUARDS = [
    {},
    {"max_position": 0.5, "max_gross_exposure": 2, "max_net_exposure": 1, "max_leverage": 3, "max_slippage_bps": 10},
    {"max_open_positions": 2, "correlation_limit": {"limit": 0.8, "days": 20}, "max_daily_loss": 0.02},
    {"max_drawdown": 0.2, "kill_switch": {"drawdown": 0.3}, "global_trade_spacing": {"seconds": 60}},
    {"symbol_cooldown_active": {"after_loss_seconds": 60}, "max_trades_per_hour": 3, "max_trades_per_day": 9},
    {"loss_streak_cooldown": {"losses": 3, "seconds": 3600}},
]


def scenario(**changed: Any) -> dict[str, Any]:
    buy = {"bar": 0, "instrument": "X", "do": "buy", "quantity": 1}
    good = {
        "timeframe": "1d",
        "account": {"cash": 10_000},
        "instruments": {"X": {}},
        "bars": {"X": [FLAT, WIDE, FLAT]},
        "decisions": [buy],
    }
    return good | changed


def buying(**more: Any) -> dict[str, Any]:
    return scenario(decisions=[{"bar": 0, "instrument": "X", "do": "buy", "quantity": 1} | more])


def deciding(*rows: dict[str, Any]) -> dict[str, Any]:
    return scenario(decisions=[{"bar": 0, "instrument": "X"} | row for row in rows])


def dated(rows: list[list[Any]], *, hours: int = 24) -> list[list[Any]]:
    start = datetime(2021, 9, 1, tzinfo=UTC)
    return [[(start + timedelta(hours=hours * i)).isoformat(), *row] for i, row in enumerate(rows)]


def read(document: dict[str, Any]) -> Scenario:
    return parse(json.dumps(document), Scenario, file="it.yaml")


def refused(document: dict[str, Any]) -> dict[str, str]:
    """What was said, by place."""
    with pytest.raises(ConfigurationError) as caught:
        read(document)
    assert all(problem.line for problem in caught.value.problems)
    return {problem.key: str(problem) for problem in caught.value.problems}


FUNDED = {"instruments": {"X": {"kind": "linear"}}, "bars": {"X": dated([FLAT, WIDE, FLAT])}}
FUNDING = {"at": "2021-09-02T08:00:00Z", "instrument": "X", "rate": 0.0001}


@pytest.mark.parametrize(
    ("document", "place", "reason"),
    [
        # Decisions
        pytest.param(
            buying(stop=90, targets=[{"price": 85, "share": 1}]), "decisions[0].targets[0].price",
            "is 85, expected a price above the stop (90)", id="a target beyond the stop",
        ),
        pytest.param(
            deciding({"do": "sell", "quantity": 1, "stop": 110, "targets": [{"price": 90, "share": 0.5}, {"price": 110, "share": 0.5}]}),
            "decisions[0].targets[1].price", "is 110, expected a price below the stop (110)", id="a short's target at its stop",
        ),
        pytest.param(
            buying(targets=[{"price": 110, "share": 1.5}]), "decisions[0].targets[0].share", "is 1.5, expected at most 1",
            id="a share over 1",
        ),
        pytest.param(
            buying(targets=[{"price": 110, "share": 0.7}, {"r": 2, "share": 0.4}]), "decisions[0].targets",
            "shares that sum to at most 1", id="shares that sum to more than 1",
        ),
        pytest.param(
            deciding({"do": "move_target", "targets": [{"r": 1, "share": 0.7}, {"r": 2, "share": 0.4}]}), "decisions[0].targets",
            "shares that sum to at most 1", id="moved targets that sum to more than 1",
        ),
        pytest.param(buying(bar=3), "decisions[0].bar", "is 3, expected a bar from 0 to 2", id="a decision after the last bar"),
        pytest.param(buying(bar=-1), "decisions[0].bar", "is -1, expected at least 0", id="a decision before the first bar"),
        pytest.param(
            buying(bar=1) | {"bars": {"X": [FLAT, None, FLAT]}}, "decisions[0].bar", "a bar that X has",
            id="a decision on a bar that is missing",
        ),
        pytest.param(
            scenario(
                instruments={"X": {}, "Y": {}}, bars={"X": [FLAT] * 3, "Y": [FLAT]},
                decisions=[{"bar": 2, "instrument": "Y", "do": "close"}],
            ), "decisions[0].bar", "a bar that Y has", id="a decision on a bar of another instrument",
        ),
        pytest.param(
            buying(instrument="Y"), "decisions[0].instrument", "is 'Y', expected one of X", id="a decision on nothing",
        ),
        pytest.param(buying(quantity=-1), "decisions[0].quantity", "expected more than 0", id="a negative quantity"),
        pytest.param(deciding({"do": "buy"}), "decisions[0].quantity", "is missing", id="no quantity"),
        pytest.param(
            buying(size={"model": "units", "quantity": 1}), "decisions[0].size", "no quantity beside it", id="quantity and size",
        ),
        pytest.param(
            buying(size={"model": "kely"}), "decisions[0].size.model", "did you mean 'kelly'", id="a size model nobody knows",
        ),
        pytest.param(buying(order="limit"), "decisions[0].price", "a price, as order is limit", id="a limit without a price"),
        pytest.param(buying(price=95), "decisions[0].price", "nothing, as order is market", id="a market order with a price"),
        pytest.param(
            buying(order="stop_limit", price=95), "decisions[0].trigger", "a price, as order is stop_limit",
            id="a stop limit without a trigger",
        ),
        pytest.param(
            buying(order="stop", price=105, post_only=True), "decisions[0].post_only", "order: limit beside it",
            id="a stop that is post only",
        ),
        pytest.param(buying(stop=-90), "decisions[0].stop", "expected more than 0", id="a negative stop"),
        pytest.param(buying(stop={"pct": 1.2}), "decisions[0].stop.pct", "expected less than 1", id="a stop below nothing"),
        pytest.param(
            buying(trail={"atr": 2}), "decisions[0].trail", "pct alone, or atr and length together", id="half a trail",
        ),
        pytest.param(
            buying(stop=90, targets="default", break_even_after=3), "decisions[0].break_even_after",
            "at most the number of targets (2)", id="break-even after a target that is not there",
        ),
        pytest.param(
            buying(runner_trail={"pct": 0.1}), "decisions[0].runner_trail", "targets beside it", id="a runner without a ladder",
        ),
        pytest.param(
            deciding({"do": "close", "price": 95}), "decisions[0].price", "unknown key", id="a close at a price",
        ),
        pytest.param(
            deciding({"do": "hold"}), "decisions[0].do", "expected", id="a deed that is none",
        ),
        pytest.param(
            deciding({"do": "cancel", "client_order_id": "a"}), "decisions[0].client_order_id",
            "expected the client_order_id of a buy or sell of X decided before", id="a cancel of an order nobody gave",
        ),
        pytest.param(
            scenario(
                decisions=[
                    {"bar": 0, "instrument": "X", "do": "cancel", "client_order_id": "a"},
                    {"bar": 1, "instrument": "X", "do": "buy", "quantity": 1, "client_order_id": "a"},
                ]
            ), "decisions[0].client_order_id", "decided before", id="a cancel of an order that comes later",
        ),
        pytest.param(
            deciding({"do": "buy", "quantity": 1, "stop": 90}, {"do": "cancel", "client_order_id": "o-000002"}),
            "decisions[1].client_order_id", "protective orders are moved, never cancelled", id="a cancel of a stop",
        ),
        pytest.param(
            deciding({"do": "move_stop", "stop": 90}, {"do": "move_stop", "stop": 95}), "decisions[1].do",
            "one move_stop of X on bar 0, not two", id="a stop moved to two places",
        ),
        # Bars
        pytest.param(
            scenario(bars={"X": [FLAT, [100, 112, -88, 100, 1000]]}), "bars.X[1][2]", "is -88, expected a price above 0",
            id="a negative price",
        ),
        pytest.param(
            scenario(bars={"X": dated([FLAT, [100, 112, 0, 100, 1000]])}), "bars.X[1][3]", "expected a price above 0",
            id="a price of zero in a dated bar",
        ),
        pytest.param(
            scenario(bars={"X": [FLAT, [100, float("nan"), 88, 100, 1000]]}), "bars.X[1][1]", "expected a finite number",
            id="a price that is no number",
        ),
        pytest.param(
            scenario(bars={"X": [FLAT, [100, float("inf"), 88, 100, 1000]]}), "bars.X[1][1]", "expected a finite number",
            id="an infinite price",
        ),
        pytest.param(
            scenario(bars={"X": [FLAT, [100, 10**400, 88, 100, 1000]]}), "bars.X[1][1]", "expected a finite number",
            id="a price too large to be a number",
        ),
        pytest.param(
            scenario(bars={"X": [FLAT, [True, 112, 88, 100, 1000]]}), "bars.X[1][0]", "expected a finite number",
            id="a truth for a price",
        ),
        pytest.param(
            scenario(bars={"X": [FLAT, [100, 99, 88, 98, 1000]]}), "bars.X[1][1]",
            "is 99, expected a high not below open and close (100)", id="a high below the body",
        ),
        pytest.param(
            scenario(bars={"X": dated([FLAT, [100, 102, 99, 98, 1000]])}), "bars.X[1][3]",
            "is 99, expected a low not above open and close (98)", id="a low above the body",
        ),
        pytest.param(
            scenario(bars={"X": [FLAT, [100, 101, 99, 100, -1]]}), "bars.X[1][4]", "expected at least 0", id="a negative volume",
        ),
        pytest.param(
            scenario(bars={"X": [FLAT, [100, 101, 99]]}), "bars.X[1]", "[ts,] open, high, low, close, volume",
            id="a row that is too short",
        ),
        pytest.param(scenario(bars={"X": [FLAT, 100]}), "bars.X[1]", "is 100, expected [ts,] open", id="a row that is none"),
        pytest.param(scenario(bars={"X": []}), "bars.X", "expected at least one", id="no bar"),
        pytest.param(scenario(bars={}), "bars.X", "is missing, expected bars of every instrument", id="an instrument without bars"),
        pytest.param(
            scenario(bars={"X": [FLAT], "Y": [FLAT]}), "bars.Y", "is of no instrument, expected one of X", id="bars of nothing",
        ) ,
        pytest.param(
            scenario(bars={"X": [["2021-09-02", *FLAT], ["2021-09-01", *FLAT]]}), "bars.X[1][0]",
            "expected a time after that of the bar before (2021-09-02T00:00:00Z)", id="bars out of order",
        ),
        pytest.param(
            scenario(bars={"X": [["2021-09-02", *FLAT], ["2021-09-02", *FLAT]]}), "bars.X[1][0]", "a time after", id="a bar twice",
        ),
        pytest.param(
            scenario(bars={"X": [["2021-09-02T00:05:00Z", *FLAT]]}), "bars.X[0][0]", "expected a multiple of 1d since 1970",
            id="a day that starts late",
        ),
        pytest.param(
            scenario(timeframe="1w", bars={"X": [["2021-09-06", *FLAT], ["2021-09-14", *FLAT]]}), "bars.X[1][0]",
            "expected a multiple of 1w since 2021-09-06T00:00:00Z", id="a week of eight days",
        ),
        pytest.param(
            scenario(bars={"X": [["yesterday", *FLAT]]}), "bars.X[0][0]", "expected a time such as", id="a time that is none",
        ),
        pytest.param(
            scenario(bars={"X": [["2021-09-02", *FLAT], FLAT]}), "bars.X[1]", "a ts first, as other bars have one",
            id="a bar without its time",
        ),
        pytest.param(
            scenario(mark_bars={"X": dated([FLAT[:4]])}), "mark_bars.X[0]", "no ts, as the bars have none",
            id="dated marks of undated bars",
        ),
        pytest.param(
            scenario(mark_bars={"X": [FLAT]}), "mark_bars.X[0]", "expected [ts,] open, high, low, close", id="marks with volume",
        ),
        pytest.param(
            scenario(finer_bars={"X": [FLAT]}), "finer_bars.X[0]", "a ts first", id="finer bars without their times",
        ),
        # Marks, funding, actions
        pytest.param(
            scenario(instruments={"X": PERPETUAL}), "instruments.X.leverage",
            "is 10, expected mark_bars.X beside it, or rules.liquidate_on: last", id="leverage without marks",
        ),
        pytest.param(
            scenario(instruments={"X": PERPETUAL}, mark_bars={"X": [FLAT[:4], FLAT[:4]]}), "mark_bars.X",
            "bar 2 has none", id="leverage with a mark that is missing",
        ),
        pytest.param(
            scenario(**FUNDED, funding=[FUNDING]), "funding[0].mark", "expected a price, as mark_bars.X has no bar there",
            id="funding without a mark",
        ),
        pytest.param(
            scenario(funding=[FUNDING | {"mark": 100}]), "funding", "a ts in every bar", id="funding of bars without times",
        ),
        pytest.param(
            scenario(**FUNDED, funding=[FUNDING | {"instrument": "Y", "mark": 1}]), "funding[0].instrument", "expected one of X",
            id="funding of nothing",
        ),
        pytest.param(
            scenario(**FUNDED, funding=[FUNDING | {"at": "noon", "mark": 1}]), "funding[0].at", "expected a time such as",
            id="funding at a time that is none",
        ),
        pytest.param(
            scenario(actions=[{"bar": 9, "instrument": "X", "split": 2}]), "actions[0].bar", "a bar from 0 to 2",
            id="a split on a bar that does not exist",
        ),
        pytest.param(
            scenario(actions=[{"bar": 1, "instrument": "X", "split": 2, "delist": True}]), "actions[0]",
            "one of split, dividend and delist", id="two actions in one",
        ),
        # Terms
        pytest.param(
            scenario(instruments={"X": {"kind": "inverse", "liquidation": "bybit_linear"}}), "instruments.X.liquidation",
            "bybit_inverse or bybit_inverse_2026", id="a formula of another kind",
        ),
        pytest.param(
            scenario(instruments={"X": {"leverge": 2}}), "instruments.X.leverge", "did you mean 'leverage'", id="a misspelt key",
        ),
        pytest.param(
            scenario(instruments={"X": {"lot": 0}}), "instruments.X.lot", "expected more than 0", id="a lot of nothing",
        ),
        pytest.param(scenario(account={"cash": -1}), "account.cash", "expected more than 0", id="no cash"),
        pytest.param(
            scenario(costs={"taker_bps": 5, "per_share": {"fee": 0.01}}), "costs", "charges an order twice", id="two fees",
        ),
        pytest.param(
            scenario(costs={"fees": [{"from": "1971-01-01", "tiers": [{"volume": 0, "maker_bps": 0, "taker_bps": 0}]}]}),
            "costs.fees[0].from", "a date not after the first bar (1970-01-01)", id="fees that begin too late",
        ),
        pytest.param(
            scenario(costs={"slippage": {"model": "square_root", "y": 1, "sigma": 0.02}}), "costs.slippage",
            "sigma and volume of a session, or days", id="an impact that cannot be measured",
        ),
        pytest.param(
            scenario(rules={"participation": 1.5}), "rules.participation", "expected at most 1", id="more than the volume",
        ),
        pytest.param(
            scenario(rules={"path": "worst"}), "rules.path", "'adverse', 'likely' or 'favourable'", id="a path that is none",
        ),
        pytest.param(
            scenario(risk={"max_drawdown": 20}), "risk.max_drawdown", "expected at most 1", id="a share in percent",
        ),
        pytest.param(
            scenario(risk={"max_postion": 1}), "risk.max_postion", "did you mean 'max_position'", id="a guard nobody knows",
        ),
        pytest.param(scenario(timeframe="five"), "timeframe", "expected a number and a unit", id="a timeframe that is none"),
    ],
)  # fmt: skip
def test_what_cannot_mean_anything_is_refused_with_its_place(document: dict[str, Any], place: str, reason: str) -> None:
    found = refused(document)
    assert list(found) == [place]
    assert reason in found[place]


def test_every_mistake_is_told_at_once() -> None:
    found = refused(buying(quantity=-1, stop="low") | {"timeframe": "five", "account": {}})
    assert list(found) == ["timeframe", "account.cash", "decisions[0].quantity", "decisions[0].stop"]


@pytest.mark.parametrize(
    "document",
    [
        pytest.param(buying(stop=110), id="a stop on the wrong side is the simulator's to reject"),
        pytest.param(
            deciding({"do": "buy", "size": {"model": "risk_per_trade", "risk": 0.01}}),
            id="a size that lacks its stop, too",
        ),
        pytest.param(scenario(decisions=[]), id="nothing is decided"),
        pytest.param(
            scenario(bars={"X": [FLAT, [None, None, None, None, 5], FLAT[:4]]}), id="missing bars and no volume"
        ),
        pytest.param(
            scenario(instruments={"X": PERPETUAL}, rules={"liquidate_on": "last"}), id="liquidation on the last price"
        ),
        pytest.param(scenario(instruments={"X": PERPETUAL}, mark_bars={"X": [FLAT[:4]] * 3}), id="leverage and marks"),
        pytest.param(
            scenario(**FUNDED, funding=[FUNDING], mark_bars={"X": dated([FLAT[:4]] * 3)}),
            id="funding on the mark bar's open",
        ),
        pytest.param(scenario(**FUNDED, decisions=[], funding=[FUNDING]), id="funding of what nobody holds"),
        pytest.param(
            deciding({"do": "buy", "quantity": 1, "client_order_id": "a"}, {"do": "cancel", "client_order_id": "a"}),
            id="a cancel of what was decided on the same close",
        ),
        pytest.param(
            scenario(calendar="XNYS", timeframe="1h", bars={"X": [["2021-09-01T13:30:00Z", *FLAT]]}),
            id="an exchange's hours",
        ),
        pytest.param(
            scenario(timeframe="7m", bars={"X": dated([FLAT] * 2, hours=7)}), id="seven minutes do not divide a day"
        ),
    ],
)
def test_what_means_something_is_read(document: dict[str, Any]) -> None:
    assert replayed(read(document).document())["equity"]


def test_shorthands_are_written_out() -> None:
    document = read(
        scenario(
            instruments={"X": {}, "Y": {"kind": "inverse"}},
            bars={"X": [FLAT, None], "Y": [FLAT[:4]]},
            decisions=[
                {"bar": 0, "instrument": "Y", "do": "close"},
                {"bar": 0, "instrument": "X", "do": "buy", "quantity": 1, "stop": 90, "targets": "default"},
            ],
        )
    ).document()
    assert document["bars"] == {
        "X": [["1970-01-01T00:00:00Z", *map(float, FLAT)], ["1970-01-02T00:00:00Z", None, None, None, None, None]],
        "Y": [["1970-01-01T00:00:00Z", 100.0, 101.0, 99.0, 100.0, None]],
    }
    assert document["decisions"][1] == {
        "bar": 0,
        "instrument": "X",
        "do": "buy",
        "quantity": 1.0,
        "order": "market",
        "stop": 90.0,
        "targets": [{"r": 1.0, "share": 0.4}, {"r": 2.5, "share": 0.4}],
        "break_even_after": 1,
    }
    assert [one["liquidation"] for one in document["instruments"].values()] == ["bybit_linear", "bybit_inverse"]
    assert document["calendar"] == "24/7"


def test_decisions_stand_in_the_order_of_their_bars_and_keep_the_files_order_on_one() -> None:
    rows = [(2, "a"), (0, "b"), (2, "c"), (0, "d")]
    decided = [
        {"bar": bar, "instrument": "X", "do": "buy", "quantity": 1, "client_order_id": name} for bar, name in rows
    ]
    document = read(scenario(decisions=decided)).document()
    assert [one["client_order_id"] for one in document["decisions"]] == ["b", "d", "a", "c"]


def test_a_time_may_be_a_date_and_may_name_its_zone() -> None:
    first, second = [["2021-09-01", *FLAT]], [["2021-08-31T20:00:00-04:00", *FLAT]]
    assert read(scenario(bars={"X": first})).document()["bars"] == read(scenario(bars={"X": second})).document()["bars"]


@st.composite
def documents(draw: st.DrawFn) -> dict[str, Any]:
    n = draw(st.integers(1, 4))
    rows = []
    for _ in range(n):
        low, opens, close, high = sorted(draw(st.lists(st.integers(1, 400), min_size=4, max_size=4)))
        volume = draw(st.sampled_from([[], [None], [0], [12.5]]))
        rows.append([opens / 2, high / 2, low / 2, close / 2, *volume])
    present = draw(st.lists(st.integers(0, n - 1), max_size=3))
    entry = st.builds(
        lambda bar, do, size, order, exits: {"bar": bar, "instrument": "X", "do": do} | size | order | exits,
        st.sampled_from(present or [0]), st.just("buy"), st.sampled_from(SIZES), st.sampled_from(ORDERS), st.sampled_from(EXITS),
    )  # fmt: skip
    others = st.sampled_from(
        [{"do": "close"}, {"do": "close", "quantity": 1}, {"do": "cancel"}, {"do": "move_target", "targets": [{"r": 1, "share": 1}]}]
    )  # fmt: skip
    decided = draw(st.lists(entry, max_size=3)) + [{"bar": bar, "instrument": "X"} | draw(others) for bar in present]
    is_dated = draw(st.booleans())
    return {
        "timeframe": draw(st.sampled_from(["1d", "1h", "5m"])),
        "calendar": "24/7",
        "account": {"cash": 10_000},
        "instruments": {"X": draw(st.sampled_from([{}, {"tick": 0.5, "margin": "cross"}, PERPETUAL]))},
        "bars": {"X": dated(rows) if is_dated else rows},
        "mark_bars": {"X": [row[: 4 + is_dated] for row in (dated(rows) if is_dated else rows)]},
        "costs": {"slippage": draw(st.sampled_from(SLIPPAGE))} | draw(st.sampled_from(FEES)),
        "rules": {"path": draw(st.sampled_from(["adverse", "likely", "favourable"])), "participation": 0.5},
        "risk": draw(st.sampled_from(GUARDS)),
        "funding": [FUNDING | {"mark": 3}] if is_dated else [],
        "actions": draw(st.lists(st.sampled_from([{"split": 2}, {"dividend": 0.5}, {"delist": True}]).map(
            lambda action: {"bar": 0, "instrument": "X"} | action), max_size=2)),
        "decisions": decided,
    }  # fmt: skip


@pytest.mark.slow
@settings(max_examples=80, deadline=None)
@given(documents())
def test_a_scenario_survives_being_written_and_read_again(document: dict[str, Any]) -> None:
    once = parse(json.dumps(document), Scenario, file="it.yaml")
    assert parse(once.model_dump_json(by_alias=True, exclude_none=False), Scenario, file="it.yaml") == once
    plain = once.document()
    assert parse(json.dumps(plain), Scenario, file="it.yaml").document() == plain


def plain(value: Any) -> Any:
    """As it would stand in a file."""
    if isinstance(value, dict):
        return {key: plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [plain(one) for one in value]
    if isinstance(value, date):
        return value.isoformat()
    return None if isinstance(value, float) and isnan(value) else value


# Levels that the reader refuses; a strategy's, in shares of the price paid, may come to lie so.
UNREADABLE = "an entry inside the bar beyond its own stop and target leaves by the stop"


@pytest.mark.slow
def test_what_is_written_out_means_what_was_written() -> None:
    for sentence in SCENARIOS.keys() - {UNREADABLE}:
        document, _ = SCENARIOS[sentence]
        assert replayed(read(plain(document)).document()) == replayed(document), sentence


@pytest.mark.parametrize("guards", GUARDS)
def test_a_policys_section_says_what_a_scenario_says_and_why(guards: dict[str, Any]) -> None:
    explained = {
        name: (one if isinstance(one, dict) else {"limit": one}) | {"why": "it must"} for name, one in guards.items()
    }
    policy = parse(json.dumps({"schema": 1, "mine": explained}), RiskPolicy, file="risk.yaml")
    assert policy.sections["mine"].guards == Guards.model_validate(guards)


def test_a_guard_without_a_reason_is_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"risk.yaml:3: mine.max_position.why is missing, expected a text"):
        parse("schema: 1\nmine:\n  max_position: {limit: 1}\n", RiskPolicy, file="risk.yaml")
