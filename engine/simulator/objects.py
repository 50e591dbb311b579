"""One object file of everything that is compiled: where it is kept, how it comes about, how it is loaded.

numba's cache looks at the file of the cached function alone: edit a function it calls, and the old result comes back.
Here what is kept is named by a hash over every source that is in it, numba's version and the processor. Units are
compiled without optimising, on two processes, linked into one module, and optimised once, across the borders between
them: an event costs half of what it did when each was optimised by itself. Loading takes milliseconds.

It lies in the folder that numba was given (`NUMBA_CACHE_DIR`), else beside the sources.
"""

import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from tempfile import NamedTemporaryFile
from threading import Lock
from typing import Any, Final, NamedTuple

import numba
from llvmlite import binding

_HERE: Final = Path(__file__).parent
_LOCK: Final = Lock()
_LOADED: Final[list[Any]] = []


class Unit(NamedTuple):
    name: str
    signature: Any
    function: Callable[..., Any]
    entry: bool  # called by Python


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
    taken = {name for file in own for name in re.findall(r"^from engine\.(\w+) import", file.read_text(), re.MULTILINE)}
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

_OTHER_HALF: Final = """
import sys
sys.path[:] = {path!r}
import engine.simulator.drivers
from engine.simulator.compiled import half
sys.stdout.buffer.write(half())
"""


def _compiled(units: Sequence[Unit]) -> bytes:
    """All units, half of them by a process beside this one."""
    command = [sys.executable, "-c", _OTHER_HALF.format(path=sys.path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as other:
        own = linked(units[0::2], units)
        theirs, _ = other.communicate()
    whole = binding.parse_bitcode(own)
    whole.link_in(binding.parse_bitcode(theirs if other.returncode == 0 else linked(units[1::2], units)))
    return _optimised(whole, units)


def linked(some: Sequence[Unit], units: Sequence[Unit]) -> bytes:
    """Some of the units in one module, as bitcode; they call the others by name."""
    for one in units:
        binding.add_symbol(one.name, 1)  # numba asks for an address of what is called; nobody goes there
    whole = binding.parse_assembly("")
    with _unoptimised():
        for one in some:
            compiled = numba.cfunc(one.signature, error_model="numpy", _nrt=False)(one.function)
            module = binding.parse_bitcode(compiled._library._final_module.as_bitcode())  # noqa: SLF001 - numba shows it nowhere else
            for function in module.functions:
                if function.name == compiled.native_name:
                    function.name = one.name
                elif not function.is_declaration:
                    function.linkage = "internal"
            whole.link_in(module)
    return bytes(whole.as_bitcode())


@contextmanager
def _unoptimised() -> Iterator[None]:
    level = numba.config.OPT
    numba.config.OPT = type(level)(0)
    try:
        yield
    finally:
        numba.config.OPT = level


def _optimised(whole: Any, units: Sequence[Unit]) -> bytes:
    from numba.core.registry import cpu_target

    entries = {one.name for one in units if one.entry}
    for function in whole.functions:
        if not function.is_declaration and function.name not in entries:
            function.linkage = "internal"
    machine = cpu_target.target_context.codegen()._tm  # noqa: SLF001 - as numba compiles
    passes = binding.create_pass_builder(machine, binding.create_pipeline_tuning_options(speed_level=3))
    passes.getModulePassManager().run(whole, passes)
    return bytes(machine.emit_object(whole))
