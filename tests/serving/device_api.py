"""ZeroGPU's side of the package `spaces`: what schedules the GPUs, here of made-up ones."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlparse


@dataclass
class Gpus:
    """Two GPUs. asked: what each request for one said. workers: by GPU, the process that has it or had it
    last. in_line: requests that wait. refused: whether the next one is told that its quota is used up."""

    count: int = 2
    asked: list[dict[str, str]] = field(default_factory=list)
    workers: dict[int, int] = field(default_factory=dict)
    in_line: int = 0
    refused: bool = False
    reports: int = 0
    _lent: dict[str, int] = field(default_factory=dict)
    _warm: set[tuple[str, int]] = field(default_factory=set)
    _changed: threading.Condition = field(default_factory=threading.Condition)

    @property
    def lent(self) -> int:
        return len(self._lent)

    def line(self) -> bool:
        return len(self._lent) >= self.count

    def lend(self, task: str) -> dict:
        """Waits for a free GPU, best one where the task has a worker already."""
        with self._changed:
            self.in_line += 1
            self._changed.notify_all()
            self._changed.wait_for(lambda: not self.line())
            self.in_line -= 1
            free = [index for index in range(self.count) if index not in self._lent.values()]
            index = next((index for index in free if (task, index) in self._warm), free[0])
            token = f"{task}-{len(self.asked)}-{index}"
            self._lent[token] = index
            idle = (task, index) in self._warm
            return {"idle": idle, "nvidiaIndex": index, "nvidiaUUID": f"MIG-{index}", "allowToken": token}

    def allow(self, token: str, process: int) -> None:
        with self._changed:
            self.workers[self._lent[token]] = process

    def take_back(self, token: str, fail: bool) -> bool:
        with self._changed:
            index = self._lent.pop(token, None)
            if index is None:
                return False
            worker = (token.split("-")[0], index)
            self._warm = self._warm - {worker} if fail else self._warm | {worker}
            self._changed.notify_all()
            return True

    def until(self, holds) -> None:
        """Waits for something to be true of these."""
        with self._changed:
            assert self._changed.wait_for(holds, timeout=60), "waited in vain"


class _Api(BaseHTTPRequestHandler):
    gpus: Gpus

    def do_POST(self) -> None:
        at = urlparse(self.path)
        said = {name: values[0] for name, values in parse_qs(at.query).items()}
        getattr(self, at.path.strip("/").replace("-", "_"))(said)

    def startup_report(self, said: dict[str, str]) -> None:
        self.gpus.reports += 1
        self._answer(200)

    def schedule(self, said: dict[str, str]) -> None:
        self.gpus.asked.append(said)
        if self.gpus.refused:
            self._answer(429, {"left": 3, "wait": 720})
        elif self.gpus.line():
            self.send_response(200)
            self.send_header("Content-Type", "text/event-stream")
            self.end_headers()
            lent = json.dumps(self.gpus.lend(said["taskId"]))
            self.wfile.write(f"event: succeeded\ndata: {lent}\n\n".encode())
        else:
            self._answer(200, self.gpus.lend(said["taskId"]))

    def allow(self, said: dict[str, str]) -> None:
        self.gpus.allow(said["allowToken"], int(said["pid"]))
        self._answer(200)

    def release(self, said: dict[str, str]) -> None:
        known = self.gpus.take_back(said["allowToken"], said["fail"] == "true")
        self._answer(200 if known else 404)

    def _answer(self, status: int, content: dict | None = None) -> None:
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *said) -> None:
        pass


@contextmanager
def lending() -> Iterator[tuple[str, Gpus]]:
    """The address of a server, and its GPUs."""
    gpus = Gpus()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Api", (_Api,), {"gpus": gpus}))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", gpus
    finally:
        server.shutdown()
        server.server_close()
