"""Words for mistakes in values, the same for arguments of verbs and for settings files.

pydantic finds the mistakes. This module says what is wrong, and what to do about it.
"""

import re
from collections.abc import Callable, Iterable
from dataclasses import fields, is_dataclass
from difflib import get_close_matches
from types import NoneType
from typing import Annotated, Any, TypeVar, get_args, get_origin

from pydantic import AfterValidator, ConfigDict, Field, Strict
from pydantic_core import ErrorDetails, PydanticCustomError

from palm_demo.errors import shown

T = TypeVar("T")

SECTION = ConfigDict(extra="forbid", allow_inf_nan=False)
"""The configuration of pydantic dataclasses that describe a section of a file."""

REMEDIES = {
    "missing": "name it",
    "string_type": "give a text; in quotes where it could be taken for a number",
    "int_type": "give a whole number",
    "int_parsing": "give a whole number",
    "float_type": "give a number",
    "finite_number": "give a number",
    "bool_type": "give true or false",
    "bool_parsing": "give true or false",
    "tuple_type": "write each entry after a dash, or []",
    "dict_type": "write lines such as `key: value`",
    "dataclass_type": "write lines such as `key: value`",
    "greater_than": "give a number above {gt}",
    "literal_error": "take {expected}",
}
"""Remedies by pydantic's name of a mistake. Braces are filled from the mistake's context."""

IS_NO = {"tuple_type": "is not a list", "dict_type": "has no keys", "dataclass_type": "has no keys"}


def mistake(remedy: str, wrong: str | None = None, field: str | None = None) -> PydanticCustomError:
    """The error that a validator raises.

    remedy: what to do. wrong: follows the name of the value; by default what the value is. field: the
    field of a section that it is about.
    """
    return PydanticCustomError("mistake", "{remedy}", {"remedy": remedy, "wrong": wrong, "field": field})


def path_of(error: ErrorDetails) -> tuple[str | int, ...]:
    """Keys and positions of the value that a mistake is about, outermost first."""
    field = error.get("ctx", {}).get("field")
    return (*error["loc"], field) if field else error["loc"]


def rule(holds: Callable[[Any], bool], remedy: str, wrong: str | None = None) -> AfterValidator:
    """A validator for `Annotated` that checks a condition beyond the type."""

    def check(value: T) -> T:
        if not holds(value):
            raise mistake(remedy, wrong)
        return value

    return AfterValidator(check)


def matches(pattern: str, remedy: str) -> AfterValidator:
    """A rule for texts: the whole text matches a pattern."""
    return rule(lambda text: re.fullmatch(pattern, text) is not None, remedy)


Flag = Annotated[bool, Strict()]
String = Annotated[str, Strict()]
Text = Annotated[String, rule(lambda text: bool(text.strip()), "write something")]
Count = Annotated[int, Strict(), Field(gt=0)]
Amount = Annotated[float, Strict(), Field(gt=0)]
Many = Annotated[tuple[T, ...], Strict()]
Version = Annotated[int, Strict(), rule(lambda version: version == 1, "take 1")]


def did_you_mean(word: object, known: Iterable[str]) -> str:
    """A question about the most similar of the known names, with a space after it; "" if none is similar."""
    near = get_close_matches(str(word), list(known), 1)
    return f"did you mean {near[0]}? " if near else ""


def dotted(path: Iterable[str | int]) -> str:
    """A path in one word, such as `hub.models[0]`."""
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path).lstrip(".")


def described(error: ErrorDetails, kind: Any) -> tuple[str, str]:
    """What is wrong, and the remedy, for a mistake that pydantic found in a value of type `kind`."""
    path, value, context = path_of(error), error["input"], error.get("ctx", {})
    if error["type"] == "unexpected_keyword_argument":
        known = _known_at(kind, path[:-1])
        remedy = did_you_mean(path[-1], known).strip() or f"known are {', '.join(known)}"
        return f"{dotted(path)} is unknown", remedy
    if error["type"] == "missing":
        return f"{dotted(path)} is missing", REMEDIES["missing"]
    remedy = context.get("remedy") or _remedy(error["type"], context) or error["msg"]
    if path and path[-1] == "[key]":
        return f"{dotted(path[:-2])} has the key {shown(value)}", remedy
    if not path and error["type"] != "mistake":
        return f"the file {IS_NO.get(error['type'], 'cannot be used')}", remedy
    wrong = context.get("wrong") or IS_NO.get(error["type"])
    if wrong is None:
        wrong = f"is {'a section or list' if isinstance(value, (dict, tuple)) else shown(value)}"
    return f"{dotted(path) or 'it'} {wrong}", remedy


def _remedy(type_of_error: str, context: dict) -> str | None:
    expected = str(context.get("expected", "")).replace("'", "").replace(", ", " or ")
    remedy = REMEDIES.get(type_of_error)
    return remedy and remedy.format(**{**context, "expected": expected})


def _known_at(kind: Any, path: tuple[str | int, ...]) -> list[str]:
    """Names of the fields of the section at a path."""
    for key in path:
        kind = _plain(kind)
        if is_dataclass(kind):
            kind = kind.__pydantic_fields__[key].annotation
        else:  # the values of a dict, the items of a tuple
            kind = get_args(kind)[1 if get_origin(kind) is dict else 0]
    return [field.name for field in fields(_plain(kind))]


def _plain(kind: Any) -> Any:
    """A type without its annotations and without None."""
    while not is_dataclass(kind) and get_origin(kind) not in (dict, tuple):
        (kind, *_) = (one for one in get_args(kind) if one is not NoneType)
    return kind
