"""Memory of the page over many calls, each by a visitor who comes and leaves."""

import asyncio
from itertools import count

from benchmarks.load.served import Page, State, page
from benchmarks.load.visitors import Seen, Visitor, picture
from benchmarks.measuring import table

VERBS = ("search", "write", "describe", "ask", "judge", "upload", "leave_in_the_middle")
AT_ONCE = 8
STEPS = 10
"""How often the page is asked for its state: the first time when allocators have warmed up."""


def measure(calls: int) -> tuple[list[tuple[int, State]], Seen]:
    """(calls so far, the page's state) at the start and after each tenth; what its visitors met."""
    with page() as served:
        return asyncio.run(_calls(served, calls))


async def _calls(served: Page, calls: int) -> tuple[list[tuple[int, State]], Seen]:
    uploaded, met, numbers = picture(), Seen(), count(1)
    states = [(0, await asyncio.to_thread(served.state))]

    async def come_and_leave() -> None:
        while (number := next(numbers)) <= calls:
            async with Visitor(served.address, number, uploaded, seen=met) as visitor:
                await visitor.do(VERBS[number % len(VERBS)])
            if number % max(1, calls // STEPS) == 0:
                states.append((number, await asyncio.to_thread(served.state)))
                print(f"{number} calls: {states[-1][1]}", flush=True)

    await asyncio.gather(*(come_and_leave() for _ in range(AT_ONCE)))
    return states, met


def shown(states: list[tuple[int, State]], met: Seen) -> str:
    """A table in Markdown."""
    warm = states[1][1].resident_mb
    rows = [
        [
            f"{calls:,}",
            f"{state.resident_mb:,.0f}",
            f"{state.resident_mb / warm - 1:+.1%}" if calls else "–",
            str(state.threads),
            str(state.files),
        ]
        for calls, state in states
    ]
    header = ["calls", "resident MB", f"against the first {states[1][0]:,}", "threads", "open files"]
    errors = ", ".join(f"{kind} {times} ×" for kind, times in met.errors.items()) or "none"
    return f"{table(header, rows)}\n\nErrors: {errors}."
