"""Tuples of arrays, passed to compiled code as one address.

Passed by value, the arrays of tape, desk and logs are some three hundred machine words, written and read at every call;
compiling everything took 59 s of processor time so, and 34 s by address. `at` puts the tuple where the driver's variables
live and gives its address; what is called reads `tape.opens` as before, one array at a time, and counts no references.
"""

import ctypes
from hashlib import sha256
from typing import Any, TypeVar

import numba
import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.imputils import lower_getattr_generic  # type: ignore[attr-defined]
from numba.core.typing.templates import AttributeTemplate, infer_getattr
from numba.extending import intrinsic, models, register_model

from engine.costs import SCHEDULE
from engine.simulator.schema import (
    ACCOUNT,
    CELL,
    DECISION,
    EVENT,
    FILL,
    HOT,
    ORDER,
    OUTBOX,
    PLAN,
    RULES,
    SIZE,
    STATE,
    TERMS,
    TIME,
    TRADE,
)
from engine.simulator.tape import Desk, Logs, Tape

_Tuple = TypeVar("_Tuple")


class Pointed(types.Type):
    """The address of a named tuple of arrays."""

    def __init__(self, pointee: types.NamedTuple) -> None:
        self.pointee = pointee
        super().__init__(name=f"Pointed({pointee})")

    @property
    def mangling_args(self) -> tuple[str, tuple[str, ...]]:
        """A short name for symbols: with all fields in them, twenty thousand letters each, compiling took longer."""
        return self.pointee.instance_class.__name__, (sha256(self.name.encode()).hexdigest()[:8],)


register_model(Pointed)(models.OpaqueModel)


@infer_getattr
class _Attributes(AttributeTemplate):  # type: ignore[misc]
    key = Pointed

    def generic_resolve(self, pointed: Pointed, name: str) -> types.Type | None:
        pointee = pointed.pointee
        return pointee[pointee.fields.index(name)] if name in pointee.fields else None


@lower_getattr_generic(Pointed)  # type: ignore[misc]
def _read(context: Any, builder: Any, pointed: Pointed, address: Any, name: str) -> Any:
    kind = context.get_value_type(pointed.pointee).as_pointer()
    place = pointed.pointee.fields.index(name)
    return builder.load(cgutils.gep_inbounds(builder, builder.bitcast(address, kind), 0, place))


@intrinsic
def _address(_context: Any, pointee: Any) -> Any:
    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        place = cgutils.alloca_once(builder, context.get_value_type(signature.args[0]))
        builder.store(arguments[0], place)
        return builder.bitcast(place, context.get_value_type(signature.return_type))

    return Pointed(pointee)(pointee), code


_F, _I, _TIER = np.dtype(np.float64), np.dtype(np.int64), np.dtype((np.record, SCHEDULE))


def _pointed(kind: Any, *arrays: tuple[Any, int], readonly: bool = False) -> Pointed:
    """The type of a tuple of arrays (type, dimensions); columns of a tape are read only, whoever made them."""
    return Pointed(
        types.NamedTuple(
            [
                types.Array(numba.from_dtype(np.dtype(dtype)), dimensions, "C", readonly=readonly and not dtype.names)
                for dtype, dimensions in arrays
            ],
            kind,
        )
    )


TAPE = _pointed(
    Tape,
    (_I, 1),
    (TIME, 1),
    (np.dtype(np.uint8), 1),
    (_I, 1),
    *[(_F, 2)] * 10,
    (_F, 3),
    (np.dtype(np.int8), 2),
    (_F, 3),
    (_F, 2),
    *[(_I, 2)] * 2,
    *[(dtype, 1) for dtype in (RULES, TERMS, PLAN, SIZE, _TIER, EVENT, DECISION)],
    readonly=True,
)
DESK = _pointed(
    Desk,
    (HOT, 1),
    (STATE, 1),
    (_I, 2),
    *[(dtype, 1) for dtype in (ACCOUNT, OUTBOX, CELL, _I, _F, _I, DECISION)],
)
LOGS = _pointed(Logs, *[(dtype, 1) for dtype in (FILL, TRADE, ORDER, _F, _F, _F)])


def _itself(pointee: _Tuple) -> _Tuple:
    return pointee


at = _itself if numba.config.DISABLE_JIT else _address


@intrinsic
def _values(_context: Any, array: Any) -> Any:
    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return context.make_array(signature.args[0])(context, builder, arguments[0]).data

    return types.CPointer(array.dtype)(array), code


@intrinsic
def _words(_context: Any, array: Any) -> Any:
    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        kind = context.get_value_type(signature.return_type)
        return builder.bitcast(context.make_array(signature.args[0])(context, builder, arguments[0]).data, kind)

    return types.CPointer(types.int64)(array), code


def _flat(array: Any) -> Any:
    values = array.reshape(-1)
    if array.dtype.names or array.flags.writeable:
        return values
    address = array.ctypes.data  # `values_of` is how compiled code writes what only it writes
    return np.frombuffer((ctypes.c_char * array.nbytes).from_address(address), dtype=array.dtype)


def _flat_words(array: Any) -> Any:
    return array.reshape(-1)[: array.size // 8 * 8].view(np.int64)


values_of = _flat if numba.config.DISABLE_JIT else _values
"""The values of a contiguous array one after the other. An index into them is neither counted from the end nor multiplied
by the length of a row, so that loops over one instrument's bars become a few instructions on several bars at once."""


words_of = _flat_words if numba.config.DISABLE_JIT else _words
"""The bytes of a contiguous array, eight at a time."""


@intrinsic
def _ahead(_context: Any, values: Any, index: Any) -> Any:
    def code(context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        byte, flag = ir.IntType(8).as_pointer(), ir.IntType(32)
        kind = ir.FunctionType(ir.VoidType(), [byte, flag, flag, flag])
        fetch = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0")
        place = builder.bitcast(builder.gep(arguments[0], [arguments[1]]), byte)
        builder.call(fetch, [place, flag(0), flag(3), flag(1)])  # to read, to keep, data
        return context.get_dummy_value()

    return types.none(values, index), code


def _no_need(values: Any, index: int) -> None:
    pass


ahead = _no_need if numba.config.DISABLE_JIT else _ahead
"""Ask for the memory of a value that will be read soon; nothing happens where there is none."""


@intrinsic
def write_at(_context: Any, pointee: Any, address: Any) -> Any:  # noqa: ARG001 - its type is known
    """Write a tuple of arrays where Python has made room for it."""

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        kind = context.get_value_type(signature.args[0]).as_pointer()
        builder.store(arguments[0], builder.inttoptr(arguments[1], kind))
        return context.get_constant(types.int64, context.get_abi_sizeof(kind.pointee))

    return types.int64(pointee, types.int64), code


def _reader(pointed: Pointed) -> Any:
    @intrinsic
    def read(_context: Any, address: Any) -> Any:  # noqa: ARG001 - its type is known
        def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            return builder.inttoptr(arguments[0], context.get_value_type(signature.return_type))

        return pointed(types.int64), code

    return read


tape_at, desk_at, logs_at = _reader(TAPE), _reader(DESK), _reader(LOGS)
ROOM = 1024
"""Words that hold any of the three tuples."""
