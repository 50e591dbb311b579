"""Configuration: YAML text in, one frozen model out, or everything that is wrong with the file.

A pydantic model reads the values of a document strictly; what it refuses is carried back to its
line and said in words a person can act on. A model that refuses a combination of keys calls
`refuse` with a place for each; a check of one value raises a ValueError whose message completes
"expected …".
"""

import json
import re
from collections.abc import Collection, Iterable, Iterator
from typing import Annotated, Any, TypeVar, get_args

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    TypeAdapter,
    ValidationError,
)
from pydantic.fields import FieldInfo

from engine.bars import timeframe_us
from quality.documents import Document, compose, listed, nearest
from quality.errors import ConfigurationError, Location, Refusal, RefusedValuesError

Model = TypeVar("Model", bound=BaseModel)

_DATE = "a date such as 2017-07-01"
_FILLED = "at least one"
_MAPPING = "a mapping of keys to values"
_TIMEFRAME = "a number and a unit such as 30s, 5m, 1h or 1d"
_TEXT = "a text (in quotes where it looks like a number)"
_EXPECTED = {
    "bool_type": "true or false",
    "date_parsing": _DATE,
    "date_type": _DATE,
    "dict_type": _MAPPING,
    "finite_number": "a finite number",
    "float_type": "a number",
    "greater_than": "more than {gt:g}",
    "greater_than_equal": "at least {ge:g}",
    "int_from_float": "a whole number",
    "int_type": "a whole number",
    "less_than": "less than {lt:g}",
    "less_than_equal": "at most {le:g}",
    "literal_error": "{expected}",
    "model_type": _MAPPING,
    "string_too_short": "at least {min_length} characters",
    "string_type": _TEXT,
    "tuple_type": "a list",
    "union_tag_invalid": "{discriminator} to be {expected_tags}",
    "union_tag_not_found": "{discriminator} in it",
    "value_error": "{error}",
}


def parse(text: str, model: type[Model], *, file: str) -> Model:
    """Read the YAML `text` of `file` (named in the messages, not opened) as a `model`.

    Raises:
        ConfigurationError: with every problem of the file.
    """
    return read(compose(text, file=file), model)


def read(document: Document, model: type[Model]) -> Model:
    """A composed document as a `model`.

    Raises:
        ConfigurationError: with every problem of the file.
    """
    try:
        # By way of JSON, because only there is "strict" what YAML needs: no number from text, but a date from it.
        return model.model_validate_json(json.dumps(document.values), strict=True)
    except ValidationError as error:
        refusals = [refusal for detail in error.errors() for refusal in _refusals(document, model, detail)]
        raise ConfigurationError(document.problems(_without_shadows(refusals))) from None


def refuse(refusals: Iterable[Refusal]) -> None:
    """End a model's validation if there is anything to refuse; the places count from that model."""
    if found := tuple(refusals):
        raise RefusedValuesError(found)


def matching(pattern: str, expected: str) -> BeforeValidator:
    """A text that matches `pattern` in full; whatever else is there, the refusal says `expected`."""

    def check(value: Any) -> Any:
        if not isinstance(value, str) or re.fullmatch(pattern, value) is None:
            raise ValueError(expected)
        return value

    return BeforeValidator(check)


def _filled(value: Collection[Any]) -> Collection[Any]:
    if not value:
        raise ValueError(_FILLED)
    return value


def _timeframe(value: Any) -> Any:
    try:
        timeframe_us(value if isinstance(value, str) else "")
    except ValueError:
        raise ValueError(_TIMEFRAME) from None
    return value


def _number_kind(value: Any) -> str:
    return "int" if isinstance(value, int) and not isinstance(value, bool) else "float"


Name = Annotated[str, matching(r"[a-z][a-z0-9_]*", "a name of a-z, 0-9 and _ that starts with a letter")]
Text = Annotated[str, matching(r"(?s).*\S.*", _TEXT)]
Currency = Annotated[str, matching(r"[A-Z0-9]{2,10}", "a currency such as USD")]
Timeframe = Annotated[str, BeforeValidator(_timeframe)]
Number = Annotated[Annotated[int, Tag("int")] | Annotated[float, Tag("float")], Discriminator(_number_kind)]
Filled = AfterValidator(_filled)  # not min_length, which counts entries that are there and wrong as absent
Positive = Annotated[float, Field(gt=0)]
NonNegative = Annotated[float, Field(ge=0)]


class Record(BaseModel):
    """A part of a file: frozen, no unknown keys, no infinities."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, validate_by_name=True)


def _refusals(document: Document, model: type[BaseModel], detail: Any) -> Iterator[Refusal]:
    kind, context, location = detail["type"], detail.get("ctx", {}), detail["loc"]
    at = document.place(location)
    refused = context.get("error")
    if kind == "missing":
        parent, name = document.place(location[:-1]), location[-1]
        yield Refusal((*parent, name), _wanted(_fields(model, location[:-1]).get(name)), "{key} is missing")
    elif kind == "extra_forbidden":
        fields = _fields(model, location[:-1])
        yield Refusal(at, listed(fields), "unknown key '{key}'", nearest(str(at[-1]), fields))
    elif isinstance(refused, RefusedValuesError):
        for refusal in refused.refusals:
            yield refusal._replace(at=(*at, *refusal.at))
    elif refused is not None and isinstance(detail["input"], dict):  # a rule over the whole mapping, in its own words
        yield Refusal(at, found=f"{{key}}: {refused}")
    else:
        choices = re.findall(r"'([^']*)'", str(context.get("expected", context.get("expected_tags", ""))))
        tag = context.get("discriminator", "").strip("'")
        place, input_ = ((*at, tag), detail["input"].get(tag)) if kind == "union_tag_invalid" else (at, detail["input"])
        yield Refusal(place, _phrase(detail), nearest=nearest(str(input_), choices))


def _without_shadows(refusals: list[Refusal]) -> list[Refusal]:
    """A misspelt key is one mistake: the key it was meant to be is not reported as missing beside it."""
    meant = {(*refusal.at[:-1], refusal.nearest) for refusal in refusals if refusal.found.startswith("unknown key")}
    return [refusal for refusal in refusals if refusal.at not in meant]


def _fields(model: type[BaseModel], location: Location) -> dict[str, FieldInfo]:
    """The fields that the mapping at a pydantic location may have, by the names they have in a file."""
    models = [model]
    for key in location:
        inner = [found for outer in models for name, field in _named(outer) if name == key for found in _models(field)]
        extras = [found for outer in models for found in _models(outer.__annotations__.get("__pydantic_extra__"))]
        tagged = [outer for outer in models for _, field in _named(outer) if key in get_args(field.annotation)]
        models = inner or tagged or extras or models  # a list's index and a mapping's own names lead nowhere: stay
    return {name: field for candidate in models for name, field in _named(candidate)}


def _named(model: type[BaseModel]) -> Iterator[tuple[str, FieldInfo]]:
    return ((field.alias or name, field) for name, field in model.model_fields.items())


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, FieldInfo):
        annotation = annotation.annotation
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in get_args(annotation):
        yield from _models(argument)


def _wanted(field: FieldInfo | None) -> str:
    """What a field expects, asked of the field itself: it is shown nothing and says what it misses."""
    if field is not None:
        adapter: TypeAdapter[Any] = TypeAdapter(Annotated[field.annotation, *field.metadata, Field()])  # type: ignore[arg-type]  # a form made at run time
        try:
            adapter.validate_json("null", strict=True)
        except ValidationError as error:
            return _phrase(error.errors()[0])
    return "a value"


def _phrase(detail: Any) -> str:
    template = _EXPECTED.get(detail["type"])
    if template is None:
        return str(detail["msg"]).removeprefix("Input should be ")
    return template.format(**detail.get("ctx", {}))
