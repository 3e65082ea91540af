"""A session whose models are in other processes. The page uses it like any other session.

Also the values that are sent between the processes: information about the session, results, and errors.
"""

import logging
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from functools import partial, wraps
from operator import attrgetter
from pathlib import Path
from typing import ParamSpec, TypeVar

from palm_demo.arguments import bind
from palm_demo.concurrency import FairQueue, in_turn, queued
from palm_demo.errors import PalmDemoError, places
from palm_demo.gallery import MEMORY
from palm_demo.inference.lora_finetuning import Progress
from palm_demo.inference.prompts import PromptForm
from palm_demo.media import DecodingBudget, MediaLimits, Medium, Picture, open_image, open_medium
from palm_demo.models.lora import Adapter, with_adapters
from palm_demo.session import READ_SIDE, EncodedImage, Session
from palm_demo.session.part import Part
from palm_demo.session.searching import KnownNames

P = ParamSpec("P")
T = TypeVar("T")

logger = logging.getLogger(__name__)

PICTURES, MEDIA = ("image", "images"), ("medium", "media")
"""Names of arguments that are pictures or videos, which may be files on this machine."""


@dataclass(frozen=True)
class SessionInfo:
    """What the page needs to know about a session, so that it need not ask each time."""

    about: dict[str, dict[str, str | int]]
    scopes: list[str]
    media_limits: MediaLimits
    bundled: bool
    flamingo: "FlamingoInfo"
    mammut: "MammutInfo"

    @classmethod
    def of(cls, session: Session) -> "SessionInfo":
        """The information about a session."""
        return cls(
            session.about,
            session.scopes,
            session.media_limits,
            session.bundled,
            _info_of(session.flamingo, FlamingoInfo),
            _info_of(session.mammut, MammutInfo),
        )


@dataclass(frozen=True)
class FlamingoInfo:
    """What the page needs to know about Flamingo. The attributes are those of FlamingoPart."""

    context: int
    form: PromptForm
    frames: int
    pictures_of_video: int | None


@dataclass(frozen=True)
class MammutInfo:
    """What the page needs to know about MaMMUT. The attributes are those of MammutPart."""

    fingerprint: str
    embedding_dim: int
    known_names: KnownNames | None


def _info_of(part: Part, info: type[T]) -> T:
    return info(**{field.name: getattr(part, field.name) for field in fields(info)})


@dataclass(frozen=True)
class Failed:
    """An error that is returned as a result.

    If it were raised in the other process, it would be wrapped, and its message, which may quote a visitor,
    would be logged there.
    """

    error: Exception


def failed(error: Exception) -> Failed:
    """Turns an error into a result. The place of an unforeseen one is logged, but not its message."""
    if isinstance(error, PalmDemoError):
        return Failed(error)
    logger.error("unforeseen %s\n%s", type(error).__name__, places(error))
    return Failed(RuntimeError(f"{type(error).__name__} where the models are; the log says where"))


def answered(function: Callable, *arguments, **settings) -> object:
    """The result of a function, or Failed."""
    try:
        return function(*arguments, **settings)
    except Exception as error:
        return failed(error)


def each_adapter_once(items: Iterable[object]) -> Iterator[object]:
    """Removes the adapter from each Progress if it is the same as before, because sending it takes long."""
    sent = None
    for item in items:
        if isinstance(item, Progress):
            adapter = item.adapter
            item, sent = (replace(item, adapter=None) if adapter is sent else item), adapter
        yield item


def unary(verb: Callable[P, T]) -> Callable[P, T]:
    """A verb that another process answers with one result."""

    @wraps(verb)
    def ask(self: "SessionProxy", *arguments, **settings):
        return self._ask(verb.__name__, *self._sendable(verb, arguments, settings))

    return ask


def streaming(verb: Callable[P, T]) -> Callable[P, T]:
    """A verb that another process answers item by item."""

    @wraps(verb)
    def begin(self: "SessionProxy", *arguments, **settings):
        cancelled = settings.pop("cancelled", None)
        return self._begin(verb.__name__, cancelled, *self._sendable(verb, arguments, settings))

    return begin


class MammutProxy:
    """The part of MaMMUT that a gallery needs to ingest and search pictures, answered by other processes."""

    def __init__(self, session: "SessionProxy"):
        info = session._info
        self.fingerprint, self.embedding_dim = info.mammut.fingerprint, info.mammut.embedding_dim
        self.known_names, self.media_limits = info.mammut.known_names, info.media_limits
        self.embed_images, self.embed_and_caption = session.embed_images, session.embed_and_caption


class SessionProxy(Session, ABC):
    """A session for the page, whose verbs other processes answer.

    Files are decoded in this process, which has the visitors' uploads, and pictures are sent. The gallery
    is in this process too, and pictures that are added to it are sent to be encoded. Models, tokenizers
    and engines are in the other processes.
    """

    about = property(attrgetter("_info.about"))
    scopes = property(attrgetter("_info.scopes"))
    media_limits = property(attrgetter("_info.media_limits"))
    bundled = property(attrgetter("_info.bundled"))
    flamingo = property(attrgetter("_info.flamingo"))

    stream = streaming(Session.stream)
    bits_per_byte = unary(Session.bits_per_byte)
    who_wrote = unary(Session.who_wrote)
    token_probabilities = unary(Session.token_probabilities)
    stream_answer = streaming(Session.stream_answer)
    answers = unary(Session.answers)
    prompt_length = unary(Session.prompt_length)
    attention_maps = unary(Session.attention_maps)
    encode_image = unary(Session.encode_image)
    caption = unary(Session.caption)
    captions = unary(Session.captions)
    caption_alternatives = unary(Session.caption_alternatives)
    describe = unary(Session.describe)
    embed_images = unary(Session.embed_images)
    embed_and_caption = unary(Session.embed_and_caption)
    embed_texts = unary(Session.embed_texts)
    classify = unary(Session.classify)
    similarity = unary(Session.similarity)
    ood_score = unary(Session.ood_score)
    _finetune = streaming(Session.finetune)

    def __init__(self, info: SessionInfo, gallery_place: str | Path = MEMORY):
        """
        Args:
            info: about the session that answers.
            gallery_place: as in `palm_demo.load`.
        """
        self._info, self.gallery_place = info, gallery_place
        self.turns = FairQueue()  # for decoding and drawing in this process
        self.mammut = MammutProxy(self)

    @abstractmethod
    def _ask(self, verb: str, arguments: tuple, settings: dict) -> object:
        """The result of a verb. Raises what the verb raises."""

    @abstractmethod
    def _begin(
        self, verb: str, cancelled: threading.Event | None, arguments: tuple, settings: dict
    ) -> Iterator[object]:
        """The items of a verb until `cancelled` is set.

        Raises at once what the verb raises at once. A Progress may lack an adapter that came before.
        """

    def _ref(self, adapter: Adapter) -> object:
        """What is sent in place of a user adapter."""
        return adapter

    def close(self, grace_seconds: float = 0.0) -> None:
        """Does nothing, because the other processes end by themselves."""

    @wraps(Session.finetune)
    def finetune(self, *arguments, **settings) -> Iterator[Progress]:
        return _restore_adapters(self._finetune(*arguments, **settings))

    @queued
    def _sendable(self, verb: Callable, arguments: tuple, settings: dict) -> tuple[tuple, dict]:
        """The arguments of a verb in a form that another process can use."""
        bound = bind(verb, (self, *arguments), settings)
        for name, value in bound.arguments.items():
            if isinstance(value, EncodedImage):
                continue
            if name in PICTURES:
                bound.arguments[name] = _decoded(value, self._decode_picture)
            elif name in MEDIA:
                budget = DecodingBudget(self.media_limits)
                bound.arguments[name] = _decoded(value, partial(self._decode_medium, budget=budget))
            elif isinstance(value, (Adapter, dict)):
                bound.arguments[name] = with_adapters(value, self._ref)
        return bound.args[1:], bound.kwargs

    @queued
    def opened(self, media: Sequence[Medium]) -> list[Medium]:
        budget = DecodingBudget(self.media_limits)
        return [self._decode_medium(medium, budget) for medium in media]

    @queued
    def opened_image(self, image: Picture) -> Picture:
        return self._decode_picture(image)

    def _decode_picture(self, source: Picture) -> Picture:
        with in_turn():
            return open_image(source, self.media_limits, READ_SIDE)

    def _decode_medium(self, source: Medium, budget: DecodingBudget) -> Medium:
        with in_turn():
            frames = open_medium(source, self.flamingo.frames, self.media_limits, budget, READ_SIDE)
        return frames if len(frames) > 1 else frames[0]


def _decoded(source: Medium | Sequence, open_one: Callable[[Medium], Medium]) -> Medium | Sequence:
    """A decoded picture or video, or a list of any depth with all of them decoded."""
    if isinstance(source, (list, tuple)):
        return [_decoded(one, open_one) for one in source]
    return open_one(source)


def _restore_adapters(progress: Iterator[Progress]) -> Iterator[Progress]:
    """Gives each Progress without an adapter the one that came last."""
    adapter = None
    for step in progress:
        adapter = step.adapter or adapter
        yield replace(step, adapter=adapter)
