"""What the tests of the trust boundary share: hostile files, a watch over what is opened, pages to ask."""

import asyncio
import json
import os
import socket
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import httpx
import uvicorn
from PIL import Image

from palm_demo.ui.boundary.files import SHOWN
from palm_demo.ui.boundary.visitors import Visitors

META = {"meta": {"_type": "gradio.FileData"}}
_watches: list[list[str]] = []


def _note(event: str, arguments: tuple) -> None:
    if not _watches:
        return
    if event == "open" and isinstance(arguments[0], str | bytes | os.PathLike):
        seen = os.fsdecode(arguments[0])
    elif event in ("socket.connect", "socket.getaddrinfo"):
        seen = f"{event} {arguments[1] if event == 'socket.connect' else arguments[:2]}"
    else:
        return
    for watch in _watches:
        watch.append(seen)


sys.addaudithook(_note)


@contextmanager
def watched() -> Iterator[list[str]]:
    """All that this process, the page's server too, opens and connects to while the `with` lasts."""
    watch: list[str] = []
    _watches.append(watch)
    try:
        yield watch
    finally:
        _watches.remove(watch)


def hostile_paths(folder: Path, uploads: Path) -> list[str]:
    """Paths that are no visitor's upload: each kind once outside the upload folder, once in it, and there
    under the name that a visitor sees."""
    secret = folder / "secret.png"
    Image.new("RGB", (16, 16), "red").save(secret)
    inside = uploads / "hostile"
    inside.mkdir(parents=True, exist_ok=True)
    (inside / "left.png").write_bytes(secret.read_bytes())
    for name, make in (
        ("pipe.png", os.mkfifo),
        ("link.png", lambda path: os.symlink(secret, path)),
        ("folder.png", os.mkdir),
    ):
        if not os.path.lexists(inside / name):
            make(inside / name)
    names = [path.name for path in inside.iterdir()]
    return [
        str(secret),
        "/dev/zero",
        "/proc/self/environ",
        "Spacefile",
        *(str(inside / name) for name in names),
        *(f"{SHOWN}/hostile/{name}" for name in names),
        f"{SHOWN}/../secret.png",
        f"{SHOWN}/hostile/../hostile/left.png",
        f"{SHOWN}/hostile/left.png\0",
        "http://127.0.0.1:9/cat.png",
        "https://example.com/cat.png",
        "HTTPS://example.com/cat.png",
        "file:///etc/passwd",
        "data:image/png;base64,AAAA",
        "",
    ]


def hostile_files(paths: list[str]) -> list[dict]:
    """The paths as file values, as they are and as Gradio's clients write them, and addresses without one."""
    plain = [{"path": path} for path in paths]
    return [
        *plain,
        *(file | META for file in plain),
        {"path": None, "url": "data:image/png;base64,AAAA"},
        {"url": "https://example.com/cat.png"},
        {"path": None} | META,
        {"path": ["/etc/passwd"]} | META,
        {"path": "/etc/passwd", "meta": "gradio.FileData"},
    ]


@contextmanager
def running(app: object, **options: object) -> Iterator[str]:
    """The address of an ASGI application, served with uvicorn's options until the `with` ends."""
    listening = socket.socket()
    listening.bind(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=1, **options))
    thread = threading.Thread(target=server.run, args=([listening],), daemon=True)
    thread.start()
    while not server.started:
        thread.join(0.01)
        assert thread.is_alive(), "the server did not start"
    yield f"http://127.0.0.1:{listening.getsockname()[1]}/"
    server.should_exit = True
    thread.join()
    listening.close()


def number_of(config: dict, name: str) -> int:
    return next(event["id"] for event in config["dependencies"] if event["api_name"] == name)


def join(client: httpx.Client, config: dict, session: str, name: str, *data) -> httpx.Response:
    body = {"data": data, "fn_index": number_of(config, name), "session_hash": session}
    return client.post("gradio_api/queue/join", json=body)


def write(client: httpx.Client, config: dict, session: str, tokens: int = 200) -> str:
    """Has a text written; the id of its event."""
    settings = [None, tokens, 0.7, 0, 0.9, 1.1, [], 7, 0.0]
    answer = join(client, config, session, "generate", "It was a dark night, and", *settings)
    assert answer.status_code == 200, answer.text
    return answer.json()["event_id"]


def heard(client: httpx.Client, session: str) -> list[dict]:
    with client.stream("GET", "gradio_api/queue/data", params={"session_hash": session}) as lines:
        assert lines.status_code == 200
        return [json.loads(line.removeprefix("data: ")) for line in lines.iter_lines() if line]


def ended_well(messages: list[dict]) -> bool:
    ended = [message for message in messages if message["msg"] == "process_completed"]
    return len(ended) == 1 and ended[0]["success"] and bool(ended[0]["output"]["data"][0])


def asked(peer: str = "127.0.0.1", scheme: str = "http", **headers: str) -> dict:
    named = {"host": "localhost:7860"} | {name.replace("_", "-"): value for name, value in headers.items()}
    pairs = [(name.encode(), value.encode()) for name, value in named.items() if value]
    return {"type": "http", "client": (peer, 1), "scheme": scheme, "headers": pairs}


def cookie_of(visitors: Visitors, visitor, scope: dict) -> str:
    return visitors.set_cookie(visitor, scope).decode().partition(";")[0]


def run_apart(coroutine):
    """In a thread of its own: the browser of other tests keeps an event loop running in this one."""
    with ThreadPoolExecutor(1) as executor:
        return executor.submit(asyncio.run, coroutine).result()
