"""A simulated scenario as a person reads it: bar by bar what happened and by which rule, then what came of it.

Within a bar the lines stand in the simulator's order: what is carried in (splits, dividends, funding),
fills with the protective orders they make active, what was decided on the close. An order's end
without a fill is told beside its decision, under the reason it gave. Nothing is computed here that
the answer does not say.
"""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from engine.bars import timeframe_us

Document = Mapping[str, Any]
_PARTS = ("fees", "spread", "slippage", "impact", "funding", "borrow", "dividends")
_PATHS = {"adverse": "that leaves less", "favourable": "that leaves more", "likely": "to the nearer extreme first"}
_LEAVES = {
    "time": "time stop: the open of entry bar + time_stop_bars",
    "signal": "close: the first open after the decision",
    "session_close": "session close: the close of the session's last bar",
    "window_end": "the end of the window: its last close",
    "kill_switch": "kill switch: everything leaves at the next open",
    "delisted": "delisted: the last close x delisting_recovery",
    "liquidation": "liquidation: at the bankruptcy price, whatever the volume",
}
_NAMES = {"stop": "stop", "trail": "trailing stop", "break_even": "stop at break-even"}
REASONS = {
    "max_position": "one instrument would be too large",
    "max_gross_exposure": "longs and shorts together would be a larger share of equity",
    "max_net_exposure": "longs less shorts would be a larger share of equity",
    "max_leverage": "what is held would be a larger multiple of equity",
    "slippage_exceeded": "half-spread, slippage and impact are above max_slippage_bps",
    "max_open_positions": "that many positions are open or about to be",
    "correlation_limit": "it moves too much as what is held",
    "max_daily_loss": "the day has lost as much already",
    "max_drawdown": "equity is that far below its peak",
    "kill_switch": "thrown, and it stays so until resumed",
    "global_trade_spacing": "too soon after the last entry",
    "symbol_cooldown_active": "too soon after a trade on this instrument",
    "max_trades_per_hour": "as many entries this hour as allowed",
    "max_trades_per_day": "as many entries this day as allowed",
    "loss_streak_cooldown": "a pause after losses in a row",
    "post_only_would_take": "marketable when new",
    "ttl_expired": "not filled within ttl_bars",
    "below_min_notional": "too small after rounding down",
    "insufficient_cash": "price or margin and costs are above what is available",
    "not_shortable": "the instrument cannot be sold short",
    "no_edge": "Kelly's stake is not above nothing",
    "cancelled": "taken back",
    "invalid_stop": "a stop is needed, on the losing side of the price",
    "no_position": "there was nothing to close",
    "position_closed": "its position was closed before",
    "regime_not_allowed": "not in this regime",
    "embargoed_data": "the data failed their SLA",
    "stale_bar": "the instrument has no bar here",
    "halted": "the instrument is not traded any more",
}


class Event(NamedTuple):
    what: str
    rule: str


class Story(NamedTuple):
    scenario: Document  # with nothing left out
    answer: Document
    stamps: Sequence[str]  # of every bar


def show(on: Console, scenario: Document, answer: Document, *, title: str | None = None) -> None:
    if title is not None:
        on.print(f"\n[bold]{escape(title)}[/bold]")
    stamps = sorted({row[0] for rows in scenario["bars"].values() for row in rows})
    on.print(_bars(Story(scenario, answer, stamps)))
    if answer["trades"]:
        on.print(_trades(answer["trades"]))
    for sentence in (
        *_resting(answer),
        *_ambiguity(scenario, answer),
        *(f"warning: {one}" for one in answer["warnings"]),
    ):
        on.print(escape(sentence), soft_wrap=True)


def _bars(story: Story) -> Table:
    scenario, answer, stamps = story
    dated, several = not stamps[0].startswith("1970-01-01T00:00:00Z"), len(scenario["bars"]) > 1
    shown = ("bar", *(["time"] if dated else []), *(["of"] if several else []))
    table = Table(
        *shown,
        "open",
        "high",
        "low",
        "close",
        "what happened",
        "by which rule",
        "equity",
        box=box.SIMPLE,
        pad_edge=False,
    )
    by_time = {name: {row[0]: row for row in rows} for name, rows in scenario["bars"].items()}
    for t, ts in enumerate(stamps):
        cells = []
        for name, rows in by_time.items():
            bar = rows.get(ts)
            if bar is None:
                continue
            first = (str(t), *([_clock(ts)] if dated else []), *([name] if several else []), *map(_number, bar[1:5]))
            lines = [*_idle(bar), *_events(story, name, t, bar)] or [Event("", "")]
            blank = ("",) * len(first)
            cells += [(first if i == 0 else blank) + event for i, event in enumerate(lines)]
        for i, row in enumerate(cells):
            equity = f"{answer['equity'][t]:,.10g}" if i == len(cells) - 1 else ""
            table.add_row(*(escape(cell) for cell in row), equity)
    return table


def _idle(bar: Sequence[Any]) -> Iterator[Event]:
    if bar[1] is None:
        yield Event("no bar", "orders wait, equity stays")
    elif bar[5] == 0:
        yield Event("no volume", "nothing fills")


def _events(story: Story, name: str, t: int, bar: Sequence[Any]) -> Iterator[Event]:
    answer = story.answer
    yield from _carried_in(story, name, t)
    orders = {order["id"]: order for order in answer["orders"]}
    for fill in answer["fills"]:
        if fill["bar"] == t and fill["instrument"] == name:
            order = orders.get(fill["order"])
            yield _filled(fill, order, bar, story)
            if _is_first(fill, answer):
                yield from _protected(fill, story)
    yield from _decided(story, name, t)


def _carried_in(story: Story, name: str, t: int) -> Iterator[Event]:
    scenario, answer, stamps = story
    for action in scenario["actions"]:
        if action["instrument"] != name or action["bar"] != t:
            continue
        if "split" in action:
            ratio = _number(action["split"])
            yield Event(f"split {ratio} for 1", f"before anything fills: quantities x {ratio}, prices / {ratio}")
        elif "dividend" in action:
            yield Event(
                f"dividend {_number(action['dividend'])}", "before anything fills, on what is held after a split"
            )
        else:
            yield Event("last bar", "delisted after this bar")
    held = any(one["entry_bar"] <= t <= one["exit_bar"] for one in answer["trades"] if one["instrument"] == name)
    held = held or any(one["entry_bar"] <= t for one in answer["open_positions"] if one["instrument"] == name)
    for row in scenario["funding"] if held else ():
        if row["instrument"] == name and _charged_on(row["at"], stamps, scenario["timeframe"]) == t:
            yield Event(
                f"funding {row['rate']:.4%} at {_clock(row['at'])}",
                "open at the instant: -quantity x mark x rate",
            )


def _charged_on(at: str, stamps: Sequence[str], timeframe: str) -> int:
    """The first bar that closes after an instant; -1: none does, and nobody pays."""
    step = timedelta(microseconds=timeframe_us(timeframe))
    return next((t for t, ts in enumerate(stamps) if _moment(at) < _moment(ts) + step), -1)


def _filled(fill: Document, order: Document | None, bar: Sequence[Any], story: Story) -> Event:
    words = "buys" if fill["side"] == "buy" else "sells"
    what = f"{words} {_number(fill['quantity'])} at {_number(fill['price'])}"
    what += f" ({fill['order']}, {fill['liquidity']})" if order else ""
    rule = _rule(fill, order, bar, story)
    return Event(what, f"{rule}; ambiguous" if fill["ambiguous"] else rule)


def _rule(fill: Document, order: Document | None, bar: Sequence[Any], story: Story) -> str:
    why = fill["why"]
    if order is None:
        return "split: a fraction of a lot is paid out at the open"
    if why in _LEAVES:
        return _LEAVES[why]
    if order["type"] == "stop" or why in _NAMES:
        return _stop_rule(fill, order, bar, story)
    if order["type"] == "market":
        again = any(one["order"] == order["id"] and one["id"] < fill["id"] for one in story.answer["fills"])
        return "market: the rest, at the next open" if again else "market: the first open after the decision"
    return _limit_rule(fill, order, touch=story.scenario["rules"]["limit_fill"] == "touch")


def _stop_rule(fill: Document, order: Document, bar: Sequence[Any], story: Story) -> str:
    beyond = bar[1] >= order["price"] if fill["side"] == "buy" else bar[1] <= order["price"]
    if fill["why"] == "break_even" and any(_moved_to_break_even(one, fill) for one in story.answer["fills"]):
        beyond = False  # it was not there yet when the bar opened
    name = _NAMES.get(fill["why"], "stop order")
    return f"{name}: the bar opened at or beyond it, so the open" if beyond else f"{name}: touched, its price, taker"


def _moved_to_break_even(one: Document, fill: Document) -> bool:
    same = (one["bar"], one["instrument"]) == (fill["bar"], fill["instrument"])
    return same and one["why"].startswith("target") and one["id"] < fill["id"]


def _limit_rule(fill: Document, order: Document, *, touch: bool) -> str:
    is_target = fill["why"].startswith("target")
    name = (fill["why"] if is_target else order["type"]).replace("_", " ")
    if fill["liquidity"] == "taker":
        return f"{name}: marketable when new, so it takes"
    if fill["price"] != order["price"]:
        return f"{name}: the bar opened beyond it, so the open"
    return f"{name}: {'touched' if touch else 'traded through'}, its price, maker"


def _is_first(fill: Document, answer: Document) -> bool:
    """Did this fill open its position?"""
    opened = [*answer["trades"], *answer["open_positions"]]
    same = [
        one["id"]
        for one in answer["fills"]
        if one["instrument"] == fill["instrument"] and one["bar"] == fill["bar"] and one["why"] == "entry"
    ]
    entry_bars = {one["entry_bar"] for one in opened if one["instrument"] == fill["instrument"]}
    return fill["bar"] in entry_bars and bool(same) and fill["id"] == same[0]


def _protected(fill: Document, story: Story) -> Iterator[Event]:
    answer = story.answer
    entry = next(order for order in answer["orders"] if order["id"] == fill["order"])
    decided = _of_decisions(story, entry["decided_on"])
    decision = story.scenario["decisions"][decided[entry["id"]]] if entry["id"] in decided else {}
    for order in answer["orders"]:
        ours = order["instrument"] == fill["instrument"] and order["decided_on"] == entry["decided_on"]
        if ours and order["id"] > entry["id"] and order["id"] not in decided and order["price"] is not None:
            yield Event(_protection(order, decision), "protective: active from its entry's fill")


def _protection(order: Document, decision: Document) -> str:
    if order["type"] == "limit":
        return f"target {_number(order['quantity'])} at {_number(order['price'])} ({order['id']})"
    last = "at" if decision.get("stop") == order["price"] else "last at"  # where it was before, no answer says
    return f"stop {last} {_number(order['price'])} ({order['id']})"


def _decided(story: Story, name: str, t: int) -> Iterator[Event]:
    scenario, answer, _ = story
    matched = _of_decisions(story, t)
    orders = {order["id"]: order for order in answer["orders"]}
    of_decision = {index: orders[number] for number, index in matched.items()}
    for index, one in enumerate(scenario["decisions"]):
        if one["bar"] != t or one["instrument"] != name:
            continue
        order = of_decision.get(index)
        if order is not None:
            yield Event(f"decides: {_asked(one, order)} ({order['id']})", _fate(order))
        elif one["do"] in ("buy", "sell", "close"):
            yield Event(
                f"decides: {one['do']}, again as {one['client_order_id']}", "a client_order_id used twice is one order"
            )
        elif one["do"] == "cancel":
            yield Event(f"decides: cancel {one.get('client_order_id', 'all that rests')}", "never protective orders")
        elif one["do"] == "move_stop":
            yield Event(f"decides: move the stop to {_number(one['stop'])}", "acts from the next bar")
        else:
            yield Event("decides: move the targets", "acts from the next bar")


def _of_decisions(story: Story, t: int) -> dict[str, int]:
    """The numbers of the decisions on the close of bar `t` by the ids of the orders that they made."""
    own = {fill["order"] for fill in story.answer["fills"] if fill["why"] in _LEAVES and fill["why"] != "signal"}
    made = [order for order in story.answer["orders"] if order["decided_on"] == t and order["id"] not in own]
    found: dict[str, int] = {}
    for index, one in enumerate(story.scenario["decisions"]):
        if one["bar"] == t and one["do"] in ("buy", "sell", "close"):
            order = next((order for order in made if order["id"] not in found and _fits(order, one)), None)
            if order is not None:
                found[order["id"]] = index
    return found


def _fits(order: Document, decision: Document) -> bool:
    same = (order["instrument"], order["client_order_id"]) == (decision["instrument"], decision.get("client_order_id"))
    kind = order["type"] == decision.get("order", "market")
    return same and kind and (decision["do"] == "close" or decision["do"] == order["side"])


def _asked(decision: Document, order: Document) -> str:
    quantity = _number(order["quantity"] or order["requested"])
    words = f"{decision['do']} {quantity}" if quantity != "0" else decision["do"]
    if order["type"] == "market":
        return words if decision["do"] == "close" else f"{words} at market"
    kind = order["type"].replace("_", " ") + (", post only" if decision.get("post_only") else "")
    trigger = "" if order["trigger"] is None else f" from {_number(order['trigger'])}"
    return f"{words}, {kind} {_number(order['price'])}{trigger}"


def _fate(order: Document) -> str:
    if order["reason"] is None:
        return "acts from the next bar"
    part = f" after {_number(order['filled'])}" if order["filled"] else ""
    return (
        f"{order['status']}{part}, {order['reason']}: {REASONS.get(order['reason'], 'no sentence is written for it')}"
    )


def _trades(trades: Sequence[Document]) -> Table:
    parts = [name for name in _PARTS if any(trade[name] for trade in trades)]
    shown = (
        "trade",
        "of",
        "side",
        "bars",
        "quantity",
        "entry",
        "exit",
        "by",
        "edge",
        *parts,
        "PnL",
        "R",
        "MAE",
        "MFE",
        "",
    )
    table = Table(*shown, box=box.SIMPLE, pad_edge=False)
    for trade in trades:
        table.add_row(
            *(escape(str(trade[name])) for name in ("id", "instrument", "side")),
            f"{trade['entry_bar']} to {trade['exit_bar']}",
            *(_number(trade[name]) for name in ("quantity", "entry_price", "exit_price")),
            trade["exit_reason"],
            *(_money(trade[name]) for name in ("edge", *parts, "pnl")),
            "-" if trade["r"] is None else f"{trade['r']:.3g}",
            *(_money(trade[name]) for name in ("mae", "mfe")),
            "ambiguous" if trade["ambiguous"] else "",
        )
    return table


def _resting(answer: Document) -> Iterator[str]:
    for held in answer["open_positions"]:
        side, quantity = held["side"], _number(held["quantity"])
        entered = f"entered at {_number(held['entry_price'])} on bar {held['entry_bar']}"
        yield f"open: {side} {quantity} {held['instrument']}, {entered}, marked at {_number(held['mark'])}: PnL {_money(held['pnl'])}"
    for order in answer["orders"]:
        if order["status"] in ("open", "partially_filled"):
            left = _number(order["quantity"] - order["filled"])
            at = "" if order["price"] is None else f" {_number(order['price'])}"
            yield f"rests: {order['id']} {order['side']} {left} {order['instrument']}, {order['type'].replace('_', ' ')}{at}"


def _ambiguity(scenario: Document, answer: Document) -> Iterator[str]:
    if any(fill["ambiguous"] for fill in answer["fills"]):
        path = scenario["rules"]["path"]
        n = answer["ambiguous_trades"]
        yield f"ambiguous: {n} of {len(answer['trades'])} trades; the {path} path was taken, the one {_PATHS[path]}"


def _moment(ts: str) -> datetime:
    return datetime.fromisoformat(ts)


def _clock(ts: str) -> str:
    moment = _moment(ts)
    return f"{moment:%Y-%m-%d}" if moment.time() == datetime.min.time() else f"{moment:%Y-%m-%d %H:%M}"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.10g}"


def _money(value: float) -> str:
    return f"{value + 0.0:.6g}"
