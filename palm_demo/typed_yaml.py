"""YAML files read into dataclasses: every mistake is found at once, each with its line and its remedy."""

import difflib
import re
import types
from collections.abc import Callable, Iterator
from dataclasses import MISSING, dataclass, fields, is_dataclass
from pathlib import Path
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin, get_type_hints

import yaml

from palm_demo.errors import FileError

T = TypeVar("T")
SAID = {
    str: "a text; in quotes where it could be taken for a number",
    int: "a whole number",
    float: "a number",
    bool: "true or false",
}
NOTHING = object()
"""In place of a value that could not be read; the mistake is among the findings."""


@dataclass(frozen=True)
class Finding:
    """What is wrong, where, and what to do about it."""

    place: str
    wrong: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.place}: {self.wrong}; {self.remedy}"


@dataclass(frozen=True)
class Rule:
    """What a value has to be beyond its type, for `Annotated`; the remedy says it in words."""

    holds: Callable[[Any], bool]
    remedy: str


def one_of(*names: object) -> Rule:
    return Rule(lambda value: value in names, f"take {' or '.join(map(str, names))}")


def like(pattern: str, remedy: str) -> Rule:
    """For texts that the whole pattern matches."""
    return Rule(lambda value: re.fullmatch(pattern, value) is not None, remedy)


ABOVE_0 = Rule(lambda value: value > 0, "give a number above 0")
Text = Annotated[str, Rule(lambda text: bool(text.strip()), "write something")]
Count = Annotated[int, ABOVE_0]
Amount = Annotated[float, ABOVE_0]


def read_typed(path: Path, kind: type[T]) -> T:
    """The dataclass that a file describes, and those within it.

    kind's fields may be str, int, float, bool, dataclasses, `tuple[X, ...]`, `dict[str, X]` and `X | None`,
    each with `Rule`s in an `Annotated`. Raises FileError with all findings.
    """
    reader = _Reader(path.name)
    try:
        node = yaml.compose(path.read_text(encoding="utf-8"), yaml.SafeLoader)
        made = reader.read(kind, node, "") if node else reader.finds(0, f"{path.name} is empty", "fill it in")
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        mark = getattr(error, "problem_mark", None)
        problem = getattr(error, "problem", None) or "not UTF-8"
        made = reader.finds(mark.line if mark else 0, f"this is no YAML: {problem}", "mend the line")
    except OSError as error:
        made = reader.finds(0, f"it cannot be read: {error.strerror}", "put the file there")
    if reader.findings:
        raise FileError(path.name, reader.findings)
    return made


def lines_of(path: Path) -> dict[str, int]:
    """The line, from 1, on which each key of a YAML file stands: `a.b` is the key b of the section a."""

    def walk(node: yaml.Node, name: str) -> Iterator[tuple[str, int]]:
        if isinstance(node, yaml.MappingNode):
            for key, value in node.value:
                inner = f"{name}.{key.value}".lstrip(".")
                yield inner, key.start_mark.line + 1
                yield from walk(value, inner)

    return dict(walk(yaml.compose(path.read_text(encoding="utf-8"), yaml.SafeLoader), ""))


class _Reader:
    """Notes what is wrong and goes on. Names are dotted paths, "" for the whole file."""

    def __init__(self, file: str):
        self.file = file
        self.findings: list[Finding] = []

    def finds(self, line: int, wrong: str, remedy: str) -> object:
        self.findings.append(Finding(f"{self.file}:{line + 1}", wrong, remedy))
        return NOTHING

    def read(self, kind: Any, node: yaml.Node, name: str) -> Any:
        """The value of a node, or NOTHING."""
        if get_origin(kind) is Annotated:
            kind, *rules = get_args(kind)
            return self._ruled(self.read(kind, node, name), rules, node, name)
        if get_origin(kind) in (Union, types.UnionType):
            if node.tag == "tag:yaml.org,2002:null":
                return None
            (kind,) = (one for one in get_args(kind) if one is not types.NoneType)
            return self.read(kind, node, name)
        if is_dataclass(kind):
            return self._section(kind, node, name)
        if get_origin(kind) is dict:
            return self._mapping(get_args(kind)[1], node, name)
        if get_origin(kind) is tuple:
            return self._row(get_args(kind)[0], node, name)
        return self._scalar(kind, node, name)

    def _ruled(self, value: Any, rules: list[Rule], node: yaml.Node, name: str) -> Any:
        broken = [] if value is NOTHING else [rule for rule in rules if not rule.holds(value)]
        for rule in broken:
            self.finds(node.start_mark.line, f"{name} is {value!r}", rule.remedy)
        return NOTHING if broken else value

    def _section(self, kind: type, node: yaml.Node, name: str) -> Any:
        if not isinstance(node, yaml.MappingNode):
            return self._no_keys(node, name)
        hints, known = get_type_hints(kind, include_extras=True), [field.name for field in fields(kind)]
        made = {}
        for key, (line, value) in self._entries(node, name).items():
            inner = f"{name}.{key}".lstrip(".")
            if key in known:
                made[key] = self.read(hints[key], value, inner)
            else:
                near = difflib.get_close_matches(key, known, 1)
                remedy = f"did you mean {near[0]}?" if near else f"known are {', '.join(known)}"
                self.finds(line, f"{inner} is unknown", remedy)
        for field in fields(kind):
            if field.name not in made and field.default is MISSING:
                inner = f"{name}.{field.name}".lstrip(".")
                self.finds(node.start_mark.line, f"{inner} is missing", "name it")
                made[field.name] = NOTHING
        return kind(**made) if NOTHING not in made.values() else NOTHING

    def _mapping(self, kind: Any, node: yaml.Node, name: str) -> Any:
        if not isinstance(node, yaml.MappingNode):
            return self._no_keys(node, name)
        entries = self._entries(node, name).items()
        made = {key: self.read(kind, value, f"{name}.{key}") for key, (_, value) in entries}
        return made if NOTHING not in made.values() else NOTHING

    def _row(self, kind: Any, node: yaml.Node, name: str) -> Any:
        if not isinstance(node, yaml.SequenceNode):
            remedy = "write each entry after a dash, or []"
            return self.finds(node.start_mark.line, f"{name} is no list", remedy)
        made = tuple(self.read(kind, value, f"{name}[{place}]") for place, value in enumerate(node.value))
        return made if NOTHING not in made else NOTHING

    def _scalar(self, kind: type, node: yaml.Node, name: str) -> Any:
        value = _value(node)
        fits = type(value) is kind or (kind is float and type(value) is int)
        if fits:
            return value
        shown = repr(value) if isinstance(node, yaml.ScalarNode) else "a section or list"
        return self.finds(node.start_mark.line, f"{name} is {shown}", f"give {SAID[kind]}")

    def _no_keys(self, node: yaml.Node, name: str) -> object:
        wrong = f"{name or 'the file'} has no keys"
        return self.finds(node.start_mark.line, wrong, "write lines such as `key: value`")

    def _entries(self, node: yaml.MappingNode, name: str) -> dict[str, tuple[int, yaml.Node]]:
        """Key -> its line and its value."""
        found: dict[str, tuple[int, yaml.Node]] = {}
        for key, value in node.value:
            word, line = str(key.value), key.start_mark.line
            if word in found:
                self.finds(line, f"{name}.{word}".lstrip(".") + " is there twice", "keep one")
            found[word] = line, value
        return found


def _value(node: yaml.Node) -> Any:
    if not isinstance(node, yaml.ScalarNode):
        return node
    try:
        return yaml.constructor.SafeConstructor().construct_document(node)
    except ValueError:  # 2026-02-31 looks like a day
        return node.value
