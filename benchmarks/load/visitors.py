"""Visitors of the page, as its API's clients: what they ask for, how long it took, and what went wrong."""

import asyncio
import io
import json
import random
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass, field

import httpx

from palm_demo import world

PATIENCE_SECONDS = 300.0
PROMPTS = (
    "It was a dark and stormy night, and",
    "Once upon a time there was a little girl who",
    "The captain looked at the compass, and the ship",
)
SEARCHES = ("a cat", "a red apple", "a car on a blue background", "something to eat", "two dogs")


class Refused(Exception):
    """An answer that is none, by kind: what a page says when it is busy is no failure."""

    def __init__(self, kind: str):
        super().__init__(kind)
        self.kind = kind


@dataclass
class Seen:
    """What a visitor met: seconds of each request by verb, and how often each kind of error."""

    seconds: dict[str, list[float]] = field(default_factory=dict)
    errors: dict[str, int] = field(default_factory=dict)

    @property
    def requests(self) -> int:
        return sum(map(len, self.seconds.values())) + sum(self.errors.values())


class Visitor:
    """One client with cookies and an address of its own on the loopback."""

    def __init__(
        self,
        address: str,
        number: int,
        picture: bytes,
        own_address: str | None = None,
        seen: Seen | None = None,
    ):
        """address: of the page. picture: what it uploads. own_address: from where; 127.1.X.Y by number.
        seen: where it is noted what it met."""
        local = own_address or f"127.1.{number // 250}.{number % 250 + 1}"
        transport = httpx.AsyncHTTPTransport(local_address=local, limits=httpx.Limits(max_connections=None))
        self.client = httpx.AsyncClient(base_url=address, transport=transport, timeout=PATIENCE_SECONDS)
        self.random = random.Random(f"load/{number}")
        self.picture, self.seen = picture, seen or Seen()

    async def __aenter__(self) -> "Visitor":
        return self

    async def __aexit__(self, *_) -> None:
        await self.client.aclose()

    async def do(self, verb: str) -> None:
        """One request, timed."""
        begun = time.monotonic()
        try:
            await getattr(self, verb)()
        except Refused as error:
            self.seen.errors[error.kind] = self.seen.errors.get(error.kind, 0) + 1
        except httpx.HTTPError as error:
            kind = type(error).__name__
            self.seen.errors[kind] = self.seen.errors.get(kind, 0) + 1
        else:
            self.seen.seconds.setdefault(verb, []).append(time.monotonic() - begun)

    async def healthz(self) -> None:
        _check(await self.client.get("/healthz"))

    async def write(self, new_tokens: int = 40) -> None:
        await self._call("generate", self._text(new_tokens))

    async def ten_tokens(self) -> None:
        await self.write(10)

    async def search(self) -> None:
        await self._call("search", [self.random.choice(SEARCHES), 8, "", "", ""])

    async def describe(self) -> None:
        await self._call("caption", [await self.upload(), 32])

    async def ask(self) -> None:
        file = await self.upload()
        prompt = "<media> question: what color is the background? answer:"
        await self._call("answer", [prompt, [file], 32, 0.0, 0, 1.0, 1.0, [], None])

    async def judge(self, characters: int = 1_000) -> None:
        text = " ".join(self.random.choice(PROMPTS) for _ in range(characters // 35))
        await self._call("who_wrote", [text])

    async def upload(self) -> dict:
        answer = await self.client.post("/gradio_api/upload", files={"files": ("picture.png", self.picture)})
        _check(answer)
        return {"path": answer.json()[0], "meta": {"_type": "gradio.FileData"}}

    async def leave_in_the_middle(self) -> None:
        """Begins a long text and goes away after its first words."""
        event = await self._begin("generate", self._text(200))
        async with self.client.stream("GET", f"/gradio_api/call/generate/{event}") as answer:
            async for line in answer.aiter_lines():
                if line.startswith("data:"):
                    return

    async def idle_stream(self) -> AsyncIterator[None]:
        """A connection that is held open and asks for nothing."""
        name = f"{self.random.getrandbits(64):x}"
        async with self.client.stream("GET", f"/gradio_api/heartbeat/{name}") as answer:
            async for _ in answer.aiter_lines():
                yield

    def _text(self, new_tokens: int) -> list:
        return [self.random.choice(PROMPTS), None, new_tokens, 0.7, 0, 0.9, 1.1, [], None]

    async def _begin(self, endpoint: str, data: list) -> str:
        answer = await self.client.post(f"/gradio_api/call/{endpoint}", json={"data": data})
        _check(answer)
        return answer.json()["event_id"]

    async def _call(self, endpoint: str, data: list) -> list:
        event = await self._begin(endpoint, data)
        said = ""
        async with self.client.stream("GET", f"/gradio_api/call/{endpoint}/{event}") as answer:
            async for line in answer.aiter_lines():
                if line.startswith("event:"):
                    said = line.removeprefix("event:").strip()
                elif line.startswith("data:") and said == "complete":
                    return json.loads(line.removeprefix("data:"))
                elif line.startswith("data:") and said == "error":
                    raise Refused(_kind(line.removeprefix("data:").strip()))
        raise Refused("the stream ended without an answer")


def _check(answer: httpx.Response) -> None:
    if answer.status_code >= 400:
        raise Refused(f"{answer.status_code} {_kind(answer.text)}")


def _kind(message: str) -> str:
    """An error without what differs from one to the next."""
    with suppress(ValueError):
        message = json.loads(message) or message
    if isinstance(message, dict):
        message = message.get("error") or message.get("detail") or ""
    return "".join("N" if letter.isdigit() else letter for letter in str(message))[:160].replace("NN", "N")


def picture() -> bytes:
    """A scene for visitors to upload."""
    file = io.BytesIO()
    world.render(world.single_scene(random.Random("load"))).save(file, "PNG")
    return file.getvalue()


async def stay(visitor: Visitor, seconds: float, verbs: dict[str, float]) -> None:
    """Asks for one thing after another, each as often as its weight says."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        (verb,) = visitor.random.choices(list(verbs), list(verbs.values()))
        await visitor.do(verb)
        await asyncio.sleep(visitor.random.uniform(0, 1))
