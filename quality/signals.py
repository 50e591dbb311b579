"""The `signals` of a strategy without Python: which classes are switched on, and the values that their settings take.

signals:
  breakout: {length: 20}
  volume_spike: {move: 0.02, times: {value: 3, min: 2, max: 4, step: 1}}
"""

from collections.abc import Iterator, Mapping, Sequence
from itertools import product

from engine.errors import InvalidInputError
from engine.signals.registry import SIGNALS, signal
from engine.signals.signal_class import settings_of
from quality.configuration import Number
from quality.documents import listed, nearest, unknown
from quality.errors import Refusal

Values = Mapping[str, Mapping[str, Sequence[Number]]]
"""By class and setting, every value it takes."""


def refusals(values: Values) -> Iterator[Refusal]:
    """Classes and settings that do not exist, values out of bounds, and sets of them that no class takes."""
    for name, settings in values.items():
        at = ("signals", name)
        if name not in SIGNALS:
            yield unknown(at, name, SIGNALS)._replace(found="unknown signal class '{key}'")
            continue
        found = list(_of_settings(name, settings))
        yield from found
        if not found:
            yield from _of_sets(name, settings)


def _of_settings(name: str, settings: Mapping[str, Sequence[Number]]) -> Iterator[Refusal]:
    known = settings_of(SIGNALS[name])
    for setting, values in settings.items():
        at = ("signals", name, setting)
        if setting not in known:
            yield Refusal(at, listed(known), "unknown key '{key}'", nearest(setting, known))
        elif beyond := [value for value in values if not known[setting].bounds.hold(value)]:
            seen = "{key} is {value}" if len(values) == 1 else f"{{key}} is {beyond[0]} on its grid"
            yield Refusal(at, known[setting].bounds.allowed, seen)


def _of_sets(name: str, settings: Mapping[str, Sequence[Number]]) -> Iterator[Refusal]:
    for chosen in product(*settings.values()):
        try:
            signal(name, **dict(zip(settings, chosen, strict=True)))
        except InvalidInputError as error:
            yield Refusal(("signals", name), found=f"{{key}}: {error}")
            return
