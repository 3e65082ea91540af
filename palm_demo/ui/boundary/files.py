"""Access to files: a visitor may use files that they uploaded, or that the page made and showed to them.

Visitors never see paths of the server. In all that is sent to them, SHOWN stands in place of the upload
folder, and only paths that begin with SHOWN are accepted from them.
"""

import hashlib
import json
import os
import stat
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from urllib.parse import quote, unquote

from palm_demo.errors import MediaError
from palm_demo.ui.boundary.fair_memory import FairMemory
from palm_demo.ui.boundary.visitors import Visitor

SHOWN = "/uploads-and-pictures"
"""Replaces the upload folder in paths that visitors see."""
REMEMBERED, FORGOTTEN_AT_ONCE = 100_000, 1_000
"""The most pairs of file and visitor that are remembered. At the limit, the oldest of the address that has
the most are forgotten."""
NEW_SECONDS = 60
"""Files up to this age count as made for the current event. Older ones have been counted before."""
MAX_DEPTH = 32
"""The deepest nesting of lists and objects in a call."""
MOST_VALUES, MOST_FILES = 50_000, 1_000
"""The most values and files in a call. They are looked at one by one, while nobody else is answered."""
NOT_YOURS = "what was named is not an uploaded file of yours, nor one that this page showed; upload it first"
NO_LINKS = "this page fetches no links; download the file and upload it"
EVERYBODY = "everybody"


class ForeignFile(MediaError):
    """A file that the visitor has no access to."""


class Files:
    """The files in the upload folder, and which visitors have access to each.

    Args:
        folder: the upload folder.
        most_bytes: the size of the largest file that is accepted.
        separator: what stands between the names of a path on this machine. Visitors may name it or "/".
    """

    def __init__(self, folder: str | Path, most_bytes: int, separator: str = os.sep):
        self.folder = Path(os.path.realpath(folder))
        self.most_bytes, self.separator = most_bytes, separator
        self._granted: FairMemory[bytes, None] = FairMemory(REMEMBERED, FORGOTTEN_AT_ONCE)
        self._shared: set[bytes] = set()
        self._lock = threading.Lock()
        forms = dict.fromkeys([str(folder), str(self.folder)])
        self._hidden = [form.encode() for name in forms for form in _written_as(name)]

    def hide(self, text: bytes) -> bytes:
        """Replaces the path of the folder in a text by SHOWN."""
        for hidden in self._hidden:
            text = text.replace(hidden, SHOWN.encode())
        return text

    def admit(self, value: object, visitor: Visitor) -> object:
        """The value of a call, in which each file has its path on this machine and no other fields.

        No file is opened. Raises ForeignFile for a file that the visitor has no access to or that is not a
        regular file, MediaError for a file that is too large and for a link.
        """
        return self._admit(value, visitor, 0)

    def _admit(self, value: object, visitor: Visitor, depth: int) -> object:
        check_depth(depth)
        if isinstance(value, list):
            return [self._admit(item, visitor, depth + 1) for item in value]
        if not isinstance(value, dict):
            return value
        if not is_file(value):
            return {name: self._admit(item, visitor, depth + 1) for name, item in value.items()}
        path, name = value.get("path"), value.get("orig_name")
        if is_link(path) or _is_other_file(value.get("url"), path):
            raise MediaError(NO_LINKS)
        real = self.real(path)
        self._check(real, visitor)
        return {
            "path": str(real),
            "orig_name": name[:255] if isinstance(name, str) else None,
            "meta": {"_type": "gradio.FileData"},
        }

    def real(self, shown: object) -> Path:
        """The path on this machine of a path that visitors see. Raises ForeignFile for any other path."""
        shown = shown.replace(self.separator, "/") if isinstance(shown, str) else ""
        inside = shown.removeprefix(f"{SHOWN}/")
        if inside == shown or not inside or "\0" in inside or _has_half_surrogate(inside):
            raise ForeignFile(NOT_YOURS)
        real = self.folder / inside
        if str(real) != os.path.normpath(real) or self.folder not in real.parents:
            raise ForeignFile(NOT_YOURS)
        return real

    def shown(self, path: Path) -> str:
        """The path that visitors see for a file in the folder. `real` is the inverse."""
        return f"{SHOWN}/{path.relative_to(self.folder).as_posix()}"

    def check(self, values: Iterable[object], visitor: Visitor | None) -> None:
        """Raises MediaError if a file in values is too large or the visitor has no access to it."""
        for file in files_in(values):
            path = file.get("path")
            if not isinstance(path, str) or visitor is None:
                raise ForeignFile(NOT_YOURS)
            self._check(Path(path), visitor)

    def may_see(self, path: Path, visitor: Visitor) -> bool:
        """Whether a visitor may download a file."""
        try:
            self._check(path, visitor, None)
        except MediaError:
            return False
        return True

    def grant(self, path: str | Path, visitor: Visitor) -> None:
        """Gives a visitor access to a file."""
        key = self._key(path, visitor.name)
        with self._lock:
            self._granted.remember(key, visitor.address, None)

    def share(self, values: object) -> None:
        """Gives everybody access to the files in values, as long as the page is served."""
        self._shared |= {self._key(path, EVERYBODY) for path in self._in_folder(values)}

    def grant_outputs(self, values: object, visitor: Visitor) -> int:
        """Gives a visitor access to the files in the outputs of an event. Returns the bytes of new files."""
        new_bytes, now = 0, time.time()
        for path in self._in_folder(values):
            self.grant(path, visitor)
            with suppress(OSError):
                seen = os.lstat(path)
                new_bytes += seen.st_size * (now - seen.st_mtime < NEW_SECONDS)
        return new_bytes

    def _in_folder(self, values: object) -> Iterator[Path]:
        for file in files_in([values]):
            if isinstance(file.get("path"), str) and is_below(path := Path(file["path"]), self.folder):
                yield path

    def _check(self, path: Path, visitor: Visitor, most_bytes: int | None = -1) -> None:
        is_granted = any(self._key(path, name) in self._granted for name in visitor.names)
        if not is_granted and self._key(path, EVERYBODY) not in self._shared:
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
        relative = os.path.relpath(os.path.realpath(path), self.folder)
        return hashlib.blake2b(f"{relative}\0{name}".encode("utf-8", "replace"), digest_size=16).digest()


def _written_as(path: str) -> Iterable[str]:
    """A path as it stands in a text, in a URL, and in JSON, which doubles the backslashes of Windows."""
    return dict.fromkeys([path, quote(path), json.dumps(path)[1:-1]])


def is_file(value: dict) -> bool:
    """Whether Gradio, or one of our handlers, would read an object as a file."""
    meta = value.get("meta")
    is_marked = isinstance(meta, dict) and meta.get("_type") == "gradio.FileData"
    return "path" in value or "url" in value or is_marked


def files_in(values: Iterable[object]) -> Iterator[dict]:
    """All objects in values that stand for files, at any depth."""
    stack = list(values)
    while stack:
        value = stack.pop()
        if isinstance(value, list | tuple):
            if not value or not isinstance(value[0], int | float):
                stack += value
        elif isinstance(value, dict):
            if is_file(value):
                yield value
            stack += value.values()


def without_files(value: object, depth: int = 0) -> object:
    """A copy of a value with None in place of each object that stands for a file.

    Raises MediaError if it is deeper than MAX_DEPTH.
    """
    check_depth(depth)
    if isinstance(value, list):
        return [without_files(item, depth + 1) for item in value]
    if isinstance(value, dict):
        if is_file(value):
            return None
        return {name: without_files(item, depth + 1) for name, item in value.items()}
    return value


def check_depth(depth: int) -> None:
    """Raises MediaError for a level of lists and objects that is deeper than MAX_DEPTH."""
    if depth > MAX_DEPTH:
        raise MediaError(f"what was sent is more than {MAX_DEPTH} levels deep; send lists of plain values")


def check_extent(value: object) -> None:
    """Raises MediaError for more than MOST_VALUES values or MOST_FILES files in a call."""
    stack, values, files = [value], 0, 0
    while stack:
        one = stack.pop()
        if not isinstance(one, list | dict):
            continue
        values += len(one)
        files += isinstance(one, dict) and is_file(one)
        if values > MOST_VALUES:
            raise MediaError(f"a call has more than {MOST_VALUES:,} values; send fewer at once")
        if files > MOST_FILES:
            raise MediaError(f"a call names more than {MOST_FILES:,} files; name fewer at once")
        stack += one.values() if isinstance(one, dict) else one


def _has_half_surrogate(name: str) -> bool:
    """Whether a text has half of a surrogate pair, which JSON can write, and no file can be named."""
    return any("\ud800" <= letter <= "\udfff" for letter in name)


def is_below(path: Path, folder: Path) -> bool:
    """Whether a path is inside a folder, after links in it are followed."""
    return folder in Path(os.path.realpath(path)).parents


def is_link(path: object) -> bool:
    """Whether a path begins with a scheme, such as http: or data:."""
    scheme, colon, _ = path.partition(":") if isinstance(path, str) else ("", "", "")
    return bool(colon) and scheme.strip().isalpha() and "/" not in scheme


def _is_other_file(url: object, path: object) -> bool:
    """Whether a URL is of another file than the path.

    URLs with blob: and data: are ignored, because browsers show files under them before they are uploaded.
    """
    if url is None or (isinstance(url, str) and url.startswith(("blob:", "data:"))):
        return False
    if not isinstance(url, str):
        return True
    _, served, named = url.partition("/file=")
    return not served or unquote(named) != path
