"""The guard: every request to the page, decided by what it is. What is not let by here is not served."""

import json
import logging
import re

import anyio
from starlette.formparsers import MultiPartException
from starlette.requests import ClientDisconnect
from starlette.routing import BaseRoute, Route, Router
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from palm_demo.errors import BusyError, MediaError, PalmDemoError, places
from palm_demo.internals.gradio_endpoints import with_defaults
from palm_demo.settings import Limits
from palm_demo.ui.boundary.assistants import Assistants, NotCalled
from palm_demo.ui.boundary.compression import Compression
from palm_demo.ui.boundary.files import Files, ForeignFile, without_files
from palm_demo.ui.boundary.gradio_insides import API, Insides, number_of
from palm_demo.ui.boundary.network import Network
from palm_demo.ui.boundary.requests import (
    BufferedSend,
    Handler,
    HandlerApp,
    OneAtATimePerAddress,
    PageRequest,
    Refusal,
)
from palm_demo.ui.boundary.responses import ResponseSend, file_response, refused, tool_error
from palm_demo.ui.boundary.timeouts import ClientTimeout, receive_in_time, send_in_time
from palm_demo.ui.boundary.upload_quotas import WINDOW_SECONDS, CountedUpload
from palm_demo.ui.boundary.visitors import CALLER, KEY, REFUSED, SESSION, Visitor, Visitors
from palm_demo.ui.messages import NO_ROOM, OUR_FAULT

logger = logging.getLogger(__name__)

UPLOAD_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
PAGE = ("/", "/config", "/config/", "/theme.css", "/favicon.ico", "/robots.txt", "/manifest.json")
READ = ("/info", "/info/", "/app_id", "/theme.css")
CARD = "/card.png"
"""The picture that stands where the page's link is shared."""
FOLDERS = ("/static", "/assets", "/svelte")
ACCOUNTS = ("/login", "/login/", "/logout", f"{API}/login_check", f"{API}/user")
INTRODUCES = ("/", "/config", "/config/", f"{API}/info", f"{API}/info/", f"{API}/upload")
"""Where whoever has no cookie gets one."""
ASSISTANTS = (f"{API}/mcp", f"{API}/mcp/")
GONE = "This is not here, or not yours."


class Guard:
    """ASGI application in front of a page's.

    app: Gradio's. started: whether the page has run what it runs at its start; `launch` asks for that once.
    """

    def __init__(
        self, app: ASGIApp, insides: Insides, files: Files, limits: Limits, network: Network, started: bool
    ):
        self.app, self.insides, self.files, self.network = app, insides, files, network
        self.visitors, self.quotas = Visitors(network), insides.page.upload_quotas
        self.assistants = Assistants(insides, files, self.quotas, limits)
        self.limits, self._started = limits, started
        self.router = Router(self._routes(), redirect_slashes=False, default=_nothing)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            return await self.app(scope, receive, send)
        if scope["type"] != "http":
            return await send({"type": "websocket.close", "code": 1008})
        answer = ResponseSend(send_in_time(send), scope, self.network.space)
        try:
            if (refusal := self.network.refusal(scope)) is not None:
                raise Refusal(403, refusal)
            visitor = self.visitors.of(scope)
            request = {**scope, KEY: visitor, "headers": [*scope["headers"]]}
            if visitor.new is not None and scope["path"] in INTRODUCES:
                answer.set_cookie(self.visitors.set_cookie(visitor, scope))
            await self.router(request, receive_in_time(receive), answer)
            await answer.end()
        except Refusal as refusal:
            await answer.instead(refused(refusal.status, refusal.message, refusal.headers))
        except MediaError as error:
            await answer.instead(refused(400, _sentence(error)))
        except ClientTimeout:
            await answer.instead(refused(408, "That took too long.", {"Connection": "close"}))
        except ClientDisconnect:
            return
        except Exception as error:
            logger.error("unforeseen %s\n%s", type(error).__name__, places(error))
            await answer.instead(refused(500, OUR_FAULT))

    def _routes(self) -> list[BaseRoute]:
        def way(path: str, handler: Handler, method: str = "GET") -> Route:
            return Route(path, HandlerApp(handler), methods=[method])

        slashed = [f"{API}/{kind}/{{api_name}}{end}" for kind in ("run", "api") for end in ("", "/")]
        return [
            *(
                way(path, OneAtATimePerAddress(Compression(self.app, self.insides.page.dress)))
                for path in PAGE
            ),
            *(way(path, self._pass) for path in (*(f"{API}{path}" for path in READ), "/healthz", CARD)),
            *(way(f"{folder}/{{path:path}}", self._folder) for folder in FOLDERS),
            *(way(path, self._account, method) for path in ACCOUNTS for method in ("GET", "POST")),
            way(f"{API}/startup-events", self._start),
            way(f"{API}/file={{path:path}}", self._file),
            way(f"{API}/upload", self._upload, "POST"),
            way(f"{API}/upload_progress", self._progress),
            way(f"{API}/queue/join", self._join, "POST"),
            way(f"{API}/queue/data", self._listen),
            way(f"{API}/cancel", self._cancel, "POST"),
            way(f"{API}/reset", self._reset, "POST"),
            way(f"{API}/heartbeat/{{session_hash}}", self._heartbeat),
            *(way(path, self._run, "POST") for path in slashed),
            way(f"{API}/call/v2/{{api_name}}", self._call_by_names, "POST"),
            way(f"{API}/call/{{api_name}}", self._call, "POST"),
            way(f"{API}/call/v2/{{api_name}}/{{event_id}}", self._hear),
            way(f"{API}/call/{{api_name}}/{{event_id}}", self._hear),
            *(way(path, self._assist, method) for path in ASSISTANTS for method in ("GET", "POST", "DELETE")),
            way(f"{API}/mcp/schema", self._pass),
        ]

    async def _pass(self, request: PageRequest) -> None:
        await self.app(request.scope, request.receive, request.send)

    async def _folder(self, request: PageRequest) -> None:
        if "\0" in request.path["path"]:
            raise Refusal(404, GONE)
        await self._pass(request)

    async def _account(self, request: PageRequest) -> None:
        if not self.insides.has_accounts:
            raise Refusal(404, GONE)
        request.bound_body()
        await self._pass(request)

    async def _start(self, request: PageRequest) -> None:
        if self._started:
            raise Refusal(404, GONE)
        self._started = True
        await self._pass(request)

    async def _file(self, request: PageRequest) -> None:
        try:
            path = self.files.real(f"/{request.path['path'].lstrip('/')}")
        except MediaError:
            raise Refusal(403, GONE) from None
        if not await anyio.to_thread.run_sync(self.files.may_see, path, request.visitor):
            raise Refusal(403, GONE)
        await file_response(path)(request.scope, request.receive, request.send)

    async def _upload(self, request: PageRequest) -> None:
        address, receive = request.visitor.address, request.receive
        why, later = [], {"Retry-After": str(WINDOW_SECONDS)}
        try:
            self.quotas.spend(address, 0, 0)
            await anyio.to_thread.run_sync(self.quotas.check_room, address)
            counted = CountedUpload(request.headers.get("content-type", ""), self.limits)
        except BusyError as error:
            raise Refusal(429, _sentence(error), later) from None
        if upload_id := request.query("upload_id"):
            request.replace_query(upload_id=self._own_upload(request.visitor, upload_id))

        async def measured() -> Message:
            # Gradio's parser removes its temporary files on its own error alone
            try:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise ClientTimeout("the client left")
                begun = counted.add(message.get("body", b""))
                self.quotas.spend(address, begun, len(message.get("body", b"")))
            except BusyError as error:
                why.append(Refusal(429, _sentence(error), later))
                raise MultiPartException("too much") from None
            except MediaError as error:
                why.append(Refusal(413, _sentence(error)))
                raise MultiPartException("too much") from None
            except ClientTimeout:
                why.append(Refusal(408, "That took too long."))
                raise MultiPartException("too slow") from None
            return message

        whole = BufferedSend(request.send)
        try:
            await self.app(request.scope, measured, whole)
        except TypeError:  # a field where a file has to be
            raise Refusal(400, "What came in place of a file is none; send files.") from None
        except OSError as error:
            logger.error("an upload cannot be kept: %s", error.strerror)
            raise Refusal(507, NO_ROOM, later) from None
        if why:
            raise why[0]
        if whole.status == 200:
            for shown in json.loads(self.files.hide(whole.body)):
                self.files.belongs(self.files.real(shown), [request.visitor.name])
            self.quotas.keeps(address, counted.size_bytes)
        await whole.on()

    def _own_upload(self, visitor: Visitor, upload_id: str) -> str:
        if not UPLOAD_ID.fullmatch(upload_id):
            raise Refusal(400, "An upload_id has letters, digits, - and _ alone.")
        return visitor.session(upload_id)

    async def _progress(self, request: PageRequest) -> None:
        request.replace_query(upload_id=self._own_upload(request.visitor, request.query("upload_id")))
        await self._pass(request)

    def _session(self, request: PageRequest, called: object, opens: bool = False) -> str:
        """What a visitor's session is called inside."""
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
            # gradio_client shows its user an event's error, and of a refused call the status alone
            request.scope[REFUSED] = _sentence(error)
            admitted = {"fn_index": number_of(event), "data": [None] * len(event.inputs)}
        request.replace_body(admitted | {"session_hash": session})
        await self._pass(request)

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
        whole = BufferedSend(request.send)
        await self.app(request.scope, request.receive, whole)
        ours = (None, OUR_FAULT, NO_ROOM)
        if whole.status == 500 and (why := json.loads(whole.body).get("error")) not in ours:
            raise Refusal(400, why)  # an error of an event's is the caller's to mend
        await whole.on()

    async def _call(self, request: PageRequest) -> None:
        body = await request.call()
        if (event := self.insides.named(request.path["api_name"])) is None:
            raise Refusal(404, "There is no such endpoint.")
        admitted, called = self._admitted(request, event, body), body.get("session_hash")
        session = None if called is None else self._session(request, called, opens=True)
        request.replace_body({"data": admitted["data"], "session_hash": session})
        await self._pass(request)

    async def _call_by_names(self, request: PageRequest) -> None:
        body = await request.call()
        if self.insides.named(request.path["api_name"]) is None:
            raise Refusal(404, "There is no such endpoint.")
        body.pop("oauth_token", None)
        request.replace_body(await self._admit(body, request.visitor))
        try:
            await self._pass(request)
        except TypeError:  # a name that the endpoint does not have, or none that it needs
            raise Refusal(422, "The endpoint has not these arguments; see “Use via API”.") from None

    def _admitted(self, request: PageRequest, event, body: dict) -> dict:
        """What of a call is let by; nothing of it says how the call is to be run."""
        data, trigger = body.get("data"), body.get("trigger_id")
        if not isinstance(data, list):
            raise Refusal(422, "A call has data, a list of values.")
        if self.insides.has_words_for_files(event, data):
            raise Refusal(400, "A text stands where a file belongs; upload the file first.")
        return {
            "data": with_defaults(event, self.files.admit(data, request.visitor)),
            "fn_index": number_of(event),
            "trigger_id": trigger if isinstance(trigger, int) else None,
            "event_data": without_files(body.get("event_data")),
        }

    async def _admit(self, value: object, visitor: Visitor) -> object:
        return await anyio.to_thread.run_sync(self.files.admit, value, visitor)

    async def _listen(self, request: PageRequest) -> None:
        session = self._session(request, request.query("session_hash"))
        if not self.insides.listens(session):
            raise Refusal(404, GONE)
        request.replace_query(session_hash=session)
        await self._follow(request, session)

    async def _hear(self, request: PageRequest) -> None:
        event = request.path["event_id"]
        session = self.insides.session_of(event)
        # of a call without a session only its caller knows the event, which is its session
        if session is None or not (session == event or self._own(request.visitor, session)):
            raise Refusal(404, GONE)
        await self._follow(request, session)
        if session == event:  # it has no other
            self.insides.listeners.forget(session)

    async def _follow(self, request: PageRequest, session: str) -> None:
        following = self.insides.listeners.following(session, request.receive, request.send)
        async with following as (receive, send):
            await self.app(request.scope, receive, send)

    def _own(self, visitor: Visitor, session: str) -> bool:
        _, _, called = session.partition(".")
        return self.visitors.find(visitor, called).owns(session)

    async def _cancel(self, request: PageRequest) -> None:
        body = await request.call()
        event, number = body.get("event_id"), body.get("fn_index")
        session = self._session(request, body.get("session_hash"))
        known = isinstance(event, str) and self.insides.event(number) is not None
        if not known or self.insides.session_of(event) != session:
            raise Refusal(404, GONE)
        request.replace_body({"session_hash": session, "fn_index": number, "event_id": event})
        await self._pass(request)

    async def _reset(self, request: PageRequest) -> None:
        body = await request.call()
        request.replace_body({"event_id": str(body.get("event_id"))})
        await self._pass(request)

    async def _heartbeat(self, request: PageRequest) -> None:
        session = self._session(request, request.path["session_hash"], opens=True)
        path = f"{request.scope.get('root_path', '')}{API}/heartbeat/{session}"
        request.scope |= {"path": path, "raw_path": path.encode()}
        await self._pass(request)

    async def _assist(self, request: PageRequest) -> None:
        """An assistant's call (MCP): for whoever sends it, with that visitor's files, and it owns nothing."""
        if request.scope["method"] == "POST":
            try:
                body = await self.assistants.call(request)
                await self._admit(body, request.visitor)
            except NotCalled as error:  # its session goes on
                answer = tool_error(error.number, error.message)
                return await answer(request.scope, request.receive, request.send)
            request.replace_body(body)
        hidden = (b"cookie", b"origin", b"x-forwarded-for", b"x-forwarded-host", b"x-forwarded-proto", CALLER)
        headers = [pair for pair in request.scope["headers"] if pair[0] not in hidden]
        request.scope["headers"] = [*headers, (CALLER, self.visitors.call_for(request.visitor))]
        await self._pass(request)


async def _nothing(scope: Scope, receive: Receive, send: Send) -> None:
    raise Refusal(404, GONE)


def _sentence(error: PalmDemoError) -> str:
    return f"{str(error)[:1].upper()}{str(error)[1:]}."
