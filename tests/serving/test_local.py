"""SIGTERM and SIGINT: nothing is cut off without a word, and nothing is left behind."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from threading import Event
from types import SimpleNamespace

import httpx
import pytest

from palm_demo.gallery import MEMORY
from palm_demo.profiles import TINY
from palm_demo.serving import local
from palm_demo.settings import SPACEFILE, load_settings
from palm_demo.ui import page
from tests.ports import free_port

pytestmark = pytest.mark.slow  # each starts the page in a process of its own
ROOT = Path(__file__).resolve().parents[2]
PATIENCE_SECONDS = 180
SERVE = """
from palm_demo.serving import local
local.GRACE_SECONDS, local.LAST_WORD_SECONDS = {grace}, 120
local.serve()
"""


class Served:
    """The page in a process of its own, with a folder for its temporary files."""

    def __init__(self, folder: Path, grace: float):
        self.folder, self.port = folder, free_port()
        environment = os.environ | {
            "PORT": str(self.port),
            "GRADIO_SERVER_NAME": "127.0.0.1",
            "PALM_DEMO_GALLERY": str(folder / "gallery"),
            "TMPDIR": str(folder),
        }
        environment.pop("GRADIO_TEMP_DIR", None)
        command = [sys.executable, "-c", SERVE.format(grace=grace)]
        self.process = subprocess.Popen(command, cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True)
        self.client = httpx.Client(base_url=f"http://127.0.0.1:{self.port}", timeout=PATIENCE_SECONDS)
        self._wait()

    def _wait(self) -> None:
        pause = Event()
        for _ in range(PATIENCE_SECONDS * 5):
            assert self.process.poll() is None, self.process.stderr.read()
            try:
                if self.client.get("/healthz").status_code == 200:
                    return
            except httpx.HTTPError:
                pause.wait(0.2)
        raise AssertionError("the page did not come up")

    def begin(self, tokens: int) -> str:
        data = ["It was a dark and stormy night, and", None, tokens, 0.7, 0, 0.9, 1.1, [], 1, 0]
        return self.client.post("/gradio_api/call/generate", json={"data": data}).json()["event_id"]

    def end(self) -> tuple[int, str]:
        """The exit status, and what was written to standard error."""
        _, told = self.process.communicate(timeout=PATIENCE_SECONDS)
        return self.process.returncode, told


@pytest.fixture
def served(tmp_path):
    made = []

    def serve(grace: float) -> Served:
        made.append(Served(tmp_path, grace))
        return made[-1]

    yield serve
    for one in made:
        one.client.close()
        if one.process.poll() is None:
            one.process.kill()
            one.process.communicate()


def events(served: Served, event: str, after_first) -> list[tuple[str, str]]:
    """Kind and data of all that a stream says; `after_first` is called once it has said something."""
    said, kind = [], ""
    with served.client.stream("GET", f"/gradio_api/call/generate/{event}") as stream:
        for line in stream.iter_lines():
            if line.startswith("event:"):
                kind = line.removeprefix("event:").strip()
            elif line.startswith("data:"):
                said.append((kind, line.removeprefix("data:").strip()))
                if len(said) == 1:
                    after_first()
    return said


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_running_text_ends_as_it_would_have_and_the_process_ends_cleanly(served, number):
    page = served(grace=60)
    said = events(page, page.begin(24), lambda: page.process.send_signal(number))
    assert said[-1][0] == "complete" and len(said[-1][1]) > 20
    status, told = page.end()
    assert status == 0 and "Traceback" not in told and "terminate" not in told
    assert [path.name for path in page.folder.glob("palm-demo-*")] == []


def test_a_signal_while_the_page_is_launched_lets_running_requests_end(monkeypatch):
    done = []

    def launch(*_, **__):
        raise KeyboardInterrupt

    session = SimpleNamespace(close=lambda grace: done.append(("session", grace)))
    blocks = SimpleNamespace(
        listeners=SimpleNamespace(wait=lambda seconds: done.append(("last words", seconds))),
        close=lambda verbose: done.append(("server",)),
    )
    monkeypatch.setattr(page, "launch", launch)
    monkeypatch.setattr(page, "build", lambda *_: blocks)
    monkeypatch.setattr(local, "load", lambda *_: session)
    with pytest.raises(KeyboardInterrupt):
        local.start(load_settings(SPACEFILE), Path(), TINY, MEMORY)
    assert done == [("session", 10.0), ("last words", 10.0), ("server",)]


def test_a_text_that_is_not_done_in_time_gets_a_last_word(served):
    page = served(grace=0)
    said = events(page, page.begin(256), lambda: page.process.send_signal(signal.SIGTERM))
    assert said[-1][0] == "error" and "being closed" in said[-1][1]
    status, told = page.end()
    assert status == 0 and "Traceback" not in told
