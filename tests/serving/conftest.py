"""One page and two replicas for all tests, in processes that end with them."""

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import pytest

from palm_demo.gallery import MEMORY
from palm_demo.serving.ray_app import NAME, running
from palm_demo.serving.ray_session import RaySession
from palm_demo.settings import load_settings
from tests.ports import free_port
from tests.serving.gated import Gated

PATIENCE_SECONDS = 120
"""For what takes a second on an idle machine."""


class Gate:
    """Whether texts go on, and who writes them."""

    def __init__(self, folder: Path):
        self.folder = folder

    def shut(self) -> None:
        (self.folder / "shut").touch()

    def open(self) -> None:
        (self.folder / "shut").unlink(missing_ok=True)

    def writers(self) -> dict[int, int]:
        """Seed -> process, of the texts that have begun."""
        return dict(map(int, file.name.split("-")) for file in self.folder.glob("*-*"))


def until(holds: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE_SECONDS
    while not holds():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)


@pytest.fixture(scope="package")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("gate")


@pytest.fixture(scope="package")
def address(folder) -> Iterator[str]:
    """Where the page is."""
    with ExitStack() as until_then:
        with pytest.MonkeyPatch.context() as patch:  # not for the tests of other pages meanwhile
            patch.setenv("PORT", str(free_port()))
            patch.setenv("RAY_worker_niceness", "0")  # at 15, a busy machine lets them starve
            patch.setenv("OMP_NUM_THREADS", "1")
            for name in ("RAY_ADDRESS", "GRADIO_TEMP_DIR", "GRADIO_SERVER_NAME", "PALM_DEMO_MCP"):
                patch.delenv(name, raising=False)
            page = running(partial(Gated, folder), load_settings(), MEMORY, replicas=2)
            address = until_then.enter_context(page)
        yield address


@pytest.fixture(scope="package")
def remote(address) -> RaySession:
    """The session that the page has, had here too."""
    from ray import serve

    return RaySession(serve.get_deployment_handle("models", NAME))


@pytest.fixture
def gate(folder) -> Iterator[Gate]:
    for file in folder.iterdir():
        file.unlink()
    gate = Gate(folder)
    yield gate
    gate.open()
