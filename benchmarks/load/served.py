"""The page in a process of its own, whose state can be asked for on its standard input."""

import json
import os
import socket
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import psutil

START_SECONDS = 180.0
ANSWER_SECONDS = 30.0


@dataclass(frozen=True)
class State:
    """The state of the page's process.

    Attributes:
        texts: those that have a row or wait for one, by model.
        computations: those outside of the batches.
        files: open ones.
    """

    texts: dict[str, int]
    computations: int
    threads: int
    files: int
    resident_mb: float

    @property
    def at_rest(self) -> bool:
        return not self.computations and not any(self.texts.values())


class Page:
    """A page's process, and the address where it serves."""

    def __init__(self, process: subprocess.Popen, address: str):
        self.process, self.address = process, address

    def state(self) -> State:
        self.process.stdin.write("state\n")
        self.process.stdin.flush()
        for line in self.process.stdout:
            if line.startswith('{"texts"'):
                return State(**json.loads(line))
        raise RuntimeError("the page ended while it was asked for its state")

    def healthy(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.address}/healthz", timeout=ANSWER_SECONDS) as answer:
                return answer.status == 200
        except (urllib.error.URLError, OSError):
            return False


@contextmanager
def page() -> Iterator[Page]:
    """A page of the bundled weights on a free port of the loopback, with a gallery that goes with it."""
    with TemporaryDirectory(prefix="palm-demo-load-") as folder:
        port = _free_port()
        environment = {
            **os.environ,
            "PORT": str(port),
            "GRADIO_SERVER_NAME": "127.0.0.1",
            "PALM_DEMO_GALLERY": str(Path(folder) / "gallery"),
        }
        command = [sys.executable, "-m", "benchmarks.load.served"]
        process = subprocess.Popen(
            command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        served = Page(process, f"http://127.0.0.1:{port}")
        try:
            _wait_until_up(served)
            yield served
        finally:
            process.terminate()
            process.wait()


def _wait_until_up(served: Page) -> None:
    waiting = threading.Event()
    for _ in range(int(START_SECONDS)):
        if served.healthy():
            return
        if served.process.poll() is not None:
            raise RuntimeError(f"the page ended with status {served.process.returncode} before it was up")
        waiting.wait(1.0)
    raise RuntimeError(f"the page was not up after {START_SECONDS:.0f} seconds")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _serve() -> None:
    """In the page's process: serves, and says its state whenever it is asked."""
    from palm_demo.serving import local
    from palm_demo.session import Session

    sessions: list[Session] = []
    made = Session.__init__

    def noted(session: Session, *arguments, **settings) -> None:
        made(session, *arguments, **settings)
        sessions.append(session)

    Session.__init__ = noted
    threading.Thread(target=_tell, args=(sessions,), daemon=True).start()
    local.serve()


def _tell(sessions: list) -> None:
    process = psutil.Process()
    for _ in sys.stdin:
        session = sessions[0]
        batches = {name: part.engine.batch for name, part in session.parts.items()}
        state = {
            "texts": {name: batch.limits.rows - batch.free for name, batch in batches.items()},
            "computations": session.turns.inside,
            "threads": process.num_threads(),
            "files": process.num_fds(),
            "resident_mb": round(process.memory_info().rss / 1e6, 1),
        }
        print(json.dumps(state), flush=True)


if __name__ == "__main__":
    _serve()
