"""How fast many visitors are served: `python -m benchmarks.visitors`, Markdown out.

Visitors ask again as soon as they have an answer: all at once through the continuous batch, and one after
another. It also measures how much a text's logits change when others are in the batch.
"""

import random
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import torch
from torch import Tensor

from benchmarks import subjects
from benchmarks.decoding import DTYPES
from benchmarks.measuring import arguments, machine, medians, table, times
from palm_demo.concurrency import run_in_thread
from palm_demo.inference.continuous_batch import ContinuousBatch
from palm_demo.inference.decoding import SequenceState
from palm_demo.inference.prefix_cache import Beginning
from palm_demo.inference.requests import InPieces
from palm_demo.inference.sampling import Sampler
from palm_demo.inference.settings import BatchLimits, SamplingParams
from palm_demo.models import PaLM
from palm_demo.models.cpu_linear import pack_
from palm_demo.models.palm import PaLMCache

VISITORS, REQUESTS = 16, 64
CAPACITY = 256
SCOPES = (None, "carroll", "doyle")
NO_EOS = -1
SAMPLINGS = (
    {},
    {"temperature": 0.8},
    {"temperature": 1.0, "top_k": 40},
    {"temperature": 0.9, "top_p": 0.95, "repetition_penalty": 1.2},
)
WATCHED_STEPS = 32


@dataclass(frozen=True)
class Request:
    prompt: list[int]
    scope: str | None
    new: int
    sampling: SamplingParams


def requests(vocab: int) -> list[Request]:
    """Prompts of 8 to 64 tokens, 32 to 128 new ones, every scope and way of sampling."""
    rng = random.Random("visitors")
    made = []
    for number in range(REQUESTS):
        prompt = [rng.randrange(vocab) for _ in range(rng.randint(8, 64))]
        sampling = SamplingParams(**SAMPLINGS[number % len(SAMPLINGS)], seed=number)
        made.append(Request(prompt, SCOPES[number % len(SCOPES)], rng.randint(32, 128), sampling))
    return made


@run_in_thread
def new_palm(size: str, dtype: torch.dtype, device: torch.device) -> PaLM:
    """A random PaLM with packed weights, and with random scopes."""
    palm, _ = subjects.palms(size)
    for name in filter(None, SCOPES):
        for weight in palm.add_scope(name, rank=8).requires_grad_(False).parameters():
            weight.normal_(std=0.02)
    return pack_(palm.to(device, dtype))


def serve(palm: PaLM, wanted: Sequence[Request], at_once: int) -> list[list[int]]:
    """Serves VISITORS, who ask again as soon as they have an answer. at_once: rows of the batch.

    Returns the ids written for each request.
    """
    device = palm.decoder.embedding.weight.device

    def decode_step(ids: Tensor, cache: PaLMCache) -> Tensor:
        return palm.decode_step(ids.to(device), cache)

    def step_beside(ids: Tensor, cache: PaLMCache, pieces: Sequence[tuple[Tensor, PaLMCache]]) -> Tensor:
        return palm.step_beside(ids.to(device), cache, [(piece.to(device), own) for piece, own in pieces])

    limits = BatchLimits(at_once, VISITORS, prefix_bytes=0)
    batch = ContinuousBatch(palm.new_cache, decode_step, CAPACITY, limits, step_beside)

    def ask(request: Request) -> list[int]:
        def begin(ids: Tensor, capacity: int) -> PaLMCache:
            return palm.begin(ids.to(device), capacity, scopes=[request.scope])

        row = SequenceState(request.prompt, Sampler(request.sampling, banned=()), request.new, NO_EOS)
        with batch.join(row, InPieces(begin, Beginning(request.scope, request.prompt))) as ticket:
            return list(ticket.ids())

    with ThreadPoolExecutor(VISITORS) as visitors:
        texts = list(visitors.map(ask, wanted))
    batch.close()
    return texts


@run_in_thread
@torch.inference_mode()
def largest_difference(palm: PaLM, wanted: Sequence[Request]) -> float:
    """The largest difference between logits of a row alone and in a batch, over all rows and steps.

    Both read the same random ids: texts could not be compared any more after the first id that differs.
    """
    device = palm.decoder.embedding.weight.device
    fed = torch.randint(palm.config.vocab, (WATCHED_STEPS, len(wanted)), device=device)
    together = palm.new_cache(len(wanted), CAPACITY)
    alone = []
    for request in wanted:
        ids, length = torch.tensor([request.prompt], device=device), len(request.prompt)
        _, cache = palm.prefill(ids, [length], length + WATCHED_STEPS, scopes=[request.scope])
        together.put(cache)
        alone.append(cache)
    worst = 0.0
    for ids in fed:
        in_company = palm.decode_step(ids, together)
        own = torch.cat([palm.decode_step(ids[row : row + 1], cache) for row, cache in enumerate(alone)])
        worst = max(worst, _difference(in_company, own))
    return worst


def _difference(one: Tensor, other: Tensor) -> float:
    return (one.float() - other.float()).abs().max().item()


def compare(palm: PaLM, wanted: Sequence[Request], rounds: int, device: torch.device) -> list[str]:
    """Cells: tokens a second both ways, their ratio, equal texts, the largest difference of logits of the
    first visitors' texts."""
    texts: dict[str, list[list[int]]] = {}

    def side(name: str, at_once: int):
        def run() -> None:
            texts[name] = serve(palm, wanted, at_once)

        return run

    sides = {"together": side("together", VISITORS), "one by one": side("one by one", 1)}
    seconds = medians(sides, rounds, device)
    new = sum(request.new for request in wanted)
    together, alone = new / seconds["together"], new / seconds["one by one"]
    same = sum(a == b for a, b in zip(texts["together"], texts["one by one"], strict=True))
    return [
        f"{together:.0f}",
        f"{alone:.0f}",
        times(together, alone),
        f"{same} of {len(wanted)}",
        f"{largest_difference(palm, wanted[:VISITORS]):.1e}",
    ]


def main() -> None:
    parser = arguments(__doc__, rounds=1)
    parser.add_argument("--size", choices=subjects.SHAPES, default="145 M")
    parser.add_argument("--dtypes", nargs="+", choices=DTYPES, default=[*DTYPES])
    given = parser.parse_args()
    rows = []
    for name in given.dtypes:
        dtype = DTYPES[name]
        palm = new_palm(given.size, dtype, given.device)
        cells = compare(palm, requests(palm.config.vocab), given.rounds, given.device)
        rows.append([f"{given.size}, {name}", *cells])
    header = [
        f"tokens/s, {REQUESTS} requests of {VISITORS} visitors",
        "together",
        "one after another",
        "ratio",
        "equal texts",
        f"largest difference of logits in {WATCHED_STEPS} steps",
    ]
    print(f"{machine(given.device)}\n\n{table(header, rows)}")


if __name__ == "__main__":
    main()
