"""The slow twin against answers that were worked out by hand from the contract, and against what others have published.

Every row of `SCENARIOS` is a scenario and what the contract says of it; no expected number was made by running the twin.
"""

import copy
import itertools
import math
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.simulator.scenario import simulated
from quality.fills_oracle import Book, Terms, ceiled, equal_risk_weights, floored, replayed


def pytest_generate_tests(metafunc):
    """What is worked by hand is put to the twin and to the kernel."""
    if "run" not in metafunc.fixturenames and not hasattr(metafunc.function, "hypothesis"):
        metafunc.fixturenames.append("asked")
        metafunc.parametrize("asked", ["twin", "kernel"], indirect=True)


@pytest.fixture
def asked(request, monkeypatch):
    if request.param == "kernel":
        monkeypatch.setitem(globals(), "replayed", simulated_in)


def simulated_in(scenario, sessions=None):
    return simulated(scenario | ({"sessions": sessions} if sessions else {}))


FLAT = [100, 100, 100, 100, 1000]
START = datetime(2024, 1, 1, tzinfo=UTC)


def world(bars, *decisions, **rest):
    """A scenario of one spot instrument X; `instrument` and `costs` and `rules` are what differs from the defaults."""
    given_keys = {"cash": 10_000, "instrument": {}, "timeframe": "1d"} | rest
    return {
        "timeframe": given_keys.pop("timeframe"),
        "account": {"cash": given_keys.pop("cash")},
        "instruments": {"X": given_keys.pop("instrument")},
        "bars": {"X": bars},
        "decisions": list(decisions),
        **given_keys,
    }


def decision(do, *, bar=0, instrument="X", **rest):
    return {"bar": bar, "instrument": instrument, "do": do} | rest


def buy(*, quantity=1, **rest):
    return decision("buy", **({} if "size" in rest else {"quantity": quantity}), **rest)


def sell(*, quantity=1, **rest):
    return decision("sell", quantity=quantity, **rest)


def flat(price, volume=1000):
    return [price, price, price, price, volume]


def dated(rows, *, step, skip=()):
    """Rows with their time from START on, but for the places in `skip`."""
    return [[START + i * step, *row] for i, row in enumerate(rows) if i not in skip]


def same(found, wanted):
    if isinstance(wanted, float):
        return found == pytest.approx(wanted, rel=1e-9, abs=1e-9)
    return found == wanted


def told(answer):
    """(bar, side, quantity, price, why) of every fill."""
    return [tuple(fill[key] for key in ("bar", "side", "quantity", "price", "why")) for fill in answer["fills"]]


def close_to(rows):
    return [tuple(pytest.approx(value) if isinstance(value, float) else value for value in row) for row in rows]


def states(answer):
    return [(order["status"], order["reason"]) for order in answer["orders"]]


FILLED = ("filled", None)
OPEN = ("open", None)


def closed(reason="position_closed"):
    return ("cancelled", reason)


def refused(reason):
    return ("rejected", reason)


STOP_90_TARGET_110 = {"stop": 90, "targets": [{"price": 110, "share": 1.0}]}
WIDE = [100, 112, 88, 100, 1000]
HOURS = timedelta(hours=1)
ONE_IN_TEN = {"participation": 0.1}
PERPETUAL = {"kind": "linear", "leverage": 1}

SCENARIOS = {
    # The two paths
    "adverse takes the stop": (
        world([FLAT, WIDE], buy(**STOP_90_TARGET_110)),
        {
            "fills": [(1, "buy", 1.0, 100.0, "entry"), (1, "sell", 1.0, 90.0, "stop")],
            "ambiguous": [False, True],
            "states": [FILLED, FILLED, closed()],
            "equity": [10_000.0, 9_990.0],
        },
    ),
    "favourable takes the target as maker": (
        world([FLAT, WIDE], buy(**STOP_90_TARGET_110), rules={"path": "favourable"}),
        {
            "fills": [(1, "buy", 1.0, 100.0, "entry"), (1, "sell", 1.0, 110.0, "target_1")],
            "ambiguous": [False, True],
            "liquidity": ["taker", "maker"],
            "equity": [10_000.0, 10_010.0],
        },
    ),
    "likely goes to the nearer extreme first": (
        world([FLAT, [100, 111, 88, 100, 1000]], buy(**STOP_90_TARGET_110), rules={"path": "likely"}),
        {"fills": [(1, "buy", 1.0, 100.0, "entry"), (1, "sell", 1.0, 110.0, "target_1")], "ambiguous": [False, True]},
    ),
    "likely at equal distance is adverse": (
        world([FLAT, WIDE], buy(**STOP_90_TARGET_110), rules={"path": "likely"}),
        {"fills": [(1, "buy", 1.0, 100.0, "entry"), (1, "sell", 1.0, 90.0, "stop")]},
    ),
    "likely counts distance 0 as nearest": (
        world([FLAT, [100, 111, 100, 105, 1000]], buy(stop=90), rules={"path": "likely"}),
        {"fills": [(1, "buy", 1.0, 100.0, "entry")], "ambiguous": [False]},
    ),
    "what both paths give is certain": (
        world([FLAT, [100, 105, 88, 95, 1000]], buy(**STOP_90_TARGET_110)),
        {
            "fills": [(1, "buy", 1.0, 100.0, "entry"), (1, "sell", 1.0, 90.0, "stop")],
            "ambiguous": [False, False],
            "ambiguous_trades": 0,
            "trade": {"mae": -10.0, "mfe": 5.0},  # equal PnL: open, high, low, close
        },
    ),
    "the finer bars give the true path": (
        world(
            dated([FLAT, WIDE], step=timedelta(days=1)),
            buy(**STOP_90_TARGET_110),
            finer_bars={
                "X": [
                    [START + timedelta(days=1), 100, 112, 99, 108, 10],
                    [START + timedelta(days=1, hours=12), 108, 109, 88, 100, 10],
                ]
            },
        ),
        {"fills": [(1, "buy", 1.0, 100.0, "entry"), (1, "sell", 1.0, 110.0, "target_1")], "ambiguous": [False, False]},
    ),
    "an entry inside the bar is protected from its moment on": (
        # high first: the limit at 95 fills on the way down, then the stop at 90; low first: the same
        world([FLAT, [100, 101, 89, 100, 1000]], buy(order="limit", price=95, stop=90)),
        {
            "fills": [(1, "buy", 1.0, 95.0, "entry"), (1, "sell", 1.0, 90.0, "stop")],
            "ambiguous": [False, False],
            "liquidity": ["maker", "taker"],
        },
    ),
    "a target after an entry inside the bar is ambiguous": (
        # open 100, high 101, low 94, close 96: the target at 99 is passed only when the low comes first
        world([FLAT, [100, 101, 94, 96, 1000]], buy(order="limit", price=95, targets=[{"price": 99, "share": 1.0}])),
        {
            "fills": [(1, "buy", 1.0, 95.0, "entry")],
            "ambiguous": [False],
            "states": [FILLED, OPEN],
            "equity": [10_000.0, 10_001.0],
        },
    ),
    # The open
    "a stop that the bar opened beyond is filled at the open": (
        world([FLAT, FLAT, flat(85)], buy(stop=90)),
        {
            "fills": [(1, "buy", 1.0, 100.0, "entry"), (2, "sell", 1.0, 85.0, "stop")],
            "equity": [10_000.0, 10_000.0, 9_985.0],
            "trade": {"r": -1.5},
        },
    ),
    "a short's stop pays the worse open": (
        world([FLAT, FLAT, flat(115)], sell(stop=110)),
        {
            "fills": [(1, "sell", 1.0, 100.0, "entry"), (2, "buy", 1.0, 115.0, "stop")],
            "trade": {"pnl": -15.0, "r": -1.5},
        },
    ),
    "a target that the bar opened beyond gets the open, as maker and without spread": (
        world(
            [FLAT, FLAT, flat(115)],
            buy(targets=[{"price": 110, "share": 1.0}]),
            costs={"half_spread_bps": 10, "maker_bps": 2, "taker_bps": 5},
        ),
        {
            "fills": [(1, "buy", 1.0, 100.1, "entry"), (2, "sell", 1.0, 115.0, "target_1")],
            "liquidity": ["taker", "maker"],
            "trade": {"edge": 15.0, "spread": 0.1, "fees": 0.05005 + 0.023, "pnl": 14.9 - 0.07305},
        },
    ),
    "an entry beyond its own stop leaves at the same open and pays for both": (
        world([FLAT, flat(94)], buy(stop=95), costs={"taker_bps": 10}),
        {
            "fills": [(1, "buy", 1.0, 94.0, "entry"), (1, "sell", 1.0, 94.0, "stop")],
            "trade": {"pnl": -0.188, "r": None, "mae": -0.188, "mfe": -0.094},
        },
    ),
    "an entry beyond its own target takes it at once": (
        world([FLAT, flat(106)], buy(targets=[{"price": 105, "share": 1.0}])),
        {
            "fills": [(1, "buy", 1.0, 106.0, "entry"), (1, "sell", 1.0, 106.0, "target_1")],
            "liquidity": ["taker", "taker"],
        },
    ),
    "a close whose position left at the same open": (
        world([FLAT, FLAT, flat(85)], buy(stop=90), decision("close", bar=1)),
        {
            "states": [FILLED, FILLED, closed()],
            "fills": [(1, "buy", 1.0, 100.0, "entry"), (2, "sell", 1.0, 85.0, "stop")],
        },
    ),
    "a close when flat": (
        world([FLAT, FLAT], decision("close")),
        {"fills": [], "states": [refused("no_position")]},
    ),
    "a close of a part": (
        world([FLAT, FLAT, flat(101)], buy(quantity=2), decision("close", bar=1, quantity=0.5)),
        {"fills": [(1, "buy", 2.0, 100.0, "entry"), (2, "sell", 0.5, 101.0, "signal")]},
    ),
    "exits go before entries at the open, so their cash is there": (
        world(
            [FLAT, FLAT, FLAT],
            buy(quantity=1),
            buy(bar=1, instrument="Y"),
            decision("close", bar=1),
            cash=100,
        )
        | {"instruments": {"X": {}, "Y": {}}, "bars": {"X": [FLAT] * 3, "Y": [FLAT] * 3}},
        {
            "fills": [
                (1, "buy", 1.0, 100.0, "entry"),
                (2, "sell", 1.0, 100.0, "signal"),
                (2, "buy", 1.0, 100.0, "entry"),
            ]
        },
    ),
    # Limits
    "a limit that the price only touches": (
        world([FLAT, [100, 101, 95, 96, 1000]], buy(order="limit", price=95)),
        {"fills": [], "states": [OPEN]},
    ),
    "a limit that a touch fills": (
        world([FLAT, [100, 101, 95, 96, 1000]], buy(order="limit", price=95), rules={"limit_fill": "touch"}),
        {"fills": [(1, "buy", 1.0, 95.0, "entry")], "liquidity": ["maker"]},
    ),
    "a resting limit that the open lies beyond gets the open": (
        world([FLAT, FLAT, flat(93)], buy(order="limit", price=95)),
        {"fills": [(2, "buy", 1.0, 93.0, "entry")], "liquidity": ["maker"]},
    ),
    "a resting limit that the open only equals waits": (
        world([FLAT, FLAT, flat(95)], buy(order="limit", price=95)),
        {"fills": [], "states": [OPEN]},
    ),
    "a new marketable limit takes at the open": (
        world([FLAT, FLAT], buy(order="limit", price=101), costs={"maker_bps": 1, "taker_bps": 10}),
        {"fills": [(1, "buy", 1.0, 100.0, "entry")], "liquidity": ["taker"], "equity": [10_000.0, 9_999.9]},
    ),
    "marketable is judged with the half-spread, equality takes": (
        world([FLAT, FLAT], buy(order="limit", price=101), costs={"half_spread_bps": 100}),
        {"fills": [(1, "buy", 1.0, 101.0, "entry")], "liquidity": ["taker"]},
    ),
    "below the ask a new limit rests": (
        world([FLAT, [102, 103, 101, 102, 1000]], buy(order="limit", price=102), costs={"half_spread_bps": 100}),
        {"fills": [(1, "buy", 1.0, 102.0, "entry")], "liquidity": ["maker"]},
    ),
    "slippage never carries a taking limit past its price": (
        world([FLAT, FLAT], buy(order="limit", price=100.05), costs={"slippage": {"model": "bps", "bps": 10}}),
        {"fills": [(1, "buy", 1.0, 100.05, "entry")], "liquidity": ["taker"]},
    ),
    "post only that would take": (
        world([FLAT, FLAT, flat(90)], buy(order="limit", price=101, post_only=True)),
        {"fills": [], "states": [refused("post_only_would_take")]},
    ),
    "post only that rests": (
        world([FLAT, [100, 101, 94, 95, 1000]], buy(order="limit", price=95, post_only=True)),
        {"fills": [(1, "buy", 1.0, 95.0, "entry")], "liquidity": ["maker"]},
    ),
    "ttl": (
        world([FLAT, FLAT, flat(90)], buy(order="limit", price=95, ttl_bars=1)),
        {"fills": [], "states": [("expired", "ttl_expired")]},
    ),
    "ttl runs through missing bars": (
        world(
            dated([FLAT, FLAT, FLAT, flat(90)], step=timedelta(days=1), skip=(1, 2)),
            buy(order="limit", price=95, ttl_bars=2),
        ),
        {"fills": [], "states": [("expired", "ttl_expired")]},
    ),
    "ttl keeps what has filled": (
        world([FLAT, flat(100, 10), flat(100, 10)], buy(quantity=3, ttl_bars=1), rules=ONE_IN_TEN),
        {"fills": [(1, "buy", 1.0, 100.0, "entry")], "states": [("expired", "ttl_expired")]},
    ),
    "cancel": (
        world([FLAT, FLAT, flat(90)], buy(order="limit", price=95), decision("cancel", bar=1)),
        {"fills": [], "states": [closed("cancelled")]},
    ),
    "cancel of one client order id": (
        world(
            [FLAT, FLAT, flat(90)],
            buy(order="limit", price=95, client_order_id="a"),
            buy(order="limit", price=94, client_order_id="b"),
            decision("cancel", bar=1, client_order_id="a"),
        ),
        {"fills": [(2, "buy", 1.0, 90.0, "entry")], "states": [closed("cancelled"), FILLED]},
    ),
    "cancel leaves protective orders": (
        world([FLAT, FLAT, flat(85)], buy(stop=90), decision("cancel", bar=1)),
        {"fills": [(1, "buy", 1.0, 100.0, "entry"), (2, "sell", 1.0, 85.0, "stop")]},
    ),
    "a client order id used twice is one order": (
        world([FLAT, FLAT, FLAT], buy(client_order_id="a"), buy(bar=1, client_order_id="a")),
        {"fills": [(1, "buy", 1.0, 100.0, "entry")], "states": [FILLED]},
    ),
    # Stops as entries
    "an entry stop triggers on touch": (
        world([FLAT, [100, 105, 99, 104, 1000]], buy(order="stop", price=105)),
        {"fills": [(1, "buy", 1.0, 105.0, "entry")], "liquidity": ["taker"]},
    ),
    "an entry stop that the open lies beyond pays the open": (
        world([FLAT, flat(108)], buy(order="stop", price=105)),
        {"fills": [(1, "buy", 1.0, 108.0, "entry")]},
    ),
    "a short entry stop": (
        world([FLAT, [100, 101, 94, 94, 1000]], sell(order="stop", price=95)),
        {"fills": [(1, "sell", 1.0, 95.0, "entry")], "equity": [10_000.0, 10_001.0]},
    ),
    "a stop limit takes at its trigger": (
        world([FLAT, [100, 106, 99, 104, 1000]], buy(order="stop_limit", trigger=105, price=105)),
        {"fills": [(1, "buy", 1.0, 105.0, "entry")], "liquidity": ["taker"]},
    ),
    "a stop limit that is not marketable at its trigger rests": (
        # ask at the trigger is 105 x 1.01 > 105.5; the price is below 105.5 there, so it fills at its price as maker
        world(
            [FLAT, [100, 106, 99, 104, 1000]],
            buy(order="stop_limit", trigger=105, price=105.5),
            costs={"half_spread_bps": 100},
        ),
        {"fills": [(1, "buy", 1.0, 105.5, "entry")], "liquidity": ["maker"]},
    ),
    "a stop limit below its trigger waits for the price to come back": (
        world(
            [FLAT, [100, 106, 99, 106, 1000], [106, 107, 103, 104, 1000]],
            buy(order="stop_limit", trigger=105, price=104),
        ),
        # bar 1: high first, then down through 104 as maker; low first: triggered last, rests. Adverse: the entry at 104
        # is worth 106 - 104 = 2 more at the close, so the path without it
        {"fills": [(2, "buy", 1.0, 104.0, "entry")], "ambiguous": [False]},
    ),
    "a stop limit that the open lies beyond is a new limit there": (
        world([FLAT, flat(107), flat(105)], buy(order="stop_limit", trigger=105, price=106)),
        {"fills": [(2, "buy", 1.0, 105.0, "entry")], "liquidity": ["maker"]},
    ),
    # Positions
    "the same direction adds, one stop, resized": (
        world([FLAT, FLAT, flat(110), flat(80)], buy(stop=90), buy(bar=1, stop=95)),
        {
            "fills": [
                (1, "buy", 1.0, 100.0, "entry"),
                (2, "buy", 1.0, 110.0, "entry"),
                (3, "sell", 2.0, 80.0, "stop"),
            ],
            "trade": {"quantity": 2.0, "entry_price": 105.0, "pnl": -50.0, "r": -5.0},
            "n_warnings": 1,
        },
    ),
    "the opposite reduces to flat at most": (
        world([FLAT, FLAT, flat(101)], buy(), sell(bar=1, quantity=3)),
        {
            "fills": [(1, "buy", 1.0, 100.0, "entry"), (2, "sell", 1.0, 101.0, "reduce")],
            "states": [FILLED, closed()],
            "trade": {"exit_reason": "reduce"},
        },
    ),
    "close and sell on one close is a reversal": (
        world([FLAT, FLAT, flat(101)], buy(), decision("close", bar=1), sell(bar=1)),
        {
            "fills": [
                (1, "buy", 1.0, 100.0, "entry"),
                (2, "sell", 1.0, 101.0, "signal"),
                (2, "sell", 1.0, 101.0, "entry"),
            ]
        },
    ),
    "an opposite limit ends with its position": (
        world([FLAT, FLAT, [100, 101, 85, 86, 1000], flat(120)], buy(stop=90), sell(bar=1, order="limit", price=115)),
        {
            "fills": [(1, "buy", 1.0, 100.0, "entry"), (2, "sell", 1.0, 90.0, "stop")],
            "states": [FILLED, FILLED, closed()],
        },
    ),
    "a time stop acts at the open of entry bar + n": (
        world([FLAT, FLAT, FLAT, flat(103), flat(104)], buy(time_stop_bars=2)),
        {"fills": [(1, "buy", 1.0, 100.0, "entry"), (3, "sell", 1.0, 103.0, "time")]},
    ),
    "a session close leaves at the close of the session's last bar": (
        world(
            [flat(100)] * 21 + [[100, 101, 99, 100.5, 1000]] * 2 + [[100, 103, 99, 102, 1000], flat(110)],
            buy(bar=21, session_close=True),
            timeframe="1h",
        ),
        {
            "fills": [(22, "buy", 1.0, 100.0, "entry"), (23, "sell", 1.0, 102.0, "session_close")],
            "liquidity": ["taker", "taker"],
        },
    ),
    "a trail follows completed bars only": (
        # bar 1: high 120 and then 101: not stopped at 108 there; bar 2 passes 108
        world([FLAT, [100, 120, 100, 115, 1000], [115, 116, 107, 110, 1000]], buy(trail={"pct": 0.1})),
        {
            "fills": [(1, "buy", 1.0, 100.0, "entry"), (2, "sell", 1.0, 108.0, "trail")],
            "ambiguous": [False, False],
            "trade": {"r": 0.8},
        },
    ),
    "a trail starts from the entry price": (
        world([FLAT, [100, 101, 89, 95, 1000]], buy(trail={"pct": 0.1})),
        {"fills": [(1, "buy", 1.0, 100.0, "entry"), (1, "sell", 1.0, 90.0, "trail")]},
    ),
    "an ATR trail": (
        # true ranges 2, 2: ATR(2) of bar 2 is 2; entry 100 at bar 3, trail 100 - 2 x 2 = 96. Bar 3: true range
        # 110 - 100 = 10, ATR (2 + 10) / 2 = 6, level 110 - 12 = 98. Bar 4 opens at 97.
        world(
            [[100, 101, 99, 100, 1000]] * 3 + [[100, 110, 100, 109, 1000], flat(97)],
            buy(bar=2, trail={"atr": 2, "length": 2}),
        ),
        {"fills": [(3, "buy", 1.0, 100.0, "entry"), (4, "sell", 1.0, 97.0, "trail")], "prices": {"o-000002": 98.0}},
    ),
    "an ATR stop with too few bars": (
        world([[100, 101, 99, 100, 1000]] * 3, buy(bar=1, stop={"atr": 2, "length": 2})),
        {"fills": [], "states": [refused("invalid_stop")]},
    ),
    "a stop in percent is placed from the price paid": (
        world([FLAT, flat(110)], buy(stop={"pct": 0.1}), costs={"half_spread_bps": 100}),
        # paid 110 x 1.01 = 111.1; stop 99.99
        {"prices": {"o-000002": 99.99}, "states": [FILLED, OPEN]},
    ),
    "the default ladder, break-even acting along the path at once": (
        # high first: 0.4 at 110, stop to 100, rest out at 100: +4. Low first: 0.4 at 110, close 106: 4 + 3.6.
        world([FLAT, [100, 111, 99, 106, 1000]], buy(stop=90, targets="default")),
        {
            "fills": [
                (1, "buy", 1.0, 100.0, "entry"),
                (1, "sell", 0.4, 110.0, "target_1"),
                (1, "sell", 0.6, 100.0, "break_even"),
            ],
            "ambiguous": [False, False, True],
            "trade": {"pnl": 4.0, "r": 0.4, "exit_reason": "break_even", "exit_price": 104.0},
        },
    ),
    "the default ladder leaves a runner": (
        world([FLAT, FLAT, [101, 126, 101, 125.5, 1000]], buy(stop=90, targets="default")),
        {
            "fills": [
                (1, "buy", 1.0, 100.0, "entry"),
                (2, "sell", 0.4, 110.0, "target_1"),
                (2, "sell", 0.4, 125.0, "target_2"),
            ],
            "left": 0.2,
            "equity": [10_000.0, 10_000.0, 10_000.0 + 4 + 10 + 5.1],
        },
    ),
    "a runner's trail starts after the last target": (
        # bar 1: target 110 fills, high 112, no stop before. From bar 2: 112 x 0.95 = 106.4
        world(
            [FLAT, [100, 112, 100, 110, 1000], [110, 111, 106, 107, 1000]],
            buy(targets=[{"price": 110, "share": 0.5}], runner_trail={"pct": 0.05}),
        ),
        {
            "fills": [
                (1, "buy", 1.0, 100.0, "entry"),
                (1, "sell", 0.5, 110.0, "target_1"),
                (2, "sell", 0.5, 106.4, "trail"),
            ]
        },
    ),
    "when the first leg floors to nothing everything leaves at the first target": (
        world([FLAT, FLAT, [100, 111, 100, 105, 1000]], buy(quantity=0.002, stop=90, targets="default")),
        {"fills": [(1, "buy", 0.002, 100.0, "entry"), (2, "sell", 0.002, 110.0, "target_1")]},
    ),
    "the last leg takes what flooring left over": (
        world(
            [FLAT, FLAT, [100, 121, 100, 121, 1000]],
            buy(quantity=0.003, targets=[{"price": 110, "share": 0.5}, {"price": 120, "share": 0.5}]),
        ),
        {
            "fills": [
                (1, "buy", 0.003, 100.0, "entry"),
                (2, "sell", 0.001, 110.0, "target_1"),
                (2, "sell", 0.002, 120.0, "target_2"),
            ]
        },
    ),
    "move_stop acts from the next bar": (
        world([FLAT, FLAT, flat(98)], buy(stop=90), decision("move_stop", bar=1, stop=99)),
        {"fills": [(1, "buy", 1.0, 100.0, "entry"), (2, "sell", 1.0, 98.0, "stop")], "prices": {"o-000002": 99.0}},
    ),
    "move_target": (
        world(
            [FLAT, FLAT, [100, 106, 100, 104, 1000]],
            buy(targets=[{"price": 110, "share": 1.0}]),
            decision("move_target", bar=1, targets=[{"price": 105, "share": 1.0}]),
        ),
        {
            "fills": [(1, "buy", 1.0, 100.0, "entry"), (2, "sell", 1.0, 105.0, "target_1")],
            "states": [FILLED, closed("cancelled"), FILLED],
        },
    ),
    # Participation and volume
    "participation spreads an order over bars": (
        world([FLAT] + [flat(100, 10)] * 3, buy(quantity=2.5), rules=ONE_IN_TEN),
        {
            "fills": [
                (1, "buy", 1.0, 100.0, "entry"),
                (2, "buy", 1.0, 100.0, "entry"),
                (3, "buy", 0.5, 100.0, "entry"),
            ],
            "states": [FILLED],
        },
    ),
    "participation floors to the lot": (
        world([FLAT, flat(100, 19)], buy(quantity=5), rules=ONE_IN_TEN, instrument={"lot": 1}),
        {"fills": [(1, "buy", 1.0, 100.0, "entry")], "states": [("partially_filled", None)]},
    ),
    "zero volume fills nothing": (
        world([FLAT, flat(100, 0), flat(101)], buy()),
        {"fills": [(2, "buy", 1.0, 101.0, "entry")]},
    ),
    "a stop touched without volume goes on at the next open": (
        world([FLAT, FLAT, [100, 100, 89, 95, 0], flat(97)], buy(stop=90)),
        {"fills": [(1, "buy", 1.0, 100.0, "entry"), (3, "sell", 1.0, 97.0, "stop")]},
    ),
    "the rest of a stop goes on at the next open": (
        world([FLAT, FLAT, [100, 100, 89, 95, 4], flat(97)], buy(stop=90), rules=ONE_IN_TEN),
        {
            "fills": [
                (1, "buy", 1.0, 100.0, "entry"),
                (2, "sell", 0.4, 90.0, "stop"),
                (3, "sell", 0.6, 97.0, "stop"),
            ]
        },
    ),
    "no volume known, no cap": (
        world([FLAT, [100, 100, 100, 100]], buy(quantity=50)),
        {"fills": [(1, "buy", 50.0, 100.0, "entry")], "n_warnings": 1},
    ),
    # Costs
    "a missing bar fills nothing and equity stays": (
        world(
            dated([FLAT, FLAT, FLAT, flat(102)], step=timedelta(days=1)),
            buy(),
            decision("close", bar=1),
        )
        | {
            "instruments": {"X": {}, "Y": {}},
            "bars": {
                "X": dated([FLAT, FLAT, FLAT, flat(102)], step=timedelta(days=1), skip=(2,)),
                "Y": dated([FLAT] * 4, step=timedelta(days=1)),
            },
        },
        {
            "fills": [(1, "buy", 1.0, 100.0, "entry"), (3, "sell", 1.0, 102.0, "signal")],
            "equity": [10_000.0, 10_000.0, 10_000.0, 10_002.0],
        },
    ),
    "spread and slippage are parts of the reference price": (
        world(
            [FLAT, FLAT, flat(110)],
            buy(quantity=2),
            decision("close", bar=1),
            costs={"half_spread_bps": 10, "slippage": {"model": "bps", "bps": 20}},
        ),
        {
            "fills": [(1, "buy", 2.0, 100.3, "entry"), (2, "sell", 2.0, 109.67, "signal")],
            "trade": {"edge": 20.0, "spread": 0.42, "slippage": 0.84, "impact": 0.0, "pnl": 18.74},
        },
    ),
    "volume share as zipline's test has it: 50 of 200 at 3 cost 3.01875": (
        # zipline tests/finance/test_slippage.py (2012): volume_limit 0.25, price_impact 0.1
        world(
            [flat(3, 200), flat(3, 200), flat(3, 200)],
            buy(quantity=100),
            costs={"slippage": {"model": "volume_share", "impact": 0.1, "limit": 0.25}},
        ),
        {
            "fills": [(1, "buy", 50.0, 3.01875, "entry"), (2, "buy", 50.0, 3.01875, "entry")],
            "left": 100.0,
        },
    ),
    "a limit whose impacted price is worse does not fill": (
        world(
            [FLAT, flat(100, 4)],
            buy(order="limit", price=100, quantity=1),
            costs={"slippage": {"model": "volume_share", "impact": 0.1, "limit": 0.25}},
        ),
        {"fills": [], "states": [OPEN]},
    ),
    "square root impact": (
        # 0.8 x 0.02 x sqrt(100 / 10,000) = 0.0016
        world(
            [FLAT, flat(100, 10_000)],
            buy(quantity=100),
            cash=20_000,
            costs={"slippage": {"model": "square_root", "y": 0.8, "sigma": 0.02, "volume": 10_000}},
        ),
        {"fills": [(1, "buy", 100.0, 100.16, "entry")]},
    ),
    "square root impact measured over two sessions": (
        # returns ln 1.1 and -ln 1.1: deviation sqrt(2) x ln 1.1; mean volume 100; Q 25
        world(
            [flat(100, 500), flat(110, 150), flat(100, 50), flat(100, 100)],
            buy(bar=2, quantity=25),
            costs={"slippage": {"model": "square_root", "y": 1.0, "days": 2}},
        ),
        {"fills": [(3, "buy", 25.0, 100 * (1 + math.sqrt(2) * math.log(1.1) * 0.5), "entry")]},
    ),
    "maker and taker fees on the price paid": (
        world(
            [FLAT, [100, 111, 99, 108, 1000]],
            buy(targets=[{"price": 110, "share": 1.0}]),
            costs={"maker_bps": 2, "taker_bps": 10, "half_spread_bps": 100},
        ),
        {"trade": {"fees": 0.101 + 0.022, "spread": 1.0, "edge": 10.0, "pnl": 8.877}},
    ),
    "a tier's boundary belongs to the higher tier": (
        world(
            [FLAT] * 3,
            buy(quantity=10),
            buy(bar=1, quantity=1),
            costs={
                "fees": [
                    {
                        "from": "1970-01-01",
                        "tiers": [
                            {"volume": 0, "maker_bps": 0, "taker_bps": 10},
                            {"volume": 1000, "maker_bps": 0, "taker_bps": 5},
                        ],
                    }
                ]
            },
        ),
        {"fees": [1.0, 0.05]},
    ),
    "a new schedule holds from its date, a stop keeps the tier of its entry": (
        world(
            [FLAT, FLAT, FLAT, flat(80)],
            buy(stop=90),
            buy(bar=1),
            costs={
                "fees": [
                    {"from": "1970-01-01", "tiers": [{"volume": 0, "maker_bps": 0, "taker_bps": 10}]},
                    {"from": "1970-01-03", "tiers": [{"volume": 0, "maker_bps": 0, "taker_bps": 20}]},
                ]
            },
        ),
        {"fees": [0.1, 0.2, 0.16]},
    ),
    "a fee per share with a minimum an order": (
        world(
            [FLAT] + [flat(100, 100)] * 2,
            buy(quantity=150),
            cash=20_000,
            costs={"per_share": {"fee": 0.005, "minimum": 0.6}},
        ),
        {"fees": [0.6, 0.15]},  # 150 x 0.005 = 0.75 in all
    ),
    # Rounding and cash
    "limits and stops round to the tick": (
        world(
            [FLAT, FLAT],
            buy(order="limit", price=95.19),
            sell(order="limit", price=105.11),
            buy(order="stop", price=105.11),
            sell(order="stop", price=95.19),
            instrument={"tick": 0.1},
        ),
        {"prices": {"o-000001": 95.1, "o-000002": 105.2, "o-000003": 105.2, "o-000004": 95.1}},
    ),
    "quantities round down to the lot": (
        world([FLAT, FLAT], buy(quantity=1.99), instrument={"lot": 0.5}),
        {"fills": [(1, "buy", 1.5, 100.0, "entry")], "requested": [1.99], "quantities": [1.5]},
    ),
    "0.3 of a lot of 0.1 is three lots": (
        world([FLAT, FLAT], buy(quantity=0.1 + 0.2), instrument={"lot": 0.1}),
        {"quantities": [0.3]},
    ),
    "below min notional": (
        world([FLAT, FLAT], buy(quantity=0.099), buy(quantity=0.1), instrument={"min_notional": 10}),
        {"fills": [(1, "buy", 0.1, 100.0, "entry")], "states": [refused("below_min_notional"), FILLED]},
    ),
    "cash that is just enough": (
        world([FLAT, FLAT], buy(), cash=100.1, costs={"taker_bps": 10}),
        {"fills": [(1, "buy", 1.0, 100.0, "entry")], "equity": [100.1, 100.0]},
    ),
    "cash that is not enough is never cut": (
        world([FLAT, FLAT], buy(), cash=100.09, costs={"taker_bps": 10}),
        {"fills": [], "states": [refused("insufficient_cash")]},
    ),
    "a spot short locks its proceeds and its notional": (
        world([FLAT, FLAT], sell(), sell(), cash=150),
        {"fills": [(1, "sell", 1.0, 100.0, "entry")], "states": [FILLED, refused("insufficient_cash")]},
    ),
    "not shortable": (
        world([FLAT, FLAT], sell(), instrument={"shortable": False}),
        {"fills": [], "states": [refused("not_shortable")]},
    ),
    "a sell of what is held needs no shorting": (
        world([FLAT, FLAT, FLAT], buy(), sell(bar=1), instrument={"shortable": False}),
        {"fills": [(1, "buy", 1.0, 100.0, "entry"), (2, "sell", 1.0, 100.0, "reduce")]},
    ),
    "a linear position needs its margin": (
        world(
            [FLAT, FLAT, flat(95)],
            buy(quantity=10),
            buy(bar=1),
            cash=105,
            instrument={"kind": "linear", "leverage": 10},
            rules={"liquidate_on": "last"},
        ),
        # 100 of 105 is margin: a second unit needs 9.5 where 5 is left
        {
            "fills": [(1, "buy", 10.0, 100.0, "entry")],
            "states": [FILLED, refused("insufficient_cash")],
            "equity": [105.0, 105.0, 55.0],
            "n_warnings": 1,
        },
    ),
    "bybit's inverse example: 10,000 contracts from 8,000 to 12,500 make 0.45 BTC": (
        # help.bybit.com, Perpetual Contracts Quotes
        world(
            [flat(8000), flat(8000, 1e6), flat(12_500, 1e6)],
            buy(quantity=10_000),
            decision("close", bar=1),
            cash=2,
            instrument={"kind": "inverse", "lot": 1, "tick": 0.5},
        ),
        {"trade": {"pnl": 0.45, "edge": 0.45}, "equity": [2.0, 2.0, 2.45]},
    ),
    # What is carried in
    "a split multiplies quantities and divides prices": (
        world(
            [FLAT, FLAT, flat(50), flat(44)],
            buy(**STOP_90_TARGET_110),
            actions=[{"bar": 2, "instrument": "X", "split": 2.0}],
        ),
        {
            "fills": [(1, "buy", 1.0, 100.0, "entry"), (3, "sell", 2.0, 44.0, "stop")],
            "prices": {"o-000002": 45.0, "o-000003": 55.0},
            "equity": [10_000.0, 10_000.0, 10_000.0, 9_988.0],
            "trade": {"pnl": -12.0, "r": -1.2},
        },
    ),
    "a split pays fractions of a lot at the open": (
        world(
            [FLAT, FLAT, flat(210)],
            buy(quantity=3),
            actions=[{"bar": 2, "instrument": "X", "split": 0.5}],
            instrument={"lot": 1},
        ),
        {"equity": [10_000.0, 10_000.0, 10_015.0], "left": 1.0},
    ),
    "a split moves what rests": (
        world(
            [FLAT, FLAT, [50, 51, 47, 48, 1000]],
            buy(order="limit", price=96),
            actions=[{"bar": 2, "instrument": "X", "split": 2.0}],
        ),
        {"fills": [(2, "buy", 2.0, 48.0, "entry")]},
    ),
    "dividends are credited to longs": (
        world([FLAT, FLAT, flat(99.75)], buy(quantity=4), actions=[{"bar": 2, "instrument": "X", "dividend": 0.25}]),
        {"equity": [10_000.0] * 3, "left": 4.0, "parts": {"dividends": 1.0, "pnl": 0.0}},
    ),
    "dividends are paid by shorts, and not by who enters at that open": (
        world([FLAT, FLAT, FLAT], sell(), sell(bar=1), actions=[{"bar": 2, "instrument": "X", "dividend": 0.25}]),
        {"equity": [10_000.0, 10_000.0, 9_999.75], "parts": {"dividends": -0.25}},
    ),
    "delisting pays the recovery": (
        world(
            [FLAT, FLAT, flat(50)],
            buy(stop=10),
            actions=[{"bar": 2, "instrument": "X", "delist": True}],
            rules={"delisting_recovery": 0.4},
        ),
        {
            "fills": [(1, "buy", 1.0, 100.0, "entry"), (2, "sell", 1.0, 20.0, "delisted")],
            "equity": [10_000.0, 10_000.0, 9_920.0],
        },
    ),
    "borrow is for every bar carried into": (
        # 100 x 1 % a day, previous close, one day each: bars 2 and 3
        world([FLAT, FLAT, flat(200), FLAT], sell(), costs={"borrow_bps_per_day": 100}),
        {"equity": [10_000.0, 10_000.0, 9_899.0, 9_997.0], "parts": {"borrow": 3.0}},
    ),
    "borrow counts the days of missing bars": (
        world(
            dated([FLAT] * 5, step=timedelta(days=1), skip=(2, 3)),
            sell(),
            costs={"borrow_bps_per_day": 100},
        ),
        {"equity": [10_000.0, 10_000.0, 9_997.0]},
    ),
    # Several things at once
    "exits go before entries at an equal price": (
        world(
            [FLAT, FLAT, [100, 106, 100, 106, 1000]],
            buy(targets=[{"price": 105, "share": 1.0}]),
            buy(bar=1, order="stop", price=105),
        ),
        {
            "fills": [
                (1, "buy", 1.0, 100.0, "entry"),
                (2, "sell", 1.0, 105.0, "target_1"),
                (2, "buy", 1.0, 105.0, "entry"),
            ],
            "left": 1.0,
        },
    ),
    "at an equal price the lower id goes first": (
        world(
            [FLAT, [100, 100, 94, 94, 10]],
            buy(quantity=0.7, order="limit", price=95),
            buy(quantity=0.7, order="limit", price=95),
            rules=ONE_IN_TEN,
        ),
        {
            "fills": [(1, "buy", 0.7, 95.0, "entry"), (1, "buy", 0.3, 95.0, "entry")],
            "states": [FILLED, ("partially_filled", None)],
        },
    ),
    "protective orders grow with their entry": (
        world(
            [FLAT] + [flat(100, 10)] * 2,
            buy(quantity=3, stop=90, targets=[{"price": 110, "share": 0.5}]),
            rules=ONE_IN_TEN,
        ),
        {"quantities": [3.0, 2.0, 1.0], "states": [("partially_filled", None), OPEN, OPEN]},
    ),
    "break-even after the second target": (
        world(
            [FLAT, FLAT, [101, 121, 101, 121, 1000], [121, 121, 99, 99, 1000]],
            buy(
                stop=90,
                targets=[{"price": 110, "share": 0.25}, {"price": 120, "share": 0.25}],
                break_even_after=2,
            ),
        ),
        {
            "fills": [
                (1, "buy", 1.0, 100.0, "entry"),
                (2, "sell", 0.25, 110.0, "target_1"),
                (2, "sell", 0.25, 120.0, "target_2"),
                (3, "sell", 0.5, 100.0, "break_even"),
            ]
        },
    ),
    "a split keeps a ladder": (
        world(
            [FLAT, FLAT, [50.5, 56, 50.5, 56, 1000], flat(63)],
            buy(stop=90, targets="default"),
            actions=[{"bar": 2, "instrument": "X", "split": 2.0}],
        ),
        {
            "fills": [
                (1, "buy", 1.0, 100.0, "entry"),
                (2, "sell", 0.8, 55.0, "target_1"),
                (3, "sell", 0.8, 63.0, "target_2"),
            ],
            "prices": {"o-000002": 50.0},
            "left": 0.4,
        },
    ),
    "a split that leaves less than a lot pays everything out": (
        world(
            [FLAT, FLAT, flat(1000)],
            buy(quantity=1, stop=90),
            actions=[{"bar": 2, "instrument": "X", "split": 0.1}],
            instrument={"lot": 1},
        ),
        {
            "fills": [(1, "buy", 1.0, 100.0, "entry"), (2, "sell", 0.1, 1000.0, "reduce")],
            "states": [FILLED, closed()],
            "trade": {"pnl": 0.0},
        },
    ),
    "after a split the first leg that floors to nothing takes everything": (
        world(
            [FLAT, FLAT, flat(200), flat(230)],
            buy(quantity=3, targets=[{"price": 110, "share": 0.4}]),
            actions=[{"bar": 2, "instrument": "X", "split": 0.5}],
            instrument={"lot": 1},
        ),
        # 3 become 1 and a half paid out at 200; the target of 1 becomes a half
        {
            "fills": [
                (1, "buy", 3.0, 100.0, "entry"),
                (2, "sell", 0.5, 200.0, "reduce"),
                (3, "sell", 1.0, 230.0, "target_1"),
            ]
        },
    ),
    "an order that a split leaves nothing of": (
        world(
            [FLAT, FLAT, flat(200)],
            buy(order="limit", price=95),
            actions=[{"bar": 2, "instrument": "X", "split": 0.5}],
            instrument={"lot": 1},
        ),
        {"fills": [], "states": [closed("below_min_notional")]},
    ),
    "a close of less than a lot": (
        world([FLAT, FLAT, FLAT], buy(), decision("close", bar=1, quantity=0.5), instrument={"lot": 1}),
        {"fills": [(1, "buy", 1.0, 100.0, "entry")], "states": [FILLED, refused("below_min_notional")]},
    ),
    "delisting cancels what waits": (
        world([FLAT, FLAT], buy(order="limit", price=90), actions=[{"bar": 1, "instrument": "X", "delist": True}]),
        {"fills": [], "states": [closed("cancelled")]},
    ),
    "a trail never loosens when ranges widen": (
        # as the ATR trail above, 98 after bar 3; bar 4: true range 109 - 99 = 10, ATR 8, level 94: stays at 98
        world(
            [[100, 101, 99, 100, 1000]] * 3 + [[100, 110, 100, 109, 1000], [109, 109, 99, 100, 1000], flat(97)],
            buy(bar=2, trail={"atr": 2, "length": 2}),
        ),
        {"fills": [(3, "buy", 1.0, 100.0, "entry"), (5, "sell", 1.0, 97.0, "trail")], "prices": {"o-000002": 98.0}},
    ),
    "excursions count the costs so far": (
        # paid 100.1; the low 95 shows -5.1 - 0.1001, the close 105 the best
        world([FLAT, [100, 105, 95, 105, 1000]], buy(), costs={"half_spread_bps": 10, "taker_bps": 10})
        | {"decisions": [buy(), decision("close", bar=1)], "bars": {"X": [FLAT, [100, 105, 95, 105, 1000], flat(104)]}},
        {
            # out at 104 x 0.999 = 103.896
            "trade": {
                "mae": -5.1 - 0.1001,
                "mfe": 4.9 - 0.1001,
                "pnl": 103.896 - 100.1 - 0.1001 - 0.103896,
            }
        },
    ),
    "the tighter of stop and trail holds": (
        world([FLAT, FLAT], buy(stop=92, trail={"pct": 0.1})),
        {"prices": {"o-000002": 92.0}},
    ),
    "the trail is placed where it is the tighter": (
        world([FLAT, FLAT], buy(stop=88, trail={"pct": 0.1})),
        {"prices": {"o-000002": 90.0}},
    ),
    "break-even does not loosen a trail that is beyond it": (
        # bar 1: high 118, trail from then on 106.2; bar 2: the target at 120 fills, the stop stays
        world(
            [FLAT, [100, 118, 100, 117, 1000], [117, 121, 117, 121, 1000]],
            buy(trail={"pct": 0.1}, targets=[{"price": 120, "share": 0.5}], break_even_after=1),
        ),
        {
            "fills": [(1, "buy", 1.0, 100.0, "entry"), (2, "sell", 0.5, 120.0, "target_1")],
            "prices": {"o-000002": 108.9},  # 121 x 0.9 on the close of bar 2
            "quantities": [1.0, 0.5, 0.5],
        },
    ),
    "a short trails the lowest low": (
        world([FLAT, [100, 100, 80, 85, 1000], [85, 89, 84, 86, 1000]], sell(trail={"pct": 0.1})),
        {"fills": [(1, "sell", 1.0, 100.0, "entry"), (2, "buy", 1.0, 88.0, "trail")], "trade": {"side": "short"}},
    ),
    "likely with the low nearer": (
        world([FLAT, [100, 112, 89, 100, 1000]], buy(**STOP_90_TARGET_110), rules={"path": "likely"}),
        {"fills": [(1, "buy", 1.0, 100.0, "entry"), (1, "sell", 1.0, 90.0, "stop")], "ambiguous": [False, True]},
    ),
    "what waits is split with its exits": (
        world(
            [FLAT, flat(50), [50, 56, 50, 55, 1000]],
            buy(**STOP_90_TARGET_110),
            actions=[{"bar": 1, "instrument": "X", "split": 2.0}],
        ),
        {
            "fills": [(1, "buy", 2.0, 50.0, "entry"), (2, "sell", 2.0, 55.0, "target_1")],
            "prices": {"o-000002": 45.0, "o-000003": 55.0},
        },
    ),
    "ranges before a split are measured in the new prices": (
        # ATR 2 at 100 is 1 at 50; bar 3's range is 1 too: the trail stays 50 - 2 x 1, then 50.5 - 2
        world(
            [[100, 101, 99, 100, 1000]] * 3 + [[50, 50.5, 49.5, 50, 1000]],
            buy(bar=2, trail={"atr": 2, "length": 2}),
            actions=[{"bar": 3, "instrument": "X", "split": 2.0}],
        ),
        {"prices": {"o-000002": 48.5}},
    ),
    "adding to a linear position takes the mean": (
        world([FLAT, FLAT, flat(110), flat(120)], buy(), buy(bar=1), instrument=PERPETUAL),
        {"equity": [10_000.0, 10_000.0, 10_010.0, 10_030.0], "parts": {"entry_price": 105.0, "pnl": 30.0}},
    ),
    "a part of a linear position is realised at the mean": (
        world(
            [FLAT, FLAT, flat(110), flat(120)],
            buy(),
            buy(bar=1),
            decision("close", bar=2, quantity=0.5),
            instrument=PERPETUAL,
        ),
        {"equity": [10_000.0, 10_000.0, 10_010.0, 10_030.0], "parts": {"entry_price": 105.0}, "left": 1.5},
    ),
    "adding to an inverse position takes the harmonic mean": (
        # 1.25 + 1.0 BTC in, 1.6 out
        world(
            [flat(8_000, 1e6), flat(8_000, 1e6), flat(10_000, 1e6), flat(12_500, 1e6)],
            buy(quantity=10_000),
            buy(bar=1, quantity=10_000),
            decision("close", bar=2),
            cash=5,
            instrument={"kind": "inverse", "lot": 1},
        ),
        {"trade": {"entry_price": 20_000 / 2.25, "pnl": 0.65}, "equity": [5.0, 5.0, 5.25, 5.65]},
    ),
    "extra margin must be there too": (
        world(
            [FLAT, FLAT],
            buy(),
            cash=100 + 4.9,
            instrument=PERPETUAL | {"extra_margin": 5},
        ),
        {"fills": [], "states": [refused("insufficient_cash")]},
    ),
    "a spot long locks nothing more than its price": (
        world([FLAT, FLAT, FLAT], buy(), buy(bar=1), cash=200),
        {"fills": [(1, "buy", 1.0, 100.0, "entry"), (2, "buy", 1.0, 100.0, "entry")]},
    ),
    "unrealised gains of a linear position are margin": (
        # 100 of 105 is margin; + 10 at the close of bar 1: a second unit needs 11 of 15 at the open of bar 2
        world(
            [FLAT, [100, 101, 100, 101, 1000], flat(110)],
            buy(quantity=10),
            buy(bar=1),
            cash=105,
            instrument={"kind": "linear", "leverage": 10},
            rules={"liquidate_on": "last"},
        ),
        {"states": [FILLED, FILLED]},
    ),
    "impact never carries a taking limit past its price": (
        world(
            [FLAT, FLAT],
            buy(order="limit", price=100.05),
            costs={
                "half_spread_bps": 2,
                "slippage": {"model": "square_root", "y": 1.0, "sigma": 0.02, "volume": 100},
            },
        ),
        {
            "fills": [(1, "buy", 1.0, 100.05, "entry")],
            "parts": {"spread": 0.02, "impact": 0.03, "slippage": 0.0},
        },
    ),
    "two orders alike are two fills on both paths": (
        world(
            [FLAT, [100, 101, 94, 100, 1000]],
            buy(order="limit", price=95),
            buy(order="limit", price=95),
        ),
        {"ambiguous": [False, False]},
    ),
    "an open position can be ambiguous": (
        # high first: triggered at 105, filled at 103 on the way down; low first: triggered, and the close is above 103
        world(
            [FLAT, [100, 106, 99, 104, 1000]],
            buy(order="stop_limit", trigger=105, price=103),
            rules={"path": "favourable"},
        ),
        {
            "fills": [(1, "buy", 1.0, 103.0, "entry")],
            "ambiguous": [True],
            "parts": {"ambiguous": True},
            "ambiguous_trades": 0,
        },
    ),
    "what only the other path fills marks nothing": (
        # half leaves at 110 on both; the rest at break-even only where the low comes last, and that is the other path
        world(
            [FLAT, [100, 111, 99, 105, 1000], flat(105)],
            buy(quantity=2, targets=[{"price": 110, "share": 0.5}], break_even_after=1),
            rules={"path": "favourable"},
        ),
        {
            "fills": [(1, "buy", 2.0, 100.0, "entry"), (1, "sell", 1.0, 110.0, "target_1")],
            "ambiguous": [False, False],
            "left": 1.0,
        },
    ),
    "an exit goes before an entry with a lower id": (
        world(
            [FLAT, FLAT, [100, 106, 100, 106, 1000]],
            buy(order="stop", price=105),
            buy(targets=[{"price": 105, "share": 1.0}]),
            rules={"limit_fill": "touch"},
        ),
        {
            "fills": [
                (1, "buy", 1.0, 100.0, "entry"),
                (2, "sell", 1.0, 105.0, "target_1"),
                (2, "buy", 1.0, 105.0, "entry"),
            ]
        },
    ),
    "a stop limit takes at an open between its prices": (
        world([FLAT, flat(107)], buy(order="stop_limit", trigger=105, price=110)),
        {"fills": [(1, "buy", 1.0, 107.0, "entry")], "liquidity": ["taker"]},
    ),
    "an order decided when flat reduces what it meets to flat at most": (
        world([FLAT, FLAT, flat(106)], buy(), sell(quantity=3, order="limit", price=105)),
        {
            "fills": [(1, "buy", 1.0, 100.0, "entry"), (2, "sell", 1.0, 106.0, "reduce")],
            "states": [FILLED, closed()],
        },
    ),
    "participation counts contracts by their size": (
        world([FLAT, flat(100, 10)], buy(quantity=5), rules=ONE_IN_TEN, instrument={"contract_size": 0.5}),
        {"fills": [(1, "buy", 2.0, 100.0, "entry")], "equity": [10_000.0, 10_000.0]},
    ),
    "the share of a bar's volume grows with every taker": (
        # 25 of 200: 3 x (1 + 0.1 / 64); then 50 of 200 as above
        world(
            [flat(3, 200), flat(3, 200)],
            buy(quantity=25),
            buy(quantity=25),
            costs={"slippage": {"model": "volume_share", "impact": 0.1, "limit": 0.25}},
        ),
        {"fills": [(1, "buy", 25.0, 3.0046875, "entry"), (1, "buy", 25.0, 3.01875, "entry")]},
    ),
    "a limit whose impacted price is within takes": (
        world(
            [FLAT, flat(100, 4)],
            buy(order="limit", price=101, quantity=1),
            costs={"slippage": {"model": "volume_share", "impact": 0.1, "limit": 0.25}},
        ),
        {"fills": [(1, "buy", 1.0, 100.625, "entry")], "liquidity": ["taker"]},
    ),
    "slippage is cut to what the spread leaves of a limit": (
        world(
            [FLAT, FLAT],
            buy(order="limit", price=100.05),
            costs={"half_spread_bps": 2, "slippage": {"model": "bps", "bps": 10}},
        ),
        {"fills": [(1, "buy", 1.0, 100.05, "entry")], "parts": {"spread": 0.02, "slippage": 0.03}},
    ),
    "what has not filled expires on the close": (
        world([FLAT, FLAT], buy(order="limit", price=95, ttl_bars=1)),
        {"fills": [], "states": [("expired", "ttl_expired")]},
    ),
    "a ladder grows with an entry in parts, the last leg takes the rest": (
        world(
            [FLAT] + [flat(100, 10)] * 3,
            buy(quantity=3, targets=[{"price": 110, "share": 0.5}, {"price": 120, "share": 0.5}]),
            rules=ONE_IN_TEN,
            instrument={"lot": 1},
        ),
        {"quantities": [3.0, 1.0, 2.0]},
    ),
    "a split floors every leg but the last": (
        world(
            [FLAT, FLAT, flat(66), flat(82)],
            buy(quantity=3, targets=[{"price": 110, "share": 0.5}, {"price": 120, "share": 0.5}]),
            actions=[{"bar": 2, "instrument": "X", "split": 1.5}],
            instrument={"lot": 1},
        ),
        # 4 and a half: a half at 66, then 1 and 3 at the open beyond 73.3 and 80
        {
            "fills": [
                (1, "buy", 3.0, 100.0, "entry"),
                (2, "sell", 0.5, 66.0, "reduce"),
                (3, "sell", 1.0, 82.0, "target_1"),
                (3, "sell", 3.0, 82.0, "target_2"),
            ]
        },
    ),
    "a split divides a trail": (
        world(
            [FLAT, [100, 120, 100, 115, 1000], [57.5, 58, 57, 57.5, 1000]],
            buy(trail={"pct": 0.1}),
            actions=[{"bar": 2, "instrument": "X", "split": 2.0}],
        ),
        {"prices": {"o-000002": 54.0}, "left": 2.0},
    ),
    "borrow over a split is on the same money": (
        world(
            [FLAT, FLAT, flat(50)],
            sell(),
            costs={"borrow_bps_per_day": 100},
            actions=[{"bar": 2, "instrument": "X", "split": 2.0}],
        ),
        {"equity": [10_000.0, 10_000.0, 9_999.0]},
    ),
    "a dividend is paid once": (
        world([FLAT] * 4, buy(quantity=4), actions=[{"bar": 2, "instrument": "X", "dividend": 0.25}]),
        {"equity": [10_000.0, 10_000.0, 10_001.0, 10_001.0]},
    ),
    "the tighter of a short's stop and trail holds": (
        world([FLAT, FLAT], sell(stop=108, trail={"pct": 0.1})),
        {"prices": {"o-000002": 108.0}},
    ),
    "a decision on a position that is not there": (
        world([FLAT, FLAT], decision("move_stop", stop=90), decision("move_target", targets=[]), decision("cancel")),
        {"fills": [], "states": [], "n_warnings": 2},
    ),
    "the volume of 30 days forgets": (
        world(
            [FLAT] * 35,
            buy(quantity=10),
            buy(bar=30, quantity=1),
            buy(bar=31, quantity=1),
            costs={
                "fees": [
                    {
                        "from": "1970-01-01",
                        "tiers": [
                            {"volume": 0, "maker_bps": 0, "taker_bps": 10},
                            {"volume": 1000, "maker_bps": 0, "taker_bps": 5},
                        ],
                    }
                ]
            },
        ),
        # filled on day 1: still there on the close of bar 30 (day 31, 0 h), gone on the next
        {"fees": [1.0, 0.05, 0.1]},
    ),
    # What a wide drive found kernel and twin apart in
    "the exit of a kill switch pays the impact measured on the bar that threw it": (
        world(
            [FLAT, FLAT, FLAT, [100, 100, 80, 80, 1000], flat(80)],
            buy(bar=2, quantity=10),
            costs={"slippage": {"model": "square_root", "y": 1, "days": 2}},
            risk={"kill_switch": {"drawdown": 0.01}},
        ),
        # nothing had moved before the entry; then sigma = |ln 0.8| / sqrt 2, times sqrt(10 / 1000)
        {
            "fills": [
                (3, "buy", 10.0, 100.0, "entry"),
                (4, "sell", 10.0, 80 * (1 - math.log(1.25) / math.sqrt(2) / 10), "kill_switch"),
            ]
        },
    ),
    "a ladder whose entry fills in parts on both sides of a split": (
        world(
            [FLAT, flat(100, 4), flat(50, 1000)],
            buy(quantity=10, targets=[{"price": 200, "share": 0.3}, {"price": 210, "share": 0.7}]),
            instrument={"lot": 1},
            actions=[{"bar": 2, "instrument": "X", "split": 2.0}],
        ),
        {
            "fills": [(1, "buy", 4.0, 100.0, "entry"), (2, "buy", 12.0, 50.0, "entry")],
            "quantities": [16.0, 6.0, 14.0],  # 4 became 8, and 12 more: 0.3 and the rest of 20
            "requested": [10.0, 6.0, 14.0],
            "prices": {"o-000002": 100.0, "o-000003": 105.0},
        },
    ),
    "a leg that has filled in part keeps what it filled on a split": (
        world(
            [FLAT, FLAT, [100, 112, 100, 112, 4], flat(56)],
            buy(quantity=10, targets=[{"price": 110, "share": 1.0}]),
            instrument={"lot": 1},
            actions=[{"bar": 3, "instrument": "X", "split": 2.0}],
        ),
        {
            "fills": [
                (1, "buy", 10.0, 100.0, "entry"),
                (2, "sell", 4.0, 110.0, "target_1"),
                (3, "sell", 12.0, 56.0, "target_1"),
            ],
            "quantities": [10.0, 16.0],  # 4, and twice the 6 that were left
        },
    ),
    "the worst of a close that takes two bars": (
        world([FLAT, FLAT, [90, 90, 80, 85, 4], flat(95)], buy(quantity=10), decision("close", bar=1)),
        {
            "fills": [
                (1, "buy", 10.0, 100.0, "entry"),
                (2, "sell", 4.0, 90.0, "signal"),
                (3, "sell", 6.0, 95.0, "signal"),
            ],
            "trade": {"pnl": -70.0, "mae": -160.0, "mfe": 0.0},  # at 80: -4 x 10 - 6 x 20
        },
    ),
    "what a contract costs beyond its reference counts once in the cash it needs": (
        world([FLAT, FLAT], buy(), instrument=PERPETUAL, costs={"half_spread_bps": 100}, cash=101),
        {"fills": [(1, "buy", 1.0, 101.0, "entry")]},
    ),
    "and is not forgotten": (
        world([FLAT, FLAT], buy(), instrument=PERPETUAL, costs={"half_spread_bps": 100}, cash=100.99),
        {"fills": [], "states": [refused("insufficient_cash")]},
    ),
    "a close of more than is held is cut off when the position ends": (
        world([FLAT, FLAT, FLAT], buy(quantity=2), decision("close", bar=1, quantity=5)),
        {
            "fills": [(1, "buy", 2.0, 100.0, "entry"), (2, "sell", 2.0, 100.0, "signal")],
            "quantities": [2.0, 5.0],
            "states": [FILLED, closed()],
        },
    ),
    "a new limit that reduces and that the spread keeps from taking rests at its own price": (
        world(
            [FLAT, FLAT, flat(96)],
            buy(),
            sell(bar=1, order="limit", price=95.5),
            costs={"half_spread_bps": 100},
        ),
        {"fills": [(1, "buy", 1.0, 101.0, "entry"), (2, "sell", 1.0, 95.5, "reduce")], "liquidity": ["taker", "maker"]},
    ),
    "a break-even stop that the price has passed already gets the price": (
        world(
            [FLAT, flat(120)],
            buy(quantity=2, targets=[{"price": 110, "share": 0.5}], break_even_after=1),
            costs={"half_spread_bps": 100},
        ),
        # paid 121.2; the target takes at 118.8, and the stop at 121.2 finds the price at 120
        {
            "fills": [
                (1, "buy", 2.0, 121.2, "entry"),
                (1, "sell", 1.0, 118.8, "target_1"),
                (1, "sell", 1.0, 118.8, "break_even"),
            ]
        },
    ),
    "a leg that comes with a later fill has its price from the first": (
        world(
            [FLAT, flat(100, 1), [104, 104, 104, 104, 1000]],
            buy(quantity=4, stop=90, targets=[{"r": 1.0, "share": 0.75}, {"r": 2.0, "share": 0.25}]),
            instrument={"lot": 1},
        ),
        # of the first unit 0.75 floors to nothing, so the first leg takes it; the second comes with the other three
        {"prices": {"o-000003": 110.0, "o-000004": 120.0}, "quantities": [4.0, 4.0, 3.0, 1.0]},
    ),
    "a trail loosened by a decision is back on the next close": (
        world(
            [FLAT, [100, 110, 100, 110, 1000], [110, 110, 109, 110, 1000], [110, 110, 100, 100, 1000]],
            buy(trail={"pct": 0.05}),
            decision("move_stop", bar=1, stop=90),
        ),
        {"fills": [(1, "buy", 1.0, 100.0, "entry"), (3, "sell", 1.0, 104.5, "trail")]},
    ),
    "a trail in ATR follows the highs of bars, not the price paid": (
        world(
            [FLAT, [100, 101, 99, 100, 1000], [100, 101, 99, 100, 1000], [100, 100.5, 100, 100.5, 1000]],
            buy(bar=1, trail={"atr": 4.0, "length": 1}),
            costs={"half_spread_bps": 400},
        ),
        # paid 104; at first 104 - 4 x 2, then 101 - 4 x 0.5
        {"fills": [(2, "buy", 1.0, 104.0, "entry")], "prices": {"o-000002": 99.0}},
    ),
    "risk is to the nearer of stop and trail": (
        world(
            [FLAT, FLAT], buy(size={"model": "risk_per_trade", "risk": 0.01, "cap": 9}, stop=90, trail={"pct": 0.05})
        ),
        {"fills": [(1, "buy", 20.0, 100.0, "entry")]},
    ),
    "a runner's trail in ATR needs its bars at the entry": (
        world(
            [FLAT, FLAT],
            buy(stop=90, targets=[{"r": 1.0, "share": 0.5}], runner_trail={"atr": 1.0, "length": 3}),
        ),
        {"fills": [], "states": [refused("invalid_stop")]},
    ),
    "two rates of one instant are both paid": (
        world(
            dated([FLAT, FLAT], step=timedelta(days=1)),
            buy(quantity=10),
            instrument=PERPETUAL,
            funding=[
                {"instrument": "X", "at": START + timedelta(days=1), "rate": 0.001, "mark": 100},
                {"instrument": "X", "at": START + timedelta(days=1), "rate": 0.002, "mark": 50},
            ],
        ),
        {"parts": {"funding": -2.0}},
    ),
    "a delisting costs no fee by the share either": (
        world(
            [FLAT, FLAT],
            buy(quantity=10),
            costs={"per_share": {"fee": 0.01, "minimum": 0}},
            actions=[{"bar": 1, "instrument": "X", "delist": True}],
        ),
        {"fees": [0.1, 0.0]},
    ),
    "a session close waits for the exit that is there already": (
        world(
            [FLAT, FLAT, flat(100, 0), FLAT],
            buy(time_stop_bars=1, session_close=True, quantity=10),
            timeframe="12h",
        ),
        {"fills": [(1, "buy", 10.0, 100.0, "entry"), (1, "sell", 10.0, 100.0, "session_close")]},
    ),
    "borrow is paid on the shares of after a split": (
        world(
            [FLAT, FLAT, flat(50)],
            sell(quantity=10),
            costs={"borrow_bps_per_day": 10},
            actions=[{"bar": 2, "instrument": "X", "split": 2.0}],
        ),
        {"parts": {"borrow": 1.0}},  # 20 x 50 x 0.001
    ),
    "slippage exactly at its limit is allowed": (
        world([FLAT, FLAT], buy(), costs={"half_spread_bps": 4}, risk={"max_slippage_bps": 4}),
        {"states": [FILLED]},
    ),
    "a close of everything grows with what an entry still adds": (
        world(
            [FLAT] * 4,
            buy(quantity=10, order="limit", price=101),
            decision("close", bar=1),
            buy(bar=1, quantity=5, order="limit", price=101),
            costs={"slippage": {"model": "volume_share", "impact": 0, "limit": 0.004}},
        ),
        # takers get 4 a bar, the rest of each limit fills as maker
        {
            "fills": [
                (1, "buy", 4.0, 100.0, "entry"),
                (1, "buy", 6.0, 101.0, "entry"),
                (2, "sell", 4.0, 100.0, "signal"),
                (2, "buy", 5.0, 101.0, "entry"),
                (3, "sell", 4.0, 100.0, "signal"),
            ],
            "quantities": [10.0, 15.0, 5.0],
            "left": 7.0,
        },
    ),
    "entries exactly the spacing apart are allowed": (
        world([FLAT] * 3, buy(), buy(bar=1), timeframe="1h", risk={"global_trade_spacing": {"seconds": 3600}}),
        {"states": [FILLED, FILLED]},
    ),
    "an entry inside the bar beyond its own stop and target leaves by the stop": (
        world(
            [FLAT, [90, 96, 90, 90, 1000]],
            buy(order="stop_limit", trigger=94, price=103, stop=99, targets=[{"price": 92, "share": 1.0}]),
        ),
        {"fills": [(1, "buy", 1.0, 94.0, "entry"), (1, "sell", 1.0, 94.0, "stop")]},
    ),
    "pacing counts in years before 1970 too": (
        world(
            [[datetime(1962, 1, day, tzinfo=UTC), *FLAT] for day in (1, 2, 3, 4)],
            buy(),
            buy(bar=1),
            risk={"global_trade_spacing": {"seconds": 1_000_000}},
        ),
        {"states": [FILLED, refused("global_trade_spacing")]},
    ),
    "after a loss and a win in one bar the last of them cools down": (
        world(
            [FLAT, FLAT, [94, 98, 92, 98, 1000], FLAT],
            buy(stop=95),
            buy(bar=1, order="limit", price=93, targets=[{"price": 97, "share": 1.0}]),
            buy(bar=2),
            timeframe="1h",
            risk={"symbol_cooldown_active": {"after_win_seconds": 0, "after_loss_seconds": 100_000}},
        ),
        {
            "fills": [
                (1, "buy", 1.0, 100.0, "entry"),
                (2, "sell", 1.0, 94.0, "stop"),
                (2, "buy", 1.0, 93.0, "entry"),
                (2, "sell", 1.0, 97.0, "target_1"),
                (3, "buy", 1.0, 100.0, "entry"),
            ]
        },
    ),
    "kelly before min_trades": (
        world([FLAT, FLAT], buy(size={"model": "kelly", "fraction": 1, "cap": 1, "min_trades": 1})),
        {"fills": [], "states": [refused("no_edge")]},
    ),
}


@pytest.mark.parametrize("name", SCENARIOS)
@pytest.mark.parametrize("run", [replayed, simulated])
def test_a_scenario_gives_what_the_contract_says(name, run):
    scenario, wanted = SCENARIOS[name]
    check(run(scenario), {key: value for key, value in wanted.items() if run is replayed or key != "n_warnings"})


def check(answer, wanted):
    found = {
        "ambiguous": [fill["ambiguous"] for fill in answer["fills"]],
        "liquidity": [fill["liquidity"] for fill in answer["fills"]],
        "states": states(answer),
        "ambiguous_trades": answer["ambiguous_trades"],
        "n_warnings": len(answer["warnings"]),
    }
    numbers = {
        "equity": answer["equity"],
        "fees": [fill["fee"] for fill in answer["fills"]],
        "requested": [order["requested"] for order in answer["orders"]],
        "quantities": [order["quantity"] for order in answer["orders"]],
        "left": next((one["quantity"] for one in answer["open_positions"]), 0.0),
    }
    prices = {order["id"]: order["price"] for order in answer["orders"]}
    for key, value in wanted.items():
        if key == "fills":
            assert told(answer) == close_to(value)
        elif key == "prices":
            assert {name: prices[name] for name in value} == pytest.approx(value)
        elif key in ("trade", "parts"):
            whole = answer["trades"][0] if key == "trade" else answer["open_positions"][0]
            assert {name: whole[name] for name in value} == pytest.approx(value, abs=1e-9)
        elif key in numbers:
            assert numbers[key] == pytest.approx(value)
        else:
            assert found[key] == value, key


def test_the_example_of_the_contract():
    scenario = world(
        [[100, 101, 99, 100, 1000], [100, 112, 88, 100, 1000]],
        decision("buy", quantity=1, order="market", **STOP_90_TARGET_110),
    )
    stop = {"id": "o-000002", "decided_on": 0, "instrument": "X", "side": "sell", "type": "stop", "price": 90.0}
    target = {"id": "o-000003", "decided_on": 0, "instrument": "X", "side": "sell", "type": "limit", "price": 110.0}
    entry = {"id": "o-000001", "decided_on": 0, "instrument": "X", "side": "buy", "type": "market", "price": None}
    whole = {"requested": 1.0, "quantity": 1.0, "client_order_id": None, "trigger": None}
    bought = {"id": "f-000001", "order": "o-000001", "bar": 1, "instrument": "X", "side": "buy", "price": 100.0}
    sold = {"id": "f-000002", "order": "o-000002", "bar": 1, "instrument": "X", "side": "sell", "price": 90.0}
    paid = {"quantity": 1.0, "liquidity": "taker", "fee": 0.0}
    assert replayed(scenario) == {
        "orders": [
            entry | whole | {"filled": 1.0, "status": "filled", "reason": None},
            stop | whole | {"filled": 1.0, "status": "filled", "reason": None},
            target | whole | {"filled": 0.0, "status": "cancelled", "reason": "position_closed"},
        ],
        "fills": [
            bought | paid | {"why": "entry", "ambiguous": False},
            sold | paid | {"why": "stop", "ambiguous": True},
        ],
        "trades": [
            {
                "id": "t-000001",
                "instrument": "X",
                "side": "long",
                "entry_bar": 1,
                "exit_bar": 1,
                "quantity": 1.0,
                "entry_price": 100.0,
                "exit_price": 90.0,
                "exit_reason": "stop",
                "pnl": -10.0,
                "edge": -10.0,
                **dict.fromkeys(("fees", "spread", "slippage", "impact", "funding", "borrow", "dividends"), 0.0),
                "r": -1.0,
                "mae": -10.0,
                "mfe": 0.0,
                "ambiguous": True,
            }
        ],
        "open_positions": [],
        "equity": [10_000.0, 9_990.0],
        "ambiguous_trades": 1,
        "warnings": [],
    }


# Funding


def funded(*rows, bars=3, **rest):
    funding = [{"instrument": "X", "at": START + timedelta(days=1, hours=hours), **row} for hours, row in rows]
    bars = dated([FLAT] * bars, step=timedelta(days=1))
    return replayed(world(bars, buy(quantity=2), instrument=PERPETUAL, funding=funding, **rest))


def test_what_is_entered_at_the_open_pays_the_funding_of_that_instant():
    answer = funded((0, {"rate": 0.001, "mark": 110}))
    assert answer["equity"] == pytest.approx([10_000, 9_999.78, 9_999.78])
    assert answer["open_positions"][0]["funding"] == pytest.approx(-0.22)


def test_what_is_carried_in_pays_even_when_it_leaves_at_that_open():
    answer = funded((24, {"rate": 0.001, "mark": 100}))
    leaves = world(
        dated([FLAT] * 3, step=timedelta(days=1)),
        buy(quantity=2),
        decision("close", bar=1),
        instrument=PERPETUAL,
        funding=[{"instrument": "X", "at": START + timedelta(days=2), "rate": 0.001, "mark": 100}],
    )
    assert answer["equity"][2] == pytest.approx(9_999.8)
    assert replayed(leaves)["trades"][0]["funding"] == pytest.approx(-0.2)


def test_an_instant_inside_the_bar_is_charged_on_what_is_held_after_the_open():
    answer = funded((8, {"rate": -0.001, "mark": 100}))
    assert answer["equity"][1] == pytest.approx(10_000.2)


def test_what_is_entered_inside_the_bar_pays_nothing_for_it():
    scenario = world(
        dated([FLAT, [100, 101, 94, 95, 1000]], step=timedelta(days=1)),
        buy(order="limit", price=95),
        instrument=PERPETUAL,
        funding=[{"instrument": "X", "at": START + timedelta(days=1, hours=8), "rate": 0.01, "mark": 100}],
    )
    assert replayed(scenario)["open_positions"][0]["funding"] == 0


def test_the_mark_bars_open_stands_in_for_a_mark():
    marks = {"X": [[START + i * timedelta(days=1), 120, 121, 119, 120] for i in range(3)]}
    assert funded((8, {"rate": 0.001}), mark_bars=marks)["equity"][1] == pytest.approx(10_000 - 0.24)


def test_no_mark_where_one_is_due_is_an_error():
    with pytest.raises(ValueError, match="no mark"):
        funded((8, {"rate": 0.001}))


def test_inverse_contracts_pay_funding_in_coin():
    scenario = world(
        dated([flat(10_000), flat(10_000, 1e6)], step=timedelta(days=1)),
        buy(quantity=10_000),
        cash=2,
        instrument={"kind": "inverse", "lot": 1},
        funding=[{"instrument": "X", "at": START + timedelta(days=1), "rate": 0.0001, "mark": 8_000}],
    )
    assert replayed(scenario)["equity"][1] == pytest.approx(2 - 1.25 * 0.0001)


# Liquidation


def liquidation_price(instrument, *, quantity, entry, side="buy", account=None, others=()):
    """The liquidation price of one position on the close after its entry; `others` are (name, own, quantity, entry, mark)."""
    scenario = {
        "timeframe": "1d",
        "account": account or {"cash": 1e9},
        "instruments": {"X": {"tick": 0, "lot": 0, "kind": "linear", **instrument}},
        "bars": {"X": [flat(entry, 1e9)] * 3},
        "rules": {"liquidate_on": "last"},
        "decisions": [decision(side, quantity=quantity)],
    }
    for name, own, amount, price, mark in others:
        scenario["instruments"][name] = {"tick": 0, "lot": 0, "kind": "linear", **own}
        scenario["bars"][name] = [flat(price, 1e9), flat(price, 1e9), flat(mark, 1e9)]
        scenario["decisions"].append(decision("buy", quantity=amount, instrument=name))
    book = Book(Terms(scenario, None))
    book.run()
    return book.liquidation_price("X")


BYBIT = {"leverage": 50, "liquidation": "bybit_linear"}
BYBIT_INVERSE = {"kind": "inverse", "leverage": 10, "liquidation": "bybit_inverse"}
COIN = {"cash": 100}


@pytest.mark.parametrize(
    ("instrument", "rest", "price"),
    [
        pytest.param(
            # Bybit help center, Liquidation Price (USDT Contract), example 1
            BYBIT,
            {"quantity": 1, "entry": 20_000},
            19_700,
            id="bybit linear, a long of 1 BTC at 20,000 with 50x",
        ),
        pytest.param(
            BYBIT | {"extra_margin": 3_000},
            {"quantity": 1, "entry": 20_000, "side": "sell"},
            23_300,  # 20,000 + (400 - 100) + 3,000
            id="bybit linear, a short with 3,000 of extra margin",
        ),
        pytest.param(
            BYBIT | {"extra_margin": 3_000},
            {"quantity": 2, "entry": 20_000, "side": "sell"},
            21_800,  # 20,000 + (800 - 200 + 3,000) / 2
            id="bybit linear, a short of 2 BTC with 3,000 of extra margin",
        ),
        pytest.param(
            BYBIT | {"maintenance_amount": 50},
            {"quantity": 1, "entry": 20_000},
            19_650,  # 20,000 - (400 - (100 - 50))
            id="bybit linear, a maintenance amount",
        ),
        pytest.param(
            # Bybit help center, Liquidation Price under Isolated Mode (2024): value 1.2 BTC, IM 0.12, MM 0.006
            BYBIT_INVERSE,
            {"quantity": 60_000, "entry": 50_000, "side": "sell", "account": COIN},
            60_000 / 1.086,
            id="bybit inverse, a short of 60,000 USD at 50,000 with 10x",
        ),
        pytest.param(
            BYBIT_INVERSE,
            {"quantity": 60_000, "entry": 50_000, "account": COIN},
            60_000 / 1.314,
            id="bybit inverse, a long",
        ),
        pytest.param(
            # Bybit help center, the same article as of May 2026
            BYBIT_INVERSE | {"liquidation": "bybit_inverse_2026"},
            {"quantity": 60_000, "entry": 50_000, "account": COIN},
            60_300 / 1.32,
            id="bybit inverse of 2026, a long",
        ),
        pytest.param(
            BYBIT_INVERSE | {"liquidation": "bybit_inverse_2026"},
            {"quantity": 60_000, "entry": 50_000, "side": "sell", "account": COIN},
            59_700 / 1.08,
            id="bybit inverse of 2026, a short",
        ),
        pytest.param(
            # Binance's calculation example, as freqtrade's tests/exchange/test_binance.py has it: wallet 1,535,443.01.
            # Here the wallet is IM + extra margin: 3683.979 x 1456.84 at 10x and the rest as extra.
            {
                "liquidation": "binance",
                "leverage": 10,
                "maintenance_margin": 0.1,
                "maintenance_amount": 135_365,
                "extra_margin": 1_535_443.01 - 3683.979 * 145.684,
            },
            {"quantity": 3683.979, "entry": 1456.84},
            1114.78,
            id="binance isolated, ETHUSDT",
        ),
        pytest.param(
            {
                "liquidation": "binance",
                "leverage": 10,
                "maintenance_margin": 0.025,
                "maintenance_amount": 16_300,
                "extra_margin": 1_535_443.01 - 109.488 * 3248.198,
            },
            {"quantity": 109.488, "entry": 32481.98},
            18778.73,
            id="binance isolated, BTCUSDT",
        ),
        pytest.param(
            {
                "liquidation": "binance",
                "leverage": 20,
                "maintenance_margin": 0.1,
                "maintenance_amount": 135_365,
                "margin": "cross",
            },
            {
                "quantity": 3683.979,
                "entry": 1456.84,
                "account": {"cash": 1_535_443.01},
                "others": [
                    (
                        "BTC",
                        {"leverage": 20, "maintenance_margin": 0.025, "maintenance_amount": 16_300, "margin": "cross"},
                        109.488,
                        32481.98,
                        31967.27,
                    )
                ],
            },
            1153.26,
            id="binance cross, ETHUSDT beside BTCUSDT",
        ),
        pytest.param(
            # margin 20 on 2 units; the rate 1.5 %
            {"liquidation": "okx", "leverage": 10, "maintenance_margin": 0.015},
            {"quantity": 2, "entry": 100},
            90 / 0.985,
            id="okx, a long without fees",
        ),
        pytest.param(
            {
                "liquidation": "okx",
                "leverage": 10,
                "maintenance_margin": 0.015,
                "extra_margin": 4,
                "contract_size": 0.5,
            },
            {"quantity": 4, "entry": 100, "side": "sell"},
            112 / 1.015,  # margin 20 + 4 on 2 units
            id="okx, a short with extra margin and contracts of a half",
        ),
    ],
)
def test_liquidation_prices(instrument, rest, price):
    assert liquidation_price(instrument, **rest) == pytest.approx(price, abs=0.005)


def perpetual(low, *decisions, marks=None, **rest):
    """1 BTC at 20,000 with 50x: liquidation 19,700, bankruptcy 19,600."""
    bars = [flat(20_000), flat(20_000), [20_000, 20_100, low, 20_000, 1000]]
    mark_bars = {"X": [[*flat(20_000)[:4]], [*flat(20_000)[:4]], [20_000, 20_100, marks, 20_000]]} if marks else {}
    return world(
        bars,
        *(decisions or [buy()]),
        instrument={"kind": "linear", "leverage": 50},
        **({"mark_bars": mark_bars} if mark_bars else {}),
        **({"rules": {"liquidate_on": "last"}} | rest),
    )


def test_the_price_that_reaches_the_liquidation_price_liquidates_at_bankruptcy():
    answer = replayed(perpetual(19_700, costs={"taker_bps": 10}))
    assert told(answer)[1] == (2, "sell", 1.0, 19_600.0, "liquidation")
    assert answer["equity"][-1] == pytest.approx(10_000 - 20 - 400 - 19.6)
    assert answer["trades"][0]["exit_reason"] == "liquidation"


def test_a_price_above_the_liquidation_price_does_not():
    assert len(replayed(perpetual(19_700.01))["fills"]) == 1


def test_volume_and_participation_say_nothing_of_a_liquidation():
    scenario = perpetual(19_500)
    scenario["bars"]["X"][2][4] = 0
    assert told(replayed(scenario))[1] == (2, "sell", 1.0, 19_600.0, "liquidation")


def test_on_one_series_the_nearer_stop_comes_first():
    assert told(replayed(perpetual(19_000, buy(stop=19_800))))[1] == (2, "sell", 1.0, 19_800.0, "stop")


def test_the_mark_liquidates_where_the_last_price_does_not():
    answer = replayed(perpetual(19_900, marks=19_650, rules={}))
    assert told(answer)[1] == (2, "sell", 1.0, 19_600.0, "liquidation")


def test_the_last_price_does_not_liquidate_where_the_mark_does_not():
    assert len(replayed(perpetual(19_000, marks=19_900, rules={}))["fills"]) == 1


@pytest.mark.parametrize(
    ("path", "price", "why"),
    [("adverse", 19_600.0, "liquidation"), ("likely", 19_600.0, "liquidation"), ("favourable", 19_800.0, "stop")],
)
def test_a_nearer_stop_and_the_mark_on_one_leg(path, price, why):
    answer = replayed(perpetual(19_700, buy(stop=19_800), marks=19_650, rules={"path": path}))
    assert told(answer)[1] == (2, "sell", 1.0, price, why)
    assert answer["fills"][1]["ambiguous"]


@pytest.mark.parametrize("path", ["adverse", "favourable"])
def test_a_farther_stop_is_liquidated_for_certain(path):
    answer = replayed(perpetual(19_600, buy(stop=19_690), marks=19_650, rules={"path": path}))
    assert told(answer)[1] == (2, "sell", 1.0, 19_600.0, "liquidation")
    assert not answer["fills"][1]["ambiguous"]


def test_a_mark_that_opens_beyond_liquidates_before_the_stop():
    scenario = perpetual(19_000, buy(stop=19_800), marks=19_000, rules={})
    scenario["bars"]["X"][2][0] = 19_750
    scenario["mark_bars"]["X"][2][0] = 19_500
    answer = replayed(scenario)
    assert told(answer)[1] == (2, "sell", 1.0, 19_600.0, "liquidation")
    assert states(answer)[1] == closed()


@pytest.mark.parametrize(
    ("high", "marks", "rules", "stop", "price", "why"),
    [
        pytest.param(20_300, None, {"liquidate_on": "last"}, None, 20_400.0, "liquidation", id="last price"),
        pytest.param(20_000, 20_300, {}, None, 20_400.0, "liquidation", id="mark"),
        pytest.param(20_300, None, {"liquidate_on": "last"}, 20_200, 20_200.0, "stop", id="a nearer stop"),
        pytest.param(20_250, 20_350, {}, 20_200, 20_400.0, "liquidation", id="mark and stop, adverse"),
        pytest.param(20_250, 20_350, {"path": "favourable"}, 20_200, 20_200.0, "stop", id="mark and stop, favourable"),
        pytest.param(20_400, 20_350, {"path": "favourable"}, 20_310, 20_400.0, "liquidation", id="a farther stop"),
    ],
)
def test_shorts_are_liquidated_the_other_way_round(high, marks, rules, stop, price, why):
    scenario = perpetual(20_000, sell(**({"stop": stop} if stop else {})), marks=marks, rules=rules)
    scenario["instruments"]["X"]["leverage"] = 50
    scenario["account"]["cash"] = 1_000
    scenario["bars"]["X"][2] = [20_000, high, 20_000, 20_000, 1000]
    if marks:
        scenario["mark_bars"]["X"][2] = [20_000, marks, 20_000, 20_000]
    assert told(replayed(scenario))[1] == (2, "buy", 1.0, price, why)


def test_an_entry_whose_mark_already_lies_beyond_is_liquidated_at_that_open():
    # even where the favourable path would have taken the target first
    entry = buy(bar=1, targets=[{"price": 20_050, "share": 1.0}])
    scenario = perpetual(20_000, entry, marks=19_500, rules={"path": "favourable"})
    scenario["mark_bars"]["X"][2] = [19_600, 19_800, 19_500, 19_600]
    assert [(fill["bar"], fill["why"]) for fill in replayed(scenario)["fills"]] == [(2, "entry"), (2, "liquidation")]


def test_a_cross_position_loses_what_the_mark_says():
    # wallet 1,000: (1,000 - 20,000) / (0.005 - 1) = 19,095.477...
    scenario = perpetual(19_000, cash=1_000)
    scenario["instruments"]["X"] |= {"liquidation": "binance", "margin": "cross"}
    level = 19_000 / 0.995
    answer = replayed(scenario)
    assert answer["fills"][1]["price"] == pytest.approx(level)
    assert answer["equity"][-1] == pytest.approx(1_000 - (20_000 - level))


def test_marks_say_nothing_where_the_last_price_liquidates():
    assert len(replayed(perpetual(19_900, marks=19_650, rules={"liquidate_on": "last"}))["fills"]) == 1


def test_extra_margin_moves_the_bankruptcy_price():
    scenario = perpetual(19_000, buy(quantity=2))
    scenario["instruments"]["X"]["extra_margin"] = 100
    assert told(replayed(scenario))[1] == (2, "sell", 2.0, 19_550.0, "liquidation")  # 20,000 - (800 + 100) / 2


def test_spot_and_leverage_1_are_never_liquidated():
    crash = [FLAT, FLAT, [100, 100, 0.5, 1, 1000]]
    for own in ({}, PERPETUAL):
        assert len(replayed(world(crash, buy(), instrument=own))["fills"]) == 1


def test_an_inverse_bankruptcy_costs_the_margin():
    # 60,000 at 50,000, 10x: margin 0.12 BTC
    bars = [flat(50_000, 1e6), flat(50_000, 1e6), [50_000, 50_000, 45_000, 46_000, 1e6]]
    own = {"kind": "inverse", "leverage": 10, "liquidation": "bybit_inverse", "lot": 1}
    answer = replayed(world(bars, buy(quantity=60_000), cash=1, instrument=own, rules={"liquidate_on": "last"}))
    assert answer["fills"][1]["price"] == pytest.approx(60_000 / 1.32)
    assert answer["equity"][-1] == pytest.approx(0.88)


# Impact


@pytest.mark.parametrize(
    ("volume", "shares", "sigma", "horizon", "bps"),
    [
        # Almgren, Thum, Hauptmann, Li, Direct Estimation of Equity Market Impact (2005), the table of 10 % of a day's
        # volume: IBM and DRI over 0.1, 0.2 and 0.5 days, realized cost in basis points
        pytest.param(6.561e6, 1728e6, 0.0157, 0.1, 32, id="IBM in 0.1 days"),
        pytest.param(6.561e6, 1728e6, 0.0157, 0.2, 25, id="IBM in 0.2 days"),
        pytest.param(6.561e6, 1728e6, 0.0157, 0.5, 18, id="IBM in 0.5 days"),
        pytest.param(1.929e6, 168e6, 0.0226, 0.1, 43, id="DRI in 0.1 days"),
        pytest.param(1.929e6, 168e6, 0.0226, 0.2, 32, id="DRI in 0.2 days"),
        pytest.param(1.929e6, 168e6, 0.0226, 0.5, 23, id="DRI in 0.5 days"),
    ],
)
def test_almgrens_own_table(volume, shares, sigma, horizon, bps):
    model = {
        "model": "almgren",
        "sigma": sigma,
        "volume": volume,
        "shares_outstanding": shares,
        "horizon_days": horizon,
    }
    bars = [flat(100, volume)] * 2
    quantity = volume / 10
    answer = replayed(world(bars, buy(quantity=quantity), cash=1e12, costs={"slippage": model}, instrument={"lot": 1}))
    assert (answer["fills"][0]["price"] / 100 - 1) * 1e4 == pytest.approx(bps, abs=0.75)
    assert answer["open_positions"][0]["impact"] > 0


# Sizing


def sized(size, bars=(FLAT, FLAT), *, bar=0, **rest):
    order = replayed(world(list(bars), buy(bar=bar, size=size), **rest))["orders"][-1]
    return order["requested"], order["status"], order["reason"]


@pytest.mark.parametrize(
    ("size", "quantity"),
    [
        ({"model": "units", "quantity": 3}, 3),
        ({"model": "notional", "notional": 250}, 2.5),
        ({"model": "equity_share", "share": 0.5}, 50),
    ],
)
def test_plain_sizers(size, quantity):
    assert sized(size)[0] == pytest.approx(quantity)


@pytest.mark.parametrize(
    ("stop", "cap", "quantity"),
    [
        (90, 1.0, 10),
        (90, 0.05, 5),
        ({"pct": 0.05}, 1.0, 20),
        ({"pct": 0.05}, None, 20),
    ],
)
def test_risk_per_trade(stop, cap, quantity):
    size = {"model": "risk_per_trade", "risk": 0.01, "cap": cap}
    order = replayed(world([FLAT, FLAT], buy(size=size, stop=stop)))["orders"][0]
    assert order["requested"] == pytest.approx(quantity)


@pytest.mark.parametrize("stop", [None, 100, 101])
def test_risk_needs_a_stop_away_from_the_entry(stop):
    size = {"model": "risk_per_trade", "risk": 0.01, "cap": 1}
    answer = replayed(world([FLAT, FLAT], buy(size=size, **({"stop": stop} if stop else {}))))
    assert states(answer) == [refused("invalid_stop")]


def test_risk_of_a_breakout_is_measured_from_its_own_price():
    size = {"model": "risk_per_trade", "risk": 0.01, "cap": 10}
    answer = replayed(world([FLAT, FLAT], buy(size=size, order="stop", price=110, stop=105)))
    assert answer["orders"][0]["quantity"] == 20


WAVES = [flat(100), flat(110), flat(100), flat(100)]
SIGMA = math.sqrt(2) * math.log(1.1)  # of the returns ln 1.1 and -ln 1.1


def test_volatility_target():
    size = {"model": "volatility_target", "annual": 0.5, "days": 2, "periods_per_year": 365, "cap": 1}
    assert sized(size, WAVES, bar=2)[0] == pytest.approx(10_000 * 0.5 / (SIGMA * math.sqrt(365)) / 100)


def test_volatility_target_is_capped_and_needs_its_days():
    size = {"model": "volatility_target", "annual": 50, "days": 2, "periods_per_year": 365, "cap": 0.3}
    assert sized(size, WAVES, bar=2)[0] == pytest.approx(30)
    assert sized(size, WAVES, bar=1)[1:] == refused("below_min_notional")


def test_kelly():
    # returns +10 %, +10 %, -10 %: p = 2/3, payoff 1: 0.5 x (2/3 - 1/3) = 1/6 of 10,010
    bars = [flat(100), flat(100), flat(110), flat(100), flat(110), flat(100), flat(90), flat(100), flat(100)]
    trades = [one for bar in (0, 2, 4) for one in (buy(bar=bar), decision("close", bar=bar + 1))]
    size = {"model": "kelly", "fraction": 0.5, "cap": 1, "min_trades": 3}
    answer = replayed(world(bars, *trades, buy(bar=7, size=size)))
    assert [trade["pnl"] for trade in answer["trades"]] == pytest.approx([10, 10, -10])
    assert answer["orders"][-1]["requested"] == pytest.approx(10_010 / 6 / 100)


def test_kelly_of_a_payoff_of_two():
    # +20 %, -10 %: p = 1/2, payoff 2: 1/2 - 1/4 of 10,010
    bars = [flat(100), flat(100), flat(120), flat(100), flat(90), flat(100), flat(100)]
    trades = [one for bar in (0, 2) for one in (buy(bar=bar), decision("close", bar=bar + 1))]
    size = {"model": "kelly", "fraction": 1, "cap": 1, "min_trades": 2}
    answer = replayed(world(bars, *trades, buy(bar=5, size=size)))
    assert answer["orders"][-1]["requested"] == pytest.approx(10_010 / 4 / 100)


def test_kelly_of_what_never_lost_and_of_what_never_won():
    size = {"model": "kelly", "fraction": 0.5, "cap": 0.3, "min_trades": 1}
    trade = [buy(), decision("close", bar=1)]
    won = replayed(world([FLAT, FLAT, flat(110), flat(100)], *trade, buy(bar=3, size=size)))
    lost = replayed(world([FLAT, FLAT, flat(90), flat(100)], *trade, buy(bar=3, size=size)))
    assert won["orders"][-1]["requested"] == pytest.approx(0.3 * 10_010 / 100)
    assert states(lost)[-1] == refused("no_edge")


def test_risk_of_inverse_contracts_is_in_coin():
    # 1 % of 2 BTC is 0.02; a contract from 10,000 to 8,000 loses 1/8,000 - 1/10,000 = 0.000025
    size = {"model": "risk_per_trade", "risk": 0.01, "cap": 10}
    own = {"kind": "inverse", "lot": 1}
    answer = replayed(world([flat(10_000)] * 2, buy(size=size, stop=8_000), cash=2, instrument=own))
    assert answer["orders"][0]["requested"] == pytest.approx(800)


@pytest.mark.parametrize("model", ["inverse_volatility", "risk_parity"])
def test_a_share_of_too_short_a_past_is_nothing(model):
    assert sized({"model": model, "days": 3}, WAVES, bar=2)[1:] == refused("below_min_notional")


def two(bars_of_x, bars_of_y, *decisions, **rest):
    return world(bars_of_x, *decisions, **rest) | {
        "instruments": {"X": {}, "Y": {}},
        "bars": {"X": bars_of_x, "Y": bars_of_y},
    }


@pytest.mark.parametrize("model", ["inverse_volatility", "risk_parity"])
def test_two_instruments_share_by_inverse_volatility(model):
    # Y's log returns are twice X's: X gets 2/3; for two instruments equal risk is the same
    calm = [flat(100), flat(110), flat(100), flat(100)]
    wild = [flat(100), flat(121), flat(100), flat(100)]
    answer = replayed(two(calm, wild, buy(bar=2, size={"model": model, "days": 2})))
    assert answer["orders"][0]["requested"] == pytest.approx(10_000 * 2 / 3 / 100)


def test_equal_risk_weights_bring_equal_risk():
    returns = [[0.01, -0.02, 0.015, 0.0], [0.03, -0.01, 0.0, -0.02], [-0.02, 0.01, 0.02, 0.01]]
    weights = equal_risk_weights(returns)
    portfolio = [sum(w * own[day] for w, own in zip(weights, returns, strict=True)) for day in range(4)]
    mean = sum(portfolio) / 4
    brought = [
        w * sum((own[day] - sum(own) / 4) * (portfolio[day] - mean) for day in range(4))
        for w, own in zip(weights, returns, strict=True)
    ]
    assert brought == pytest.approx([brought[0]] * 3)
    assert sum(weights) == pytest.approx(1)


# Guards and pacing


def guarded(risk, *decisions, bars=None, **rest):
    return states(replayed(world(bars or [FLAT] * 6, *decisions, risk=risk, **rest)))


@pytest.mark.parametrize("guard", ["max_position", "max_gross_exposure", "max_net_exposure", "max_leverage"])
def test_an_exposure_exactly_at_its_limit_is_allowed(guard):
    assert guarded({guard: 0.5}, buy(quantity=50)) == [FILLED]
    assert guarded({guard: 0.5}, buy(quantity=50.001)) == [refused(guard)]


@pytest.mark.parametrize("guard", ["max_position", "max_gross_exposure", "max_net_exposure", "max_leverage"])
def test_orders_not_yet_filled_count_in_exposure(guard):
    waits = buy(order="limit", price=50, quantity=30)
    assert guarded({guard: 0.5}, waits, buy(quantity=21)) == [OPEN, refused(guard)]


def test_net_exposure_nets():
    bars = [FLAT] * 3
    scenario = two(bars, bars, buy(quantity=40), sell(quantity=40, instrument="Y"), risk={"max_net_exposure": 0.5})
    assert states(replayed(scenario)) == [FILLED, FILLED]
    assert states(replayed(scenario | {"risk": {"max_gross_exposure": 0.5}})) == [FILLED, refused("max_gross_exposure")]


def test_the_guards_look_at_entries_only():
    assert guarded({"max_position": 0.01}, buy(), sell(bar=2)) == [FILLED, FILLED]


def test_max_slippage_refuses_at_the_fill():
    costs = {"half_spread_bps": 10, "slippage": {"model": "bps", "bps": 10}}
    assert guarded({"max_slippage_bps": 20}, buy(), costs=costs) == [FILLED]
    assert guarded({"max_slippage_bps": 19}, buy(), costs=costs) == [refused("slippage_exceeded")]


def test_max_open_positions():
    scenario = two([FLAT] * 3, [FLAT] * 3, buy(), buy(instrument="Y"), buy(bar=1), risk={"max_open_positions": 1})
    assert states(replayed(scenario)) == [FILLED, refused("max_open_positions"), FILLED]


def test_correlation_limit():
    waves = [flat(100), flat(110), flat(105), flat(120), flat(100), flat(100)]
    risk = {"correlation_limit": {"limit": 0.9, "days": 3}}
    alike = two(waves, waves, buy(bar=3), buy(bar=3, instrument="Y"), risk=risk)
    hedged = two(waves, waves, buy(bar=3), sell(bar=3, instrument="Y"), risk=risk)
    assert states(replayed(alike)) == [FILLED, refused("correlation_limit")]
    assert states(replayed(hedged)) == [FILLED, FILLED]


def test_a_correlation_exactly_at_the_limit_is_allowed():
    # log returns (1, -1, 1, -1) and (1, 1, -1, -1) steps are not alike at all; (1, -1, 1, 1) and (1, -1, 1, -1) by 1 / sqrt 3
    def walked(*steps):
        at = list(itertools.accumulate(steps, initial=0))
        return [flat(100 * 1.1**step) for step in [*at, at[-1]]]

    def entered(limit, x, y):
        risk = {"correlation_limit": {"limit": limit, "days": 4}}
        decisions = [buy(bar=4), buy(bar=4, instrument="Y")]
        return states(replayed(two(walked(*x), walked(*y), *decisions, risk=risk)))[1]

    assert entered(0.001, (1, -1, 1, -1), (1, 1, -1, -1)) == FILLED
    assert entered(1 / math.sqrt(3) + 1e-9, (1, -1, 1, 1), (1, -1, 1, -1)) == FILLED
    assert entered(1 / math.sqrt(3) - 1e-9, (1, -1, 1, 1), (1, -1, 1, -1)) == refused("correlation_limit")


def test_max_daily_loss_is_the_days():
    # a loss of 200 on 10,000 on bar 2: refused then, allowed on the next day
    bars = [FLAT, FLAT, flat(80), flat(80), flat(80)]
    entries = [buy(quantity=10), buy(bar=2), buy(bar=3)]
    assert guarded({"max_daily_loss": 0.02}, *entries, bars=bars) == [FILLED] * 3
    assert guarded({"max_daily_loss": 0.019}, *entries, bars=bars) == [FILLED, refused("max_daily_loss"), FILLED]


def test_max_drawdown_refuses_entries_and_leaves_what_is_open():
    bars = [FLAT, FLAT, flat(80), flat(80)]
    assert guarded({"max_drawdown": 0.02}, buy(quantity=10), buy(bar=2), bars=bars) == [FILLED, FILLED]
    answer = replayed(world(bars, buy(quantity=10), buy(bar=2), risk={"max_drawdown": 0.0199}))
    assert states(answer) == [FILLED, refused("max_drawdown")]
    assert answer["open_positions"][0]["quantity"] == 10


def test_the_kill_switch_closes_everything_and_stays():
    bars = [FLAT, FLAT, flat(80), flat(81), flat(100), flat(100)]
    waits = buy(bar=1, order="limit", price=70)
    answer = replayed(
        world(bars, buy(quantity=10), waits, buy(bar=2), buy(bar=4), risk={"kill_switch": {"drawdown": 0.01}})
    )
    assert told(answer)[1] == (3, "sell", 10.0, 81.0, "kill_switch")
    assert states(answer) == [FILLED, closed("kill_switch"), FILLED, refused("kill_switch"), refused("kill_switch")]


@pytest.mark.parametrize("run", [replayed, simulated])
def test_market_exits_of_all_instruments_go_by_order_id(run):
    scenario = two([FLAT] * 3, [FLAT] * 3, buy(), buy(instrument="Y"))
    scenario["decisions"] += [decision("close", bar=1, instrument="Y"), decision("close", bar=1)]
    fills = run(scenario)["fills"]
    assert [(fill["order"], fill["instrument"]) for fill in fills[2:]] == [("o-000003", "Y"), ("o-000004", "X")]


@pytest.mark.parametrize("run", [replayed, simulated])
def test_beyond_both_limits_entries_are_refused_for_the_drawdown(run):
    bars = [FLAT, FLAT, flat(80), flat(80)]
    risk = {"max_drawdown": 0.01, "kill_switch": {"drawdown": 0.01}}
    answer = run(world(bars, buy(quantity=10), buy(bar=2), risk=risk))
    assert states(answer) == [FILLED, FILLED, refused("max_drawdown")]
    assert told(answer)[1][-1] == "kill_switch"


@pytest.mark.parametrize("run", [replayed, simulated])
def test_an_entry_beyond_its_own_liquidation_price_is_liquidated_before_the_price_moves(run):
    own = {"kind": "linear", "leverage": 20}
    bars = [FLAT, [100, 112, 100, 112, 1000]]
    rules, costs = {"liquidate_on": "last"}, {"half_spread_bps": 500}
    answer = run(world(bars, buy(), instrument=own, rules=rules, costs=costs))
    # paid 105, margin 5.25 of which 0.525 must stay: liquidated from 100.275 down, at 99.75
    assert told(answer) == close_to([(1, "buy", 1.0, 105.0, "entry"), (1, "sell", 1.0, 99.75, "liquidation")])
    assert answer["trades"][0]["mfe"] == pytest.approx(-5.0)


def test_the_kill_switch_is_not_thrown_at_its_drawdown():
    bars = [FLAT, FLAT, flat(90), flat(90)]
    answer = replayed(world(bars, buy(quantity=10), risk={"kill_switch": {"drawdown": 0.01}}))
    assert states(answer) == [FILLED]


def test_entries_that_wait_count_as_trades_of_the_day():
    waits = buy(order="limit", price=50)
    assert guarded({"max_trades_per_day": 1}, waits, buy()) == [OPEN, refused("max_trades_per_day")]
    assert replayed(world([FLAT] * 3, waits, buy(), risk={"max_trades_per_day": 1}))["warnings"]


def test_a_win_ends_a_losing_streak():
    bars = [flat(price) for price in (100, 100, 90, 90, 100, 100, 90, 90, 90)]
    trades = [one for bar in (0, 2, 4) for one in (buy(bar=bar), decision("close", bar=bar + 1))]
    risk = {"loss_streak_cooldown": {"losses": 2, "seconds": 10 * 86_400}}
    assert guarded(risk, *trades, buy(bar=6), bars=bars)[-1] == FILLED


def test_a_position_that_a_close_ends_leaves_room_for_its_reversal():
    reversal = [buy(quantity=50), decision("close", bar=1), sell(bar=1, quantity=50)]
    assert guarded({"max_gross_exposure": 0.5}, *reversal) == [FILLED] * 3


def test_spacing_counts_from_fills_of_any_instrument():
    # filled at the open of bar 1 (day 1); the close of bar 1 is a day later, that of bar 2 two
    risk = {"global_trade_spacing": {"seconds": 2 * 86_400}}
    scenario = two([FLAT] * 5, [FLAT] * 5, buy(), *(buy(bar=bar, instrument="Y") for bar in (1, 2)), risk=risk)
    assert states(replayed(scenario)) == [FILLED, refused("global_trade_spacing"), FILLED]


def test_a_symbol_cools_down_after_a_loss_and_after_a_win():
    risk = {"symbol_cooldown_active": {"after_win_seconds": 86_400, "after_loss_seconds": 2 * 86_400}}
    trade = [buy(), decision("close", bar=1)]
    lost = [FLAT, FLAT, flat(90), flat(90), flat(90), flat(90)]
    won = [FLAT, FLAT, flat(110), flat(110), flat(110), flat(110)]
    again = [buy(bar=2), buy(bar=3)]
    assert guarded(risk, *trade, *again, bars=lost) == [FILLED, FILLED, refused("symbol_cooldown_active"), FILLED]
    assert guarded(risk, *trade, *again, bars=won) == [FILLED] * 4


def test_trades_an_hour_are_the_clocks():
    bars = [FLAT] * 8
    entries = [buy(bar=bar) for bar in (0, 1, 2, 3)]
    # quarter hours: the fills of bars 1 and 2 fall into the first hour, as would bar 3's; bar 4 opens the second
    assert guarded({"max_trades_per_hour": 2}, *entries, bars=bars, timeframe="15m") == [
        FILLED,
        FILLED,
        refused("max_trades_per_hour"),
        FILLED,
    ]


def test_trades_a_day():
    bars = [FLAT] * 30
    entries = [buy(bar=bar) for bar in (0, 1, 22, 23)]
    assert guarded({"max_trades_per_day": 2}, *entries, bars=bars, timeframe="1h") == [
        FILLED,
        FILLED,
        refused("max_trades_per_day"),
        FILLED,
    ]


def test_a_losing_streak_pauses_and_never_blocks():
    bars = [flat(price) for price in (100, 100, 90, 100, 90, 90, 90, 90, 90)]
    trades = [buy(), decision("close", bar=1), buy(bar=2), decision("close", bar=3)]
    risk = {"loss_streak_cooldown": {"losses": 2, "seconds": 2 * 86_400}}
    # the second loss is taken at the open of bar 4; the closes of bars 4 and 5 come one and two days later
    assert guarded(risk, *trades, buy(bar=4), buy(bar=5), bars=bars)[4:] == [refused("loss_streak_cooldown"), FILLED]


def test_an_entry_without_a_bar_is_stale():
    bars = {
        "X": dated([FLAT] * 3, step=timedelta(days=1), skip=(1,)),
        "Y": dated([FLAT] * 3, step=timedelta(days=1)),
    }
    scenario = two(bars["X"], bars["Y"], buy(bar=1))
    assert states(replayed(scenario)) == [refused("stale_bar")]


def test_an_entry_after_the_delisting_is_halted():
    scenario = world([FLAT] * 2, buy(bar=1), actions=[{"bar": 1, "instrument": "X", "delist": True}])
    assert states(replayed(scenario)) == [refused("halted")]


# Sessions


def test_the_session_close_follows_the_calendar():
    opens = datetime(2024, 1, 2, 14, 30, tzinfo=UTC)
    sessions = [(opens + timedelta(days=i), opens + timedelta(days=i, hours=2)) for i in range(2)]
    rows = [[opens + timedelta(days=i, hours=j), *flat(100 + i)] for i in range(2) for j in range(2)]
    scenario = world(rows, buy(session_close=True), timeframe="1h", calendar="XNYS")
    assert told(replayed(scenario, sessions)) == [
        (1, "buy", 1.0, 100.0, "entry"),
        (1, "sell", 1.0, 100.0, "session_close"),
    ]


def test_daily_bars_close_when_their_session_closes():
    # ttl counts sessions, not days: decided on Friday, it ends with Monday; borrow runs from close to close
    friday = datetime(2024, 1, 5, tzinfo=UTC)
    days = [friday + timedelta(days=i) for i in (0, 3, 4)]
    sessions = [(day + timedelta(hours=14.5), day + timedelta(hours=21)) for day in days]
    rows = [[day, *flat(price)] for day, price in zip(days, (100, 100, 90), strict=True)]
    scenario = world(rows, buy(order="limit", price=95, ttl_bars=1), calendar="XNYS")
    assert states(replayed(scenario, sessions)) == [("expired", "ttl_expired")]
    short = world(rows, sell(), calendar="XNYS", costs={"borrow_bps_per_day": 100})
    assert replayed(short, sessions)["open_positions"][0]["borrow"] == pytest.approx(1.0)


def test_sessions_count_for_volatility_only_once_they_are_over():
    # 12-hour bars: on the close of a session's first bar the last whole session is the one before
    prices = [100, 100, 105, 110, 105, 100, 50, 100]
    size = {"model": "volatility_target", "annual": 0.5, "days": 2, "periods_per_year": 365}
    for bar in (5, 6):
        scenario = world([flat(price) for price in prices], buy(bar=bar, size=size), timeframe="12h")
        notional = replayed(scenario)["orders"][0]["requested"] * prices[bar]
        assert notional == pytest.approx(10_000 * 0.5 / (SIGMA * math.sqrt(365)))


@pytest.mark.parametrize("run", [replayed, simulated])
def test_a_session_close_that_a_missing_bar_swallowed_happens_at_the_next_open(run):
    rows = [flat(100)] * 22 + [flat(100), flat(100), flat(105)]
    scenario = world(dated(rows, step=HOURS, skip=(23,)), buy(bar=21, session_close=True), timeframe="1h")
    assert told(run(scenario))[1] == (23, "sell", 1.0, 105.0, "session_close")


# Bad bars


def test_a_bar_that_is_no_number_is_missing_but_keeps_its_place():
    bars = [FLAT, [100, math.nan, 99, 100, 1000], flat(101)]
    answer = replayed(world(bars, buy()))
    assert told(answer) == [(2, "buy", 1.0, 101.0, "entry")]
    assert answer["equity"] == [10_000.0] * 3


def test_funding_of_missing_bars_is_paid_on_the_next_one():
    scenario = world(
        dated([FLAT] * 4, step=timedelta(days=1), skip=(2,)),
        buy(quantity=2),
        instrument=PERPETUAL,
        funding=[{"instrument": "X", "at": START + timedelta(days=2, hours=8), "rate": 0.001, "mark": 100}],
    )
    assert replayed(scenario)["equity"] == pytest.approx([10_000, 10_000, 9_999.8])


def test_trades_are_numbered_by_their_opening():
    scenario = two([FLAT] * 4, [FLAT] * 4, buy(), buy(instrument="Y"), decision("close", bar=1, instrument="Y"))
    scenario["decisions"].append(decision("close", bar=2))
    trades = replayed(scenario)["trades"]
    assert [(trade["id"], trade["instrument"]) for trade in trades] == [("t-000001", "X"), ("t-000002", "Y")]


# Laws

HALVES = st.integers(0, 8)


@st.composite
def walks(draw, n):
    """Bars in half units, so that levels are met exactly; now and then without volume."""
    at, rows = 200, []
    for _ in range(n):
        opens = max(20, at + draw(st.integers(-6, 6)))
        at = max(20, opens + draw(st.integers(-8, 8)))
        high, low = max(opens, at) + draw(HALVES), max(2, min(opens, at) - draw(HALVES))
        rows.append([opens / 2, high / 2, low / 2, at / 2, draw(st.sampled_from([0, 3, 50, 1000, 1000]))])
    return rows


@st.composite
def orders(draw, n):
    found = []
    for bar in range(n):
        do = draw(st.sampled_from(["", "", "buy", "buy", "sell", "close", "cancel"]))
        if do in ("close", "cancel"):
            found.append(decision(do, bar=bar))
        if do not in ("buy", "sell"):
            continue
        one = decision(do, bar=bar, quantity=draw(st.sampled_from([0.5, 1, 2.5, 40])))
        kind = draw(st.sampled_from(["market", "market", "limit", "stop", "stop_limit"]))
        one["order"] = kind
        if kind != "market":
            one["price"] = draw(st.integers(180, 220)) / 2
        if kind == "stop_limit":
            one["trigger"] = draw(st.integers(180, 220)) / 2
        one |= draw(
            st.sampled_from(
                [
                    {},
                    {"stop": {"pct": 0.03}},
                    {"stop": {"pct": 0.05}, "targets": "default"},
                    {"trail": {"pct": 0.02}, "targets": [{"r": 1.0, "share": 0.5}, {"r": 2.0, "share": 0.5}]},
                    {"stop": {"pct": 0.02}, "time_stop_bars": 2},
                    {"stop": {"atr": 1.5, "length": 2}, "ttl_bars": 2},
                    {"session_close": True},
                ]
            )
        )
        found.append(one)
    return found


COSTS = st.sampled_from(
    [
        {},
        {"maker_bps": 2, "taker_bps": 5, "half_spread_bps": 3, "borrow_bps_per_day": 4},
        {"taker_bps": 5, "slippage": {"model": "bps", "bps": 7}, "half_spread_bps": 2},
        {"slippage": {"model": "volume_share", "impact": 0.1, "limit": 0.3}},
        {"slippage": {"model": "square_root", "y": 0.5, "days": 3}, "per_share": {"fee": 0.01, "minimum": 0.2}},
    ]
)
KINDS = st.sampled_from(
    [{}, PERPETUAL, {"kind": "linear", "leverage": 20}, {"kind": "inverse", "lot": 1, "leverage": 3}]
)
N = 6


@st.composite
def scenarios(draw):
    own = draw(KINDS)
    scale = 100 if own.get("kind") == "inverse" else 1
    decisions = [one | ({"quantity": one["quantity"] * scale} if "quantity" in one else {}) for one in draw(orders(N))]
    bars = [[*row[:4], row[4] * scale] for row in draw(walks(N))]
    actions = [{"bar": 3, "instrument": "X", "split": draw(st.sampled_from([2.0, 0.5]))}] if draw(st.booleans()) else []
    if draw(st.booleans()):
        actions.append({"bar": 4, "instrument": "X", "dividend": 0.25})
    return world(
        bars,
        *decisions,
        instrument=own,
        costs=draw(COSTS),
        actions=actions if not own else [],
        rules={
            "path": draw(st.sampled_from(["adverse", "likely", "favourable"])),
            "limit_fill": draw(st.sampled_from(["trade_through", "touch"])),
            "participation": draw(st.sampled_from([1.0, 0.5])),
            "liquidate_on": "last",
        },
        funding=[{"instrument": "X", "at": "1970-01-03T08:00:00Z", "rate": 0.001, "mark": 100}] if own else [],
    )


@st.composite
def portfolios(draw):
    """Two instruments that share an account, with missing bars, marks, finer bars and guards."""
    kinds = st.sampled_from([{}, PERPETUAL, {"kind": "linear", "leverage": 20, "margin": "cross"}])
    step, scenario = timedelta(days=1), draw(scenarios())
    scenario["instruments"] = {name: draw(kinds) | {"liquidation": "binance"} for name in "XY"}
    skips = {name: draw(st.sets(st.integers(1, N - 1), max_size=2)) for name in "XY"}
    rows = {name: draw(walks(N)) for name in "XY"}
    scenario["bars"] = {name: dated(rows[name], step=step, skip=skips[name]) for name in "XY"}
    scenario["decisions"] = [one | {"instrument": name} for name in "XY" for one in draw(orders(N))]
    scenario["funding"] = [{"instrument": "Y", "at": START + 2.5 * step, "rate": -0.001, "mark": 100}]
    if draw(st.booleans()):
        scenario["mark_bars"] = {"Y": dated([row[:4] for row in draw(walks(N))], step=step)}
    else:
        scenario["rules"]["liquidate_on"] = "last"
    if draw(st.booleans()):
        scenario["finer_bars"] = {"X": [[START + i * step / 2, *row] for i, row in enumerate(draw(walks(2 * N)))]}
    scenario["risk"] = draw(
        st.sampled_from(
            [
                {},
                {"kill_switch": {"drawdown": 0.005}, "max_trades_per_day": 2},
                {"max_gross_exposure": 0.6, "correlation_limit": {"limit": 0.5, "days": 3}},
                {"global_trade_spacing": {"seconds": 100_000}, "max_slippage_bps": 6},
            ]
        )
    )
    return scenario


def explained(whole):
    costs = sum(whole[key] for key in ("fees", "spread", "slippage", "impact", "borrow"))
    return whole["edge"] - costs + whole["funding"] + whole["dividends"]


laws = settings(max_examples=50, deadline=None)


def parts_sum(answer):
    wholes = [*answer["trades"], *answer["open_positions"]]
    assert sum(explained(whole) for whole in wholes) == pytest.approx(answer["equity"][-1] - 10_000, abs=1e-7)
    for whole in wholes:
        assert explained(whole) == pytest.approx(whole["pnl"], abs=1e-9)
    for trade in answer["trades"]:
        assert trade["mae"] <= trade["pnl"] <= trade["mfe"]


def ids_are_sequential(answer):
    for key, letter in (("orders", "o"), ("fills", "f")):
        assert [one["id"] for one in answer[key]] == [f"{letter}-{i + 1:06d}" for i in range(len(answer[key]))]
    known = {order["id"]: order for order in answer["orders"]}
    for fill in answer["fills"]:
        if fill["order"] is not None:
            order = known[fill["order"]]
            assert (order["instrument"], order["side"]) == (fill["instrument"], fill["side"])
            assert order["decided_on"] <= fill["bar"]


@pytest.mark.slow
@laws
@given(scenarios())
def test_the_parts_sum_to_the_change_in_equity_and_the_pnl_lies_between_worst_and_best(scenario):
    parts_sum(replayed(scenario))


@pytest.mark.slow
@settings(max_examples=25, deadline=None)
@given(portfolios())
def test_so_they_do_in_a_shared_account_with_marks_and_guards(scenario):
    answer = replayed(scenario)
    parts_sum(answer)
    ids_are_sequential(answer)


@pytest.mark.slow
@laws
@given(scenarios())
def test_ids_are_sequential_and_every_fill_names_its_order(scenario):
    ids_are_sequential(replayed(scenario))


@pytest.mark.slow
@laws
@given(scenarios())
def test_an_order_fills_no_more_than_its_quantity_and_the_records_agree(scenario):
    answer = replayed(scenario)
    for order in answer["orders"]:
        filled = sum(fill["quantity"] for fill in answer["fills"] if fill["order"] == order["id"])
        assert filled == pytest.approx(order["filled"], abs=1e-9)
        if not scenario["actions"]:
            assert filled <= order["quantity"] + 1e-9
        assert (order["status"] == "filled") == (0 < order["quantity"] <= order["filled"] + 1e-9) or order["reason"]
        assert (order["status"] in ("rejected", "expired", "cancelled")) == (order["reason"] is not None)
        assert order["status"] != "rejected" or order["filled"] == 0


@pytest.mark.slow
@laws
@given(scenarios())
def test_no_bar_gives_more_than_its_volume(scenario):
    answer = replayed(scenario)
    for bar, row in enumerate(scenario["bars"]["X"]):
        filled = sum(
            fill["quantity"]
            for fill in answer["fills"]
            if fill["bar"] == bar and fill["order"] and fill["why"] != "liquidation"
        )
        assert filled <= scenario["rules"]["participation"] * row[4] + 1e-9


@laws
@given(walks(2), st.sampled_from(["buy", "sell"]), st.sampled_from([0.01, 0.02]), st.sampled_from([0.5, 1.0, 2.0]))
def test_on_one_bar_adverse_is_no_better_than_likely_and_that_no_better_than_favourable(rows, do, pct, r):
    targets = [{"r": r, "share": 1.0}]
    scenario = world(rows, decision(do, quantity=1, stop={"pct": pct}, targets=targets))
    worst, likely, best = (
        replayed(scenario | {"rules": {"path": path}})["equity"][-1] for path in ("adverse", "likely", "favourable")
    )
    assert worst - 1e-9 <= likely <= best + 1e-9


@pytest.mark.slow
@laws
@given(scenarios())
def test_decisions_on_a_bar_move_nothing_before_the_next(scenario):
    last = max((one["bar"] for one in scenario["decisions"]), default=0)
    without = copy.deepcopy(scenario)
    without["decisions"] = [one for one in without["decisions"] if one["bar"] != last]
    one, other = replayed(scenario), replayed(without)
    assert one["equity"][: last + 1] == other["equity"][: last + 1]
    before = [[fill for fill in answer["fills"] if fill["bar"] <= last] for answer in (one, other)]
    assert before[0] == before[1]


@pytest.mark.slow
@laws
@given(scenarios(), st.integers(1, N - 1))
def test_cut_bars_give_cut_results(scenario, n):
    cut = copy.deepcopy(scenario)
    cut["bars"]["X"] = cut["bars"]["X"][:n]
    whole, part = replayed(scenario), replayed(cut)
    assert part["equity"] == whole["equity"][:n]
    assert part["fills"] == [fill for fill in whole["fills"] if fill["bar"] < n]


@settings(max_examples=20, deadline=None)
@given(scenarios())
def test_two_runs_give_the_same(scenario):
    assert replayed(scenario) == replayed(copy.deepcopy(scenario))


@laws
@given(walks(5), orders(5))
def test_shorts_mirror_longs(rows, decisions):
    """Prices mirrored at 200 on a linear contract: every long becomes a short with the same PnL (prices stay positive)."""
    plain = [one for one in decisions if not {"stop", "trail", "targets"} & set(one)]
    mirrored = []
    for one in plain:
        turned = one | {"do": {"buy": "sell", "sell": "buy"}.get(one["do"], one["do"])}
        mirrored.append(turned | {key: 200 - one[key] for key in ("price", "trigger") if key in one})
    turned_rows = [[200 - o, 200 - low, 200 - high, 200 - c, v] for o, high, low, c, v in rows]
    own = {"instrument": PERPETUAL, "cash": 1e6}
    for path in ("adverse", "favourable"):
        one = replayed(world(rows, *plain, **own, rules={"path": path}))
        other = replayed(world(turned_rows, *mirrored, **own, rules={"path": path}))
        assert one["equity"] == pytest.approx(other["equity"])


@given(st.integers(0, 10**6), st.sampled_from([0.001, 0.01, 0.05, 0.1, 0.25, 1, 5]))
def test_a_whole_number_of_steps_rounds_to_itself(n, step):
    assert floored(n * step, step) == n * step
    assert ceiled(n * step, step) == n * step
    assert floored((n + 0.5) * step, step) == n * step
    assert ceiled((n + 0.5) * step, step) == pytest.approx((n + 1) * step)
