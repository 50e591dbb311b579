"""`gauntlet explain STRATEGY@VERSION/t-000012`: why a trade was entered, why in this size, why by this route.

The address is a strategy version and the id of a trade, or of the order that wanted to enter one and was refused:
`sma_cross@1.0.0/o-000031`. A walk-forward window stands between the two: `sma_cross@1.0.0/w003/t-000002`. Everything is
read from the warehouse, as the last night left it; nothing is computed again. Exit 0, or 2 where nothing has this address.
"""

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

Row = Mapping[str, Any]
_BACKTEST = "backtest"
_ADDRESS = re.compile(r"(?P<strategy>[^/@]+@[^/]+)(?:/(?P<scope>backtest|w\d{3,}))?/(?P<id>[to]-\d{6,})")


class Address(NamedTuple):
    strategy: str
    scope: str
    id: str

    @property
    def of(self) -> dict[str, str]:
        return {"strategy": self.strategy, "scope": self.scope}


def explain(
    address: Annotated[
        str,
        typer.Argument(
            help="STRATEGY@VERSION/t-000012 for a trade of the backtest, STRATEGY@VERSION/w003/t-000012 for one of a "
            "window, o-000031 for an order that was refused.",
            metavar="ADDRESS",
        ),
    ],
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of sentences.")] = False,
) -> None:
    """Why was it entered, why in this size, why by this route? From the records of the last night."""
    wanted = _parsed(address)
    with _warehouse() as connection:
        document = {**wanted._asdict(), **_explained(connection, wanted)}
    if as_json:
        typer.echo(json.dumps(document, indent=2, default=_written))
    else:
        typer.echo("\n".join(_told(document)))


def _parsed(address: str) -> Address:
    from resources.errors import UnreadableAddressError

    found = _ADDRESS.fullmatch(address)
    if found is None:
        raise UnreadableAddressError(address)
    return Address(found["strategy"], found["scope"] or _BACKTEST, found["id"])


def _warehouse() -> "AbstractContextManager[DuckDBPyConnection]":
    from resources.settings import settings
    from resources.warehouse import Warehouse

    return Warehouse(path=str(settings().warehouse)).reader()


def _explained(connection: "DuckDBPyConnection", wanted: Address) -> dict[str, Any]:
    from engine.explanation import explained

    trade = _trade(connection, wanted)
    number = trade["entry_order"] if trade else wanted.id
    orders = {row["order"]: row for row in _rows(connection, "orders", wanted)}
    if number not in orders:
        raise _unknown(connection, wanted)
    order = orders[number]
    fills = [row for row in _rows(connection, "fills", wanted) if trade and row["trade"] == trade["trade"]]
    protection = [
        row
        for row in orders.values()
        if trade
        and row["role"] in ("protective_stop", "target")
        and (row["instrument"], row["decided_on"]) == (order["instrument"], order["decided_on"])
    ]
    side = {"buy": "long", "sell": "short"}.get(order["side"])
    candidates = [
        row
        for row in _rows(
            connection,
            "candidates",
            wanted,
            "AND instrument = $instrument AND ts = $ts",
            instrument=order["instrument"],
            ts=order["decided_ts"],
        )
        if row["side"] == side
    ]
    (plan,) = (json.loads(row["document"]) for row in _rows(connection, "plans", wanted))
    return explained(plan, order, trade=trade, fills=fills, protection=protection, candidates=candidates)


def _trade(connection: "DuckDBPyConnection", wanted: Address) -> Row | None:
    """The trade of that id, closed or still open; or the one that an order of that id entered."""
    column = "trade" if wanted.id.startswith("t-") else "entry_order"
    for table in ("trades", "open_positions"):
        for row in _rows(connection, table, wanted, f'AND "{column}" = $id', id=wanted.id):
            return row
    if wanted.id.startswith("t-"):
        raise _unknown(connection, wanted)
    return None


def _rows(
    connection: "DuckDBPyConnection", table: str, wanted: Address, more: str = "", **parameters: str | datetime
) -> Iterator[Row]:
    from quality.tables import TABLES
    from resources.warehouse import ask_rows

    question = f'SELECT * FROM "{table}" WHERE strategy = $strategy AND scope = $scope {more} ORDER BY '  # noqa: S608 - our own names
    question += ", ".join(f'"{name}"' for name in TABLES[table].key)
    return ask_rows(connection, question, {**wanted.of, **parameters})


def _unknown(connection: "DuckDBPyConnection", wanted: Address) -> Exception:
    from resources.errors import UnknownRecordError
    from resources.warehouse import ask_rows

    known = {row["strategy"] for row in ask_rows(connection, "SELECT DISTINCT strategy FROM plans", {})}
    scopes = [
        row["scope"]
        for row in ask_rows(
            connection,
            "SELECT scope FROM plans WHERE strategy = $strategy ORDER BY scope",
            {"strategy": wanted.strategy},
        )
    ]
    table, column = ("trades", "trade") if wanted.id.startswith("t-") else ("orders", "order")
    ids = [row[column] for row in _rows(connection, table, wanted)]
    return UnknownRecordError(*wanted, strategies=known, scopes=scopes, ids=ids)


# Sentences


def _told(document: Row) -> Iterator[str]:
    entered, size, route = document["entered"], document["size"], document["route"]
    yield f"{document['strategy']}, {document['scope']}: {document['id']}"
    yield ""
    yield from _why_entered(entered)
    yield ""
    yield from _why_this_size(size)
    yield ""
    yield from _why_this_route(route)


def _why_entered(entered: Row) -> Iterator[str]:
    yield "Why entered"
    params = ", ".join(f"{name} {_number(value)}" for name, value in entered["params"].items()) or "without parameters"
    yield f"  The signal ({params}) said {entered['signal']} on {entered['instrument']}"
    yield f"  on the close of bar {entered['decided_on']}, which opened at {_moment(entered['decided_ts'])}; it acts from the next bar."
    said = {name: entered[name] for name in ("setup", "bias", "strength", "confidence")}
    yield f"  {_listed(said, absent='The strategy says no setup, bias, strength or confidence.')}"
    market = {name: entered[name] for name in ("regime", "regime_confidence")}
    yield f"  {_listed(market, absent='No regime was known.')}"
    yield f"  Known then: {_listed(entered['known'], absent='nothing, as it was refused before it was looked at.')}"
    for one in entered["candidates"]:
        parts = " + ".join(
            f"{name} {_number(part['value'])} x {part['share']:.2g}" for name, part in one["components"].items()
        )
        verdict = f"refused: {', '.join(one['refused'])}" if one["refused"] else "passed"
        yield f"  {one['setup']} {verdict}; score {_number(one['score'])} of at least {_number(one['at_least'])} = {parts}; bias {_number(one['bias'])}."


def _why_this_size(size: Row) -> Iterator[str]:
    yield "Why this size"
    yield f"  {size['model']}: {size['formula']}."
    seen = {name: size[name] for name in ("equity", "price", "stop_distance")}
    yield f"  Seen on the close: {_listed(seen, absent='nothing, as it was refused before it was sized.')}"
    wanted, quantity = size["wanted"], size["quantity"]
    if wanted is not None:
        yield f"  Wanted {_number(wanted)}, floored to the lot of {_number(size['lot'])}: {_number(quantity)}."
    guards = ", ".join(f"{name} {_limit(limit)}" for name, limit in size["guards"].items()) or "none"
    verdict = f"refused it: {size['refused']}" if size["refused"] else "let it pass" if size["guards"] else "are asked"
    yield f"  Guards: {guards}; {'the rules' if size['refused'] else 'they' if size['guards'] else 'none'} {verdict}."


def _why_this_route(route: Row) -> Iterator[str]:
    yield "Why this route"
    order = route["order"]
    finer = f", inside the bar by {route['magnify']} bars" if route["magnify"] else ""
    yield f"  {order['order']}: {order['type']}, {order['status']}{_because(order['reason'])}; the {route['path']} path{finer}."
    for fill in route["fills"]:
        costs = ", ".join(
            f"{name} {_number(fill[name])}" for name in ("fee", "spread", "slippage", "impact") if fill[name]
        )
        yield (
            f"  {fill['fill']} bar {fill['bar']} ({_moment(fill['ts'])}): {fill['side']} {_number(fill['quantity'])} at "
            f"{_number(fill['price'])}, reference {_number(fill['reference'])}, {fill['liquidity']}, {fill['why']}"
            f"{'; ' + costs if costs else ''}{'; ambiguous' if fill['ambiguous'] else ''}"
        )
    for one in route["protection"]:
        yield (
            f"  {one['order']} {one['role'].replace('_', ' ')} at {_number(one['price'])}: {one['status']}"
            f"{_because(one['reason'])}"
        )
    from engine.attribution import SIGNS

    result = route["result"]
    if result is None:
        yield "  Nothing filled."
        return
    parts = "".join(
        f" {'+' if SIGNS[name] > 0 else '-'} {name} {_number(result[name])}" for name in SIGNS if result[name]
    )
    ended = f"left by {result['exit_reason']}" if "exit_reason" in result else "still open"
    certain = "; its result hangs on the path inside a bar" if result["ambiguous"] else ""
    yield f"  {result['trade']} {ended}: PnL {_number(result['pnl'])} = {parts.removeprefix(' + ')}{certain}."


def _because(reason: str | None) -> str:
    from pipelines.cli.bar_by_bar import REASONS

    return f" ({reason}: {REASONS[reason]})" if reason in REASONS else f" ({reason})" if reason else ""


def _listed(values: Row, *, absent: str) -> str:
    known = [f"{name.replace('_', ' ')} {_shown(value)}" for name, value in values.items() if value is not None]
    return ", ".join(known) + "." if known else absent


def _limit(limit: Any) -> str:
    return " ".join(f"{name} {value:g}" for name, value in limit.items()) if isinstance(limit, dict) else f"{limit:g}"


def _shown(value: float | str) -> str:
    return value if isinstance(value, str) else _number(value)


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:,.8g}"


def _moment(ts: datetime) -> str:
    return f"{ts:%Y-%m-%d %H:%M}Z"


def _written(value: Any) -> str:
    return f"{value:%Y-%m-%dT%H:%M:%SZ}" if isinstance(value, datetime) else str(value)
