"""Load on the page: `python -m benchmarks.load`, Markdown out. `--short` takes two minutes."""

import argparse
import asyncio
import io
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from itertools import chain
from random import Random

import numpy as np

from benchmarks.load.served import Page, State, page
from benchmarks.load.visitors import Seen, Visitor, stay
from benchmarks.measuring import table
from palm_demo import world

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

BUSY = ("try again", "wait for one", "Queue is full", "all that fit", "all that one visitor")
"""Words of a page that has no room: an explained error."""


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


@dataclass
class Result:
    """A phase: what its visitors met, and the page's state before, each minute, and at rest after."""

    name: str
    seen: list[Seen]
    states: list[State]
    rest_seconds: float

    @property
    def errors(self) -> Counter:
        return sum((Counter(one.errors) for one in self.seen), Counter())

    @property
    def unexplained(self) -> int:
        return sum(n for kind, n in self.errors.items() if not any(word in kind for word in BUSY))

    @property
    def slowest_to_fastest(self) -> float:
        """Of the visitors' median seconds a request: the largest divided by the least."""
        answered = [one.seconds.values() for one in self.seen if one.seconds]
        medians = [np.median([*chain.from_iterable(seconds)]) for seconds in answered]
        return float(max(medians) / min(medians)) if medians else float("nan")


def measure(plan: Plan) -> list[Result]:
    """All phases against one page."""
    with page() as served:
        return asyncio.run(_phases(served, plan))


async def _phases(served: Page, plan: Plan) -> list[Result]:
    picture = _picture()

    def visitors(count: int, first: int = 0) -> list[Visitor]:
        return [Visitor(served.address, first + number, picture) for number in range(count)]

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
        bad = [Visitor(served.address, n, picture, own_address="127.9.9.9") for n in range(count)]
        (other,) = visitors(1, 4_000)
        doing = asyncio.gather(*(stay(one, seconds, {WORST[n % len(WORST)]: 1}) for n, one in enumerate(bad)))
        async with other:
            await asyncio.sleep(1)
            await stay(other, seconds - 2, {"ten_tokens": 1, "search": 1})
            await doing
        for one in bad:
            await one.client.aclose()
        return [other.seen]

    return [
        await _phase(served, "steady", lambda: steady(*plan.steady)),
        await _phase(served, "crowd", lambda: steady(*plan.crowd)),
        await _phase(served, "vanishing", vanish),
        await _phase(served, "idle streams closed at once", idle),
        await _phase(served, "beside one address at its worst", lambda: worst(*plan.worst)),
    ]


async def _together(visitors: list[Visitor], do: Callable[[Visitor], Awaitable[None]]) -> list[Seen]:
    async with AsyncExitStack() as stack:
        for visitor in visitors:
            await stack.enter_async_context(visitor)
        await asyncio.gather(*map(do, visitors))
    return [visitor.seen for visitor in visitors]


async def _phase(served: Page, name: str, run: Callable[[], Awaitable[list[Seen]]]) -> Result:
    states = [await asyncio.to_thread(served.state)]
    running = asyncio.create_task(run())
    while not (await asyncio.wait({running}, timeout=60))[0]:
        states.append(await asyncio.to_thread(served.state))
    seen, ended = await running, time.monotonic()
    state = await asyncio.to_thread(served.state)
    while not state.at_rest and time.monotonic() - ended < 60:
        await asyncio.sleep(0.2)
        state = await asyncio.to_thread(served.state)
    return Result(name, seen, [*states, state], time.monotonic() - ended)


def _picture() -> bytes:
    file = io.BytesIO()
    scene = world.single_scene(Random("load"))
    world.render(scene).save(file, "PNG")
    return file.getvalue()


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
            f"{one.states[0].threads} → {one.states[-1].threads}",
            " ".join(f"{state.resident_mb:.0f}" for state in one.states),
        ]
        for one in results
    ]
    header = ["phase", "visitors", "requests", "unexplained errors", "told to wait", "slowest to fastest"]
    header += ["seconds to rest", "threads", "resident MB, each minute"]
    verbs = []
    for one in results:
        for verb in sorted({verb for seen in one.seen for verb in seen.seconds}):
            seconds = [*chain.from_iterable(seen.seconds.get(verb, []) for seen in one.seen)]
            p50, p95, p99 = np.percentile(seconds, [50, 95, 99])
            verbs.append([one.name, verb, str(len(seconds)), f"{p50:.2f}", f"{p95:.2f}", f"{p99:.2f}"])
    errors = [[one.name, kind, str(n)] for one in results for kind, n in one.errors.most_common()]
    parts = [table(header, phases), table(["phase", "verb", "answered", "p50 s", "p95 s", "p99 s"], verbs)]
    if errors:
        parts.append(table(["phase", "what was told", "times"], errors))
    return "\n\n".join(parts)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--short", action="store_true", help="fewer visitors for less time")
    print(shown(measure(SHORT if parser.parse_args().short else LONG)))


if __name__ == "__main__":
    main()
