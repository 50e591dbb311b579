"""6. Decisions, on the close of a bar: from a strategy's signals and from a list; what is known then, and nothing later."""

from typing import Any

import numpy as np

from engine.costs import VOLUME_WINDOW_US
from engine.simulator.band import rest
from engine.simulator.books import bury
from engine.simulator.compiled import phase, rule, unit
from engine.simulator.deciding import follow_decision, follow_signal, follow_target
from engine.simulator.lookups import plan_of
from engine.simulator.orders import leaves_altogether, waits_to_open
from engine.simulator.pointers import copy, values_of
from engine.simulator.tape import Desk, Logs, Tape
from engine.simulator.words import DECISIONS_HERE, MARKET, NONE, SAYS, SHARE_COLUMN, SIGNALS_HERE, TARGETS

Record = Any


# The clock


@rule
def _tier(tiers: Any, volume: float, now: int) -> int:
    """The row of the last period that has started with the highest volume reached; 1e-9 forgives rounding."""
    found = 0
    for k in range(tiers.size):
        if tiers[k].start_us <= now and volume >= tiers[k].volume * (1.0 - 1e-9):
            found = k
    return found


@unit("tape desk account")
def update_tier(tape: Tape, desk: Desk, account: Record) -> int:
    """Volume is that of bars that opened in the last 30 days."""
    while account.tail < account.n_traded and desk.traded_at[account.tail] < account.close_us - VOLUME_WINDOW_US:
        account.volume = max(0.0, account.volume - desk.traded[account.tail])  # rounding may leave less than nothing
        account.tail += 1
    if account.traded > 0.0:
        if account.n_traded == 0 or desk.traded_at[account.n_traded - 1] != account.now_us:
            account.n_traded += 1
            desk.traded[account.n_traded - 1] = 0.0
        desk.traded[account.n_traded - 1] += account.traded
        desk.traded_at[account.n_traded - 1] = account.now_us
        account.volume += account.traded
        account.traded = 0.0
    account.tier = _tier(tape.tiers, account.volume, account.close_us)
    account.maker, account.taker = (
        tape.tiers[account.tier].maker,
        tape.tiers[account.tier].taker,
    )
    return 0


@rule
def keep_time(tape: Tape, account: Record, t: int) -> None:
    now = tape.times[t]
    account.t, account.now_us, account.close_us, account.slot = t, now.opened, now.known_at, now.slot
    account.session, account.next_session = now.session, now.next_session


# What is known


@phase
def column_of(tape: Tape, column: int, t: int, i: int, otherwise: float) -> float:
    return tape.columns[column, t, i] if column >= 0 else otherwise


@phase
def _highest_correlation(tape: Tape, desk: Desk, t: int, i: int, side: int) -> float:
    """Of a position of `side` with any that is held or waits to be opened."""
    highest = -np.inf
    session = min(tape.times[t].next_session - tape.times[0].session, tape.correlations.shape[0] - 1)
    for j in range(tape.terms.size):
        other, found = desk.states[j], tape.correlations[session, i, j]
        for towards in (-1, 1):
            held = other.quantity > 0.0 and other.sign == towards and not leaves_altogether(other)
            if j != i and not np.isnan(found) and (held or waits_to_open(other, towards)):
                highest = max(highest, side * towards * found)
    return highest


@unit("tape desk decision int int")
def _brief(tape: Tape, desk: Desk, d: Record, t: int, i: int) -> int:
    """What is known on this bar, for a decision made on it."""
    rules, size = tape.rules[0], tape.sizes[d.sizing]
    plan = plan_of(rules, d.plan)
    desk.states[i].mark = desk.hots[i].mark
    if rules.limits_all:
        for j in range(tape.terms.size):
            desk.states[j].mark = desk.hots[j].mark
    d.close, d.rate = desk.hots[i].mark, desk.cells[i].rate
    d.embargoed = bool(tape.signals.size and tape.signals[t, i] & 16)
    d.stop_distance = plan.stop * column_of(tape, plan.stop_column, t, i, np.nan)
    d.trail_distance = plan.trail * column_of(tape, plan.trail_column, t, i, np.nan)
    d.runner_distance = plan.runner_trail * column_of(tape, plan.runner_trail_column, t, i, np.nan)
    d.share = column_of(tape, size.column, t, i, np.nan) if size.model == SHARE_COLUMN else np.nan
    d.multiplier, d.refusal, d.regime, d.strength, d.confidence = 1.0, np.nan, np.nan, np.nan, np.nan
    if rules.has_opinions:
        d.multiplier = column_of(tape, rules.multiplier_column, t, i, 1.0)
        d.refusal = column_of(tape, rules.refusal_column, t, i, np.nan)
        d.regime = column_of(tape, rules.regime_column, t, i, np.nan)
        d.strength = column_of(tape, rules.strength_column, t, i, np.nan)
        d.confidence = column_of(tape, rules.confidence_column, t, i, np.nan)
    d.correlation_long, d.correlation_short = -np.inf, -np.inf
    if tape.correlations.size:
        d.correlation_long = _highest_correlation(tape, desk, t, i, 1)
        d.correlation_short = _highest_correlation(tape, desk, t, i, -1)
    terms = tape.terms[i]
    d.sigma = column_of(tape, terms.sigma_column, t, i, terms.sigma)
    d.mean_volume = column_of(tape, terms.volume_column, t, i, terms.mean_volume)
    d.present = not np.isnan(tape.closes[t, i])
    return 0


@unit("tape desk logs account int", seldom=True)
def _decide_from_list(tape: Tape, desk: Desk, logs: Logs, account: Record, t: int) -> int:
    while account.next_decision < tape.decisions.size and tape.decisions[account.next_decision].bar <= t:
        copy(tape.decisions[account.next_decision], desk.asked[0])
        d = desk.asked[0]
        i = d.instrument
        _brief(tape, desk, d, t, i)
        follow_decision(tape.rules[0], account, d)
        bury(logs.orders, desk.states[i], i)
        rest(tape.rules[0], tape.terms[i], desk.hots[i], desk.states[i], account)
        account.next_decision += 1
    return 0


@unit("tape desk logs account int int int")
def _decide_from_signal(tape: Tape, desk: Desk, logs: Logs, account: Record, t: int, i: int, signal: int) -> int:
    d = desk.asked[0]
    d.instrument, d.type, d.plan, d.sizing = (
        i,
        MARKET,
        tape.terms[i].default_plan,
        tape.terms[i].default_size,
    )
    d.client, d.ttl, d.post_only, d.quantity, d.price, d.trigger = (
        NONE,
        0,
        False,
        np.nan,
        np.nan,
        np.nan,
    )
    _brief(tape, desk, d, t, i)
    if signal & TARGETS:
        follow_target(tape.rules[0], account, d, column_of(tape, tape.rules[0].target_column, t, i, np.nan))
    else:
        follow_signal(tape.rules[0], account, d, signal)
    bury(logs.orders, desk.states[i], i)
    rest(tape.rules[0], tape.terms[i], desk.hots[i], desk.states[i], account)
    return 0


@rule
def decide(tape: Tape, desk: Desk, logs: Logs, account: Record, t: int, here: int) -> None:
    """`here`: what stands in the calendar of the bar; whoever knows it already does not wait for it again."""
    if here & DECISIONS_HERE:
        keep_time(tape, account, t)
        if tape.tiers.size > 1:
            update_tier(tape, desk, account)
        _decide_from_list(tape, desk, logs, account, t)
    if here & SIGNALS_HERE:
        signals, n = values_of(tape.signals), desk.hots.size
        for i in range(n):
            signal = signals[t * n + i]
            if signal & SAYS and t != tape.terms[i].last_bar:
                keep_time(tape, account, t)
                if tape.tiers.size > 1:
                    update_tier(tape, desk, account)
                _decide_from_signal(tape, desk, logs, account, t, i, signal)
