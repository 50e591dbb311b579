"""Capital in sleeves: an account for each instrument, with an equal part of the cash.

1. Every instrument is simulated alone: its sizes, guards and cash know nothing of the others.
2. Curves add up bar by bar.
3. Records are laid together and numbered anew: orders by the bar they were decided on, fills by theirs, trades by
   that of their entry; on the same bar by instrument. So ids are sequential, as those of one account are.

What a record says of equity is that of its own sleeve.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.simulator.inputs import Decisions, Instrument, Market, Rules
from engine.simulator.simulation import Simulation, Told, simulate_each

Records = NDArray[Any]


def simulate_sleeves(
    market: Market, decisions: Decisions, instruments: Sequence[Instrument], rules: Rules
) -> Simulation:
    """As `simulate`, with `rules.cash` divided between the instruments.

    Raises:
        As `simulate`; OutOfBoundsError too where a part of the cash is too little to mean anything.
    """
    own = rules._replace(cash=rules.cash / len(instruments))
    alone = simulate_each(
        [
            Told(_market_of(i, market), _decisions_of(i, decisions), [one], _rules_of(i, own))
            for i, one in enumerate(instruments)
        ]
    )
    return _together(alone, rules.cash)


def _column(i: int, values: Any) -> Any:
    return values[:, [i]] if isinstance(values, np.ndarray) and values.ndim == 2 else values


def _market_of(i: int, market: Market) -> Market:
    columns = {name: _column(i, values) for name, values in market._asdict().items()}
    columns["funding"] = [one._replace(instrument=0) for one in market.funding if one.instrument == i]
    if market.finer is not None:
        columns["finer"] = market.finer._replace(starts=market.finer.starts[:, [i]], ends=market.finer.ends[:, [i]])
    return Market(**columns)


def _decisions_of(i: int, decisions: Decisions) -> Decisions:
    columns = {name: _column(i, values) for name, values in decisions._asdict().items()}
    columns["listed"] = [one._replace(instrument=0) for one in decisions.listed if one.instrument == i]
    return Decisions(**columns)


def _rules_of(i: int, rules: Rules) -> Rules:
    return rules._replace(slippage_of=rules.slippage_of[i : i + 1])


def _together(alone: Sequence[Simulation], cash: float) -> Simulation:
    equity, money = (np.sum([getattr(one, name) for one in alone], axis=0) for name in ("equity", "cash"))
    orders = _numbered([one.orders for one in alone], by="decided_on")
    trades = _numbered([np.concatenate([one.trades, one.positions]) for one in alone], by="entry_bar")
    fills = _numbered([one.fills for one in alone], by="bar")
    _renumber(fills, "order", orders)
    _renumber(fills, "trade", trades)
    _renumber(trades, "entry_order", orders)
    closed = np.isin(_key(trades["instrument"], trades["_was"]), _keys([one.trades for one in alone]))
    peak = np.maximum(np.maximum.accumulate(equity), cash) if equity.size else equity
    return Simulation(
        equity=equity,
        cash=money,
        gross_exposure=_exposure(alone, equity),
        drawdown=1.0 - equity / peak,
        fills=_plain(fills, alone[0].fills),
        trades=_plain(trades[closed], alone[0].trades),
        orders=_plain(orders, alone[0].orders),
        positions=_plain(trades[~closed], alone[0].positions),
        ambiguous_trades=sum(one.ambiguous_trades for one in alone),
        warnings=tuple(dict.fromkeys(warning for one in alone for warning in one.warnings)),
    )


def _numbered(parts: Sequence[Records], *, by: str) -> Records:
    """All records in order with a new id each; `_was` is the one in its own sleeve."""
    dtype = np.dtype([*((name, parts[0].dtype[name]) for name in parts[0].dtype.names or ()), ("_was", np.int64)])
    records = np.zeros(sum(map(len, parts)), dtype)
    for name in parts[0].dtype.names or ():
        records[name] = np.concatenate([part[name] for part in parts])
    records["instrument"] = np.repeat(np.arange(len(parts)), [len(part) for part in parts])
    records["_was"] = records["id"]
    records = records[np.lexsort((records["id"], records["instrument"], records[by]))]
    records["id"] = np.arange(1, len(records) + 1)
    return records


def _key(instruments: NDArray[Any], ids: NDArray[Any]) -> NDArray[np.int64]:
    return np.asarray((np.asarray(instruments, dtype=np.int64) << 40) | ids)


def _keys(parts: Sequence[Records]) -> NDArray[np.int64]:
    return np.concatenate([_key(np.full(len(part), i), part["id"]) for i, part in enumerate(parts)])


def _renumber(records: Records, field: str, of: Records) -> None:
    """Let `field` name the new ids of `of`; 0, which names nothing, stays."""
    keys = _key(of["instrument"], of["_was"])
    order = np.argsort(keys)
    named = np.flatnonzero(records[field] > 0)
    wanted = _key(records["instrument"], records[field])[named]
    records[field][named] = of["id"][order[np.searchsorted(keys[order], wanted)]]


def _plain(records: Records, like: Records) -> Records:
    plain = np.zeros(len(records), like.dtype)
    for name in like.dtype.names or ():
        plain[name] = records[name]
    return plain


def _exposure(alone: Sequence[Simulation], equity: NDArray[np.float64]) -> NDArray[np.float64]:
    """Of the whole; inf where a sleeve has no equity left to measure its own by."""
    with np.errstate(invalid="ignore", divide="ignore"):
        gross = sum(np.where(np.isfinite(one.gross_exposure), one.gross_exposure * one.equity, np.inf) for one in alone)
        return np.where(gross == 0.0, 0.0, np.where(equity > 0.0, gross / equity, np.inf))
