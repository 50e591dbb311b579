"""What the YAML says is what is simulated: every key of a strategy, its costs, its guards and its instruments.

One table holds them all. Each row says what is written and what stands there without it; the two runs must differ.
"""

from collections.abc import Mapping
from datetime import date
from typing import Any

import numpy as np
import pytest

from assets import research
from assets.research import plan_of
from engine.history import History
from quality.contracts import Contract
from quality.exits import Distance
from quality.policies import Costs
from quality.risk import Guards
from quality.sizing import Sizer
from quality.strategies import Account, Exits
from tests.walks import NAMES, STRATEGY, project_of, strategy, walked_history

LADDER = {"stop": {"pct": 0.02}, "targets": [{"r": 0.5, "share": 0.3}, {"r": 1, "share": 0.3}]}
CONTRACT = {"kind": "linear", "leverage": 40, "perpetual": False}
ON_LAST = {"liquidate_on": "last"}
DEAR = {"fees": [{"from": "2015-01-01", "tiers": [{"volume": 0, "maker_bps": 50, "taker_bps": 50}]}]}
LAST = "2020-02-09"
INVERSE = {"kind": "inverse", "perpetual": False, "lot": 1, "contract_size": 10}


@pytest.fixture(scope="module")
def history() -> History:
    return walked_history()


def ran(history: History, changes: Mapping[str, Mapping[str, Any]]) -> bytes:
    """The records of a run, as bytes."""
    whole, definition = project_of(changes)
    simulation = research.backtest_of(definition, history, plan_of(whole, definition)).simulation
    assert np.isfinite(simulation.equity).all()
    return b"".join(getattr(simulation, name).tobytes() for name in ("fills", "trades", "equity"))


def exits(beside: Mapping[str, Any] | None = None, /, **changes: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """Exits with and without something."""
    base = {"stop": {"pct": 0.02}} if beside is None else beside
    return strategy(exits={**base, **changes}), strategy(exits=base)


def guard(**changes: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    return strategy(risk=changes), {}


def cost(**changes: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    return {"costs": changes}, {}


def contract(**changes: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """Terms of a contract beside what it is without them."""
    at_last = {"costs": ON_LAST, **strategy(exits={})}
    return {"instrument": {**CONTRACT, **changes}, **at_last}, {"instrument": CONTRACT, **at_last}


def of_size(**size: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    return strategy(size=size), {}


WRITTEN: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "account.cash": (strategy(account={**STRATEGY["account"], "cash": 500}), {}),
    "account.capital": (strategy(account={**STRATEGY["account"], "capital": "sleeves"}), {}),
    "instruments": (strategy(instruments=["A.V"]), {}),
    "magnify": (strategy(magnify="15m", exits=LADDER), strategy(exits=LADDER)),
    "fx": ({"instrument": {"settle": "EUR"}, **strategy(fx={"EUR": "EURUSD.V"})}, {}),
    "size.units": of_size(model="units", quantity=1),
    "size.notional": of_size(model="notional", notional=500),
    "size.equity_share": of_size(model="equity_share", share=0.1),
    "size.risk_per_trade": of_size(model="risk_per_trade", risk=0.01, cap=0.2),
    "size.volatility_target": of_size(model="volatility_target", annual=0.1, days=5),
    "size.kelly": of_size(model="kelly", fraction=0.5, min_trades=5),
    "size.inverse_volatility": of_size(model="inverse_volatility", days=5),
    "size.risk_parity": of_size(model="risk_parity", days=5),
    "exits.stop": (strategy(exits={"stop": {"atr": 3, "length": 5}}), {}),
    "exits.targets": exits(targets="default"),
    "exits.trail": exits(trail={"atr": 2, "length": 5}),
    "exits.runner_trail": exits(LADDER, runner_trail={"pct": 0.01}),
    "exits.break_even_after": exits(LADDER, break_even_after=2),
    "exits.time_stop_bars": exits(time_stop_bars=3),
    "exits.session_close": exits(session_close=True),
    "risk.max_position": guard(max_position=0.2),
    "risk.max_gross_exposure": guard(max_gross_exposure=0.4),
    "risk.max_net_exposure": guard(max_net_exposure=0.2),
    "risk.max_leverage": guard(max_leverage=0.4),
    "risk.max_slippage_bps": guard(max_slippage_bps=0.5),
    "risk.max_open_positions": guard(max_open_positions=1),
    "risk.correlation_limit": guard(correlation_limit={"limit": -1, "days": 5}),
    "risk.max_daily_loss": guard(max_daily_loss=0.005),
    "risk.max_drawdown": guard(max_drawdown=0.01),
    "risk.kill_switch": guard(kill_switch={"drawdown": 0.02}),
    "risk.global_trade_spacing": guard(global_trade_spacing={"seconds": 7200}),
    "risk.symbol_cooldown_active": guard(symbol_cooldown_active={"after_loss_seconds": 86400}),
    "risk.max_trades_per_hour": guard(max_trades_per_hour=1),
    "risk.max_trades_per_day": guard(max_trades_per_day=1),
    "risk.loss_streak_cooldown": guard(loss_streak_cooldown={"losses": 2, "seconds": 86400}),
    "costs.fees": cost(fees=[{"from": "2015-01-01", "tiers": [{"volume": 0, "maker_bps": 1, "taker_bps": 5}]}]),
    "costs.per_share": cost(fees=[], per_share={"fee": 0.01, "minimum": 1}),
    "costs.half_spread_bps": cost(half_spread_bps={"core": 5}),
    "costs.slippage.bps": cost(slippage={"model": "bps", "bps": 3}),
    "costs.slippage.volume_share": cost(slippage={"model": "volume_share", "impact": 0.1}),
    "costs.slippage.square_root": cost(slippage={"model": "square_root", "y": 0.7, "days": 5}),
    "costs.slippage.almgren": cost(slippage={"model": "almgren", "shares_outstanding": 1e6, "days": 5}),
    "costs.limit_fill": (
        {"costs": {"limit_fill": "touch"}, "instrument": {"tick": 0.1}, **strategy(exits=LADDER)},
        {"instrument": {"tick": 0.1}, **strategy(exits=LADDER)},
    ),
    "costs.participation": cost(participation=0.05),
    "costs.borrow_bps_per_day": cost(borrow_bps_per_day=20),
    "costs.delisting_recovery": (
        {"costs": {"delisting_recovery": 0.2}, "instrument": {"delisted": LAST}, **strategy(exits={})},
        {"instrument": {"delisted": LAST}, **strategy(exits={})},
    ),
    "costs.liquidate_on": contract(leverage=80),
    "instrument.kind": ({"instrument": INVERSE}, {"instrument": {"lot": 1}}),
    "instrument.shortable": ({"instrument": {"shortable": False}}, {}),
    "instrument.tick": ({"instrument": {"tick": 0.5}}, {}),
    "instrument.lot": ({"instrument": {"lot": 1}}, {}),
    "instrument.min_notional": ({"instrument": {"min_notional": 1e6}}, {}),
    "instrument.leverage": contract(leverage=10),
    "instrument.maintenance_margin": contract(maintenance_margin=0.015),
    "instrument.maintenance_amount": contract(maintenance_amount=10),
    "instrument.extra_margin": contract(extra_margin=50),
    "instrument.contract_size": contract(contract_size=3),
    "instrument.liquidation": tuple(
        {"instrument": {**CONTRACT, "leverage": 60, **formula}, "costs": {**ON_LAST, **DEAR}, **strategy(exits={})}
        for formula in ({"liquidation": "okx"}, {})
    ),
    "instrument.margin": (
        {"instrument": {**CONTRACT, "liquidation": "binance", "margin": "cross"}, "costs": ON_LAST, **strategy(exits={})},
        {"instrument": {**CONTRACT, "liquidation": "binance"}, "costs": ON_LAST, **strategy(exits={})},
    ),
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("key", WRITTEN)
def test_what_is_written_has_an_effect(key: str, history: History) -> None:
    written, without = WRITTEN[key]
    assert ran(history, written) != ran(history, without)


def keys_of(prefix: str, model: Any) -> set[str]:
    return {f"{prefix}.{field.alias or name}" for name, field in model.model_fields.items()}


def test_every_key_of_the_models_is_in_the_table() -> None:
    """So that a new one has to show what it does."""
    known = {*WRITTEN, *(".".join(key.split(".")[:2]) for key in WRITTEN)}
    models = {f"size.{model.model_fields['model'].annotation.__args__[0]}" for model in Sizer.__origin__.__args__}  # type: ignore[attr-defined]
    models |= keys_of("exits", Exits) | keys_of("risk", Guards) | keys_of("costs", Costs)
    models |= keys_of("instrument", Contract)
    silent = {"account.currency", "account.leverage"}  # a name for money, which `fx` converts; one value, 1
    models |= keys_of("account", Account) - silent
    assert models <= known


@pytest.mark.parametrize("form", [{"pct": 0.01}, {"atr": 1.5, "length": 7}])
@pytest.mark.parametrize("key", ["stop", "trail", "runner_trail"])
def test_a_distance_may_be_said_in_either_form(key: str, form: dict[str, Any]) -> None:
    document = Exits.model_validate({**LADDER, key: form}).document
    assert document[key] == form
    assert Distance.model_validate(form).model_dump(exclude_none=True) == form


def test_the_default_ladder_breaks_even_after_the_first_target_unless_said_otherwise() -> None:
    plain = Exits.model_validate({"stop": {"pct": 0.02}, "targets": "default"}).document
    assert plain["targets"] == [{"r": 1.0, "share": 0.4}, {"r": 2.5, "share": 0.4}]
    assert plain["break_even_after"] == 1
    later = Exits.model_validate({"stop": {"pct": 0.02}, "targets": "default", "break_even_after": 2}).document
    assert later["break_even_after"] == 2


@pytest.mark.slow
def test_sleeves_know_nothing_of_each_other(history: History) -> None:
    """The account apart of an instrument is the account it would have alone."""
    account = {**STRATEGY["account"], "capital": "sleeves"}
    whole, both = project_of(strategy(account=account))
    apart = research.backtest_of(both, history, plan_of(whole, both)).simulation
    equity = np.zeros(len(apart.equity))
    for name in NAMES[:2]:
        own = strategy(account={**STRATEGY["account"], "cash": 5_000}, instruments=[name])
        whole, one = project_of(own)
        alone = research.backtest_of(one, history, plan_of(whole, one)).simulation
        equity += alone.equity
        mine = apart.trades[apart.trades["instrument"] == NAMES.index(name)]
        np.testing.assert_array_equal(mine["pnl"], alone.trades["pnl"])
    np.testing.assert_allclose(apart.equity, equity, rtol=1e-12)
    for name in ("orders", "fills"):
        assert getattr(apart, name)["id"].tolist() == [*range(1, len(getattr(apart, name)) + 1)]
    opened = {int(row["id"]): row["instrument"] for row in np.concatenate([apart.trades, apart.positions])}
    assert all(opened[int(fill["trade"])] == fill["instrument"] for fill in apart.fills)
    assert sorted(opened) == [*range(1, len(opened) + 1)]


def test_money_of_another_currency_is_converted_by_the_close_known_at_the_open(history: History) -> None:
    whole, definition = project_of(
        {"instrument": {"settle": "EUR"}, **strategy(fx={"EUR": "EURUSD.V"}, instruments=["A.V"])}
    )
    from engine.backtest import grid

    rates = grid(history, plan_of(whole, definition)).bars.conversions
    closes = history.raw["EURUSD.V"]["close"].to_numpy()
    assert rates is not None
    np.testing.assert_array_equal(rates[1:, 0], closes[:-1])


def test_a_series_quoted_the_other_way_is_turned_over() -> None:
    changes = {"instrument": {"settle": "JPY", "quote": "JPY"}, **strategy(fx={"JPY": "B.V"}, instruments=["A.V"])}
    whole, definition = project_of(changes)
    assert plan_of(whole, definition).rates == {"A.V": ("B.V", True)}


def test_a_rate_that_is_not_known_when_it_is_needed_is_refused_by_name(history: History) -> None:
    from engine.backtest import grid
    from engine.errors import UnusableBarError

    whole, definition = project_of({"instrument": {"settle": "EUR"}, **strategy(fx={"EUR": "EURUSD.V"})})
    late = history._replace(raw={**history.raw, "EURUSD.V": history.raw["EURUSD.V"][100:]})
    with pytest.raises(UnusableBarError, match=r"bar 1: no close of EURUSD\.V is known, by which the money of A\.V"):
        grid(late, plan_of(whole, definition))


def test_finer_bars_lie_in_the_bars_they_make(history: History) -> None:
    from engine.backtest import grid

    whole, definition = project_of(strategy(magnify="15m"))
    bars = grid(history, plan_of(whole, definition)).bars
    assert bars.finer is not None
    starts, ends = bars.finer.starts, bars.finer.ends
    assert (ends - starts == 4).all()
    np.testing.assert_array_equal(bars.finer.opens[starts], bars.opens)
    np.testing.assert_array_equal(bars.finer.closes[ends - 1], bars.closes)
    np.testing.assert_array_equal(np.maximum.reduceat(bars.finer.highs, starts.T.ravel()), bars.highs.T.ravel())


def test_an_instrument_that_is_delisted_later_is_not_closed_yet(history: History) -> None:
    from engine.backtest import grid

    for last, n_flagged in ((date(2020, 2, 9), 2), (date(2021, 1, 1), 0)):
        whole, definition = project_of({"instrument": {"delisted": str(last)}})
        flags = grid(history, plan_of(whole, definition)).bars.delisted
        assert (0 if flags is None else flags.sum()) == n_flagged


def test_the_guards_of_the_section_that_a_strategy_names() -> None:
    whole, definition = project_of(strategy(risk="paced"))
    guards = plan_of(whole, definition).rules.guards
    assert guards.max_open_positions == 10
    assert guards.correlation_limit == (0.9, 60)
    assert guards.symbol_cooldown_active == (0, 3600)
    assert guards.max_drawdown is None
    whole, definition = project_of({})
    assert set(plan_of(whole, definition).rules.guards) == {None}, "none is named, none guards"
