"""Upload quotas: the files and bytes that one address may send, and that the page keeps in all."""

import os
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path

from python_multipart.multipart import parse_options_header
from starlette.formparsers import MultiPartException
from starlette.types import Message, Receive

from palm_demo.errors import BusyError, MediaError
from palm_demo.settings import Limits
from palm_demo.ui.boundary.requests import Refusal
from palm_demo.ui.boundary.timeouts import ClientTimeout
from palm_demo.ui.messages import as_sentence

WINDOW_SECONDS = 60
ADDRESSES = 10_000
"""The most addresses that are remembered. The oldest are forgotten first."""
SHARE_OF_ONE = 0.25
"""The largest share of the kept bytes that one address may have."""
KEPT_SECONDS = 2 * 3600
"""The longest time until Gradio deletes a file."""
LOOK_AGAIN_SECONDS = 5
"""Seconds between two measurements of the upload folder."""


class UploadQuotas:
    """Counts the uploads of each address within WINDOW_SECONDS, and the bytes in the upload folder.

    clock: returns the time in seconds.
    """

    def __init__(self, limits: Limits, folder: Path, clock: Callable[[], float] = time.monotonic):
        self.limits, self.folder, self.clock = limits, folder, clock
        # lists, not deques: most addresses have one entry, and an empty deque takes 600 bytes
        self._sent: dict[str, list[tuple[float, int, int]]] = {}
        self._made: OrderedDict[str, list[tuple[float, int]]] = OrderedDict()
        self._lock = threading.Lock()
        self._kept, self._looked = 0, float("-inf")

    def spend(self, address: str, files: int, size_bytes: int) -> None:
        """Counts files and bytes for an address. Raises BusyError if it has used up its quota."""
        now = self.clock()
        with self._lock:
            sent = self._sent.pop(address, [])
            self._sent[address] = sent  # the most recent address is last in the dict
            while len(self._sent) > ADDRESSES:
                del self._sent[next(iter(self._sent))]
            while sent and now - sent[0][0] > WINDOW_SECONDS:
                del sent[0]
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
            if sent and now - sent[-1][0] < 1:  # one entry per second, however many pieces come
                began, count, size = sent.pop()
                files, size_bytes = files + count, size_bytes + size
            sent.append((began, files, size_bytes))

    def keeps(self, address: str, size_bytes: int) -> None:
        """Counts bytes that are kept in the folder for an address, until the page deletes them."""
        now = self.clock()
        with self._lock:
            made = self._made.setdefault(address, [])
            self._made.move_to_end(address)
            while len(self._made) > ADDRESSES:
                self._made.popitem(last=False)
            if made and now - made[-1][0] < WINDOW_SECONDS:
                began, before = made.pop()
                made.append((began, before + size_bytes))
            else:
                made.append((now, size_bytes))

    def check_room(self, address: str) -> None:
        """Raises BusyError if no more bytes can be kept, for this address or for all together."""
        now = self.clock()
        with self._lock:
            made = self._made.get(address, [])
            while made and now - made[0][0] > KEPT_SECONDS:
                del made[0]
            own_mb = sum(size for _, size in made) / 1_000_000
            if own_mb > self.limits.uploads_kept_mb * SHARE_OF_ONE:
                raise BusyError(
                    f"the page keeps {own_mb:,.0f} MB of files that came from your address or were made for "
                    f"it, and {self.limits.uploads_kept_mb * SHARE_OF_ONE:,.0f} fit; try again later"
                )
            looks_again = now - self._looked > LOOK_AGAIN_SECONDS
            if looks_again:
                self._looked = now
        if looks_again:  # without the lock, which the event loop takes for each piece of an upload
            self._kept = _size_bytes(self.folder)
        kept_mb = self._kept / 1_000_000
        if kept_mb > self.limits.uploads_kept_mb:
            raise BusyError(
                f"the page keeps {kept_mb:,.0f} MB of files and {self.limits.uploads_kept_mb:g} fit; try "
                "again later"
            )


class CountedUpload:
    """Counts the files and bytes of an upload as it arrives. Only the boundaries of its form are parsed.

    content_type: the value of the request's header. Raises MediaError if it names no boundary.
    """

    def __init__(self, content_type: str, limits: Limits):
        kind, options = parse_options_header(content_type)
        if kind != b"multipart/form-data" or not options.get(b"boundary"):
            raise MediaError("an upload is a form with files in it (multipart/form-data); send one")
        self.limits = limits
        self._boundaries = self.size_bytes = 0
        self._begin, self._tail = b"--" + options[b"boundary"], b""

    def add(self, piece: bytes) -> int:
        """The number of files that end in a piece of the body. Raises MediaError if the body is too large."""
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


class CountedReceive:
    """The `receive` of an upload, which breaks the upload off if it passes a limit or is too slow.

    Gradio's parser deletes its temporary files only after an error of its own kind. That is raised here,
    and the visitor's answer is in the attribute `refusal`, which is None if all is well.
    """

    def __init__(self, receive: Receive, counted: CountedUpload, quotas: UploadQuotas, address: str):
        self._receive, self._counted, self._quotas, self._address = receive, counted, quotas, address
        self.refusal: Refusal | None = None

    async def __call__(self) -> Message:
        try:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                raise ClientTimeout("the client left")
            piece = message.get("body", b"")
            self._quotas.spend(self._address, self._counted.add(piece), len(piece))
        except BusyError as error:
            self.refusal = Refusal(429, as_sentence(error), {"Retry-After": str(WINDOW_SECONDS)})
        except MediaError as error:
            self.refusal = Refusal(413, as_sentence(error))
        except ClientTimeout:
            self.refusal = Refusal(408, "That took too long.")
        if self.refusal is not None:
            raise MultiPartException(self.refusal.message)
        return message


def _size_bytes(folder: Path) -> int:
    total = 0
    for where, _, names in os.walk(folder):
        for name in names:
            try:
                total += os.lstat(os.path.join(where, name)).st_size
            except OSError:
                continue
    return total
