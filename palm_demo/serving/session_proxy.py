"""A session whose models are in other processes: the page is given it in place of one of its own."""

import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial, wraps
from operator import attrgetter
from pathlib import Path
from typing import ParamSpec, TypeVar

from palm_demo.arguments import bind
from palm_demo.gallery import MEMORY
from palm_demo.inference.lora_finetuning import Progress
from palm_demo.media import DecodingBudget, Medium, Picture, open_image, open_medium
from palm_demo.models.lora import Adapter, with_adapters
from palm_demo.serving.answering import SessionInfo
from palm_demo.session import READ_SIDE, SeenPicture, Session

P = ParamSpec("P")
T = TypeVar("T")

PICTURES, MEDIA = ("image", "images"), ("medium", "media")
"""What verbs call arguments that are pictures or videos, files of this machine among them."""


def unary(verb: Callable[P, T]) -> Callable[P, T]:
    """The verb, answered elsewhere."""

    @wraps(verb)
    def ask(self: "SessionProxy", *arguments, **settings):
        return self._ask(verb.__name__, *self._sent(verb, arguments, settings))

    return ask


def streaming(verb: Callable[P, T], stop: str = "cancelled") -> Callable[P, T]:
    """The same of a verb that gives its answer piece by piece. stop: what it calls the event that ends it."""

    @wraps(verb)
    def begin(self: "SessionProxy", *arguments, **settings):
        cancelled = settings.pop(stop, None)
        return self._begin(verb.__name__, stop, cancelled, *self._sent(verb, arguments, settings))

    return begin


class SessionProxy(Session, ABC):
    """A session for the page, whose verbs are answered in other processes.

    Files are opened here, where visitors' uploads lie, and decoded pictures go out. The gallery is here
    too: the others only see what comes into it. What is no verb (models, tokenizer, writers) is not here.
    """

    about = property(attrgetter("_facts.about"))
    scopes = property(attrgetter("_facts.scopes"))
    context = property(attrgetter("_facts.context"))
    dim_latents = property(attrgetter("_facts.dim_latents"))
    fingerprint = property(attrgetter("_facts.fingerprint"))
    media_limits = property(attrgetter("_facts.media_limits"))
    bundled = property(attrgetter("_facts.bundled"))
    form = property(attrgetter("_facts.form"))
    pictures_of_video = property(attrgetter("_facts.pictures_of_video"))

    stream = streaming(Session.stream)
    bits_per_byte = unary(Session.bits_per_byte)
    who_wrote = unary(Session.who_wrote)
    token_probabilities = unary(Session.token_probabilities)
    stream_answer = streaming(Session.stream_answer)
    answers = unary(Session.answers)
    prompt_length = unary(Session.prompt_length)
    looked_at = unary(Session.looked_at)
    see = unary(Session.see)
    caption = unary(Session.caption)
    captions = unary(Session.captions)
    caption_alternatives = unary(Session.caption_alternatives)
    embed_images = unary(Session.embed_images)
    embed_and_caption = unary(Session.embed_and_caption)
    embed_texts = unary(Session.embed_texts)
    classify = unary(Session.classify)
    familiarity = unary(Session.familiarity)
    _teach = streaming(Session.finetune, "cancelled")

    def __init__(self, facts: SessionInfo, gallery_place: str | Path = MEMORY):
        """gallery_place: as in `palm_demo.load`."""
        self._facts, self.gallery_place = facts, gallery_place

    @abstractmethod
    def _ask(self, verb: str, arguments: tuple, settings: dict) -> object:
        """The answer of a verb. Raises what the verb does."""

    @abstractmethod
    def _begin(
        self, verb: str, stop: str, cancelled: threading.Event | None, arguments: tuple, settings: dict
    ) -> Iterator[object]:
        """The items of a verb until `cancelled`, which it calls `stop`, is set. Raises at once what the verb
        raises at once. Of Progress each adapter may come once."""

    def _lend(self, adapter: Adapter) -> object:
        """A visitor's own scope as it is sent."""
        return adapter

    def close(self, grace_seconds: float = 0.0) -> None:
        """Nothing: the other processes end by themselves."""

    @wraps(Session.finetune)
    def finetune(self, *arguments, **settings) -> Iterator[Progress]:
        return _with_adapters(self._teach(*arguments, **settings))

    def _sent(self, verb: Callable, arguments: tuple, settings: dict) -> tuple[tuple, dict]:
        """Arguments as another process can use them."""
        bound = bind(verb, (self, *arguments), settings)
        for name, value in bound.arguments.items():
            if isinstance(value, SeenPicture):
                continue
            if name in PICTURES:
                bound.arguments[name] = _opened(value, self._open_picture)
            elif name in MEDIA:
                budget = DecodingBudget(self.media_limits)
                bound.arguments[name] = _opened(value, partial(self._open_medium, budget=budget))
            elif isinstance(value, (Adapter, dict)):
                bound.arguments[name] = with_adapters(value, self._lend)
        return bound.args[1:], bound.kwargs

    def opened(self, media: Sequence[Medium]) -> list[Medium]:
        budget = DecodingBudget(self.media_limits)
        return [self._open_medium(medium, budget) for medium in media]

    def _open_picture(self, source: Picture) -> Picture:
        return open_image(source, self.media_limits, READ_SIDE)

    def _open_medium(self, source: Medium, budget: DecodingBudget | None = None) -> Medium:
        frames = open_medium(source, self._facts.frames, self.media_limits, budget, READ_SIDE)
        return frames if len(frames) > 1 else frames[0]


def _opened(source: Medium | Sequence, open_one: Callable[[Medium], Medium]) -> Medium | Sequence:
    """A picture or video, or all in a list of any depth, decoded."""
    if isinstance(source, (list, tuple)):
        return [_opened(one, open_one) for one in source]
    return open_one(source)


def _with_adapters(progress: Iterator[Progress]) -> Iterator[Progress]:
    """Each with the adapter that came last."""
    adapter = None
    for step in progress:
        adapter = step.adapter or adapter
        yield replace(step, adapter=adapter)
