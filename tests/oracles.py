"""Slow, obvious twins of the kernels. They import nothing from the code under test.

`simulated` is the bar simulator with a list of order dictionaries and a loop over everything, written from the contract
`simulation.md`: every bar it asks every order, in the order the contract gives, whether it fills.

`judged`, `followed`, `filled` and `digested` are the judge of bars and what their sessions are counted by, row by row over
dictionaries, written from the contract `data.md`.
"""

import copy
import hashlib
import itertools
import math
import struct
from datetime import UTC, datetime, time, timedelta

DAY = 86_400_000_000


def floored(value, step):
    units = value / step
    return math.floor(units + 1e-9 + 1e-12 * abs(units)) * step


def simulated(scenario):
    """Run `scenario` and give `{"equity", "cash", "fills", "trades", "rejections"}` as lists of plain values.

    Of `scenario`: `ts`, `known_at`; `bars[t][i]` is None or a dictionary with open, high, low, close, split, dividend,
    enter_long, exit_long, enter_short, exit_short, embargoed, stop_distance (None without); `instruments` and `rules`
    are dictionaries with the names of the contract; `rules["fees"]` is a list of (start, volume, maker_bps, taker_bps).
    """
    return Book(scenario).run()


class Book:
    def __init__(self, scenario):
        self.scenario, self.rules, self.instruments = scenario, scenario["rules"], scenario["instruments"]
        self.cash = self.rules["cash"]
        self.positions = [None for _ in self.instruments]
        self.orders = []  # every market order that waits for an open
        self.marks = [None for _ in self.instruments]  # (close, when)
        self.fills, self.trades, self.rejections, self.equity, self.cash_curve = [], [], [], [], []
        self.turnover = []  # (open of the bar, notional)
        self.n_orders = self.n_trades = 0
        self.maker = self.taker = None  # what an order placed on this close pays

    # Small things

    def next_order(self):
        self.n_orders += 1
        return self.n_orders

    def rates(self, t):
        now = self.scenario["known_at"][t]
        volume = sum(notional for ts, notional in self.turnover if ts >= now - 30 * DAY)
        started = max(start for start, _, _, _ in self.rules["fees"] if start <= now)
        tiers = [tier for tier in self.rules["fees"] if tier[0] == started and tier[1] * (1 - 1e-9) <= volume]
        _, _, maker, taker = max(tiers, key=lambda tier: tier[1])
        return maker / 1e4, taker / 1e4

    def available(self):
        return self.cash - sum(
            2 * p["sold_at"] * p["sold"] * p["quantity"] / p["held_at_most"]
            for p in self.positions
            if p is not None and p["sign"] < 0
        )

    def reject(self, t, order, reason):
        quantity = order.get("quantity")
        self.rejections.append((order["id"], t, order["instrument"], order["sign"], quantity, reason))

    def fill(self, t, i, position, *, side, quantity, reference, rate, why, order, maker):
        half_spread = 0 if maker else self.instruments[i]["half_spread_bps"] / 1e4
        price = reference * (1 + side * half_spread)
        fee = quantity * price * rate
        self.cash -= side * quantity * price + fee
        if order:
            self.turnover.append((self.scenario["ts"][t], quantity * price))
        row = {
            "order": order,
            "trade": position["trade"],
            "bar": t,
            "instrument": i,
            "side": side,
            "maker": maker,
            "quantity": quantity,
            "price": price,
            "reference": reference,
            "fee": fee,
            "why": why,
            "spread": quantity * abs(price - reference),
            "ambiguous": False,
        }
        self.fills.append(row)
        return price

    def leave(self, t, i, *, quantity, reference, rate, why, order, maker):
        position = self.positions[i]
        self.fill(
            t,
            i,
            position,
            side=-position["sign"],
            quantity=quantity,
            reference=reference,
            rate=rate,
            why=why,
            order=order,
            maker=maker,
        )
        lot = self.instruments[i]["lot"]
        position["quantity"] = round((position["quantity"] - quantity) / lot) * lot
        if position["quantity"] == 0:
            self.positions[i] = None
            self.trades.append({"position": position, "instrument": i, "exit_bar": t, "exit_reason": why})

    # The bar

    def run(self):
        for t, row in enumerate(self.scenario["bars"]):
            present = [i for i, bar in enumerate(row) if bar is not None]
            self.open(t, row, present)
            for i in present:
                self.both_paths(t, i, row[i])
            self.maker, self.taker = self.rates(t)
            for i in present:
                self.close_window(t, i, row[i]["close"])
            for i in present:
                self.marks[i] = (row[i]["close"], self.scenario["known_at"][t])
            held = [(p["sign"] * p["quantity"], mark) for p, mark in zip(self.positions, self.marks, strict=True) if p]
            self.equity.append(self.cash + sum(units * close for units, (close, _) in held))
            self.cash_curve.append(self.cash)
            for i in present:
                self.decide(t, i, row[i])
        return self.report()

    def open(self, t, row, present):
        for i in present:
            self.carry_in(t, i, row[i])
        for i in present:
            self.stop_at_open(t, i, row[i]["open"])
        for i in present:
            self.targets_up_to(t, i, row[i]["open"], at_open=True)
        self.market_orders(t, row)

    def is_last(self, t, i):
        return self.rules["close_at_end"] and all(row[i] is None for row in self.scenario["bars"][t + 1 :])

    def carry_in(self, t, i, bar):
        position, lot = self.positions[i], self.instruments[i]["lot"]
        if position and position["sign"] < 0:
            close, when = self.marks[i]
            days = (self.scenario["known_at"][t] - when) / DAY
            borrow = close * position["quantity"] * self.rules["borrow_bps_per_day"] / 1e4 * days
            self.cash -= borrow
            position["borrow"] += borrow
        if bar["split"] != 1:
            if position:
                self.split_position(t, i, bar)
            for order in self.orders:
                if order["instrument"] == i and order["kind"] == "entry":
                    order["quantity"] = floored(order["quantity"] * bar["split"], lot)
                    if order["distance"] is not None:
                        order["distance"] /= bar["split"]
        position = self.positions[i]
        if position:
            amount = position["sign"] * position["quantity"] * bar["dividend"]
            self.cash += amount
            position["dividends"] += amount

    def split_position(self, t, i, bar):
        position, lot, split = self.positions[i], self.instruments[i]["lot"], bar["split"]
        position["quantity"] *= split
        position["held_at_most"] *= split
        position["entry"] /= split
        if position["stop"] is not None:
            position["stop"] /= split
        for target in position["targets"]:
            target["price"] /= split
            target["quantity"] = floored(target["quantity"] * split, lot)
        waiting = position["targets"]
        if waiting and waiting[0]["number"] == 1 and waiting[0]["quantity"] == 0:
            waiting[0]["everything"] = True
        whole = floored(position["quantity"], lot)
        fraction = position["quantity"] - whole
        if fraction > lot * (1e-9 + 1e-12 * position["quantity"] / lot):
            self.leave(
                t,
                i,
                quantity=fraction,
                reference=bar["open"],
                rate=0,
                why="split_cash",
                order=0,
                maker=True,
            )

    def stop_at_open(self, t, i, price):
        position = self.positions[i]
        if position and position["stop"] is not None and position["sign"] * (price - position["stop"]) <= 0:
            self.stop_out(t, i, price)

    def stop_out(self, t, i, price):
        position = self.positions[i]
        self.leave(
            t,
            i,
            quantity=position["quantity"],
            reference=price,
            rate=position["taker"],
            maker=False,
            why="break_even" if position["moved"] else "stop",
            order=position["stop_order"],
        )

    def targets_up_to(self, t, i, price, *, at_open):
        while self.positions[i] and self.positions[i]["targets"]:
            position = self.positions[i]
            target = position["targets"][0]
            beyond = position["sign"] * (price - target["price"])
            if beyond < 0 or (beyond == 0 and self.rules["limit_fill"] == "trade_through"):
                return
            del position["targets"][0]
            quantity = position["quantity"] if target["everything"] else target["quantity"]
            if quantity == 0:
                continue
            self.leave(
                t,
                i,
                quantity=quantity,
                reference=price if at_open else target["price"],
                rate=position["maker"],
                maker=True,
                why=f"target_{target['number']}",
                order=target["order"],
            )
            if target["number"] == 1 and self.rules["break_even_after_first"]:
                sign, tick = position["sign"], self.instruments[i]["tick"]
                position["stop"], position["moved"] = sign * floored(sign * position["entry"], tick), True

    def market_orders(self, t, row):
        due = [order for order in self.orders if row[order["instrument"]] is not None]
        self.orders = [order for order in self.orders if row[order["instrument"]] is None]
        for order in sorted(due, key=lambda order: order["instrument"]):
            if order["kind"] == "exit":
                self.market_exit(t, order, row[order["instrument"]]["open"])
        for order in sorted(due, key=lambda order: order["id"]):
            if order["kind"] == "entry":
                self.market_entry(t, order, row[order["instrument"]]["open"])

    def market_exit(self, t, order, price):
        i = order["instrument"]
        if not self.positions[i]:
            self.reject(t, order, "position_closed")
            return
        self.leave(
            t,
            i,
            quantity=self.positions[i]["quantity"],
            reference=price,
            rate=order["taker"],
            why="signal",
            order=order["id"],
            maker=False,
        )

    def market_entry(self, t, order, reference):
        i, sign, quantity = order["instrument"], order["sign"], order["quantity"]
        if quantity == 0:
            self.reject(t, order, "below_min_notional")
            return
        price = reference * (1 + sign * self.instruments[i]["half_spread_bps"] / 1e4)
        if quantity * price * (1 + order["taker"]) * (1 - 1e-12) > self.available():
            self.reject(t, order, "insufficient_cash")
            return
        self.n_trades += 1
        position = {
            "trade": self.n_trades,
            "sign": sign,
            "quantity": quantity,
            "entry_bar": t,
            "entry": price,
            "sold": quantity,
            "sold_at": price,
            "held_at_most": quantity,
            "borrow": 0,
            "dividends": 0,
            "maker": order["maker"],
            "taker": order["taker"],
            "stop": None,
            "targets": [],
            "risk": None,
            "moved": False,
            "ambiguous": False,
            "entry_price": price,
            "entered": quantity,
        }
        self.positions[i] = position
        self.fill(
            t,
            i,
            position,
            side=sign,
            quantity=quantity,
            reference=reference,
            rate=order["taker"],
            why="entry",
            order=order["id"],
            maker=False,
        )
        if self.rules["stop"]:
            self.protect(i, position, order["distance"], reference)
            self.stop_at_open(t, i, reference)

    def protect(self, i, position, distance, reference):
        sign, tick, lot = position["sign"], self.instruments[i]["tick"], self.instruments[i]["lot"]
        position["stop_order"] = self.next_order()
        position["stop"] = sign * floored(sign * (position["entry"] - sign * distance), tick)
        r = sign * (position["entry"] - position["stop"])
        if sign * (reference - position["stop"]) > 0:
            position["risk"] = r * position["quantity"]
        shares = [share for _, share in self.rules["targets"]]
        for number, (multiple, share) in enumerate(self.rules["targets"], start=1):
            quantity = floored(position["quantity"] * share, lot)
            target = {
                "number": number,
                "price": -sign * floored(-sign * (position["entry"] + sign * multiple * r), tick),
                "quantity": quantity,
                "everything": number == len(shares) and sum(shares) > 1 - 1e-9,
                "order": self.next_order() if quantity > 0 or number == 1 else None,
            }
            position["targets"].append(target)
        if position["targets"] and position["targets"][0]["quantity"] == 0:
            position["targets"][0]["everything"] = True

    # The two paths

    def both_paths(self, t, i, bar):
        if not self.positions[i]:
            return
        outcomes = []
        for turns in (("high", "low", "close"), ("low", "high", "close")):
            book = copy.deepcopy(self, {id(self.scenario): self.scenario})
            n_before = len(book.fills)
            for turn in turns:
                book.stop_inside(t, i, bar[turn])
                book.targets_up_to(t, i, bar[turn], at_open=False)
            position = book.positions[i]
            worth = book.cash + (position["sign"] * position["quantity"] * bar["close"] if position else 0)
            outcomes.append((book, worth, book.fills[n_before:]))
        (first, worth_first, fills_first), (second, worth_second, fills_second) = outcomes
        gain, slack = worth_second - worth_first, 1e-9 * self.positions[i]["quantity"] * bar["close"]
        if gain < -slack if self.rules["path"] == "adverse" else gain > slack:
            chosen, fills, others = second, fills_second, fills_first
        else:
            chosen, fills, others = first, fills_first, fills_second
        known = [(fill["why"], fill["quantity"], fill["reference"]) for fill in others]
        for fill in fills:
            fill["ambiguous"] = (fill["why"], fill["quantity"], fill["reference"]) not in known
        self.__dict__ = chosen.__dict__

    def stop_inside(self, t, i, price):
        position = self.positions[i]
        if position and position["stop"] is not None and position["sign"] * (price - position["stop"]) <= 0:
            self.stop_out(t, i, position["stop"])

    def close_window(self, t, i, price):
        if not (self.positions[i] and self.is_last(t, i)):
            return
        self.leave(
            t,
            i,
            quantity=self.positions[i]["quantity"],
            reference=price,
            rate=self.taker,
            why="window_end",
            order=self.next_order(),
            maker=False,
        )

    # Decisions

    def decide(self, t, i, bar):
        if self.is_last(t, i):
            return
        long = bar["enter_long"] and not bar["exit_long"]
        short = bar["enter_short"] and not bar["exit_short"]
        position = self.positions[i]
        held = position["sign"] if position else 0
        if long and short:
            self.reject(t, {"id": self.next_order(), "instrument": i, "sign": 0}, "conflicting_signal")
            return
        wanted = 1 if long else -1 if short else 0
        enters = wanted not in (0, held)
        leaves = (held == 1 and (bar["exit_long"] or short)) or (held == -1 and (bar["exit_short"] or long))
        if not (enters or leaves):
            return
        if bar["embargoed"]:
            sign = wanted if enters else -held
            self.reject(t, {"id": self.next_order(), "instrument": i, "sign": sign}, "embargoed_data")
            return
        if leaves:
            order = {"id": self.next_order(), "instrument": i, "kind": "exit", "sign": -held, "taker": self.taker}
            self.orders.append(order)
        if enters:
            self.decide_entry(t, i, bar, wanted)

    def decide_entry(self, t, i, bar, sign):
        instrument, distance = self.instruments[i], bar["stop_distance"]
        order = {"id": self.next_order(), "instrument": i, "kind": "entry", "sign": sign, "distance": distance}
        order |= {"maker": self.maker, "taker": self.taker}
        if sign < 0 and not instrument["shortable"]:
            self.reject(t, order, "not_shortable")
            return
        if self.rules["stop"] and not (distance is not None and 0 < distance < math.inf):
            self.reject(t, order, "invalid_stop")
            return
        wanted = self.sized(bar["close"], distance)
        order["quantity"] = floored(wanted, instrument["lot"])
        if order["quantity"] <= 0 or order["quantity"] * bar["close"] < instrument["min_notional"] * (1 - 1e-12):
            self.reject(t, order | {"quantity": wanted}, "below_min_notional")
            return
        self.orders.append(order)

    def sized(self, close, distance):
        model, amount, equity = self.rules["size"], self.rules["amount"], self.equity[-1]
        if model == "units":
            return amount
        if model == "notional":
            return amount / close
        if model == "equity_share":
            return equity * amount / close
        return min(equity * amount / distance, self.rules["cap"] * equity / close)

    # The result

    def report(self):
        trades = [self.trade(**closed) for closed in self.trades]
        return {
            "equity": self.equity,
            "cash": self.cash_curve,
            "fills": self.fills,
            "rejections": self.rejections,
            "trades": sorted(trades, key=lambda trade: trade["id"]),
        }

    def trade(self, *, position, instrument, exit_bar, exit_reason):
        fills = [fill for fill in self.fills if fill["trade"] == position["trade"]]
        exits = [fill for fill in fills if fill["why"] != "entry"]
        edge = -sum(fill["side"] * fill["quantity"] * fill["reference"] for fill in fills)
        fees, spread = sum(fill["fee"] for fill in fills), sum(fill["spread"] for fill in fills)
        pnl = edge - fees - spread - position["borrow"] + position["dividends"]
        left = sum(fill["quantity"] for fill in exits)
        return {
            "id": position["trade"],
            "instrument": instrument,
            "side": position["sign"],
            "entry_bar": position["entry_bar"],
            "exit_bar": exit_bar,
            "exit_reason": exit_reason,
            "quantity": position["entered"],
            "entry_price": position["entry_price"],
            "exit_price": sum(fill["quantity"] * fill["price"] for fill in exits) / left,
            "pnl": pnl,
            "edge": edge,
            "fees": fees,
            "spread": spread,
            "borrow": position["borrow"],
            "dividends": position["dividends"],
            "r": pnl / position["risk"] if position["risk"] else None,
            "ambiguous": any(fill["ambiguous"] for fill in fills),
        }


OHLC = ("open", "high", "low", "close")
OHLCV = (*OHLC, "volume")


def judged(rows, receipts, due, closes, *, first, last, length, keep_last, max_range):
    """What becomes of `rows`: `{"accepted", "quarantined", "counts", "restatements"}`.

    `rows` are dictionaries with sequence, line, ts and the five values, `receipts` ones with sequence, received_at,
    first_session and last_session, `due` ones with session, ts and known_at, `closes` ones with session, open and
    close; `length` is a timedelta. Accepted are the rows themselves by ts, quarantined is the set of broken rules by
    (sequence, line), counts are dictionaries by session, restatements tuples of kind, ts, sequence, line and the rows
    before and after.
    """
    bars_due = {bar["ts"]: bar for bar in due}
    said = {receipt["sequence"]: receipt for receipt in receipts}
    owner = {id_of(row): owner_of(row, bars_due, closes, said) for row in rows}
    rows = [row for row in rows if owner[id_of(row)] and first <= owner[id_of(row)]["session"] <= last]
    session_of = {id_of(row): owner[id_of(row)]["session"] for row in rows}
    broken, spare, doubled, superseded = {}, set(), set(), {}
    for row in rows:
        name = id_of(row)
        twins = [other for other in rows if row["ts"] and (other["sequence"], other["ts"]) == (name[0], row["ts"])]
        conflict = any(not same_values(row, twin) for twin in twins)
        end = max(twins, key=id_of, default=None)
        if twins and name[1] != (max if keep_last else min)(twin["line"] for twin in twins):
            spare.add(name)
            if keep_last and not same_values(row, end):
                superseded[name] = end
            elif keep_last or not conflict:
                doubled.add(name)
        known_at = bars_due[row["ts"]]["known_at"] if row["ts"] in bars_due else None
        opened = owner[name].get("open")
        broken[name] = rules_broken(row, known_at, opened, said[name[0]]["received_at"], length, max_range)
        if name in superseded:
            broken[name] = set()
        if conflict and not keep_last:
            broken[name].add("conflicting_duplicate")
    good = [row for row in rows if not broken[id_of(row)] and id_of(row) not in spare]
    counts = counted(rows, session_of, broken, doubled, receipts)
    for session in counts:
        own = [row for row in good if session_of[id_of(row)] == session]
        counts[session] |= timed(own, bars_due, said, [close["session"] for close in closes])
    return {
        "accepted": newest(good),
        "quarantined": {name: rules for name, rules in broken.items() if rules},
        "counts": counts,
        "restatements": restated(rows, good, superseded, session_of, receipts),
    }


def id_of(row):
    return row["sequence"], row["line"]


def owner_of(row, bars_due, closes, said):
    """The session a row belongs to, with its open where it is known."""
    if row["ts"] in bars_due:
        return {"session": bars_due[row["ts"]]["session"]}
    if row["ts"] is None:
        asked = said[row["sequence"]]["first_session"]
        return next(({"session": close["session"]} for close in closes if close["session"] >= asked), None)
    for close, after in zip(closes, [*closes[1:], None], strict=True):
        if close["close"] >= row["ts"]:
            return after if after and after["open"] == row["ts"] else close
    return {"session": row["ts"].date()}


def rules_broken(row, known_at, opened, received_at, length, max_range):
    broken = set()
    prices = [row[name] for name in OHLC]
    if any(price is None or not math.isfinite(price) for price in prices):
        broken.add("null_ohlc")
    else:
        open_price, high, low, close_price = prices
        if min(prices) <= 0:
            broken.add("non_positive_price")
        if high < open_price or high < close_price:
            broken.add("high_below_body")
        if low > open_price or low > close_price:
            broken.add("low_above_body")
        if max_range is not None and low > 0 and high > low * max_range:
            broken.add("improbable_range")
    if row["volume"] is not None:
        broken |= {"negative_volume"} if row["volume"] < 0 else set()
        broken |= set() if math.isfinite(row["volume"]) else {"unreadable_volume"}
    if row["ts"] is None:
        broken.add("unparsable_ts")
    elif known_at is None:
        midnight = datetime.combine(row["ts"].date(), time(), UTC)
        on_clock = (row["ts"] - midnight) % length == timedelta(0)
        from_open = opened is not None and (row["ts"] - opened) % length == timedelta(0)
        broken.add("off_session" if on_clock or from_open else "off_grid")
    elif received_at < known_at:
        broken.add("unclosed_bar")
    return broken


def same_values(one, other, *, noise=0.0):
    return all(same(one[name], other[name], noise) for name in OHLCV)


def same(one, other, noise):
    if noise:  # between receipts a volume that is not known is not known, however it is written
        one, other = (math.nan if value is None else value for value in (one, other))
    if one is None or other is None:
        return one is other
    if math.isnan(one) or math.isnan(other):
        return math.isnan(one) and math.isnan(other)
    return one == other or abs(one - other) <= noise * max(abs(one), abs(other))


def newest(good):
    accepted = {}
    for row in sorted(good, key=id_of):
        held = accepted.get(row["ts"])
        if held is None or not same_values(held, row, noise=1e-12):
            accepted[row["ts"]] = row
    return dict(sorted(accepted.items()))


def restated(rows, good, superseded, session_of, receipts):
    told = []
    for ts in {row["ts"] for row in rows} - {None}:
        own = [row for row in rows if row["ts"] == ts]
        session = session_of[id_of(own[0])]
        held, lacked = None, False
        for receipt in sorted(receipts, key=lambda receipt: receipt["sequence"]):
            sequence = receipt["sequence"]
            here = [row for row in own if row["sequence"] == sequence]
            told += [
                ("superseded", ts, *id_of(row), row, superseded[id_of(row)]) for row in here if id_of(row) in superseded
            ]
            kept = next((row for row in here if row in good), None)
            if kept is not None:
                if held is not None and not same_values(held, kept, noise=1e-12):
                    told.append(("changed", ts, *id_of(kept), held, kept))
                if held is None or not same_values(held, kept, noise=1e-12):
                    held = kept
            if here:
                lacked = False
            elif covers(receipt, session, ts):
                if held is not None and not lacked:
                    told.append(("withdrawn", ts, sequence, 0, held, None))
                lacked = True
    return told


def speaks(receipt, session):
    return receipt["first_session"] <= session <= receipt["last_session"]


def covers(receipt, session, ts):
    """Whether a receipt had to bring a row, were there one; a file says nothing of what lies outside its rows."""
    if not speaks(receipt, session) or receipt.get("source") != "files" or ts is None:
        return speaks(receipt, session)
    return receipt["first"] is not None and receipt["first"] <= ts <= receipt["last"]


def counted(rows, session_of, broken, doubled, receipts):
    counts = {}
    for session in sorted(set(session_of.values())):
        own = [row for row in rows if session_of[id_of(row)] == session]
        speaking = {one["sequence"] for one in receipts if speaks(one, session)}
        if not speaking:
            speaking = {max(row["sequence"] for row in own)}
        arrived = [
            row
            for row in sorted(own, key=id_of)
            if row["sequence"] in speaking
            and not any(one["sequence"] > row["sequence"] and covers(one, session, row["ts"]) for one in receipts)
        ]
        names = [id_of(row) for row in arrived]
        dated = [row for row in arrived if row["ts"]]
        counts[session] = {
            "received": len(names),
            "refused": sum(1 for name in names if broken[name]),
            "null_rows": sum(1 for name in names if "null_ohlc" in broken[name]),
            "conflicting": sum(1 for name in names if "conflicting_duplicate" in broken[name]),
            "identical": sum(1 for name in names if name in doubled),
            "outside_hours": sum(1 for name in names if broken[name] == {"off_session"}),
            "disordered": sum(1 for row in dated if any(overtakes(later, row) for later in dated)),
        }
    return counts


def overtakes(later, row):
    return later["sequence"] == row["sequence"] and later["line"] > row["line"] and later["ts"] < row["ts"]


def timed(good, bars_due, said, sessions):
    """How late the bars of a session were first received, those that came alone."""
    late = []
    for ts in {row["ts"] for row in good}:
        receipt = said[min(row["sequence"] for row in good if row["ts"] == ts)]
        if sum(receipt["first_session"] <= session <= receipt["last_session"] for session in sessions) <= 1:
            late.append((receipt["received_at"] - bars_due[ts]["known_at"]).total_seconds() / 60)
    return {"n_timed": len(late), "lateness_minutes": max(late, default=None)}


def followed(bars, actions, *, traded):
    """`{session: (longest run of stale bars, largest absolute log return)}` of bars in order, the first one given away.

    `bars` are dictionaries with session and the five values; `actions` ones with ex_date, kind and value.
    """
    found = {}
    run, of = 0, None
    for last, bar in itertools.pairwise(bars):
        split = math.prod(one["value"] for one in actions if one["kind"] == "split" and between(last, one, bar))
        paid = sum(one["value"] for one in actions if one["kind"] == "dividend" and between(last, one, bar))
        ex_close = last["close"] / split
        moved = abs(math.log(bar["close"] / (ex_close - paid)))
        stale = all(bar[name] == last[name] for name in OHLC) and not (traded and bar["volume"] != 0)
        run = (run if bar["session"] == of else 0) + 1 if stale else 0
        of = bar["session"]
        longest, largest = found.get(of, (0, 0.0))
        found[of] = (max(longest, run), max(largest, moved))
    return found


def between(last, action, bar):
    return last["session"] < action["ex_date"] <= bar["session"]


def filled(accepted, due, before):
    """Due moments without a bar, in sessions that have one, with the close before them."""
    closes = {bar["ts"]: bar["close"] for bar in [*before, *accepted]}
    sessions, stamps = {bar["session"] for bar in accepted}, {bar["ts"] for bar in accepted}
    found = {}
    for bar in due:
        earlier = [ts for ts in closes if ts < bar["ts"]]
        if bar["session"] in sessions and bar["ts"] not in stamps and earlier:
            found[bar["ts"]] = closes[max(earlier)]
    return found


def digested(bars):
    """`{session: (digest, n_bars)}` of dictionaries with session, ts and the five values, in order of ts."""
    packed = {}
    for bar in bars:
        micros = round((bar["ts"] - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds() * 1e6)
        values = [math.nan if bar[name] is None else bar[name] for name in OHLCV]
        values = [0.0 if value == 0 else value for value in values]
        packed.setdefault(bar["session"], []).append(struct.pack("<q5d", micros, *values))
    return {
        session: (hashlib.blake2b(b"".join(rows), digest_size=32).hexdigest(), len(rows))
        for session, rows in packed.items()
    }
