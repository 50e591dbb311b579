"""A run as people read it: the contract's JSON, and frames with ids, times and names instead of numbers.

Ids are sequential (`f-000001`, `t-000001`, `o-000001`), so the same inputs give the same bytes. `ts` is the open of the
bar in which something happened; what happened inside the bar has no finer time.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from engine.simulator.inputs import Decisions, Instrument, Market
from engine.simulator.packing import client_ids
from engine.simulator.simulation import Simulation
from engine.simulator.words import (
    FREE,
    MONEY,
    NONE,
    ORDER_TYPES,
    REASONS,
    REJECTED,
    ROLES,
    SIZE_MODELS,
    STATUSES,
    WHY,
)

_SIDES = {1: "buy", -1: "sell", 0: None}
_DIRECTIONS = {1: "long", -1: "short"}
SAID: Mapping[str, type[pl.DataType]] = {
    "regime": pl.String,
    "regime_confidence": pl.Float64,
    "setup": pl.String,
    "bias": pl.Float64,
}
"""What was said of an entry that no run looks at, by the names and types of records."""


# The contract's answer


def answer(simulation: Simulation, instruments: Sequence[Instrument], decisions: Decisions) -> dict[str, Any]:
    """What `gauntlet simulate --json` prints."""
    names = [instrument.id for instrument in instruments]
    clients = {number: name for name, number in client_ids(decisions.listed).items()}
    return {
        "orders": [_order(row, names, clients) for row in simulation.orders],
        "fills": [_fill(row, names) for row in simulation.fills],
        "trades": [_trade(row, names) for row in simulation.trades],
        "open_positions": [_position(row, names) for row in simulation.positions],
        "equity": simulation.equity.tolist(),
        "ambiguous_trades": simulation.ambiguous_trades,
        "warnings": list(simulation.warnings),
    }


def _number(value: float) -> float | None:
    return None if np.isnan(value) else float(value)


def _order(row: Any, names: Sequence[str], clients: Mapping[int, str]) -> dict[str, Any]:
    return {
        "id": f"o-{row['id']:06d}",
        "client_order_id": clients.get(int(row["client"])),
        "decided_on": int(row["decided_on"]),
        "instrument": names[row["instrument"]],
        "side": _SIDES[int(row["side"])],
        "type": ORDER_TYPES[row["type"]],
        "requested": _number(row["requested"]),
        "quantity": _number(row["quantity"]),
        "filled": float(row["filled"]),
        "price": _number(row["price"]),
        "trigger": _number(row["trigger"]),
        "status": STATUSES[row["status"]],
        "reason": None if row["reason"] == NONE else REASONS[row["reason"]],
    }


def _fill(row: Any, names: Sequence[str]) -> dict[str, Any]:
    return {
        "id": f"f-{row['id']:06d}",
        "order": f"o-{row['order']:06d}" if row["order"] else None,
        "bar": int(row["bar"]),
        "instrument": names[row["instrument"]],
        "side": _SIDES[int(row["side"])],
        "quantity": float(row["quantity"]),
        "price": float(row["price"]),
        "liquidity": "maker" if row["maker"] else "taker",
        "fee": float(row["fee"]),
        "why": WHY[row["why"]],
        "ambiguous": bool(row["ambiguous"]),
    }


def _parts(row: Any) -> dict[str, float]:
    return {name: float(row[name]) for name in ("pnl", *MONEY)}


def _trade(row: Any, names: Sequence[str]) -> dict[str, Any]:
    return {
        "id": f"t-{row['id']:06d}",
        "instrument": names[row["instrument"]],
        "side": _DIRECTIONS[int(row["side"])],
        "entry_bar": int(row["entry_bar"]),
        "exit_bar": int(row["exit_bar"]),
        "quantity": float(row["quantity"]),
        "entry_price": float(row["entry_price"]),
        "exit_price": float(row["exit_price"]),
        "exit_reason": WHY[row["exit_reason"]],
        **_parts(row),
        "r": _number(row["r"]),
        "mae": float(row["mae"]),
        "mfe": float(row["mfe"]),
        "ambiguous": bool(row["ambiguous"]),
    }


def _position(row: Any, names: Sequence[str]) -> dict[str, Any]:
    return {
        "instrument": names[row["instrument"]],
        "side": _DIRECTIONS[int(row["side"])],
        "quantity": float(row["quantity"]),
        "entry_bar": int(row["entry_bar"]),
        "entry_price": float(row["entry_price"]),
        "mark": float(row["exit_price"]),
        **_parts(row),
        "ambiguous": bool(row["ambiguous"]),
    }


# Frames


def fills_frame(simulation: Simulation, market: Market, instruments: Sequence[Instrument]) -> pl.DataFrame:
    """One row per fill: `id order trade bar ts instrument side quantity price reference fee spread slippage impact why
    liquidity ambiguous`; `order` is null for the cash paid for fractions of a lot after a split."""
    return _frame(simulation.fills).select(
        _id("f", "id"),
        _id("o", "order"),
        _id("t", "trade"),
        "bar",
        _time(market, "bar").alias("ts"),
        _instrument(instruments),
        _named("side", _SIDES),
        *("quantity", "price", "reference", "fee", "spread", "slippage", "impact"),
        _named("why", dict(enumerate(WHY))),
        pl.when("maker").then(pl.lit("maker")).otherwise(pl.lit("taker")).alias("liquidity"),
        "ambiguous",
    )


def trades_frame(
    simulation: Simulation,
    market: Market,
    instruments: Sequence[Instrument],
    decisions: Decisions | None = None,
) -> pl.DataFrame:
    """One row per closed trade, with its parts, excursions and what was known at its entry; `r` is null where there
    was no first risk, `regime regime_confidence setup bias` where `decisions` say none."""
    said = _said(simulation.orders, decisions).rename({"id": "entry_order"})
    trades = _frame(simulation.trades).drop("regime").join(said, on="entry_order", how="left", maintain_order="left")
    return trades.select(
        _id("t", "id"),
        _instrument(instruments),
        _named("side", _DIRECTIONS),
        *("entry_bar", "exit_bar"),
        _time(market, "entry_bar").alias("entry_ts"),
        _time(market, "exit_bar").alias("exit_ts"),
        *("quantity", "entry_price", "exit_price", "pnl", *MONEY),
        pl.col("r").fill_nan(None),
        _named("exit_reason", dict(enumerate(WHY))),
        "ambiguous",
        *("mae", "mfe", "pnl_pct"),
        (pl.col("exit_bar") - pl.col("entry_bar")).alias("hold_bars"),
        _id("o", "entry_order"),
        pl.col(
            *(
                "strength",
                "confidence",
                "volatility_at_entry",
                "volume_at_entry",
                "drawdown_at_entry",
            ),
            *(
                "fill_quality",
                "equity_before",
                "equity_after",
                "position_before",
                "position_after",
            ),
        ).fill_nan(None),
        pl.col("heat").alias("portfolio_heat"),
        "tier",
        *SAID,
    )


def positions_frame(simulation: Simulation, market: Market, instruments: Sequence[Instrument]) -> pl.DataFrame:
    """One row per position that is still open at the end, `mark` being the last close, its parts those so far."""
    return _frame(simulation.positions).select(
        _id("t", "id"),
        _instrument(instruments),
        _named("side", _DIRECTIONS),
        _id("o", "entry_order"),
        "entry_bar",
        _time(market, "entry_bar").alias("entry_ts"),
        *("quantity", "entry_price"),
        pl.col("exit_price").alias("mark"),
        *("pnl", *MONEY),
        "ambiguous",
    )


def orders_frame(
    simulation: Simulation,
    market: Market,
    instruments: Sequence[Instrument],
    decisions: Decisions | None = None,
) -> pl.DataFrame:
    """One row per order, with what answers why it was entered, why in this size and why by this route."""
    said = _said(simulation.orders, decisions)
    orders = _frame(simulation.orders).drop("regime").join(said, on="id", how="left", maintain_order="left")
    return orders.select(
        _id("o", "id"),
        "decided_on",
        _time(market, "decided_on").alias("decided_ts"),
        pl.when(pl.col("closed_on") >= 0).then("closed_on").alias("closed_on"),
        _instrument(instruments),
        _named("side", _SIDES),
        _named("type", dict(enumerate(ORDER_TYPES))),
        _named("role", dict(enumerate(ROLES))),
        pl.col("requested", "quantity", "filled", "price", "trigger").fill_nan(None),
        "post_only",
        _named("status", dict(enumerate(STATUSES))),
        _named("reason", {NONE: None} | dict(enumerate(REASONS))),
        _named("size_model", {NONE: None} | dict(enumerate(SIZE_MODELS))),
        pl.col(
            *("size_amount", "equity_seen", "price_seen", "distance_seen", "heat_seen"),
            *("strength", "confidence"),
        ).fill_nan(None),
        *SAID,
    )


def rejections_frame(simulation: Simulation, market: Market, instruments: Sequence[Instrument]) -> pl.DataFrame:
    """One row per order refused, or withdrawn because its position was gone: `order bar ts instrument side quantity
    reason`; `quantity` is null where it had not been sized, `side` where both sides were asked for."""
    return (
        _frame(simulation.rejections)
        .rename({"id": "order", "closed_on": "bar"})
        .select(
            _id("o", "order"),
            "bar",
            _time(market, "bar").alias("ts"),
            _instrument(instruments),
            _named("side", _SIDES),
            pl.col("quantity").fill_nan(None),
            _named("reason", dict(enumerate(REASONS))),
        )
    )


def metrics_frame(simulation: Simulation, market: Market, instruments: Sequence[Instrument]) -> pl.DataFrame:
    """One row per bar: `bar ts orders filled_orders fill_ratio resting rejected expired cancelled participation` and one
    column `rejected_<reason>` per reason seen.

    `fill_ratio` is the share of orders ended in this bar that had filled; `participation` the largest share of an
    instrument's volume taken in this bar; both null where there is nothing to divide by.
    """
    orders, n_bars = simulation.orders, len(market.ts)
    ended = orders[orders["closed_on"] >= 0]
    columns: dict[str, NDArray[Any]] = {
        "orders": np.bincount(orders["decided_on"], minlength=n_bars),
        "resting": _resting(orders, n_bars),
    }
    for status in (2, 3, 4, 5):
        mine = ended[ended["status"] == status]
        columns[STATUSES[status]] = np.bincount(mine["closed_on"], minlength=n_bars)
    for reason in np.unique(ended["reason"][ended["status"] == REJECTED]):
        mine = ended[(ended["status"] == REJECTED) & (ended["reason"] == reason)]
        columns[f"rejected_{REASONS[reason]}"] = np.bincount(mine["closed_on"], minlength=n_bars)
    frame = pl.DataFrame({"bar": np.arange(n_bars), "ts": market.ts, **columns})
    n_ended = sum(pl.col(STATUSES[status]) for status in (2, 3, 4, 5))
    return frame.with_columns(
        pl.col("ts").cast(pl.Datetime("us", "UTC")),
        fill_ratio=pl.when(n_ended > 0).then(pl.col("filled") / n_ended),
        participation=pl.Series(_participation(simulation, market, instruments)).fill_nan(None),
    )


def _resting(orders: NDArray[Any], n_bars: int) -> NDArray[np.int64]:
    """Orders alive at the close of each bar."""
    ends = np.where(orders["closed_on"] >= 0, orders["closed_on"], n_bars)
    change = np.bincount(orders["decided_on"], minlength=n_bars + 1) - np.bincount(ends, minlength=n_bars + 1)
    return np.asarray(np.cumsum(change)[:n_bars])


def _participation(simulation: Simulation, market: Market, instruments: Sequence[Instrument]) -> NDArray[np.float64]:
    taken = np.zeros(market.closes.shape)
    fills = simulation.fills
    sizes = np.array([instrument.contract_size for instrument in instruments])
    np.add.at(
        taken,
        (fills["bar"], fills["instrument"]),
        fills["quantity"] * sizes[fills["instrument"]],
    )
    if market.volumes is None:
        return np.full(len(taken), np.nan)
    shares = np.divide(
        taken,
        market.volumes,
        out=np.full(taken.shape, np.nan),
        where=market.volumes > 0,
    )
    known = ~np.isnan(shares).all(axis=1)
    out = np.full(len(taken), np.nan)
    out[known] = np.nanmax(shares[known], axis=1)
    return out


def _said(orders: NDArray[Any], decisions: Decisions | None) -> pl.DataFrame:
    """`id` and what was said, of every order that would enter something."""
    entries = orders[orders["role"] == FREE]
    on = (entries["decided_on"], entries["instrument"])
    columns: dict[str, Any] = {name: pl.Series([None] * len(entries), dtype=dtype) for name, dtype in SAID.items()}
    if decisions is not None:
        columns |= {
            "regime": _names_of(decisions.regimes, decisions.regime_names, on),
            "regime_confidence": _numbers_of(decisions.regime_confidences, on),
            "setup": _names_of(decisions.setups, decisions.setup_names, on),
            "bias": _numbers_of(decisions.biases, on),
        }
    return pl.DataFrame({"id": np.ascontiguousarray(entries["id"]), **columns}, schema_overrides=SAID)


def _names_of(numbers: NDArray[Any] | None, names: Sequence[str], on: Any) -> pl.Series:
    places = np.full(len(on[0]), NONE) if numbers is None else np.nan_to_num(numbers[on], nan=NONE).astype(np.int64)
    return pl.Series(places).replace_strict(dict(enumerate(names)), default=None, return_dtype=pl.String)


def _numbers_of(values: NDArray[Any] | None, on: Any) -> pl.Series:
    return pl.Series(np.full(len(on[0]), np.nan) if values is None else values[on]).fill_nan(None)


def _frame(records: NDArray[Any]) -> pl.DataFrame:
    return pl.DataFrame(
        {name: np.ascontiguousarray(records[name]) for name in records.dtype.names or () if name[0] != "_"}
    )


def _id(prefix: str, column: str) -> pl.Expr:
    numbered = pl.lit(f"{prefix}-") + pl.col(column).cast(pl.String).str.zfill(6)
    return pl.when(pl.col(column) > 0).then(numbered).alias(column)


def _time(market: Market, bar: str) -> pl.Expr:
    times = pl.Series(market.ts).cast(pl.Datetime("us", "UTC"))
    return pl.lit(times).gather(pl.col(bar))


def _instrument(instruments: Sequence[Instrument]) -> pl.Expr:
    return _named("instrument", dict(enumerate(instrument.id for instrument in instruments)))


def _named(column: str, names: Mapping[int, str | None]) -> pl.Expr:
    return pl.col(column).replace_strict(names, return_dtype=pl.String)
