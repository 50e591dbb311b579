"""How the rules are compiled, and where what was compiled is kept.

numba's cache looks at the file of the cached function alone: edit a function it calls, and the old result comes back.
So what is kept lies in a folder named by a hash over every source file of this package and numba's version. That
folder stands in the one numba was given (`NUMBA_CACHE_DIR`), else beside the sources.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any, Final, TypeVar

import llvmlite.binding
import numba
from numba import njit, types

from engine.simulator.pointers import DESK, LOGS, TAPE
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

_HERE: Final = Path(__file__).parent
_Function = TypeVar("_Function", bound=Callable[..., Any])

# Functions below the drivers count no references to arrays, which had tripled the time: they allocate nothing, and
# numba refuses to compile them if they did. The switch is numba's own and stands in no type stub. `fastmath` would
# break them: infinities and NaN are the design.
_UNCOUNTED: Final[dict[str, Any]] = {
    "error_model": "numpy",
    "_nrt": False,
    "no_cpython_wrapper": True,  # nobody calls them but compiled code
    "no_cfunc_wrapper": True,
}


def stamp() -> str:
    digest = sha256(numba.__version__.encode())
    for source in sorted(_HERE.glob("*.py")):
        digest.update(b"\0" + source.name.encode() + b"\0" + source.read_bytes())
    return digest.hexdigest()[:16]


_STAMP: Final = stamp()
_UNITS: list[tuple[str, Any, Callable[..., Any]]] = []
_KEPT: list[Any] = []  # compiled units live as long as what calls them


def rule(function: _Function) -> _Function:
    """Compile a function that is merged into its callers."""
    compiled: _Function = njit(forceinline=True, **_UNCOUNTED)(function)
    return compiled


def phase(function: _Function) -> _Function:
    """Compile a function that is called: what only an event needs is compiled once."""
    compiled: _Function = njit(**_UNCOUNTED)(function)
    return compiled


def unit(arguments: str) -> Callable[[_Function], _Function]:
    """Compile a function by itself, for its callers to call by address: records, `int` and `float` in, an int out.

    Whatever numba compiles it compiles together with all that is called, at every level again; the calls upon which
    all paths meet are therefore units, or compiling a run would take minutes. They are compiled, or read from disk, when
    the first driver is called.
    """
    types_of = {
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

    def decorate(function: _Function) -> _Function:
        if numba.config.DISABLE_JIT:
            return function
        kinds = {name: numba.from_dtype(dtype) for name, dtype in types_of.items()}
        kinds |= {"int": types.int64, "float": types.float64, "tape": TAPE, "desk": DESK, "logs": LOGS}
        signature = types.int64(*(kinds[name] for name in arguments.split()))
        linked = f"{function.__module__}.{function.__name__}.{_STAMP}"
        _UNITS.append((linked, signature, function))
        called: Any = types.ExternalFunction(linked, signature)
        return called

    return decorate


def ready() -> None:
    """Compile the units that are not compiled yet, in the order in which modules know each other."""
    while _UNITS:
        linked, signature, function = _UNITS.pop(0)
        with _cache_folder():
            compiled = numba.cfunc(signature, cache=True, error_model="numpy", _nrt=False)(function)
        _KEPT.append(compiled)
        llvmlite.binding.add_symbol(linked, compiled.address)


def driver(function: _Function) -> _Function:
    """Compile a function that Python calls, and keep it on disk."""
    return _kept(function)


def spread_over_cores(function: _Function) -> _Function:
    """A driver whose `prange` loops run on all of numba's threads."""
    return _kept(function, parallel=True)


def _kept(function: _Function, **options: bool) -> _Function:
    with _cache_folder():
        compiled: _Function = njit(cache=True, nogil=True, error_model="numpy", **options)(function)
    return compiled


@contextmanager
def _cache_folder() -> Iterator[None]:
    given = numba.config.CACHE_DIR
    numba.config.CACHE_DIR = str(Path(given or _HERE / "__pycache__") / _STAMP)
    try:
        yield
    finally:
        numba.config.CACHE_DIR = given
