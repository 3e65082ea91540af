"""A replica: a process that holds a whole session and answers the page of another."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Hashable
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar, copy_context
from dataclasses import dataclass
from enum import Enum, auto
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import ray
from ray import serve

from palm_demo.concurrency import asker
from palm_demo.errors import CheckpointError
from palm_demo.models.lora import Adapter
from palm_demo.serving.answering import Failed, SessionInfo, answered, each_adapter_once
from palm_demo.session import Session

ALIVE_SECONDS = 0.25
"""Between two items of a stream: whoever reads it looks at each item whether it is to be stopped."""

SCOPES_KEPT = 64
"""Visitors' scopes that a replica holds; the one that was used the longest ago goes first."""


@dataclass(frozen=True)
class AdapterRef:
    """A visitor's own scope on its way to a replica. id: by which requests find the replica that has it.
    adapter: where any other fetches it from; it belongs to the page, and goes when the page forgets it."""

    id: str
    adapter: ray.ObjectRef


class Mark(Enum):
    """Items of a stream that are none of its own. BEGUN: first, when all checks are passed. ALIVE: in
    place of what takes its time."""

    BEGUN = auto()
    ALIVE = auto()
    ENDED = auto()


lent: ContextVar[ray.ObjectRef] = ContextVar("lent")
"""The adapter that came with the request."""


class Replica:
    """A session and the visitors' scopes that were used with it. A verb is named and given its arguments;
    what it answers comes back, or Failed."""

    def __init__(self, new_session: Callable[[], Session], visitors: int):
        """visitors: requests that it can have at once."""
        self.session = new_session()
        self._threads = ThreadPoolExecutor(visitors, thread_name_prefix="visitor")
        self._stops: dict[str, threading.Event] = {}

    async def facts(self) -> SessionInfo:
        return SessionInfo.of(self.session)

    async def ask(self, who: Hashable | None, verb: str, arguments: tuple, settings: dict) -> object:
        """The answer of a verb that gives it as a whole. who: whoever asks."""
        asker.set(who)
        arguments = [await self._scope(argument) for argument in arguments]
        return await self._in_thread(getattr(self.session, verb), *arguments, **settings)

    async def stream(
        self, who: Hashable | None, verb: str, stop: str, key: str, arguments: tuple, settings: dict
    ) -> AsyncIterator[object]:
        """The items of a verb that gives them one by one, between Marks, until `stop` is called with the
        key. who: as for `ask`. stop: what the verb calls the event that it looks at."""
        asker.set(who)
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
                while not (await asyncio.wait({coming}, timeout=ALIVE_SECONDS))[0]:
                    yield Mark.ALIVE
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
        """What `save_adapter` writes."""

        def written() -> bytes:
            with TemporaryDirectory() as folder:
                path = Path(folder, "scope.safetensors")
                self.session.save_adapter(adapter, path)
                return path.read_bytes()

        return await self._in_thread(written)

    async def adapter_of(self, content: bytes, name: str, highest_rank: int) -> Adapter:
        """What `load_adapter` reads in a file of this content, which messages call by its name."""

        def read() -> Adapter:
            with TemporaryDirectory() as folder:
                path = Path(folder, "scope.safetensors")
                path.write_bytes(content)
                try:
                    return self.session.load_adapter(path, highest_rank)
                except CheckpointError as error:
                    raise CheckpointError(str(error).replace(str(path), name)) from error

        return await self._in_thread(read)

    @serve.multiplexed(max_num_models_per_replica=SCOPES_KEPT)
    async def _adapter(self, id: str) -> Adapter:
        return await lent.get()

    async def _scope(self, argument: object) -> object:
        """The argument, or the adapter where one was lent, alone or in a mix."""
        if isinstance(argument, dict):
            return {await self._scope(part): strength for part, strength in argument.items()}
        if not isinstance(argument, AdapterRef):
            return argument
        lent.set(argument.adapter)
        return await self._adapter(argument.id)

    async def _in_thread(self, function: Callable, *arguments, **settings) -> object:
        """What it gives, or Failed."""
        told = partial(answered, function, *arguments, **settings)
        return await asyncio.get_running_loop().run_in_executor(self._threads, copy_context().run, told)
