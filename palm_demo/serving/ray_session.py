"""A session whose models are on replicas of a Ray cluster: the page's side and the replica's."""

import asyncio
import threading
import uuid
from collections.abc import AsyncIterator, Callable, Hashable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import ContextVar, copy_context
from dataclasses import dataclass
from enum import Enum, auto
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from weakref import WeakKeyDictionary

import ray
from ray import serve
from ray.exceptions import RayError
from ray.serve.exceptions import RayServeException
from ray.serve.handle import DeploymentHandle

from palm_demo import checkpoints
from palm_demo.concurrency import client, gone
from palm_demo.errors import CheckpointError, ClusterError
from palm_demo.gallery import MEMORY
from palm_demo.models.lora import Adapter
from palm_demo.serving.session_proxy import Failed, SessionInfo, SessionProxy, answered, each_adapter_once
from palm_demo.session import Session
from palm_demo.session.palm import adapter_file

HEARTBEAT_SECONDS = 0.25
"""Seconds between two items of a stream. With each item the reader checks whether to stop."""

ADAPTERS_KEPT = 64
"""User adapters that a replica holds. The least recently used goes first."""


@dataclass(frozen=True)
class AdapterRef:
    """A reference to a user adapter, which is sent to replicas in its place.

    Attributes:
        id: routes requests to a replica that has the adapter already.
        adapter: from where other replicas fetch it. The page owns the object, which is deleted when
            the page forgets the adapter.
    """

    id: str
    adapter: ray.ObjectRef


class Mark(Enum):
    """Items that a replica adds to a stream.

    BEGUN comes first, after all checks. HEARTBEAT comes every HEARTBEAT_SECONDS while there is no item.
    """

    BEGUN = auto()
    HEARTBEAT = auto()
    ENDED = auto()


requested_adapter: ContextVar[ray.ObjectRef] = ContextVar("requested_adapter")
"""The adapter of the current request."""


class RaySession(SessionProxy):
    """A session for the page whose verbs are answered by the replicas of a deployment.

    A user adapter is kept here and on the first replica that has used it, which gets further requests with
    it. Verbs raise ClusterError if a replica is lost before it has answered; later calls go to others.
    """

    def __init__(self, models: DeploymentHandle, gallery_place: str | Path = MEMORY):
        """
        Args:
            models: the handle of a deployment of Replica.
            gallery_place: as in `palm_demo.load`.
        """
        self._models = models
        self._refs: WeakKeyDictionary[Adapter, AdapterRef] = WeakKeyDictionary()
        super().__init__(self._call(models, "info"), gallery_place)

    def save_adapter(self, adapter: Adapter, path: Path | str) -> None:
        """Writes an adapter to a file on this machine; see `Session.save_adapter`."""
        content = self._call(self._models, "adapter_file", adapter)
        with adapter_file(path), checkpoints.written_whole(Path(path)) as partial:
            partial.write_bytes(content)

    def load_adapter(self, path: Path | str, highest_rank: int = checkpoints.HIGHEST_RANK) -> Adapter:
        """Reads an adapter from a file on this machine; see `Session.load_adapter`."""
        if not Path(path).is_file():
            raise CheckpointError(f"there is no weights file at {path}")
        return self._call(self._models, "adapter_of", Path(path).read_bytes(), str(path), highest_rank)

    def _ask(self, verb: str, arguments: tuple, settings: dict) -> object:
        return self._call(self._nearest(arguments), "ask", client.get(), verb, arguments, settings)

    def _begin(
        self, verb: str, cancelled: threading.Event | None, arguments: tuple, settings: dict
    ) -> Iterator[object]:
        items = self._stream(verb, cancelled, arguments, settings)
        next(items)  # raises what is wrong with the arguments
        return items

    def _call(self, models: DeploymentHandle, method: str, *given) -> object:
        with _lost_replicas_explained():
            answer = getattr(models, method).remote(*given).result()
        if isinstance(answer, Failed):
            raise answer.error
        return answer

    def _stream(
        self, verb: str, cancelled: threading.Event | None, arguments: tuple, settings: dict
    ) -> Iterator[object]:
        """Yields None when the verb has begun, then its items.

        If the verb is cancelled or the visitor has left, the replica is told so at its next item. If this
        iterator is closed, the request is cancelled at once.
        """
        key, sent, left = uuid.uuid4().hex, False, gone.get() or threading.Event()
        models = self._nearest(arguments).options(stream=True)
        with _lost_replicas_explained():
            items = models.stream.remote(client.get(), verb, key, arguments, settings)
            try:
                for item in items:
                    if isinstance(item, Failed):
                        raise item.error
                    if item is Mark.BEGUN:
                        yield None
                    elif item is not Mark.HEARTBEAT:
                        yield item
                    stops = left.is_set() or (cancelled is not None and cancelled.is_set())
                    if stops and not sent:
                        self._models.broadcast("stop", key).results(return_exceptions=True)
                        sent = True
            except GeneratorExit:
                items.cancel()
                raise

    def _ref(self, adapter: Adapter) -> AdapterRef:
        if adapter not in self._refs:
            self._refs[adapter] = AdapterRef(uuid.uuid4().hex, ray.put(adapter))
        return self._refs[adapter]

    def _nearest(self, arguments: tuple) -> DeploymentHandle:
        """The replicas. Calls go to one that has the first user adapter in the arguments, if possible."""
        parts = [part for one in arguments for part in (one if isinstance(one, dict) else (one,))]
        scope = next((part for part in parts if isinstance(part, AdapterRef)), None)
        return self._models.options(multiplexed_model_id=scope.id) if scope else self._models


@contextmanager
def _lost_replicas_explained() -> Iterator[None]:
    try:
        yield
    except (RayError, RayServeException) as error:
        raise ClusterError(
            "the process that was answering went away before it was done; try again, another one takes over"
        ) from error


class Replica:
    """A process with a whole session, and with the user adapters that it has used.

    It calls verbs by their names, and returns their results, or Failed.
    """

    def __init__(self, new_session: Callable[[], Session], visitors: int):
        """
        Args:
            new_session: makes the session.
            visitors: the most requests at once.
        """
        self.session = new_session()
        self._threads = ThreadPoolExecutor(visitors, thread_name_prefix="visitor")
        self._stops: dict[str, threading.Event] = {}

    async def info(self) -> SessionInfo:
        """What the page needs to know of the session."""
        return SessionInfo.of(self.session)

    async def ask(self, who: Hashable | None, verb: str, arguments: tuple, settings: dict) -> object:
        """Calls a verb that returns one result. who: the client."""
        client.set(who)
        arguments = [await self._scope(argument) for argument in arguments]
        return await self._in_thread(getattr(self.session, verb), *arguments, **settings)

    async def stream(
        self, who: Hashable | None, verb: str, key: str, arguments: tuple, settings: dict
    ) -> AsyncIterator[object]:
        """Calls a verb that yields items, and yields them and Marks until `stop` is called with the key.

        who: the client.
        """
        client.set(who)
        arguments = [await self._scope(argument) for argument in arguments]
        cancelled = self._stops[key] = threading.Event()
        try:
            begin = getattr(self.session, verb)
            items = await self._in_thread(begin, *arguments, **settings, cancelled=cancelled)
            if isinstance(items, Failed):
                yield items
                return
            yield Mark.BEGUN
            items = each_adapter_once(items)
            item = None
            while not isinstance(item, Failed):
                coming = asyncio.create_task(self._in_thread(next, items, Mark.ENDED))
                while not (await asyncio.wait({coming}, timeout=HEARTBEAT_SECONDS))[0]:
                    yield Mark.HEARTBEAT
                if (item := coming.result()) is Mark.ENDED:
                    return
                yield item
        finally:
            cancelled.set()
            del self._stops[key]

    async def stop(self, key: str) -> None:
        """Ends the stream with a key, if this replica has it."""
        if key in self._stops:
            self._stops[key].set()

    async def adapter_file(self, adapter: Adapter) -> bytes:
        """The content of the file that `save_adapter` writes."""

        def written() -> bytes:
            with TemporaryDirectory() as folder:
                path = Path(folder, "scope.safetensors")
                self.session.save_adapter(adapter, path)
                return path.read_bytes()

        return await self._in_thread(written)

    async def adapter_of(self, content: bytes, name: str, highest_rank: int) -> Adapter:
        """The adapter that `load_adapter` reads from a file with this content.

        name: the name of the file in messages.
        """

        def read() -> Adapter:
            with TemporaryDirectory() as folder:
                path = Path(folder, "scope.safetensors")
                path.write_bytes(content)
                try:
                    return self.session.load_adapter(path, highest_rank)
                except CheckpointError as error:
                    raise CheckpointError(str(error).replace(str(path), name)) from error

        return await self._in_thread(read)

    @serve.multiplexed(max_num_models_per_replica=ADAPTERS_KEPT)
    async def _adapter(self, id: str) -> Adapter:
        return await requested_adapter.get()

    async def _scope(self, argument: object) -> object:
        """Replaces references to adapters by the adapters, alone or in a mix."""
        if isinstance(argument, dict):
            return {await self._scope(part): strength for part, strength in argument.items()}
        if not isinstance(argument, AdapterRef):
            return argument
        requested_adapter.set(argument.adapter)
        return await self._adapter(argument.id)

    async def _in_thread(self, function: Callable, *arguments, **settings) -> object:
        """Runs a function in a thread, and returns its result or Failed."""
        call = partial(answered, function, *arguments, **settings)
        return await asyncio.get_running_loop().run_in_executor(self._threads, copy_context().run, call)
