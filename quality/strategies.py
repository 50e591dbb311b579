"""A strategy's YAML: everything about it but the signal, which is Python of the same name, or classes named in `signals`.

    schema: 1
    name: sma_cross
    version: 1.0.0              # a change of anything here is a new version
    dataset: crypto_5m
    instruments: all            # or a list of ids, {tier: core}, {universe: liquid_crypto}
    params: {fast: {value: 20, min: 10, max: 30, step: 10}}
    signals: {breakout: {length: 20}}       # instead of Python and params: signal classes, their values on a grid or not
    regimes: {allowed: [trend, chop], min_confidence: 0.6}      # of policies/regimes.yaml
    account: {cash: 100000, currency: USD, capital: shared}     # or sleeves: equal parts, an account each
    size: {model: risk_per_trade, risk: 0.005, cap: 0.2}        # one of quality/sizing.py
    exits: {stop: {atr: 2, length: 14}, targets: default}       # and trails, time stops, session closes
    order: {type: limit, offset_bps: 5, ttl_bars: 3}            # how it is sent; at market where left out
    costs: bitfinex             # a section of policies/costs.yaml
    risk: cautious              # a section of policies/risk.yaml, or guards of its own: {max_drawdown: 0.2}
    fx: {BTC: BTCUSD.BITFINEX}  # the series that converts what settles in another currency than the account's
    magnify: 5m                 # bars that say which way the price went inside a bar
    walk_forward: {in_sample: 60d, out_of_sample: 20d, purge: 1d}

Parameters are values on a grid, `min + k * step` up to `max`; the grid of all of them is what a
walk-forward chooses from, and every set of it is a trial. Sets and windows are bounded, as every
set is run in every window.
"""

import re
from collections.abc import Iterator
from fractions import Fraction
from itertools import product
from math import prod
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Discriminator, Field, PlainSerializer, Tag, model_validator

from engine.signals.composed import parameters_of
from engine.signals.registry import SIGNALS
from engine.signals.signal_class import settings_of
from quality import signals as signal_classes
from quality.configuration import (
    Currency,
    Filled,
    Name,
    NonNegative,
    Number,
    Positive,
    Record,
    Text,
    Timeframe,
    matching,
    refuse,
)
from quality.datasets import Dataset, Instrument, InstrumentId
from quality.errors import Refusal
from quality.exits import (
    DEFAULT,
    DEFAULT_LADDER,
    MOST_TARGETS,
    Count,
    Distance,
    Rung,
    SignalStop,
    Targets,
    beyond_whole,
)
from quality.regimes import Regimes
from quality.risk import Guards
from quality.sizing import SIGNAL, InverseVolatility, RiskParity, RiskPerTrade, SignalSize

MAX_SETS = 50
MAX_WINDOWS = 10
_SESSIONS = "a number of sessions such as 60d"
_INSTRUMENTS = "all, a list of ids, a tier such as {tier: core}, or {universe: liquid_crypto}"


def _sessions(value: Any) -> Any:
    match = re.fullmatch(r"(0|[1-9][0-9]{0,5})d", value) if isinstance(value, str) else None
    if match is None:
        raise ValueError(_SESSIONS)
    return int(match[1])


Sessions = Annotated[int, BeforeValidator(_sessions), PlainSerializer(lambda sessions: f"{sessions}d", return_type=str)]
Version = Annotated[
    str,
    matching(r"(?:0|[1-9][0-9]*)(?:\.(?:0|[1-9][0-9]*)){2}", "three numbers such as 1.0.0 that grow with each change"),
]


def _left_out(default: Any = None) -> Any:
    """A key that may be missing; where it is, versions of before keep their hash."""
    return Field(default=default, exclude_if=lambda value: value == default)


class Account(Record):
    cash: Positive
    currency: Currency
    leverage: Literal[1] = _left_out(1)  # contracts say theirs in the data set
    capital: Literal["shared", "sleeves"]  # all instruments draw on one account; or on equal parts, an account each


class Parameter(Record):
    """A value and the grid it lies on. Whole numbers throughout stay whole."""

    value: Number
    min: Number
    max: Number
    step: Number

    @model_validator(mode="after")
    def _on_its_grid(self) -> Self:
        refuse(self._off_grid())
        return self

    @property
    def is_whole(self) -> bool:
        return all(isinstance(number, int) for number in (self.value, self.min, self.max, self.step))

    @property
    def n_values(self) -> int:
        return (_exact(self.max) - _exact(self.min)) // _exact(self.step) + 1

    @property
    def chosen(self) -> Number:
        return self.value if self.is_whole else float(self.value)

    def values(self) -> list[Number]:
        """All values of the grid, ascending; decimals without float noise."""
        return [self._at(k) for k in range(self.n_values)]

    def _at(self, k: int) -> Number:
        number = _exact(self.min) + k * _exact(self.step)
        return int(number) if self.is_whole else float(number)

    def _off_grid(self) -> Iterator[Refusal]:
        if self.step <= 0:
            yield Refusal(("step",), "more than 0")
        elif self.max < self.min:
            yield Refusal(("max",), f"{self.min} (min) or more")
        elif not self.min <= self.value <= self.max:
            yield Refusal(("value",), f"a value from {self.min} to {self.max}")
        else:
            k, off = divmod(_exact(self.value) - _exact(self.min), _exact(self.step))
            if off:
                around = [str(self._at(i)) for i in (k, k + 1) if i < self.n_values]
                yield Refusal(("value",), f"{' or '.join(around)}, on the grid from {self.min} by {self.step}")


class Exits(Record):
    """How a position is left beside signals; nothing is added that is not asked for."""

    stop: SignalStop | None = None  # `signal`: the distance that the strategy says
    targets: Targets = ()
    trail: Distance | None = _left_out()
    runner_trail: Distance | None = _left_out()  # of what is left after the last target
    break_even_after: Count | None = _left_out()  # so many targets
    time_stop_bars: Count | None = _left_out()
    session_close: bool = _left_out(default=False)

    @property
    def ladder(self) -> tuple[Rung, ...]:
        """The targets in order of distance."""
        if isinstance(self.targets, str):
            return tuple(Rung(*rung) for rung in DEFAULT_LADDER)
        return tuple(sorted(Rung(target.r, target.share) for target in self.targets))

    @property
    def document(self) -> dict[str, Any]:
        """The same in the words of a scenario's decision, its ladder written out."""
        written = self.model_dump(mode="json", exclude_none=True)
        written["targets"] = [rung._asdict() for rung in self.ladder]
        if self.targets == DEFAULT:
            written["break_even_after"] = self.break_even_after or 1
        return written

    @model_validator(mode="after")
    def _targets_within_a_position(self) -> Self:
        refuse([*self._beyond(), *self._idle()])
        return self

    def _beyond(self) -> Iterator[Refusal]:
        if self.targets and self.stop is None and self.trail is None:
            yield Refusal(("targets",), "exits.stop or exits.trail beside it: R is the distance to the stop")
        if beyond_whole(rung.share for rung in self.ladder):
            yield Refusal(("targets",), "shares that sum to at most 1")
        if len(self.ladder) > MOST_TARGETS:
            yield Refusal(("targets",), f"at most {MOST_TARGETS} targets", found=f"{{key}} has {len(self.ladder)}")
        distances = [rung.r for rung in self.ladder]
        if len(set(distances)) < len(distances):
            yield Refusal(("targets",), "each distance once")

    def _idle(self) -> Iterator[Refusal]:
        """What could never do anything."""
        whole = beyond_whole([*(rung.share for rung in self.ladder), 1e-9])
        if self.runner_trail is not None and (whole or not self.ladder):
            yield Refusal(
                ("runner_trail",), "targets beside it whose shares sum to less than 1: it trails what is left"
            )
        most = len(self.ladder) - whole
        if self.break_even_after is not None and self.break_even_after > most:
            yield Refusal(("break_even_after",), f"at most the targets after which something is left ({most})")


class Order(Record):
    """How what is decided is sent: at market, or entries as a limit so far on the better side of the close."""

    type: Literal["market", "limit"] = "market"
    offset_bps: Annotated[float, Field(ge=0, lt=10_000)] = _left_out(default=0.0)
    ttl_bars: Count | None = _left_out()  # what has not filled by then expires
    post_only: bool = _left_out(default=False)
    rebalance_band: NonNegative = 0.0  # share of equity; no order for a change of a target below it

    @model_validator(mode="after")
    def _means_something(self) -> Self:
        limited = [name for name in ("offset_bps", "ttl_bars", "post_only") if name in self.model_fields_set]
        refuse(Refusal((name,), "type: limit beside it") for name in limited if self.type == "market")
        return self


class WalkForward(Record):
    """Lengths in sessions of the data set's calendar."""

    in_sample: Sessions
    out_of_sample: Sessions
    purge: Sessions
    anchored: bool = False
    objective: Literal["sharpe"] = "sharpe"

    @model_validator(mode="after")
    def _windows_hold_sessions(self) -> Self:
        refuse(Refusal((name,), "at least 1d") for name in ("in_sample", "out_of_sample") if getattr(self, name) == 0)
        if self.purge >= self.in_sample:
            refuse([Refusal(("purge",), f"less than in_sample ({self.in_sample}d)")])
        return self


class Tier(Record):
    tier: Name


class InUniverse(Record):
    universe: Name  # a section of policies/universe.yaml that the data set names; who is no member is not entered


def _instruments_kind(value: Any) -> str | None:
    if isinstance(value, dict):
        return "universe" if "universe" in value else "tier"
    kinds: dict[type, str] = {str: "all", list: "list", tuple: "list", Tier: "tier", InUniverse: "universe"}
    return kinds.get(type(value))


def _risk_kind(value: Any) -> str:
    return "guards" if isinstance(value, dict | Guards) else "section"


Risk = Annotated[
    Annotated[Name, Tag("section")] | Annotated[Guards, Tag("guards")],  # of policies/risk.yaml, or its own
    Discriminator(_risk_kind),
]


def _setting_kind(value: Any) -> str:
    return "grid" if isinstance(value, dict | Parameter) else "number"


Setting = Annotated[Annotated[Number, Tag("number")] | Annotated[Parameter, Tag("grid")], Discriminator(_setting_kind)]


class StrategyConfiguration(Record):
    schema_: Literal[1] = Field(alias="schema")
    name: Name
    version: Version
    family: Name | None = None
    author: Text
    dataset: Name
    instruments: Annotated[
        Annotated[Literal["all"], Tag("all")]
        | Annotated[tuple[InstrumentId, ...], Filled, Tag("list")]
        | Annotated[Tier, Tag("tier")]
        | Annotated[InUniverse, Tag("universe")],
        Discriminator(_instruments_kind, custom_error_type="value_error", custom_error_context={"error": _INSTRUMENTS}),
    ]
    timeframe: Timeframe
    account: Account
    params: dict[Name, Parameter] = Field(default_factory=dict)
    signals: dict[Name, dict[Name, Setting]] = Field(default_factory=dict, exclude_if=lambda classes: not classes)
    size: SignalSize  # of entries; `signal`: the strategy says targets or weights
    exits: Exits = Exits()
    order: Order = _left_out(default=Order())
    costs: Name
    risk: Risk | None = _left_out()
    fx: dict[Currency, InstrumentId] = Field(default_factory=dict, exclude_if=lambda series: not series)
    magnify: Timeframe | None = _left_out()
    regimes: Regimes | None = _left_out()
    walk_forward: WalkForward

    @property
    def key(self) -> str:
        return f"{self.name}@{self.version}"

    @property
    def trials_family(self) -> str:
        """What trials are counted under; its own name unless it joins another strategy's family."""
        return self.family or self.name

    def parameters(self) -> dict[str, Number]:
        """The values the backtest runs with; all settings of signal classes are among them, given or not."""
        return {name: _chosen(setting) for name, setting in self._settings().items()}

    def grid(self) -> list[dict[str, Number]]:
        """Every set of parameters: the product of their values, the last parameter changing fastest."""
        settings = self._settings()
        sets = product(*map(_values, settings.values()))
        return [dict(zip(settings, values, strict=True)) for values in sets]

    def _settings(self) -> "dict[str, Parameter | Number]":
        """What the signal is made with, by parameter."""
        settings: dict[str, Parameter | Number] = dict(self.params)
        for name in sorted(self.signals):
            known = settings_of(SIGNALS[name])
            for own, parameter in parameters_of(name).items():
                settings[parameter] = self.signals[name].get(own, known[own].default)
        return settings

    def chosen_instruments(self, dataset: Dataset) -> tuple[Instrument, ...]:
        """Those of `dataset` it trades, in the data set's order."""
        if isinstance(self.instruments, Tier):
            return tuple(one for one in dataset.instruments if one.tier == self.instruments.tier)
        if isinstance(self.instruments, InUniverse):
            return dataset.instruments
        return tuple(one for one in dataset.instruments if self.instruments == "all" or one.id in self.instruments)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        refuse(self._refusals())
        return self

    def _refusals(self) -> Iterator[Refusal]:
        if isinstance(self.size, RiskPerTrade) and self.exits.stop is None:
            yield Refusal(("size", "model"), "exits.stop beside it: the distance to the stop is the risk")
        if isinstance(self.risk, Guards) and not self.risk.model_fields_set:
            yield Refusal(("risk",), "at least one guard, or no risk at all")
        if self.account.capital == "sleeves":
            yield from self._alone()
        if self.signals and self.size == SIGNAL:
            yield Refusal(("size",), "a sizer: signal classes say no targets or weights")
        if self.signals and self.exits.stop == SIGNAL:
            yield Refusal(("exits", "stop"), "{pct}, or {atr, length}: signal classes say no distance")
        if self.params and self.signals:
            yield Refusal(("params",), "no params beside signals: a value of theirs may be a grid of its own")
        given = [*self.params.values(), *(one for settings in self.signals.values() for one in settings.values())]
        n_sets = prod(one.n_values for one in given if isinstance(one, Parameter))
        if n_sets > MAX_SETS:
            wanted = f"at most {MAX_SETS}: raise a step or narrow a range"
            yield Refusal(
                ("signals" if self.signals else "params",), wanted, found=f"{{key}} is a grid of {n_sets} sets"
            )
        else:
            values = {name: {own: _values(one) for own, one in of.items()} for name, of in self.signals.items()}
            yield from signal_classes.refusals(values)

    def _alone(self) -> Iterator[Refusal]:
        """What looks across instruments, where each has an account of its own."""
        if isinstance(self.size, InverseVolatility | RiskParity):
            yield Refusal(("size", "model"), "capital: shared beside it, as it divides equity between instruments")
        for name in across(self.risk) if isinstance(self.risk, Guards) else ():
            yield Refusal(("risk", name), "capital: shared beside it, as a sleeve holds one instrument")


def across(guards: Guards) -> list[str]:
    """Those of `guards` that look at other instruments."""
    return [name for name in ("max_open_positions", "correlation_limit") if getattr(guards, name) is not None]


def _values(setting: Parameter | Number) -> list[Number]:
    return setting.values() if isinstance(setting, Parameter) else [setting]


def _chosen(setting: Parameter | Number) -> Number:
    return setting.chosen if isinstance(setting, Parameter) else setting


def _exact(number: float) -> Fraction:
    return Fraction(str(number))
