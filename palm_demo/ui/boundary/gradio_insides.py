"""The internals of Gradio that the trust boundary uses, as they are in Gradio 6.31.

`tests/ui/test_gradio_insides.py` fails if a later version of Gradio changes them.
"""

import json
import logging
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from functools import partial
from pathlib import Path

import gradio as gr
import uvicorn
from gradio import http_server, processing_utils, route_utils, routes
from gradio.blocks import BlockFunction
from gradio.route_utils import API_PREFIX as API
from gradio.utils import LRUCache
from starlette.types import ASGIApp

from palm_demo.concurrency import client, gone, locked_cached_property
from palm_demo.errors import MediaError, PalmDemoError
from palm_demo.internals.gradio_endpoints import file_inputs
from palm_demo.internals.gradio_files import made, room
from palm_demo.internals.http_protocol import KEEP_ALIVE_SECONDS, PatientProtocol
from palm_demo.ui.boundary.fair_memory import FairMemory
from palm_demo.ui.boundary.files import NO_LINKS, Files
from palm_demo.ui.boundary.listening import bare, bind, no_port, url_host
from palm_demo.ui.boundary.timeouts import Listeners
from palm_demo.ui.boundary.upload_quotas import UploadQuotas
from palm_demo.ui.boundary.visitors import REFUSED, Visitor, from_guard, visitor_of
from palm_demo.ui.messages import as_sentence, is_without_room, unforeseen

__all__ = [
    "API",
    "GuardedBlocks",
    "Insides",
    "fetch_nothing",
    "leave_files_where_they_are",
    "number_of",
    "served_behind",
]
logger = logging.getLogger(__name__)

UNFIT = "The values that came do not fit this event; see what it takes under “Use via API”."
SESSIONS = 10_000
"""The most sessions whose events Gradio's queue remembers. Gradio itself has no limit."""
UNASKED = {"_frontend": False}
"""Options of gradio's `launch` with which it does not ask once more whether the page is there. The page has
answered before, and on a busy machine not within Gradio's three seconds, which would end it."""
STATES, FORGOTTEN_AT_ONCE = 9_000, 100
"""The most sessions with states: fewer than the 10,000 at which Gradio itself removes the oldest of all."""
_visitor: ContextVar[Visitor | None] = ContextVar("visitor whose event is processed", default=None)


class GuardedBlocks(gr.Blocks):
    """Gradio's Blocks whose events check files again, and whose errors tell visitors no internals.

    Attributes are set before the page is served.

    Attributes:
        files: the page's files; None switches the checks off, for tests.
        dress: changes Gradio's HTML of the page.
        listeners: the open event streams.
        sessions: the sessions of which Gradio keeps states.
        upload_quotas: for the files that events make.
    """

    files: Files | None = None
    dress: Callable[[bytes], bytes] = staticmethod(bytes)
    listeners: Listeners
    sessions: FairMemory[str, None]
    upload_quotas: UploadQuotas

    def queue(self, *arguments, **settings):
        """Makes the queue, as `gr.Blocks.queue`, but with less memory.

        It remembers at most SESSIONS sessions, and makes no statistics, which Gradio would compute from the
        last 10,000 events at each event.
        """
        super().queue(*arguments, **settings)
        self._queue.pending_event_ids_session = LRUCache(SESSIONS)
        self._queue.ANALYTICS_MAX_EVENTS, self._queue.ANAYLTICS_CACHE_FREQUENCY = 1, sys.maxsize
        return self

    async def process_api(self, block_fn, inputs, state=None, request=None, iterator=None, **rest):
        """Runs an event, as `gr.Blocks.process_api`, after a check of the files in its inputs.

        All errors become gr.Error with a message for visitors.
        """
        visitor = visitor_of(request)
        if self.files is None:
            return await super().process_api(block_fn, inputs, state, request, iterator, **rest)
        _visitor.set(visitor)
        address = None if visitor is None else visitor.address
        client.set(address)
        room.set(partial(self.upload_quotas.check_room, address or ""))
        made.set(folders := [])
        session = getattr(request, "session_hash", None)
        if isinstance(session, str):
            self._remember(session, address or "")
            gone.set(self.listeners.gone(session))
        else:
            gone.set(None)
        try:
            if (refusal := from_guard(request, REFUSED)) is not None:
                raise gr.Error(refusal, print_exception=False)
            if iterator is None:
                self.files.check(inputs, visitor)
            return await super().process_api(block_fn, inputs, state, request, iterator, **rest)
        except gr.Error as error:
            error.print_exception = False
            raise
        except PalmDemoError as error:
            raise gr.Error(as_sentence(error), print_exception=False) from error
        except Exception as error:
            is_unfit = isinstance(error, TypeError | ValueError | LookupError | AttributeError)
            if is_unfit and not is_without_room(error):
                where = traceback.extract_tb(error.__traceback__)[-1]
                logger.warning(
                    "unfit values: %s at %s:%s", type(error).__name__, where.filename, where.lineno
                )
                raise gr.Error(UNFIT, print_exception=False) from error
            raise gr.Error(unforeseen(error), print_exception=False) from error
        finally:
            self._count_made(folders, visitor)

    def _count_made(self, folders: Iterable[Path], visitor: Visitor | None) -> None:
        """Has the files in folders that an event made deleted after a while, and counts those that it gave to
        no component."""
        files = [file for folder in folders for file in folder.rglob("*") if file.is_file()]
        self.upload_file_set.update(map(str, files))
        if visitor is not None:
            unseen = [file for file in files if not self.files.may_see(file, visitor)]
            self.upload_quotas.keeps(visitor.address, sum(file.stat().st_size for file in unseen))

    def _remember(self, session: str, address: str) -> None:
        """Notes a session's use. At the limit, the address with the most sessions loses its oldest ones."""
        for forgotten in self.sessions.remember(session, address, None):
            self.state_holder.remove(forgotten)
            self.listeners.leave(forgotten)

    async def postprocess_data(self, block_fn, predictions, state):
        """Prepares the outputs of an event, as `gr.Blocks.postprocess_data`, and gives the visitor access to
        the files in them.

        It is done here because the outputs are complete; later a stream has only what has changed.
        """
        outputs = await super().postprocess_data(block_fn, predictions, state)
        if self.files is not None and (visitor := _visitor.get()) is not None:
            self.upload_quotas.keeps(visitor.address, self.files.grant_outputs(outputs, visitor))
        return outputs


class TidyParser(route_utils.GradioMultiPartParser):
    """Gradio's parser of uploads, which also deletes incomplete files if the disk is full."""

    async def parse(self):
        try:
            return await super().parse()
        except OSError:
            for file in self._files_to_close_on_error:
                with suppress(OSError):  # its last bytes cannot be written
                    file.close()
                Path(file.name).unlink(missing_ok=True)
            raise


def leave_no_half_uploads() -> None:
    """Makes Gradio use TidyParser for uploads."""
    route_utils.GradioMultiPartParser = TidyParser


class Insides:
    """What the guard needs to know of a page: its events, its queue and whether it has a login."""

    def __init__(self, page: gr.Blocks):
        self.page = page

    @property
    def listeners(self) -> Listeners:
        """The open event streams of the page."""
        return self.page.listeners

    def forget(self, session: str) -> None:
        """Removes all that is kept of a session in which nothing else comes."""
        self.listeners.forget(session)
        self.page.sessions.forget(session)
        self.page.state_holder.remove(session)
        queue = self.page._queue
        queue.pending_messages_per_session.pop(session, None)
        queue.pending_event_ids_session.pop(session, None)

    def event(self, number: object) -> BlockFunction | None:
        """The event with a number; None if there is none."""
        is_number = isinstance(number, int) and not isinstance(number, bool)
        return self.page.fns.get(number) if is_number else None

    def named(self, name: str) -> BlockFunction | None:
        """The public event with a name; None if there is none."""
        every = self.page.fns.values()
        return next((one for one in every if one.api_name == name and one.api_visibility != "private"), None)

    def tool(self, name: object) -> BlockFunction | None:
        """The event of an assistant's tool; None if there is none. On a Space, names of tools begin with the
        Space's."""
        tools = self.page.mcp_server_obj.tool_to_endpoint
        return self.named(tools[name].lstrip("/")) if isinstance(name, str) and name in tools else None

    @locked_cached_property
    def _file_inputs(self) -> dict[int, list[bool]]:
        every = self.page.fns.items()
        return {number: [_takes_files(one) for one in event.inputs] for number, event in every}

    def file_inputs(self, event: BlockFunction) -> dict[str, bool]:
        """The parameters of an event that take files, see `gradio_endpoints.file_inputs`."""
        return file_inputs(event)

    def has_text_for_files(self, event: BlockFunction, data: list) -> bool:
        """Whether a component for files is given a text, which may be a path."""
        return any(
            takes and not isinstance(value, dict | list | None)
            for takes, value in zip(self._file_inputs[number_of(event)], data, strict=False)
        )

    def session_of(self, event: str) -> str | None:
        """The session of an event that waits, runs or has ended; None if there is no such event."""
        queue = self.page._queue
        if (found := queue.event_ids_to_events.get(event)) is not None:
            return found.session_hash
        return next((name for name, ids in [*queue.pending_event_ids_session.items()] if event in ids), None)

    def listens(self, session: str) -> bool:
        """Whether a session has a stream of messages."""
        return session in self.page._queue.pending_messages_per_session

    @property
    def has_accounts(self) -> bool:
        """Whether visitors have to log in."""
        app = getattr(self.page, "app", None)
        return self.page.auth is not None or getattr(app, "auth_dependency", None) is not None

    def deletes(self, files: Iterable[Path]) -> None:
        """Has files of the upload folder deleted after a while, as uploads are."""
        self.page.upload_file_set.update(map(str, files))

    def share(self, files: Files) -> None:
        """Gives everybody access to the files that the page shows at first."""
        files.share(self.page.config)


def number_of(event: BlockFunction) -> int:
    """The number by which calls name an event."""
    return event._id


def _takes_files(component: object) -> bool:
    model = getattr(component, "data_model", None)
    return model is not None and "gradio.FileData" in json.dumps(model.model_json_schema())


def fetch_nothing() -> None:
    """Makes Gradio refuse to download from URLs, until this process ends."""

    def refuse(*arguments, **options):
        raise MediaError(NO_LINKS)

    async def refuse_later(*arguments, **options):
        raise MediaError(NO_LINKS)

    for name in ("ssrf_protected_download", "save_url_to_cache", "unsafe_download"):
        setattr(processing_utils, name, refuse)
    for name in ("async_ssrf_protected_download", "async_ssrf_protected_get"):
        setattr(processing_utils, name, refuse_later)
    for module in (route_utils, routes):
        module.secure_url_stream_response = refuse_later


def leave_files_where_they_are(page: gr.Blocks) -> None:
    """Makes the client that Gradio uses for MCP pass on paths of files, in place of uploading the files.

    Files that an assistant may use are in the upload folder already.
    """
    server = page.mcp_server_obj
    if server is None:
        return
    make = server._get_or_create_client

    def client_without_uploads():
        client = make()
        for endpoint in client.endpoints.values():
            endpoint._upload_file = lambda file, data_index: file
        return client

    server._get_or_create_client = client_without_uploads


def _is_free(host: str, port: int) -> bool:
    if (bound := bind(host, port)) is None:
        return False
    bound.close()
    return True


@contextmanager
def served_behind(guard: Callable[[ASGIApp, str], ASGIApp]) -> Iterator[None]:
    """Within the `with`, Gradio's `launch` serves the page behind a guard, with timeouts for slow clients.

    guard: makes the application to serve from Gradio's application and the host.
    """

    def start_server(app, server_name=None, server_port=None, **tls):
        host = server_name or http_server.LOCALHOST_NAME
        behind = guard(app, host)
        first = http_server.INITIAL_PORT_VALUE
        ports = [server_port] if server_port else range(first, first + http_server.TRY_NUM_PORTS)
        for port in filter(lambda port: _is_free(host, port), ports):
            config = uvicorn.Config(
                behind,
                bare(host),
                port,
                http=PatientProtocol,
                ws="none",
                log_level="warning",
                timeout_keep_alive=KEEP_ALIVE_SECONDS,
                proxy_headers=False,
                server_header=False,
                **tls,
            )
            server = http_server.Server(config)
            try:
                server.run_in_thread()
            except (OSError, http_server.ServerFailedToStartError):
                continue
            scheme = "https" if tls.get("ssl_keyfile") else "http"
            shown = "localhost" if host == "0.0.0.0" else url_host(host)
            return host, port, f"{scheme}://{shown}:{port}/", server
        raise no_port(host, ports)

    before = http_server.start_server
    http_server.start_server = start_server
    try:
        yield
    finally:
        http_server.start_server = before
