"""Tuples of arrays, passed to compiled code as one address.

Passed by value, the arrays of tape, desk and logs are some three hundred machine words, written and read at every call;
compiling everything took 59 s of processor time so, and 34 s by address. Python lays a tuple out once, and hands over
where it lies; what is compiled reads `tape.opens` as ever, one array at a time, and counts no references.
"""

import ctypes
from hashlib import sha256
from typing import Any, Final

import numba
import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.imputils import lower_getattr_generic
from numba.core.typing.templates import AttributeTemplate, infer_getattr
from numba.extending import intrinsic, models, register_model
from numba.np.numpy_support import as_dtype

from engine.costs import SCHEDULE
from engine.errors import UnalignedError
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
class _Attributes(AttributeTemplate):
    key = Pointed

    def generic_resolve(self, pointed: Pointed, name: str) -> types.Type | None:  # type: ignore[override]
        pointee = pointed.pointee
        return pointee[pointee.fields.index(name)] if name in pointee.fields else None


@lower_getattr_generic(Pointed)
def _read(context: Any, builder: Any, pointed: Pointed, address: Any, name: str) -> Any:
    kind = context.get_value_type(pointed.pointee).as_pointer()
    place = pointed.pointee.fields.index(name)
    return builder.load(cgutils.gep_inbounds(builder, builder.bitcast(address, kind), 0, place))


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
LOGS = _pointed(Logs, *[(dtype, 1) for dtype in (FILL, TRADE, ORDER, _F, _F, _F, TRADE)])


POINTED: Final = {"tape": TAPE, "desk": DESK, "logs": LOGS}
_EXPECTED: Final = {
    kind: [(as_dtype(array.dtype).itemsize, array.ndim) for array in pointed.pointee]
    for kind, pointed in POINTED.items()
}


class Packed:
    """A tuple of arrays as numba lays it out: for each its owner, size, address, shape and strides. It owns none of them.

    Raises:
        UnalignedError: an array of another type, or not in one piece.
    """

    def __init__(self, kind: str, arrays: Any) -> None:
        words: list[int] = []
        for name, array, (itemsize, dimensions) in zip(arrays._fields, arrays, _EXPECTED[kind], strict=True):
            if array.itemsize != itemsize or array.ndim != dimensions or not array.flags.c_contiguous:
                raise UnalignedError(**{f"{kind}.{name}": array.shape})
            address = array.ctypes.data if array.size else 0  # most of the time here goes into asking for it
            words += [0, 0, array.size, itemsize, address, *array.shape, *array.strides]
        self._arrays, self._words = arrays, np.array(words)
        self.address: Final = self._words.ctypes.data


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


values_of: Any = _flat if numba.config.DISABLE_JIT else _values
"""The values of a contiguous array one after the other. An index into them is neither counted from the end nor multiplied
by the length of a row, so that loops over one instrument's bars become a few instructions on several bars at once."""


words_of: Any = _flat_words if numba.config.DISABLE_JIT else _words
"""The bytes of a contiguous array, eight at a time."""


@intrinsic
def _copy(_context: Any, source: Any, target: Any) -> Any:
    def code(context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        cgutils.raw_memcpy(builder, arguments[1], arguments[0], ir.Constant(ir.IntType(64), source.size), 1)
        return context.get_dummy_value()

    return types.none(source, target), code


@intrinsic
def _copy_head(_context: Any, source: Any, target: Any, size: Any) -> Any:
    def code(context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        cgutils.raw_memcpy(builder, arguments[1], arguments[0], arguments[2], 1)
        return context.get_dummy_value()

    return types.none(source, target, size), code


def _copy_fields(source: Any, target: Any, _size: int = 0) -> None:
    for name in source.dtype.names:
        target[name] = source[name]


copy: Any = _copy_fields if numba.config.DISABLE_JIT else _copy
"""Copy a record over another of its kind. `orders[k] = o` would be compiled to a load and a store for every byte."""


copy_head: Any = _copy_fields if numba.config.DISABLE_JIT else _copy_head
"""Copy so many bytes of it; nobody looks at the others."""


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


ahead: Any = _no_need if numba.config.DISABLE_JIT else _ahead
"""Ask for the memory of a value that will be read soon; nothing happens where there is none."""
