"""What a strategy's Python declares, read from its text: the one class, and the parameters it takes.

Nothing of the file runs here. What it says is held against `quality.vocabulary`; the class and its fields
are found in the syntax tree. So a project can be loaded, shown and planned for without trusting a line of
what is in it, and what runs a strategy runs it where it can be stopped.
"""

import ast
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import NamedTuple

from quality import vocabulary
from quality.errors import ConfigurationError, Problem

_ONE = "one class at the top of the file that extends engine.strategy.Strategy"
_BASES = ("Strategy", "Stateful")
_NO_PARAMETERS = ("ClassVar", "KW_ONLY")


class Parameter(NamedTuple):
    """A typed field of the class."""

    type: str  # as it is written
    required: bool  # it has no default


class Declared(NamedTuple):
    """A strategy's class."""

    name: str
    parameters: Mapping[str, Parameter]


def declared(source: str, *, file: str) -> Declared:
    """What the Python `source` of `file` (named in messages, not opened) declares.

    Raises:
        ConfigurationError: no Python, something that a strategy may not say, or not exactly one strategy.
    """
    try:
        compile(source, file, "exec", dont_inherit=True)  # finds more than parsing does, and runs nothing either
        tree = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise ConfigurationError([_no_python(error, file)]) from None
    if refused := vocabulary.refused(source, file=file):
        raise ConfigurationError(refused)
    classes = {node.name: node for node in tree.body if isinstance(node, ast.ClassDef)}
    strategies = _strategies(tree, classes)
    if len(strategies) != 1:
        names = ", ".join(strategies) or "no Strategy"
        raise ConfigurationError([Problem(file, None, "", f"the file defines {names}", _ONE)])
    (name,) = strategies
    return Declared(name, dict(_parameters(classes[name], classes)))


@lru_cache(maxsize=256)
def asks_for_others(source: str) -> bool:
    """May a strategy of this Python look at bars of instruments that it names (`bars.of`)?"""
    return any(isinstance(node, ast.Attribute) and node.attr == "of" for node in ast.walk(ast.parse(source)))


def _no_python(error: BaseException, file: str) -> Problem:
    if isinstance(error, SyntaxError):
        return Problem(file, error.lineno, "", f"SyntaxError: {error.msg}", "Python that runs")
    return Problem(file, None, "", f"{type(error).__name__}: {error}", "Python that runs")


def _strategies(tree: ast.Module, classes: Mapping[str, ast.ClassDef]) -> list[str]:
    """Classes that extend a base of strategies, themselves or by another class of the file that does."""
    found = {
        each.asname or each.name
        for node in tree.body
        if isinstance(node, ast.ImportFrom) and node.module == "engine.strategy"
        for each in node.names
        if each.name in _BASES
    }
    for name, node in classes.items():  # in the order in which they are made
        if found & set(_bases(node)):
            found.add(name)
    return [name for name in classes if name in found]


def _bases(node: ast.ClassDef) -> Iterator[str]:
    return (base.id for base in node.bases if isinstance(base, ast.Name))


def _parameters(node: ast.ClassDef, classes: Mapping[str, ast.ClassDef]) -> Iterator[tuple[str, Parameter]]:
    for base in reversed([*_bases(node)]):
        if base in classes and classes[base].decorator_list:  # a dataclass, whose fields are inherited
            yield from _parameters(classes[base], classes)
    for line in node.body:
        if isinstance(line, ast.AnnAssign) and isinstance(line.target, ast.Name):
            written = ast.unparse(line.annotation).strip("'\"")
            if not written.startswith(_NO_PARAMETERS):
                yield line.target.id, Parameter(written, required=not _has_default(line.value))


def _has_default(value: ast.expr | None) -> bool:
    if isinstance(value, ast.Call) and isinstance(value.func, ast.Name) and value.func.id == "field":
        return any(keyword.arg == "default" for keyword in value.keywords)
    return value is not None
