"""A session on ZeroGPU, whose verbs run in processes forked from this one, each with a GPU while it
answers.

This process has the weights in its own memory and never uses CUDA. A worker finds them there, moves
them to its GPU with its first request, and may get further ones. The documentation of ZeroGPU asks for
models on "cuda" before the page is built; that is not needed here, and would put these tensors' values
into the main thread alone (`spaces` emulates them there). Weights need not be packed when the page is
launched. Nothing is compiled.

Some things only a Space can show, as the tests have just the CPU: CUDA in a worker, how long a worker
takes to get ready, and how the quotas count.
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
"""The most requests at once."""

LOOK_SECONDS = 0.1
"""How often to check whether the visitor has stopped, while nothing comes."""

WORKER_GONE = "ZeroGPU worker error"
"""The title that `spaces` gives to the end of a worker."""

BEGUN, ENDED = object(), object()
"""Mark the beginning and the end of a worker's items."""


class SharedEvent(threading.Event):
    """An event that this process sets and a worker sees: one byte of shared memory."""

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
        streams: whether the verb yields items, or returns one result.
    """

    verb: str
    arguments: tuple
    settings: dict
    streams: bool = False


def here(verb: Callable[P, T]) -> Callable[P, T]:
    """A verb that this process answers, without a GPU and without a visitor's quota."""

    @wraps(verb)
    def answer(self: "ZeroSession", *arguments, **settings):
        with self._computing:
            return verb(self._session, *arguments, **settings)

    return answer


class ZeroSession(SessionProxy):
    """A session around one of this process, whose verbs are answered by workers with a GPU.

    Each request has a worker to itself: visitors wait in ZeroGPU's queue, not in a batch's. All verbs
    share one function with a GPU, because each function has workers of its own. Quick verbs are
    answered here: lengths, files, and the OOD score, which only the small bundled tower has. So are
    the pictures of a new gallery, which the page needs before it has visitors with quotas.

    Raises GpuError if there is no GPU, or it is taken back.
    """

    gallery = property(here(lambda session: session.gallery))
    prompt_length = here(Session.prompt_length)
    ood_score = here(Session.ood_score)
    save_adapter = here(Session.save_adapter)
    load_adapter = here(Session.load_adapter)

    def __init__(self, session: Session, device: str = "cuda"):
        """Makes the session. Do it before the page is launched, when `spaces` tells ZeroGPU about GPU
        functions.

        session: with its weights on the CPU. device: what workers move them to.
        """
        super().__init__(SessionInfo.of(session), session.gallery_place)
        self._session, self._device, self._moved = session, device, False
        self._weights_bytes = sum(weight.nbytes for weight in _weights(session))
        self._shared, self._free = mmap.mmap(-1, REQUESTS), SimpleQueue()
        for place in range(REQUESTS):
            self._free.put(place)
        self._lent_to = spaces.GPU(duration=_asked_for)(self._work)
        warnings.filterwarnings("ignore", "lancedb fork support", RuntimeWarning)  # no worker has the gallery
        # a lock that some thread has while a process is forked stays locked there, and torch has several
        self._computing = computing = threading.Lock()
        os.register_at_fork(
            before=computing.acquire, after_in_parent=computing.release, after_in_child=computing.release
        )

    def finetune(self, text: str, **settings) -> Iterator[Progress]:
        """Fine-tunes a scope, see `Session.finetune`. It ends before the GPU has to go back."""
        longest = longest_finetuning(self._weights_bytes)
        settings["seconds"] = min(settings.get("seconds", FinetuningConfig.seconds), longest)
        return _check_started(super().finetune(text, **settings))

    def _ask(self, verb: str, arguments: tuple, settings: dict) -> object:
        (answer,) = self._items_of(Request(verb, arguments, settings))
        return answer

    def _begin(
        self, verb: str, cancelled: threading.Event | None, arguments: tuple, settings: dict
    ) -> Iterator[object]:
        with self._computing:  # raises what is wrong; nothing is written before the first item is asked for
            getattr(self._session, verb)(*arguments, **settings)
        return self._items_of(Request(verb, arguments, settings, streams=True), cancelled)

    def _items_of(self, request: Request, cancelled: threading.Event | None = None) -> Iterator[object]:
        """The items of a worker.

        Whoever stops or closes it waits until the worker has finished, but not in ZeroGPU's queue.
        """
        verb, given = getattr(Session, request.verb), (request.arguments, request.settings)
        borrow = partial(
            self._lent_to, pickle.dumps(request), seconds=seconds_for(verb, *given, self._weights_bytes)
        )
        # by the context ZeroGPU knows whose quota counts; the items may be read in another thread
        return self._read(partial(copy_context().run, self._pump, borrow), cancelled or threading.Event())

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
                    item = items.get(timeout=LOOK_SECONDS)
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
        """An event that no other request uses until both its reader and its pump have dropped it."""
        stop_event = SharedEvent(self._shared, self._free.get())
        weakref.finalize(stop_event, self._free.put, stop_event.place)
        stop_event.clear()
        return stop_event

    def _pump(
        self, borrow: Callable[..., Iterator[bytes]], stop_event: SharedEvent, items: SimpleQueue
    ) -> None:
        """Reads all items of a worker as they come, whether somebody wants them or not.

        The worker of a stream that was left half read could belong to another visitor by then.
        """
        try:
            for item in borrow(place=stop_event.place):
                items.put(pickle.loads(item) if item else BEGUN)
        except gr.Error as error:
            items.put(Failed(_refused(error)))
        except Exception as error:
            logger.error("unforeseen %s\n%s", type(error).__name__, places(error))
            items.put(Failed(GpuError("ZeroGPU cannot be reached; try again in a moment")))
        finally:
            items.put(ENDED)

    def _work(self, request: bytes, place: int, seconds: int) -> Iterator[bytes]:
        """Yields the items of a verb in a worker, pickled.

        Only bytes cross: torch would send tensors as shared memory that lives no longer than the
        worker.
        """
        yield b""
        try:
            for item in self._items(pickle.loads(request), SharedEvent(self._shared, place)):
                yield pickle.dumps(item)
        except Exception as error:
            yield pickle.dumps(failed(error))

    def _items(self, request: Request, stop_event: SharedEvent) -> Iterator[object]:
        self._move()
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

    def _move(self) -> None:
        """Moves the weights to the worker's GPU, with its first request."""
        if not self._moved:
            for part in self._session.parts.values():
                part.model.to(self._device)
            self._moved = True


def _asked_for(request: bytes, place: int, seconds: int) -> int:
    return seconds


def _weights(session: Session) -> list[Tensor]:
    """The weights of all models, shared ones once."""
    models = [part.model for part in session.parts.values()]
    return [*{id(weight): weight for model in models for weight in model.parameters()}.values()]


def _check_started(progress: Iterator[Progress]) -> Iterator[Progress]:
    """The steps of a fine-tuning. Raises GpuError if it was stopped in ZeroGPU's queue, before the first."""
    nothing = True
    for step in progress:
        nothing = False
        yield step
    if nothing:
        raise GpuError("the fine-tuning was stopped before a GPU was there; start it again, and wait for one")


def _refused(error: gr.Error) -> GpuError:
    """The error for a message of `spaces`: a full queue, a used-up quota, or a worker that is gone."""
    reason = f"{error.title}: {error.message!s}".strip(" .")
    if error.title == WORKER_GONE:
        return GpuError(
            f"the GPU was taken back before the answer was there ({reason}); ask for less, or try again"
        )
    return GpuError(f"there is no GPU for this now ({reason}); try again later")
