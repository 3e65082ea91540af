"""What the tests of the trust boundary share: hostile files, a watch over what is opened, pages to ask."""

import os
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import uvicorn
from PIL import Image

from palm_demo.ui.boundary.files import SHOWN

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
def running(app: object) -> Iterator[str]:
    """The address of an ASGI application, served until the `with` ends."""
    listening = socket.socket()
    listening.bind(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=1))
    thread = threading.Thread(target=server.run, args=([listening],), daemon=True)
    thread.start()
    while not server.started:
        thread.join(0.01)
        assert thread.is_alive(), "the server did not start"
    yield f"http://127.0.0.1:{listening.getsockname()[1]}/"
    server.should_exit = True
    thread.join()
    listening.close()
