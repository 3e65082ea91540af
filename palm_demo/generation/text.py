"""Ids into text as they come, ended by stop strings."""

from collections.abc import Iterable, Iterator, Sequence

from palm_demo.tokenizer import Words


class Waiting(str):
    """An empty delta of a text that waits for a row: all its reader learns is its place in line."""

    place: int
    """1: next."""

    def __new__(cls, place: int) -> "Waiting":
        delta = super().__new__(cls)
        delta.place = place
        return delta


def text_deltas(ids: Iterable[int], tokenizer: Words, stop: Sequence[str] = ()) -> Iterator[str]:
    """Text deltas that together are the decoded ids up to the first stop string, without it.

    What may be the beginning of a stop string is held back until that is known.
    """
    stops = [s for s in stop if s]
    held = ""
    for delta in tokenizer.decode_stream(ids):
        held += delta
        found = [at for at in (held.find(s) for s in stops) if at >= 0]
        if found:
            if held[: min(found)]:
                yield held[: min(found)]
            return
        keep = max((_overlap(held, s) for s in stops), default=0)
        if len(held) > keep:
            yield held[: len(held) - keep]
            held = held[len(held) - keep :]
    if held:
        yield held


def _overlap(text: str, stop: str) -> int:
    """How many characters at the end of the text begin the stop string."""
    longest = min(len(text), len(stop) - 1)
    return next((n for n in range(longest, 0, -1) if text.endswith(stop[:n])), 0)
