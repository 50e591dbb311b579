"""Scenarios drawn over the whole contract: what an account, a market and a trader may do to a simulator, all at once.

`drawn(random)` takes anything with the methods of `random.Random`, so that hypothesis can shrink what it draws. Prices lie
on halves and repeat, so that levels are met exactly; quantities are large for the cash, so that it runs out.
"""

import math
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

START = datetime(2024, 1, 1, tzinfo=UTC)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
STEPS = {"1d": DAY, "6h": 6 * HOUR, "1h": HOUR}


def seeded(seed) -> Random:
    return Random(seed)  # noqa: S311 - worlds, not secrets


def drawn(random) -> dict[str, Any]:
    names = "XYZ"[: random.choice([1, 1, 2, 3])]
    timeframe = random.choice(["1d", "1d", "6h", "1h"])
    step, n = STEPS[timeframe], random.randint(3, 10)
    sessions = _sessions(random, timeframe, n) if random.random() < 0.3 else None
    times = _due(sessions, timeframe)[:n] if sessions else [START + i * step for i in range(n)]
    n, marked = len(times), random.random() < 0.5
    instruments = {name: _instrument(random) for name in names}
    rows = {name: _walk(random, n, instruments[name]) for name in names}
    bars = {name: _with_gaps(random, times, rows[name]) for name in names}
    actions = _actions(random, instruments, n)
    _end_where_delisted(bars, actions)
    clock = sorted({row[0] for own in bars.values() for row in own})
    has = {name: {clock.index(row[0]) for row in own if row[1] is not None} for name, own in bars.items()}
    n = len(clock)
    scenario = {
        "timeframe": timeframe,
        "account": {"cash": random.choice([300, 1_000, 10_000, 100_000])},
        "instruments": instruments,
        "bars": bars,
        "costs": _costs(random),
        "rules": {
            "path": random.choice(["adverse", "adverse", "likely", "favourable"]),
            "limit_fill": random.choice(["trade_through", "touch"]),
            "participation": random.choice([1.0, 1.0, 0.5, 0.05]),
            "liquidate_on": "mark" if marked else "last",
            "delisting_recovery": random.choice([1.0, 0.4]),
        },
        "risk": _risk(random),
        "funding": [] if sessions and timeframe == "1d" else _funding(random, names, times, step),
        "actions": [one for one in actions if one["bar"] in has[one["instrument"]]],
        "decisions": [one for one in _decisions(random, instruments, n) if one["bar"] in has[one["instrument"]]],
    }
    if sessions:
        scenario["sessions"] = sessions
    if marked:
        scenario["mark_bars"] = {name: _marks(random, times, rows[name]) for name in names}
    if random.random() < 0.25:
        scenario["finer_bars"] = {names[0]: _finer(random, times, step, instruments[names[0]])}
    return scenario


def _some(random, value, *, share=0.3):
    return value if random.random() < share else None


def _known(**options):
    return {key: value for key, value in options.items() if value is not None}


# The market


def _sessions(random, timeframe, n):
    """Of 14:30 to 21:00 on days that follow, now and then with a day between."""
    day, found = START, []
    for _ in range(n):
        closes = day + random.choice([21, 21, 18]) * HOUR
        found.append([day + 14.5 * HOUR, closes])
        day += random.choice([1, 1, 3]) * DAY
    return found


def _due(sessions, timeframe):
    if timeframe == "1d":
        return [opens.replace(hour=0, minute=0) for opens, _ in sessions]
    step, found = STEPS[timeframe], []
    for opens, closes in sessions:
        found += [opens + k * step for k in range(math.ceil((closes - opens) / step))]
    return found


def _instrument(random):
    kind = random.choice(["spot", "spot", "linear", "linear", "inverse"])
    own = {
        "kind": kind,
        "tick": random.choice([0.01, 0.5]),
        "lot": random.choice([0.001, 0.1, 0.5, 1]),
        **_known(
            min_notional=_some(random, 60),
            shortable=_some(random, value=False, share=0.1),
            contract_size=_some(random, random.choice([10, 0.1])),
        ),
    }
    if kind == "spot":
        return own
    own |= {"leverage": random.choice([1, 1, 3, 20, 50])}
    own |= _known(
        maintenance_margin=_some(random, 0.02),
        maintenance_amount=_some(random, 0.5),
        extra_margin=_some(random, 20 if kind == "linear" else 0.2),
    )
    if kind == "inverse":
        return own | {"lot": 1, "liquidation": random.choice(["bybit_inverse", "bybit_inverse_2026"])}
    if random.random() < 0.3:
        return own | {"liquidation": "binance", "margin": "cross"}
    return own | {"liquidation": random.choice(["bybit_linear", "binance", "okx"])}


def _walk(random, n, own):
    at, rows, wild = 200, [], random.choice([1, 1, 4])
    for _ in range(n):
        opens = max(20, at + wild * random.randint(-6, 6))
        at = max(20, opens + wild * random.randint(-8, 8))
        high, low = max(opens, at) + wild * random.randint(0, 8), max(2, min(opens, at) - wild * random.randint(0, 8))
        volume = random.choice([0, 3, 50, 1_000, 1_000, 100_000, None])
        scale = 100 if own["kind"] == "inverse" else 1
        rows.append([opens / 2, high / 2, low / 2, at / 2, volume if volume is None else volume * scale])
    return rows


def _with_gaps(random, times, rows):
    """Bars that are missing: a row that is not there, or one without prices."""
    found = []
    for i, (ts, row) in enumerate(zip(times, rows, strict=True)):
        fate = random.random() if i else 1.0
        if fate >= 0.1:
            found.append([ts, *row])
        elif fate >= 0.05:
            found.append([ts, None, None, None, None, None])
    return found


def _end_where_delisted(bars, actions):
    clock = sorted({row[0] for own in bars.values() for row in own})
    for action in actions:
        if action.get("delist") and action["bar"] < len(clock):
            for row in bars[action["instrument"]]:
                if row[0] > clock[action["bar"]]:
                    row[1:] = [None] * 5


def _marks(random, times, rows):
    found = []
    for ts, (opens, high, low, close, _) in zip(times, rows, strict=True):
        more, less = random.choice([0, 0, 0.5, 3]), random.choice([0, 0, 0.5, 3])
        found.append([ts, opens, high + more, max(0.5, low - less), close])
    return found


def _finer(random, times, step, own):
    parts = random.choice([2, 3])
    walk = _walk(random, parts * len(times), own)
    stamps = [ts + k * step / parts for ts in times for k in range(parts)]
    return [[ts, *row] for ts, row in zip(stamps, walk, strict=True) if random.random() < 0.8]


def _funding(random, names, times, step):
    return [
        {
            "instrument": random.choice(names),
            "at": random.choice(times) + random.choice([0, 0, 0.5, 0.99, 1.5]) * step,
            "rate": random.choice([0.001, -0.01]),
            "mark": random.choice([100, 95.5]),
        }
        for _ in range(random.choice([0, 0, 1, 3]))
    ]


def _actions(random, instruments, n):
    found = []
    for name, own in instruments.items():
        for bar in range(1, n):
            if own["kind"] == "spot" and random.random() < 0.05:
                found.append({"bar": bar, "instrument": name, "split": random.choice([2.0, 0.5, 1.5, 1 / 3])})
            if own["kind"] == "spot" and random.random() < 0.05:
                found.append({"bar": bar, "instrument": name, "dividend": 0.25})
        if n > 1 and random.random() < 0.05:
            found.append({"bar": random.randint(1, n - 1), "instrument": name, "delist": True})
    return found


# Costs and guards


def _costs(random):
    costs = {"half_spread_bps": random.choice([0, 0, 3, 100]), "borrow_bps_per_day": random.choice([0, 4])}
    costs |= random.choice(
        [
            {},
            {"maker_bps": -1, "taker_bps": 5},
            {"maker_bps": 2, "taker_bps": 50},
            {"per_share": {"fee": 0.01, "minimum": random.choice([0, 0.2, 1])}},
            {"fees": _schedule(random)},
        ]
    )
    costs["slippage"] = random.choice(
        [
            {"model": "none"},
            {"model": "none"},
            {"model": "bps", "bps": 7},
            {"model": "volume_share", "impact": random.choice([0.1, 2]), "limit": random.choice([1.0, 0.3, 0.02])},
            {"model": "square_root", "y": 0.5, "sigma": 0.02, "volume": 50_000},
            {"model": "square_root", "y": 0.5, "days": 2},
            {"model": "square_root", "y": 0.5, "sigma": 0.02, "days": 3},
            {"model": "almgren", "days": 3, "shares_outstanding": 1e6, "horizon_days": 0.5},
            {"model": "almgren", "sigma": 0.02, "volume": 50_000, "shares_outstanding": 1e5, "horizon_days": 1},
        ]
    )
    return costs


def _schedule(random):
    tiers = [
        {"volume": 0, "maker_bps": 1, "taker_bps": 9},
        {"volume": random.choice([100, 1_000]), "maker_bps": 0, "taker_bps": 4},
        {"volume": 10_000, "maker_bps": -1, "taker_bps": 3},
    ]
    later = [{"volume": 0, "maker_bps": 3, "taker_bps": 6}]
    return [{"from": "2023-01-01", "tiers": tiers}, {"from": "2024-01-03", "tiers": random.choice([tiers, later])}]


def _risk(random):
    return _known(
        max_position=_some(random, random.choice([0.3, 1.0]), share=0.1),
        max_gross_exposure=_some(random, random.choice([0.6, 1.5]), share=0.1),
        max_net_exposure=_some(random, random.choice([0.3, 1.0]), share=0.1),
        max_leverage=_some(random, random.choice([0.6, 3.0]), share=0.1),
        max_slippage_bps=_some(random, random.choice([3, 6, 120]), share=0.1),
        max_open_positions=_some(random, random.choice([1, 2]), share=0.1),
        correlation_limit=_some(random, {"limit": random.choice([-0.2, 0.5]), "days": 3}, share=0.1),
        max_daily_loss=_some(random, random.choice([0.005, 0.05]), share=0.1),
        max_drawdown=_some(random, random.choice([0.01, 0.1]), share=0.1),
        kill_switch=_some(random, {"drawdown": random.choice([0.005, 0.05])}, share=0.15),
        global_trade_spacing=_some(random, {"seconds": random.choice([3_601, 100_000])}, share=0.1),
        symbol_cooldown_active=_some(
            random, {"after_win_seconds": 3_600, "after_loss_seconds": random.choice([7_201, 100_000])}, share=0.1
        ),
        max_trades_per_hour=_some(random, 1, share=0.1),
        max_trades_per_day=_some(random, random.choice([1, 2]), share=0.1),
        loss_streak_cooldown=_some(random, {"losses": random.choice([1, 2]), "seconds": 90_000}, share=0.1),
    )


# The trader


def _decisions(random, instruments, n):
    found, entered = [], []
    for bar in range(n):
        for name, own in instruments.items():
            n_here = random.choice([0, 1, 1, 2])
            found += [_decision(random, bar, name, own, entered) for _ in range(n_here)]
    return found


def _decision(random, bar, name, own, entered):
    here = {"bar": bar, "instrument": name}
    do = random.choice(["buy"] * 5 + ["sell"] * 4 + ["close", "close", "cancel", "move_stop", "move_target"])
    if do == "close":
        return here | {"do": do} | _known(quantity=_some(random, random.choice([0.7, 2, 30])))
    if do == "cancel":
        one = random.choice(entered) if entered and random.random() < 0.5 else None
        return here | {"do": do} | _known(client_order_id=one)
    if do == "move_stop":
        return here | {"do": do, "stop": _level(random)}
    if do == "move_target":
        return here | {"do": do, "targets": _priced_targets(random)}
    return _entry(random, here | {"do": do}, own, entered)


def _entry(random, one, own, entered):
    if random.random() < 0.3:
        one["size"] = _size(random)
    else:
        scale = 100 if own["kind"] == "inverse" else 1
        one["quantity"] = scale * random.choice([0.5, 1, 2.5, 10, 40])
    one["order"] = random.choice(["market", "market", "market", "limit", "limit", "stop", "stop_limit"])
    if one["order"] != "market":
        one["price"] = _level(random)
    if one["order"] == "stop_limit":
        one["trigger"] = _level(random)
    if one["order"] == "limit":
        one |= _known(post_only=_some(random, value=True))
    one |= _known(
        ttl_bars=_some(random, random.randint(1, 3)),
        time_stop_bars=_some(random, random.randint(1, 3), share=0.15),
        session_close=_some(random, value=True, share=0.15),
        **_exits(random),
    )
    if random.random() < 0.15:
        one["client_order_id"] = random.choice("abc")
        entered.append(one["client_order_id"])
    return one


def _level(random):
    return random.randint(170, 230) / 2


def _distance(random):
    return random.choice([{"pct": 0.02}, {"pct": 0.05}, {"atr": 1.5, "length": random.choice([1, 2, 3])}])


def _priced_targets(random):
    return [
        {"price": _level(random), "share": share} for share in random.choice([[], [1.0], [0.5], [0.3, 0.7], [0.2, 0.3]])
    ]


def _exits(random):
    stop = random.choice([None, None, _level(random), _distance(random), _distance(random)])
    trail = _some(random, _distance(random), share=0.2)
    targets = _some(random, _priced_targets(random), share=0.2)
    if (stop or trail) and random.random() < 0.5:
        ladders = [[(1.0, 1.0)], [(0.5, 0.5), (1.0, 0.5)], [(0.5, 0.3), (1.0, 0.3)], [(0.5, 0.02), (2.0, 0.5)]]
        targets = [{"r": r, "share": share} for r, share in random.choice(ladders)]
        if random.random() < 0.3:
            targets = "default"
    known = _known(stop=stop, trail=trail, targets=targets or None)
    if targets:
        n = 2 if targets == "default" else len(targets)
        known |= _known(
            break_even_after=_some(random, random.randint(1, n)),
            runner_trail=_some(random, _distance(random)),
        )
    return known


def _size(random):
    return random.choice(
        [
            {"model": "units", "quantity": random.choice([1, 3.3])},
            {"model": "notional", "notional": random.choice([100, 2_000])},
            {"model": "equity_share", "share": random.choice([0.1, 0.5, 1.0])},
            {"model": "risk_per_trade", "risk": random.choice([0.01, 0.05]), "cap": random.choice([0.2, 1.0, 3.0])},
            {
                "model": "volatility_target",
                "annual": 0.2,
                "days": random.choice([2, 3]),
                "periods_per_year": 365,
                "cap": 1.0,
            },
            {"model": "kelly", "fraction": 0.5, "cap": random.choice([0.1, 1.0]), "min_trades": random.choice([1, 2])},
            {"model": "inverse_volatility", "days": random.choice([2, 3])},
            {"model": "risk_parity", "days": random.choice([2, 3])},
        ]
    )
