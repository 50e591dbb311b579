"""Which nodes of a polars expression are known to be causal: an allowlist, and a word for what is not on it.

An expression is walked as polars itself writes it down (`meta.serialize`), so nothing is taken from
what its author calls it. A node is causal where row t of its result depends on rows up to t of its
inputs and on nothing else, the number of rows included. What is not listed is refused, known or not.

Two nodes are causal by their options only: a shift of a literal 0 or more, a window that is not
centred. One is by its place: the length of the column (`pl.len()`) is the future, except as the end
of `pl.int_range(pl.len())`, which numbers the rows.

A plug-in is compiled code that nobody can look into here. Those of TA-Lib are allowed, which has no
function of later values, and of these only in the file that polars-talib was installed with.
"""

import json
import sys
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import polars as pl

Node = Any
"""A node as JSON: a word, or one name with what belongs to it."""

# Row by row
_ROWWISE = {
    *("Abs", "Sign", "Negate", "Exp", "Expm1", "Log", "Log1p", "Floor", "Ceil", "FillNull", "FillNan", "Coalesce"),
    *("MaxHorizontal", "MinHorizontal", "SumHorizontal", "MeanHorizontal", "Clip", "Round", "RoundSF", "Pow", "Log10"),
    *("Trigonometry", "Atan2", "Degrees", "Radians"),
}
_ROWWISE_TRUTHS = {
    *("IsNull", "IsNotNull", "IsNan", "IsNotNan", "IsFinite", "IsInfinite", "Not"),
    *("AllHorizontal", "AnyHorizontal", "IsBetween", "IsClose"),
}
_ROWWISE_TIMES = {
    *("Hour", "Minute", "Second", "WeekDay", "Week", "Day", "Month", "Quarter", "Year", "OrdinalDay", "Date", "Time"),
    *("Truncate", "TimeStamp", "TotalMinutes", "TotalSeconds", "TotalHours", "TotalDays", "TotalMicroseconds"),
}
# From the start of the series up to the row
_RUNNING = {"CumSum", "CumMin", "CumMax", "CumCount", "CumProd"}
_SMOOTHED = {"EwmMean", "EwmStd", "EwmVar"}
_SHIFTED = {"Shift": "shift", "ShiftAndFill": "shift", "Diff": "difference", "PctChange": "change"}

OPAQUE = "a Python function, which nobody can look into"

_WORDS = {
    "Reverse": "the reversed series",
    "Sort": "the sorted series",
    "SortBy": "the sorted series",
    "Interpolate": "interpolation, which needs the next known value",
    "Len": "the number of bars, which later ones change",
    "Rank": "a rank within the whole column",
    "Quantile": "a whole-column quantile",
    "QCut": "whole-column quantiles",
    "Random": "chance",
    "Gather": "bars by number",
    "Filter": "fewer bars than there are",
    "Slice": "fewer bars than there are",
    "AnonymousFunction": OPAQUE,
    "AnonymousAgg": OPAQUE,
}


def offences(expression: pl.Expr) -> list[str]:
    """What an expression uses that is not known to be causal, in words; none where it is."""
    try:
        tree = json.loads(expression.meta.serialize(format="json"))
    except pl.exceptions.PolarsError:  # polars writes everything down but functions of Python
        return [OPAQUE]
    return list(dict.fromkeys(_offences(tree)))


def is_compiled(expression: pl.Expr) -> bool:
    """Does it call code that polars has not in itself, and that costs a call for each series it is asked of?"""
    return _has(expression, "FfiPlugin")


def is_grouped(expression: pl.Expr) -> bool:
    """Does it group the bars itself, so that it cannot be computed on many groups of them at once?"""
    return _has(expression, '"Over"')


def _has(expression: pl.Expr, word: str) -> bool:
    try:
        return word in expression.meta.serialize(format="json")
    except pl.exceptions.PolarsError:
        return True


def _offences(node: Node) -> Iterator[str]:
    if isinstance(node, str):
        yield from (_said(node, None),)
        return
    ((name, inside),) = node.items()
    if name in _NODES:
        yield from _NODES[name](inside)
    else:
        yield _said(name, inside)


def _all(*nodes: Node) -> Iterator[str]:
    for node in nodes:
        yield from _offences(node)


def _function(inside: Node) -> Iterator[str]:
    inputs, function = inside["input"], inside["function"]
    name, options = _named(function)
    if name == "Range":
        yield from _range(inputs, options)
        return
    if name in _SHIFTED:
        yield from _shift(_SHIFTED[name], inputs)
    elif name == "RollingExpr":
        yield from _window(options)
    elif name in _RUNNING:
        yield from ["a running value from the end backwards"] * bool(options["reverse"])
    elif name == "FillNullWithStrategy":
        yield from _filled(options)
    elif name == "FfiPlugin":
        yield from _plugin(options)
    elif not _is_rowwise(name, options):
        yield _said(name, options)
    yield from _all(*(one for one in inputs if not (name in _SHIFTED and one is inputs[1])))


def _named(function: Node) -> tuple[str, Node]:
    return (function, None) if isinstance(function, str) else next(iter(function.items()))


def _is_rowwise(name: str, options: Node) -> bool:
    inner = options if isinstance(options, str) else next(iter(options), "") if isinstance(options, dict) else ""
    return (
        name in _ROWWISE
        or name in _SMOOTHED
        or (name == "StructExpr" and inner == "FieldByName")
        or (name == "Boolean" and inner in _ROWWISE_TRUTHS)
        or (name == "TemporalExpr" and inner in _ROWWISE_TIMES)
    )


def _shift(word: str, inputs: list[Node]) -> Iterator[str]:
    bars = _whole_number(inputs[1])
    if bars is None:
        yield f"a {word} over a number of bars that is computed"
    elif bars < 0:
        yield f"a {word} from {-bars} bar{'s' * (bars < -1)} ahead"


def _whole_number(node: Node) -> int | None:
    literal = node.get("Literal") if isinstance(node, dict) else None
    value = next(iter(literal.values())) if isinstance(literal, dict) else None
    number = next(iter(value.values())) if isinstance(value, dict) and len(value) == 1 else None
    return number if isinstance(number, int) else None


def _window(options: Mapping[str, Any]) -> Iterator[str]:
    function, said = options["function"], options["options"]
    if said["center"]:
        name = function if isinstance(function, str) else next(iter(function))
        yield f"a centred window ({name.lower()} of {said['window_size']} bars)"
    if function == "Map":
        yield OPAQUE


def _filled(strategy: Node) -> Iterator[str]:
    name = strategy if isinstance(strategy, str) else next(iter(strategy))
    if name == "Backward":
        yield "a backward fill"
    elif name not in ("Forward", "Zero", "One"):
        yield f"a fill by a whole-column {name.lower()}"


def _range(inputs: list[Node], options: Node) -> Iterator[str]:
    rows = isinstance(options, dict) and options.get("IntRange", {}).get("step") == 1
    if not (rows and _whole_number(inputs[0]) is not None and inputs[1] == "Len"):
        yield "a range that does not number the bars from a first one on"


def _plugin(options: Mapping[str, Any]) -> Iterator[str]:
    if Path(sys.prefix, options["lib"]).resolve() not in _talib():
        yield f"a compiled function that is not TA-Lib's ({options['symbol']} of {Path(options['lib']).name})"


@cache
def _talib() -> frozenset[Path]:
    spec = find_spec("polars_talib")
    folders = spec.submodule_search_locations if spec else None
    return frozenset(file.resolve() for folder in folders or () for file in Path(folder).glob("_polars_talib*"))


def _aggregate(inside: Node) -> Iterator[str]:
    yield f"a whole-column {next(iter(inside)).lower()}"  # or a whole group's, which is no better


def _over(inside: Node) -> Iterator[str]:
    """Group by group, in the order of the bars: as causal as what is done in each and as what groups them."""
    if inside["order_by"] is not None or inside["mapping"] != "GroupsToRows":
        yield "groups in another order than that of the bars"
    yield from _all(inside["function"], *inside["partition_by"])


_NODES: dict[str, Callable[[Node], Iterator[str]]] = {
    "Column": lambda _: iter(()),
    "Literal": lambda inside: iter(["a series of its own, which no bar is cut from"] * _is_series(inside)),
    "BinaryExpr": lambda inside: _all(inside["left"], inside["right"]),
    "Ternary": lambda inside: _all(inside["predicate"], inside["truthy"], inside["falsy"]),
    "Cast": lambda inside: _all(inside["expr"]),
    "Alias": lambda inside: _all(inside[0]),
    "Function": _function,
    "Agg": _aggregate,
    "Over": _over,
}


def _is_series(literal: Node) -> bool:
    return isinstance(literal, dict) and next(iter(literal)) not in ("Dyn", "Scalar")


def _said(name: str, options: Node) -> str:
    if name in _WORDS:
        return _WORDS[name]
    inner = options if isinstance(options, str) else next(iter(options), "") if isinstance(options, dict) else ""
    return f"{name}{f' {inner}' if inner else ''}, which is not known to be causal"
