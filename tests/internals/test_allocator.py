"""Memory that is free in the C library's heaps goes back to the system."""

import platform
import threading

import psutil
import pytest

from palm_demo.internals.allocator import release_free_memory

BLOCKS, BLOCK_BYTES, KEPT_OF = 40_000, 5_000, 50


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc keeps such holes")
def test_holes_between_what_is_kept_are_given_back():
    kept = []

    def leave_holes() -> None:
        blocks = [bytes(BLOCK_BYTES) for _ in range(BLOCKS)]
        kept.extend(blocks[::KEPT_OF])

    thread = threading.Thread(target=leave_holes)
    thread.start()
    thread.join()
    process = psutil.Process()
    before = process.memory_info().rss
    assert release_free_memory()
    assert before - process.memory_info().rss > BLOCKS * BLOCK_BYTES / 2
    assert kept == [bytes(BLOCK_BYTES)] * (BLOCKS // KEPT_OF)
