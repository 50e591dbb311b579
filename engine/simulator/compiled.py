"""How the rules are compiled: merged into callers, called, compiled apart, or called by Python.

numba compiles what it compiles together with all that is called, at every level again. So what many paths meet upon is a
`unit`, compiled by itself and called by name, as C programs are; `objects.py` links all of them.
"""

import ctypes
from collections.abc import Callable
from functools import cached_property
from typing import Any, Final, TypeVar

import numba
from numba import njit, types

from engine.simulator.objects import Unit, address_of, linked
from engine.simulator.pointers import POINTED, Packed
from engine.simulator.schema import (
    ACCOUNT,
    CELL,
    DECISION,
    HOT,
    ORDER,
    OUTBOX,
    RULES,
    STATE,
    TERMS,
    TRADE,
)
from engine.simulator.tape import Desk, Logs, Tape

_Function = TypeVar("_Function", bound=Callable[..., Any])
INTERPRETED: Final = bool(numba.config.DISABLE_JIT)

# Functions below the drivers count no references to arrays, which had tripled the time: they allocate nothing, and
# numba refuses to compile them if they did. The switch is numba's own and stands in no type stub. `fastmath` would
# break them: infinities and NaN are the design.
_UNCOUNTED: Final[dict[str, Any]] = {
    "error_model": "numpy",
    "_nrt": False,
    "no_cpython_wrapper": True,  # nobody calls them but compiled code
    "no_cfunc_wrapper": True,
}


_UNITS: Final[list[Unit]] = []
_KINDS: Final[dict[str, Any]] = {"int": types.int64, "float": types.float64, **POINTED}
_RECORDS: Final = {
    "rules": RULES,
    "terms": TERMS,
    "state": STATE,
    "account": ACCOUNT,
    "box": OUTBOX,
    "cell": CELL,
    "hot": HOT,
    "decision": DECISION,
    "order": ORDER,
    "trade": TRADE,
}
_C: Final = {"int": ctypes.c_int64, "float": ctypes.c_double}


def rule(function: _Function) -> _Function:
    """Compile a function that is merged into its callers."""
    compiled: _Function = njit(forceinline=True, **_UNCOUNTED)(function)
    return compiled


def phase(function: _Function) -> _Function:
    """Compile a function that is called, within the unit that calls it."""
    compiled: _Function = njit(**_UNCOUNTED)(function)
    return compiled


def unit(arguments: str, *, seldom: bool = False) -> Callable[[_Function], _Function]:
    """Compile a function by itself, for its callers to call by name: records, `int` and `float` in, an int out.

    The calls upon which all paths meet are units, or compiling a run would take minutes. What is called `seldom` is
    merged into no caller, and lies apart: its instructions take no room in the processor beside those of every event.
    """

    def decorate(function: _Function) -> _Function:
        if INTERPRETED:
            return function
        name, signature = _named(function), _signature(arguments)
        _UNITS.append(Unit(name, signature, function, entry=False, seldom=seldom))
        called: Any = types.ExternalFunction(name, signature)
        return called

    return decorate


class Entry:
    """A unit that Python calls. It holds no lock of Python's meanwhile, and has one specialisation."""

    def __init__(self, arguments: str, function: Callable[..., Any]) -> None:
        self._name, self._kinds = _named(function), arguments.split()
        _UNITS.append(Unit(self._name, _signature(arguments), function, entry=True))

    def __call__(self, *arguments: Any) -> int:
        """Told tuples of arrays, or such as were `pinned` before."""
        told = [
            one if kind in _C or isinstance(one, Packed) else Packed(kind, one)
            for kind, one in zip(self._kinds, arguments, strict=True)
        ]
        return self.at(*(one.address if isinstance(one, Packed) else one for one in told))

    @cached_property
    def at(self) -> Callable[..., int]:
        """The same, told where the packed tuples lie."""
        kinds: list[Any] = [_C.get(kind, ctypes.c_void_p) for kind in self._kinds]
        prototype = ctypes.CFUNCTYPE(ctypes.c_int64, *kinds)
        return prototype(address_of(self._name, _UNITS))


def entry(arguments: str) -> Callable[[_Function], _Function]:
    """Compile a function that Python calls with a tape, a desk and logs, and with numbers."""

    def decorate(function: _Function) -> _Function:
        called: Any = function if INTERPRETED else Entry(arguments, function)
        return called

    return decorate


def packed(kind: str, arrays: Any) -> Any:
    """Tape, desk or logs laid out once, for entries that are called many times with them."""
    return arrays if INTERPRETED else Packed(kind, arrays)


def pinned(tape: Tape, desk: Desk, logs: Logs) -> tuple[Any, Any, Any]:
    """The three of them."""
    return packed("tape", tape), packed("desk", desk), packed("logs", logs)


def _named(function: Callable[..., Any]) -> str:
    return f"{function.__module__}.{function.__name__}"


def _signature(arguments: str) -> Any:
    return types.int64(
        *(_KINDS[kind] if kind in _KINDS else numba.from_dtype(_RECORDS[kind]) for kind in arguments.split())
    )


def part(k: int, n: int) -> bytes:
    """One of `n` parts, for one of the processes that compile. Neighbours call the same functions: they stay together."""
    return linked(_UNITS[k * len(_UNITS) // n : (k + 1) * len(_UNITS) // n])
