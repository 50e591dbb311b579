"""Why a trade is what it is: three answers, told from its records alone.

1. Why entered: what was said on which close, and what was known there.
2. Why this size: the sizer, what it saw, what rounding left of it, and the guards that looked at it.
3. Why this route: the order and its fills, what each cost against its reference price, the exits that stood, and which
   of them ended it.

An order that was refused has the same answers, as far as it came.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from engine.scorer import Components

Row = Mapping[str, Any]
_SIZED_BY = {
    "units": "{quantity} units, whatever the equity",
    "notional": "{notional} in money / the price",
    "equity_share": "equity x {share} / the price",
    "risk_per_trade": "equity x {risk} / the distance to the stop, at most {cap} x equity / the price",
    "kelly": "equity x {fraction} of Kelly's stake from the closed trades, at most {cap} x equity / the price",
    "volatility_target": "equity x {annual} / the instrument's yearly deviation, at most {cap} x equity / the price",
    "inverse_volatility": "equity x the instrument's share by 1 / its deviation over {days} sessions / the price",
    "risk_parity": "equity x the instrument's share of equal risk over {days} sessions / the price",
}


def explained(
    plan: Row,
    order: Row,
    *,
    trade: Row | None,
    fills: Sequence[Row],
    protection: Sequence[Row],
    candidates: Sequence[Row] = (),
) -> dict[str, Any]:
    """The three answers to one entry order.

    Args:
        plan: the document that the run was made with (table `plans`).
        order: the entry's row of `orders`.
        trade: what became of it, of `trades` or `open_positions`; None where nothing filled.
        fills: those of the trade, in order.
        protection: the rows of `orders` that protected it.
        candidates: what the strategy's gate was asked on that close, rows of `candidates`.
    """
    return {
        "entered": {**_entered(plan, order, trade), "candidates": [_scored(one) for one in candidates]},
        "size": _size(plan, order),
        "route": _route(plan, order, trade, fills, protection),
    }


def _entered(plan: Row, order: Row, trade: Row | None) -> dict[str, Any]:
    held = trade or {}
    return {
        "instrument": order["instrument"],
        "signal": {"buy": "long", "sell": "short"}.get(order["side"] or "", "both sides at once"),
        "params": plan["params"],
        "setup": order["setup"],
        "bias": order["bias"],
        "strength": order["strength"],
        "confidence": order["confidence"],
        "regime": order["regime"],
        "regime_confidence": order["regime_confidence"],
        "decided_on": order["decided_on"],
        "decided_ts": order["decided_ts"],
        "known": {
            "close": order["price_seen"],
            "equity": order["equity_seen"],
            "heat": order["heat_seen"],
            "drawdown": held.get("drawdown_at_entry"),
            "volatility": held.get("volatility_at_entry"),
            "volume": held.get("volume_at_entry"),
        },
    }


def _scored(candidate: Row) -> dict[str, Any]:
    """A candidate, and beside each component's value what it has in the score."""
    said = {name: candidate[name] for name in ("setup", "side", "at_least", "score", "bias", "refused")}
    parts = {
        name: {"value": candidate[name], "share": share}
        for name, share in zip(Components._fields, candidate["weights"], strict=True)
    }
    return {**said, "components": parts}


def _size(plan: Row, order: Row) -> dict[str, Any]:
    size, terms = plan["size"], plan["instruments"].get(order["instrument"], {})
    refused = order["reason"] if order["status"] == "rejected" else None
    return {
        "model": size["model"],
        "formula": _SIZED_BY[size["model"]].format(**size),
        "equity": order["equity_seen"],
        "price": order["price_seen"],
        "stop_distance": order["distance_seen"],
        "wanted": order["requested"],
        "lot": terms.get("lot"),
        "min_notional": terms.get("min_notional", 0.0),
        "quantity": order["quantity"],
        "guards": {name: limit for name, limit in plan["risk"].items() if limit is not None},
        "refused": refused,
    }


def _route(plan: Row, order: Row, trade: Row | None, fills: Sequence[Row], protection: Sequence[Row]) -> dict[str, Any]:
    return {
        "order": {name: order[name] for name in ("order", "type", "price", "trigger", "post_only", "status", "reason")},
        "path": plan["path"],
        "magnify": plan.get("magnify"),
        "fills": [dict(fill) for fill in fills],
        "protection": [
            {name: one[name] for name in ("order", "role", "type", "price", "quantity", "filled", "status", "reason")}
            for one in protection
        ],
        "result": None if trade is None else dict(trade),
    }
