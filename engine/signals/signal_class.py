"""What a signal class is: where it fires, how strongly, and how far it is to be believed.

    class Breakout(SignalClass):
        group = "momentum"
        length: int = whole(20, at_least=2)

        def scan(self, bars: Bars) -> Scan: ...
        def strength(self, bars: Bars) -> Column: ...
        def confidence(self, bars: Bars) -> Column: ...

A subclass becomes a frozen dataclass with keyword-only fields, each with its bounds; a value outside them is
refused when the class is made. All three answers are causal columns; strength and confidence lie in [0, 1] wherever
they are known, and are read on the bars where `scan` is true.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from math import isfinite
from typing import Any, ClassVar, NamedTuple, dataclass_transform

from engine.causal import Bars, Column
from engine.errors import OutOfBoundsError

Number = int | float


class Scan(NamedTuple):
    """Where a class fires, on either side; truths."""

    long: Column
    short: Column


class Bounds(NamedTuple):
    """What a setting may be: a whole number of at least so much, or any finite number above it."""

    kind: type[int] | type[float]
    least: Number

    @property
    def allowed(self) -> str:
        return (
            f"a whole number of at least {self.least}" if self.kind is int else f"a finite number above {self.least:g}"
        )

    def hold(self, value: object) -> bool:
        if isinstance(value, bool) or not isinstance(value, int | float):
            return False
        if self.kind is int:
            return isinstance(value, int) and value >= self.least
        return isfinite(value) and value > self.least


def whole(default: int, *, at_least: int) -> Any:
    """A field of whole numbers."""
    return field(default=default, metadata={"bounds": Bounds(int, at_least)})


def positive(default: float) -> Any:
    """A field of finite numbers above zero."""
    return field(default=default, metadata={"bounds": Bounds(float, 0)})


@dataclass_transform(kw_only_default=True, frozen_default=True, field_specifiers=(whole, positive))
class SignalClass(ABC):
    group: ClassVar[str | None] = None
    """A name that several classes share, for whoever allows them together."""
    needs_volume: ClassVar[bool] = False

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        dataclass(frozen=True, kw_only=True)(cls)

    def __post_init__(self) -> None:
        for name, setting in settings_of(type(self)).items():
            value = getattr(self, name)
            if not setting.bounds.hold(value):
                raise OutOfBoundsError(name, value, allowed=setting.bounds.allowed)

    @abstractmethod
    def scan(self, bars: Bars) -> Scan:
        """Where it fires."""

    @abstractmethod
    def strength(self, bars: Bars) -> Column:
        """How much of what it looks for is there, 0 to 1."""

    @abstractmethod
    def confidence(self, bars: Bars) -> Column:
        """How far what is there is to be believed, 0 to 1."""


class Setting(NamedTuple):
    default: Number
    bounds: Bounds


def settings_of(signal: type[SignalClass]) -> Mapping[str, Setting]:
    """What may be set of a class, by name."""
    return {one.name: Setting(one.default, one.metadata["bounds"]) for one in fields(signal)}  # type: ignore[arg-type]  # made by SignalClass
