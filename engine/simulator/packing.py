"""From what a run is told to the arrays and records that compiled code reads."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.costs import BPS, SCHEDULE, schedule
from engine.simulator import measures
from engine.simulator.costs import uses_measures
from engine.simulator.inputs import (
    Decision,
    Decisions,
    Entry,
    Exits,
    Floats,
    Guards,
    Instrument,
    Market,
    Rules,
    Size,
    Slippage,
    Trail,
)
from engine.simulator.schema import (
    ACCOUNT,
    CELL,
    DECISION,
    EVENT,
    FILL,
    HOT,
    ORDER,
    OUTBOX,
    PLAN,
    RULES,
    SIZE,
    STATE,
    TERMS,
    TIME,
    TRADE,
)
from engine.simulator.tape import Desk, Logs, Tape
from engine.simulator.words import (
    ABSENT,
    AT_DISTANCE,
    AT_PCT,
    AT_PRICE,
    BEFORE_ALL,
    DECISIONS_HERE,
    DELIST,
    DIVIDEND,
    DOINGS,
    EVENTS_HERE,
    FUNDING_AT_OPEN,
    FUNDING_BEFORE,
    FUNDING_INSIDE,
    KINDS,
    LIQUIDATIONS,
    NEW_DAY,
    NONE,
    ORDER_TYPES,
    PATHS,
    SAYS,
    SESSION_ENDS,
    SESSION_STARTS,
    SHARE_COLUMN,
    SIGNALS_HERE,
    SIZE_MODELS,
    SLIPPAGES,
    SPLIT,
    TARGETS,
    WINDOW_ENDS,
)

Records = NDArray[Any]
DAY_US = 86_400_000_000
SECOND_US = 1e6
_HEAD = STATE.fields["orders"][1] // 8  # type: ignore[index]  # words before the orders
_NO_GRID = np.zeros((0, 0))
_OVER_ALL = ("max_gross_exposure", "max_net_exposure", "max_leverage", "max_open_positions")
_MEASURED = ("volatility_target", "inverse_volatility", "risk_parity")


class Columns:
    """Columns measured once each, and the numbers they go by."""

    def __init__(
        self,
        market: Market,
        sessions: NDArray[np.int64],
        next_sessions: NDArray[np.int64],
    ) -> None:
        self._market, self._sessions, self._next = market, sessions, next_sessions
        self._numbers: dict[Any, int] = {}
        self._values: list[Floats] = []
        self._daily: measures.Sessions | None = None

    @property
    def daily(self) -> measures.Sessions:
        if self._daily is None:
            self._daily = measures.by_session(self._market, self._sessions)
        return self._daily

    def given(self, name: str, values: Floats | None) -> int:
        return NONE if values is None else self._number(name, lambda: np.asarray(values, dtype=np.float64))

    def wilder(self, length: int) -> int:
        return self._number(("range", length), lambda: measures.wilder_range(self._market, length))

    def deviation(self, days: int) -> int:
        """Of sessions that are over when what is decided on the bar acts; volumes in the units of that bar."""
        return self._number(
            ("deviation", days),
            lambda: self._past(self.daily.returns, days, deviation=True),
        )

    def mean_volume(self, days: int) -> int:
        return self._number(
            ("volume", days),
            lambda: self._past(self.daily.volumes, days, deviation=False) * np.cumprod(self._market.splits, axis=0),
        )

    def share(self, size: Size) -> int:
        """Of equity, for a decision on each bar."""
        return self._number(size, lambda: self._share(size))

    def stacked(self) -> Floats:
        return np.stack(self._values) if self._values else np.zeros((0, 0, 0))

    def _number(self, key: Any, make: Any) -> int:
        if key not in self._numbers:
            self._numbers[key] = len(self._values)
            self._values.append(np.ascontiguousarray(make()))
        return self._numbers[key]

    def _past(self, values: Floats, days: int, *, deviation: bool) -> Floats:
        rows = measures.over_the_past(values, days, deviation=deviation, least=2 if deviation else 1)
        return measures.on_bars(rows, self.daily.ids, self._next)

    def _share(self, size: Size) -> Floats:
        returns = self.daily.returns
        if size.model == "risk_parity":
            shares = measures.risk_parity(returns, size.days)
        else:
            deviations = measures.over_the_past(returns, size.days, deviation=True, least=size.days)
            deviations[~(deviations > 0.0)] = np.nan  # nothing can be said of what has not moved
            shares = measures.inverse_volatility(deviations)
            if size.model == "volatility_target":
                shares = np.minimum(
                    size.cap,
                    size.amount / (deviations * np.sqrt(size.periods_per_year)),
                )
        return measures.on_bars(shares, self.daily.ids, self._next)


def tape_of(
    market: Market,
    decisions: Decisions,
    instruments: Sequence[Instrument],
    rules: Rules,
) -> Tape:
    """Everything a run reads. Inputs have been checked."""
    ts, known_at = (np.ascontiguousarray(times, dtype=np.int64) for times in (market.ts, market.known_at))
    sessions, next_sessions = sessions_of(market)
    columns = Columns(market, sessions, next_sessions)
    plans, sizes = _Plans(columns, decisions), _Sizes(columns)
    default_plan, default_size = plans.number(rules.exits), sizes.number(rules.size)
    listed = _listed(decisions.listed, plans, sizes, default_size)
    events = _events(market, ts, known_at)
    record = _rules(rules, columns, decisions, instruments, market)
    terms = _terms(instruments, rules, columns, market)
    terms["default_plan"], terms["default_size"] = default_plan, default_size
    marked = bool(record["has_marks"][0])
    finer, signals = market.finer, signals_of(decisions)
    clock = _clock(market, sessions, next_sessions, events, listed, plans, terms, signals)
    tape = Tape(
        ts=ts,
        times=_times(market, ts, known_at, sessions, next_sessions),
        clock=clock,
        touched=touched_of(clock),
        opens=_grid(market.opens),
        highs=_grid(market.highs),
        lows=_grid(market.lows),
        closes=_grid(market.closes),
        volumes=_grid(market.volumes),
        mark_opens=_grid(market.mark_opens if marked else None),
        mark_highs=_grid(market.mark_highs if marked else None),
        mark_lows=_grid(market.mark_lows if marked else None),
        mark_closes=_grid(market.mark_closes if marked else None),
        conversions=_grid(market.conversions),
        columns=columns.stacked(),
        signals=signals,
        correlations=_correlations(rules.guards, columns),
        finer=np.zeros((4, 0)) if finer is None else np.stack([finer.opens, finer.highs, finer.lows, finer.closes]),
        finer_starts=np.zeros((0, 0), np.int64) if finer is None else np.ascontiguousarray(finer.starts, np.int64),
        finer_ends=np.zeros((0, 0), np.int64) if finer is None else np.ascontiguousarray(finer.ends, np.int64),
        rules=record,
        terms=terms,
        plans=plans.records(),
        sizes=sizes.records(),
        tiers=(schedule(rules.fees) if rules.fees else np.zeros(1, SCHEDULE)).view(np.dtype((np.record, SCHEDULE))),
        events=events,
        decisions=listed,
    )
    return Tape._make(column if column.dtype.names else read_only(column) for column in tape)


def desk_of(tape: Tape, cash: float) -> Desk:
    """An account with nothing but cash."""
    n, n_bars = tape.terms.size, tape.ts.size
    states = np.zeros(n + 2, STATE)
    desk = Desk(
        np.zeros(n, HOT),
        states,
        states.view(np.dtype(np.int64)).reshape(n + 2, -1),
        np.zeros(3, ACCOUNT),
        np.zeros(3, OUTBOX),
        np.zeros(n, CELL),
        np.zeros(n, np.int64),
        np.zeros(n_bars),
        np.zeros(n_bars, np.int64),
        np.zeros(1, DECISION),
    )
    reset(desk, tape, cash)
    return desk


def reset(desk: Desk, tape: Tape, cash: float) -> None:
    """Nothing but cash again, for a tape of this shape. What is counted from 0 on may stay: it is written before it is read."""
    hots, states, accounts, cells = desk.hots, desk.states, desk.accounts, desk.cells
    desk.state_words[:, :_HEAD] = 0
    for records in (hots, accounts, cells):
        records.view(np.uint8)[:] = 0
    hots["low_band"], hots["high_band"] = -np.inf, np.inf
    hots["reach_low"], hots["reach_high"] = -np.inf, np.inf
    hots["near_low"], hots["near_high"] = -np.inf, np.inf
    hots["mark_low_band"], hots["mark_high_band"] = -np.inf, np.inf
    hots["low_seen"], hots["high_seen"], hots["mark"] = np.inf, -np.inf, np.nan
    cells["rate"] = 1.0
    states["liquidation"] = np.nan
    states["last_win_us"], states["last_loss_us"] = BEFORE_ALL, BEFORE_ALL
    states["low_seen"], states["high_seen"] = np.inf, -np.inf
    states["mark"], states["mark_price"] = np.nan, np.nan
    for name in ("cash", "equity", "peak", "day_equity"):
        accounts[name] = cash
    accounts["alarm"], accounts["last_entry_us"] = 1 << 62, BEFORE_ALL
    accounts["hour"], accounts["day"] = BEFORE_ALL, BEFORE_ALL
    accounts["maker"], accounts["taker"] = tape.tiers["maker"][0], tape.tiers["taker"][0]
    for name, records in (
        ("plans", tape.plans),
        ("states", states),
        ("terms", tape.terms),
        ("cells", cells),
        ("sizes", tape.sizes),
        ("hots", hots),
    ):
        tape.rules[name] = records.ctypes.data
    tape.rules["n_instruments"] = len(hots)


def beginning(desk: Desk) -> tuple[Records, ...]:
    """What `begin_again` copies back, where the same tape is run many times: a fifth of the time of `reset`."""
    return desk.hots.copy(), desk.accounts.copy(), desk.cells.copy(), desk.state_words[:, :_HEAD].copy()


def begin_again(desk: Desk, fresh: tuple[Records, ...]) -> None:
    desk.hots[:], desk.accounts[:], desk.cells[:], desk.state_words[:, :_HEAD] = fresh


def rows_of(log: Records, n: int) -> Records:
    """A copy of the first rows in one piece: numpy copies records field by field, which took as long as the run."""
    rows = np.empty(n, log.dtype)
    rows.view(np.uint8)[:] = log[:n].view(np.uint8)
    return rows


def logs_of(n_bars: int, needed: tuple[int, int, int], *, money: bool = True, n_positions: int = 0) -> Logs:
    """`money`: cash and exposure of every bar as well; `n_positions`: so many may be written down as still open."""
    fills, trades, orders = (np.zeros(n, dtype) for n, dtype in zip(needed, (FILL, TRADE, ORDER), strict=True))
    equity, cash, gross = (np.empty(n) for n in (n_bars, n_bars * money, n_bars * money))
    return Logs(fills, trades, orders, equity, cash, gross, np.zeros(n_positions, TRADE))


def sessions_of(market: Market) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Of each bar, and of the moment in which what is decided on its close acts."""
    if market.sessions is None:
        return market.ts // DAY_US, market.known_at // DAY_US
    sessions = np.ascontiguousarray(market.sessions, dtype=np.int64)
    following = np.append(sessions[1:], sessions[-1:])
    if market.session_ends is not None and len(following) and market.session_ends[-1]:
        following[-1] += 1
    return sessions, following


def signals_of(decisions: Decisions) -> NDArray[np.int8]:
    """Enter long 1, exit long 2, enter short 4, exit short 8, embargoed 16, a new target 32, added up; none: [0, 0]."""
    signals = np.zeros(decisions.enter_long.shape, np.int8)
    for bit, truths in enumerate((*decisions[:4], decisions.embargoed)):
        signals |= np.left_shift(truths.astype(np.int8), bit)
    wanted = decisions.weights if decisions.targets is None else decisions.targets
    if wanted is not None:
        signals |= np.where(_changes(wanted), TARGETS, 0).astype(np.int8)
    return signals if signals.any() else np.zeros((0, 0), np.int8)


def _changes(wanted: Floats) -> NDArray[np.bool_]:
    """Where a target is not the one before it."""
    known = ~np.isnan(wanted)
    rows = np.where(known, np.arange(len(wanted))[:, None], -1)
    newest = np.maximum.accumulate(rows, axis=0)  # the row of the target that holds
    before = np.vstack([np.full((1, wanted.shape[1]), -1), newest[:-1]]) if len(wanted) else newest
    held = np.where(before >= 0, np.take_along_axis(wanted, np.maximum(before, 0), axis=0), np.nan)
    changes: NDArray[np.bool_] = known & (wanted != held)
    return changes


class _Plans:
    def __init__(self, columns: Columns, decisions: Decisions) -> None:
        self._columns, self._decisions = columns, decisions
        self._numbers: dict[Exits, int] = {}
        self._rows: list[Records] = []

    def number(self, exits: Exits) -> int:
        if exits not in self._numbers:
            self._numbers[exits] = len(self._rows)
            self._rows.append(self._row(exits))
        return self._numbers[exits]

    def records(self) -> Records:
        return np.concatenate(self._rows)

    @property
    def closing_sessions(self) -> bool:
        return any(exits.session_close for exits in self._numbers)

    def _row(self, exits: Exits) -> Records:
        row = np.zeros(1, PLAN)
        self._write_stop(row, exits)
        for name, trail in (
            ("trail", exits.trail),
            ("runner_trail", exits.runner_trail),
        ):
            row[f"{name}_kind"], row[name], row[f"{name}_column"] = self._trail(trail)
        row["n_targets"] = len(exits.targets)
        row["target_price"], row["target_r"] = np.nan, np.nan
        for k, target in enumerate(exits.targets):
            row["target_price"][0, k] = np.nan if target.price is None else target.price
            row["target_r"][0, k] = np.nan if target.r is None else target.r
            row["target_share"][0, k] = target.share
        row["runner"] = sum(target.share for target in exits.targets) < 1 - 1e-9
        row["break_even_after"] = exits.break_even_after or 0
        row["time_stop_bars"] = exits.time_stop_bars or 0
        row["session_close"] = exits.session_close
        row["needs_stop"] = any(target.r is not None for target in exits.targets)
        row["has_exits"] = exits.stop is not None or bool(exits.targets) or exits.trail is not None
        return row

    def _write_stop(self, row: Records, exits: Exits) -> None:
        stop = exits.stop
        row["stop_kind"], row["stop_column"], row["stop"] = ABSENT, NONE, np.nan
        if stop is None:
            return
        if stop.price is not None:
            row["stop_kind"], row["stop"] = AT_PRICE, stop.price
        elif stop.pct is not None:
            row["stop_kind"], row["stop"] = AT_PCT, stop.pct
        elif stop.atr is not None and stop.length is not None:
            row["stop_kind"], row["stop"], row["stop_column"] = (
                AT_DISTANCE,
                stop.atr,
                self._columns.wilder(stop.length),
            )
        else:
            distances = self._columns.given("stop_distances", self._decisions.stop_distances)
            row["stop_kind"], row["stop"], row["stop_column"] = (
                AT_DISTANCE,
                1.0,
                distances,
            )

    def _trail(self, trail: Trail | None) -> tuple[int, float, int]:
        if trail is None:
            return ABSENT, 0.0, NONE
        if trail.pct is not None:
            return AT_PCT, trail.pct, NONE
        return AT_DISTANCE, trail.atr or 0.0, self._columns.wilder(trail.length or 1)


class _Sizes:
    def __init__(self, columns: Columns) -> None:
        self._columns = columns
        self._numbers: dict[Size, int] = {}
        self._rows: list[Records] = []

    def number(self, size: Size) -> int:
        if size not in self._numbers:
            self._numbers[size] = len(self._rows)
            row = np.zeros(1, SIZE)
            measured = size.model in _MEASURED
            row["model"] = SHARE_COLUMN if measured else SIZE_MODELS.index(size.model)
            row["column"] = self._columns.share(size) if measured else NONE
            row["amount"], row["cap"], row["min_trades"] = (
                size.amount,
                size.cap,
                size.min_trades,
            )
            self._rows.append(row)
        return self._numbers[size]

    def records(self) -> Records:
        return np.concatenate(self._rows)


def _listed(listed: Sequence[Decision], plans: _Plans, sizes: _Sizes, default_size: int) -> Records:
    """One record per decision; a `client_order_id` used twice is one order."""
    names = client_ids(listed)
    seen: set[str] = set()
    rows = []
    for decision in listed:
        name = decision.client_order_id
        if name is not None and decision.do != "cancel":
            if name in seen:
                continue
            seen.add(name)
        rows.append(
            _decision(
                decision,
                plans,
                sizes,
                default_size,
                NONE if name is None else names[name],
            )
        )
    return np.concatenate(rows) if rows else np.zeros(0, DECISION)


def client_ids(listed: Sequence[Decision]) -> dict[str, int]:
    """The number that stands for each name in records."""
    named = (decision.client_order_id for decision in listed if decision.client_order_id is not None)
    return {name: number for number, name in enumerate(dict.fromkeys(named))}


def _decision(decision: Decision, plans: _Plans, sizes: _Sizes, default_size: int, client: int) -> Records:
    row = np.zeros(1, DECISION)
    row["bar"], row["instrument"], row["do"] = (
        decision.bar,
        decision.instrument,
        DOINGS.index(decision.do),
    )
    row["type"], row["plan"] = (
        ORDER_TYPES.index(decision.order),
        plans.number(decision.exits),
    )
    row["sizing"] = default_size if decision.size is None else sizes.number(decision.size)
    row["client"], row["ttl"], row["post_only"] = (
        client,
        decision.ttl_bars or 0,
        decision.post_only,
    )
    for name in ("quantity", "price", "trigger"):
        value = getattr(decision, name)
        row[name] = np.nan if value is None else value
    return row


def _events(market: Market, ts: NDArray[np.int64], known_at: NDArray[np.int64]) -> Records:
    rows: list[tuple[int, int, int, float, float]] = []
    for kind, values, nothing in (
        (SPLIT, market.splits, 1.0),
        (DIVIDEND, market.dividends, 0.0),
    ):
        rows += [(int(t), int(i), kind, float(values[t, i]), np.nan) for t, i in np.argwhere(values != nothing)]
    if market.delisted is not None:
        rows += [(int(t), int(i), DELIST, 0.0, np.nan) for t, i in np.argwhere(market.delisted)]
    present = [np.flatnonzero(~np.isnan(column)) for column in market.opens.T]
    for one in market.funding:
        own = present[one.instrument]
        due = int(np.searchsorted(known_at, one.at_us, side="right"))
        at = int(np.searchsorted(own, due))
        if at < len(own):  # between two bars of its own it is charged on what is carried into the next one
            t = int(own[at])
            inside = FUNDING_INSIDE if one.at_us > ts[t] else FUNDING_BEFORE
            kind = FUNDING_AT_OPEN if one.at_us == ts[t] else inside
            mark = one.mark
            if np.isnan(mark) and market.mark_opens is not None:
                mark = float(market.mark_opens[t, one.instrument])
            rows.append((t, one.instrument, kind, one.rate, mark))
    rows.sort(key=lambda row: (row[0], row[2], row[1]))
    return np.array(rows, dtype=EVENT)


def _times(
    market: Market,
    ts: NDArray[np.int64],
    known_at: NDArray[np.int64],
    sessions: NDArray[np.int64],
    next_sessions: NDArray[np.int64],
) -> Records:
    times = np.zeros(len(ts), TIME)
    times["opened"], times["known_at"] = ts, known_at
    times["slot"] = np.arange(len(ts)) if market.slots is None else market.slots
    times["session"], times["next_session"] = sessions, next_sessions
    return times


def _clock(
    market: Market,
    sessions: NDArray[np.int64],
    next_sessions: NDArray[np.int64],
    events: Records,
    listed: Records,
    plans: _Plans,
    terms: Records,
    signals: NDArray[np.int8],
) -> NDArray[np.uint8]:
    clock = np.zeros(len(sessions), np.uint8)
    clock[events["bar"]] |= EVENTS_HERE
    clock[1:][sessions[1:] != sessions[:-1]] |= NEW_DAY
    clock[listed["bar"][listed["bar"] < len(clock)]] |= DECISIONS_HERE
    clock[terms["last_bar"][terms["last_bar"] >= 0]] |= WINDOW_ENDS
    if plans.closing_sessions:
        ends = next_sessions != sessions if market.session_ends is None else market.session_ends
        clock[ends] |= SESSION_ENDS
        clock[1:][sessions[1:] != sessions[:-1]] |= SESSION_STARTS
    if signals.size:
        clock[(signals & SAYS).any(axis=1)] |= SIGNALS_HERE
    return clock


def _rules(
    rules: Rules,
    columns: Columns,
    decisions: Decisions,
    instruments: Sequence[Instrument],
    market: Market,
) -> Records:
    record = np.zeros(1, RULES)
    row = record[0]
    row["policy"], row["touch"] = PATHS.index(rules.path), rules.limit_fill == "touch"
    row["has_marks"] = market.mark_opens is not None and not rules.liquidate_on_last
    row["cross"], row["converts"] = (
        any(one.margin == "cross" for one in instruments),
        market.conversions is not None,
    )
    row["has_contracts"] = any(one.kind != "spot" for one in instruments)
    row["participation"], row["delisting_recovery"] = (
        rules.participation,
        rules.delisting_recovery,
    )
    row["per_share"] = np.nan if rules.per_share is None else rules.per_share.fee
    row["minimum_fee"] = 0.0 if rules.per_share is None else rules.per_share.minimum
    for name, values in (
        ("multiplier", decisions.multipliers),
        ("refusal", decisions.refusals),
        ("regime", decisions.regimes),
        ("strength", decisions.strengths),
        ("confidence", decisions.confidences),
        ("target", decisions.weights if decisions.targets is None else decisions.targets),
    ):
        row[f"{name}_column"] = columns.given(name, values)
        row["has_opinions"] |= values is not None
    _write_entry(row, rules.entry)
    row["targets_are_weights"], row["rebalance_band"] = decisions.weights is not None, rules.rebalance_band
    _write_guards(row, rules.guards)
    row["limits_all"] = any(row[name] < np.inf for name in _OVER_ALL)
    return record


def _write_entry(row: Any, entry: Entry) -> None:
    row["entry_type"], row["entry_offset"] = ORDER_TYPES.index(entry.type), entry.offset_bps * BPS
    row["entry_ttl"], row["entry_post_only"] = entry.ttl_bars or 0, entry.post_only


def _write_guards(row: Any, guards: Guards) -> None:
    def limit(value: float | None) -> float:
        return np.inf if value is None else float(value)

    for name in (
        "max_position",
        "max_gross_exposure",
        "max_net_exposure",
        "max_leverage",
        "max_open_positions",
    ):
        row[name] = limit(getattr(guards, name))
    for name in (
        "max_daily_loss",
        "max_drawdown",
        "kill_switch",
        "max_trades_per_hour",
        "max_trades_per_day",
    ):
        row[name] = limit(getattr(guards, name))
    row["max_slippage"] = limit(guards.max_slippage_bps) * BPS
    row["correlation_limit"] = np.inf if guards.correlation_limit is None else guards.correlation_limit.limit
    row["spacing_us"] = (guards.global_trade_spacing or 0.0) * SECOND_US
    cooldown = guards.symbol_cooldown_active
    row["after_win_us"] = 0.0 if cooldown is None else cooldown.after_win_seconds * SECOND_US
    row["after_loss_us"] = 0.0 if cooldown is None else cooldown.after_loss_seconds * SECOND_US
    streak = guards.loss_streak_cooldown
    row["streak_losses"] = np.inf if streak is None else streak.losses
    row["streak_us"] = 0.0 if streak is None else streak.seconds * SECOND_US


def _terms(instruments: Sequence[Instrument], rules: Rules, columns: Columns, market: Market) -> Records:
    terms = np.zeros(len(instruments), TERMS)
    for name in (
        "tick",
        "lot",
        "min_notional",
        "shortable",
        "leverage",
        "maintenance_margin",
        "maintenance_amount",
    ):
        terms[name] = [getattr(instrument, name) for instrument in instruments]
    for name in ("extra_margin", "contract_size"):
        terms[name] = [getattr(instrument, name) for instrument in instruments]
    terms["cross"] = [instrument.margin == "cross" for instrument in instruments]
    terms["kind"] = [KINDS.index(instrument.kind) for instrument in instruments]
    terms["liquidation"] = [LIQUIDATIONS.index(instrument.liquidation) for instrument in instruments]
    terms["half_spread"] = [instrument.half_spread_bps * BPS for instrument in instruments]
    terms["borrow_per_day"] = rules.borrow_bps_per_day * BPS
    marked = market.mark_opens is not None and not rules.liquidate_on_last
    terms["liquidates"] = [one.kind != "spot" and (marked or one.leverage > 1) for one in instruments]
    terms["last_bar"] = NONE
    if rules.close_at_end and len(market.ts):
        present = ~np.isnan(market.opens)
        last_bars = len(market.ts) - 1 - present[::-1].argmax(axis=0)
        terms["last_bar"] = np.where(present.any(axis=0), last_bars, NONE)
    for i in range(len(instruments)):
        _write_slippage(
            terms[i],
            rules.slippage_of[i] if rules.slippage_of else rules.slippage,
            columns,
        )
    return terms


def _write_slippage(row: Any, slippage: Slippage, columns: Columns) -> None:
    row["slippage"] = SLIPPAGES.index(slippage.model)
    row["slip"], row["share_impact"], row["share_limit"] = (
        slippage.bps * BPS,
        slippage.impact,
        slippage.limit,
    )
    row["y"], row["shares_outstanding"], row["horizon_days"] = (
        slippage.y,
        slippage.shares_outstanding,
        slippage.horizon_days,
    )
    row["sigma"] = np.nan if slippage.sigma is None else slippage.sigma
    row["mean_volume"] = np.nan if slippage.volume is None else slippage.volume
    measured = uses_measures(int(row["slippage"])) and slippage.days is not None
    row["sigma_column"] = columns.deviation(slippage.days) if measured and slippage.sigma is None else NONE  # type: ignore[arg-type]
    row["volume_column"] = columns.mean_volume(slippage.days) if measured and slippage.volume is None else NONE  # type: ignore[arg-type]


def _correlations(guards: Guards, columns: Columns) -> Floats:
    """By session number, counted from the first bar's, as known when what is decided in that session acts."""
    if guards.correlation_limit is None:
        return np.zeros((0, 0, 0))
    per_row = measures.correlations(columns.daily.returns, guards.correlation_limit.days)
    ids = columns.daily.ids
    span = np.arange(ids[0], ids[-1] + 2)
    return np.ascontiguousarray(per_row[np.searchsorted(ids, span)])


def _grid(values: Floats | None) -> Floats:
    return _NO_GRID if values is None else np.ascontiguousarray(values, dtype=np.float64)


def read_only(column: NDArray[Any]) -> NDArray[Any]:
    """The same memory: compiled code knows one type of column, whether what was handed in may be written or not."""
    view = column.view()
    view.flags.writeable = False
    return view


def with_signals(tape: Tape, signals: NDArray[np.int8]) -> Tape:
    """The same tape with other signals, which may be written to as long as the clock is told."""
    clock = tape.clock & np.uint8(255 - SIGNALS_HERE)
    clock[(signals[:, 0] if signals.shape[1] == 1 else np.bitwise_or.reduce(signals, axis=1)) & SAYS != 0] |= (
        SIGNALS_HERE
    )
    return tape._replace(signals=read_only(signals), clock=read_only(clock), touched=read_only(touched_of(clock)))


def touched_of(clock: NDArray[np.uint8]) -> NDArray[np.int64]:
    bars = np.flatnonzero(clock)
    return np.append(bars << 8 | clock[bars], 1 << 62)
