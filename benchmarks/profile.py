"""Where the time of a decode step on a CPU goes: `python -m benchmarks.profile`, Markdown tables out.

torch's profiler names each operation and how long it took; what is left of a step is Python. It lengthens
what it watches, small operations most, so the step is timed without it too.
"""

import argparse
import statistics
import time
from collections import Counter

import torch
from torch.profiler import ProfilerActivity, profile

from benchmarks import subjects
from benchmarks.decoding import DTYPES
from benchmarks.measuring import machine, table
from benchmarks.visitors import SCOPES, new_palm
from palm_demo.inference.decoding import run_in_turn
from palm_demo.models import PaLM
from palm_demo.models.palm import PaLMCache

PROMPT, ROOM = 64, 1024
WARM_UP, STEPS = 5, 20
PARTS = {
    "products with weights": ("mkldnn", "quantized", "addmm", "aten::mm", "aten::linear", "int8pack"),
    "products of scopes": ("bmm",),
    "attention": ("attention",),
    "norms": ("norm",),
    "activation": ("silu", "gelu"),
    "rotation": ("roll", "addcmul", "cos", "sin", "pow"),
    "cache": ("index_copy", "aten::copy_", "index_put"),
}
"""Part of a step -> words in the names of its operations; the first that fits counts."""
VIEWS = ("view", "slice", "select", "transpose", "as_strided", "split", "narrow", "unbind", "unsqueeze")


def part_of(operation: str) -> str:
    """The part of a step that an operation belongs to."""
    name = operation.rpartition("::")[2]
    if name == "to" or name.startswith(VIEWS):
        return "views"
    return next(
        (part for part, words in PARTS.items() if any(word in operation for word in words)), "everything else"
    )


class Steps:
    """Steps of one batch, whose rows have prompts of different lengths."""

    def __init__(self, palm: PaLM, rows: int, scoped: bool):
        """scoped: whether rows have the base and two scopes in turn, or all the base."""
        self.palm = palm
        self.ids = torch.randint(palm.config.vocab, (rows, PROMPT))
        scopes = [SCOPES[(row + 1) % len(SCOPES)] if scoped else None for row in range(rows)]
        self.cache = self._read(rows, scopes)

    def _read(self, rows: int, scopes: list[str | None]) -> PaLMCache:
        lengths = [PROMPT - row for row in range(rows)]

        def read() -> PaLMCache:
            return self.palm.prefill(self.ids, lengths, ROOM, scopes)[1]

        return run_in_turn(read)

    def __call__(self) -> None:
        run_in_turn(self.palm.decode_step, self.ids[:, -1], self.cache)

    def seconds(self) -> float:
        """Median of a step."""
        times = []
        for _ in range(STEPS):
            start = time.perf_counter()
            self()
            times.append(time.perf_counter() - start)
        return statistics.median(times)

    def profiled(self) -> tuple[float, Counter, Counter]:
        """Microseconds of a watched step; of each part, and its calls."""
        with profile(activities=[ProfilerActivity.CPU]) as watched:
            start = time.perf_counter()
            for _ in range(STEPS):
                self()
            took = time.perf_counter() - start
        spent, calls = Counter(), Counter()
        for operation in watched.key_averages():
            part = part_of(operation.key)
            spent[part] += operation.self_cpu_time_total / STEPS
            calls[part] += operation.count / STEPS
        return 1e6 * took / STEPS, spent, calls


def rows_of(palm: PaLM, rows: int, scoped: bool) -> tuple[str, list[list[str]]]:
    """How long a step takes, and the parts of it, longest first."""
    steps = Steps(palm, rows, scoped)
    for _ in range(WARM_UP):
        steps()
    unwatched, (whole, spent, calls) = steps.seconds(), steps.profiled()
    spent["Python"] = max(0.0, whole - sum(spent.values()))
    lines = [
        [part, f"{micros:.0f}", f"{micros / whole:.0%}", f"{calls[part]:.0f}" if calls[part] else "–"]
        for part, micros in spent.most_common()
    ]
    return f"{1e3 * unwatched:.2f} ms, watched {whole / 1e3:.2f} ms", lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", nargs="+", choices=subjects.SHAPES, default=subjects.SMALL)
    parser.add_argument("--dtypes", nargs="+", choices=DTYPES, default=["fp32"])
    given = parser.parse_args()
    cpu = torch.device("cpu")
    print(machine(cpu))
    for size in given.sizes:
        for name in given.dtypes:
            palm = new_palm(size, DTYPES[name], cpu)
            for rows, scoped in ((1, False), (1, True), (16, False), (16, True)):
                took, lines = rows_of(palm, rows, scoped)
                with_scopes = ", base and two scopes in turn" if scoped else ""
                print(f"\n{size}, {name}, {rows} rows{with_scopes}: {took}\n")
                print(table(["part", "µs a step", "of it", "calls"], lines), flush=True)


if __name__ == "__main__":
    main()
