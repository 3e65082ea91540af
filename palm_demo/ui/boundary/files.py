"""Which files a visitor may name: those that this visitor uploaded or the page made and showed.

A server's path never leaves it. Files are shown under SHOWN in place of the page's upload folder, and taken
back under that name alone.
"""

import hashlib
import os
import stat
import threading
import time
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from urllib.parse import quote, unquote

from palm_demo.errors import MediaError
from palm_demo.ui.boundary.visitors import Visitor

SHOWN = "/uploads-and-pictures"
"""What stands for the upload folder in all that a visitor sees."""
REMEMBERED = 100_000
"""Pairs of file and visitor; the oldest go first."""
NEW_SECONDS = 60
"""A file that is older was made for an earlier answer, or by a visitor."""
DEEPEST = 32
"""Levels of lists and objects in what a call sends."""
NOT_YOURS = "what was named is not an uploaded file of yours, nor one that this page showed; upload it first"
NO_LINKS = "this page fetches no links; download the file and upload it"
EVERYBODY = "everybody"


class ForeignFile(MediaError):
    """A file that its sender may not name."""


class Files:
    """The files below a folder, and who may name them."""

    def __init__(self, folder: str | Path, most_bytes: int):
        self.folder = Path(os.path.realpath(folder))
        self.most_bytes = most_bytes
        self._known: OrderedDict[bytes, None] = OrderedDict()
        self._lock = threading.Lock()
        forms = dict.fromkeys([str(folder), str(self.folder)])
        self._hidden = [form.encode() for name in forms for form in dict.fromkeys([name, quote(name)])]

    def hide(self, text: bytes) -> bytes:
        """A text in which the folder stands under the name that visitors see."""
        for hidden in self._hidden:
            text = text.replace(hidden, SHOWN.encode())
        return text

    def admit(self, value: object, visitor: Visitor) -> object:
        """What a call sent, with each file in it as this machine finds it and no more told of it.

        Raises ForeignFile for a file that is not this visitor's or not a regular one, MediaError for one
        that is too large and for a link, before anything opens it.
        """
        return self._admitted(value, visitor, 0)

    def _admitted(self, value: object, visitor: Visitor, depth: int) -> object:
        if depth > DEEPEST:
            raise MediaError(f"what was sent is more than {DEEPEST} levels deep; send lists of plain values")
        if isinstance(value, list):
            return [self._admitted(item, visitor, depth + 1) for item in value]
        if not isinstance(value, dict):
            return value
        if not is_file(value):
            return {name: self._admitted(item, visitor, depth + 1) for name, item in value.items()}
        path, name = value.get("path"), value.get("orig_name")
        if is_link(path) or _is_other(value.get("url"), path):
            raise MediaError(NO_LINKS)
        real = self.real(path)
        self._check(real, visitor)
        return {
            "path": str(real),
            "orig_name": name[:255] if isinstance(name, str) else None,
            "meta": {"_type": "gradio.FileData"},
        }

    def real(self, shown: object) -> Path:
        """Where a file lies that was shown; MediaError for a path of any other form."""
        inside = shown.removeprefix(f"{SHOWN}/") if isinstance(shown, str) else ""
        if inside == shown or not inside or "\0" in inside:
            raise ForeignFile(NOT_YOURS)
        real = self.folder / inside
        if str(real) != os.path.normpath(real) or self.folder not in real.parents:
            raise ForeignFile(NOT_YOURS)
        return real

    def shown(self, path: Path) -> str:
        """What visitors see in place of the path of a file below the folder; `real` is the way back."""
        return f"{SHOWN}/{path.relative_to(self.folder)}"

    def check(self, values: Iterable[object], visitor: Visitor | None) -> None:
        """Raises MediaError where values that are about to be used hold a file that `admit` would refuse."""
        for file in files_in(values):
            path = file.get("path")
            if not isinstance(path, str) or visitor is None:
                raise ForeignFile(NOT_YOURS)
            self._check(Path(path), visitor)

    def may_see(self, path: Path, visitor: Visitor) -> bool:
        """Whether a file is this visitor's to download."""
        try:
            self._check(path, visitor, None)
        except MediaError:
            return False
        return True

    def belongs(self, path: str | Path, names: Iterable[str]) -> None:
        """From now on a file is theirs to name."""
        with self._lock:
            for name in names:
                key = self._key(path, name)
                self._known[key] = None
                self._known.move_to_end(key)
            while len(self._known) > REMEMBERED:
                self._known.popitem(last=False)

    def share(self, values: object) -> None:
        """Files that the page shows to everybody."""
        for path in self._ours(values):
            self.belongs(path, [EVERYBODY])

    def showed(self, values: object, visitor: Visitor) -> int:
        """Files that the page made and gives to a visitor; the bytes of those that are new."""
        made, now = 0, time.time()
        for path in self._ours(values):
            self.belongs(path, [visitor.name])
            with suppress(OSError):
                seen = os.lstat(path)
                made += seen.st_size * (now - seen.st_mtime < NEW_SECONDS)
        return made

    def _ours(self, values: object) -> Iterator[Path]:
        for file in files_in([values]):
            if isinstance(file.get("path"), str) and is_below(path := Path(file["path"]), self.folder):
                yield path

    def _check(self, path: Path, visitor: Visitor, most_bytes: int | None = -1) -> None:
        if not any(self._key(path, name) in self._known for name in (*visitor.names, EVERYBODY)):
            raise ForeignFile(NOT_YOURS)
        try:
            seen = os.lstat(path)
            straight = os.path.realpath(path) == str(path)
        except OSError:
            raise MediaError("a file is no longer there; upload it again") from None
        if not straight or not stat.S_ISREG(seen.st_mode):
            raise ForeignFile(NOT_YOURS)
        limit = self.most_bytes if most_bytes == -1 else most_bytes
        if limit is not None and seen.st_size > limit:
            raise MediaError(f"a file has {seen.st_size:,} bytes and at most {limit:,} fit; send a smaller")

    def _key(self, path: str | Path, name: str) -> bytes:
        told = os.path.relpath(os.path.realpath(path), self.folder)
        return hashlib.blake2b(f"{told}\0{name}".encode("utf-8", "replace"), digest_size=16).digest()


def is_file(value: dict) -> bool:
    """Whether Gradio, or one of our handlers, would take an object for a file."""
    meta = value.get("meta")
    is_marked = isinstance(meta, dict) and meta.get("_type") == "gradio.FileData"
    return "path" in value or "url" in value or is_marked


def files_in(values: Iterable[object]) -> Iterator[dict]:
    """All objects that stand for files, at any depth."""
    waiting = list(values)
    while waiting:
        value = waiting.pop()
        if isinstance(value, list | tuple):
            if not value or not isinstance(value[0], int | float):
                waiting += value
        elif isinstance(value, dict):
            if is_file(value):
                yield value
            waiting += value.values()


def without_files(value: object) -> object:
    """What is left of a value when each object that stands for a file is None."""
    if isinstance(value, list):
        return [without_files(item) for item in value]
    if isinstance(value, dict):
        return None if is_file(value) else {name: without_files(item) for name, item in value.items()}
    return value


def is_below(path: Path, folder: Path) -> bool:
    return folder in Path(os.path.realpath(path)).parents


def is_link(path: object) -> bool:
    """Whether a path has a scheme, as http: or data: is one."""
    scheme, colon, _ = path.partition(":") if isinstance(path, str) else ("", "", "")
    return bool(colon) and scheme.strip().isalpha() and "/" not in scheme


def _is_other(url: object, path: object) -> bool:
    """Whether an address is of anything but the file at the path, as this page serves it. A browser shows
    some files before they are sent, under addresses of its own, with all of a drawing in one: what counts is
    the path."""
    if url is None or (isinstance(url, str) and url.startswith(("blob:", "data:"))):
        return False
    if not isinstance(url, str):
        return True
    _, served, named = url.partition("/file=")
    return not served or unquote(named) != path
