"""A session for replicas whose texts wait, after their first words, while a gate is shut."""

import os
import threading
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import palm_demo

LOOK_SECONDS = 0.02


class Gated:
    """The bundled session. In the folder it leaves a file for each text that has begun, which is called by
    its seed and the process that writes it, and one for each that has ended, `ended` and its seed; a file
    `shut` there is the gate."""

    def __init__(self, folder: Path):
        self.session, self.folder = palm_demo.load(), folder

    def __getattr__(self, name: str):
        return getattr(self.session, name)

    def stream(
        self, prompt: str, scope=None, *, cancelled: threading.Event, seed: int | None = None, **settings
    ) -> Iterator[str]:
        deltas = self.session.stream(prompt, scope, cancelled=cancelled, seed=seed, **settings)
        return self._held(deltas, seed, cancelled)

    def _held(self, deltas: Iterator[str], seed: int | None, cancelled: threading.Event) -> Iterator[str]:
        try:
            yield from islice(deltas, 1)
            (self.folder / f"{seed}-{os.getpid()}").touch()
            while (self.folder / "shut").exists() and not cancelled.wait(LOOK_SECONDS):
                pass
            yield from deltas
        finally:
            (self.folder / f"ended{seed}").touch()
