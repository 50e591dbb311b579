"""Records found by number from compiled code that holds no arrays: by the address of the first, which stands in `rules`.

Functions that take records alone compile once each, whoever calls them; the driver keeps the arrays alive.
"""

import ctypes
from collections.abc import Callable
from typing import Any

import numba
import numpy as np
from numba import types
from numba.extending import intrinsic

from engine.simulator.compiled import rule
from engine.simulator.schema import CELL, HOT, PLAN, SIZE, STATE, TERMS

Record = Any


def _reader(dtype: np.dtype[Any]) -> Callable[[int], Record]:
    """A compiled function from an address to the record that stands there."""
    kind = numba.from_dtype(dtype)

    @intrinsic
    def read(_context: Any, address: Any) -> Any:  # noqa: ARG001 - its type is known
        def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            return builder.inttoptr(arguments[0], context.get_value_type(signature.return_type))

        return kind(types.int64), code

    def read_uncompiled(address: int) -> Record:
        return np.frombuffer((ctypes.c_char * dtype.itemsize).from_address(int(address)), dtype=dtype)[0]

    return read_uncompiled if numba.config.DISABLE_JIT else read


_read_plan, _read_state, _read_terms = _reader(PLAN), _reader(STATE), _reader(TERMS)
_read_cell, _read_size, _read_hot = _reader(CELL), _reader(SIZE), _reader(HOT)
_HOT = HOT.itemsize
_PLAN, _STATE, _TERMS, _CELL, _SIZE = (dtype.itemsize for dtype in (PLAN, STATE, TERMS, CELL, SIZE))


@rule
def plan_of(rules: Record, number: int) -> Record:
    return _read_plan(rules.plans + number * _PLAN)


@rule
def state_of(rules: Record, instrument: int) -> Record:
    return _read_state(rules.states + instrument * _STATE)


@rule
def terms_of(rules: Record, instrument: int) -> Record:
    return _read_terms(rules.terms + instrument * _TERMS)


@rule
def cell_of(rules: Record, instrument: int) -> Record:
    return _read_cell(rules.cells + instrument * _CELL)


@rule
def hot_at(first: int, instrument: int) -> Record:
    """By the address of the first, for loops over all instruments: `rules` would be read again for each."""
    return _read_hot(first + instrument * _HOT)


@rule
def size_of(rules: Record, number: int) -> Record:
    return _read_size(rules.sizes + number * _SIZE)
