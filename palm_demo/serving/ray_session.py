"""A session whose models are on replicas of a Ray cluster: the page's side of it, and the replica's."""

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

HEARTBEAT_SECONDS = 0.25
"""Between two items of a stream: whoever reads it looks at each item whether it is to be stopped."""

ADAPTERS_KEPT = 64
"""User adapters that a replica holds; the one that was used the longest ago goes first."""


@dataclass(frozen=True)
class AdapterRef:
    """A user adapter on its way to a replica. id: by which requests find the replica that has it.
    adapter: where any other fetches it from; it belongs to the page, and goes when the page forgets it."""

    id: str
    adapter: ray.ObjectRef


class Mark(Enum):
    """Items of a stream that a replica adds to those of the verb. BEGUN: first, when all checks are passed.
    HEARTBEAT: in place of what takes its time."""

    BEGUN = auto()
    HEARTBEAT = auto()
    ENDED = auto()


requested_adapter: ContextVar[ray.ObjectRef] = ContextVar("requested_adapter")
"""The adapter that came with the request."""


class RaySession(SessionProxy):
    """A session for the page, whose verbs are answered by the replicas of a deployment, which end with it.

    A user adapter is here and, once used, on a replica that further requests with it then go to.

    Raises ClusterError where a replica goes away before it has answered; others take over.
    """

    def __init__(self, models: DeploymentHandle, gallery_place: str | Path = MEMORY):
        """models: of a deployment of Replica. gallery_place: as in `palm_demo.load`."""
        self._models = models
        self._refs: WeakKeyDictionary[Adapter, AdapterRef] = WeakKeyDictionary()
        super().__init__(self._call(models, "info"), gallery_place)

    def save_adapter(self, adapter: Adapter, path: Path | str) -> None:
        """Writes an adapter into a file of this machine; see `Session.save_adapter`."""
        content = self._call(self._models, "adapter_file", adapter)
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        Path(path).write_bytes(content)

    def load_adapter(self, path: Path | str, highest_rank: int = checkpoints.HIGHEST_RANK) -> Adapter:
        """Reads an adapter from a file of this machine; see `Session.load_adapter`."""
        if not Path(path).is_file():
            raise CheckpointError(f"there is no weights file at {path}")
        return self._call(self._models, "adapter_of", Path(path).read_bytes(), str(path), highest_rank)

    def _ask(self, verb: str, arguments: tuple, settings: dict) -> object:
        return self._call(self._nearest(arguments), "ask", client.get(), verb, arguments, settings)

    def _begin(
        self, verb: str, stop: str, cancelled: threading.Event | None, arguments: tuple, settings: dict
    ) -> Iterator[object]:
        items = self._stream(verb, stop, cancelled, arguments, settings)
        next(items)  # raises what is wrong with the arguments
        return items

    def _call(self, models: DeploymentHandle, method: str, *given) -> object:
        with _replicas_that_may_go():
            answer = getattr(models, method).remote(*given).result()
        if isinstance(answer, Failed):
            raise answer.error
        return answer

    def _stream(
        self, verb: str, stop: str, cancelled: threading.Event | None, arguments: tuple, settings: dict
    ) -> Iterator[object]:
        """Yields None when the verb has begun, then its items. A replica is told to stop at the next item,
        one that nobody reads any more at once."""
        key, told, left = uuid.uuid4().hex, False, gone.get() or threading.Event()
        models = self._nearest(arguments).options(stream=True)
        with _replicas_that_may_go():
            items = models.stream.remote(client.get(), verb, stop, key, arguments, settings)
            try:
                for item in items:
                    if isinstance(item, Failed):
                        raise item.error
                    if item is Mark.BEGUN:
                        yield None
                    elif item is not Mark.HEARTBEAT:
                        yield item
                    stops = left.is_set() or (cancelled is not None and cancelled.is_set())
                    if stops and not told:
                        self._models.broadcast("stop", key).results(return_exceptions=True)
                        told = True
            except GeneratorExit:
                items.cancel()
                raise

    def _ref(self, adapter: Adapter) -> AdapterRef:
        if adapter not in self._refs:
            self._refs[adapter] = AdapterRef(uuid.uuid4().hex, ray.put(adapter))
        return self._refs[adapter]

    def _nearest(self, arguments: tuple) -> DeploymentHandle:
        """The replicas, of which the one that has the user adapter, the first of a mix, is asked first."""
        parts = [part for one in arguments for part in (one if isinstance(one, dict) else (one,))]
        scope = next((part for part in parts if isinstance(part, AdapterRef)), None)
        return self._models.options(multiplexed_model_id=scope.id) if scope else self._models


@contextmanager
def _replicas_that_may_go() -> Iterator[None]:
    try:
        yield
    except (RayError, RayServeException) as error:
        raise ClusterError(
            "the process that was answering went away before it was done; try again, another one takes over"
        ) from error


class Replica:
    """A process that holds a whole session, and the user adapters that were used with it.

    A verb is named and given its arguments; what it answers comes back, or Failed.
    """

    def __init__(self, new_session: Callable[[], Session], visitors: int):
        """visitors: requests that it can have at once."""
        self.session = new_session()
        self._threads = ThreadPoolExecutor(visitors, thread_name_prefix="visitor")
        self._stops: dict[str, threading.Event] = {}

    async def info(self) -> SessionInfo:
        return SessionInfo.of(self.session)

    async def ask(self, who: Hashable | None, verb: str, arguments: tuple, settings: dict) -> object:
        """The answer of a verb that gives it as a whole. who: whoever asks."""
        client.set(who)
        arguments = [await self._scope(argument) for argument in arguments]
        return await self._in_thread(getattr(self.session, verb), *arguments, **settings)

    async def stream(
        self, who: Hashable | None, verb: str, stop: str, key: str, arguments: tuple, settings: dict
    ) -> AsyncIterator[object]:
        """The items of a verb that gives them one by one, between Marks, until `stop` is called with the
        key. who: as for `ask`. stop: what the verb calls the event that it looks at."""
        client.set(who)
        arguments = [await self._scope(argument) for argument in arguments]
        cancelled = self._stops[key] = threading.Event()
        try:
            begin = getattr(self.session, verb)
            items = await self._in_thread(begin, *arguments, **settings, **{stop: cancelled})
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
        """Ends a stream, if it is one of this replica's."""
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
        """The adapter that `load_adapter` reads from a file of this content. name: of the file, for
        messages."""

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
        """The argument, or the adapter that a reference stands for, alone or in a mix."""
        if isinstance(argument, dict):
            return {await self._scope(part): strength for part, strength in argument.items()}
        if not isinstance(argument, AdapterRef):
            return argument
        requested_adapter.set(argument.adapter)
        return await self._adapter(argument.id)

    async def _in_thread(self, function: Callable, *arguments, **settings) -> object:
        """What the function returns, or Failed."""
        told = partial(answered, function, *arguments, **settings)
        return await asyncio.get_running_loop().run_in_executor(self._threads, copy_context().run, told)
