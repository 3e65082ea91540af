"""A process that adds pictures is killed at any moment: all that it had committed is there."""

import os
import random
import signal

import pytest

from palm_demo.gallery import open_gallery
from tests.gallery.conftest import DIM, row_of

pytestmark = pytest.mark.slow

BATCH, KILLS = 5, 20


def add_forever(place: str, told) -> None:
    """Adds batches and tells the number of each once it is committed."""
    gallery = open_gallery(place, "f", DIM)
    begun = len(gallery) // BATCH
    for batch in range(begun, begun + 10_000):
        gallery.add([row_of(number) for number in range(batch * BATCH, (batch + 1) * BATCH)])
        told.send(batch)
        if batch % 7 == 6:
            gallery.tidy()  # may die here too


def test_a_write_killed_at_any_moment_leaves_every_committed_row(processes, tmp_path):
    """One table, 20 processes one after another, each killed while it writes."""
    chance, place = random.Random(0), str(tmp_path)
    for kill in range(KILLS):
        told, telling = processes.Pipe(duplex=False)
        writer = processes.Process(target=add_forever, args=(place, telling))
        writer.start()
        telling.close()
        committed = [told.recv() for _ in range(chance.randint(1, 9))]
        _spin(chance.random())  # so that it is anywhere in the next write
        os.kill(writer.pid, signal.SIGKILL)
        writer.join()
        committed += _rest(told)
        assert writer.exitcode == -signal.SIGKILL

        gallery = open_gallery(place, "f", DIM)
        there = {int(id) for part in gallery.batches(["id"]) for id in part["id"].to_pylist()}
        last = (committed[-1] + 1) * BATCH
        assert there >= set(range(last)), f"rows are missing after kill {kill}"
        assert there in (set(range(last)), set(range(last + BATCH))), "half a batch is there"
        asked = chance.randrange(last)
        assert int(gallery.nearest(row_of(asked).embedding, 1)[0].id) == asked
        assert (
            gallery.find(row_of(asked).embedding, 1, words=f"picture {asked}")[0].caption
            == f"picture {asked}"
        )


def _spin(part: float) -> None:
    """Up to some milliseconds, about as long as a commit takes."""
    for _ in range(int(part * 300_000)):
        pass


def _rest(told) -> list[int]:
    """What was told before the end came."""
    numbers = []
    try:
        while True:
            numbers.append(told.recv())
    except EOFError:
        return numbers
