"""Load on the page: `python -m benchmarks.load`, Markdown out. `--short` takes two minutes, `--memory` reads
memory alone."""

import argparse
import asyncio
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from itertools import chain

import numpy as np

from benchmarks.load import memory
from benchmarks.load.served import Page, State, page
from benchmarks.load.visitors import Seen, Visitor, picture, stay
from benchmarks.measuring import table

EVERYTHING = {
    "write": 3,
    "ask": 2,
    "describe": 2,
    "search": 3,
    "upload": 1,
    "leave_in_the_middle": 1,
}
WORST = ("write", "judge", "ask", "describe", "search")
"""What the one who does their worst asks for, all at once and again and again."""

WARM_UP = 1_000
"""Requests after which allocators and caches have what they need."""
BUSY = ("try again", "wait for one", "Queue is full", "all that fit", "all that one visitor")
"""Words of messages that explain why the page has no room. Other errors are unexplained."""


@dataclass(frozen=True)
class Plan:
    """How many visitors for how many seconds in each phase."""

    steady: tuple[int, float]
    crowd: tuple[int, float]
    vanishing: int
    idle: int
    worst: tuple[int, float]


LONG = Plan((16, 600.0), (64, 120.0), 200, 500, (40, 60.0))
SHORT = Plan((8, 20.0), (16, 10.0), 20, 50, (16, 15.0))


@dataclass(frozen=True)
class Sample:
    """The page's state after so many requests."""

    requests: int
    state: State


@dataclass
class Result:
    """A phase: what its visitors met, and samples before, each minute, and at rest after."""

    name: str
    seen: list[Seen]
    samples: list[Sample]
    rest_seconds: float

    @property
    def errors(self) -> Counter:
        return sum((Counter(one.errors) for one in self.seen), Counter())

    @property
    def unexplained(self) -> int:
        return sum(n for kind, n in self.errors.items() if not any(word in kind for word in BUSY))

    @property
    def slowest_to_fastest(self) -> float:
        """How long the visitor who waits longest waits, divided by the one who waits least.

        A visitor's wait is the median over their requests of the seconds one took, in units of what that
        verb usually took in the phase: some ask for long texts more often than others.
        """
        usual = {verb: np.median(seconds) for verb, seconds in self.seconds().items()}
        waits = [
            np.median([one / usual[verb] for verb, some in seen.seconds.items() for one in some])
            for seen in self.seen
            if seen.seconds
        ]
        return float(max(waits) / min(waits)) if waits else float("nan")

    def seconds(self) -> dict[str, list[float]]:
        """Verb -> the seconds of each answered request of everybody."""
        verbs = sorted({verb for seen in self.seen for verb in seen.seconds})
        return {
            verb: [*chain.from_iterable(seen.seconds.get(verb, []) for seen in self.seen)] for verb in verbs
        }


def measure(plan: Plan) -> list[Result]:
    """All phases against one page."""
    with page() as served:
        return asyncio.run(_phases(served, plan))


async def _phases(served: Page, plan: Plan) -> list[Result]:
    uploaded, everybody = picture(), []

    def visitors(count: int, first: int = 0) -> list[Visitor]:
        came = [Visitor(served.address, first + number, uploaded) for number in range(count)]
        everybody.extend(came)
        return came

    async def steady(count: int, seconds: float) -> list[Seen]:
        return await _together(visitors(count), lambda one: stay(one, seconds, EVERYTHING))

    async def vanish() -> list[Seen]:
        return await _together(visitors(plan.vanishing, 1_000), lambda one: one.do("leave_in_the_middle"))

    async def idle() -> list[Seen]:
        """Streams that are closed at once, beside one who writes and searches."""
        async with AsyncExitStack() as stack:
            open_ = [await stack.enter_async_context(one) for one in visitors(plan.idle, 2_000)]
            streams = [one.idle_stream() for one in open_]
            await asyncio.gather(*(anext(stream) for stream in streams))
            (other,) = visitors(1, 3_000)
            async with other:
                closing = asyncio.gather(*(stream.aclose() for stream in streams))
                await other.do("ten_tokens")
                await other.do("search")
                await closing
        return [other.seen]

    async def worst(count: int, seconds: float) -> list[Seen]:
        """One address does its worst; what another gets meanwhile is what is shown."""
        bad = [Visitor(served.address, n, uploaded, own_address="127.9.9.9") for n in range(count)]
        everybody.extend(bad)
        other, monitor = visitors(2, 4_000)
        doing = asyncio.gather(*(stay(one, seconds, {WORST[n % len(WORST)]: 1}) for n, one in enumerate(bad)))
        async with other, monitor:
            await asyncio.sleep(1)
            watching = asyncio.create_task(stay(monitor, seconds - 2, {"healthz": 1}))
            await stay(other, seconds - 2, {"ten_tokens": 1, "search": 1})
            await watching
            await doing
        for one in bad:
            await one.client.aclose()
        return [other.seen, monitor.seen]

    async def sample() -> Sample:
        return Sample(sum(one.seen.requests for one in everybody), await asyncio.to_thread(served.state))

    return [
        await _phase(sample, "steady", lambda: steady(*plan.steady)),
        await _phase(sample, "crowd", lambda: steady(*plan.crowd)),
        await _phase(sample, "vanishing", vanish),
        await _phase(sample, "idle streams closed at once", idle),
        await _phase(sample, "beside one address at its worst", lambda: worst(*plan.worst)),
    ]


async def _together(visitors: list[Visitor], do: Callable[[Visitor], Awaitable[None]]) -> list[Seen]:
    async with AsyncExitStack() as stack:
        for visitor in visitors:
            await stack.enter_async_context(visitor)
        await asyncio.gather(*map(do, visitors))
    return [visitor.seen for visitor in visitors]


async def _phase(
    sample: Callable[[], Awaitable[Sample]], name: str, run: Callable[[], Awaitable[list[Seen]]]
) -> Result:
    samples = [await sample()]
    running = asyncio.create_task(run())
    while not (await asyncio.wait({running}, timeout=60))[0]:
        samples.append(await sample())
    seen, ended = await running, time.monotonic()
    last = await sample()
    while not last.state.at_rest and time.monotonic() - ended < 60:
        await asyncio.sleep(0.2)
        last = await sample()
    print(f"{name}: {last}", file=sys.stderr)
    return Result(name, seen, [*samples, last], time.monotonic() - ended)


def shown(results: Iterable[Result]) -> str:
    """Tables in Markdown."""
    results = list(results)
    phases = [
        [
            one.name,
            str(len(one.seen)),
            str(sum(seen.requests for seen in one.seen)),
            str(one.unexplained),
            str(sum(one.errors.values()) - one.unexplained),
            f"{one.slowest_to_fastest:.1f}×",
            f"{one.rest_seconds:.1f}",
            f"{one.samples[0].state.threads} → {one.samples[-1].state.threads}",
            " ".join(f"{sample.state.resident_mb:.0f}" for sample in one.samples),
        ]
        for one in results
    ]
    header = ["phase", "visitors", "requests", "unexplained errors", "told to wait", "slowest to fastest"]
    header += ["seconds to rest", "threads", "resident MB, each minute"]
    verbs = []
    for one in results:
        for verb, seconds in one.seconds().items():
            p50, p95, p99 = np.percentile(seconds, [50, 95, 99])
            figures = [f"{value:.2f}" for value in (p50, p95, p99, max(seconds))]
            verbs.append([one.name, verb, str(len(seconds)), *figures])
    errors = [[one.name, kind, str(n)] for one in results for kind, n in one.errors.most_common()]
    of_verbs = ["phase", "verb", "answered", "p50 s", "p95 s", "p99 s", "longest s"]
    parts = [table(header, phases), table(of_verbs, verbs)]
    if errors:
        parts.append(table(["phase", "what was told", "times"], errors))
    parts += [_growth(one.name, one.samples) for one in results[:1]]
    parts.append(_growth("all phases", [sample for one in results for sample in one.samples]))
    return "\n\n".join(parts)


def _growth(where: str, samples: Sequence[Sample]) -> str:
    """How resident memory grew once WARM_UP requests were over."""
    warm = next((sample for sample in samples if sample.requests >= WARM_UP), samples[-1])
    last = samples[-1]
    return (
        f"Resident memory, {where}: {warm.state.resident_mb:.0f} MB after {warm.requests:,} requests, "
        f"{last.state.resident_mb:.0f} MB after {last.requests:,}, "
        f"{last.state.resident_mb / warm.state.resident_mb - 1:+.1%}."
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--short", action="store_true", help="fewer visitors for less time")
    parser.add_argument(
        "--memory",
        nargs="?",
        type=int,
        const=10_000,
        metavar="CALLS",
        help="memory alone, over so many calls by as many visitors (10,000)",
    )
    given = parser.parse_args()
    if given.memory:
        print(memory.shown(*memory.measure(given.memory)))
    else:
        print(shown(measure(SHORT if given.short else LONG)))


if __name__ == "__main__":
    main()
