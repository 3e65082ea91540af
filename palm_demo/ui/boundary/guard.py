"""The guard: checks each request to the page, and lets only known kinds of requests through to Gradio."""

import json
import logging
import re
from contextlib import nullcontext

import anyio
from python_multipart.exceptions import FormParserError
from starlette.requests import ClientDisconnect
from starlette.routing import BaseRoute, Route, Router
from starlette.types import ASGIApp, Receive, Scope, Send

from palm_demo.errors import BusyError, MediaError, places
from palm_demo.internals.gradio_endpoints import with_defaults
from palm_demo.settings import Limits
from palm_demo.ui.boundary.assistants import Assistants, NotCalled
from palm_demo.ui.boundary.compression import Compression
from palm_demo.ui.boundary.files import MAX_DEPTH, Files, ForeignFile, without_files
from palm_demo.ui.boundary.gradio_insides import API, Insides, number_of
from palm_demo.ui.boundary.network import Network
from palm_demo.ui.boundary.requests import (
    BufferedSend,
    Handler,
    HandlerApp,
    OneAtATimePerAddress,
    OpenRequests,
    PageRequest,
    Refusal,
    WithoutQuery,
)
from palm_demo.ui.boundary.responses import ResponseSend, file_response, refused, tool_error
from palm_demo.ui.boundary.timeouts import ClientTimeout, receive_in_time, send_in_time
from palm_demo.ui.boundary.upload_quotas import WINDOW_SECONDS, CountedReceive, CountedUpload
from palm_demo.ui.boundary.visitors import CALLER, KEY, REFUSED, SESSION, Visitor, Visitors
from palm_demo.ui.messages import NO_ROOM, OUR_FAULT, as_sentence

logger = logging.getLogger(__name__)

UPLOAD_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
PAGE_PATHS = ("/", "/config", "/config/", "/theme.css", "/favicon.ico", "/robots.txt", "/manifest.json")
UNUSED = ("page", "deep_link")  # parameters of pages that are not there
READ_PATHS = ("/info", "/info/", "/app_id", "/theme.css")
HEALTH = "/healthz"
"""Answered at once, however many requests are open."""
CARD = "/card.png"
"""The picture that other sites show beside a link to the page."""
STATIC_FOLDERS = ("/static", "/assets", "/svelte")
LOGIN_PATHS = ("/login", "/login/", "/logout", f"{API}/login_check", f"{API}/user")
COOKIE_PATHS = ("/", "/config", "/config/", f"{API}/info", f"{API}/info/", f"{API}/upload")
"""Paths whose responses set a cookie for visitors without one."""
MCP_PATHS = (f"{API}/mcp", f"{API}/mcp/")
NOT_FOUND = "This is not here, or not yours."
TOO_DEEP = f"What was sent is more than {MAX_DEPTH} levels deep; send lists of plain values."


class Guard:
    """The ASGI application in front of Gradio's. Requests without a route here are answered with 404.

    Args:
        app: Gradio's application.
        insides: of the page that the application serves.
        files: of the page.
        limits: on uploads, for each visitor.
        network: how the page is reached.
        started: whether the page's startup events have run. If not, one request for them is let through.
    """

    def __init__(
        self, app: ASGIApp, insides: Insides, files: Files, limits: Limits, network: Network, started: bool
    ):
        self.app, self.insides, self.files, self.network = app, insides, files, network
        self.visitors, self.quotas = Visitors(network), insides.page.upload_quotas
        self.assistants = Assistants(insides, files, self.quotas, limits)
        self.limits, self._started = limits, started
        self.open_requests = OpenRequests(limits.requests_of_one)
        self.router = Router(self._routes(), redirect_slashes=False, default=_not_found)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            return await self.app(scope, receive, send)
        if scope["type"] != "http":
            return await send({"type": "websocket.close", "code": 1008})
        response = ResponseSend(send_in_time(send), scope, self.network.space)
        try:
            if (refusal := self.network.refusal(scope)) is not None:
                raise Refusal(403, refusal)
            visitor = self.visitors.of(scope)
            request = {**scope, KEY: visitor, "headers": [*scope["headers"]]}
            if visitor.new is not None and scope["path"] in COOKIE_PATHS:
                response.set_cookie(self.visitors.set_cookie(visitor, scope))
            is_counted = scope["path"] != HEALTH
            with self.open_requests.one(visitor.address) if is_counted else nullcontext():
                await self.router(request, receive_in_time(receive), response)
                await response.end()
        except Refusal as refusal:
            await response.instead(refused(refusal.status, refusal.message, refusal.headers))
        except MediaError as error:
            await response.instead(refused(400, as_sentence(error)))
        except ClientTimeout:
            await response.instead(refused(408, "That took too long.", {"Connection": "close"}))
        except ClientDisconnect:
            return
        except RecursionError:
            await response.instead(refused(400, TOO_DEEP))
        except Exception as error:
            logger.error("unforeseen %s\n%s", type(error).__name__, places(error))
            await response.instead(refused(500, OUR_FAULT))

    def _routes(self) -> list[BaseRoute]:
        def route(path: str, handler: Handler, method: str = "GET") -> Route:
            return Route(path, HandlerApp(handler), methods=[method])

        dress = self.insides.page.dress
        run_paths = [f"{API}/{kind}/{{api_name}}{end}" for kind in ("run", "api") for end in ("", "/")]
        return [
            *(
                route(path, WithoutQuery(UNUSED, OneAtATimePerAddress(Compression(self.app, dress))))
                for path in PAGE_PATHS
            ),
            *(
                route(path, self._forward)
                for path in (*(f"{API}{path}" for path in READ_PATHS), HEALTH, CARD)
            ),
            *(route(f"{folder}/{{path:path}}", self._static) for folder in STATIC_FOLDERS),
            *(route(path, self._login, method) for path in LOGIN_PATHS for method in ("GET", "POST")),
            route(f"{API}/startup-events", self._startup),
            route(f"{API}/file={{path:path}}", self._file),
            route(f"{API}/upload", self._upload, "POST"),
            route(f"{API}/upload_progress", self._upload_progress),
            route(f"{API}/queue/join", self._join, "POST"),
            route(f"{API}/queue/data", self._session_events),
            route(f"{API}/cancel", self._cancel, "POST"),
            route(f"{API}/reset", self._reset, "POST"),
            route(f"{API}/heartbeat/{{session_hash}}", self._heartbeat),
            *(route(path, self._run, "POST") for path in run_paths),
            route(f"{API}/call/v2/{{api_name}}", self._call_by_names, "POST"),
            route(f"{API}/call/{{api_name}}", self._call, "POST"),
            route(f"{API}/call/v2/{{api_name}}/{{event_id}}", self._call_events),
            route(f"{API}/call/{{api_name}}/{{event_id}}", self._call_events),
            *(route(path, self._mcp, method) for path in MCP_PATHS for method in ("GET", "POST", "DELETE")),
            route(f"{API}/mcp/schema", self._forward),
        ]

    async def _forward(self, request: PageRequest) -> None:
        await self.app(request.scope, request.receive, request.send)

    async def _static(self, request: PageRequest) -> None:
        if "\0" in request.path["path"] or len(request.path["path"].encode("utf-8", "replace")) > 255:
            raise Refusal(404, NOT_FOUND)
        await self._forward(request)

    async def _login(self, request: PageRequest) -> None:
        if not self.insides.has_accounts:
            raise Refusal(404, NOT_FOUND)
        request.bound_body()
        await self._forward(request)

    async def _startup(self, request: PageRequest) -> None:
        if self._started:
            raise Refusal(404, NOT_FOUND)
        self._started = True
        await self._forward(request)

    async def _file(self, request: PageRequest) -> None:
        try:
            path = self.files.real(f"/{request.path['path'].lstrip('/')}")
        except MediaError:
            raise Refusal(403, NOT_FOUND) from None
        if not await anyio.to_thread.run_sync(self.files.may_see, path, request.visitor):
            raise Refusal(403, NOT_FOUND)
        await file_response(path)(request.scope, request.receive, request.send)

    async def _upload(self, request: PageRequest) -> None:
        address, retry = request.visitor.address, {"Retry-After": str(WINDOW_SECONDS)}
        try:
            self.quotas.spend(address, 0, 0)
            await anyio.to_thread.run_sync(self.quotas.check_room, address)
            counted = CountedUpload(request.headers.get("content-type", ""), self.limits)
        except BusyError as error:
            raise Refusal(429, as_sentence(error), retry) from None
        if upload_id := request.query("upload_id"):
            request.replace_query(upload_id=self._own_upload_id(request.visitor, upload_id))
        receive = CountedReceive(request.receive, counted, self.quotas, address)
        response = BufferedSend(request.send)
        try:
            await self.app(request.scope, receive, response)
        except (TypeError, FormParserError):  # a form field that should be a file, and what is no form
            raise Refusal(400, "What came in place of a file is none; send files.") from None
        except OSError as error:
            logger.error("an upload cannot be kept: %s", error.strerror)
            raise Refusal(507, NO_ROOM, retry) from None
        if receive.refusal is not None:
            raise receive.refusal
        if response.status == 200:
            for shown in json.loads(self.files.hide(response.body)):
                self.files.grant(self.files.real(shown), request.visitor)
            self.quotas.keeps(address, counted.size_bytes)
        await response.flush()

    def _own_upload_id(self, visitor: Visitor, upload_id: str) -> str:
        if not UPLOAD_ID.fullmatch(upload_id):
            raise Refusal(400, "An upload_id has letters, digits, - and _ alone.")
        return visitor.session(upload_id)

    async def _upload_progress(self, request: PageRequest) -> None:
        request.replace_query(upload_id=self._own_upload_id(request.visitor, request.query("upload_id")))
        await self._forward(request)

    def _session(self, request: PageRequest, called: object, opens: bool = False) -> str:
        """Gradio's name for a visitor's session. opens: whether the request may begin the session."""
        if not isinstance(called, str) or not SESSION.fullmatch(called):
            raise Refusal(422, "A session_hash has 1 to 64 letters, digits, - and _.")
        visitor = (self.visitors.enter if opens else self.visitors.find)(request.visitor, called)
        if opens and visitor.new is not None and visitor.room == visitor.new:
            request.send.set_cookie(self.visitors.set_cookie(visitor, request.scope))
        return visitor.session(called)

    async def _join(self, request: PageRequest) -> None:
        body = await request.call()
        event = self.insides.event(body.get("fn_index"))
        if event is None:
            raise Refusal(404, "There is no such event.")
        session = self._session(request, body.get("session_hash"), opens=True)
        try:
            admitted = self._admitted(request, event, body)
        except ForeignFile as error:
            if event.api_visibility == "private":
                raise
            # gradio_client shows the message of a failed event, but only the status of a refused request
            request.scope[REFUSED] = as_sentence(error)
            admitted = {"fn_index": number_of(event), "data": [None] * len(event.inputs)}
        request.replace_body(admitted | {"session_hash": session})
        await self._forward(request)

    async def _run(self, request: PageRequest) -> None:
        body = await request.call()
        number = body.get("fn_index")
        named = self.insides.named(request.path["api_name"])
        event = named if number is None else self.insides.event(number)
        if event is None or event.queue:
            raise Refusal(404, "There is no such event, or it has a queue: POST to queue/join or to call.")
        admitted = self._admitted(request, event, body)
        if (came := len(admitted["data"])) != (takes := len(event.inputs)):
            raise Refusal(422, f"{came} values came and the event takes {takes}.")
        called = body.get("session_hash")
        session = None if called is None else self._session(request, called, opens=True)
        request.replace_body(admitted | {"session_hash": session})
        response = BufferedSend(request.send)
        await self.app(request.scope, request.receive, response)
        server_errors = (None, OUR_FAULT, NO_ROOM)
        if response.status == 500 and (why := json.loads(response.body).get("error")) not in server_errors:
            raise Refusal(400, why)  # the caller can correct it
        await response.flush()

    async def _call(self, request: PageRequest) -> None:
        body = await request.call()
        if (event := self.insides.named(request.path["api_name"])) is None:
            raise Refusal(404, "There is no such endpoint.")
        admitted, called = self._admitted(request, event, body), body.get("session_hash")
        session = None if called is None else self._session(request, called, opens=True)
        request.replace_body({"data": admitted["data"], "session_hash": session})
        await self._forward(request)

    async def _call_by_names(self, request: PageRequest) -> None:
        body = await request.call()
        if self.insides.named(request.path["api_name"]) is None:
            raise Refusal(404, "There is no such endpoint.")
        body.pop("oauth_token", None)
        request.replace_body(await self._admit(body, request.visitor))
        try:
            await self._forward(request)
        except TypeError:  # an argument is unknown or missing
            raise Refusal(422, "The endpoint has not these arguments; see “Use via API”.") from None

    def _admitted(self, request: PageRequest, event, body: dict) -> dict:
        """The fields of a call that reach Gradio. Those that say how to run the call are left out."""
        data, trigger = body.get("data"), body.get("trigger_id")
        if not isinstance(data, list):
            raise Refusal(422, "A call has data, a list of values.")
        if self.insides.has_text_for_files(event, data):
            raise Refusal(400, "A text stands where a file belongs; upload the file first.")
        return {
            "data": with_defaults(event, self.files.admit(data, request.visitor)),
            "fn_index": number_of(event),
            "trigger_id": trigger if isinstance(trigger, int) else None,
            "event_data": without_files(body.get("event_data")),
        }

    async def _admit(self, value: object, visitor: Visitor) -> object:
        return await anyio.to_thread.run_sync(self.files.admit, value, visitor)

    async def _session_events(self, request: PageRequest) -> None:
        session = self._session(request, request.query("session_hash"))
        if not self.insides.listens(session):
            raise Refusal(404, NOT_FOUND)
        request.replace_query(session_hash=session)
        await self._stream(request, session)

    async def _call_events(self, request: PageRequest) -> None:
        event = request.path["event_id"]
        session = self.insides.session_of(event)
        # a call without a session gets its event id as session, and only its caller knows that id
        if session is None or not (session == event or self._owns(request.visitor, session)):
            raise Refusal(404, NOT_FOUND)
        await self._stream(request, session)
        if session == event:  # nothing else comes in this session
            self.insides.forget(session)

    async def _stream(self, request: PageRequest, session: str) -> None:
        following = self.insides.listeners.following(session, request.receive, request.send)
        async with following as (receive, send):
            await self.app(request.scope, receive, send)

    def _owns(self, visitor: Visitor, session: str) -> bool:
        _, _, called = session.partition(".")
        return self.visitors.find(visitor, called).owns(session)

    async def _cancel(self, request: PageRequest) -> None:
        body = await request.call()
        event, number = body.get("event_id"), body.get("fn_index")
        session = self._session(request, body.get("session_hash"))
        known = isinstance(event, str) and self.insides.event(number) is not None
        if not known or self.insides.session_of(event) != session:
            raise Refusal(404, NOT_FOUND)
        request.replace_body({"session_hash": session, "fn_index": number, "event_id": event})
        await self._forward(request)

    async def _reset(self, request: PageRequest) -> None:
        body = await request.call()
        request.replace_body({"event_id": str(body.get("event_id"))})
        await self._forward(request)

    async def _heartbeat(self, request: PageRequest) -> None:
        session = self._session(request, request.path["session_hash"], opens=True)
        path = f"{request.scope.get('root_path', '')}{API}/heartbeat/{session}"
        request.scope |= {"path": path, "raw_path": path.encode()}
        await self._forward(request)

    async def _mcp(self, request: PageRequest) -> None:
        """Passes an MCP request on. It can use files of the visitor who sends it, but keeps nothing."""
        if request.scope["method"] == "POST":
            try:
                body = await self.assistants.call(request)
                await self._admit(body, request.visitor)
            except NotCalled as error:  # the MCP session goes on
                answer = tool_error(error.number, error.message)
                return await answer(request.scope, request.receive, request.send)
            request.replace_body(body)
        hidden = (b"cookie", b"origin", b"x-forwarded-for", b"x-forwarded-host", b"x-forwarded-proto", CALLER)
        headers = [pair for pair in request.scope["headers"] if pair[0] not in hidden]
        request.scope["headers"] = [*headers, (CALLER, self.visitors.call_for(request.visitor))]
        await self._forward(request)


async def _not_found(scope: Scope, receive: Receive, send: Send) -> None:
    raise Refusal(404, NOT_FOUND)
