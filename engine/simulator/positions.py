"""What an execution does to position, cash, collateral and the trade's account of itself.

Spot is bought and sold for its value. Linear and inverse contracts hold collateral: costs are paid at once, gains when
the position shrinks, both counted from reference prices, so that edge and costs add up in any settlement currency.
"""

from typing import Any

import numpy as np

from engine.simulator.compiled import phase, rule, unit
from engine.simulator.prices import gain, value
from engine.simulator.words import BEFORE_ALL, BREAK_EVEN, INVERSE, SPLIT_CASH, SPOT, STOPPED, TRAILED

Record = Any


@rule
def see(s: Record, price: float) -> None:
    """A price that was passed while the position was held."""
    if s.quantity > 0.0:
        s.low_seen, s.high_seen = min(s.low_seen, price), max(s.high_seen, price)


@rule
def costs_so_far(s: Record) -> float:
    return float(s.fees + s.spread + s.slippage + s.impact + s.borrow - s.funding - s.dividends)


@phase
def unrealised(terms: Record, s: Record, price: float, rate: float) -> float:
    """What the position adds to cash at `price`: its value for spot, its gain for contracts."""
    if s.quantity == 0.0:
        return 0.0
    if terms.kind == SPOT:
        return float(s.sign * value(terms, s.quantity, price) * rate)
    return float(gain(terms, s.sign, s.quantity, s.reference, price) * rate)


@phase
def pnl_at(terms: Record, s: Record, price: float, rate: float) -> float:
    return float(s.edge + unrealised(terms, s, price, rate) - costs_so_far(s))


@unit("terms state float")
def fold(terms: Record, s: Record, rate: float) -> int:
    """Turn the prices seen since costs or quantity last changed into money."""
    if s.low_seen <= s.high_seen:
        low, high = (
            pnl_at(terms, s, s.low_seen, rate),
            pnl_at(terms, s, s.high_seen, rate),
        )
        s.mae, s.mfe = min(s.mae, low, high), max(s.mfe, low, high)
    s.low_seen, s.high_seen = np.inf, -np.inf
    return 0


@phase
def _start_trade(s: Record, account: Record, side: int) -> None:
    account.n_entries += 1
    s.trade, s.sign, s.entry_bar, s.first_order = account.n_entries, side, account.t, 0
    s.contested, s.entry_session = 0, account.session
    s.edge, s.fees, s.spread, s.slippage, s.impact, s.funding, s.borrow, s.dividends = (
        0.0,
        0.0,
        0.0,
        0.0,
        0.0,
        0.0,
        0.0,
        0.0,
    )
    s.entered, s.entered_value, s.left, s.left_value, s.ladder_base, s.scale = (
        0.0,
        0.0,
        0.0,
        0.0,
        0.0,
        1.0,
    )
    s.mae, s.mfe, s.ambiguous, s.low_seen, s.high_seen = (
        np.inf,
        -np.inf,
        0,
        np.inf,
        -np.inf,
    )
    s.equity_before, s.drawdown = account.equity, account.drawdown


@phase
def _close_trade(terms: Record, s: Record, account: Record, box: Record, why: int) -> None:
    pnl = s.edge - costs_so_far(s)
    s.mae, s.mfe = min(s.mae, pnl), max(s.mfe, pnl)
    if box.n_trades >= len(box.trades):
        account.overflow = 1
        return
    row = box.trades[box.n_trades]
    box.n_trades += 1
    write_trade(terms, s, row)
    row.exit_bar, row.exit_reason, row.pnl = account.t, why, pnl
    row.exit_price = s.left / s.left_value if terms.kind == INVERSE else s.left_value / s.left
    row.r = pnl / s.first_risk
    row.pnl_pct = pnl / (s.entered_value * terms.contract_size)
    row.position_after, row.equity_after = 0.0, s.equity_before + pnl
    _count_result(s, account, pnl, row.pnl_pct)


@unit("terms state trade")
def write_trade(terms: Record, s: Record, row: Record) -> int:
    """What a trade has become so far; a closed one adds its exit."""
    row.id, row.side, row.entry_bar, row.exit_bar, row.entry_order = (
        s.trade,
        s.sign,
        s.entry_bar,
        -1,
        s.first_order,
    )
    row.quantity, row.exit_reason, row.exit_price, row.r = s.entered, -1, np.nan, np.nan
    row.entry_price = s.entered / s.entered_value if terms.kind == INVERSE else s.entered_value / s.entered
    row.edge, row.fees, row.spread, row.slippage, row.impact = (
        s.edge,
        s.fees,
        s.spread,
        s.slippage,
        s.impact,
    )
    row.funding, row.borrow, row.dividends, row.mae, row.mfe = (
        s.funding,
        s.borrow,
        s.dividends,
        s.mae,
        s.mfe,
    )
    row.position_before, row.equity_before, row.heat, row.fill_quality = (
        0.0,
        s.equity_before,
        s.heat,
        s.fill_quality,
    )
    row.strength, row.confidence, row.regime, row.tier = (
        s.strength,
        s.confidence,
        s.regime,
        s.tier,
    )
    row.volatility_at_entry, row.volume_at_entry, row.drawdown_at_entry = (
        s.volatility,
        s.volume_at_entry,
        s.drawdown,
    )
    row.ambiguous = s.ambiguous != 0
    return 0


@rule
def _count_result(s: Record, account: Record, pnl: float, returned: float) -> None:
    """For cooldowns, loss streaks and Kelly's fraction."""
    regime = 0 if np.isnan(s.regime) else int(s.regime)
    account.n_closed += 1.0
    if pnl > 0.0:
        s.last_win_us, s.last_loss_us, account.streak[regime] = account.now_us, BEFORE_ALL, 0
        account.n_wins += 1.0
        account.sum_wins += returned
    elif pnl < 0.0:
        s.last_loss_us, s.last_win_us = account.now_us, BEFORE_ALL
        account.streak[regime] += 1
        account.last_loss_us[regime] = account.now_us
        account.n_losses += 1.0
        account.sum_losses -= returned
    else:
        account.streak[regime] = 0


@rule
def _add(terms: Record, s: Record, quantity: float, price: float, reference: float) -> None:
    held, total = s.quantity, s.quantity + quantity
    if held == 0.0:
        s.entry, s.reference = price, reference
    elif terms.kind == INVERSE:
        s.entry = total / (held / s.entry + quantity / price)
        s.reference = total / (held / s.reference + quantity / reference)
    else:
        s.entry = (held * s.entry + quantity * price) / total
        s.reference = (held * s.reference + quantity * reference) / total
    s.quantity = np.rint(total / terms.lot) * terms.lot
    s.entered += quantity
    s.ladder_base += quantity
    s.entered_value += quantity / price if terms.kind == INVERSE else quantity * price


@rule
def _leave(terms: Record, s: Record, quantity: float, price: float) -> None:
    s.quantity = max(0.0, np.rint((s.quantity - quantity) / terms.lot) * terms.lot)
    s.left += quantity
    s.left_value += quantity / price if terms.kind == INVERSE else quantity * price


@rule
def relock(terms: Record, s: Record, account: Record, rate: float) -> int:
    """Hold as collateral what the position needs now, and mark its gain to the last mark before; none on its first bar."""
    locked, carried = 0.0, 0.0
    if s.quantity > 0.0:
        worth = value(terms, s.quantity, s.entry) * rate
        if terms.kind != SPOT:
            mark = s.entry if s.entry_bar == account.t else s.mark_price
            locked = worth / terms.leverage + terms.extra_margin * rate
            carried = unrealised(terms, s, mark, rate)
        elif s.sign < 0:
            locked = 2.0 * worth  # the proceeds, and as much again
    account.locked += locked - s.locked
    account.unrealised += carried - s.value_carried
    s.locked, s.value_carried = locked, carried
    return 0


@rule
def available(account: Record) -> float:
    return float(account.cash + account.unrealised - account.locked)


@rule
def _pay(
    terms: Record,
    s: Record,
    account: Record,
    worth_lost: float,
    spread: float,
    slippage: float,
    impact: float,
) -> None:
    """Book what was lost against the reference price, by what it was lost to."""
    per_unit = spread + slippage + impact
    if per_unit > 0.0:
        s.spread += worth_lost * spread / per_unit
        s.slippage += worth_lost * slippage / per_unit
        s.impact += worth_lost * impact / per_unit
        if terms.kind != SPOT:
            account.cash -= worth_lost


@unit("terms state account box float int int float float float float float float int int")
def execute(
    terms: Record,
    s: Record,
    account: Record,
    box: Record,
    rate: float,
    order: int,
    side: int,
    quantity: float,
    reference: float,
    spread: float,
    slippage: float,
    impact: float,
    fee: float,
    why: int,
    maker: int,
) -> int:
    """Buy (side 1) or sell (-1): the fill, the cash, the position, and the trade where it ends."""
    costs = (spread, slippage, impact)
    price = reference + side * (spread + slippage + impact)
    adds = s.quantity == 0.0 or side == s.sign
    if s.quantity == 0.0:
        _start_trade(s, account, side)
    else:
        see(s, s.here)
    fold(terms, s, rate)
    worth = value(terms, quantity, price) * rate
    lost = abs(worth - value(terms, quantity, reference) * rate)
    if terms.kind == SPOT:
        account.cash -= side * worth
        s.edge -= side * value(terms, quantity, reference) * rate
    elif not adds:
        realised = gain(terms, s.sign, quantity, s.reference, reference) * rate
        account.cash += realised
        s.edge += realised
    _pay(terms, s, account, lost, spread, slippage, impact)
    account.cash -= fee
    s.fees += fee
    if why != SPLIT_CASH:  # a corporate action is no turnover
        account.traded += worth
    if not maker:
        s.taken += quantity
    _write_fill(
        s,
        account,
        box,
        order,
        side,
        quantity,
        price,
        reference,
        fee,
        lost,
        costs,
        why,
        maker,
    )
    if adds:
        _add(terms, s, quantity, price, reference)
        see(s, s.here)
    else:
        _leave(terms, s, quantity, price)
        if s.quantity > 0.0:
            see(s, s.here)
    relock(terms, s, account, rate)
    if s.quantity == 0.0:
        _close_trade(terms, s, account, box, why)
    return 0


@rule
def _write_fill(
    s: Record,
    account: Record,
    box: Record,
    order: int,
    side: int,
    quantity: float,
    price: float,
    reference: float,
    fee: float,
    lost: float,
    costs: tuple[float, float, float],
    why: int,
    maker: int,
) -> None:
    if box.n_fills >= len(box.fills):
        account.overflow = 1
        return
    row = box.fills[box.n_fills]
    box.n_fills += 1
    per_unit = costs[0] + costs[1] + costs[2]
    share = lost / per_unit if per_unit > 0.0 else 0.0
    row.order, row.trade, row.bar, row.side, row.why = (
        order,
        s.trade,
        account.t,
        side,
        why,
    )
    row.quantity, row.price, row.reference, row.fee = quantity, price, reference, fee
    row.spread, row.slippage, row.impact = (
        costs[0] * share,
        costs[1] * share,
        costs[2] * share,
    )
    stopped = why in (STOPPED, TRAILED, BREAK_EVEN)
    row.maker, row.ambiguous = maker != 0, s.contested != 0 and stopped
