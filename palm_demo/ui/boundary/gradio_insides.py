"""All that the boundary touches of Gradio that is not Gradio's public interface, for 6.31.

`tests/ui/test_gradio_insides.py` holds Gradio to it.
"""

import json
import logging
import socket
import sys
import traceback
from collections import ChainMap
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import gradio as gr
import uvicorn
from gradio import http_server, processing_utils, route_utils, routes
from gradio.blocks import BlockFunction
from gradio.route_utils import API_PREFIX as API
from gradio.state_holder import SessionState, StateHolder
from gradio.utils import LRUCache
from starlette.types import ASGIApp

from palm_demo.concurrency import client, gone, locked_cached_property
from palm_demo.errors import MediaError, PalmDemoError
from palm_demo.internals.gradio_endpoints import file_inputs
from palm_demo.internals.gradio_files import room
from palm_demo.internals.http_protocol import KEEP_ALIVE_SECONDS, PatientProtocol
from palm_demo.ui.boundary.files import NO_LINKS, Files
from palm_demo.ui.boundary.timeouts import Listeners
from palm_demo.ui.boundary.upload_quotas import UploadQuotas
from palm_demo.ui.boundary.visitors import REFUSED, Visitor, told_by_guard, visitor_of
from palm_demo.ui.messages import is_without_room, unforeseen

__all__ = [
    "API",
    "GuardedBlocks",
    "Insides",
    "fetch_nothing",
    "keep_little_of_a_session",
    "leave_files_where_they_are",
    "number_of",
    "served_behind",
]
logger = logging.getLogger(__name__)

UNFIT = "The values that came do not fit this event; see what it takes under “Use via API”."
SESSIONS = 10_000
"""Whose events Gradio's queue remembers; it forgets none by itself. The oldest go first."""
LOOK_AGAIN = timedelta(minutes=1)
_served: ContextVar[Visitor | None] = ContextVar("whose event is processed", default=None)


class GuardedBlocks(gr.Blocks):
    """Blocks whose events take no file that the guard would not admit, by whatever road they are called.

    files, listeners, upload_quotas, dress: set before the page is served. `dress` makes of gradio's HTML
    our own.
    """

    files: Files | None = None
    dress: Callable[[bytes], bytes] = staticmethod(bytes)
    listeners: Listeners
    upload_quotas: UploadQuotas

    def queue(self, *arguments, **settings):
        """As gr.Blocks does. Of who came and left, the names of so many sessions alone are kept. Statistics,
        which Gradio would make anew at each event of the last 10,000, nobody sees."""
        super().queue(*arguments, **settings)
        self._queue.pending_event_ids_session = LRUCache(SESSIONS)
        self._queue.ANALYTICS_MAX_EVENTS, self._queue.ANAYLTICS_CACHE_FREQUENCY = 1, sys.maxsize
        return self

    async def process_api(self, block_fn, inputs, state=None, request=None, iterator=None, **rest):
        """As gr.Blocks does, after a look at what comes. An error tells no visitor more than a sentence."""
        visitor = visitor_of(request)
        if self.files is None:
            return await super().process_api(block_fn, inputs, state, request, iterator, **rest)
        _served.set(visitor)
        address = None if visitor is None else visitor.address
        client.set(address)
        room.set(partial(self.upload_quotas.check_room, address or ""))
        session = getattr(request, "session_hash", None)
        gone.set(self.listeners.gone(session) if isinstance(session, str) else None)
        try:
            if (refusal := told_by_guard(request, REFUSED)) is not None:
                raise gr.Error(refusal, print_exception=False)
            if iterator is None:
                self.files.check(inputs, visitor)
            return await super().process_api(block_fn, inputs, state, request, iterator, **rest)
        except gr.Error as error:
            error.print_exception = False
            raise
        except PalmDemoError as error:
            raise gr.Error(f"{str(error)[:1].upper()}{str(error)[1:]}.", print_exception=False) from error
        except Exception as error:
            is_unfit = isinstance(error, TypeError | ValueError | LookupError | AttributeError)
            if is_unfit and not is_without_room(error):
                where = traceback.extract_tb(error.__traceback__)[-1]
                logger.warning(
                    "unfit values: %s at %s:%s", type(error).__name__, where.filename, where.lineno
                )
                raise gr.Error(UNFIT, print_exception=False) from error
            raise gr.Error(unforeseen(error), print_exception=False) from error

    async def postprocess_data(self, block_fn, predictions, state):
        """As gr.Blocks does; the files in what comes of it are this visitor's to name from now on. Later only
        what has changed of a stream's values is left of them."""
        shown = await super().postprocess_data(block_fn, predictions, state)
        if self.files is not None and (visitor := _served.get()) is not None:
            self.upload_quotas.keeps(visitor.address, self.files.showed(shown, visitor))
        return shown


class SmallSessionState(SessionState):
    """What Gradio keeps of a visitor, without the configuration of every block, which deep links alone need,
    and without tables of all blocks and events of one's own.

    The configuration would cost 600 kB and 32 ms in which nobody else is answered, also on leaving; the
    tables 27 kB.
    """

    def __init__(self, blocks: gr.Blocks):
        of_all = blocks.default_config
        super().__init__(SimpleNamespace(default_config=of_all, blocks={}))
        self.blocks_config.blocks = ChainMap({}, of_all.blocks)  # an update makes a block the visitor's own
        self.blocks_config.fns = of_all.fns  # nothing is rendered anew, which alone would change them

    def __setitem__(self, key: int, value: object) -> None:
        super().__setitem__(key, value)
        self.config_values.clear()

    def _update_config(self, key: int) -> None:
        """There is none."""

    def _update_value_in_config(self, key: int, value: object) -> None:
        """There is none."""


class ForgettingStateHolder(StateHolder):
    """What Gradio keeps of all visitors. Whoever left, or has nothing that is kept, is forgotten after the
    hour in which Gradio lets them come back; Gradio itself forgets no more than their values."""

    def __init__(self):
        super().__init__()
        self._looked = datetime.min

    def delete_all_expired_state(self) -> None:
        """Looks once a minute: Gradio calls it each second, on the event loop."""
        now = datetime.now()
        if now - self._looked < LOOK_AGAIN:
            return
        self._looked = now
        super().delete_all_expired_state()
        with self.lock:
            for name, session in [*self.session_data.items()]:
                unused = now - self.time_last_used.get(name, now)
                kept = timedelta(seconds=session.STATE_TTL_WHEN_CLOSED)
                if unused > kept and (session.is_closed or not session.state_data):
                    del self.session_data[name]
                    self.time_last_used.pop(name, None)


def keep_little_of_a_session() -> None:
    """Makes all that Gradio keeps of sessions SmallSessionState, in a ForgettingStateHolder. To be called
    before a page is served."""
    for name in ("state_holder", "blocks", "route_utils", "mcp", "routes"):
        if (module := sys.modules.get(f"gradio.{name}")) is not None:
            module.SessionState, module.StateHolder = SmallSessionState, ForgettingStateHolder


class TidyParser(route_utils.GradioMultiPartParser):
    """Gradio's parser of uploads, which lets no half of a file lie where the disk is full."""

    async def parse(self):
        try:
            return await super().parse()
        except OSError:
            for file in self._files_to_close_on_error:
                with suppress(OSError):  # what was not written yet cannot be now
                    file.close()
                Path(file.name).unlink(missing_ok=True)
            raise


def leave_no_half_uploads() -> None:
    """Makes Gradio's parser of uploads a TidyParser."""
    route_utils.GradioMultiPartParser = TidyParser


class Insides:
    """What the guard asks of a page."""

    def __init__(self, page: gr.Blocks):
        self.page = page

    @property
    def listeners(self) -> Listeners:
        """Of the page's events."""
        return self.page.listeners

    def event(self, number: object) -> BlockFunction | None:
        """The event of a number, None where there is none."""
        is_number = isinstance(number, int) and not isinstance(number, bool)
        return self.page.fns.get(number) if is_number else None

    def named(self, name: str) -> BlockFunction | None:
        """The public event of a name, None where there is none."""
        every = self.page.fns.values()
        return next((one for one in every if one.api_name == name and one.api_visibility != "private"), None)

    @locked_cached_property
    def _file_inputs(self) -> dict[int, list[bool]]:
        every = self.page.fns.items()
        return {number: [_takes_files(one) for one in event.inputs] for number, event in every}

    def file_inputs(self, event: BlockFunction) -> dict[str, bool]:
        """See `gradio_endpoints.file_inputs`."""
        return file_inputs(event)

    def has_words_for_files(self, event: BlockFunction, data: list) -> bool:
        """Whether a component that takes files is given a text instead, which may be a path."""
        return any(
            takes and not isinstance(value, dict | list | None)
            for takes, value in zip(self._file_inputs[number_of(event)], data, strict=False)
        )

    def session_of(self, event: str) -> str | None:
        """The session that an event runs, waits or has ended in; None where there is no such event."""
        queue = self.page._queue
        if (found := queue.event_ids_to_events.get(event)) is not None:
            return found.session_hash
        return next((name for name, ids in [*queue.pending_event_ids_session.items()] if event in ids), None)

    def listens(self, session: str) -> bool:
        """Whether there is anything to hear in a session."""
        return session in self.page._queue.pending_messages_per_session

    @property
    def has_accounts(self) -> bool:
        """Whether the owner lets in only who logs in."""
        app = getattr(self.page, "app", None)
        return self.page.auth is not None or getattr(app, "auth_dependency", None) is not None

    def share(self, files: Files) -> None:
        """Tells which files everybody is shown, when the page's configuration is there."""
        files.share(self.page.config)


def number_of(event: BlockFunction) -> int:
    """By which a call names an event."""
    return event._id


def _takes_files(component: object) -> bool:
    model = getattr(component, "data_model", None)
    return model is not None and "gradio.FileData" in json.dumps(model.model_json_schema())


def fetch_nothing() -> None:
    """Takes from Gradio all ways to fetch what a visitor names, for as long as this process lives."""

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
    """Keeps the client by which Gradio calls itself for MCP from opening files: those that an assistant may
    name are on the page already."""
    server = page.mcp_server_obj
    if server is None:
        return
    make = server._get_or_create_client

    def made():
        client = make()
        for endpoint in client.endpoints.values():
            endpoint._upload_file = lambda file, data_index: file
        return client

    server._get_or_create_client = made


def _is_free(host: str, port: int) -> bool:
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        with suppress(OSError):
            probe.bind((host, port))
            return True
    return False


@contextmanager
def served_behind(guard: Callable[[ASGIApp, str], ASGIApp]) -> Iterator[None]:
    """While it lasts, `launch` serves what `guard` makes of Gradio's application and the host, to clients
    that are not slow on purpose."""

    def start_server(app, server_name=None, server_port=None, **tls):
        host = server_name or http_server.LOCALHOST_NAME
        behind = guard(app, host)
        first = http_server.INITIAL_PORT_VALUE
        ports = [server_port] if server_port else range(first, first + http_server.TRY_NUM_PORTS)
        for port in filter(lambda port: _is_free(host.strip("[]"), port), ports):
            config = uvicorn.Config(
                behind,
                host.strip("[]"),
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
            shown = "localhost" if host == "0.0.0.0" else host
            return host, port, f"{scheme}://{shown}:{port}/", server
        raise OSError(f"no port of {ports} is free on {host}; set PORT to another")

    before = http_server.start_server
    http_server.start_server = start_server
    try:
        yield
    finally:
        http_server.start_server = before
