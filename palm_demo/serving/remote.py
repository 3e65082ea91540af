"""A session whose models are elsewhere: the page is given it in place of one of its own."""

import inspect
import threading
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import wraps
from operator import attrgetter
from pathlib import Path
from typing import ParamSpec, TypeVar
from weakref import WeakKeyDictionary

import ray
from PIL import Image
from ray.exceptions import RayError
from ray.serve.exceptions import RayServeException
from ray.serve.handle import DeploymentHandle

from palm_demo import checkpoints
from palm_demo.errors import CheckpointError, ClusterError
from palm_demo.gallery import MEMORY
from palm_demo.lora import Adapter
from palm_demo.media import Medium, open_image, open_medium
from palm_demo.serving.replica import Facts, Failed, Lent, Mark
from palm_demo.session import Session
from palm_demo.teaching import Progress

P = ParamSpec("P")
T = TypeVar("T")

PICTURES, MEDIA = ("image", "images"), ("medium", "media")
"""What verbs call arguments that can be files of this machine."""


def whole(verb: Callable[P, T]) -> Callable[P, T]:
    """The verb, answered by a replica."""

    @wraps(verb)
    def ask(self: "RemoteSession", *arguments, **settings):
        arguments, settings = self._sent(verb, arguments, settings)
        return self._ask("ask", verb.__name__, arguments, settings, of=self._nearest(arguments))

    return ask


def streamed(verb: Callable[P, T], stop: str = "cancelled") -> Callable[P, T]:
    """The same of a verb that gives its answer piece by piece. stop: what it calls the event that ends it."""

    @wraps(verb)
    def begin(self: "RemoteSession", *arguments, **settings):
        stopped = settings.pop(stop, None)
        items = self._stream(verb.__name__, stop, stopped, *self._sent(verb, arguments, settings))
        next(items)  # raises what is wrong with the arguments, now as the verb itself does
        return items

    return begin


class RemoteSession(Session):
    """A session for the page, whose verbs are answered by the replicas of a deployment.

    Files are opened here, where visitors' uploads lie, and decoded pictures go out. The gallery is here
    too: replicas only see what comes into it. A visitor's own scope is here and, once used, on a replica
    that further requests with it then go to. What is no verb (models, tokenizer, writers) is not here.

    Raises ClusterError where a replica goes away before it has answered; others take over.
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

    stream = streamed(Session.stream)
    bits_per_byte = whole(Session.bits_per_byte)
    who_wrote = whole(Session.who_wrote)
    token_probabilities = whole(Session.token_probabilities)
    stream_answer = streamed(Session.stream_answer)
    answers = whole(Session.answers)
    prompt_length = whole(Session.prompt_length)
    looked_at = whole(Session.looked_at)
    caption = whole(Session.caption)
    captions = whole(Session.captions)
    caption_alternatives = whole(Session.caption_alternatives)
    embed_images = whole(Session.embed_images)
    embed_texts = whole(Session.embed_texts)
    classify = whole(Session.classify)
    familiarity = whole(Session.familiarity)
    _teach = streamed(Session.teach, "stopped")

    def __init__(self, models: DeploymentHandle, gallery_place: str | Path = MEMORY):
        """models: of a deployment of Replica. gallery_place: as in `palm_demo.load`."""
        self._models = models
        self._lent: WeakKeyDictionary[Adapter, Lent] = WeakKeyDictionary()
        self._facts: Facts = self._ask("facts")
        self.gallery_place = gallery_place

    def close(self) -> None:
        """Nothing: replicas end with their deployment."""

    @wraps(Session.teach)
    def teach(self, *arguments, **settings) -> Iterator[Progress]:
        return _with_adapters(self._teach(*arguments, **settings))

    def save_adapter(self, adapter: Adapter, path: Path | str) -> None:
        """As `Session.save_adapter`, into a file of this machine."""
        content = self._ask("adapter_file", adapter)
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        Path(path).write_bytes(content)

    def load_adapter(self, path: Path | str, highest_rank: int = checkpoints.HIGHEST_RANK) -> Adapter:
        """As `Session.load_adapter`, from a file of this machine."""
        if not Path(path).is_file():
            raise CheckpointError(f"there is no weights file at {path}")
        return self._ask("adapter_of", Path(path).read_bytes(), str(path), highest_rank)

    def _ask(self, method: str, *given, of: DeploymentHandle | None = None) -> object:
        with _replicas_that_may_go():
            answer = getattr(of or self._models, method).remote(*given).result()
        if isinstance(answer, Failed):
            raise answer.error
        return answer

    def _stream(
        self, verb: str, stop: str, stopped: threading.Event | None, arguments: tuple, settings: dict
    ) -> Iterator[object]:
        """None when it has begun, then the items. A replica is told to stop at the next item, one that
        nobody reads any more at once."""
        key, told = uuid.uuid4().hex, False
        models = self._nearest(arguments).options(stream=True)
        with _replicas_that_may_go():
            items = models.stream.remote(verb, stop, key, arguments, settings)
            try:
                for item in items:
                    if isinstance(item, Failed):
                        raise item.error
                    if item is Mark.BEGUN:
                        yield None
                    elif item is not Mark.ALIVE:
                        yield item
                    if stopped is not None and stopped.is_set() and not told:
                        self._models.broadcast("stop", key).results(return_exceptions=True)
                        told = True
            except GeneratorExit:
                items.cancel()
                raise

    def _sent(self, verb: Callable, arguments: tuple, settings: dict) -> tuple[tuple, dict]:
        """Arguments as another machine can use them."""
        bound = inspect.signature(verb).bind(self, *arguments, **settings)
        for name, value in bound.arguments.items():
            if name in PICTURES:
                bound.arguments[name] = _opened(value, lambda file: open_image(file, self.media_limits))
            elif name in MEDIA:
                bound.arguments[name] = _opened(value, self._open_medium)
            elif isinstance(value, Adapter):
                bound.arguments[name] = self._lend(value)
        return bound.args[1:], bound.kwargs

    def _open_medium(self, file: str | Path) -> Medium:
        frames = open_medium(file, self._facts.frames, self.media_limits)
        return frames if len(frames) > 1 else frames[0]

    def _lend(self, adapter: Adapter) -> Lent:
        if adapter not in self._lent:
            self._lent[adapter] = Lent(uuid.uuid4().hex, ray.put(adapter))
        return self._lent[adapter]

    def _nearest(self, arguments: tuple) -> DeploymentHandle:
        """The replicas, the one that has the visitor's scope before the others."""
        scope = next((argument for argument in arguments if isinstance(argument, Lent)), None)
        return self._models.options(multiplexed_model_id=scope.id) if scope else self._models


def _opened(source: Medium | Sequence, open_file: Callable[[str | Path], Medium]) -> Medium | Sequence:
    """What is a file, or are files in a list of any depth, opened."""
    if isinstance(source, (str, Path)):
        return open_file(source)
    return source if isinstance(source, Image.Image) else [_opened(one, open_file) for one in source]


def _with_adapters(progress: Iterator[Progress]) -> Iterator[Progress]:
    """Each with the adapter that came last."""
    adapter = None
    for step in progress:
        adapter = step.adapter or adapter
        yield replace(step, adapter=adapter)


@contextmanager
def _replicas_that_may_go() -> Iterator[None]:
    try:
        yield
    except (RayError, RayServeException) as error:
        raise ClusterError(
            "the process that was answering went away before it was done; try again, another one takes over"
        ) from error
