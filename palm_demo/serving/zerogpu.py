"""A session on ZeroGPU. Its verbs run in workers, which are processes forked from this one with a GPU each.

This process keeps the weights in its memory and never uses CUDA. A forked worker has them too, moves them
to its GPU for its first request, and may get more requests. The documentation of ZeroGPU asks for models on
"cuda" before the page is built. That is not needed here, and other threads could not read such tensors,
because `spaces` emulates CUDA in the main thread alone. Weights are not packed, and
nothing is compiled.

The tests have only a CPU. CUDA in a worker, the time until a worker is ready, and the counting of quotas can
be tried only in a Space.
"""

import logging
import mmap
import os
import pickle
import threading
import warnings
import weakref
from collections.abc import Callable, Iterator
from contextvars import copy_context
from copy import deepcopy
from dataclasses import dataclass, replace
from functools import partial, wraps
from queue import Empty, SimpleQueue
from typing import ParamSpec, TypeVar

import gradio as gr
import spaces
from torch import Tensor

from palm_demo.errors import GpuError, places
from palm_demo.inference.lora_finetuning import Progress
from palm_demo.inference.settings import FinetuningConfig
from palm_demo.models.lora import Adapter, with_adapters
from palm_demo.serving.session_proxy import Failed, SessionInfo, SessionProxy, each_adapter_once, failed
from palm_demo.serving.zerogpu_quota import longest_finetuning, seconds_for
from palm_demo.session import Session

P = ParamSpec("P")
T = TypeVar("T")

logger = logging.getLogger(__name__)

REQUESTS = mmap.PAGESIZE
"""The most requests at once. Each has a byte of shared memory for its SharedEvent."""

POLL_SECONDS = 0.1
"""Seconds between two checks of `cancelled` while there is no item."""

WORKER_GONE = "ZeroGPU worker error"
"""The title of the error that `spaces` raises when a worker has ended."""

BEGUN, ENDED = object(), object()
"""The first and the last item of a worker."""


class SharedEvent(threading.Event):
    """An event that this process sets and a worker reads, in shared memory.

    Args:
        shared: the memory.
        place: the index of the event's byte.
    """

    def __init__(self, shared: mmap.mmap, place: int):
        super().__init__()
        self.shared, self.place = shared, place

    def set(self) -> None:
        self.shared[self.place] = 1

    def clear(self) -> None:
        self.shared[self.place] = 0

    def is_set(self) -> bool:
        return self.shared[self.place] == 1


@dataclass(frozen=True)
class Request:
    """A request to a worker.

    Attributes:
        verb: the name of a verb of Session.
        arguments, settings: its positional and keyword arguments.
        streams: whether it yields items; otherwise it returns one result.
    """

    verb: str
    arguments: tuple
    settings: dict
    streams: bool = False


def here(verb: Callable[P, T]) -> Callable[P, T]:
    """Decorates a verb that this process answers, without a GPU and a visitor's quota."""

    @wraps(verb)
    def answer(self: "ZeroSession", *arguments, **settings):
        with self._computing:
            return verb(self._session, *arguments, **settings)

    return answer


class ZeroSession(SessionProxy):
    """A session whose verbs are answered by workers with a GPU, from a session in this process.

    Each request has a worker for itself, so visitors wait in ZeroGPU's queue and texts are not batched.
    All verbs use one GPU function, because each GPU function has its own workers. Quick verbs run in this
    process: prompt lengths, files, and the OOD score, which only the small bundled tower has. The pictures
    of a new gallery are encoded in this process too, because there are no visitors with quotas yet.

    Verbs raise GpuError if there is no GPU, or if it is taken back.
    """

    gallery = property(here(lambda session: session.gallery))
    prompt_length = here(Session.prompt_length)
    ood_score = here(Session.ood_score)
    save_adapter = here(Session.save_adapter)
    load_adapter = here(Session.load_adapter)

    def __init__(self, session: Session, device: str = "cuda"):
        """Must be called before the page is launched, when `spaces` reports GPU functions to ZeroGPU.

        Args:
            session: with its weights on the CPU.
            device: where workers move the weights.
        """
        super().__init__(SessionInfo.of(session), session.gallery_place)
        self._session, self._device, self._moved = session, device, False
        self._weights_bytes = sum(weight.nbytes for weight in _weights(session))
        self._shared, self._free = mmap.mmap(-1, REQUESTS), SimpleQueue()
        for place in range(REQUESTS):
            self._free.put(place)
        self._on_gpu = spaces.GPU(duration=_duration)(self._work)
        # workers do not use the gallery
        warnings.filterwarnings("ignore", "lancedb fork support", RuntimeWarning)
        # torch has locks, and one that a thread holds during a fork would stay locked in the worker
        self._computing = computing = threading.Lock()
        os.register_at_fork(
            before=computing.acquire, after_in_parent=computing.release, after_in_child=computing.release
        )

    def finetune(self, text: str, **settings) -> Iterator[Progress]:
        """Fine-tunes a scope, see `Session.finetune`, for as long as the GPU may be used at most."""
        longest = longest_finetuning(self._weights_bytes)
        settings["seconds"] = min(settings.get("seconds", FinetuningConfig.seconds), longest)
        return _check_started(super().finetune(text, **settings))

    def _ask(self, verb: str, arguments: tuple, settings: dict) -> object:
        (answer,) = self._items_of(Request(verb, arguments, settings))
        return answer

    def _begin(
        self, verb: str, cancelled: threading.Event | None, arguments: tuple, settings: dict
    ) -> Iterator[object]:
        with self._computing:  # only checks the arguments, because nothing is computed before the first item
            getattr(self._session, verb)(*arguments, **settings)
        return self._items_of(Request(verb, arguments, settings, streams=True), cancelled)

    def _items_of(self, request: Request, cancelled: threading.Event | None = None) -> Iterator[object]:
        """The items of a worker.

        Once a worker has begun, cancelling or closing this iterator waits until the worker has finished.
        """
        verb, given = getattr(Session, request.verb), (request.arguments, request.settings)
        worker = partial(
            self._on_gpu, pickle.dumps(request), seconds=seconds_for(verb, *given, self._weights_bytes)
        )
        # ZeroGPU finds the visitor, whose quota counts, in the context; other threads may read the items
        return self._read(partial(copy_context().run, self._pump, worker), cancelled or threading.Event())

    def _read(
        self, pump: Callable[[SharedEvent, SimpleQueue], None], cancelled: threading.Event
    ) -> Iterator[object]:
        items, stop_event = SimpleQueue(), self._stop_event()
        pumping = threading.Thread(target=pump, args=(stop_event, items), daemon=True)
        pumping.start()
        item = None
        try:
            while item is not ENDED:
                if cancelled.is_set():
                    stop_event.set()
                    if item is None:
                        return
                try:
                    item = items.get(timeout=POLL_SECONDS)
                except Empty:
                    continue
                if isinstance(item, Failed):
                    raise item.error
                if item is not BEGUN and item is not ENDED:
                    yield item
        finally:
            stop_event.set()
            if item is not None:
                pumping.join()

    def _stop_event(self) -> SharedEvent:
        """An event that no other request uses until its reader and its pump have both deleted it."""
        stop_event = SharedEvent(self._shared, self._free.get())
        weakref.finalize(stop_event, self._free.put, stop_event.place)
        stop_event.clear()
        return stop_event

    def _pump(
        self, worker: Callable[..., Iterator[bytes]], stop_event: SharedEvent, items: SimpleQueue
    ) -> None:
        """Reads all items of a worker into a queue, even if nobody wants them any more.

        The worker must have finished before `spaces` gives it to another visitor.
        """
        try:
            for item in worker(place=stop_event.place):
                items.put(pickle.loads(item) if item else BEGUN)
        except gr.Error as error:
            items.put(Failed(_refused(error)))
        except Exception as error:
            logger.error("unforeseen %s\n%s", type(error).__name__, places(error))
            items.put(Failed(GpuError("ZeroGPU cannot be reached; try again in a moment")))
        finally:
            items.put(ENDED)

    def _work(self, request: bytes, place: int, seconds: int) -> Iterator[bytes]:
        """Yields the pickled items of a verb. Runs in a worker.

        Tensors are pickled here, because torch would send them as shared memory, which ends with the worker.
        """
        yield b""
        try:
            for item in self._items(pickle.loads(request), SharedEvent(self._shared, place)):
                yield pickle.dumps(item)
        except Exception as error:
            yield pickle.dumps(failed(error))

    def _items(self, request: Request, stop_event: SharedEvent) -> Iterator[object]:
        self._move_weights()
        verb = getattr(self._session, request.verb)
        given = [with_adapters(one, self._to_device) for one in request.arguments]
        if not request.streams:
            yield verb(*given, **request.settings)
            return
        for item in each_adapter_once(verb(*given, **request.settings, cancelled=stop_event)):
            if isinstance(item, Progress) and item.adapter is not None:
                item = replace(item, adapter=deepcopy(item.adapter).cpu())
            yield item

    def _to_device(self, adapter: Adapter) -> Adapter:
        return adapter.to(self._device)

    def _move_weights(self) -> None:
        """Moves the weights to the worker's GPU, if that has not been done."""
        if not self._moved:
            for part in self._session.parts.values():
                part.model.to(self._device)
            self._moved = True


def _duration(request: bytes, place: int, seconds: int) -> int:
    return seconds


def _weights(session: Session) -> list[Tensor]:
    """The weights of all models, without repeats."""
    models = [part.model for part in session.parts.values()]
    return [*{id(weight): weight for model in models for weight in model.parameters()}.values()]


def _check_started(progress: Iterator[Progress]) -> Iterator[Progress]:
    """The steps of a fine-tuning. Raises GpuError if it was stopped before the first, in ZeroGPU's queue."""
    none_yet = True
    for step in progress:
        none_yet = False
        yield step
    if none_yet:
        raise GpuError("the fine-tuning was stopped before a GPU was there; start it again, and wait for one")


def _refused(error: gr.Error) -> GpuError:
    """The error for a message of `spaces`: a full queue, a used-up quota, or a worker that has ended."""
    reason = f"{error.title}: {error.message!s}".strip(" .")
    if error.title == WORKER_GONE:
        return GpuError(
            f"the GPU was taken back before the answer was there ({reason}); ask for less, or try again"
        )
    return GpuError(f"there is no GPU for this now ({reason}); try again later")
