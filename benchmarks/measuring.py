"""Speeds side by side: sides measured in turns within one run, their medians, Markdown out."""

import argparse
import platform
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch

Side = Callable[[], object]
"""One way to do the work."""

READ_BYTES, READS = 512 * 2**20, 16
"""Many times what any cache holds, and as often as takes a good part of a second."""


def medians(sides: Mapping[str, Side], rounds: int, device: torch.device) -> dict[str, float]:
    """Median seconds of one call of each side.

    The sides take turns, so that a minute in which the machine is slow is slow for all of them; a
    first round, in which memory is claimed and kernels are chosen, does not count.
    """
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(rounds + 1):
        for name, side in sides.items():
            seconds[name].append(_seconds(side, device))
    return {name: statistics.median(times[1:]) for name, times in seconds.items()}


def _seconds(side: Side, device: torch.device) -> float:
    _wait(device)
    start = time.perf_counter()
    side()
    _wait(device)
    return time.perf_counter() - start


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


class ReadMemory:
    """A side that reads READ_BYTES, READS times, with all threads and does next to nothing else.

    Decoding reads weights and writes hardly anything: a copy would measure writes too, and a
    matrix-vector product the kernel that is to be judged.
    """

    def __init__(self, device: torch.device):
        self.buffer = torch.ones(READ_BYTES // 4, device=device)

    def __call__(self) -> None:
        for _ in range(READS):
            self.buffer.sum()

    def bandwidth(self, seconds: float) -> float:
        """Bytes a second, from this side's median."""
        return READS * READ_BYTES / seconds


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table in Markdown."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def times(faster: float, slower: float) -> str:
    """How many times as much one is as the other."""
    return f"{faster / slower:.1f}×"


def machine(device: torch.device) -> str:
    """A sentence that says on what the figures were read."""
    if device.type == "cuda":
        name = torch.cuda.get_device_name(device)
    else:
        name = f"{torch.get_num_threads()} threads of {_processor()}"
    return f"Read on {name} with torch {torch.__version__}."


def _processor() -> str:
    listed = Path("/proc/cpuinfo")
    named = listed.read_text().splitlines() if listed.exists() else []
    names = [line.split(":")[1].strip() for line in named if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def arguments(description: str, rounds: int) -> argparse.ArgumentParser:
    """The options of benchmarks whose sides take turns."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--rounds", type=int, default=rounds, help="turns of each side that count")
    parser.add_argument("--device", type=torch.device, default=torch.device("cpu"), help="cpu or cuda")
    return parser
