"""What one address may send, and how much the page keeps of all: files and bytes, counted as they come."""

import os
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable
from pathlib import Path

from python_multipart.multipart import parse_options_header

from palm_demo.errors import BusyError, MediaError
from palm_demo.settings import Limits

WINDOW_SECONDS = 60
ADDRESSES = 10_000
"""Remembered at once; the oldest go first."""
SHARE_OF_ONE = 0.25
"""Of the bytes that the page keeps, those of one address."""
KEPT_SECONDS = 2 * 3600
"""After which a file is deleted at the latest."""
LOOK_AGAIN_SECONDS = 5
"""Between two looks at how much the upload folder holds."""


class UploadQuotas:
    """Counts what each address uploads within a minute, and what lies in the folder."""

    def __init__(self, limits: Limits, folder: Path, clock: Callable[[], float] = time.monotonic):
        self.limits, self.folder, self.clock = limits, folder, clock
        self._sent: dict[str, deque[tuple[float, int, int]]] = {}
        self._made: OrderedDict[str, deque[tuple[float, int]]] = OrderedDict()
        self._lock = threading.Lock()
        self._kept, self._looked = 0, float("-inf")

    def spend(self, address: str, files: int, size_bytes: int) -> None:
        """Counts files and bytes to an address. Raises BusyError when that is more than its share."""
        now = self.clock()
        with self._lock:
            sent = self._sent.pop(address, deque())
            self._sent[address] = sent  # last in the dict: the latest
            while len(self._sent) > ADDRESSES:
                del self._sent[next(iter(self._sent))]
            while sent and now - sent[0][0] > WINDOW_SECONDS:
                sent.popleft()
            spent_files = files + sum(count for _, count, _ in sent)
            spent_bytes = size_bytes + sum(size for *_, size in sent)
            if spent_files > self.limits.uploads_per_minute:
                raise BusyError(
                    f"more than {self.limits.uploads_per_minute} uploads in a minute; wait a moment"
                )
            if spent_bytes > self.limits.upload_mb_per_minute * 1_000_000:
                raise BusyError(
                    f"more than {self.limits.upload_mb_per_minute:g} MB of uploads in a minute; wait a moment"
                )
            began = now
            if sent and now - sent[-1][0] < 1:  # a second is one entry, however many pieces come in it
                began, count, size = sent.pop()
                files, size_bytes = files + count, size_bytes + size
            sent.append((began, files, size_bytes))

    def keeps(self, address: str, size_bytes: int) -> None:
        """Counts what lies in the folder because of an address, until the page deletes it."""
        now = self.clock()
        with self._lock:
            made = self._made.setdefault(address, deque())
            self._made.move_to_end(address)
            while len(self._made) > ADDRESSES:
                self._made.popitem(last=False)
            if made and now - made[-1][0] < WINDOW_SECONDS:
                began, before = made.pop()
                made.append((began, before + size_bytes))
            else:
                made.append((now, size_bytes))

    def check_room(self, address: str) -> None:
        """Raises BusyError while the page keeps as many bytes of uploads and pictures as it can, of all or of
        this address."""
        now = self.clock()
        with self._lock:
            made = self._made.get(address, deque())
            while made and now - made[0][0] > KEPT_SECONDS:
                made.popleft()
            own_mb = sum(size for _, size in made) / 1_000_000
            if own_mb > self.limits.uploads_kept_mb * SHARE_OF_ONE:
                raise BusyError(
                    f"the page keeps {own_mb:,.0f} MB of files that came from your address or were made for "
                    f"it, and {self.limits.uploads_kept_mb * SHARE_OF_ONE:,.0f} fit; try again later"
                )
            if now - self._looked > LOOK_AGAIN_SECONDS:
                self._kept, self._looked = _size_bytes(self.folder), now
            kept_mb = self._kept / 1_000_000
        if kept_mb > self.limits.uploads_kept_mb:
            raise BusyError(
                f"the page keeps {kept_mb:,.0f} MB of files and {self.limits.uploads_kept_mb:g} fit; try "
                "again later"
            )


class CountedUpload:
    """The files and bytes of one upload while it comes, from which nothing is parsed but where parts begin.

    Raises MediaError for a body that has no boundary or is too large.
    """

    def __init__(self, content_type: str, limits: Limits):
        kind, options = parse_options_header(content_type)
        if kind != b"multipart/form-data" or not options.get(b"boundary"):
            raise MediaError("an upload is a form with files in it (multipart/form-data); send one")
        self.limits = limits
        self._boundaries = self.size_bytes = 0
        self._begin, self._tail = b"--" + options[b"boundary"], b""

    def add(self, piece: bytes) -> int:
        """How many parts end in a piece, by the boundary after each."""
        self.size_bytes += len(piece)
        most_bytes = self.limits.media * self.limits.upload_bytes
        if self.size_bytes > most_bytes:
            raise MediaError(
                f"the files of one upload are more than {most_bytes:,} bytes together; send them one by one"
            )
        text = self._tail + piece
        begun = text.count(self._begin)
        last = text.rfind(self._begin)
        rest = text if last < 0 else text[last + len(self._begin) :]
        self._tail = rest[-(len(self._begin) - 1) :]
        ended = max(self._boundaries + begun - 1, 0) - max(self._boundaries - 1, 0)
        self._boundaries += begun
        return ended


def _size_bytes(folder: Path) -> int:
    total = 0
    for where, _, names in os.walk(folder):
        for name in names:
            try:
                total += os.lstat(os.path.join(where, name)).st_size
            except OSError:
                continue
    return total
