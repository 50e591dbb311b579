"""The slow twin of the whole simulator, written from the contract `simulation.md` and from nothing else.

`replayed(scenario)` takes the scenario document of the contract after parsing and gives the document that the contract
prints. It imports nothing from the code under test, is slow on purpose and walks both paths of every bar in full, each on
a copy of the whole book. `Book.run` is the order of events within a bar, one method a step.

Roundings, for the kernel to use the same:

    floored(x, step) = floor(x / step + 1e-9 + 1e-12 * |x / step|) * step        quantities; buy limits; sell stops
    ceiled(x, step)  = -floored(-x, step)                                        sell limits; buy stops
    snapped(x, step) = round(x / step) * step                                    a quantity after adding or taking away
    marketable, min notional, cash: x <= y reads x * (1 - 1e-12) <= y; a guard refuses when x > limit * (1 + 1e-12)
    paths: equal where |worth difference| <= 1e-9 * max(1, |worth|); fills equal to nine significant digits
    A step of 0 rounds nothing. Break-even and trails round as stops. A split rounds quantities, never prices.

Readings, where the contract leaves something open:

 1. Ids. A decision takes its order's id on its close, in the order of the document. A stop, then each target in turn
    takes its id with the entry's first fill; a leg that floors to nothing has no order and no id. A time stop takes its
    at the open where it acts, a session close at the close, a kill switch on the close that throws it (one order an
    instrument, in their order), a liquidation and a delisting when they happen (type market). `move_stop` on a position
    without a stop and `move_target` take theirs on the close of the decision, a runner's stop on the close that starts it.
    `decided_on` of protective orders, of time stops and of session closes is the entry's; of the rest, the bar itself.
 2. Trades are numbered when they open and listed by that number; open positions have one too, so a number may be missing.
 3. An order against the position held on its close is reduce-only: it is cancelled (`position_closed`) when the position
    ends. Where a `close` of everything was decided before it, it is an entry (a reversal). An order decided when flat
    that meets an opposite position reduces it to flat at most, and its rest is cancelled (`position_closed`).
    Reduce-only orders skip guards, cash and min notional. A market, stop or new limit order that reduces
    acts with the market exits. `why` is `reduce` for those, `signal` for every `close`.
 4. A `close` of everything is as large as the position when it fills. `close` decided when flat: rejected `no_position`,
    side null, quantity 0. `position_closed` orders are `cancelled`, not `rejected`.
 5. An order refused at its fill is `rejected` while nothing of it has filled, else `cancelled` with the same reason. The
    cash check is of the part that fills. Needed: spot units x price + fee, linear and inverse notional / leverage +
    fee, + extra_margin for a new position; price is the price paid; spread and slippage are not counted once more.
 6. Unrealised PnL in the cash check and in cross liquidation is at the last close before (of the mark bars where there
    are any), zero for a position opened on this bar. Spot shorts lock proceeds and as much again, at the mean entry.
 7. Equity, MAE, MFE and open positions are marked at the instrument's own bars; mark bars serve liquidation and funding.
 8. Mean entry of inverse contracts: units / sum(units / price). Costs of an inverse fill in coin: the difference between
    units / reference and units / price, split in the proportion of spread, slippage and impact.
 9. Costs are parts of the reference price, added up, never compounded: price = reference x (1 +- (half-spread + slippage
    + impact)). A taking limit that slippage (bps) or impact would carry past its limit gets its limit: slippage is cut
    first to what the limit leaves, then impact; under volume_share it does not fill on that bar at all.
10. What is left of a taking limit rests. A limit that is new, not marketable with the half-spread, and that the open
    lies beyond, fills at its price as maker when the path starts.
11. Within a leg: nearest price first; equal: exits (also reduce-only) before entries, then id; liquidation on the last
    price after a stop at the same price. A stop already passed when it becomes active inside the bar gets the worse of
    stop and price. What the cap starves waits for another bar; where only the takers' `limit` of volume_share is used
    up, a limit may still fill as maker.
12. Which fills are ambiguous: as multisets of (order, or role and number of a protective order, side, why, liquidity,
    quantity, reference price). Equal multisets are certain; the path is still chosen by the policy (MAE, MFE).
13. Ladder on what has been entered in all: leg k = floored(share x entered), last leg the rest where shares sum to 1
    (within 1e-9); more entered, legs that have not ended grow. The stop's quantity is what it filled plus what is held.
    `requested` is share x entered for a target. A split multiplies what is left of each leg and floors it, the last one
    takes the rest of their sum; a leg that floors to nothing is cancelled (`cancelled`), the first one takes everything.
14. R and the first risk: price paid on the first fill, stop after rounding, units of the first fill; null without a stop
    and where the reference price lay at or beyond the stop. The first stop is the tighter of stop and trail.
15. Sizing: the close of the decision, but a stop price is compared with the order's own price (limit, stop, the limit of
    a stop_limit) where it has one. Risk is to the nearer of stop and trail. What was never sized requests null. A stop on the wrong side is `invalid_stop` like one at the entry. So are targets in R
    without a stop, and trails (a runner's too) or stops in ATR with fewer than length + 1 bars (Wilder as TA-Lib: the first true range is
    the second bar's). Min notional is judged at the close, for inverse contracts in contracts x contract_size.
16. Sigma and V over `days` sessions: the last `days` log returns and volumes of sessions completed by the order's
    decision (of protective orders the entry's), splits taken out. A session with a volume that is not known counts for
    no mean volume. Costs use what is there (at least two returns, else no impact and a warning); sizers need all, and
    returns that differ, else `below_min_notional`: shares across instruments add to 1 over those that have them.
    Kelly before `min_trades`: `no_edge`.
17. The guards are asked in the order in which the contract lists them, after not_shortable, invalid_stop, no_edge and
    below_min_notional; `slippage_exceeded` and cash at the fill. Exposure is at last closes. A position that a pending
    order closes whole counts no more. correlation_limit: sign x sign x correlation over common sessions, at least 3.
18. A fill's time is its bar's open, a decision's its bar's close. The day of max_daily_loss is the decision bar's, from
    the equity before that day's first bar. Trades an hour and a day count entries by first fill in the clock hour or day
    of the decision's instant (the session to come, after a close), and entries still waiting. A trade that made nothing
    ends a losing streak and starts no cooldown.
19. kill_switch cancels what waits to enter, reason `kill_switch`. Thrown above its drawdown, not at it. Beyond both
    limits later entries are refused for `max_drawdown`, which the contract lists first; the positions close all the same.
20. Funding instants between two bars of an instrument (missing bars, nights) are charged on what is carried into the next
    one. Any kind pays funding where a row names it. Borrow is on the quantity after a split, at the close adjusted.
21. A fraction of a lot is paid out at the open without costs, before a dividend: a fill without an order (null), why
    `reduce`, maker.
22. Delisting: at the close of `bar`, no costs, `delisting_recovery` (of rules, 1) x close; every order cancelled
    (`cancelled`); entries decided on that close or later `halted`. Entries on an instrument without a bar: `stale_bar`.
23. ttl counts bars that are due by the calendar. Time stops count `bar` numbers and wait where the bar is missing. A
    session close that its missing last bar swallowed happens at the next open; none is made where an order that closes
    everything waits. On a last bar orders expire before a delisting cancels them. A bar with a price that is no
    number is missing, its place in time stays; a volume that is no number is not known.
24. Bankruptcy and liquidation: at the open at or beyond; on last prices also at once where an entry's fill leaves the
    price at or beyond. Cross: the mark's open, inside the bar the liquidation price.
    `margin` is an instrument's key, else the account's. Only `binance` differs in cross. A liquidation is not counted in
    the cap. At a position's entry at the open the mark's open is asked at once.
25. Tiers: 30 days back from the decision's close, fills of any kind by their bar's open; exits of a position (stop,
    targets, time, session, liquidation) keep the tier of its first entry.
26. A trail starts at the price paid (ATR of the decision) and never loosens; only `move_stop` may loosen. Stop and
    trail share one order; `why` says what placed it last. A runner's trail starts on the close after the last target.
27. `move_target` closes the old targets (`cancelled`) and takes shares of what is held, numbered from 1; R stays that of
    the first fill, from the mean entry.
28. What a protective order has passed already when the path starts happens before the mark moves.
    Finer bars: each is walked by the policy, joined by straight legs, the volume and the cap stay the whole bar's; mark
    bars are walked with the first of them. Per-share fees: max(minimum, fee x units) over an order's fills.
29. A `client_order_id` used again is ignored. `move_*` and `cancel` on nothing leave no order, only a warning or nothing.
"""

import copy
import itertools
import math
from collections import Counter
from datetime import UTC, date, datetime, timedelta

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
DAY = 86_400
NOISE = 1e-12
INSTRUMENT = {
    "tick": 0.01,
    "lot": 0.001,
    "min_notional": 0,
    "kind": "spot",
    "shortable": True,
    "leverage": 1,
    "maintenance_margin": 0.005,
    "maintenance_amount": 0,
    "extra_margin": 0,
    "contract_size": 1,
    "liquidation": "bybit_linear",
}
COSTS = {"maker_bps": 0, "taker_bps": 0, "half_spread_bps": 0, "slippage": {"model": "none"}, "borrow_bps_per_day": 0}
RULES = {
    "path": "adverse",
    "limit_fill": "trade_through",
    "participation": 1.0,
    "liquidate_on": "mark",
    "delisting_recovery": 1.0,
}
PARTS = ("fees", "spread", "slippage", "impact", "funding", "borrow", "dividends")
ORDER_FIELDS = (
    "id",
    "client_order_id",
    "decided_on",
    "instrument",
    "side",
    "type",
    "requested",
    "quantity",
    "filled",
    "price",
    "trigger",
    "status",
    "reason",
)
FILL_FIELDS = (
    "id",
    "order",
    "bar",
    "instrument",
    "side",
    "quantity",
    "price",
    "liquidity",
    "fee",
    "why",
    "ambiguous",
)
SIDES = {1: "buy", -1: "sell", 0: None}
LIVE = ("open", "partially_filled")


def replayed(scenario, sessions=None):
    """What happens to `scenario`; `sessions` are (open, close) moments for calendars other than 24/7."""
    return Book(Terms(scenario, sessions)).run()


def floored(value, step):
    if not step:
        return value
    units = value / step
    return math.floor(units + 1e-9 + 1e-12 * abs(units)) * step


def ceiled(value, step):
    return -floored(-value, step)


def snapped(value, step):
    return round(value / step) * step if step else value


def limit_price(sign, price, tick):
    return floored(price, tick) if sign > 0 else ceiled(price, tick)


def stop_price(sign, price, tick):
    return ceiled(price, tick) if sign > 0 else floored(price, tick)


def seconds_in(timeframe):
    return int(timeframe[:-1]) * {"s": 1, "m": 60, "h": 3600, "d": DAY, "w": 7 * DAY}[timeframe[-1]]


def moment(value):
    if isinstance(value, str):
        value = datetime.fromisoformat(value)
    elif isinstance(value, date) and not isinstance(value, datetime):
        value = datetime(value.year, value.month, value.day, tzinfo=UTC)
    if value.tzinfo is None:
        value = value.replace(tzinfo=UTC)
    return (value - EPOCH) / timedelta(seconds=1)


def finite(value):
    return value is not None and math.isfinite(value)


def bars_of(rows, step):
    """`{ts: bar}` of rows of [ts,] open, high, low, close[, volume]."""
    bars = {}
    for i, row in enumerate(rows):
        if row is None:
            bars[i * step] = None
            continue
        dated = isinstance(row[0], str | date)
        ts, values = (moment(row[0]), row[1:]) if dated else (i * step, row)
        volume = values[4] if len(values) > 4 else None
        bar = dict(zip(("open", "high", "low", "close"), values[:4], strict=True))
        bar["volume"] = float(volume) if finite(volume) else None
        bars[ts] = bar if all(finite(value) for value in values[:4]) else None
    return bars


class Terms:
    """What never changes in a run: the document with its defaults, and the calendar."""

    def __init__(self, scenario, sessions):
        self.step = seconds_in(scenario["timeframe"])
        self.account = scenario["account"]
        self.instruments = {name: INSTRUMENT | (own or {}) for name, own in scenario["instruments"].items()}
        self.costs = COSTS | (scenario.get("costs") or {})
        self.rules = RULES | (scenario.get("rules") or {})
        self.risk = scenario.get("risk") or {}
        self.funding = [row | {"at": moment(row["at"])} for row in scenario.get("funding") or []]
        self.actions = scenario.get("actions") or []
        self.decisions = scenario.get("decisions") or []
        bars = {name: bars_of(scenario["bars"].get(name) or [], self.step) for name in self.instruments}
        self.times = sorted({ts for own in bars.values() for ts in own})
        self.bars = [{name: own.get(ts) for name, own in bars.items()} for ts in self.times]
        marks = {name: bars_of(rows, self.step) for name, rows in (scenario.get("mark_bars") or {}).items()}
        self.marks = [{name: marks.get(name, {}).get(ts) for name in self.instruments} for ts in self.times]
        self.marked = {name for name in marks if marks[name]}
        self.finer = {name: bars_of(rows, 0) for name, rows in (scenario.get("finer_bars") or {}).items()}
        self.sessions = [(moment(opens), moment(closes)) for opens, closes in sessions or []]
        self.due = [ts for session in self.sessions for ts in self.due_in(*session)]

    def __deepcopy__(self, memo):
        return self

    def due_in(self, opens, closes):
        if self.step >= DAY:
            return [opens // DAY * DAY]
        return [opens + i * self.step for i in range(math.ceil((closes - opens) / self.step))]

    def session_at(self, ts):
        """The (open, close) of the session that the bar labelled `ts` belongs to."""
        if self.sessions and self.step >= DAY:
            found = [session for session in self.sessions if session[0] // DAY == ts // DAY]
        elif self.sessions:
            found = [session for session in self.sessions if session[0] <= ts < session[1]]
        else:
            found = []
        day = ts // DAY * DAY
        return found[0] if found else (day, day + max(self.step, DAY))

    def session(self, t):
        return self.session_at(self.times[t])[0]

    def opens_at(self, t):
        ts = self.times[t]
        return self.session_at(ts)[0] if self.sessions and self.step >= DAY else ts

    def closes_at(self, t):
        ts = self.times[t]
        if self.sessions:
            closes = self.session_at(ts)[1]
            return closes if self.step >= DAY else min(ts + self.step, closes)
        return ts + self.step

    def ends_session(self, t):
        return self.step >= DAY or self.closes_at(t) >= self.session_at(self.times[t])[1]

    def session_to_come(self, now):
        return next((opens for opens, closes in self.sessions if closes > now), now // DAY * DAY)

    def elapsed(self, before, t):
        if not self.sessions:
            return round((self.times[t] - self.times[before]) / self.step)
        return sum(1 for ts in self.due if self.times[before] < ts <= self.times[t])


class Book:
    def __init__(self, terms):
        self.terms = terms
        self.instruments, self.rules, self.costs, self.risk = terms.instruments, terms.rules, terms.costs, terms.risk
        self.t = 0
        self.cash = self.peak = float(terms.account["cash"])
        self.orders, self.fills, self.trades, self.equity, self.warnings = [], [], [], [], []
        self.positions = dict.fromkeys(self.instruments)
        self.closes = dict.fromkeys(self.instruments)  # the last close, for equity
        self.last_marks = dict.fromkeys(self.instruments)  # the last mark, for margins
        self.closed_at = dict.fromkeys(self.instruments)  # when the last bar closed
        self.history = {name: [] for name in self.instruments}
        self.n_trades = 0
        self.used, self.taken = {}, {}  # contracts of this bar, by instrument
        self.spent, self.asked = set(), set()  # orders that wait for another bar; that the open has asked
        self.applied, self.delisted = set(), set()
        self.killed = False
        self.day, self.day_equity = None, self.cash
        self.last_entry = None
        self.last_exit = {}  # (when, pnl) by instrument
        self.streaks = {}  # (losses in a row, when the last one was) by regime
        self.phase, self.at = "", None
        for name in self.instruments:
            self.say_what_liquidates(name)

    def __deepcopy__(self, memo):
        twin = object.__new__(Book)
        kept = {"history", "equity", "instruments", "rules", "costs", "risk"}  # a path changes none of these
        grows = {"fills", "trades", "warnings"}  # a path only adds to these
        memo |= {id(order): order for order in self.orders if order["status"] not in LIVE}  # nor to what has ended
        for key, value in self.__dict__.items():
            twin.__dict__[key] = value if key in kept else list(value) if key in grows else copy.deepcopy(value, memo)
        return twin

    def run(self):
        for t in range(len(self.terms.times)):
            self.t = t
            present = [name for name in self.instruments if self.bar(name) and name not in self.delisted]
            self.start_bar()
            self.carry_in(present)
            self.open(present)
            self.fund_inside(present)
            for name in present:
                self.walk(name)
            self.close(present)
            self.mark(present)
            self.decide()
        return self.answer()

    # Small things

    def warn(self, sentence):
        if sentence not in self.warnings:
            self.warnings.append(sentence)

    def say_what_liquidates(self, name):
        own = self.instruments[name]
        if own["kind"] != "spot" and own["leverage"] > 1 and self.liquidates_on(name) == "last":
            self.warn(f"{name}: liquidation is judged on the last price")

    def bar(self, name):
        return self.terms.bars[self.t][name]

    def mark_bar(self, name):
        return self.terms.marks[self.t][name]

    def units(self, name, quantity):
        return quantity * self.instruments[name]["contract_size"]

    def here(self, name):
        """Where the price stands: the open, the place on the path, the close."""
        return self.at if self.phase == "inside" else self.bar(name)["close" if self.phase == "close" else "open"]

    def inverse(self, name):
        return self.instruments[name]["kind"] == "inverse"

    def notional(self, name, quantity, price):
        units = self.units(name, quantity)
        return units / price if self.inverse(name) else units * price

    def value(self, name, sign, quantity, price):
        """What `quantity` at `price` adds to an edge: money for linear and spot, coin for inverse."""
        return (
            -sign * self.notional(name, quantity, price)
            if self.inverse(name)
            else sign * self.notional(name, quantity, price)
        )

    def live(self, name=None, *roles):
        found = [order for order in self.orders if order["status"] in LIVE]
        return [
            order
            for order in found
            if (name is None or order["instrument"] == name) and (not roles or order["role"] in roles)
        ]

    def order(self, name, sign, kind, **rest):
        order = {
            "id": f"o-{len(self.orders) + 1:06d}",
            "client_order_id": None,
            "decided_on": self.t,
            "instrument": name,
            "sign": sign,
            "type": kind,
            "requested": 0.0,
            "quantity": 0.0,
            "filled": 0.0,
            "price": None,
            "trigger": None,
            "status": "open",
            "reason": None,
            "role": "entry",
            "why": "entry",
            "number": None,
            "new": True,
            "triggered": False,
            "reduces": False,
            "post_only": False,
            "ttl": None,
            "terms": {},
            "tier": (0.0, 0.0),
            "charged": 0.0,
        } | rest
        self.orders.append(order)
        return order

    def remaining(self, order):
        return snapped(order["quantity"] - order["filled"], self.instruments[order["instrument"]]["lot"])

    def end(self, order, status, reason):
        if order["status"] in LIVE:
            order["status"], order["reason"] = status, reason

    def refuse(self, order, reason):
        self.end(order, "cancelled" if order["filled"] else "rejected", reason)

    def reducing(self, order):
        position = self.positions[order["instrument"]]
        return position is not None and position["sign"] == -order["sign"]

    # Costs

    def rates(self, now):
        """(maker, taker) as shares, of an order placed at `now`."""
        schedule = self.costs.get("fees")
        if not schedule:
            return self.costs["maker_bps"] / 1e4, self.costs["taker_bps"] / 1e4
        volume = sum(
            abs(self.notional(fill["instrument"], fill["quantity"], fill["price"]))
            for fill in self.fills
            if fill["order"] and fill["ts"] >= now - 30 * DAY
        )
        current = max((period for period in schedule if moment(period["from"]) <= now), key=lambda p: moment(p["from"]))
        reached = [tier for tier in current["tiers"] if tier["volume"] * (1 - 1e-9) <= volume]
        tier = max(reached, key=lambda tier: tier["volume"])
        return tier["maker_bps"] / 1e4, tier["taker_bps"] / 1e4

    def fee(self, order, quantity, price, taker):
        name = order["instrument"]
        per_share = self.costs.get("per_share")
        if per_share:
            units = self.units(name, order["filled"] + quantity)
            return max(per_share["minimum"], per_share["fee"] * units) - order["charged"]
        return self.notional(name, quantity, price) * order["tier"][1 if taker else 0]

    def room(self, name, taker):
        """How much of this bar is left to fill, in contracts."""
        own, volume = self.instruments[name], self.bar(name)["volume"]
        if volume is None:
            self.warn(f"{name}: no volume known, the participation cap is off")
            return math.inf
        contracts = volume / own["contract_size"]
        left = floored(self.rules["participation"] * contracts, own["lot"]) - self.used.get(name, 0)
        model = self.costs["slippage"]
        if taker and model["model"] == "volume_share":
            left = min(left, floored(model["limit"] * contracts, own["lot"]) - self.taken.get(name, 0))
        return max(0.0, snapped(left, own["lot"]))

    def taker_costs(self, order, reference, quantity):
        """Half-spread, slippage and impact of a taker, in price."""
        name, model = order["instrument"], self.costs["slippage"]
        spread = reference * self.costs["half_spread_bps"] / 1e4
        kind = model["model"]
        if kind == "bps":
            return spread, reference * model["bps"] / 1e4, 0.0
        if kind == "volume_share":
            volume = self.bar(name)["volume"]
            share = self.units(name, self.taken.get(name, 0) + quantity) / volume if volume else 0.0
            return spread, reference * model["impact"] * share**2, 0.0
        if kind in ("square_root", "almgren"):
            return spread, 0.0, reference * self.impact(order, model)
        return spread, 0.0, 0.0

    def impact(self, order, model):
        name = order["instrument"]
        sigma, volume = model.get("sigma"), model.get("volume")
        known = self.positions[name]["decided_on"] if order["role"] in ("stop", "target") else order["decided_on"]
        if sigma is None:
            sigma = deviation(self.returns(name, model["days"], known))
        if volume is None:
            volume = self.mean_volume(name, model["days"], known)
        if not finite(sigma) or not volume:
            self.warn(f"{name}: too few sessions to measure impact")
            return 0.0
        size = self.units(name, order["quantity"])
        if model["model"] == "square_root":
            return model["y"] * sigma * math.sqrt(size / volume)
        permanent = 0.314 * sigma * (size / volume) * (model["shares_outstanding"] / volume) ** 0.25
        temporary = 0.142 * sigma * abs(size / (volume * model["horizon_days"])) ** 0.6
        return permanent / 2 + temporary

    # History

    def sessions_until(self, name, t):
        """(session, close, volume) of every session completed by the close of bar `t`."""
        sessions = {}
        for row in self.history[name]:
            if row["t"] <= t:
                volume = sessions.get(row["session"], (0, 0, 0.0))[2]
                known = volume is not None and row["volume"] is not None
                sessions[row["session"]] = (row["session"], row["close"], volume + row["volume"] if known else None)
        done = list(sessions.values())
        if done and not (done[-1][0] < self.terms.session(t) or self.terms.ends_session(t)):
            done.pop()
        return done

    def dated_returns(self, name, days, t):
        done = self.sessions_until(name, t)[-days - 1 :]
        return {after[0]: math.log(after[1] / before[1]) for before, after in itertools.pairwise(done)}

    def returns(self, name, days, t):
        return list(self.dated_returns(name, days, t).values())

    def mean_volume(self, name, days, t):
        volumes = [volume for _, _, volume in self.sessions_until(name, t) if volume is not None][-days:]
        return sum(volumes) / len(volumes) if volumes else 0.0

    def atr(self, name, length):
        rows = self.history[name]
        if len(rows) < length + 1:
            return None
        ranges = [
            max(bar["high"] - bar["low"], abs(bar["high"] - last["close"]), abs(bar["low"] - last["close"]))
            for last, bar in itertools.pairwise(rows)
        ]
        average = sum(ranges[:length]) / length
        for one in ranges[length:]:
            average = (average * (length - 1) + one) / length
        return average

    # Step 1: what is carried in

    def start_bar(self):
        self.used, self.taken, self.spent, self.asked = {}, {}, set(), set()
        for order in self.live():
            if order["ttl"] is not None and self.terms.elapsed(order["decided_on"], self.t) > order["ttl"]:
                self.end(order, "expired", "ttl_expired")

    def carry_in(self, present):
        self.phase = "carry"
        for name in present:
            self.apply_actions(name)
            position = self.positions[name]
            if position is None:
                continue
            opens, before = self.terms.opens_at(self.t), self.closed_at[name]
            for row in self.terms.funding:
                if row["instrument"] == name and (row["at"] == opens or before <= row["at"] < opens):
                    self.fund(name, row, position["quantity"])
            self.borrow(name)
            self.observe(name, self.bar(name)["open"])

    def apply_actions(self, name):
        due = [
            (i, action)
            for i, action in enumerate(self.terms.actions)
            if action["instrument"] == name and action["bar"] <= self.t and i not in self.applied
        ]
        for i, action in due:
            if "split" in action:
                self.applied.add(i)
                self.split(name, action["split"])
        for i, action in due:
            if "dividend" in action:
                self.applied.add(i)
                self.pay_dividend(name, action["dividend"])

    def pay_dividend(self, name, amount):
        position = self.positions[name]
        if position:
            paid = position["sign"] * self.units(name, position["quantity"]) * amount
            self.cash += paid
            position["dividends"] += paid

    def split(self, name, ratio):
        lot = self.instruments[name]["lot"]
        for row in self.history[name]:
            for key in ("open", "high", "low", "close"):
                row[key] /= ratio
            row["volume"] = row["volume"] * ratio if row["volume"] is not None else None
        if self.closes[name] is not None:
            self.closes[name] /= ratio
            self.last_marks[name] /= ratio
        for order in self.live(name):
            for key in ("price", "trigger"):
                order[key] = order[key] / ratio if order[key] is not None else None
            order["terms"] = split_terms(order["terms"], ratio)
            if order["role"] in ("entry", "exit"):
                order["quantity"] = order["filled"] + floored((order["quantity"] - order["filled"]) * ratio, lot)
                if self.remaining(order) <= 0 and not order.get("everything"):
                    self.end(order, "cancelled", "below_min_notional")
        if self.positions[name]:
            self.split_position(name, ratio)

    def split_position(self, name, ratio):
        position, lot = self.positions[name], self.instruments[name]["lot"]
        for key in ("entry", "extreme", "apart"):
            position[key] = position[key] / ratio if position[key] is not None else None
        for priced, key in [(one, "level") for one in position["trails"].values()] + [
            (leg, "price") for leg in position["ladder"]
        ]:
            priced[key] /= ratio
        position["entered"] = floored(position["entered"] * ratio, lot)
        exact = position["quantity"] * ratio
        whole = floored(exact, lot)
        position["quantity"] = exact
        fraction = exact - whole
        if fraction > lot * (1e-9 + 1e-12 * exact / lot) if lot else False:
            self.book_fill(
                None, name, -position["sign"], fraction, self.bar(name)["open"], (0, 0, 0), 0.0, "reduce", taker=False
            )
        position = self.positions[name]
        if position is None:
            return
        position["quantity"] = whole
        self.size_stop(position)
        waiting = [leg["order"] for leg in position["ladder"] if leg["order"] and leg["order"]["status"] in LIVE]
        wanted = floored(sum(self.remaining(order) for order in waiting) * ratio, lot)
        for order in waiting:
            order["quantity"] = order["filled"] + floored((order["quantity"] - order["filled"]) * ratio, lot)
        if waiting and waiting[-1]["takes_rest"]:
            others = sum(self.remaining(order) for order in waiting[:-1])
            waiting[-1]["quantity"] = waiting[-1]["filled"] + max(0.0, snapped(wanted - others, lot))
        if waiting and waiting[0]["number"] == 1 and self.remaining(waiting[0]) <= 0:
            waiting[0]["quantity"] = waiting[0]["filled"] + whole
        for order in waiting:
            if self.remaining(order) <= 0:
                self.end(order, "cancelled", "cancelled")

    def fund(self, name, row, quantity):
        position, mark = self.positions[name], row.get("mark")
        if mark is None and self.mark_bar(name):
            mark = self.mark_bar(name)["open"]
        if mark is None:
            message = f"funding of {name} at {row['at']}: no mark"
            raise ValueError(message)
        paid = -position["sign"] * self.notional(name, quantity, mark) * row["rate"]
        self.cash += paid
        position["funding"] += paid

    def borrow(self, name):
        position = self.positions[name]
        if position["sign"] > 0 or self.instruments[name]["kind"] != "spot":
            return
        days = (self.terms.closes_at(self.t) - self.closed_at[name]) / DAY
        rate = self.costs["borrow_bps_per_day"] / 1e4
        paid = self.closes[name] * self.units(name, position["quantity"]) * rate * days
        self.cash -= paid
        position["borrow"] += paid

    # Step 2: the open

    def open(self, present):
        self.phase = "open"
        for name in present:
            self.liquidate_at_open(name)
        for name in present:
            self.protective_stop_at_open(name)
        for name in present:
            self.reducing_limits_at_open(name)
        self.market_exits(present)
        self.entries(present)

    def liquidate_at_open(self, name):
        if not self.positions[name] or self.liquidates_on(name) is None:
            return
        bar = self.mark_bar(name) if self.liquidates_on(name) == "mark" else self.bar(name)
        level = self.liquidation_price(name)
        if bar and level is not None and self.positions[name]["sign"] * (bar["open"] - level) <= 0:
            self.liquidate(name, bar["open"])

    def protective_stop_at_open(self, name):
        for order in self.live(name, "stop"):
            opens = self.bar(name)["open"]
            if order["triggered"] or order["sign"] * (opens - order["price"]) >= 0:
                order["triggered"] = True
                self.execute(order, opens, taker=True)

    def reducing_limits_at_open(self, name):
        opens = self.bar(name)["open"]
        for order in sorted(self.live(name, "target", "entry"), key=lambda order: order["id"]):
            resting = self.is_limit(order) and not order["new"] and order["status"] in LIVE
            if resting and self.reducing(order) and self.beyond(order, opens):
                self.asked.add(order["id"])
                self.execute(order, opens, taker=False)

    def market_exits(self, present):
        for name in present:
            self.exits_that_are_due(name)
        for order in self.live():
            if order["instrument"] not in present or order["status"] not in LIVE or order["id"] in self.asked:
                continue
            new_target = order["role"] == "target" and order["new"]
            if order["role"] == "exit" or new_target or (order["role"] == "entry" and self.reducing(order)):
                self.at_open(order)

    def exits_that_are_due(self, name):
        position = self.positions[name]
        if position is None:
            return
        n = position["terms"].get("time_stop_bars")
        if n is not None and self.t >= position["entry_bar"] + n:
            self.exit_order(name, "time")
        late = self.terms.session(self.t) > position["session"] and not self.leaving(name)
        if position["terms"].get("session_close") and late:
            self.exit_order(name, "session_close")

    def exit_order(self, name, why, **rest):
        """An order for everything that is held; the one already there, if there is one."""
        waiting = [order for order in self.live(name, "exit") if order["why"] == why]
        if waiting:
            return waiting[0]
        position = self.positions[name]
        given = {"decided_on": position["decided_on"], "tier": position["tier"]} | rest
        quantity = position["quantity"]
        return self.order(
            name,
            -position["sign"],
            "market",
            role="exit",
            why=why,
            everything=True,
            requested=quantity,
            quantity=quantity,
            **given,
        )

    def entries(self, present):
        for order in self.live(None, "entry"):
            if order["instrument"] in present and order["status"] in LIVE and order["id"] not in self.asked:
                self.at_open(order)

    def at_open(self, order):
        """What an order does at the open of its instrument; once a bar."""
        self.asked.add(order["id"])
        opens = self.bar(order["instrument"])["open"]
        if self.is_limit(order):
            if order["new"]:
                self.new_limit(order, opens)
            elif self.beyond(order, opens):
                self.execute(order, opens, taker=False)
        elif order["type"] == "stop_limit":
            if order["sign"] * (opens - order["trigger"]) >= 0:
                order["triggered"] = True
                self.new_limit(order, opens)
        elif order["type"] == "market" or order["triggered"] or order["sign"] * (opens - order["price"]) >= 0:
            order["triggered"] = True
            self.execute(order, opens, taker=True)
        order["new"] = False

    def is_limit(self, order):
        return order["type"] == "limit" or (order["type"] == "stop_limit" and order["triggered"])

    def beyond(self, order, price):
        gap = order["sign"] * (order["price"] - price)
        return gap > 0 or (gap == 0 and self.rules["limit_fill"] == "touch")

    def new_limit(self, order, price):
        """A limit that is new at `price`: what is marketable takes, the rest rests."""
        order["new"] = False
        asked = price * (1 + order["sign"] * self.costs["half_spread_bps"] / 1e4)
        if order["sign"] * (order["price"] - asked) < -NOISE * asked:
            return
        if order["post_only"]:
            self.refuse(order, "post_only_would_take")
            return
        self.execute(order, price, taker=True, limit=order["price"])

    # Filling

    def execute(self, order, reference, *, taker, limit=None):
        """Fill what can be filled of `order` at `reference`."""
        name = order["instrument"]
        position, reducing = self.positions[name], self.reducing(order)
        if order.get("everything"):
            order["quantity"] = snapped(order["filled"] + position["quantity"], self.instruments[name]["lot"])
        wanted = min(self.remaining(order), position["quantity"]) if reducing else self.remaining(order)
        quantity = min(wanted, self.room(name, taker))
        costs = self.costs_of(order, reference, quantity, taker, limit)
        if costs is None:
            return
        price = reference + order["sign"] * sum(costs)
        fee = self.fee(order, quantity, price, taker)
        reason = None if reducing else self.refused_at_fill(order, quantity, reference, costs, price, fee)
        if reason:
            self.refuse(order, reason)
            return
        why = order["why"] if order["role"] != "entry" else "reduce" if reducing else "entry"
        self.used[name] = self.used.get(name, 0) + quantity
        self.taken[name] = self.taken.get(name, 0) + (quantity if taker else 0)
        self.book_fill(order, name, order["sign"], quantity, reference, costs, fee, why, taker=taker)
        if reducing and self.positions[name] is None:
            self.end(order, "cancelled", "position_closed")
        elif reducing:
            self.after_target(order)
        else:
            self.judge_at_once(name, self.here(name))

    def costs_of(self, order, reference, quantity, taker, limit):
        """Half-spread, slippage and impact, or None where the order cannot fill now."""
        if quantity <= 0:
            if limit is None:  # what may still rest as maker is asked again on the path
                self.spent.add(order["id"])
            return None
        if not taker:
            return 0.0, 0.0, 0.0
        costs = self.taker_costs(order, reference, quantity)
        if limit is not None:
            costs = self.within_limit(order, reference, costs, limit)
        if costs is None:
            self.spent.add(order["id"])
        return costs

    def within_limit(self, order, reference, costs, limit):
        spread, slippage, impact = costs
        room = max(0.0, order["sign"] * (limit - reference))
        if self.costs["slippage"]["model"] == "volume_share" and sum(costs) > room + NOISE * reference:
            return None
        spread = min(spread, room)
        slippage = min(slippage, room - spread)
        return spread, slippage, min(impact, room - spread - slippage)

    def refused_at_fill(self, order, quantity, reference, costs, price, fee):
        limit = self.risk.get("max_slippage_bps")
        if limit is not None and sum(costs) / reference * 1e4 > limit * (1 + NOISE) + 1e-9:
            return "slippage_exceeded"
        name = order["instrument"]
        own = self.instruments[name]
        need = self.notional(name, quantity, price)
        if own["kind"] != "spot":
            need = need / own["leverage"] + (0 if self.positions[name] else own["extra_margin"])
        return "insufficient_cash" if (need + fee) * (1 - NOISE) > self.available() else None

    def available(self):
        free = self.cash
        for name, position in self.positions.items():
            if position is None:
                continue
            own, at_entry = self.instruments[name], self.notional(name, position["quantity"], position["entry"])
            if own["kind"] == "spot":
                free -= 2 * at_entry if position["sign"] < 0 else 0
            else:
                free += self.unrealised(name) - at_entry / own["leverage"] - own["extra_margin"]
        return free

    def last_mark(self, name):
        position = self.positions[name]
        return position["entry"] if position["entry_bar"] == self.t else self.last_marks[name]

    def unrealised(self, name, mark=None):
        position = self.positions[name]
        mark = self.last_mark(name) if mark is None else mark
        sign, quantity = position["sign"], position["quantity"]
        return self.value(name, sign, quantity, mark) - self.value(name, sign, quantity, position["entry"])

    def book_fill(self, order, name, sign, quantity, reference, costs, fee, why, *, taker):
        price = reference + sign * sum(costs)
        lot = self.instruments[name]["lot"]
        position = self.positions[name]
        opening = position is None
        if opening:
            position = self.new_position(order, name, sign)
        fill = {
            "id": f"f-{len(self.fills) + 1:06d}",
            "order": order["id"] if order else None,
            "bar": self.t,
            "instrument": name,
            "side": SIDES[sign],
            "quantity": quantity,
            "price": price,
            "liquidity": "taker" if taker else "maker",
            "fee": fee,
            "why": why,
            "ambiguous": position["contested"] and bool(order) and order["role"] == "stop",
            "ts": self.terms.times[self.t],
            "trade": position["trade"],
            "sign": sign,
            "key": (fill_key(order), sign, why, taker, f"{quantity:.9g}", f"{reference:.9g}"),
        }
        self.fills.append(fill)
        if order:
            order["filled"] = snapped(order["filled"] + quantity, lot)
            order["charged"] += fee
            order["status"] = "filled" if self.remaining(order) <= 0 else "partially_filled"
        self.account_for(name, position, sign, quantity, reference, costs, fee, price)
        if sign == position["sign"]:
            self.enter(name, position, order, quantity, reference, price)
        else:
            self.leave(name, position, quantity, why)
        return fill

    def account_for(self, name, position, sign, quantity, reference, costs, fee, price):
        """Costs and edge of a fill, and what it does to the cash."""
        whole = self.value(name, sign, quantity, price) - self.value(name, sign, quantity, reference)
        total = sum(costs)
        for key, cost in zip(("spread", "slippage", "impact"), costs, strict=True):
            position[key] += whole * cost / total if total else 0.0
        position["fees"] += fee
        position["edge"] -= self.value(name, sign, quantity, reference)
        self.cash -= fee
        if self.instruments[name]["kind"] == "spot":
            self.cash -= self.value(name, sign, quantity, price)
        elif sign != position["sign"]:
            held = position["sign"]
            self.cash += self.value(name, held, quantity, price) - self.value(name, held, quantity, position["entry"])

    def new_position(self, order, name, sign):
        self.n_trades += 1
        position = {
            "trade": self.n_trades,
            "instrument": name,
            "sign": sign,
            "quantity": 0.0,
            "entry": 0.0,
            "entered": 0.0,
            "entry_bar": self.t,
            "session": self.terms.session(self.t),
            "decided_on": order["decided_on"],
            "tier": order["tier"],
            "terms": order["terms"],
            "order": order["id"],
            "stop": None,
            "ladder": [],
            "trails": {},
            "runs": False,
            "extreme": -sign * math.inf,  # the highest high of completed bars
            "apart": None,  # R: from the price paid to the first stop
            "risk": None,
            "low": math.inf,
            "high": -math.inf,
            "edge": 0.0,
            "contested": False,
        } | dict.fromkeys(PARTS, 0.0)
        self.positions[name] = position
        return position

    def enter(self, name, position, order, quantity, reference, price):
        first = position["quantity"] == 0
        held = self.units(name, position["quantity"])
        added = self.units(name, quantity)
        if first:
            position["entry"] = price
        elif self.inverse(name):
            position["entry"] = (held + added) / (held / position["entry"] + added / price)
        else:
            position["entry"] = (held * position["entry"] + added * price) / (held + added)
        lot = self.instruments[name]["lot"]
        position["quantity"] = snapped(position["quantity"] + quantity, lot)
        position["entered"] = snapped(position["entered"] + quantity, lot)
        self.last_entry = self.terms.times[self.t]
        if self.phase == "open":
            for row in self.terms.funding:
                if row["instrument"] == name and row["at"] == self.terms.opens_at(self.t):
                    self.fund(name, row, quantity)
        self.observe(name, self.here(name))
        if first:
            self.protect(name, position, order, quantity, reference)
        elif order["id"] != position["order"] and any(order["terms"].get(key) for key in ("stop", "targets", "trail")):
            self.warn(f"{order['id']}: {name} is held, the stop and the targets it has stay")
        self.resize(position)

    def leave(self, name, position, quantity, why):
        lot = self.instruments[name]["lot"]
        left = position["quantity"] - quantity
        position["quantity"] = 0.0 if left <= (lot or 0) * 1e-6 + 1e-12 else snapped(left, lot)
        if position["quantity"] > 0:
            self.size_stop(position)
            self.observe(name, self.here(name))
            return
        self.positions[name] = None
        for order in self.live(name):
            if order["role"] != "entry" or order["reduces"]:
                self.end(order, "cancelled", "position_closed")
        self.close_trade(name, position, why)

    def size_stop(self, position):
        stop = position["stop"]
        if stop and stop["status"] in LIVE:
            lot = self.instruments[position["instrument"]]["lot"]
            stop["quantity"] = stop["requested"] = snapped(stop["filled"] + position["quantity"], lot)

    # Protective orders

    def protect(self, name, position, order, quantity, reference):
        """The stop, then the targets, from the price paid on the first fill."""
        terms, sign, entry = order["terms"], position["sign"], position["entry"]
        for key in ("trail", "runner_trail"):
            if terms.get(key):
                first = terms[key]["pct"] * entry if "pct" in terms[key] else terms[key]["distance"]
                position["trails"][key] = terms[key] | {"level": entry - sign * first}
        level, why = None, "stop"
        stop = terms.get("stop")
        if stop:
            level = stop.get("price")
            if level is None:
                level = entry - sign * (stop["pct"] * entry if "pct" in stop else stop["distance"])
        trail = position["trails"].get("trail")
        if trail and (level is None or sign * (trail["level"] - level) > 0):
            level, why = trail["level"], "trail"
        if level is not None:
            self.place_stop(position, level, why, decided_on=order["decided_on"])
            placed = position["stop"]["price"]
            position["apart"] = sign * (entry - placed)
            if sign * (reference - placed) > 0:
                lost = self.value(name, sign, quantity, entry) - self.value(name, sign, quantity, placed)
                position["risk"] = lost
        for number, target in enumerate(terms.get("targets") or [], start=1):
            self.add_leg(position, number, target, order["decided_on"])

    def place_stop(self, position, level, why, *, decided_on):
        """Move the stop to `level`, or make one."""
        name, sign = position["instrument"], -position["sign"]
        price = stop_price(sign, level, self.instruments[name]["tick"])
        if position["stop"] is None:
            position["stop"] = self.order(
                name,
                sign,
                "stop",
                role="stop",
                decided_on=decided_on,
                tier=position["tier"],
                new=False,
                requested=position["quantity"],
                quantity=position["quantity"],
            )
        position["stop"]["price"], position["stop"]["why"] = price, why

    def tighten_stop(self, position, level, why, *, decided_on):
        stop, sign = position["stop"], position["sign"]
        price = stop_price(-sign, level, self.instruments[position["instrument"]]["tick"])
        if stop is None or (not stop["triggered"] and sign * (price - stop["price"]) > 0):
            self.place_stop(position, level, why, decided_on=decided_on)

    def add_leg(self, position, number, target, decided_on):
        price, sign = target.get("price"), position["sign"]
        if price is None:
            price = position["entry"] + sign * target["r"] * position["apart"]
        price = limit_price(-sign, price, self.instruments[position["instrument"]]["tick"])
        leg = {"number": number, "price": price, "share": target["share"], "order": None, "decided_on": decided_on}
        position["ladder"].append(leg)

    def resize(self, position):
        """Stop and targets to what has been entered in all."""
        self.size_stop(position)
        name, ladder = position["instrument"], position["ladder"]
        if not ladder:
            return
        lot, entered = self.instruments[name]["lot"], position["entered"]
        sizes = [floored(leg["share"] * entered, lot) for leg in ladder]
        whole = sum(leg["share"] for leg in ladder) > 1 - 1e-9
        if whole:
            ended = [leg["order"] and leg["order"]["status"] not in LIVE for leg in ladder]
            others = [
                leg["order"]["filled"] if over else size for leg, size, over in zip(ladder, sizes, ended, strict=True)
            ]
            sizes[-1] = max(0.0, snapped(entered - sum(others[:-1]), lot))
        if floored(ladder[0]["share"] * entered, lot) <= 0:
            sizes = [entered] + [0.0] * (len(ladder) - 1)
        for leg, size in zip(ladder, sizes, strict=True):
            if leg["order"] is None and size > 0:
                leg["order"] = self.order(
                    name,
                    -position["sign"],
                    "limit",
                    role="target",
                    why=f"target_{leg['number']}",
                    number=leg["number"],
                    decided_on=leg["decided_on"],
                    tier=position["tier"],
                    price=leg["price"],
                    takes_rest=whole and leg is ladder[-1],
                )
            order = leg["order"]
            if order and order["status"] in LIVE:
                order["requested"] = leg["share"] * entered
                order["quantity"] = max(order["filled"], size)
                if self.remaining(order) <= 0:
                    order["status"] = "filled"

    def judge_at_once(self, name, price):
        """Protective orders that an entry's fill at `price` has made active."""
        position = self.positions[name]
        if self.phase == "open" and self.liquidates_on(name) == "mark" and position["entry_bar"] == self.t:
            self.liquidate_at_open(name)
        stop = position["stop"]
        if stop and stop["status"] in LIVE and not stop["triggered"] and stop["sign"] * (price - stop["price"]) >= 0:
            stop["triggered"] = True
            self.execute(stop, price, taker=True)
        for order in self.live(name, "target"):
            if order["new"] and order["status"] in LIVE:
                self.new_limit(order, price)

    def after_target(self, order):
        """Break-even, at once, and the runner, once its targets have filled."""
        position = self.positions[order["instrument"]]
        if order["role"] != "target" or order["status"] != "filled":
            return
        if position["terms"].get("break_even_after") == order["number"]:
            self.tighten_stop(position, position["entry"], "break_even", decided_on=position["decided_on"])
        legs = [leg["order"] for leg in position["ladder"] if leg["order"]]
        position["runs"] = position["runs"] or all(leg["status"] not in LIVE for leg in legs)

    # Step 3: inside the bar

    def fund_inside(self, present):
        opens, closes = self.terms.opens_at(self.t), self.terms.closes_at(self.t)
        for name in present:
            for row in self.terms.funding:
                if row["instrument"] == name and opens < row["at"] < closes and self.positions[name]:
                    self.fund(name, row, self.positions[name]["quantity"])
                    self.observe(name, self.bar(name)["open"])

    def walk(self, name):
        self.phase = "inside"
        if self.positions[name]:
            self.positions[name]["contested"] = False
        elif not self.live(name):
            return
        bar = self.bar(name)
        ts = self.terms.times[self.t]
        finer = [
            one for at, one in sorted(self.terms.finer.get(name, {}).items()) if one and ts <= at < ts + self.terms.step
        ]
        mark = self.mark_bar(name) if self.liquidates_on(name) == "mark" else None
        if not finer:
            self.two_paths(name, bar, mark, before=[bar["open"]], after=[])
            return
        at = bar["open"]
        for i, one in enumerate(finer):
            after = [bar["close"]] if i == len(finer) - 1 else []
            self.two_paths(name, one, mark if i == 0 else None, before=[at], after=after)
            at = one["close"]

    def two_paths(self, name, bar, mark, *, before, after):
        n_fills, cash = len(self.fills), self.cash
        books = []
        for turns in (("high", "low"), ("low", "high")):
            book = copy.deepcopy(self)
            points = [*before, bar["open"], bar[turns[0]], bar[turns[1]], bar["close"], *after]
            marks = [mark[turns[0]], mark[turns[1]], mark["close"]] if mark else [None] * 3
            marks = [None] * len(before) + marks + [None] * len(after)
            for start, end, mark_end in zip(points, points[1:], marks, strict=False):
                book.leg(name, start, end, mark_end)
            books.append(book)
        closes = after[0] if after else bar["close"]
        worths = [book.worth(name, closes) - cash for book in books]
        chosen, other = self.chosen(books, worths, bar)
        known = Counter(fill["key"] for fill in other.fills[n_fills:])
        for fill in chosen.fills[n_fills:]:
            if known[fill["key"]]:
                known[fill["key"]] -= 1
            else:
                fill["ambiguous"] = True
        self.__dict__ = chosen.__dict__

    def worth(self, name, price):
        position = self.positions[name]
        if position is None:
            return self.cash
        if self.instruments[name]["kind"] == "spot":
            return self.cash + self.value(name, position["sign"], position["quantity"], price)
        return self.cash + self.unrealised(name, price)

    def chosen(self, books, worths, bar):
        first, second = worths
        slack = 1e-9 * max(1.0, abs(first), abs(second))
        worse = 1 if second < first - slack else 0
        better = 1 if second > first + slack else 0
        policy = self.rules["path"]
        if policy == "likely":
            up, down = bar["high"] - bar["open"], bar["open"] - bar["low"]
            number = 0 if up < down else 1 if down < up else worse
        else:
            number = worse if policy == "adverse" else better
        return books[number], books[1 - number]

    def leg(self, name, start, end, mark_end):
        """Everything that happens while the price goes straight from `start` to `end`."""
        at = start
        while True:
            self.at = at
            if self.liquidated_on_mark(name, end, mark_end):
                continue
            event = self.nearest(name, at, end)
            if event is None:
                break
            order, at = event
            self.at = at
            self.observe(name, at)
            if order is None:
                self.liquidate(name, at)
            else:
                self.happen(order, at)
        self.observe(name, end)

    def nearest(self, name, at, end):
        """(order, price) of the next price event on the leg; the order of a liquidation is None."""
        events = []
        for order in self.live(name):
            price = self.reached(order, at, end) if order["id"] not in self.spent else None
            if price is not None:
                entering = order["role"] == "entry" and not self.reducing(order)
                events.append((abs(price - at), entering, order["id"], order, price))
        position = self.positions[name]
        if position and self.liquidates_on(name) == "last":
            level = self.liquidation_price(name)
            sign = position["sign"]
            if level is not None and min(sign * at, sign * end) <= sign * level:
                price = at if sign * (at - level) <= 0 else level
                events.append((abs(price - at), False, "o-~", None, price))
        if not events:
            return None
        _, _, _, order, price = min(events, key=lambda event: event[:3])
        return order, price

    def reached(self, order, at, end):
        """The price at which the leg reaches the order: `at` where it already has."""
        if self.is_limit(order):
            if self.beyond(order, at):
                return at
            return order["price"] if self.beyond(order, end) else None
        level = order["trigger"] if order["type"] == "stop_limit" else order["price"]
        if level is None or order["triggered"]:
            return None
        if order["sign"] * (at - level) >= 0:
            return at
        return level if order["sign"] * (end - level) >= 0 else None

    def happen(self, order, at):
        if self.is_limit(order):
            self.execute(order, order["price"], taker=False)
        elif order["type"] == "stop_limit":
            order["triggered"] = True
            self.new_limit(order, at)
        else:
            order["triggered"] = True
            self.execute(order, at, taker=True)

    # Step 4: liquidation

    def liquidates_on(self, name):
        own = self.instruments[name]
        marked = name in self.terms.marked and self.rules["liquidate_on"] == "mark"
        if own["kind"] == "spot" or (own["leverage"] <= 1 and not marked):
            return None
        return "mark" if marked else "last"

    def margin_of(self, name):
        return self.instruments[name].get("margin", self.terms.account.get("margin", "isolated"))

    def liquidation_price(self, name):
        position, own = self.positions[name], self.instruments[name]
        sign, entry = position["sign"], position["entry"]
        quantity = self.units(name, position["quantity"])
        value = self.notional(name, position["quantity"], entry)
        initial = value / own["leverage"]
        maintenance = value * own["maintenance_margin"] - own["maintenance_amount"]
        rate, formula = own["maintenance_margin"], own["liquidation"]
        margin = initial + own["extra_margin"]
        if formula == "bybit_linear":
            price = entry - sign * (initial - maintenance + own["extra_margin"]) / quantity
        elif formula == "bybit_inverse":
            price = divided(quantity, value + sign * (initial - maintenance))
        elif formula == "bybit_inverse_2026":
            price = divided(quantity * (1 + sign * rate), value + sign * value / own["leverage"])
        elif formula == "binance":
            wallet = margin if self.margin_of(name) == "isolated" else self.cross_wallet(name)
            price = divided(
                wallet + own["maintenance_amount"] - sign * quantity * entry, quantity * rate - sign * quantity
            )
        else:
            price = divided(entry - sign * margin / quantity, 1 - sign * (rate + position["tier"][1]))
        return price if price is not None and price > 0 else None

    def cross_wallet(self, name):
        wallet = self.cash
        for other, position in self.positions.items():
            own = self.instruments[other]
            if other != name and position and own["kind"] != "spot":
                worth = self.notional(other, position["quantity"], self.last_mark(other))
                wallet -= worth * own["maintenance_margin"] - own["maintenance_amount"]
                wallet += self.unrealised(other)
        return wallet

    def bankruptcy_price(self, name, mark):
        position, own = self.positions[name], self.instruments[name]
        if self.margin_of(name) == "cross":
            return mark
        quantity = self.units(name, position["quantity"])
        value = self.notional(name, position["quantity"], position["entry"])
        margin = value / own["leverage"] + own["extra_margin"]
        if self.inverse(name):
            return quantity / (value + position["sign"] * margin)
        return position["entry"] - position["sign"] * margin / quantity

    def liquidate(self, name, mark, *, ambiguous=False):
        position = self.positions[name]
        price = self.bankruptcy_price(name, mark)
        quantity = position["quantity"]
        order = self.order(
            name,
            -position["sign"],
            "market",
            role="liquidation",
            tier=position["tier"],
            requested=quantity,
            quantity=quantity,
        )
        fee = self.fee(order, quantity, price, taker=True)
        fill = self.book_fill(order, name, order["sign"], quantity, price, (0, 0, 0), fee, "liquidation", taker=True)
        fill["ambiguous"] = ambiguous

    def liquidated_on_mark(self, name, end, mark_end):
        position = self.positions[name]
        if position is None or mark_end is None:
            return False
        level, sign, stop = self.liquidation_price(name), position["sign"], position["stop"]
        if level is None or sign * (mark_end - level) > 0:
            return False
        nearer = bool(stop) and sign * (end - stop["price"]) <= 0 and sign * (stop["price"] - level) > 0
        stoppable = nearer and stop["status"] in LIVE and not stop["triggered"] and stop["id"] not in self.spent
        if stoppable and self.rules["path"] == "favourable":
            position["contested"] = True
            return False
        self.liquidate(name, level, ambiguous=stoppable)
        return True

    # The close

    def close(self, present):
        self.phase = "close"
        for name in present:
            position = self.positions[name]
            wanted = position and position["terms"].get("session_close") and not self.leaving(name)
            if wanted and self.terms.ends_session(self.t):
                self.execute(self.exit_order(name, "session_close"), self.bar(name)["close"], taker=True)
        for order in self.live():
            order["new"] = order["new"] and order["instrument"] not in present
            if order["ttl"] is not None and self.terms.elapsed(order["decided_on"], self.t) >= order["ttl"]:
                self.end(order, "expired", "ttl_expired")
        for name in present:
            if any(a["instrument"] == name and a["bar"] <= self.t and a.get("delist") for a in self.terms.actions):
                self.delist(name)

    def delist(self, name):
        self.delisted.add(name)
        position = self.positions[name]
        if position:
            price = self.bar(name)["close"] * self.rules["delisting_recovery"]
            quantity = position["quantity"]
            order = self.order(
                name, -position["sign"], "market", role="delisting", requested=quantity, quantity=quantity
            )
            self.book_fill(order, name, order["sign"], quantity, price, (0, 0, 0), 0.0, "delisted", taker=True)
        for order in self.live(name):
            self.end(order, "cancelled", "cancelled")

    # Step 5: marking

    def mark(self, present):
        for name in present:
            bar, mark = self.bar(name), self.mark_bar(name)
            self.closes[name] = bar["close"]
            self.last_marks[name] = mark["close"] if mark and self.rules["liquidate_on"] == "mark" else bar["close"]
            self.closed_at[name] = self.terms.closes_at(self.t)
            self.history[name].append(bar | {"t": self.t, "session": self.terms.session(self.t)})
        session = self.terms.session(self.t)
        if session != self.day:
            self.day, self.day_equity = session, self.equity[-1] if self.equity else self.cash_at_start()
        self.equity.append(self.worth_now())
        self.peak = max(self.peak, self.equity[-1])
        if "kill_switch" in self.risk and not self.killed:
            self.throw_kill_switch()
        for name in present:
            if self.positions[name]:
                self.trail(name)

    def cash_at_start(self):
        return float(self.terms.account["cash"])

    def worth_now(self):
        worth = self.cash
        for name, position in self.positions.items():
            if position:
                worth += self.worth(name, self.closes[name]) - self.cash
        return worth

    def drawdown(self):
        return 1 - self.equity[-1] / self.peak

    def throw_kill_switch(self):
        if self.drawdown() <= self.risk["kill_switch"]["drawdown"] * (1 + NOISE):
            return
        self.killed = True
        for order in self.live(None, "entry"):
            self.end(order, "cancelled", "kill_switch")
        for name, position in self.positions.items():
            if position:
                tier = self.rates(self.now())
                self.exit_order(name, "kill_switch", decided_on=self.t, tier=tier)

    def trail(self, name):
        position, bar = self.positions[name], self.bar(name)
        sign = position["sign"]
        reached = bar["high"] if sign > 0 else bar["low"]
        position["extreme"] = sign * max(sign * position["extreme"], sign * reached)
        for key, trail in position["trails"].items():
            if "pct" in trail:
                level = position["extreme"] * (1 - sign * trail["pct"])
            else:
                level = position["extreme"] - sign * trail["atr"] * self.atr(name, trail["length"])
            trail["level"] = sign * max(sign * trail["level"], sign * level)
            if key == "trail" or position["runs"]:
                self.tighten_stop(position, trail["level"], "trail", decided_on=self.t)

    # Step 6: decisions

    def decide(self):
        for decision in self.terms.decisions:
            if decision["bar"] == self.t:
                {
                    "buy": self.decide_entry,
                    "sell": self.decide_entry,
                    "close": self.decide_close,
                    "cancel": self.decide_cancel,
                    "move_stop": self.decide_stop,
                    "move_target": self.decide_targets,
                }[decision["do"]](decision, decision["instrument"])

    def already(self, decision):
        name = decision.get("client_order_id")
        return name is not None and any(order["client_order_id"] == name for order in self.orders)

    def leaving(self, name):
        return any(order.get("everything") for order in self.live(name, "exit"))

    def decide_entry(self, decision, name):
        if self.already(decision):
            return
        own, sign = self.instruments[name], 1 if decision["do"] == "buy" else -1
        kind = decision.get("order", "market")
        price, trigger = decision.get("price"), decision.get("trigger")
        if price is not None:
            price = (stop_price if kind == "stop" else limit_price)(sign, price, own["tick"])
        if trigger is not None:
            trigger = stop_price(sign, trigger, own["tick"])
        position = self.positions[name]
        reduces = position is not None and position["sign"] == -sign and not self.leaving(name)
        order = self.order(
            name,
            sign,
            kind,
            price=price,
            trigger=trigger,
            client_order_id=decision.get("client_order_id"),
            requested=float(decision["quantity"]) if decision.get("quantity") else None,
            post_only=bool(decision.get("post_only")),
            ttl=decision.get("ttl_bars"),
            reduces=reduces,
            tier=self.rates(self.now()),
            regime=decision.get("regime"),
        )
        reason = self.refused(order, decision)
        if reason:
            self.refuse(order, reason)

    def refused(self, order, decision):
        """Size `order`, ask everything that may refuse it, and give the reason if something does."""
        name, sign, reduces = order["instrument"], order["sign"], order["reduces"]
        own = self.instruments[name]
        if name in self.delisted or not (self.bar(name) or reduces):
            return "halted" if name in self.delisted else "stale_bar"
        if sign < 0 and not own["shortable"] and not reduces:
            return "not_shortable"
        order["terms"], distance, valid = self.exits(order, decision)
        if not valid:
            return "invalid_stop"
        requested, reason = self.sized(order, decision, distance)
        order["requested"] = requested
        if reason:
            return reason
        order["quantity"] = floored(requested, own["lot"])
        least = own["min_notional"] * (1 - NOISE)
        worth = self.units(name, order["quantity"])
        worth = worth if self.inverse(name) else worth * self.closes[name]
        if order["quantity"] <= 0 or (worth < least and not reduces):
            return "below_min_notional"
        return None if reduces else self.guarded(order)

    def exits(self, order, decision):
        """(the exits of a decision with their distances, the stop's distance, whether they mean something)."""
        name, sign, close = order["instrument"], order["sign"], self.closes[order["instrument"]]
        terms = {key: decision.get(key) for key in ("time_stop_bars", "session_close", "break_even_after")}
        targets = decision.get("targets")
        if targets == "default":
            targets = [{"r": 1.0, "share": 0.4}, {"r": 2.5, "share": 0.4}]
            terms["break_even_after"] = decision.get("break_even_after", 1)
        terms["targets"] = targets
        distances = []
        for key in ("stop", "trail", "runner_trail"):
            given = decision.get(key)
            if given is None:
                continue
            if not isinstance(given, dict):
                given = {"price": given}
            if "atr" in given:
                average = self.atr(name, given["length"])
                if average is None:
                    return terms, None, False
                given = given | {"distance": given["atr"] * average}
            terms[key] = given
            if key != "runner_trail":
                expected = order["price"] if order["price"] is not None else close
                if "price" in given:
                    distances.append((sign * (expected - given["price"]), expected))
                else:
                    distances.append((given["pct"] * close if "pct" in given else given["distance"], close))
        distance = min(distances)[0] if distances else None
        order["measured_from"] = min(distances)[1] if distances else close
        needs = any(target.get("price") is None for target in targets or [])
        needs = needs or (decision.get("size") or {}).get("model") == "risk_per_trade"
        valid = distance > 0 if distance is not None else not needs
        return terms, distance, valid

    def sized(self, order, decision, distance):
        """(quantity in contracts before rounding, reason for none)."""
        size, name = decision.get("size"), order["instrument"]
        if size is None:
            return float(decision["quantity"]), None
        equity, model = self.equity[-1], size["model"]
        worth = self.notional(name, 1.0, self.closes[name])
        if model == "units":
            return float(size["quantity"]), None
        if model == "notional":
            return size["notional"] / worth, None
        if model == "risk_per_trade":
            share = size["risk"] * worth / self.loss_per_contract(order, distance)
        else:
            share = {
                "equity_share": lambda: size["share"],
                "volatility_target": lambda: self.volatility_share(name, size),
                "kelly": lambda: self.kelly_share(size),
                "inverse_volatility": lambda: self.parity_share(name, size),
                "risk_parity": lambda: self.parity_share(name, size),
            }[model]()
        if model == "kelly" and share <= 0:
            return 0.0, "no_edge"
        if size.get("cap") is not None:
            share = min(share, size["cap"])
        return max(0.0, share * equity / worth), None

    def loss_per_contract(self, order, distance):
        name, sign = order["instrument"], order["sign"]
        if not self.inverse(name):
            return self.units(name, distance)
        expected = order["measured_from"]
        return abs(self.value(name, sign, 1.0, expected) - self.value(name, sign, 1.0, expected - sign * distance))

    def volatility_share(self, name, size):
        returns = self.returns(name, size["days"], self.t)
        sigma = deviation(returns)
        if len(returns) < size["days"] or not sigma:
            return 0.0
        return size["annual"] / (sigma * math.sqrt(size["periods_per_year"]))

    def kelly_share(self, size):
        returns = [trade["pnl"] / trade["notional"] for trade in self.trades]
        if len(returns) < max(1, size["min_trades"]):
            return 0.0
        wins, losses = [one for one in returns if one > 0], [-one for one in returns if one < 0]
        if not wins:
            return 0.0
        p = len(wins) / len(returns)
        if not losses:
            return size["fraction"] * p
        payoff = (sum(wins) / len(wins)) / (sum(losses) / len(losses))
        return size["fraction"] * (p - (1 - p) / payoff)

    def parity_share(self, name, size):
        dated = {one: self.dated_returns(one, size["days"], self.t) for one in self.instruments}
        dated = {one: own for one, own in dated.items() if len(own) == size["days"] and deviation(list(own.values()))}
        if name not in dated:
            return 0.0
        if size["model"] == "inverse_volatility":
            weights = {one: 1 / deviation(list(own.values())) for one, own in dated.items()}
            return weights[name] / sum(weights.values())
        common = sorted(set.intersection(*(set(own) for own in dated.values())))
        columns = [[own[day] for day in common] for own in dated.values()]
        if not all(deviation(column) for column in columns):
            return 0.0
        return equal_risk_weights(columns)[list(dated).index(name)]

    # Guards

    def guarded(self, order):
        """The reason of the first guard that refuses, in the order of the contract."""
        checks = {
            "max_position": self.over_position,
            "max_gross_exposure": self.over_gross,
            "max_net_exposure": self.over_net,
            "max_leverage": self.over_gross,
            "max_open_positions": self.over_positions,
            "correlation_limit": self.over_correlation,
            "max_daily_loss": self.over_daily_loss,
            "max_drawdown": self.over_drawdown,
            "kill_switch": self.is_killed,
            "global_trade_spacing": self.too_close,
            "symbol_cooldown_active": self.cooling,
            "max_trades_per_hour": self.over_hour,
            "max_trades_per_day": self.over_day,
            "loss_streak_cooldown": self.on_losing_streak,
        }
        reason = next((one for one, over in checks.items() if one in self.risk and over(self.risk[one], order)), None)
        if reason in ("max_trades_per_hour", "max_trades_per_day"):
            self.warn(f"{reason} refused {order['id']}: the last resort, look what asked for so many")
        return reason

    def now(self):
        return self.terms.closes_at(self.t)

    def waiting_entries(self, order):
        return [one for one in self.live(None, "entry") if one is not order and not one["reduces"]]

    def exposures(self, order):
        """(instrument, signed worth) of all positions, waiting entries and `order` itself."""
        found = [
            (name, position["sign"] * self.notional(name, position["quantity"], self.closes[name]))
            for name, position in self.positions.items()
            if position and not self.leaving(name)
        ]
        for one in [*self.waiting_entries(order), order]:
            name = one["instrument"]
            left = one["quantity"] - one["filled"]
            found.append((name, one["sign"] * self.notional(name, left, self.closes[name])))
        return found

    def exceeds(self, amount, limit):
        return amount > limit * self.equity[-1] * (1 + NOISE)

    def over_position(self, limit, order):
        own = [worth for name, worth in self.exposures(order) if name == order["instrument"]]
        return self.exceeds(abs(sum(own)), limit)

    def over_gross(self, limit, order):
        return self.exceeds(sum(abs(worth) for _, worth in self.exposures(order)), limit)

    def over_net(self, limit, order):
        return self.exceeds(abs(sum(worth for _, worth in self.exposures(order))), limit)

    def over_positions(self, limit, order):
        return len({name for name, _ in self.exposures(order)}) > limit

    def over_correlation(self, limit, order):
        name = order["instrument"]
        own = self.dated_returns(name, limit["days"], self.t)
        for other, worth in self.exposures(order):
            theirs = self.dated_returns(other, limit["days"], self.t)
            common = sorted(set(own) & set(theirs))
            if other == name or len(common) < 3:
                continue
            alike = correlation([own[day] for day in common], [theirs[day] for day in common])
            if order["sign"] * math.copysign(1, worth) * alike > limit["limit"] * (1 + NOISE):
                return True
        return False

    def over_daily_loss(self, limit, _order):
        return self.day_equity - self.equity[-1] > limit * self.day_equity * (1 + NOISE)

    def is_killed(self, _limit, _order):
        return self.killed

    def over_drawdown(self, limit, _order):
        return self.drawdown() > limit * (1 + NOISE)

    def too_close(self, limit, _order):
        return self.last_entry is not None and self.now() - self.last_entry < limit["seconds"]

    def cooling(self, limit, order):
        when, pnl = self.last_exit.get(order["instrument"], (None, 0.0))
        if when is None:
            return False
        return self.now() - when < limit.get("after_win_seconds" if pnl > 0 else "after_loss_seconds", 0)

    def entries_in(self, order, period, wanted):
        firsts = {}
        for fill in self.fills:
            if fill["why"] == "entry":
                firsts.setdefault(fill["order"], period(fill["bar"]))
        unfilled = sum(1 for one in self.waiting_entries(order) if not one["filled"])
        return sum(1 for when in firsts.values() if when == wanted) + unfilled

    def over_hour(self, limit, order):
        return self.entries_in(order, lambda t: self.terms.times[t] // 3600, self.now() // 3600) >= limit

    def over_day(self, limit, order):
        return self.entries_in(order, self.terms.session, self.terms.session_to_come(self.now())) >= limit

    def on_losing_streak(self, limit, order):
        losses, when = self.streaks.get(order["regime"], (0, None))
        return losses >= limit["losses"] and self.now() - when < limit["seconds"]

    # The other decisions

    def decide_close(self, decision, name):
        if self.already(decision):
            return
        position = self.positions[name]
        given = decision.get("quantity")
        quantity = given if given is not None else position["quantity"] if position else 0.0
        order = self.order(
            name,
            -position["sign"] if position else 0,
            "market",
            role="exit",
            why="signal",
            everything=given is None,
            requested=float(quantity),
            quantity=floored(quantity, self.instruments[name]["lot"]) if position else 0.0,
            client_order_id=decision.get("client_order_id"),
            tier=self.rates(self.now()),
        )
        if position is None:
            self.refuse(order, "no_position")
        elif order["quantity"] <= 0:
            self.refuse(order, "below_min_notional")

    def decide_cancel(self, decision, name):
        wanted = decision.get("client_order_id")
        for order in self.live(name, "entry"):
            if wanted is None or order["client_order_id"] == wanted:
                self.end(order, "cancelled", "cancelled")

    def decide_stop(self, decision, name):
        position = self.positions[name]
        if position is None:
            self.warn(f"{name}: no position on bar {self.t}, no stop moved")
            return
        self.place_stop(position, decision["stop"], "stop", decided_on=self.t)

    def decide_targets(self, decision, name):
        position = self.positions[name]
        if position is None:
            self.warn(f"{name}: no position on bar {self.t}, no target moved")
            return
        for order in self.live(name, "target"):
            self.end(order, "cancelled", "cancelled")
        position["ladder"], position["entered"] = [], position["quantity"]
        for number, target in enumerate(decision["targets"], start=1):
            self.add_leg(position, number, target, self.t)
        self.resize(position)

    # Records

    def pnl(self, name, position, price=None):
        edge = position["edge"]
        if price is not None:
            edge += self.value(name, position["sign"], position["quantity"], price)
        costs = sum(position[key] for key in ("fees", "spread", "slippage", "impact", "borrow"))
        return edge, edge - costs + position["funding"] + position["dividends"]

    def observe(self, name, price):
        position = self.positions[name]
        if position:
            _, pnl = self.pnl(name, position, price)
            position["low"], position["high"] = min(position["low"], pnl), max(position["high"], pnl)

    def close_trade(self, name, position, why):
        fills = [fill for fill in self.fills if fill["trade"] == position["trade"]]
        entries = [fill for fill in fills if fill["sign"] == position["sign"]]
        exits = [fill for fill in fills if fill["sign"] != position["sign"]]
        edge, pnl = self.pnl(name, position)
        when = self.terms.times[self.t]
        order = next(order for order in self.orders if order["id"] == position["order"])
        regime = order.get("regime")
        losses, _ = self.streaks.get(regime, (0, None))
        self.streaks[regime] = (losses + 1, when) if pnl < 0 else (0, None)
        if pnl:
            self.last_exit[name] = (when, pnl)
        quantity = sum(fill["quantity"] for fill in entries)
        entry_price = self.mean_price(name, entries)
        self.trades.append(
            {
                "number": position["trade"],
                "id": f"t-{position['trade']:06d}",
                "instrument": name,
                "side": "long" if position["sign"] > 0 else "short",
                "entry_bar": position["entry_bar"],
                "exit_bar": self.t,
                "quantity": quantity,
                "entry_price": entry_price,
                "exit_price": self.mean_price(name, exits),
                "exit_reason": why,
                "pnl": pnl,
                "edge": edge,
                **{key: position[key] for key in PARTS},
                "r": pnl / position["risk"] if position["risk"] else None,
                "mae": min(position["low"], pnl),
                "mfe": max(position["high"], pnl),
                "notional": self.notional(name, quantity, entry_price),
            }
        )

    def mean_price(self, name, fills):
        quantity = sum(fill["quantity"] for fill in fills)
        if self.inverse(name):
            return quantity / sum(fill["quantity"] / fill["price"] for fill in fills)
        return sum(fill["quantity"] * fill["price"] for fill in fills) / quantity

    def answer(self):
        marked = {fill["trade"] for fill in self.fills if fill["ambiguous"]}
        trades = [
            {key: value for key, value in trade.items() if key not in ("number", "notional")}
            | {"ambiguous": trade["number"] in marked}
            for trade in sorted(self.trades, key=lambda trade: trade["number"])
        ]
        return {
            "orders": [
                {key: order[key] for key in ORDER_FIELDS}
                for order in (order | {"side": SIDES[order["sign"]]} for order in self.orders)
            ],
            "fills": [{key: fill[key] for key in FILL_FIELDS} for fill in self.fills],
            "trades": trades,
            "open_positions": [self.open_position(name) for name, held in self.positions.items() if held],
            "equity": self.equity,
            "ambiguous_trades": sum(1 for trade in trades if trade["ambiguous"]),
            "warnings": self.warnings,
        }

    def open_position(self, name):
        position, mark = self.positions[name], self.closes[name]
        edge, pnl = self.pnl(name, position, mark)
        return {
            "instrument": name,
            "side": "long" if position["sign"] > 0 else "short",
            "quantity": position["quantity"],
            "entry_bar": position["entry_bar"],
            "entry_price": position["entry"],
            "mark": mark,
            "pnl": pnl,
            "edge": edge,
            **{key: position[key] for key in PARTS},
            "ambiguous": any(fill["ambiguous"] and fill["trade"] == position["trade"] for fill in self.fills),
        }


def fill_key(order):
    """What makes an order of one path the same as one of the other."""
    if order is None:
        return ("fraction",)
    return (order["id"],) if order["role"] in ("entry", "exit") else (order["role"], order["number"])


def split_terms(terms, ratio):
    """The prices and distances of exits that wait with their entry, after a split."""
    divided_terms = dict(terms)
    for key in ("stop", "trail", "runner_trail"):
        if terms.get(key):
            divided_terms[key] = {
                name: value / ratio if name in ("price", "distance") else value for name, value in terms[key].items()
            }
    if terms.get("targets"):
        divided_terms["targets"] = [
            target | {"price": target["price"] / ratio} if target.get("price") is not None else target
            for target in terms["targets"]
        ]
    return divided_terms


def divided(above, below):
    return above / below if below else None


def deviation(values):
    if len(values) < 2:
        return None
    mean = sum(values) / len(values)
    return math.sqrt(sum((value - mean) ** 2 for value in values) / (len(values) - 1))


def correlation(one, other):
    first, second = sum(one) / len(one), sum(other) / len(other)
    together = sum((a - first) * (b - second) for a, b in zip(one, other, strict=True))
    alone = math.sqrt(sum((a - first) ** 2 for a in one) * sum((b - second) ** 2 for b in other))
    return together / alone if alone else 0.0


def equal_risk_weights(returns):
    """Weights under which every instrument brings the same share of the variance: cyclical descent, then scaled to 1."""
    n, days = len(returns), len(returns[0])
    means = [sum(own) / days for own in returns]
    covariance = [
        [
            sum((a - means[i]) * (b - means[j]) for a, b in zip(returns[i], returns[j], strict=True)) / (days - 1)
            for j in range(n)
        ]
        for i in range(n)
    ]
    weights = [1 / math.sqrt(covariance[i][i]) for i in range(n)]
    for _ in range(1000):
        for i in range(n):
            pull = sum(covariance[i][j] * weights[j] for j in range(n) if j != i)
            weights[i] = (math.sqrt(pull**2 + 4 * covariance[i][i] / n) - pull) / (2 * covariance[i][i])
    return [weight / sum(weights) for weight in weights]
