"""Media that visitors ask about: decoded, and made ready for the chat, once for all of their questions."""

import hashlib
import os
import threading
from collections.abc import Hashable, Sequence
from contextvars import Context
from dataclasses import dataclass
from pathlib import Path
from weakref import WeakValueDictionary

import gradio as gr

from palm_demo.errors import MediaError
from palm_demo.internals.gradio_files import ComponentMessage, check_room, upload_folder
from palm_demo.kept import Kept
from palm_demo.media import Medium, as_shown
from palm_demo.session import Session

KEPT_BYTES = 96_000_000
"""The size of all visitors' decoded media together."""
ENTRY_BYTES = 16_000
"""What a medium takes beside its pixels, so that small ones are limited in number too."""


@dataclass(eq=False)
class AskedMedium:
    """A file of a visitor, decoded.

    Attributes:
        path: of the file.
        decoded: the result of `Session.opened`.
    """

    path: str
    decoded: Medium
    _part: ComponentMessage | None = None

    def shown(self, name: str) -> ComponentMessage:
        """The medium as a component in Chatbot messages, made once. Formats that browsers cannot show are
        converted. name: of the medium."""
        part = self._part
        if part is None or not Path(part.value["path"]).is_file():
            # within an event, Gradio would only store a component's arguments and not process its value
            part = self._part = Context().run(_as_part, self.path, self.decoded)
        names = {"label": name} | ({"alt_text": name} if part.component == "image" else {})
        settings, props = part.constructor_args | names, part.props | names
        return part.model_copy(update={"constructor_args": settings, "props": props})

    @property
    def size_bytes(self) -> int:
        """What it takes in memory."""
        frames = self.decoded if isinstance(self.decoded, list) else [self.decoded]
        return ENTRY_BYTES + sum(3 * frame.width * frame.height for frame in frames)


def _as_part(path: str, decoded: Medium) -> ComponentMessage:
    frames = decoded if isinstance(decoded, list) else [decoded]
    check_room()
    # Gradio puts a hash of the content into an upload's path, so each file is converted once
    copies = upload_folder() / f"shown-{hashlib.sha256(path.encode()).hexdigest()[:32]}"
    file = as_shown(path, copies, decoded=frames)
    component = (
        gr.Video(str(file), buttons=[], render=False)
        if file.suffix.lower() in (".mp4", ".webm")
        else gr.Image(str(file), buttons=[], render=False)
    )
    config = component.get_config()
    settings = {key: value for key, value in component.constructor_args.items() if key != "value"}
    return ComponentMessage(
        component=component.get_block_name(), value=config["value"], constructor_args=settings, props=config
    )


class AskedMedia:
    """A cache of media. Each belongs to the visitor (session hash) who asked; to others it is not there."""

    def __init__(self, session: Session):
        """session: decodes."""
        self.session = session
        self._kept: Kept[AskedMedium] = Kept(KEPT_BYTES)
        self._locks: WeakValueDictionary[str, threading.Lock] = WeakValueDictionary()
        self._guard = threading.Lock()

    def of(self, visitor: str, files: Sequence[str | Path]) -> list[AskedMedium]:
        """A visitor's media, of which only those that are not in the cache are decoded, as one request.

        Of two calls for one visitor the second waits for what the first decodes. Raises MediaError for the
        first that cannot be read.
        """
        keys = [_key(visitor, str(path)) for path in files]
        with self._lock_of(visitor):
            media = {key: self._kept.get(key) for key in keys}
            new = {key: str(path) for key, path in zip(keys, files, strict=True) if media[key] is None}
            if new:
                opened = self.session.opened([*new.values()])
                for (key, path), decoded in zip(new.items(), opened, strict=True):
                    media[key] = AskedMedium(path, decoded)
                    self._kept.put(key, media[key], media[key].size_bytes)
        return [media[key] for key in keys]

    def can_read(self, visitor: str, file: str | Path) -> bool:
        """Whether a visitor's medium can be read."""
        try:
            self.of(visitor, [file])
        except MediaError:
            return False
        return True

    def leave(self, visitor: str) -> None:
        """Removes the media of a visitor who has left."""
        with self._lock_of(visitor):  # what is being decoded for them goes too
            self._kept.forget(lambda key: key[0] == visitor)

    def _lock_of(self, visitor: str) -> threading.Lock:
        with self._guard:
            return self._locks.setdefault(visitor, threading.Lock())


def _key(visitor: str, path: str) -> tuple[Hashable, ...]:
    """A key that changes with the file. What is wrong with a file that cannot be found is told when it is
    opened."""
    try:
        file = os.stat(path)
    except (OSError, ValueError):
        return visitor, path, None
    return visitor, path, (file.st_ino, file.st_size, file.st_mtime_ns)
