"""What a strategy's Python may say: causal columns, indicators, plain arithmetic, and no door to the future.

The text is read as a tree before it runs, and refused where it

1. imports what `ALLOWED` does not list, a module as a whole (but `math`) included;
2. uses a builtin that `_BUILTINS` does not list (`getattr`, `open` and `eval` among those left out);
3. touches what lies behind an object: names and attributes with leading underscores, a column's expression, frames;
4. remembers: at the top of the file and in classes stand constants only, and attributes are set on `self` alone, so
   that nothing is carried from one instrument, parameter set or run to the next;
5. makes a `Column` or `Bars` of its own: it is handed both, so their names stand in annotations only.

What remains can look back and not ahead. It is a fence against mistakes and shortcuts, not a sandbox
for hostile code; the look-ahead laws are the second line.
"""

import ast
import builtins
import collections.abc
import math
from collections.abc import Collection, Iterator, Mapping
from types import AsyncGeneratorType, CoroutineType, FrameType, GeneratorType, TracebackType

from engine.indicators.registry import INDICATORS
from quality.documents import listed
from quality.errors import Problem

ALLOWED: Mapping[str, Collection[str]] = {
    "engine.causal": {
        *("Bars", "Column", "bars_since", "crossed_above", "crossed_below", "deviation_across", "log", "maximum"),
        *("mean_across", "minimum", "rank", "sign", "sqrt", "value_when", "where"),
    },
    "engine.indicators": INDICATORS,
    "engine.scorer": {"Components", "Setup", "Weights", "direction", "gate"},
    "engine.regimes": {"Regime", "regime"},
    "engine.signals.composed": {"said_by"},
    "engine.signals.registry": {"signal"},
    "engine.stateful": {"Answer", "DataWindow"},
    "engine.strategy": {"Signals", "Stateful", "Strategy"},
    "engine.structure.fibonacci": {"confluence", "extensions", "last_leg", "retracements"},
    "engine.structure.levels": {"breaks", "sweeps"},
    "engine.structure.swings": {"stop_distances", "swings"},
    "engine.structure.zones": {"fair_value_gaps", "order_blocks"},
    "__future__": {"annotations"},
    "collections.abc": set(collections.abc.__all__),
    "dataclasses": {"KW_ONLY", "dataclass", "field"},  # asdict and replace take columns apart
    "enum": {"Enum", "Flag", "IntEnum", "IntFlag", "StrEnum", "auto", "unique"},
    "math": {name for name in vars(math) if not name.startswith("_")},
    "typing": {
        *("Annotated", "Any", "ClassVar", "Final", "Generic", "Literal", "NamedTuple", "NewType", "Optional"),
        *("Protocol", "Self", "TypeAlias", "TypeVar", "TypedDict", "Union", "cast", "final"),
    },
}
"""The names that may be imported, by module."""

_MAKINGS = ("across", "function", "kernel", "operands")  # what a column is made of
_MEMORY = ("base", "ctypes")  # of an array, which reaches beyond what is shown of it
_MAKE_CONSTANTS = (
    *("abs", "auto", "bool", "field", "float", "frozenset", "int", "len", "max", "min", "range", "round", "str", "sum"),
    *("tuple", "NewType", "TypeVar"),
)
_HANDED = ("Bars", "Column")
_BUILTINS = {
    *("abs", "all", "any", "bool", "classmethod", "dict", "divmod", "enumerate", "filter", "float", "frozenset", "int"),
    *("isinstance", "issubclass", "iter", "len", "list", "map", "max", "min", "next", "pow", "print", "property"),
    *("range", "repr", "reversed", "round", "set", "slice", "sorted", "staticmethod", "str", "sum", "super", "tuple"),
    *("zip", "Ellipsis", "NotImplemented"),
    *(name for name, value in vars(builtins).items() if isinstance(value, type) and issubclass(value, BaseException)),
}
_FRAMES = {  # what leads to the names of whoever calls
    name
    for kind in (AsyncGeneratorType, CoroutineType, FrameType, GeneratorType, TracebackType)
    for name in dir(kind)
    if name.startswith(("ag_", "cr_", "f_", "gi_", "tb_"))
}
_PLAIN = (ast.Name, ast.Attribute, ast.Subscript, ast.BinOp, ast.BitOr, ast.Tuple, ast.List, ast.Constant, ast.Load)
_PATHS = (ast.Import, ast.ImportFrom)


def refused(source: str, *, file: str) -> list[Problem]:
    """Everything in a strategy's Python `source` that it may not say, in the order of its lines.

    Args:
        source: text that is Python.
        file: named in the problems, not opened.
    """
    tree = ast.parse(source)
    handed = _names_of_handed(tree)
    annotated = {id(node) for annotation in _annotations(tree) for node in ast.walk(annotation)}
    shared = {id(line) for node in ast.walk(tree) if isinstance(node, ast.Module | ast.ClassDef) for line in node.body}
    found = [
        Problem(file, getattr(node, "lineno", None), "", seen, allowed)
        for node in ast.walk(tree)
        for seen, allowed in (
            *(*_imported(node), *_built_in(node), *_behind(node), *_handed(node, handed, annotated)),
            *_remembering(node, shared),
        )
    ]
    return sorted(dict.fromkeys(found), key=lambda problem: problem.line or 0)


def _imported(node: ast.AST) -> Iterator[tuple[str, str]]:
    if isinstance(node, ast.Import):
        for each in node.names:
            if each.name != "math":
                yield f"import {each.name}", f"`import math` or `from … import …` of {', '.join(ALLOWED)}"
    elif isinstance(node, ast.ImportFrom):
        module = "." * node.level + (node.module or "")
        if module not in ALLOWED:
            yield f"from {module} import …", listed(ALLOWED)
        else:
            for each in node.names:
                if each.name not in ALLOWED[module]:
                    yield f"from {module} import {each.name}", listed(ALLOWED[module])


def _built_in(node: ast.AST) -> Iterator[tuple[str, str]]:
    if isinstance(node, ast.Name) and node.id in vars(builtins).keys() - _BUILTINS and not node.id.startswith("_"):
        yield node.id, "columns, indicators and plain builtins such as abs, len, max or range"


def _behind(node: ast.AST) -> Iterator[tuple[str, str]]:
    attributes = {ast.Attribute: "attr", ast.MatchClass: "kwd_attrs"}.get(type(node))
    if attributes:
        for name in _texts(getattr(node, attributes)):
            if name.startswith("_") or name in (*_MAKINGS, *_MEMORY) or name in _FRAMES:
                yield (
                    f".{name}",
                    "what columns offer without it: arithmetic, comparison, & | ~, lag and rolling windows",
                )
    elif not isinstance(node, (ast.Constant, *_PATHS)):
        for name in (name for _, value in ast.iter_fields(node) for name in _texts(value)):
            if name.startswith("__") and name != "__post_init__":
                yield name, "names without two underscores in front (but __post_init__)"


def _handed(node: ast.AST, handed: Collection[str], annotated: Collection[int]) -> Iterator[tuple[str, str]]:
    if isinstance(node, ast.Name) and node.id in handed and id(node) not in annotated:
        yield f"{node.id} made or used by hand", f"{node.id} in annotations only: take columns from the bars handed in"


def _remembering(node: ast.AST, shared: Collection[int]) -> Iterator[tuple[str, str]]:
    """What outlives a run: a value that can be changed, where all runs share it; `shared` are lines of the file and of classes."""
    value = node.value if isinstance(node, ast.Assign | ast.AnnAssign) and id(node) in shared else None
    if value is not None and not _is_constant(value):
        yield ast.unparse(value), "a constant: what a strategy remembers is made by `start`, for each run anew"
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
        for value in (*node.args.defaults, *(one for one in node.args.kw_defaults if one is not None)):
            if not _is_constant(value):
                yield f"the default {ast.unparse(value)}", "a constant, as a default is shared by all calls"
    if isinstance(node, ast.Global):
        yield f"global {', '.join(node.names)}", "memory that is made by `start`, for each run anew"
    set_on = node.value if isinstance(node, ast.Attribute) and not isinstance(node.ctx, ast.Load) else None
    if set_on is not None and not (isinstance(set_on, ast.Name) and set_on.id == "self"):
        yield f"{ast.unparse(node)} set", "attributes of `self` only, as all else is shared"


def _is_constant(node: ast.expr) -> bool:
    """Can nobody change it? What is named was judged where it was made."""
    if isinstance(node, ast.Call):
        called = node.func.id if isinstance(node.func, ast.Name) else ""
        parts = [*node.args, *(keyword.value for keyword in node.keywords)]
        makes = any(keyword.arg == "default_factory" for keyword in node.keywords)
        return called in _MAKE_CONSTANTS and not makes and all(map(_is_constant, parts))
    if isinstance(node, ast.List | ast.Dict | ast.Set | ast.ListComp | ast.DictComp | ast.SetComp | ast.GeneratorExp):
        return False
    return all(_is_constant(part) for part in ast.iter_child_nodes(node) if isinstance(part, ast.expr))


def _texts(value: object) -> list[str]:
    """The identifiers in a field of a node."""
    return [each for each in (value if isinstance(value, list) else [value]) if isinstance(each, str)]


def _names_of_handed(tree: ast.Module) -> set[str]:
    """What the file calls the classes it is handed values of."""
    imports = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    return {each.asname or each.name for node in imports for each in node.names if each.name in _HANDED}


def _annotations(tree: ast.Module) -> Iterator[ast.expr]:
    """The annotations that only name types; one that calls or assigns is code like any other."""
    for node in ast.walk(tree):
        for field in ("annotation", "returns"):
            annotation = getattr(node, field, None)
            if annotation is not None and all(isinstance(part, _PLAIN) for part in ast.walk(annotation)):
                yield annotation
