"""A run of a strategy as a scenario: the document that has the same bars, rules and decisions, and so the same fills.

What a strategy says depends on what it holds, and a scenario's decisions do not; so they are read from the orders that
the run wrote: entries and closes by signals, refused ones too. What the simulator makes of itself (stops, targets, time
stops, session closes, the kill switch) is left out, as the replay has to make it again.

`differences` holds two answers to one document against each other: words and numbers of things exactly, money to 1e-9.
"""

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import numpy as np

from engine.simulator.inputs import Instrument, Market
from engine.simulator.simulation import Simulation
from engine.simulator.words import (
    CONFLICTING_SIGNAL,
    EMBARGOED_DATA,
    EXIT,
    FREE,
    LIMIT,
    NONE,
    REGIME_NOT_ALLOWED,
    SIGNAL,
)

Document = dict[str, Any]
NEAR: Final = 1e-9
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_TERMS = (
    *("tick", "lot", "min_notional", "kind", "shortable", "leverage", "maintenance_margin", "maintenance_amount"),
    *("extra_margin", "contract_size", "liquidation", "margin"),
)
_UNSEEN = (EMBARGOED_DATA, CONFLICTING_SIGNAL)  # refused before they were decisions a scenario knows
_RULES = ("limit_fill", "participation", "liquidate_on", "delisting_recovery")


def scenario_of(
    made_with: Mapping[str, Any],
    market: Market,
    simulation: Simulation,
    instruments: Sequence[Instrument],
    *,
    cash: float,
    sessions: Sequence[tuple[datetime, datetime]] = (),
) -> Document:
    """The scenario of a run of one account.

    Args:
        made_with: `timeframe`, `size`, `exits`, `risk`, `costs`, `order`, `regimes` and `path`, in the words of the files.
        market: without rates between currencies and without mark bars, which no document of the twin has.
        simulation: what it made of the strategy's decisions, on all of `market`.
        instruments: of one half-spread.
        cash: at the start.
        sessions: opens and closes, for calendars that are not round the clock.
    """
    costs = made_with["costs"]
    names = [one.id for one in instruments]
    document: Document = {
        "timeframe": made_with["timeframe"],
        "account": {"cash": cash},
        "instruments": {one.id: {name: getattr(one, name) for name in _TERMS} for one in instruments},
        "bars": {name: list(_bars(market, i)) for i, name in enumerate(names)},
        "costs": {
            "half_spread_bps": instruments[0].half_spread_bps,
            **{
                name: costs[name] for name in ("fees", "per_share", "slippage", "borrow_bps_per_day") if costs.get(name)
            },
        },
        "rules": {"path": made_with["path"], **{name: costs[name] for name in _RULES}},
        "risk": {name: limit for name, limit in made_with["risk"].items() if limit is not None},
        "actions": list(_actions(market, names)),
        "decisions": list(_decisions(made_with, simulation, names)),
    }
    if market.finer is not None:
        document["finer_bars"] = {name: list(_finer_bars(market, i)) for i, name in enumerate(names)}
    if sessions:
        document["sessions"] = [[_written(opens), _written(closes)] for opens, closes in sessions]
    return document


def differences(one: Any, other: Any, place: str = "") -> Iterator[str]:
    """Every place at which two answers are not the same, and what stands there."""
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        for key in one.keys() | other.keys():
            yield from differences(one.get(key), other.get(key), f"{place}.{key}" if place else str(key))
    elif isinstance(one, list) and isinstance(other, list):
        if len(one) != len(other):
            yield f"{place} has {len(one)} and {len(other)} entries"
        for k, pair in enumerate(zip(one, other, strict=False)):
            yield from differences(*pair, f"{place}[{k}]")
    elif not _alike(one, other):
        yield f"{place} is {one!r} and {other!r}"


def _alike(one: Any, other: Any) -> bool:
    numbers = all(isinstance(value, int | float) and not isinstance(value, bool) for value in (one, other))
    return bool(abs(one - other) <= NEAR * max(abs(one), abs(other), 10.0)) if numbers else one == other


def _bars(market: Market, i: int) -> Iterator[list[Any]]:
    for t in np.flatnonzero(~np.isnan(market.closes[:, i])):
        prices = (column[t, i] for column in (market.opens, market.highs, market.lows, market.closes))
        volume = np.nan if market.volumes is None else market.volumes[t, i]
        yield [_moment(market.ts[t]), *map(float, prices), None if np.isnan(volume) else float(volume)]


def _finer_bars(market: Market, i: int) -> Iterator[list[Any]]:
    """In time, evenly: only their order within a bar matters, and their times are not kept."""
    finer = market.finer
    assert finer is not None  # noqa: S101 - asked for where there are some
    for t in range(len(market.ts)):
        rows = range(int(finer.starts[t, i]), int(finer.ends[t, i]))
        length = market.known_at[t] - market.ts[t]
        for k, row in enumerate(rows):
            prices = (column[row] for column in (finer.opens, finer.highs, finer.lows, finer.closes))
            yield [_moment(market.ts[t] + length * k // len(rows)), *map(float, prices)]


def _actions(market: Market, names: Sequence[str]) -> Iterator[Document]:
    for what, values, quiet in (("split", market.splits, 1.0), ("dividend", market.dividends, 0.0)):
        for t, i in np.argwhere(values != quiet):
            yield {"bar": int(t), "instrument": names[i], what: float(values[t, i])}
    if market.delisted is not None:
        for t, i in np.argwhere(market.delisted):
            yield {"bar": int(t), "instrument": names[i], "delist": True}


def _decisions(made_with: Mapping[str, Any], simulation: Simulation, names: Sequence[str]) -> Iterator[Document]:
    orders = simulation.orders
    decided = (orders["role"] == FREE) | ((orders["role"] == EXIT) & (orders["why"] == SIGNAL))
    for order in orders[decided & ~np.isin(orders["reason"], _UNSEEN)]:
        on = {"bar": int(order["decided_on"]), "instrument": names[order["instrument"]]}
        if order["role"] == EXIT:
            yield {**on, "do": "close"} | ({} if order["everything"] else {"quantity": float(order["requested"])})
            continue
        yield {**on, "do": "cancel"}  # a signal takes back what still rests of the one before
        if order["reason"] == REGIME_NOT_ALLOWED:  # a scenario has no regimes
            continue
        yield {
            **on,
            "do": "buy" if order["side"] > 0 else "sell",
            **_sent(made_with, order),
            **_sized(made_with, order),
            **made_with["exits"],
        }


def _sent(made_with: Mapping[str, Any], order: Any) -> Document:
    """How the decision's order was sent."""
    if order["type"] != LIMIT:
        return {"order": "market"}
    told = made_with["order"]
    more = {name: told[name] for name in ("ttl_bars", "post_only") if told.get(name)}
    return {"order": "limit", "price": float(order["price"]), **more}


def _sized(made_with: Mapping[str, Any], order: Any) -> Document:
    """By the sizer; or as told, where a target said how much, or a regime made a size smaller."""
    scaled = made_with.get("regimes", {}).get("terms") is not None
    told = (scaled or order["size_model"] == NONE) and not np.isnan(order["requested"])
    return {"quantity": float(order["requested"])} if told else {"size": made_with.get("size")}


def _moment(micros: Any) -> str:
    return _written(_EPOCH + timedelta(microseconds=int(micros)))


def _written(moment: datetime) -> str:
    return moment.isoformat().replace("+00:00", "Z")
