"""The signal classes by the names that configuration knows; a new one is a class and a line here.

A group stands for all classes that carry it, where a regime says what it allows.
"""

from collections.abc import Mapping

from engine.errors import UnknownNameError
from engine.signals.mean_reversion import MeanReversion
from engine.signals.momentum import Breakout, TrendContinuation
from engine.signals.signal_class import Number, SignalClass, settings_of
from engine.signals.volume_spike import VolumeSpike

SIGNALS: Mapping[str, type[SignalClass]] = {
    "breakout": Breakout,
    "mean_reversion": MeanReversion,
    "trend_continuation": TrendContinuation,
    "volume_spike": VolumeSpike,
}

GROUPS: Mapping[str, frozenset[str]] = {
    group: frozenset(name for name, one in SIGNALS.items() if one.group == group)
    for group in sorted({one.group for one in SIGNALS.values() if one.group})
}


def class_called(name: str) -> type[SignalClass]:
    """The registered class; UnknownNameError, with the nearest name, where there is none."""
    if name not in SIGNALS:
        raise UnknownNameError("signal", name, known=SIGNALS)
    return SIGNALS[name]


def signal(name: str, **settings: Number) -> SignalClass:
    """The registered class `name`; settings left out have their defaults.

    Raises:
        UnknownNameError: no such class or setting; the message has the nearest name.
        OutOfBoundsError: a setting outside its bounds.
    """
    known, what = settings_of(class_called(name)), f"setting of {name}"
    for setting in settings:
        if setting not in known:
            raise UnknownNameError(what, setting, known=known)
    return SIGNALS[name](**settings)


def members(names: frozenset[str]) -> frozenset[str]:
    """The classes that `names` of classes and groups stand for."""
    return frozenset[str]().union(*(GROUPS.get(name, {name}) for name in names))
