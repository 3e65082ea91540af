"""Checks a verb's arguments against its own annotations, before the verb begins.

A verb of a session is decorated with `checked`. Its annotations say what each argument may be, to an
IDE and to the check alike. Anything else raises ArgumentError, which names the argument, the value and
what to give instead.
"""

import inspect
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache, wraps
from io import IOBase
from itertools import islice
from numbers import Integral
from pathlib import Path
from typing import Annotated, Any, ParamSpec, TypeVar, get_args, get_type_hints

import numpy as np
from PIL import Image
from pydantic import AfterValidator, BeforeValidator, Field, Strict, TypeAdapter, ValidationError
from torch import Tensor

from palm_demo.errors import MOST_DIGITS, ArgumentError, shown
from palm_demo.text_limits import (
    LONG_TEXT_BYTES,
    MOST_TEXTS,
    PATH_BYTES,
    TEXT_BYTES,
    WORDS_BYTES,
    check_size,
    check_sizes,
)
from palm_demo.validation import did_you_mean

P = ParamSpec("P")
T = TypeVar("T")


@dataclass(frozen=True)
class Takes:
    """What an argument can be, in words that follow "give"."""

    words: str


@dataclass(frozen=True)
class AtMost:
    """The most UTF-8 bytes of a text or a path, or of each text of a list. A verb does not begin with a
    longer one."""

    size_bytes: int

    def check(self, name: str, value: Any) -> None:
        """Raises PromptError for a text that is too long, and for a list of too many texts."""
        if isinstance(value, str | Path):
            check_size(name, str(value), self.size_bytes)
        elif isinstance(value, list):
            check_sizes(name, value, self.size_bytes)


def _plain_number(value: Any) -> Any:
    """Converts integers of other libraries, such as NumPy's, to int."""
    return int(value) if isinstance(value, Integral) and not isinstance(value, bool) else value


def _short(number: int) -> int:
    if abs(number) >= 10**MOST_DIGITS:
        raise ValueError
    return number


def _listed(single: tuple[type, ...], at_most: int | None = None) -> Callable[[Any], Any]:
    """A validator that makes a list of one of a single value, and a list of any other iterable or batch.

    at_most: items that are taken of an iterable, which may have no end; and one more, which tells that
    there are more.
    """

    def listed(value: Any) -> Any:
        if isinstance(value, (np.ndarray, Tensor)) and value.ndim > 3:
            return list(value)
        if isinstance(value, single):
            return [value]
        is_list = isinstance(value, Iterable) and not isinstance(value, (str, bytes, dict, Image.Image))
        if not is_list or not getattr(value, "ndim", 1):  # an array may be one number
            return value
        return list(value if at_most is None else islice(value, at_most + 1))

    return listed


def _unicode(text: str) -> str:
    if not is_unicode(text):
        raise ValueError
    return text


Unicode = Annotated[str, Strict(), AfterValidator(_unicode)]
A_TEXT = Takes("a text (str) of valid Unicode")

Text = Annotated[Unicode, A_TEXT, AtMost(TEXT_BYTES)]
LongText = Annotated[Unicode, A_TEXT, AtMost(LONG_TEXT_BYTES)]
"""A text that is scored or learned from."""
Words = Annotated[Unicode, A_TEXT, AtMost(WORDS_BYTES)]
"""Words that are searched for."""
Texts = Annotated[
    Sequence[Unicode],
    BeforeValidator(_listed((str,), MOST_TEXTS)),
    Takes("a text, or a list of texts"),
    AtMost(TEXT_BYTES),
]
"""Texts. A single one counts as a list of one."""

Whole = Annotated[
    int,
    Strict(),
    BeforeValidator(_plain_number),
    AfterValidator(_short),
    Takes(f"a whole number of at most {MOST_DIGITS} digits"),
]


def check_picture(value: Any) -> Any:
    """Checks that a value can be read as a picture. The reader of media finds further mistakes."""
    if not isinstance(value, MEDIA) or (isinstance(value, str) and not is_unicode(value)):
        raise ValueError
    return value


def _medium(value: Any) -> Any:
    """A picture, or the list of a video's frames."""
    return [check_picture(one) for one in value] if isinstance(value, (list, tuple)) else check_picture(value)


MOST_MEDIA = 100_000
"""The most pictures and videos of a list."""
MEDIA = (str, Path, bytes, bytearray, IOBase, Image.Image, np.ndarray, Tensor)

Picture = Annotated[
    Any, AfterValidator(check_picture), Takes("a path, bytes, an open file, a PIL picture or an array")
]

Medium = Annotated[
    Any,
    AfterValidator(_medium),
    Takes("a path, bytes, an open file, a PIL picture or an array; or a video's frames"),
]

Media = Annotated[
    Sequence[Medium],
    BeforeValidator(_listed(MEDIA, MOST_MEDIA)),
    Takes(
        "a picture or video, or a list of them, "
        f"{MOST_MEDIA:,} at most: paths, bytes, open files, PIL pictures or arrays"
    ),
    Field(max_length=MOST_MEDIA),
]
"""Pictures and videos. A single one counts as a list of one."""

File = Annotated[Unicode | Path, Takes("a path (str or Path)"), AtMost(PATH_BYTES)]


def _event(value: Any) -> Any:
    if value is not None and not callable(getattr(value, "is_set", None)):
        raise ValueError
    return value


Cancelled = Annotated[Any, AfterValidator(_event), Takes("a threading.Event, or None")]
"""An event that ends a verb's work once it is set; None for none."""


def checked(verb: Callable[P, T]) -> Callable[P, T]:
    """Decorates a verb so that it is called with arguments that fit its signature.

    Any others raise ArgumentError.
    """

    @wraps(verb)
    def call(*arguments: P.args, **settings: P.kwargs) -> T:
        bound = bind(verb, arguments, settings)
        return verb(*bound.args, **bound.kwargs)

    call.checks_arguments = True
    return call


def joined(stream: Callable[P, Iterator[str]], name: str, doc: str) -> Callable[P, str]:
    """Makes a verb that returns at once all the text that a streaming verb yields, with the same
    signature."""

    @wraps(stream)
    def verb(self, *arguments, **settings) -> str:
        return "".join(getattr(self, stream.__name__)(*arguments, **settings))

    verb.__name__, verb.__doc__ = name, doc
    return checked(verb)


def bind(verb: Callable, arguments: tuple, settings: dict) -> inspect.BoundArguments:
    """Binds a verb's arguments to their names and converts them as annotated.

    Raises ArgumentError, and PromptError for a text that is too long.
    """
    signature = inspect.signature(verb)
    names = [name for name in signature.parameters if name != "self"]
    for name in settings:
        if name not in names:
            meant = did_you_mean(name, names)
            raise ArgumentError(
                f"{verb.__name__} takes no {shown(name)}; {meant}It takes {', '.join(names) or 'nothing'}"
            )
    try:
        bound = signature.bind(*arguments, **settings)
    except TypeError as error:
        raise ArgumentError(f"{verb.__name__}: {error}; it takes {', '.join(names) or 'nothing'}") from error
    for name, adapter, takes, limits in _checks(inspect.unwrap(verb)):
        if name in bound.arguments:
            value = bound.arguments[name]
            try:
                bound.arguments[name] = adapter.validate_python(value)
            except ValidationError as error:
                raise ArgumentError(f"{name} is {shown(value)}; give {takes}") from error
            for limit in limits:
                limit.check(name, bound.arguments[name])
    return bound


@cache
def _checks(verb: Callable) -> tuple[tuple[str, TypeAdapter, str, list[AtMost]], ...]:
    """Name, validator, words and limits of each parameter whose annotation says what it takes."""
    found = []
    for name, hint in get_type_hints(verb, include_extras=True).items():
        extras = get_args(hint)[1:]
        takes = next((extra.words for extra in extras if isinstance(extra, Takes)), None)
        limits = [extra for extra in extras if isinstance(extra, AtMost)]
        if name != "return" and takes:
            found.append((name, TypeAdapter(hint), takes, limits))
    return tuple(found)


def is_unicode(text: str) -> bool:
    """Whether a text can be encoded as UTF-8. One with a lone surrogate cannot."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
