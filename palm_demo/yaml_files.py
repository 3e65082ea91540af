"""Reads YAML files into pydantic dataclasses and reports all mistakes at once, with line and remedy."""

from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import TypeAdapter, ValidationError

from palm_demo.errors import Diagnostic, FileError
from palm_demo.validation import described, dotted, path_of

T = TypeVar("T")
KeyPath = tuple[str | int, ...]
"""Keys of sections and positions in lists, outermost first. () is the whole file."""


def read_yaml(path: Path, kind: type[T]) -> T:
    """Reads a file as a dataclass.

    Raises FileError with all mistakes: first those in what is there, by line, then what is missing.
    """
    document = _Document(path.name)
    try:
        text = path.read_text(encoding="utf-8")
        node = yaml.compose(text, yaml.SafeLoader)
        if node is None:
            raise FileError(path.name, [document.diagnostic(1, f"{path.name} is empty", "fill it in")])
        data = document.read(node)
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        wrong = f"it has the control character {chr(error.character)!r}"
        raise FileError(path.name, [document.diagnostic(line, wrong, "delete the character")]) from error
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        problem = getattr(error, "problem", None) or _problem(error)
        line = mark.line + 1 if mark else 1
        found = document.diagnostic(line, f"this is not YAML: {problem}", "mend the line")
        raise FileError(path.name, [found]) from error
    except OSError as error:
        wrong = f"it cannot be read: {error.strerror}"
        raise FileError(path.name, [document.diagnostic(1, wrong, "put the file there")]) from error
    return document.validated(kind, data)


def lines_of(path: Path) -> dict[str, int]:
    """The line, from 1, of each key of a YAML file. `a.b` is the key b of the section a."""
    document = _Document(path.name)
    document.read(yaml.compose(path.read_text(encoding="utf-8"), yaml.SafeLoader))
    return {dotted(keys): line for keys, line in document.lines.items()}


class _Document:
    """The values of a file, with the line of each."""

    def __init__(self, file: str):
        self.file = file
        self.lines: dict[KeyPath, int] = {}
        self._found: list[tuple[int, Diagnostic]] = []
        self._around: list[yaml.Node] = []

    def diagnostic(self, line: int, wrong: str, remedy: str) -> Diagnostic:
        return Diagnostic(f"{self.file}:{line}", wrong, remedy)

    def read(self, node: yaml.Node) -> Any:
        """Plain values, with tuples for lists. Lines and repeated keys are noted."""
        self.lines[()] = node.start_mark.line + 1
        return self._value(node, ())

    def validated(self, kind: type[T], data: Any) -> T:
        """The data as a type. Raises FileError with all mistakes that were found."""
        missing: list[tuple[int, Diagnostic]] = []
        try:
            made = TypeAdapter(kind).validate_python(data)
        except ValidationError as error:
            for one in error.errors(include_url=False):
                line = self._line(path_of(one))
                found = missing if one["type"] == "missing" else self._found
                found.append((line, self.diagnostic(line, *described(one, kind))))
        every = [*sorted(self._found, key=lambda one: one[0]), *missing]
        if every:
            raise FileError(self.file, [diagnostic for _, diagnostic in every])
        return made

    def _value(self, node: yaml.Node, path: KeyPath) -> Any:
        if isinstance(node, yaml.ScalarNode):
            return _scalar(node)
        if node in self._around:
            self._find(self._line(path), f"{dotted(path)} contains itself", "write its values out")
            return None
        self._around.append(node)
        value = self._section(node, path) if isinstance(node, yaml.MappingNode) else self._list(node, path)
        self._around.pop()
        return value

    def _section(self, node: yaml.MappingNode, path: KeyPath) -> dict[str, Any]:
        made: dict[str, Any] = {}
        for key, value in node.value:
            word = key.value if isinstance(key, yaml.ScalarNode) else "?"
            inner, line = (*path, word), key.start_mark.line + 1
            if word in made:
                self._find(line, f"{dotted(inner)} is there twice", "keep one")
            self.lines[inner] = line
            made[word] = self._value(value, inner)
        return made

    def _list(self, node: yaml.SequenceNode, path: KeyPath) -> tuple:
        self.lines |= {(*path, place): item.start_mark.line + 1 for place, item in enumerate(node.value)}
        return tuple(self._value(item, (*path, place)) for place, item in enumerate(node.value))

    def _find(self, line: int, wrong: str, remedy: str) -> None:
        self._found.append((line, self.diagnostic(line, wrong, remedy)))

    def _line(self, path: KeyPath) -> int:
        """The line of a key, or of the innermost section around it that exists."""
        return next(self.lines[path[:end]] for end in range(len(path), -1, -1) if path[:end] in self.lines)


def _scalar(node: yaml.ScalarNode) -> Any:
    try:
        return yaml.constructor.SafeConstructor().construct_document(node)
    except (ValueError, LookupError, AttributeError):  # such as 2026-02-31, or "!!bool maybe"
        return node.value


def _problem(error: Exception) -> str:
    return "it is nested too deeply" if isinstance(error, RecursionError) else "not UTF-8"
