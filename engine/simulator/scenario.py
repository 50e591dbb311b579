"""A scenario document, read and found valid elsewhere, as inputs of a run."""

from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, time
from typing import Any, NamedTuple

import numpy as np

from engine.costs import FeePeriod, FeeTier
from engine.simulator.inputs import (
    DEFAULT_LADDER,
    Cooldown,
    Correlation,
    Decision,
    Decisions,
    Exits,
    Finer,
    Floats,
    Funding,
    Guards,
    Instrument,
    LossStreak,
    Market,
    PerShare,
    Rules,
    Size,
    Slippage,
    Stop,
    Target,
    Trail,
    listed,
)
from engine.simulator.records import answer
from engine.simulator.simulation import simulate

Document = Mapping[str, Any]
_UNITS_US = {
    "s": 1_000_000,
    "m": 60_000_000,
    "h": 3_600_000_000,
    "d": 86_400_000_000,
    "w": 7 * 86_400_000_000,
}
_AMOUNTS = {
    "units": "quantity",
    "notional": "notional",
    "equity_share": "share",
    "risk_per_trade": "risk",
    "kelly": "fraction",
    "volatility_target": "annual",
}


class Inputs(NamedTuple):
    market: Market
    decisions: Decisions
    instruments: tuple[Instrument, ...]
    rules: Rules


class _Clock(NamedTuple):
    ts: list[int]  # of the union of all bars
    bar_us: int
    rows: dict[int, int]  # of each time


def simulated(scenario: Document) -> dict[str, Any]:
    """The contract's answer to a scenario."""
    inputs = scenario_inputs(scenario)
    return answer(simulate(*inputs), inputs.instruments, inputs.decisions)


def scenario_inputs(scenario: Document) -> Inputs:
    """Bars are consecutive from the epoch unless `ts` stands first in a row; defaults are the contract's."""
    ids = list(scenario["instruments"])
    bar_us = int(scenario["timeframe"][:-1]) * _UNITS_US[scenario["timeframe"][-1]]
    rows = {name: _stamped(scenario["bars"][name], bar_us, width=5) for name in ids}
    times = sorted({ts for row in rows.values() for ts in row})
    clock = _Clock(times, bar_us, {ts: row for row, ts in enumerate(times)})
    market = _market(scenario, ids, rows, clock)
    decisions = [_decision(one, ids) for one in scenario.get("decisions") or ()]
    ordered = sorted(decisions, key=lambda decision: decision.bar)
    return Inputs(
        market,
        listed(ordered, shape=market.closes.shape),
        tuple(_instrument(name, scenario) for name in ids),
        _rules(scenario, ids),
    )


def micros(value: Any) -> int:
    """Since the epoch, of a time, a date or ISO text in UTC, or of microseconds already."""
    if isinstance(value, int):
        return value
    if isinstance(value, str):
        value = datetime.fromisoformat(value)
    if not isinstance(value, datetime):
        value = datetime.combine(value, time(), tzinfo=UTC)
    if value.tzinfo is None:
        value = value.replace(tzinfo=UTC)
    return round((value - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds() * 1_000_000)


def _stamped(rows: Sequence[Sequence[Any]], bar_us: int, *, width: int) -> dict[int, Sequence[Any]]:
    """By open; `width` numbers at most follow the time."""
    stamped: dict[int, Sequence[Any]] = {}
    for number, row in enumerate(rows):
        timed = len(row) > 0 and isinstance(row[0], (str, date))
        ts = micros(row[0]) if timed else number * bar_us
        stamped[ts] = list(row[1:] if timed else row)[:width]
    return stamped


def _column(
    rows: Mapping[str, Mapping[int, Sequence[Any]]],
    ids: Sequence[str],
    clock: _Clock,
    k: int,
) -> Floats:
    out = np.full((len(clock.ts), len(ids)), np.nan)
    for i, name in enumerate(ids):
        for ts, row in rows.get(name, {}).items():
            if ts in clock.rows and len(row) > k and row[k] is not None:
                out[clock.rows[ts], i] = row[k]
    return out


def _market(scenario: Document, ids: Sequence[str], rows: Any, clock: _Clock) -> Market:
    ts = np.array(clock.ts, dtype=np.int64)
    opens, highs, lows, closes, volumes = (_column(rows, ids, clock, k) for k in range(5))
    missing = np.isnan([opens, highs, lows, closes]).any(axis=0)  # a bar whose price is no number is missing
    for prices in (opens, highs, lows, closes):
        prices[missing] = np.nan
    splits, dividends, delisted = (
        np.ones(opens.shape),
        np.zeros(opens.shape),
        np.zeros(opens.shape, dtype=bool),
    )
    for action in scenario.get("actions") or ():
        if action["bar"] >= len(ts):
            continue
        at = action["bar"], ids.index(action["instrument"])
        if action.get("split") is not None:
            splits[at] *= action["split"]
        if action.get("dividend") is not None:
            dividends[at] += action["dividend"]
        delisted[at] |= bool(action.get("delist"))
    market = Market(
        ts=ts,
        known_at=ts + clock.bar_us,
        opens=opens,
        highs=highs,
        lows=lows,
        closes=closes,
        splits=splits,
        dividends=dividends,
        volumes=volumes,
        delisted=delisted,
        slots=(ts - ts[0]) // clock.bar_us if len(ts) else ts,
        funding=tuple(
            Funding(
                micros(one["at"]),
                ids.index(one["instrument"]),
                one["rate"],
                float("nan") if one.get("mark") is None else one["mark"],
            )
            for one in scenario.get("funding") or ()
        ),
        finer=_finer(scenario, ids, clock),
        conversions=_conversions(scenario, ids, clock),
    )
    if scenario.get("mark_bars"):
        marks = {name: _stamped(bars, clock.bar_us, width=4) for name, bars in scenario["mark_bars"].items()}
        mark_opens, mark_highs, mark_lows, mark_closes = (_column(marks, ids, clock, k) for k in range(4))
        market = market._replace(
            mark_opens=mark_opens,
            mark_highs=mark_highs,
            mark_lows=mark_lows,
            mark_closes=mark_closes,
        )
    if scenario.get("sessions"):
        market = _in_sessions(market, scenario["sessions"], clock.bar_us)
    return market


def _in_sessions(market: Market, sessions: Sequence[Sequence[Any]], bar_us: int) -> Market:
    """Numbered by a list of opens and closes; a daily bar is the session of its day, and is known at its close."""
    opens = np.array([micros(begin) for begin, _ in sessions])
    closes = np.array([micros(end) for _, end in sessions])
    daily = bar_us >= _UNITS_US["d"]
    begins = opens // _UNITS_US["d"] * _UNITS_US["d"] if daily else opens
    number = np.maximum(np.searchsorted(begins, market.ts, side="right") - 1, 0)
    known_at = closes[number] if daily else np.minimum(market.known_at, closes[number])
    due = begins if daily else np.concatenate([np.arange(*both, bar_us) for both in zip(opens, closes, strict=True)])
    return market._replace(
        known_at=known_at,
        sessions=number,
        session_ends=known_at >= closes[number],
        slots=np.searchsorted(due, market.ts, side="right"),
    )


def _finer(scenario: Document, ids: Sequence[str], clock: _Clock) -> Finer | None:
    given = scenario.get("finer_bars")
    if not given:
        return None
    starts, ends = (np.zeros((len(clock.ts), len(ids)), np.int64) for _ in range(2))
    prices: list[Sequence[float]] = []
    for i, name in enumerate(ids):
        rows = sorted((micros(row[0]), row[1:5]) for row in given.get(name) or ())
        times = np.array([ts for ts, _ in rows], dtype=np.int64)
        for t, ts in enumerate(clock.ts):
            starts[t, i] = len(prices) + np.searchsorted(times, ts, side="left")
            ends[t, i] = len(prices) + np.searchsorted(times, ts + clock.bar_us, side="left")
        prices += [row for _, row in rows]
    opens, highs, lows, closes = np.array(prices, dtype=np.float64).reshape(-1, 4).T
    return Finer(opens, highs, lows, closes, starts, ends)


def _conversions(scenario: Document, ids: Sequence[str], clock: _Clock) -> Floats | None:
    """What one unit of each instrument's money is worth in the account's; one number, or one per bar."""
    given = scenario.get("conversions")
    if not given:
        return None
    columns = [np.broadcast_to(np.asarray(given.get(name, 1.0), dtype=np.float64), len(clock.ts)) for name in ids]
    return np.column_stack(columns)


def _instrument(name: str, scenario: Document) -> Instrument:
    given = dict(scenario["instruments"][name] or {})
    given.pop("slippage", None)
    given.setdefault("margin", (scenario.get("account") or {}).get("margin", "isolated"))
    spread = given.pop("half_spread_bps", (scenario.get("costs") or {}).get("half_spread_bps", 0.0))
    usual = {"tick": 0.01, "lot": 0.001, "min_notional": 0.0}
    return Instrument(id=name, half_spread_bps=spread, **{**usual, **given})


def _rules(scenario: Document, ids: Sequence[str]) -> Rules:
    costs, rules = scenario.get("costs") or {}, scenario.get("rules") or {}
    own = [(scenario["instruments"][name] or {}).get("slippage") for name in ids]
    shared = Slippage(**(costs.get("slippage") or {}))
    participation = rules.get("participation", 1.0)
    return Rules(
        cash=float((scenario.get("account") or {}).get("cash", 10_000)),
        size=Size("units", 1.0),
        fees=_fees(costs),
        borrow_bps_per_day=costs.get("borrow_bps_per_day", 0.0),
        limit_fill=rules.get("limit_fill", "trade_through"),
        path=rules.get("path", "adverse"),
        slippage=shared,
        slippage_of=tuple(Slippage(**one) if one else shared for one in own) if any(own) else (),
        per_share=PerShare(**costs["per_share"]) if costs.get("per_share") else None,
        participation=float("nan") if participation is None else participation,
        liquidate_on_last=rules.get("liquidate_on", "mark") == "last",
        delisting_recovery=rules.get("delisting_recovery", 1.0),
        guards=guards_of(scenario.get("risk") or {}),
    )


def _fees(costs: Document) -> tuple[FeePeriod, ...]:
    if costs.get("fees"):
        periods = [
            FeePeriod(
                micros(period["from"]),
                tuple(FeeTier(**tier) for tier in period["tiers"]),
            )
            for period in costs["fees"]
        ]
        return tuple(sorted(periods))
    flat = FeeTier(0.0, costs.get("maker_bps", 0.0), costs.get("taker_bps", 0.0))
    return (FeePeriod(-(1 << 62), (flat,)),)


def guards_of(risk: Document) -> Guards:
    """Guards under the contract's keys."""
    given = dict(risk)
    for name, kind in (
        ("correlation_limit", Correlation),
        ("symbol_cooldown_active", Cooldown),
        ("loss_streak_cooldown", LossStreak),
    ):
        if given.get(name) is not None:
            given[name] = kind(**given[name])
    for name, key in (("kill_switch", "drawdown"), ("global_trade_spacing", "seconds")):
        if isinstance(given.get(name), Mapping):
            given[name] = given[name][key]
    return Guards(**given)


def size_of(given: Document) -> Size:
    """A sizer under the contract's keys."""
    rest = {key: value for key, value in given.items() if key not in ("model", *_AMOUNTS.values())}
    amount = given.get(_AMOUNTS.get(given["model"], ""), 1.0)
    return Size(given["model"], amount, **rest)


def exits_of(given: Document) -> Exits:
    """How a decision says its position is to be left."""
    targets = given.get("targets") or ()
    breaks_even = given.get("break_even_after")
    if targets == "default":
        targets, breaks_even = DEFAULT_LADDER, breaks_even or 1
    else:
        targets = tuple(Target(one.get("r"), one["share"], one.get("price")) for one in targets)
    return Exits(
        stop=_stop(given.get("stop")),
        targets=targets,
        trail=_trail(given.get("trail")),
        runner_trail=_trail(given.get("runner_trail")),
        break_even_after=breaks_even,
        time_stop_bars=given.get("time_stop_bars"),
        session_close=bool(given.get("session_close", False)),
    )


def _stop(given: Any) -> Stop | None:
    if given is None:
        return None
    if given == "signal":
        return Stop(distances=True)
    return Stop(**given) if isinstance(given, Mapping) else Stop(price=float(given))


def _trail(given: Document | None) -> Trail | None:
    return None if given is None else Trail(**given)


def _decision(given: Document, ids: Sequence[str]) -> Decision:
    return Decision(
        bar=given["bar"],
        instrument=ids.index(given["instrument"]),
        do=given["do"],
        quantity=given.get("quantity"),
        size=size_of(given["size"]) if given.get("size") else None,
        order=given.get("order", "market"),
        price=given.get("price"),
        trigger=given.get("trigger"),
        post_only=bool(given.get("post_only", False)),
        exits=exits_of(given),
        ttl_bars=given.get("ttl_bars"),
        client_order_id=given.get("client_order_id"),
    )
