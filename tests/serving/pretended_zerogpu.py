"""ZeroGPU as tests have it: a plugin of pytest, for a process of its own, since `spaces` changes torch there.

What schedules the GPUs is made up, and so are they: CUDA is never begun, and workers move weights to the CPU.
"""

import os
import select
import threading
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import pytest
import torch
from PIL import Image

import palm_demo
from palm_demo.installation import ASSETS
from palm_demo.session import Session
from tests.serving.device_api import Gpus, lending

PROMPT = "It was a dark night"
HELD = "Wait here until"
PROVERBS = ASSETS / "proverbs.txt"
torch.set_num_threads(1)


class Gate:
    """Through which texts that begin with HELD go on after their first words: a pipe, which a worker has
    too. A letter in it is one text's leave."""

    def __init__(self):
        self.asked, self.leave = os.pipe()

    def open(self) -> None:
        os.write(self.leave, b"!")

    def wait(self, cancelled: threading.Event) -> None:
        while not cancelled.is_set():
            if select.select([self.asked], [], [], 0.02)[0]:
                os.read(self.asked, 1)
                return


class Gated(Session):
    gate: Gate

    def stream(self, prompt, scope=None, *, cancelled=None, **settings) -> Iterator[str]:
        deltas = super().stream(prompt, scope, cancelled=cancelled, **settings)
        return self._held(deltas, cancelled) if prompt.startswith(HELD) else deltas

    def _held(self, deltas: Iterator[str], cancelled: threading.Event) -> Iterator[str]:
        yield from islice(deltas, 1)
        self.gate.wait(cancelled)
        yield from deltas


@pytest.fixture(scope="session")
def gpus() -> Iterator[Gpus]:
    with lending() as (address, gpus), pytest.MonkeyPatch.context() as patch:
        patch.setenv("SPACES_ZERO_GPU", "true")
        patch.setenv("SPACES_ZERO_DEVICE_API_URL", address)
        patch.setattr(torch.version, "cuda", torch.version.cuda or "12.8")  # of a torch for CPUs alone
        import spaces.zero.torch

        for begins_cuda in ("init", "move"):
            patch.setattr(spaces.zero.torch, begins_cuda, lambda *given, **settings: None)
        yield gpus


@pytest.fixture(scope="session")
def session() -> Session:
    return palm_demo.load()


@pytest.fixture(scope="session")
def gate() -> Gate:
    return Gate()


@pytest.fixture(scope="session")
def zero(gpus, gate):
    """The session of a page, around one of its own."""
    from palm_demo.serving.zerogpu import ZeroSession

    loaded = palm_demo.load()
    gated = Gated(loaded.models, loaded.media_limits)
    gated.gate = gate
    return ZeroSession(gated, device="cpu")


@pytest.fixture(autouse=True)
def nothing_is_kept(gpus):
    yield
    gpus.refused = False
    gpus.until(lambda: gpus.lent == 0 and gpus.in_line == 0)


@pytest.fixture
def pictures(tmp_path) -> list[Path]:
    """Two files, as a visitor uploads them."""
    paths = [tmp_path / "red.png", tmp_path / "blue.png"]
    for path in paths:
        Image.new("RGB", (64, 64), path.stem).save(path)
    return paths
