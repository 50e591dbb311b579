"""A strategy that is made of signal classes: entered where any of them fires, left by its exits.

1. Where several fire on one side, the strongest names the entry (`setup`) and gives its strength and confidence; of
   equals the first by name.
2. Where two fire on opposite sides of one bar, both entries are said, and the simulator refuses them as
   `conflicting_signal`: nobody chooses between them.
3. A class that does not know (too early, no volume) does not fire, and keeps none of the others from it.

Settings become the strategy's parameters, `breakout` and `length` the parameter `breakout_length`; so every value that
decides something is part of a trial, chosen or not.
"""

from abc import ABCMeta
from collections.abc import Iterable, Mapping
from functools import reduce
from operator import or_
from typing import Any, NamedTuple, cast

import polars as pl

from engine.causal import Bars, Column, derived, maximum, where
from engine.signals.registry import class_called, signal
from engine.signals.signal_class import SignalClass, settings_of
from engine.strategy import Signals, Strategy

_SILENT = -1.0
"""The strength of a class that does not fire, below that of every one that does."""


def composed(name: str, classes: Iterable[str]) -> type[Strategy]:
    """The strategy class called `name` that is made of signal classes, with all of their settings as parameters.

    Raises:
        UnknownNameError: no such signal class.
    """
    parameters = {one: parameters_of(one) for one in sorted(classes)}
    fields = {
        parameter: settings_of(class_called(one))[own]
        for one, named in parameters.items()
        for own, parameter in named.items()
    }

    def signals(self: Strategy, bars: Bars) -> Signals:
        made = {
            one: signal(one, **{own: getattr(self, parameter) for own, parameter in named.items()})
            for one, named in parameters.items()
        }
        return said_by(made, bars)

    namespace: dict[str, Any] = {
        "__module__": __name__,
        "__annotations__": {parameter: setting.bounds.kind for parameter, setting in fields.items()},
        **{parameter: setting.default for parameter, setting in fields.items()},
        "signals": signals,
    }
    return cast(type[Strategy], ABCMeta(name, (Strategy,), namespace))


def parameters_of(name: str) -> Mapping[str, str]:
    """The strategy's parameter for each setting of the signal class `name`."""
    return {setting: f"{name}_{setting}" for setting in settings_of(class_called(name))}


class _Heard(NamedTuple):
    long: Column
    short: Column
    score: Column  # the strength where it fires, below 0 elsewhere
    confidence: Column


def said_by(classes: Mapping[str, SignalClass], bars: Bars) -> Signals:
    """What signal classes say together."""
    heard = {name: _heard(classes[name], bars) for name in sorted(classes)}
    strongest = _or(reduce(maximum, (one.score for one in heard.values())), otherwise=_SILENT)
    leads = {name: (one.score >= 0.0) & (one.score >= strongest) for name, one in heard.items()}
    long, short = (reduce(or_, (getattr(one, side) for one in heard.values())) for side in ("long", "short"))
    confidence: Column | float = 0.0
    for name, one in reversed(heard.items()):
        confidence = where(leads[name], one.confidence, confidence)
    return Signals(
        enter=long,
        enter_short=short,
        strength=maximum(strongest, 0.0),
        confidence=confidence,  # type: ignore[arg-type]  # a column by now, as there is at least one class
        bias=where(long, 1.0, 0.0) - where(short, 1.0, 0.0),
        setups=leads,
    )


def _heard(one: SignalClass, bars: Bars) -> _Heard:
    scan = one.scan(bars)
    long, short = _or(scan.long, otherwise=False), _or(scan.short, otherwise=False)
    score = where(long | short, _or(one.strength(bars), otherwise=0.0), _SILENT)
    return _Heard(long, short, _or(score, otherwise=_SILENT), _or(one.confidence(bars), otherwise=0.0))


def _or(column: Column, *, otherwise: bool | float) -> Column:
    """The column, and `otherwise` where it is not known."""
    return derived(
        lambda values: values.fill_null(pl.lit(otherwise)),
        column,
        name="known_or",
        settings={"otherwise": float(otherwise)},
        kind=column.kind,
        shared=True,  # each is asked for by every other class: written out, the expression would double with each
    )
