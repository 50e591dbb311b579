"""Every option has an effect: the same scenario with it and without it gives two answers."""

from datetime import timedelta

import pytest

from engine.simulator.scenario import simulated
from quality import costs, exits, risk, scenarios, sizing
from tests.engine.test_fills_oracle import FLAT, START, buy, dated, decision, flat, sell, world

HOUR = timedelta(hours=1)
MOVING = [[100, 104, 96, 101, 100], [101, 106, 97, 103, 100], [103, 109, 97, 98, 100], [98, 99, 90, 92, 100]]
LONG = [FLAT, *MOVING, [92, 97, 91, 96, 100], [96, 101, 95, 100, 100]]
LEVERED = {"kind": "linear", "leverage": 10}
INVERSE = {"kind": "inverse", "leverage": 10, "lot": 1, "liquidation": "bybit_inverse"}
MARKS = {"mark_bars": {"X": [row[:4] for row in LONG]}}
FALLS = [FLAT, FLAT, flat(93), flat(93)]
PAST = [flat(100), flat(102), flat(99), flat(103)]


def entry(**options):
    """A long from the second bar on."""
    return world(LONG, buy(quantity=10, **options))


def spot(**rest):
    return world(LONG, buy(quantity=10), decision("close", bar=3), **rest)


def short(**rest):
    return world(LONG, sell(quantity=10), decision("close", bar=3), **rest)


def contract(instrument, *, bars=None, do="buy", quantity=10, **rest):
    rest = {"rules": {"liquidate_on": "last"}} | rest
    return world(bars or LONG, decision(do, quantity=quantity), instrument=instrument, **rest)


def late(*, bar=4, quantity=10, **rest):
    """An entry after sessions that can be measured."""
    options = {key: rest.pop(key) for key in ("size", "stop") if key in rest}
    return world([*PAST, *LONG], buy(bar=bar, quantity=quantity, **options), **rest)


def guarded(risk, *decisions, bars=None, **rest):
    return world(bars or LONG, *decisions, risk=risk, **rest)


def two(*decisions, **rest):
    made = world([*PAST, *LONG], *decisions, **rest)
    made["instruments"]["Y"] = {}
    made["bars"]["Y"] = [*PAST[::-1], *LONG]
    return made


def hourly(*decisions, bars=None, **rest):
    return world(bars or LONG, *decisions, timeframe="1h", **rest)


def loser(**rest):
    """Loses on one hour, and wants to enter again on the next."""
    bars = [FLAT, FLAT, flat(90), flat(90), flat(90)]
    return hourly(buy(quantity=1), decision("close", bar=1), buy(bar=2, quantity=1), bars=bars, **rest)


def winner(**rest):
    bars = [FLAT, FLAT, flat(110), flat(110), flat(110)]
    return hourly(buy(quantity=1), decision("close", bar=1), buy(bar=2, quantity=1), bars=bars, **rest)


def sized(model, **terms):
    """Two trades that gained and one that lost, then an entry of this size."""
    bars = [flat(price) for price in (100, 100, 104, 104, 101, 101, 105, 105, 107)]
    trades = [one for at in (0, 2, 4) for one in (buy(bar=at, quantity=1), decision("close", bar=at + 1))]
    return world(bars, *trades, buy(bar=6, size={"model": model, **terms}, stop={"pct": 0.1}))


def impact(model, **terms):
    return {"costs": {"slippage": {"model": model, **terms}}}


MEASURED = {"sigma": 0.02, "volume": 500}
ALMGREN = MEASURED | {"shares_outstanding": 10_000, "horizon_days": 1}
TIERS = [{"volume": 0, "maker_bps": 1, "taker_bps": 9}, {"volume": 1500, "maker_bps": 0, "taker_bps": 4}]
SCHEDULE = [{"from": "1970-01-01T00:00:00Z", "tiers": TIERS}]
LIMIT = {"order": "limit", "price": 97}
LADDER = {"stop": 95, "targets": [{"r": 0.5, "share": 0.5}]}
WITHOUT_AND_WITH = {
    # Options of an order
    "order: limit": (entry(), entry(**LIMIT)),
    "order: stop": (entry(), entry(order="stop", price=105)),
    "order: stop_limit": (entry(order="stop", price=105), entry(order="stop_limit", trigger=105, price=104)),
    "limit price": (entry(**LIMIT), entry(order="limit", price=98)),
    "post_only": (entry(order="limit", price=101), entry(order="limit", price=101, post_only=True)),
    "ttl_bars": (entry(order="limit", price=93), entry(order="limit", price=93, ttl_bars=1)),
    "stop": (entry(), entry(stop=95)),
    "stop in pct": (entry(stop=95), entry(stop={"pct": 0.04})),
    "stop in atr": (late(stop={"pct": 0.04}), late(stop={"atr": 1.0, "length": 2})),
    "targets": (entry(), entry(targets=[{"price": 105, "share": 0.5}])),
    "targets in R": (entry(stop=95), entry(**LADDER)),
    "default ladder": (entry(stop=98), entry(stop=98, targets="default")),
    "trail": (entry(), entry(trail={"pct": 0.05})),
    "trail in atr": (late(), world([*PAST, *LONG], buy(bar=4, quantity=10, trail={"atr": 1.0, "length": 2}))),
    "runner_trail": (entry(**LADDER), entry(**LADDER, runner_trail={"pct": 0.02})),
    "break_even_after": (entry(**LADDER), entry(**LADDER, break_even_after=1)),
    "time_stop_bars": (entry(), entry(time_stop_bars=1)),
    "session_close": (entry(), entry(session_close=True)),
    "client_order_id": (
        world(LONG, buy(client_order_id="a"), buy(bar=1, client_order_id="b")),
        world(LONG, buy(client_order_id="a"), buy(bar=1, client_order_id="a")),
    ),
    "cancel": (entry(**LIMIT), world(LONG, buy(quantity=10, **LIMIT), decision("cancel"))),
    "close": (entry(), world(LONG, buy(quantity=10), decision("close", bar=2))),
    "close of a part": (spot(), world(LONG, buy(quantity=10), decision("close", bar=3, quantity=4))),
    "move_stop": (entry(stop=80), world(LONG, buy(quantity=10, stop=80), decision("move_stop", bar=1, stop=99))),
    "move_target": (
        entry(targets=[{"price": 108, "share": 1.0}]),
        world(
            LONG,
            buy(quantity=10, targets=[{"price": 108, "share": 1.0}]),
            decision("move_target", bar=1, targets=[{"price": 105, "share": 1.0}]),
        ),
    ),
    # Rules
    "path": (
        entry(stop=97, targets=[{"price": 103, "share": 1.0}]),
        entry(stop=97, targets=[{"price": 103, "share": 1.0}]) | {"rules": {"path": "favourable"}},
    ),
    "likely path": (
        world([FLAT, [100, 102, 90, 100, 100]], buy(stop=95, targets=[{"price": 101, "share": 1.0}])),
        world([FLAT, [100, 102, 90, 100, 100]], buy(stop=95, targets=[{"price": 101, "share": 1.0}]))
        | {"rules": {"path": "likely"}},
    ),
    "finer bars": (
        world(
            dated([FLAT, [100, 112, 88, 100, 1000]], step=24 * HOUR), buy(stop=90, targets=[{"price": 110, "share": 1}])
        ),
        world(
            dated([FLAT, [100, 112, 88, 100, 1000]], step=24 * HOUR), buy(stop=90, targets=[{"price": 110, "share": 1}])
        )
        | {
            "finer_bars": {
                "X": [
                    [START + 24 * HOUR, 100, 112, 100, 105, 500],
                    [START + 36 * HOUR, 105, 105, 88, 100, 500],
                ]
            }
        },
    ),
    "limit_fill": (entry(order="limit", price=96), entry(order="limit", price=96) | {"rules": {"limit_fill": "touch"}}),
    "participation": (spot(), spot(rules={"participation": 0.05})),
    "liquidate_on": (
        contract(LEVERED, **MARKS, rules={"liquidate_on": "mark"}, bars=[[*row[:2], 89, *row[3:]] for row in LONG]),
        contract(LEVERED, **MARKS, bars=[[*row[:2], 89, *row[3:]] for row in LONG]),
    ),
    "delisting_recovery": (
        entry() | {"actions": [{"bar": 3, "instrument": "X", "delist": True}]},
        entry() | {"actions": [{"bar": 3, "instrument": "X", "delist": True}], "rules": {"delisting_recovery": 0.5}},
    ),
    "delist": (entry(), entry() | {"actions": [{"bar": 3, "instrument": "X", "delist": True}]}),
    "cash": tuple(
        world(LONG, buy(size={"model": "equity_share", "share": 0.1}), cash=cash) for cash in (10_000, 20_000)
    ),
    # Costs
    "maker_bps": (entry(**LIMIT), entry(**LIMIT) | {"costs": {"maker_bps": 5}}),
    "taker_bps": (spot(), spot(costs={"taker_bps": 5})),
    "half_spread_bps": (spot(), spot(costs={"half_spread_bps": 5})),
    "borrow_bps_per_day": (short(), short(costs={"borrow_bps_per_day": 5})),
    "bps": (spot(), spot(**impact("bps", bps=5))),
    "volume_share": (spot(), spot(**impact("volume_share", impact=0.1, limit=1.0))),
    "volume_share.limit": (
        spot(**impact("volume_share", impact=0.1, limit=1.0)),
        spot(**impact("volume_share", impact=0.1, limit=0.05)),
    ),
    "square_root": (spot(), spot(**impact("square_root", y=0.5, **MEASURED))),
    "square_root over days": (late(), late(**impact("square_root", y=0.5, days=3))),
    "almgren": (spot(), spot(**impact("almgren", **ALMGREN))),
    "almgren.horizon_days": (
        spot(**impact("almgren", **ALMGREN)),
        spot(**impact("almgren", **(ALMGREN | {"horizon_days": 2}))),
    ),
    "slippage of one instrument": (spot(), spot(instrument={"slippage": {"model": "bps", "bps": 5}})),
    "fees": (spot(), spot(costs={"fees": SCHEDULE})),
    "tiers of fees": (
        spot(costs={"fees": [SCHEDULE[0] | {"tiers": TIERS[:1]}]}),
        world(LONG, buy(quantity=20), decision("close", bar=3), costs={"fees": SCHEDULE}),
    ),
    "per_share": (spot(), spot(costs={"per_share": {"fee": 0.01, "minimum": 0}})),
    "per_share.minimum": (
        spot(costs={"per_share": {"fee": 0.01, "minimum": 0}}),
        spot(costs={"per_share": {"fee": 0.01, "minimum": 1}}),
    ),
    # Sizers
    "units": (sized("units", quantity=1), sized("units", quantity=2)),
    "notional": (sized("notional", notional=100), sized("notional", notional=200)),
    "equity_share": (sized("equity_share", share=0.1), sized("equity_share", share=0.2)),
    "risk_per_trade": (sized("risk_per_trade", risk=0.01, cap=1.0), sized("risk_per_trade", risk=0.02, cap=1.0)),
    "risk_per_trade.cap": (sized("risk_per_trade", risk=0.02, cap=1.0), sized("risk_per_trade", risk=0.02, cap=0.1)),
    "kelly": (
        sized("kelly", fraction=0.1, cap=1.0, min_trades=2),
        sized("kelly", fraction=0.2, cap=1.0, min_trades=2),
    ),
    "kelly.min_trades": (
        sized("kelly", fraction=0.1, cap=1.0, min_trades=2),
        sized("kelly", fraction=0.1, cap=1.0, min_trades=9),
    ),
    "volatility_target": tuple(
        late(size={"model": "volatility_target", "annual": annual, "days": 3, "periods_per_year": 365, "cap": 1.0})
        for annual in (0.1, 0.2)
    ),
    "periods_per_year": tuple(
        late(size={"model": "volatility_target", "annual": 0.1, "days": 3, "periods_per_year": n, "cap": 1.0})
        for n in (252, 365)
    ),
    "inverse_volatility.days": tuple(two(buy(bar=5, size={"model": "inverse_volatility", "days": n})) for n in (2, 4)),
    "risk_parity.days": tuple(two(buy(bar=5, size={"model": "risk_parity", "days": n})) for n in (2, 4)),
    # Guards
    **{
        guard: (entry(), entry() | {"risk": {guard: 0.05}})
        for guard in ("max_position", "max_gross_exposure", "max_net_exposure", "max_leverage")
    },
    "max_slippage_bps": (
        spot(costs={"half_spread_bps": 5}),
        spot(costs={"half_spread_bps": 5}, risk={"max_slippage_bps": 4}),
    ),
    "max_open_positions": tuple(
        two(buy(), buy(instrument="Y"), **risk) for risk in ({}, {"risk": {"max_open_positions": 1}})
    ),
    "correlation_limit": tuple(
        two(buy(bar=9), buy(bar=9, instrument="Y"), **risk)
        for risk in ({}, {"risk": {"correlation_limit": {"limit": 0.1, "days": 5}}})
    ),
    **{
        guard: tuple(
            world([FLAT, FLAT, *[flat(80)] * 3], buy(quantity=10), buy(bar=2), **risk)
            for risk in ({}, {"risk": {guard: terms}})
        )
        for guard, terms in (
            ("max_daily_loss", 0.01),
            ("max_drawdown", 0.01),
            ("kill_switch", {"drawdown": 0.01}),
        )
    },
    "global_trade_spacing": tuple(
        hourly(buy(), buy(bar=1), **risk) for risk in ({}, {"risk": {"global_trade_spacing": {"seconds": 7201}}})
    ),
    "after_loss_seconds": (
        loser(),
        loser(risk={"symbol_cooldown_active": {"after_win_seconds": 0, "after_loss_seconds": 7201}}),
    ),
    "after_win_seconds": (
        winner(),
        winner(risk={"symbol_cooldown_active": {"after_win_seconds": 7201, "after_loss_seconds": 0}}),
    ),
    **{
        guard: tuple(hourly(buy(), buy(), **risk) for risk in ({}, {"risk": {guard: 1}}))
        for guard in ("max_trades_per_hour", "max_trades_per_day")
    },
    "loss_streak_cooldown": (loser(), loser(risk={"loss_streak_cooldown": {"losses": 1, "seconds": 7201}})),
    # Terms of an instrument
    "tick": (entry(order="limit", price=97.3), entry(order="limit", price=97.3) | {"instruments": {"X": {"tick": 1}}}),
    "lot": (world(LONG, buy(quantity=1.5)), world(LONG, buy(quantity=1.5), instrument={"lot": 1})),
    "min_notional": (entry(), entry() | {"instruments": {"X": {"min_notional": 2000}}}),
    "shortable": (short(), short(instrument={"shortable": False})),
    "kind": tuple(short(instrument={"kind": kind}, costs={"borrow_bps_per_day": 5}) for kind in ("spot", "linear")),
    "inverse": (contract({"kind": "linear"}), contract({"kind": "inverse"})),
    "leverage": (contract({"kind": "linear", "leverage": 5}), contract(LEVERED)),
    "maintenance_margin": (contract(LEVERED, bars=FALLS), contract(LEVERED | {"maintenance_margin": 0.05}, bars=FALLS)),
    "maintenance_amount": (
        contract(LEVERED | {"maintenance_margin": 0.05}, bars=FALLS),
        contract(LEVERED | {"maintenance_margin": 0.05, "maintenance_amount": 40}, bars=FALLS),
    ),
    "extra_margin": (contract(LEVERED), contract(LEVERED | {"extra_margin": 50})),
    "contract_size": (entry(), entry() | {"instruments": {"X": {"contract_size": 2}}}),
    "liquidation": tuple(
        contract(LEVERED | {"maintenance_margin": 0.05, "liquidation": name}, bars=[FLAT, FLAT, flat(94.8), flat(95)])
        for name in ("bybit_linear", "okx")
    ),
    "margin: cross": (
        contract(LEVERED | {"liquidation": "binance"}),
        contract(LEVERED | {"liquidation": "binance", "margin": "cross"}),
    ),
    # What is carried in
    "split": (entry(), entry() | {"actions": [{"bar": 2, "instrument": "X", "split": 2.0}]}),
    "dividend": (entry(), entry() | {"actions": [{"bar": 2, "instrument": "X", "dividend": 0.5}]}),
    "funding": (
        contract({"kind": "linear"}),
        contract({"kind": "linear"})
        | {"funding": [{"instrument": "X", "at": "1970-01-03T08:00:00Z", "rate": 0.001, "mark": 100}]},
    ),
    "conversions": (spot(), spot(conversions={"X": 0.9})),
}


MODELS = (
    *(scenarios.Instrument, scenarios.Costs, scenarios.Rules, scenarios.Funding, scenarios.Action, scenarios.Account),
    *(scenarios.Entry, scenarios.Close, scenarios.Cancel, scenarios.MoveStop, scenarios.MoveTarget),
    *(exits.Distance, exits.Target, exits.PriceTarget),
    *(risk.Guards, risk.Correlation, risk.KillSwitch, risk.Spacing, risk.Cooldown, risk.LossStreak),
    *(costs.PerShare, costs.FeePeriod, costs.FeeTier, costs.BpsSlippage, costs.VolumeShareSlippage),
    *(costs.SquareRootImpact, costs.AlmgrenImpact),
    *(sizing.Units, sizing.Notional, sizing.EquityShare, sizing.RiskPerTrade, sizing.VolatilityTarget, sizing.Kelly),
    *(sizing.InverseVolatility, sizing.RiskParity),
)


def named_in(value):
    if isinstance(value, dict):
        return set(value).union(*(named_in(one) for one in value.values()))
    return set().union(*(named_in(one) for one in value)) if isinstance(value, list) else set()


def apart(one, other):
    """The keys at which two documents differ, and those below one that only one of them has."""
    if isinstance(one, dict) and isinstance(other, dict):
        missing = one.keys() ^ other.keys()
        below = (named_in((one | other)[key]) for key in missing)
        changed = [key for key in one.keys() & other.keys() if one[key] != other[key]]
        return missing.union(changed, *below, *(apart(one[key], other[key]) for key in changed))
    if isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        return set().union(*(apart(*pair) for pair in zip(one, other, strict=True)))
    return named_in(one) | named_in(other)


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.__name__)
def test_every_key_that_can_be_configured_stands_in_a_pair(model):
    tried = set().union(*(apart(*pair) for pair in WITHOUT_AND_WITH.values()))
    assert {field.alias or name for name, field in model.model_fields.items()} - tried == set()


def compact(answer):
    return {key: value for key, value in answer.items() if key != "warnings"}


@pytest.mark.parametrize("name", WITHOUT_AND_WITH)
def test_every_option_has_an_effect(name):
    without, with_it = WITHOUT_AND_WITH[name]
    assert compact(simulated(without)) != compact(simulated(with_it))


@pytest.mark.parametrize(
    ("formula", "other"),
    [("bybit_linear", "binance"), ("bybit_linear", "okx"), ("bybit_inverse", "bybit_inverse_2026")],
)
def test_every_formula_liquidates_at_a_mark_of_its_own(formula, other):
    kind = {"kind": "inverse" if "inverse" in formula else "linear", "leverage": 10, "maintenance_margin": 0.05}
    falls = [FLAT, FLAT, *(flat(100 - step / 50) for step in range(600))]
    bars_of_liquidation = {
        simulated(contract(kind | {"liquidation": name}, bars=falls))["fills"][-1]["bar"] for name in (formula, other)
    }
    assert len(bars_of_liquidation) == 2
