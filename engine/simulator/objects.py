"""One object file of everything that is compiled: where it is kept, how it comes about, how it is loaded.

numba's cache looks at the file of the cached function alone: edit a function it calls, and the old result comes back.
Here what is kept is named by a hash over every source that is in it, numba's version and the processor. Units are
compiled without optimising, by two processes, linked into one module, and optimised once, across the borders between
them. Compiling took 18 s so where it had taken 40 (on a busy machine), loading 0.01 s where it had taken 1.2, and an event
a fifth less time. LLVM's higher levels take longer and gain nothing.

It lies in the folder that numba was given (`NUMBA_CACHE_DIR`), else beside the sources.
"""

import re
import subprocess
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from importlib import import_module
from pathlib import Path
from tempfile import NamedTemporaryFile
from threading import Lock
from typing import Any, Final, NamedTuple

import numba
from llvmlite import binding
from numba import types
from numba.core import cgutils
from numba.core.callconv import CPUCallConv
from numba.core.codegen import JITCodeLibrary, JITCPUCodegen

_HERE: Final = Path(__file__).parent
_LOCK: Final = Lock()
_LOADED: Final[list[Any]] = []


class Unit(NamedTuple):
    name: str
    signature: Any
    function: Callable[..., Any]
    entry: bool  # called by Python
    seldom: bool = False


def address_of(name: str, units: Sequence[Unit]) -> int:
    """Where the compiled unit lies; all of them are loaded, or compiled first, when one is asked for."""
    with _LOCK:
        if not _LOADED:
            kept = Path(numba.config.CACHE_DIR or _HERE / "__pycache__") / f"simulator-{stamp()}.o"
            if not kept.exists():
                _keep(kept, _compiled(units))
            _LOADED.append(_loaded(kept.read_bytes()))
    return int(_LOADED[0].get_function_address(name))


def stamp() -> str:
    """Of everything that compiled code depends on."""
    processor = (binding.get_host_cpu_name(), binding.get_host_cpu_features().flatten())
    digest = sha256(repr((numba.__version__, *processor, numba.config.BOUNDSCHECK)).encode())
    for source in _sources():
        digest.update(b"\0" + source.name.encode() + b"\0" + source.read_bytes())
    return digest.hexdigest()[:16]


def _sources() -> list[Path]:
    """This package's files, and those of `engine` from which they take anything."""
    own = sorted(_HERE.glob("*.py"))
    taken = {
        name
        for file in own
        for name in re.findall(r"^from engine\.(?!simulator\b)(\w+)", file.read_text(), re.MULTILINE)
    }
    return own + [_HERE.parent / f"{name}.py" for name in sorted(taken)]


def _keep(kept: Path, code: bytes) -> None:
    """All of it or nothing, whoever else does the same."""
    kept.parent.mkdir(parents=True, exist_ok=True)
    with NamedTemporaryFile(dir=kept.parent, prefix=kept.name, delete=False) as file:
        file.write(code)
    Path(file.name).replace(kept)


def _loaded(code: bytes) -> Any:
    binding.initialize_native_target()
    binding.initialize_native_asmprinter()
    machine = binding.Target.from_default_triple().create_target_machine()
    engine = binding.create_mcjit_compiler(binding.parse_assembly(""), machine)
    engine.add_object_file(binding.ObjectFileRef.from_data(code))
    engine.finalize_object()
    return engine


# How it comes about

_N_PROCESSES: Final = 2
_PART: Final = """
import gc, sys
gc.disable()
sys.path[:] = {path!r}
import engine.simulator.drivers
from engine.simulator.compiled import part
sys.stdout.buffer.write(part({k}, {n}))
"""


def _compiled(units: Sequence[Unit]) -> bytes:
    """All units, in processes of their own, where what numba is told below concerns nobody else."""
    with ThreadPoolExecutor(_N_PROCESSES) as pool:
        parts = [*pool.map(_part_elsewhere, range(_N_PROCESSES))]
    whole = binding.parse_bitcode(parts[0])
    for one in parts[1:]:
        whole.link_in(binding.parse_bitcode(one))
    return _optimised(whole, units)


def _part_elsewhere(k: int) -> bytes:
    command = [sys.executable, "-c", _PART.format(path=sys.path, k=k, n=_N_PROCESSES)]
    return subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout  # noqa: S603 - this interpreter, our code


def linked(units: Sequence[Unit]) -> bytes:
    """Units in one module, as bitcode; others they call by name. For a process that does nothing else.

    numba would optimise and assemble every function by itself: two thirds of the time, for what is done again over all.
    """
    from numba.core.registry import cpu_target

    whole = binding.parse_assembly("")
    cpu_target.target_context.refresh()  # what numba needs for itself is assembled here
    numba.config.OPT = type(numba.config.OPT)(0)
    JITCodeLibrary._finalize_specific = lambda _library: None  # noqa: SLF001
    JITCodeLibrary.get_pointer_to_function = lambda library, _name: library._ensure_finalized() or 0  # noqa: SLF001
    JITCPUCodegen.set_env = lambda _codegen, _name, _environment: None
    types.Record.__repr__ = (
        types.Record.__str__
    )  # with all its fields it is written for every pass: an eighth of all time
    _count_from_the_front()
    if not numba.config.BOUNDSCHECK:
        _raise_nothing()
    for one in units:
        compiled = numba.cfunc(one.signature, error_model="numpy", _nrt=False)(one.function)
        module = binding.parse_bitcode(compiled._library._final_module.as_bitcode())  # noqa: SLF001 - shown nowhere else
        for function in module.functions:
            if function.name == compiled.native_name:
                function.name = one.name
            elif not function.is_declaration:
                function.linkage = "internal"
        whole.link_in(module)
    return bytes(whole.as_bitcode())


def _count_from_the_front() -> None:
    """No index is counted from the end of its array: asking for it was a tenth of an event's instructions."""
    arrays = import_module("numba.np.arrayobj")
    arrays.fix_integer_index = lambda context, builder, kind, index, _size: context.cast(
        builder, index, kind, types.intp
    )


def _raise_nothing() -> None:
    """Compiled code raises nothing unless it checks bounds: whoever calls it need not look whether it did."""
    status_of = CPUCallConv._get_return_status  # noqa: SLF001

    def well(*told: Any) -> Any:
        return status_of(*told)._replace(is_error=cgutils.false_bit)

    CPUCallConv._get_return_status = well  # noqa: SLF001


def _optimised(whole: Any, units: Sequence[Unit]) -> bytes:
    """Whatever Python does not call may be merged into what calls it, but what is seldom called stays out of the way.

    An event runs through some 30 KB of instructions, and a processor keeps 32: so loops are not unrolled.
    """
    from numba.core.registry import cpu_target

    entries, seldom = ({one.name for one in units if one.entry}, {one.name for one in units if one.seldom})
    for function in whole.functions:
        if not function.is_declaration and function.name not in entries:
            function.linkage = "internal"
        for attribute in ("cold", "noinline", "minsize", "optsize") if function.name in seldom else ():
            function.add_function_attribute(attribute)
    machine = cpu_target.target_context.codegen()._tm  # noqa: SLF001 - the processor as numba sees it
    tuning = binding.create_pipeline_tuning_options(speed_level=1)
    tuning.loop_unrolling, tuning.loop_interleaving = False, False
    passes = binding.create_pass_builder(machine, tuning)
    passes.getModulePassManager().run(whole, passes)
    return bytes(machine.emit_object(whole))
