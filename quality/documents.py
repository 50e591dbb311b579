"""A YAML file as plain values that still know their lines.

In this order: the text becomes nodes (YAML 1.2's core schema, so `on`, `24/7`, `5m` and dates stay
text until a model asks for more), the nodes become plain values, and whatever cannot be read one
way only is refused with its line: a key twice, an alias, a foreign tag, a second document.

A `Refusal` names a place and what was expected there; a `Document` knows file and lines and makes
a `Problem` of it. So a rule over several keys, or several files, is written without either.
"""

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import yaml

from engine.errors import nearest_name
from quality.errors import ConfigurationError, Location, Problem, Refusal

_TAG = "tag:yaml.org,2002:"
_PLAIN = {
    "null": r"(?:~|null|Null|NULL|)$",
    "bool": r"(?:true|True|TRUE|false|False|FALSE)$",
    "int": r"[-+]?(?:0|[1-9][0-9]*)$",
    "float": r"[-+]?(?:\.[0-9]+|(?:0|[1-9][0-9]*)(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?$",
}
_SCALARS: dict[str, Any] = {
    f"{_TAG}str": str,
    f"{_TAG}null": lambda _: None,
    f"{_TAG}bool": lambda text: text.lower() == "true",
    f"{_TAG}int": int,
    f"{_TAG}float": float,
}


def compose(text: str, *, file: str) -> "Document":
    """The values of `text` and the lines they stand on; `file` is named in messages, not opened.

    Raises:
        ConfigurationError: not YAML, empty, not a mapping, or not readable in one way only.
    """
    root = _root(text, file)
    problems: list[Problem] = []
    values = _value(root, (), file, problems)
    if problems:
        raise ConfigurationError(problems)
    return Document(file=file, root=root, values=values)


def unknown(at: Location, name: str, known: Iterable[str]) -> Refusal:
    """The refusal of a value that should be one of the `known` names."""
    known = sorted(known)
    return Refusal(at, listed(known), nearest=nearest(name, known))


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The known name that `name` was probably meant to be.

    >>> nearest("timefame", ["timeframe", "tick"])
    'timeframe'
    """
    by_lower = {candidate.lower(): candidate for candidate in known}
    match = nearest_name(name.lower(), by_lower)
    return by_lower[match] if match else None


def listed(names: Iterable[str]) -> str:
    """What was expected, where one of a few names was.

    >>> listed(["warn", "enforce"])
    'one of enforce, warn'
    """
    return f"one of {', '.join(sorted(names))}" if names else "nothing, because none is known"


class Document(NamedTuple):
    """A file's values, and where they stand."""

    file: str
    root: yaml.Node
    values: Mapping[str, Any]

    def problems(self, refusals: Iterable[Refusal]) -> list[Problem]:
        """Each refusal with its file, its line and what was found, in the order of the lines; equal ones once."""
        found = dict.fromkeys(self._problem(refusal) for refusal in refusals)
        return sorted(found, key=lambda problem: problem.line or 0)

    def place(self, location: Location) -> Location:
        """A pydantic location without the tags of the unions it went through, which no file contains.

        A tag may be spelt like a key (`{model: notional, notional: 1000}`): of two readings the one that reaches the
        location's end is right, then the longer one.
        """
        return _reading(self.root, location)[1]

    def _problem(self, refusal: Refusal) -> Problem:
        key = _dotted(refusal.at)
        found = refusal.found.replace("{key}", key or "the file").replace("{value}", _shown(self.values, refusal.at))
        return Problem(
            file=self.file,
            line=_line(self.root, refusal.at),
            key=key,
            found=found,
            expected=refusal.expected,
            nearest=refusal.nearest,
        )


class _Loader(yaml.SafeLoader):
    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            problem = "an alias is not followed: write the value out"
            raise yaml.MarkedYAMLError(problem=problem, problem_mark=self.peek_event().start_mark)  # type: ignore[no-untyped-call]
        return super().compose_node(parent, index)


_Loader.yaml_implicit_resolvers = {}  # none of YAML 1.1's: there, `on` is true and 1:30 is 90
for _name, _pattern in _PLAIN.items():
    _Loader.add_implicit_resolver(f"{_TAG}{_name}", re.compile(_pattern), None)


def _root(text: str, file: str) -> yaml.Node:
    line = 1
    try:
        root = yaml.compose(text, Loader=_Loader)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        found = f"cannot be read as YAML ({error.problem})"
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        found = "has a character that YAML does not allow"
    except RecursionError:
        found = "is nested too deeply"
    else:
        if isinstance(root, yaml.MappingNode):
            return root
        found = "is empty" if root is None else "is not a mapping"
    raise ConfigurationError(
        [Problem(file=file, line=line, key="", found=f"the file {found}", expected="lines of `key: value`")]
    )


def _value(node: yaml.Node, at: Location, file: str, problems: list[Problem]) -> Any:
    if isinstance(node, yaml.MappingNode):
        return _mapping(node, at, file, problems)
    if isinstance(node, yaml.SequenceNode):
        return [_value(child, (*at, index), file, problems) for index, child in enumerate(node.value)]
    try:
        return _SCALARS[node.tag](node.value)
    except (KeyError, ValueError):
        found = f"{_dotted(at)} is {node.value!r} with the tag {node.tag}"
        problems.append(_at_node(node, at, file, found, "a text, a number, true or false, without a tag"))
        return None


def _mapping(node: yaml.MappingNode, at: Location, file: str, problems: list[Problem]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    first: dict[str, int] = {}
    for key, child in node.value:
        if not isinstance(key, yaml.ScalarNode):
            problems.append(_at_node(key, at, file, "a key is a list or a mapping", "a text as a key"))
            continue
        name, place = key.value, (*at, key.value)
        if name in first:
            found = f"key '{_dotted(place)}' stands here again, first in line {first[name]}"
            problems.append(_at_node(key, place, file, found, "each key once"))
        first.setdefault(name, key.start_mark.line + 1)
        values[name] = _value(child, place, file, problems)
    return values


def _at_node(node: yaml.Node, at: Location, file: str, found: str, expected: str) -> Problem:
    return Problem(file=file, line=node.start_mark.line + 1, key=_dotted(at), found=found, expected=expected)


def _entry(node: yaml.Node, key: str | int) -> tuple[yaml.Node, yaml.Node] | None:
    """The node that marks an entry's line, and the entry."""
    if isinstance(node, yaml.MappingNode):
        return next(((name, child) for name, child in node.value if name.value == key), None)
    if isinstance(node, yaml.SequenceNode) and isinstance(key, int) and key < len(node.value):
        return node.value[key], node.value[key]
    return None


def _line(node: yaml.Node, at: Location) -> int:
    mark = node
    for key in at:
        entry = _entry(node, key)
        if entry is None:
            break
        mark, node = entry
    return mark.start_mark.line + 1


def _reading(node: yaml.Node, location: Location) -> tuple[bool, Location]:
    if not location:
        return True, ()
    head, rest = location[0], location[1:]
    skipped = _reading(node, rest) if rest else (False, ())
    entry = _entry(node, head)
    if entry is None:
        return skipped
    ends, place = _reading(entry[1], rest)
    return max((ends, (head, *place)), skipped, key=lambda reading: (reading[0], len(reading[1])))


def _shown(value: Any, at: Location) -> str:
    for key in at:
        try:
            value = value[key]
        except (KeyError, IndexError, TypeError):
            return "missing"
    if value is None:
        return "empty"
    if isinstance(value, dict | list):
        return "a mapping" if isinstance(value, dict) else "a list"
    return repr(value) if isinstance(value, str) else json.dumps(value)


def _dotted(at: Location) -> str:
    return "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in at).removeprefix(".")
