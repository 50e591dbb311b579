"""One strategy over history: bars to decisions to a simulation, and the returns that are judged.

1. `grid` lays the instruments' raw bars side by side on the union of their bars, and beside them
   what does not depend on the signal: volumes, corporate actions, the calendar's bars and session
   ends, rates between currencies, finer bars, embargoes;
2. `decisions` asks the strategy, instrument by instrument, on adjusted columns, and lays its
   answers on the same grid;
3. `run` simulates a half-open range of that grid, starting flat with the plan's cash; `sweep` does so for many decisions;
4. `session_returns` reads the equity curve at session closes: the one series that every gated
   metric is computed on.

Decisions are computed on all of the history handed in, and so is what the simulator measures
(ranges, deviations, volumes): bars before a range are warm-up only.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import date
from types import MappingProxyType
from typing import Any, Literal, NamedTuple, TypeVar

import numpy as np
import polars as pl
from numpy.typing import NDArray

from engine.bars import PRICES
from engine.causal import Bars
from engine.errors import UnusableBarError
from engine.evaluation import Memo
from engine.history import History
from engine.indicators import atr as average_true_range
from engine.regimes import UNSAID, RegimeRules, classified, judged
from engine.simulator import inputs
from engine.simulator.checks import check
from engine.simulator.drivers import run_sweep
from engine.simulator.packing import signals_of, tape_of
from engine.simulator.simulation import Simulation, simulate
from engine.sleeves import simulate_sleeves
from engine.strategy import Market, Strategy, asked, decide, refusal

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Truths = NDArray[np.bool_]
_SIGNALS = {"enter": "enter_long", "exit": "exit_long", "enter_short": "enter_short", "exit_short": "exit_short"}
_NUMBERS = {
    "stop": "stop_distances",
    "strength": "strengths",
    "confidence": "confidences",
    "target": "targets",
    "weight": "weights",
    "bias": "biases",
}
_DAILY = "1d"
Read = TypeVar("Read")


class Rate(NamedTuple):
    """What makes money of an instrument money of the account: a series' last close that is known, or one over it."""

    series: str
    inverted: bool = False


class Plan(NamedTuple):
    """Everything a run needs beside the signal and the data."""

    timeframe: str
    instruments: tuple[inputs.Instrument, ...]
    rules: inputs.Rules
    rates: Mapping[str, Rate] = MappingProxyType({})  # by instrument that settles in other money than the account
    delisted: Mapping[str, date] = MappingProxyType({})  # by instrument, its last session
    magnify: str | None = None  # the timeframe of the bars that say which way the price went inside a bar
    sized: bool = True  # somebody says how much an entry is; the signal itself where it says targets or weights
    capital: Literal["shared", "sleeves"] = "shared"  # sleeves: an equal part of the cash each, and accounts apart
    regimes: RegimeRules | None = None  # None: nobody looks


class Grid(NamedTuple):
    """Everything on one clock that does not depend on the signal; arrays are bars, or bars x instruments."""

    bars: inputs.Market
    sessions: pl.Series  # Date, one per bar
    embargoed: Truths
    rows_of: tuple[Integers, ...]  # by instrument: where its own bars lie on the clock
    regimes: Floats | None = None  # by number; NaN where not known
    regime_confidences: Floats | None = None

    def rows(self, first: date, last: date) -> tuple[int, int]:
        """The half-open range of bars in the sessions from `first` to `last`, both included."""
        return int(self.sessions.search_sorted(first, "left")), int(self.sessions.search_sorted(last, "right"))


def grid(history: History, plan: Plan) -> Grid:
    """Lay the raw bars of the plan's instruments side by side; NaN where one has no bar.

    Raises:
        UnusableBarError: a rate between currencies that is not known when it is needed.
    """
    ids = [instrument.id for instrument in plan.instruments]
    clock = (
        pl.concat([history.raw[instrument].select("session", "ts", "known_at") for instrument in ids])
        .unique("ts")
        .sort("ts")
    )
    rows_of = tuple(clock["ts"].search_sorted(history.raw[instrument]["ts"]).to_numpy() for instrument in ids)
    prices = {
        name: _laid_out([history.raw[instrument][name].to_numpy() for instrument in ids], rows_of, clock.height)
        for name in PRICES
    }
    splits, dividends = _actions(history, plan, clock, rows_of)
    return Grid(
        inputs.Market(
            ts=_micros(clock["ts"]),
            known_at=_micros(clock["known_at"]),
            opens=prices["open"],
            highs=prices["high"],
            lows=prices["low"],
            closes=prices["close"],
            splits=splits,
            dividends=dividends,
            volumes=_laid_out([history.raw[one]["volume"].to_numpy() for one in ids], rows_of, clock.height),
            conversions=_conversions(history, plan, clock),
            delisted=_delisted(history, plan, clock, rows_of),
            sessions=clock["session"].to_physical().cast(pl.Int64).to_numpy(),
            session_ends=_session_ends(history, clock),
            slots=history.due["ts"].search_sorted(clock["ts"], side="right").cast(pl.Int64).to_numpy(),
            finer=_finer(history, plan, clock, rows_of),
        ),
        sessions=clock["session"],
        embargoed=np.column_stack([_embargoed(history, instrument, clock) for instrument in ids]),
        rows_of=rows_of,
        **_regimes(history, plan, rows_of, clock.height),
    )


def decisions(
    strategy: Strategy, history: History, plan: Plan, on: Grid, *, memo: Memo | None = None
) -> inputs.Decisions:
    """What the strategy decides on each bar's close, on the grid; False where an instrument has no bar.

    An entry is a decision on its exits too: while an average true range of theirs is not warm, nothing is entered. Nor
    is anything while no regime is known that something hangs on; later one that is not allowed refuses, and is recorded.
    `memo` keeps columns from one strategy to the next on the same history.
    """
    cold = _warm_up_of(plan.rules.exits)
    signals: dict[str, Any] = {name: np.zeros(on.bars.closes.shape, dtype=np.bool_) for name in _SIGNALS.values()}
    numbers = {name: np.full(on.bars.closes.shape, np.nan) for name in _NUMBERS.values()}
    setups, names = np.full(on.bars.closes.shape, UNSAID), dict[str, int]()
    peers = [instrument.id for instrument in plan.instruments]
    columns = asked(strategy, history.frames[peers[0]], plan.timeframe)  # once for all: they are the same of each
    for column, (instrument, rows) in enumerate(zip(plan.instruments, on.rows_of, strict=True)):
        frames = history.frames[instrument.id]
        market = Market(instrument.id, history.frames, peers, history.members, memo)
        decided = decide(strategy, frames, plan.timeframe, market, signals=columns)
        decided = _of_members(decided, history, instrument.id)
        _heard_by_somebody(strategy, decided, plan)
        for signal, name in _SIGNALS.items():
            signals[name][rows, column] = decided[signal].to_numpy()
        for name in ("enter_long", "enter_short"):
            signals[name][rows[:cold], column] = False
        for number, name in _NUMBERS.items():
            numbers[name][rows, column] = decided[number].to_numpy()
        for name in decided["setup"].drop_nulls().unique(maintain_order=True):
            names.setdefault(name, len(names))
        setups[rows, column] = decided["setup"].replace_strict(names, default=UNSAID, return_dtype=pl.Int64).to_numpy()
        numbers["stop_distances"][rows, column] /= frames[plan.timeframe]["factor"].to_numpy()  # seen adjusted
    stops = numbers.pop("stop_distances")
    said: dict[str, Any] = {name: None if np.isnan(values).all() else values for name, values in numbers.items()}
    told = inputs.Decisions(**signals, **said, stop_distances=stops, embargoed=on.embargoed)
    return _in_regimes(plan, on, told._replace(setups=setups, setup_names=tuple(names)) if names else told)


def _in_regimes(plan: Plan, on: Grid, decided: inputs.Decisions) -> inputs.Decisions:
    """The same decisions, with the regime of every bar and what it makes of them."""
    if plan.regimes is None or on.regimes is None or on.regime_confidences is None:
        return decided
    setups = np.full(on.regimes.shape, UNSAID) if decided.setups is None else decided.setups
    verdict = judged(plan.regimes, on.regimes, on.regime_confidences, setups, decided.setup_names)
    decided = decided._replace(
        regimes=on.regimes, regime_names=plan.regimes.names, regime_confidences=on.regime_confidences
    )
    if verdict is None:
        return decided
    known = np.logical_or.accumulate(np.isfinite(on.regimes), axis=0)
    return decided._replace(
        enter_long=decided.enter_long & known, enter_short=decided.enter_short & known, **verdict._asdict()
    )


def _of_members(decided: pl.DataFrame, history: History, instrument: str) -> pl.DataFrame:
    """Who is no member of the universe in a session is not entered in it, and of targets holds nothing."""
    if history.members is None:
        return decided
    sessions = history.raw[instrument].select("ts", "session")
    own = history.members.filter(pl.col("instrument") == instrument).select("session", member=pl.lit(value=True))
    joined = sessions.join(own, on="session", how="left", maintain_order="left").select("ts", "member")
    may = pl.col("member").fill_null(value=False)
    return (
        decided.join(joined, on="ts", how="left", maintain_order="left")
        .with_columns(
            *(pl.col(name) & may for name in ("enter", "enter_short")),
            *(pl.when(may | pl.col(name).is_null()).then(pl.col(name)).otherwise(0.0) for name in ("target", "weight")),
        )
        .drop("member")
    )


def _heard_by_somebody(strategy: Strategy, decided: pl.DataFrame, plan: Plan) -> None:
    """Refuse what a strategy says and the plan does not listen to."""

    def says(*names: str) -> bool:
        return any(decided[name].fill_null(value=False).any() if decided[name].dtype == pl.Boolean
                   else decided[name].is_not_null().any() for name in names)  # fmt: skip

    if says("stop") and not (plan.rules.exits.stop or inputs.Stop()).distances:
        raise refusal(strategy, "says a stop, and nothing listens: write `stop: signal` under exits")
    if says("enter", "enter_short") and not says("stop") and (plan.rules.exits.stop or inputs.Stop()).distances:
        raise refusal(strategy, "enters and says no stop, and `stop: signal` leaves it to the strategy: say `stop=…`")
    if says("target", "weight") and plan.sized:
        raise refusal(strategy, "says how much is to be held, and a size says it too: write `size: signal`")
    if says("enter", "enter_short") and not plan.sized:
        raise refusal(strategy, "enters, and `size: signal` leaves how much to it: write a sizer")


def _warm_up_of(exits: inputs.Exits) -> int:
    """Bars of an instrument's own until older ones weigh nothing in what its exits are measured by."""
    distances = (exits.stop, exits.trail, exits.runner_trail)
    lengths = [one.length for one in distances if one is not None and one.length is not None]
    return max((average_true_range(Bars(_DAILY), length).warm_up for length in lengths), default=0)


def part(on: Grid, decided: inputs.Decisions, rows: tuple[int, int]) -> tuple[inputs.Market, inputs.Decisions]:
    """The bars `rows` (half-open), and what was decided on them."""
    wanted = slice(*rows)
    bars: dict[str, Any] = {
        name: values[wanted] for name, values in on.bars._asdict().items() if isinstance(values, np.ndarray)
    }
    if on.bars.finer is not None:
        bars["finer"] = on.bars.finer._replace(starts=on.bars.finer.starts[wanted], ends=on.bars.finer.ends[wanted])
    answers: dict[str, Any] = {
        name: values[wanted] for name, values in decided._asdict().items() if isinstance(values, np.ndarray)
    }
    return on.bars._replace(**bars), decided._replace(**answers)


def run(
    on: Grid,
    decided: inputs.Decisions,
    plan: Plan,
    *,
    rows: tuple[int, int] | None = None,
    close_at_end: bool = False,
) -> Simulation:
    """Simulate the bars `rows` (half-open; all of them by default), starting flat with the plan's cash.

    The simulator is given all bars before the range too, and measures on them; nothing is decided there. The answer
    counts its bars from the first of the range.
    """
    first, end = rows or (0, on.bars.ts.size)
    bars, heard = _heard(on, decided, (first, end))
    simulated = simulate_sleeves if plan.capital == "sleeves" else simulate
    rules = plan.rules._replace(close_at_end=close_at_end)
    return _counted_from(first, simulated(bars, heard, plan.instruments, rules))


def sweep(
    on: Grid,
    decide_on: Sequence[Callable[[], inputs.Decisions]],
    plan: Plan,
    *,
    rows: tuple[int, int],
    read: Callable[[Floats], Read],
) -> list[Read]:
    """`run` on the bars `rows` for each of so many decisions; gives what `read` makes of each equity curve.

    One market is laid out once, and memory does not grow with their number: decisions are made when their turn comes,
    and curves are written over. Decisions that say more than signals are run one by one.
    """
    first, end = rows
    if plan.capital == "sleeves":  # an account for each instrument: nothing is shared between their runs
        return [read(run(on, decided(), plan, rows=rows).equity) for decided in decide_on]
    bars, silent = _heard(on, _silent(on), (first, end))
    check(bars, silent, plan.instruments, plan.rules)

    eloquent: list[int] = []

    def write(k: int, signals: NDArray[np.int8]) -> None:
        decided = decide_on[k]()
        if says_more(decided):
            eloquent.append(k)
            return
        said = signals_of(_heard(on, decided, rows)[1])
        if said.size:
            signals[:] = said

    tape = tape_of(bars, silent, plan.instruments, plan.rules)
    found = run_sweep(tape, plan.rules.cash, write, len(decide_on), read=lambda equity: read(equity[first:]))
    for k in eloquent:
        found[k] = read(run(on, decide_on[k](), plan, rows=rows).equity)
    return found


def says_more(decided: inputs.Decisions) -> bool:
    """Do these decisions move money by more than signals: by stops, targets or what a regime makes of sizes?

    Regimes alone are those of the grid, the same for all.
    """
    moving = (decided.multipliers, decided.refusals, decided.targets, decided.weights)
    return any(column is not None for column in moving) or not np.isnan(decided.stop_distances).all()


def _silent(on: Grid) -> inputs.Decisions:
    nothing: dict[str, Any] = {name: np.zeros(on.bars.closes.shape, dtype=np.bool_) for name in inputs.SIGNALS}
    none = np.full(on.bars.closes.shape, np.nan)
    return inputs.Decisions(**nothing, stop_distances=none, embargoed=on.embargoed, regimes=on.regimes)


def _heard(on: Grid, decided: inputs.Decisions, rows: tuple[int, int]) -> tuple[inputs.Market, inputs.Decisions]:
    """All bars up to the end of `rows`, and what was decided within them."""
    first, end = rows
    bars, on_them = part(on, decided, (0, end))
    inside = np.arange(end)[:, None] >= first
    heard: dict[str, Any] = {name: getattr(on_them, name) & inside for name in inputs.SIGNALS}
    for name in ("targets", "weights"):
        if (wanted := getattr(on_them, name)) is not None:
            heard[name] = np.where(inside, wanted, np.nan)
    return bars, on_them._replace(**heard)


def _counted_from(first: int, simulation: Simulation) -> Simulation:
    """The same run with its bars counted from `first`, before which nothing happened."""
    numbered = {"fills": ("bar",), "trades": ("entry_bar", "exit_bar"), "positions": ("entry_bar", "exit_bar")}
    records = {}
    for name, fields in {**numbered, "orders": ("decided_on", "closed_on")}.items():
        records[name] = getattr(simulation, name).copy()
        for field in fields:
            bars = records[name][field]
            records[name][field] = np.where(bars >= first, bars - first, bars)
    curves = {name: getattr(simulation, name)[first:] for name in ("equity", "cash", "gross_exposure", "drawdown")}
    return simulation._replace(**curves, **records)


class Curves(NamedTuple):
    """What `session_returns` reads of a simulation."""

    equity: Floats
    gross_exposure: Floats


def session_returns(
    simulation: Simulation | Curves, sessions: pl.Series, *, of: Sequence[date], cash: float
) -> pl.DataFrame:
    """`session equity return drawdown gross_exposure` at the close of every session in `of`.

    Args:
        simulation: of bars whose sessions are `sessions`.
        of: the sessions to report, in order, covering those of the bars. One without a bar keeps the equity before
            it, so its return is zero.
        cash: equity before the first session.

    An account that closes a session with nothing left is closed for good: it returns -1 there and 0 ever after,
    whatever the simulation went on to do with money that was not there.
    """
    closes = (
        pl.DataFrame({"session": sessions, "equity": simulation.equity, "gross_exposure": simulation.gross_exposure})
        .group_by("session", maintain_order=True)
        .last()
    )
    return (
        pl.DataFrame({"session": list(of)}, schema={"session": pl.Date})
        .join(closes, on="session", how="left", maintain_order="left")
        .with_columns(
            pl.col("equity").forward_fill().fill_null(cash), pl.col("gross_exposure").forward_fill().fill_null(0)
        )
        .with_columns(solvent=(pl.col("equity") > 0).cum_min())
        .with_columns(pl.when("solvent").then(pl.col("equity", "gross_exposure")).otherwise(0.0))
        .with_columns(before=pl.col("equity").shift(1, fill_value=cash))
        .with_columns(
            pl.when(pl.col("before") > 0).then(pl.col("equity") / pl.col("before") - 1).otherwise(0.0).alias("return")
        )
        .with_columns(drawdown=1 - pl.col("equity") / pl.max_horizontal(pl.col("equity").cum_max(), pl.lit(cash)))
        .select("session", "equity", "return", "drawdown", "gross_exposure")
    )


def _micros(stamps: pl.Series) -> Integers:
    return stamps.dt.timestamp("us").to_numpy()


def _laid_out(columns: Sequence[Floats], rows_of: Sequence[NDArray[np.int64]], height: int) -> Floats:
    laid_out = np.full((height, len(columns)), np.nan)
    for column, (values, rows) in enumerate(zip(columns, rows_of, strict=True)):
        laid_out[rows, column] = values
    return laid_out


def _regimes(history: History, plan: Plan, rows_of: Sequence[Integers], height: int) -> dict[str, Floats]:
    if plan.regimes is None:
        return {}
    found = [classified(plan.regimes, history.frames[one.id], plan.timeframe) for one in plan.instruments]
    numbers, confidences = zip(*found, strict=True)
    return {
        "regimes": _laid_out(numbers, rows_of, height),
        "regime_confidences": _laid_out(confidences, rows_of, height),
    }


def _embargoed(history: History, instrument: str, clock: pl.DataFrame) -> Truths:
    own = history.embargo.filter(pl.col("instrument") == instrument).select("session", "embargoed")
    held_back = clock.join(own, on="session", how="left", maintain_order="left")["embargoed"]
    return held_back.fill_null(value=False).to_numpy()


def _actions(
    history: History, plan: Plan, clock: pl.DataFrame, rows_of: Sequence[NDArray[np.int64]]
) -> tuple[Floats, Floats]:
    """Splits and dividends on the instrument's first bar at or after each ex-date.

    A dividend is cash per unit held after its own day's split, on the grid after its bar's: where a later split acts on
    the same bar, there are more units to share it.
    """
    shape = (clock.height, len(plan.instruments))
    splits, dividends = np.ones(shape), np.zeros(shape)
    for column, (instrument, rows) in enumerate(zip(plan.instruments, rows_of, strict=True)):
        sessions = history.raw[instrument.id]["session"]
        own = history.actions.filter(pl.col("instrument") == instrument.id)
        for action in own.sort("ex_date", "kind", descending=[False, True]).iter_rows(named=True):  # splits first
            at = int(sessions.search_sorted(action["ex_date"], "left"))
            if at in (0, len(sessions)):  # nothing was held before the first bar; after the last nothing happens
                continue
            if action["kind"] == "split":
                splits[rows[at], column] *= action["value"]
                dividends[rows[at], column] /= action["value"]
            else:
                dividends[rows[at], column] += action["value"]
    return splits, dividends


def _session_ends(history: History, clock: pl.DataFrame) -> Truths:
    """Where the calendar's last bar of a session is, known ahead; a session whose last bar is missing has none."""
    last = history.due.group_by("session").agg(ends=pl.col("known_at").max())
    ended = clock.join(last, on="session", how="left", maintain_order="left")
    return (ended["known_at"] >= ended["ends"]).fill_null(value=False).to_numpy()


def _delisted(history: History, plan: Plan, clock: pl.DataFrame, rows_of: Sequence[Integers]) -> Truths | None:
    """The last bar of every instrument whose last session is over."""
    over = {name for name, last in plan.delisted.items() if history.sessions and last <= history.sessions[-1]}
    if not over:
        return None
    last_bars = np.zeros((clock.height, len(plan.instruments)), dtype=np.bool_)
    for column, (instrument, rows) in enumerate(zip(plan.instruments, rows_of, strict=True)):
        if instrument.id in over and rows.size:
            last_bars[rows[-1], column] = True
    return last_bars


def _conversions(history: History, plan: Plan, clock: pl.DataFrame) -> Floats | None:
    """What a unit of each instrument's money is worth in the account's, by the close that is known when a bar opens."""
    if not plan.rates:
        return None
    return np.column_stack(
        [
            _known_rate(history, plan.rates[one.id], one.id, clock) if one.id in plan.rates else np.ones(clock.height)
            for one in plan.instruments
        ]
    )


def _known_rate(history: History, rate: Rate, instrument: str, clock: pl.DataFrame) -> Floats:
    """Before the first bar there is no known close, and nothing that could have been bought either."""
    closes = history.raw[rate.series].select("known_at", "close").sort("known_at")
    known = clock.select("ts").join_asof(closes, left_on="ts", right_on="known_at", strategy="backward")["close"]
    unknown = np.flatnonzero(known.is_null().to_numpy())
    if (late := unknown[unknown > 0]).size or closes.is_empty():
        raise UnusableBarError(
            int(late[0]) if late.size else 0,
            seen=f"no close of {rate.series} is known, by which the money of {instrument} is converted",
            allowed="one from the second bar on",
            remedy=f"begin where {rate.series} has bars, or convert by another series",
        )
    values = known.fill_null(closes["close"][0]).to_numpy()
    return 1.0 / values if rate.inverted else values


def _finer(history: History, plan: Plan, clock: pl.DataFrame, rows_of: Sequence[Integers]) -> inputs.Finer | None:
    """The finer bars that lie in each bar: by time, and in a daily one by session, whose open may lie on the day before."""
    if plan.magnify is None:
        return None
    starts, ends = (np.zeros((clock.height, len(plan.instruments)), dtype=np.int64) for _ in range(2))
    prices, n_before = [], 0
    for column, (instrument, rows) in enumerate(zip(plan.instruments, rows_of, strict=True)):
        own, finer = history.raw[instrument.id], history.finer[instrument.id]
        begins, until = ("session", "session") if plan.timeframe == _DAILY else ("ts", "known_at")
        place = finer[begins]
        starts[rows, column] = n_before + place.search_sorted(own[begins], "left").to_numpy()
        side: Literal["left", "right"] = "right" if plan.timeframe == _DAILY else "left"
        ends[rows, column] = n_before + place.search_sorted(own[until], side).to_numpy()
        prices.append(finer.select(PRICES).to_numpy())
        n_before += finer.height
    opens, highs, lows, closes = (np.ascontiguousarray(values) for values in np.concatenate(prices).T)
    return inputs.Finer(opens, highs, lows, closes, starts, ends)
