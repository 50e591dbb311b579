"""A scenario: a handful of bars and decisions in YAML, for people who ask what the simulator would do.

    timeframe: 1d
    account: {cash: 10000}
    instruments:
      X: {tick: 0.01, lot: 0.001}
    bars:                             # [ts,] open, high, low, close, volume; null for a bar that is missing
      X: [[100, 101, 99, 100, 1000], [100, 112, 88, 100, 1000]]
    decisions:                        # made on the close of `bar`, counted from 0
      - {bar: 0, instrument: X, do: buy, quantity: 1, stop: 90, targets: [{price: 110, share: 1.0}]}

1. Every value is read by itself: a bar is a row of numbers, a decision one of five records by what it does.
2. Rows are laid on one clock, the union of all instruments' times; what lies off it is refused.
3. What could be read is held against the rest: names, bars decided on, marks that will be due, orders to cancel.
4. `Scenario.document` gives the same as plain values with nothing left out: every bar with its time,
   ladders written out, decisions in the order of their bars. That is what the simulator reads.

What means something and is not wise (a stop on the wrong side, an order too small) is not refused
here: the simulator rejects it with a reason, as it would in a backtest.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, date, datetime, time, timedelta
from itertools import pairwise
from math import isfinite
from typing import Annotated, Any, Literal, NamedTuple, Self

from pydantic import Field, PlainSerializer, PlainValidator, model_validator

from engine.bars import timeframe_us
from quality.configuration import Filled, NonNegative, Positive, Record, Text, Timeframe, refuse
from quality.contracts import Contract
from quality.costs import NO_SLIPPAGE, FeePeriod, Fraction, PerShare, RateBps, Share, Slippage, SpreadBps, out_of_order
from quality.datasets import ROUND_THE_CLOCK
from quality.documents import unknown
from quality.errors import Refusal
from quality.exits import (
    DEFAULT,
    DEFAULT_LADDER,
    AnyTarget,
    AnyTargets,
    Distance,
    PriceTarget,
    Stop,
    Target,
    beyond_whole,
)
from quality.risk import Guards
from quality.sizing import Sizer

PathPolicy = Literal["adverse", "likely", "favourable"]
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_US = timedelta(microseconds=1)
_DAY_US = timeframe_us("1d")
_TIME = "a time such as 2021-09-01T00:00:00Z"
_PRICES = ("open", "high", "low", "close")
_GIVEN_BY_SIMULATOR = re.compile(r"o-[0-9]{6,}")
Count = Annotated[int, Field(ge=1)]
Index = Annotated[int, Field(ge=0)]


class Bar(NamedTuple):
    """One row. A bar that lacks a price is missing and has none; its place in time stays."""

    ts: datetime | None
    open: float | None
    high: float | None
    low: float | None
    close: float | None
    volume: float | None = None

    @property
    def is_missing(self) -> bool:
        return self.open is None


def _moment(value: Any) -> datetime:
    """A time of a file; a date is its midnight, and what names no zone is UTC."""
    if isinstance(value, str):
        try:
            moment = (
                datetime.combine(date.fromisoformat(value), time())
                if len(value) <= 10
                else datetime.fromisoformat(value)
            )
            return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
        except (ValueError, OverflowError):
            pass
    raise ValueError(_TIME)


def _written(moment: datetime) -> str:
    return moment.isoformat().replace("+00:00", "Z")


def _bar(value: Any) -> Bar:
    return _row(value, columns=(*_PRICES, "volume"))


def _mark(value: Any) -> Bar:
    return _row(value, columns=_PRICES)


def _row(value: Any, *, columns: Sequence[str]) -> Bar:
    if value is None:
        return Bar(None, None, None, None, None)
    ts_given = isinstance(value, list) and bool(value) and isinstance(value[0], str)
    cells = value[ts_given:] if isinstance(value, list) else []
    if not len(_PRICES) <= len(cells) <= len(columns):
        expected = f"[ts,] {', '.join(columns)}"
        raise ValueError(expected)
    problems = [*_uncountable(cells, offset=int(ts_given))]
    if ts_given and not _is_moment(value[0]):
        problems.insert(0, Refusal((0,), f"{_TIME}, or a number"))
    refuse(problems or _upside_down(cells, offset=int(ts_given)))
    ts = _moment(value[0]) if ts_given else None
    if None in cells[:4]:
        return Bar(ts, None, None, None, None)
    return Bar(ts, *(None if cell is None else float(cell) for cell in cells))


def _is_moment(value: str) -> bool:
    try:
        _moment(value)
    except ValueError:
        return False
    return True


def _uncountable(cells: Sequence[Any], *, offset: int) -> Iterator[Refusal]:
    for index, cell in enumerate(cells):
        of_volume = index == len(_PRICES)
        if cell is None:
            continue
        if isinstance(cell, bool) or not isinstance(cell, int | float) or not _is_finite(cell):
            yield Refusal((index + offset,), "a finite number, or null where there is none")
        elif cell < 0 or (cell == 0 and not of_volume):
            yield Refusal((index + offset,), "at least 0" if of_volume else "a price above 0")


def _is_finite(number: float) -> bool:
    try:
        return isfinite(number)
    except OverflowError:
        return False


def _upside_down(cells: Sequence[Any], *, offset: int) -> Iterator[Refusal]:
    opens, high, low, close = cells[:4]
    if None in (opens, high, low, close):
        return
    if high < max(opens, close):
        yield Refusal((1 + offset,), f"a high not below open and close ({max(opens, close):g})")
    if low > min(opens, close):
        yield Refusal((2 + offset,), f"a low not above open and close ({min(opens, close):g})")


def _serialized(columns: int) -> PlainSerializer:
    def written(bar: Bar) -> list[Any] | None:
        numbers = list(bar[1 : columns + 1])
        return [_written(bar.ts), *numbers] if bar.ts else None if bar.is_missing else numbers

    return PlainSerializer(written)


BarRow = Annotated[Bar, PlainValidator(_bar), _serialized(5)]
MarkRow = Annotated[Bar, PlainValidator(_mark), _serialized(4)]
Moment = Annotated[datetime, PlainValidator(_moment), PlainSerializer(_written)]


class Account(Record):
    cash: Positive


class Instrument(Contract):
    tick: Positive = 0.01
    lot: Positive = 0.001  # in contracts
    min_notional: NonNegative = 0.0


class Costs(Record):
    maker_bps: RateBps = 0.0
    taker_bps: RateBps = 0.0
    fees: tuple[FeePeriod, ...] = Field(default=(), exclude_if=lambda fees: not fees)  # instead of the two
    per_share: PerShare | None = Field(default=None, exclude_if=lambda fee: fee is None)  # instead of all three
    half_spread_bps: SpreadBps = 0.0
    slippage: Slippage = NO_SLIPPAGE
    borrow_bps_per_day: NonNegative = 0.0

    @model_validator(mode="after")
    def _one_kind_of_fee(self) -> Self:
        refuse([*self._charged_twice(), *out_of_order(self.fees)])
        return self

    def _charged_twice(self) -> Iterator[Refusal]:
        flat = bool(self.maker_bps or self.taker_bps)
        if flat + bool(self.fees) + bool(self.per_share) > 1:
            yield Refusal((), "maker_bps and taker_bps, or fees, or per_share", found="{key} charges an order twice")


class Rules(Record):
    path: PathPolicy = "adverse"
    limit_fill: Literal["trade_through", "touch"] = "trade_through"
    participation: Fraction = 1.0
    liquidate_on: Literal["mark", "last"] = "mark"
    delisting_recovery: Share = 1.0


class Funding(Record):
    at: Moment
    instrument: Text
    rate: float
    mark: Positive | None = Field(default=None, exclude_if=lambda mark: mark is None)  # the mark bar's open by default


class Action(Record):
    """What acts on the open of `bar`."""

    bar: Index
    instrument: Text
    split: Positive | None = Field(default=None, exclude_if=lambda value: value is None)  # new units per old one
    dividend: Positive | None = Field(default=None, exclude_if=lambda value: value is None)  # cash per unit
    delist: Literal[True] | None = Field(default=None, exclude_if=lambda value: value is None)  # the last bar

    @model_validator(mode="after")
    def _one_thing(self) -> Self:
        if sum(value is not None for value in (self.split, self.dividend, self.delist)) != 1:
            refuse([Refusal((), "one of split, dividend and delist: true")])
        return self


def _left_out(default: Any = None) -> Any:
    return Field(default=default, exclude_if=lambda value: value == default)


class Entry(Record):
    """Buys or sells: opens, adds, or takes away to flat at most."""

    bar: Index
    instrument: Text
    do: Literal["buy", "sell"]
    quantity: Positive | None = _left_out()
    size: Sizer | None = _left_out()
    order: Literal["market", "limit", "stop", "stop_limit"] = "market"
    price: Positive | None = _left_out()
    trigger: Positive | None = _left_out()
    post_only: bool = _left_out(default=False)
    stop: Stop | None = _left_out()
    targets: AnyTargets = _left_out(default=())
    trail: Distance | None = _left_out()
    runner_trail: Distance | None = _left_out()
    break_even_after: Count | None = _left_out()
    time_stop_bars: Count | None = _left_out()
    session_close: bool = _left_out(default=False)
    ttl_bars: Count | None = _left_out()
    client_order_id: Text | None = _left_out()

    @property
    def ladder(self) -> tuple[AnyTarget, ...]:
        if isinstance(self.targets, str):
            return tuple(Target(r=r, share=share) for r, share in DEFAULT_LADDER)
        return self.targets

    @model_validator(mode="after")
    def _says_one_thing(self) -> Self:
        refuse([*self._unsized(), *self._mispriced(), *self._misaimed(), *_too_many(self.targets)])
        return self

    def _unsized(self) -> Iterator[Refusal]:
        if self.quantity is None and self.size is None:
            yield Refusal(("quantity",), "a number, or size: {model: …} instead")
        if self.quantity is not None and self.size is not None:
            yield Refusal(("size",), "no quantity beside it")

    def _mispriced(self) -> Iterator[Refusal]:
        wanted = {"limit": ("price",), "stop": ("price",), "stop_limit": ("trigger", "price")}.get(self.order, ())
        for name in ("price", "trigger"):
            given = getattr(self, name) is not None
            if name in wanted and not given:
                yield Refusal((name,), f"a price, as order is {self.order}")
            elif given and name not in wanted:
                yield Refusal((name,), f"nothing, as order is {self.order}")
        if self.post_only and self.order != "limit":
            yield Refusal(("post_only",), f"order: limit beside it, not {self.order}")

    def _misaimed(self) -> Iterator[Refusal]:
        sign, side = (1, "above") if self.do == "buy" else (-1, "below")
        for index, target in enumerate(self.ladder):
            stop = self.stop
            if isinstance(stop, float) and isinstance(target, PriceTarget) and sign * (target.price - stop) <= 0:
                yield Refusal(("targets", index, "price"), f"a price {side} the stop ({stop:g})")
        if self.break_even_after is not None and self.break_even_after > len(self.ladder):
            yield Refusal(("break_even_after",), f"at most the number of targets ({len(self.ladder)})")
        if self.runner_trail is not None and not self.ladder:
            yield Refusal(("runner_trail",), "targets beside it: it trails what is left after the last")


class Close(Record):
    """Leaves, altogether or by `quantity`, at the next open."""

    bar: Index
    instrument: Text
    do: Literal["close"]
    quantity: Positive | None = _left_out()
    client_order_id: Text | None = _left_out()


class Cancel(Record):
    """Takes back resting entries: all of an instrument, or one."""

    bar: Index
    instrument: Text
    do: Literal["cancel"]
    client_order_id: Text | None = _left_out()


class MoveStop(Record):
    bar: Index
    instrument: Text
    do: Literal["move_stop"]
    stop: Positive


class MoveTarget(Record):
    bar: Index
    instrument: Text
    do: Literal["move_target"]
    targets: tuple[AnyTarget, ...]  # none takes all of them away

    @model_validator(mode="after")
    def _within_a_position(self) -> Self:
        refuse(_too_many(self.targets))
        return self


Decision = Annotated[Entry | Close | Cancel | MoveStop | MoveTarget, Field(discriminator="do")]


def _too_many(targets: "str | tuple[AnyTarget, ...]") -> Iterator[Refusal]:
    if not isinstance(targets, str) and beyond_whole(target.share for target in targets):
        yield Refusal(("targets",), "shares that sum to at most 1")


class Scenario(Record):
    timeframe: Timeframe
    calendar: Text = ROUND_THE_CLOCK
    account: Account
    instruments: Annotated[dict[Text, Instrument], Filled]
    bars: dict[Text, Annotated[tuple[BarRow, ...], Filled]]
    mark_bars: dict[Text, tuple[MarkRow, ...]] = Field(default_factory=dict)
    finer_bars: dict[Text, tuple[BarRow, ...]] = Field(default_factory=dict)
    costs: Costs = Costs()
    rules: Rules = Rules()
    risk: Guards = Guards()
    funding: tuple[Funding, ...] = ()
    actions: tuple[Action, ...] = ()
    decisions: tuple[Decision, ...] = ()

    @property
    def is_dated(self) -> bool:
        """Do the bars have times of their own?"""
        return any(bar.ts for rows in self.bars.values() for bar in rows)

    @property
    def n_rows(self) -> int:
        """Of the longest list of bars."""
        return max(len(rows) for rows in (*self.bars.values(), *self.mark_bars.values()))

    def clock(self, due: "Sequence[datetime] | None" = None) -> "Clock":
        """The time of every bar.

        Args:
            due: of bars without times, in order; by default they follow each other from 1970 on.
        """
        step = timedelta(microseconds=timeframe_us(self.timeframe))

        def at(index: int, bar: Bar) -> datetime:
            return bar.ts or (due[index] if due else _EPOCH + index * step)

        stamps = {name: [at(i, bar) for i, bar in enumerate(rows)] for name, rows in self.bars.items()}
        marks = {name: [at(i, bar) for i, bar in enumerate(rows)] for name, rows in self.mark_bars.items()}
        return Clock(tuple(sorted({ts for own in stamps.values() for ts in own})), stamps, marks)

    def document(self, due: "Sequence[datetime] | None" = None) -> dict[str, Any]:
        """The scenario as plain values, in the shape of the file, with nothing left out; `due` as for `clock`."""
        clock = self.clock(due)
        values = self.model_dump(mode="json", by_alias=True)
        for name, instrument in self.instruments.items():
            values["instruments"][name]["liquidation"] = instrument.formula
        values["bars"] = {name: _dated(rows, clock.bars[name], columns=5) for name, rows in self.bars.items()}
        values["mark_bars"] = {
            name: _dated(rows, clock.marks[name], columns=4) for name, rows in self.mark_bars.items()
        }
        values["decisions"] = [_written_out(one) for one in sorted(self.decisions, key=lambda one: one.bar)]
        return values

    @model_validator(mode="after")
    def _means_something(self) -> Self:
        refuse([*self._misnamed(), *_mistimed(self)])
        clock = self.clock()
        places = {name: _places(self.bars[name], clock.bars[name], clock.times) for name in self.bars}
        refuse(
            [
                *_not_there(self, places, n_bars=len(clock.times)),
                *_contradictions(self.decisions),
                *_unmarked(self, places, clock),
                *self._fees_unknown(clock),
            ]
        )
        return self

    def _misnamed(self) -> Iterator[Refusal]:
        for section in ("bars", "mark_bars", "finer_bars"):
            for name in getattr(self, section):
                if name not in self.instruments:
                    yield unknown((section, name), name, self.instruments)._replace(found="{key} is of no instrument")
        for section in ("funding", "actions", "decisions"):
            for index, row in enumerate(getattr(self, section)):
                if row.instrument not in self.instruments:
                    yield unknown((section, index, "instrument"), row.instrument, self.instruments)
        for name in self.instruments:
            if name not in self.bars:
                yield Refusal(("bars", name), "bars of every instrument")

    def _fees_unknown(self, clock: "Clock") -> Iterator[Refusal]:
        if self.costs.fees and self.costs.fees[0].from_ > clock.times[0].date():
            yield Refusal(("costs", "fees", 0, "from"), f"a date not after the first bar ({clock.times[0].date()})")


class Clock(NamedTuple):
    """Times of the bars: the union of all instruments, and each row's own."""

    times: tuple[datetime, ...]
    bars: Mapping[str, Sequence[datetime]]
    marks: Mapping[str, Sequence[datetime]]


def _dated(rows: Iterable[Bar], stamps: Iterable[datetime], *, columns: int) -> list[list[Any]]:
    return [[_written(ts), *bar[1 : columns + 1]] for bar, ts in zip(rows, stamps, strict=True)]


def _written_out(decision: Decision) -> dict[str, Any]:
    values = decision.model_dump(mode="json", by_alias=True, exclude_none=True)
    if isinstance(decision, Entry) and decision.targets == DEFAULT:
        ladder = [target.model_dump(mode="json") for target in decision.ladder]
        values |= {"targets": ladder, "break_even_after": decision.break_even_after or 1}
    return values


# Times


def _mistimed(scenario: Scenario) -> Iterator[Refusal]:
    dated = scenario.is_dated
    for section in ("bars", "mark_bars", "finer_bars"):
        for name, rows in getattr(scenario, section).items():
            at = (section, name)
            odd = next(
                (i for i, bar in enumerate(rows) if (bar.ts is not None) != (dated or section == "finer_bars")), None
            )
            if odd is not None:
                yield _oddly_dated((*at, odd), dated=dated, section=section)
                continue
            yield from _disordered(at, [bar.ts for bar in rows if bar.ts])
            if dated and section != "finer_bars" and scenario.calendar == ROUND_THE_CLOCK:
                yield from _off_grid(at, rows, scenario)
    if scenario.funding and not dated:
        yield Refusal(("funding",), "a ts in every bar, as funding has times", found="{key} is charged at times")


def _oddly_dated(at: tuple[str | int, ...], *, dated: bool, section: str) -> Refusal:
    if section == "finer_bars":
        return Refusal(at, "a ts first, as finer bars lie in others by their time")
    return Refusal(at, "a ts first, as other bars have one" if dated else "no ts, as the bars have none")


def _disordered(at: tuple[str | int, ...], stamps: Sequence[datetime]) -> Iterator[Refusal]:
    for index, (before, after) in enumerate(pairwise(stamps), start=1):
        if after <= before:
            yield Refusal((*at, index, 0), f"a time after that of the bar before ({_written(before)})")


def _off_grid(at: tuple[str | int, ...], rows: Sequence[Bar], scenario: Scenario) -> Iterator[Refusal]:
    """Bars that divide a day lie on its multiples; others follow the first."""
    step = timeframe_us(scenario.timeframe)
    first = min(bar.ts for own in scenario.bars.values() for bar in own if bar.ts)
    origin = _EPOCH if _DAY_US % step == 0 else first
    for index, bar in enumerate(rows):
        if bar.ts and (bar.ts - origin) // _US % step:
            yield Refusal((*at, index, 0), f"a multiple of {scenario.timeframe} since {_written(origin)}")


# What one part says of another


def _places(rows: Sequence[Bar], stamps: Sequence[datetime], times: Sequence[datetime]) -> dict[int, int]:
    """The rows of an instrument's bars by the number of the bar, without those that are missing."""
    number = {ts: t for t, ts in enumerate(times)}
    return {number[ts]: row for row, (bar, ts) in enumerate(zip(rows, stamps, strict=True)) if not bar.is_missing}


def _not_there(scenario: Scenario, places: Mapping[str, Mapping[int, int]], *, n_bars: int) -> Iterator[Refusal]:
    """Decisions and actions on bars that do not exist."""
    for section in ("actions", "decisions"):
        for index, row in enumerate(getattr(scenario, section)):
            if row.bar >= n_bars:
                yield Refusal((section, index, "bar"), f"a bar from 0 to {n_bars - 1}")
            elif section == "decisions" and row.bar not in places[row.instrument]:
                yield Refusal(
                    (section, index, "bar"), f"a bar that {row.instrument} has: without a close nothing is decided"
                )


def _contradictions(decisions: Sequence[Decision]) -> Iterator[Refusal]:
    named: set[tuple[str, str]] = set()
    moved: dict[tuple[str, str, int], Decision] = {}
    for index, one in sorted(enumerate(decisions), key=lambda row: row[1].bar):
        if isinstance(one, Entry) and one.client_order_id is not None:
            named.add((one.instrument, one.client_order_id))
        elif isinstance(one, Cancel) and one.client_order_id is not None:
            if (one.instrument, one.client_order_id) not in named:
                yield _uncancellable(index, one)
        elif isinstance(one, MoveStop | MoveTarget):
            earlier = moved.setdefault((one.instrument, one.do, one.bar), one)
            if earlier != one:
                yield Refusal(("decisions", index, "do"), f"one {one.do} of {one.instrument} on bar {one.bar}, not two")


def _uncancellable(index: int, cancel: Cancel) -> Refusal:
    expected = f"the client_order_id of a buy or sell of {cancel.instrument} decided before"
    if _GIVEN_BY_SIMULATOR.fullmatch(cancel.client_order_id or ""):
        expected += "; ids such as this are the simulator's own, and protective orders are moved, never cancelled"
    return Refusal(("decisions", index, "client_order_id"), expected)


def _unmarked(scenario: Scenario, places: Mapping[str, Mapping[int, int]], clock: Clock) -> Iterator[Refusal]:
    """Marks that may be due and are not there: for liquidation, and for funding without a mark of its own."""
    marked = {
        name: {ts for bar, ts in zip(rows, clock.marks[name], strict=True) if not bar.is_missing}
        for name, rows in scenario.mark_bars.items()
    }
    opened = _first_entries(scenario.decisions)
    for name, instrument in scenario.instruments.items():
        if instrument.kind != "spot" and instrument.leverage > 1 and scenario.rules.liquidate_on == "mark":
            yield from _unliquidated(name, marked.get(name, set()), opened, places, clock)
    step = timedelta(microseconds=timeframe_us(scenario.timeframe))
    for index, row in enumerate(scenario.funding):
        charged = next((t for t in sorted(places[row.instrument]) if row.at < clock.times[t] + step), None)
        is_due = row.mark is None and charged is not None and charged > opened.get(row.instrument, charged)
        if is_due and clock.times[charged or 0] not in marked.get(row.instrument, set()):
            yield Refusal(("funding", index, "mark"), f"a price, as mark_bars.{row.instrument} has no bar there")


def _first_entries(decisions: Iterable[Decision]) -> dict[str, int]:
    """The bar on whose close each instrument is first bought or sold."""
    first: dict[str, int] = {}
    for one in decisions:
        if isinstance(one, Entry):
            first[one.instrument] = min(one.bar, first.get(one.instrument, one.bar))
    return first


def _unliquidated(
    name: str, marked: set[datetime], opened: Mapping[str, int], places: Mapping[str, Mapping[int, int]], clock: Clock
) -> Iterator[Refusal]:
    wanted = f"mark_bars.{name} beside it, or rules.liquidate_on: last"
    without = [t for t in sorted(places[name]) if t > opened.get(name, t) and clock.times[t] not in marked]
    if not marked:
        yield Refusal(("instruments", name, "leverage"), wanted)
    elif without:
        yield Refusal(("mark_bars", name), f"a mark for every bar after the first decision: bar {without[0]} has none")
