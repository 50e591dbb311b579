"""What a backtest's result hangs on: the path inside bars, the costs, and its own size.

1. `paths` runs the three path policies side by side: the result is an interval, and how wide it is says how much of it
   nobody can know from these bars.
2. `break_even_cost_multiple` is the multiple of all costs (fees, half-spread, slippage, impact, borrow) at which the net
   result is zero. It is searched for with the simulator and not computed from the records: sizes follow the equity that
   costs leave, guards and cash refuse at other moments, and a path is chosen by what it leaves after costs, so the net
   result is no straight line in the multiple. Where it is one (a fixed number of units), the first secant is exact.
3. `capacity` is the capital at which slippage by volume and impact take half of the edge, searched for in the same way
   over the cash at the start. Without a cost that grows with size there is none.

Every search takes at most `MOST_RUNS` runs.
"""

from collections.abc import Callable
from typing import Final, NamedTuple

import numpy as np

from engine.backtest import Grid, Plan, run
from engine.simulator.inputs import Decisions, Slippage
from engine.simulator.simulation import Simulation
from engine.simulator.words import Path

MOST_RUNS: Final = 12
MOST_COSTS: Final = 32.0  # times what is modelled
MOST_CAPITAL: Final = 1e5  # times the account
PATHS: Final[tuple[Path, ...]] = ("adverse", "likely", "favourable")
HALF: Final = 0.5
_PRECISE = 1e-3
_DEAREST_BPS = 5_000.0
_GROWING = ("volume_share", "square_root", "almgren")
_FIXED_SIZES = ("units", "notional")
_NO_TRADE = "no trade was made"


class PathResult(NamedTuple):
    """One run on one path policy."""

    path: Path
    net_result: float  # in the account's currency
    net_return: float
    n_trades: int
    ambiguous_share: float | None  # of closed trades; None without any
    entry_bar_exits: int  # trades that left in the bar of their entry


class Found(NamedTuple):
    """A number that was searched for, or why there is none."""

    value: float | None
    reason: str | None = None
    is_bound: bool = False  # it is at least the value: the search ended there
    n_runs: int = 0


def paths(
    on: Grid, decided: Decisions, plan: Plan, *, rows: tuple[int, int] | None = None, close_at_end: bool = False
) -> list[PathResult]:
    """The same decisions on each path policy, in the order of `PATHS`; arguments as for `engine.backtest.run`."""
    found = []
    for path in PATHS:
        chosen = plan._replace(rules=plan.rules._replace(path=path))
        simulation = run(on, decided, chosen, rows=rows, close_at_end=close_at_end)
        found.append(_result(path, simulation, plan.rules.cash))
    return found


def break_even_cost_multiple(on: Grid, decided: Decisions, plan: Plan) -> Found:
    """How many times the modelled costs bring the net result of the full span to zero."""
    dearest = _dearest_bps(plan)
    if dearest == 0.0:
        return Found(None, "nothing costs anything, so no multiple of it does")
    if plan.rules.slippage.model == "almgren" and plan.rules.slippage.sigma is None:
        return Found(None, "almgren's impact by a measured sigma has no multiple: give sigma to have one")
    runs = _Counted(lambda multiple: _net(run(on, decided, costs_multiplied(plan, multiple)), plan.rules.cash))
    if not _trades(run(on, decided, plan)):
        return Found(None, _NO_TRADE)
    most = min(MOST_COSTS, _DEAREST_BPS / dearest)
    low, high = 0.0, 1.0
    if runs(1.0) > 0.0:
        low, high = 1.0, 2.0
        while runs(min(high, most)) > 0.0:
            if high >= most:
                return Found(most, is_bound=True, n_runs=runs.n)
            low, high = high, 2.0 * high
        high = min(high, most)
    elif runs(0.0) <= 0.0:
        return Found(None, "it earns nothing even without costs", n_runs=runs.n)
    return Found(_zero(runs, low, high), n_runs=runs.n)


def capacity(on: Grid, decided: Decisions, plan: Plan) -> Found:
    """The cash at the start, in the account's currency, at which slippage by volume and impact are half of the edge."""
    if reason := _why_without_capacity(on, decided, plan):
        return Found(None, reason)
    cash = plan.rules.cash

    def beyond(exponent: float) -> float:
        """Above zero while impact takes less than half of the edge."""
        simulation = run(on, decided, plan._replace(rules=plan.rules._replace(cash=cash * 10.0**exponent)))
        edge = _sum(simulation, "edge")
        return HALF - (_sum(simulation, "impact") + _sum(simulation, "slippage")) / edge if edge > 0.0 else -HALF

    runs = _Counted(beyond)
    step = 1.0 if runs(0.0) > 0.0 else -1.0
    most = np.log10(MOST_CAPITAL)
    low, high = 0.0, step
    while (runs(high) > 0.0) == (step > 0.0):
        if abs(high) >= most:
            if step < 0.0:
                return Found(None, f"even {cash / MOST_CAPITAL:g} is too much", n_runs=runs.n)
            return Found(cash * MOST_CAPITAL, is_bound=True, n_runs=runs.n)
        low, high = high, high + step
    return Found(float(cash * 10.0 ** _zero(runs, min(low, high), max(low, high))), n_runs=runs.n)


def _why_without_capacity(on: Grid, decided: Decisions, plan: Plan) -> str | None:
    if plan.rules.slippage.model not in _GROWING:
        return f"the costs have no impact: slippage is {plan.rules.slippage.model}"
    if plan.rules.size.model in _FIXED_SIZES:
        return f"a size of {plan.rules.size.model} does not grow with the account"
    simulated = run(on, decided, plan)
    if not _trades(simulated):
        return _NO_TRADE
    return None if _sum(simulated, "edge") > 0.0 else "the edge is not above zero"


def costs_multiplied(plan: Plan, multiple: float) -> Plan:
    """The same plan where everything costs `multiple` times as much, rebates included."""
    rules = plan.rules
    fees = tuple(
        period._replace(
            tiers=tuple(
                tier._replace(maker_bps=tier.maker_bps * multiple, taker_bps=tier.taker_bps * multiple)
                for tier in period.tiers
            )
        )
        for period in rules.fees
    )
    per_share = rules.per_share and rules.per_share._replace(
        fee=rules.per_share.fee * multiple, minimum=rules.per_share.minimum * multiple
    )
    return plan._replace(
        instruments=tuple(one._replace(half_spread_bps=one.half_spread_bps * multiple) for one in plan.instruments),
        rules=rules._replace(
            fees=fees,
            per_share=per_share,
            borrow_bps_per_day=rules.borrow_bps_per_day * multiple,
            slippage=_slippage_multiplied(rules.slippage, multiple),
        ),
    )


def _slippage_multiplied(slippage: Slippage, multiple: float) -> Slippage:
    """Each model is in proportion to one number of it."""
    return slippage._replace(
        bps=slippage.bps * multiple,
        impact=slippage.impact * multiple,
        y=slippage.y * multiple,
        sigma=slippage.sigma * multiple
        if slippage.model == "almgren" and slippage.sigma is not None
        else slippage.sigma,
    )


def _dearest_bps(plan: Plan) -> float:
    """The highest rate that would be multiplied: of all rates together not more than the price may be asked."""
    rules = plan.rules
    rates = [abs(rate) for period in rules.fees for tier in period.tiers for rate in (tier.maker_bps, tier.taker_bps)]
    rates += [one.half_spread_bps for one in plan.instruments] + [rules.slippage.bps, rules.borrow_bps_per_day]
    growing = rules.slippage.impact + rules.slippage.y + (rules.slippage.model == "almgren")
    per_share = 0.0 if rules.per_share is None else rules.per_share.fee + rules.per_share.minimum
    return max(*rates, 1.0 if growing or per_share else 0.0)


class _Counted:
    """A function of one number, each of whose values is computed once; `n` of them so far."""

    def __init__(self, function: Callable[[float], float]) -> None:
        self._function, self._values = function, dict[float, float]()

    @property
    def n(self) -> int:
        return len(self._values)

    def __call__(self, x: float) -> float:
        if x not in self._values:
            self._values[x] = self._function(x)
        return self._values[x]


def _zero(function: _Counted, low: float, high: float) -> float:
    """Where it changes its sign between two places of unlike sign, by secants that halve the side that stays (Illinois)."""
    at_low, at_high = function(low), function(high)
    kept = 0
    while function.n < MOST_RUNS and high - low > _PRECISE * max(1.0, abs(high)):
        x = low - at_low * (high - low) / (at_high - at_low)
        value = function(x)
        if value == 0.0:
            return x
        if (value > 0.0) == (at_low > 0.0):
            low, at_low = x, value
            at_high = at_high / 2.0 if kept > 0 else at_high
            kept = 1
        else:
            high, at_high = x, value
            at_low = at_low / 2.0 if kept < 0 else at_low
            kept = -1
        if abs(value) <= np.finfo(float).eps * max(1.0, abs(x)):
            return x
    at_low, at_high = function(low), function(high)
    return low - at_low * (high - low) / (at_high - at_low)


def _result(path: Path, simulation: Simulation, cash: float) -> PathResult:
    trades = simulation.trades
    net = float(simulation.equity[-1]) - cash if simulation.equity.size else 0.0
    return PathResult(
        path=path,
        net_result=net,
        net_return=net / cash,
        n_trades=len(trades),
        ambiguous_share=float(trades["ambiguous"].mean()) if len(trades) else None,
        entry_bar_exits=int((trades["entry_bar"] == trades["exit_bar"]).sum()),
    )


def _net(simulation: Simulation, cash: float) -> float:
    return float(simulation.equity[-1] / cash - 1.0) if simulation.equity.size else 0.0


def _trades(simulation: Simulation) -> int:
    return len(simulation.trades) + len(simulation.positions)


def _sum(simulation: Simulation, part: str) -> float:
    return float(simulation.trades[part].sum() + simulation.positions[part].sum())
