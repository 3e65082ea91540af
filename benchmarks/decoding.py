"""How fast PaLM writes: `python -m benchmarks.decoding`, Markdown tables out.

Ours against palm-rlhf-pytorch's `generate`, transformers' Llama with its cache, and what the
memory's bandwidth allows when each token reads every weight once.
"""

import copy
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor

import palm_demo
from benchmarks import subjects
from benchmarks.measuring import ReadMemory, Side, arguments, machine, medians, table, times
from palm_demo.inference.decoding import generate_ids, run_in_turn
from palm_demo.models import PaLM
from palm_demo.models.cpu_linear import pack_

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
BATCHES = (1, 4, 16)
"""Rows of a step in 8 bits."""
WINDOW = 512
"""Tokens that are scored at a time."""
PROMPT, NEW = 16, 256
REFERENCE_NEW = 8
"""The reference reads the whole text again for each token. So it writes only these few, in the middle of the
256, where a token costs as much as all of them do on average."""

LONG_PROMPT = 1024
CONTEXTS = (64, 256, 1024, 4096)
STEPS = 8
"""Steps per turn where single steps are measured."""

LIMITED_BYTES = 100 * 10**6
"""Smaller weights stay in the caches, so the memory's bandwidth does not limit them."""


class Subjects:
    """The three models of one shape in one dtype."""

    def __init__(self, size: str, dtype: torch.dtype, device: torch.device):
        ours, reference = subjects.palms(size)
        self.ours, self.reference = pack_(ours.to(device, dtype)), reference.to(device, dtype)
        self.llama = subjects.llama(size).to(device, dtype)
        self.vocab, self.device = ours.config.vocab, device

    def prompt(self, tokens: int) -> Tensor:
        return torch.randint(self.vocab, (1, tokens), device=self.device)

    def writing(self, prompt: int, new: int, reference_prompt: int, reference_new: int) -> dict[str, Side]:
        """Each model's greedy continuation of a random prompt; all lengths in tokens."""
        ids, longer = self.prompt(prompt), self.prompt(reference_prompt)
        seq_len = reference_prompt + reference_new
        return {
            "ours": lambda: generate_ids(self.ours, ids, max_new_tokens=new),
            "llama": lambda: self.llama.generate(ids, max_new_tokens=new, do_sample=False),
            "reference": lambda: self.reference.generate(seq_len, prompt=longer, temperature=0.0),
        }


def decoding(given: Subjects, rounds: int) -> list[str]:
    """Cells: tokens a second of each, ratios, the limit and our share of it."""
    memory = ReadMemory(given.device)
    middle = PROMPT + (NEW - REFERENCE_NEW) // 2
    seconds = medians(
        {"memory": memory, **given.writing(PROMPT, NEW, middle, REFERENCE_NEW)}, rounds, given.device
    )
    ours, llama = NEW / seconds["ours"], NEW / seconds["llama"]
    reference = REFERENCE_NEW / seconds["reference"]
    cells = [f"{ours:.1f}", f"{reference:.2f}", times(ours, reference), f"{llama:.1f}", times(ours, llama)]
    weights = subjects.size_bytes(given.ours)
    if weights < LIMITED_BYTES:
        return [*cells, "–", "–", "–"]
    bandwidth = memory.bandwidth(seconds["memory"])
    limit = bandwidth / weights
    return [*cells, f"{bandwidth / 1e9:.1f}", f"{limit:.1f}", f"{ours / limit:.0%}"]


def first_token(given: Subjects, rounds: int) -> list[str]:
    """Cells: seconds from a long prompt to the first token, of each."""
    seconds = medians(given.writing(LONG_PROMPT, 1, LONG_PROMPT, 1), rounds, given.device)
    ours, others = seconds["ours"], (seconds["reference"], seconds["llama"])
    return [f"{ours:.3f}", *(cell for s in others for cell in (f"{s:.3f}", times(s, ours)))]


def context(given: Subjects, rounds: int) -> list[str]:
    """Cells: tokens a second with so much context, megabytes of cache per 1,000 tokens."""
    calls = rounds + 1
    sides = {str(tokens): _steps(given.ours, given.prompt(tokens), calls) for tokens in CONTEXTS}
    seconds = medians(sides, rounds, given.device)
    cache_bytes = given.ours.new_cache(1, 1000).tokens.size_bytes
    return [*(f"{STEPS / seconds[name]:.1f}" for name in sides), f"{cache_bytes / 1e6:.1f}"]


def in_8_bits(size: str, rounds: int, device: torch.device) -> list[str]:
    """Cells: milliseconds of a step of bf16 and of weights in 8 bits, and the ratio, by rows."""
    palms = {
        eight: pack_(subjects.palms(size)[0].to(device, torch.bfloat16), eight) for eight in (False, True)
    }
    cells = []
    for batch in BATCHES:
        prompt = torch.randint(palms[True].config.vocab, (batch, PROMPT), device=device)
        sides = {str(eight): _steps(palm, prompt, rounds + 1) for eight, palm in palms.items()}
        plain, rounded = medians(sides, rounds, device).values()
        cells += [f"{1000 * plain / STEPS:.2f}", f"{1000 * rounded / STEPS:.2f}", times(plain, rounded)]
    return cells


@torch.no_grad()
def bits_in_8_bits(text: str) -> float:
    """How many times as many bits the bundled PaLM needs for a text with its weights in 8 bits."""
    nats = []
    for eight in (False, True):
        session = palm_demo.load()
        ids = session.palm.tokenizer.encode(text)
        palm = pack_(copy.deepcopy(session.palm.model).bfloat16(), eight)
        windows = torch.tensor(ids[: len(ids) // WINDOW * WINDOW]).view(-1, 1, WINDOW)
        nats.append(sum(palm.loss(some[:, :-1], some[:, 1:]).item() for some in windows))
    return nats[1] / nats[0]


def _steps(palm: PaLM, prompt: Tensor, calls: int) -> Side:
    """STEPS further steps after prompts of one length (rows, n), each time it is called."""
    rows, tokens = prompt.shape
    _, cache = run_in_turn(palm.prefill, prompt, [tokens] * rows, tokens + calls * STEPS)

    def run() -> None:
        for _ in range(STEPS):
            run_in_turn(palm.decode_step, prompt[:, -1], cache)

    return run


HEADERS = {
    decoding: [
        f"tokens/s, {NEW} after {PROMPT}, batch 1",
        "ours",
        f"palm-rlhf-pytorch ({REFERENCE_NEW} in the middle)",
        "ratio",
        "transformers Llama",
        "ratio",
        "memory GB/s",
        "limit",
        "of the limit",
    ],
    first_token: [
        f"seconds to the first token after {LONG_PROMPT:,}",
        "ours",
        "palm-rlhf-pytorch",
        "ratio",
        "transformers Llama",
        "ratio",
    ],
    context: [
        "tokens/s by context",
        *(f"{tokens:,}" for tokens in CONTEXTS),
        "cache, MB per 1,000 tokens",
    ],
}


IN_8_BITS = [
    "ms a step",
    *(head for batch in BATCHES for head in (f"bf16, {batch} at once", "in 8 bits", "ratio")),
]


def rows(part, sizes: list[str], rounds: int, device: torch.device) -> Iterator[list[str]]:
    for size in sizes:
        for name, dtype in DTYPES.items():
            yield [f"{size}, {name}", *part(Subjects(size, dtype, device), rounds)]


def main() -> None:
    parser = arguments(__doc__, rounds=3)
    parser.add_argument("--sizes", nargs="+", choices=subjects.SHAPES, default=subjects.SMALL)
    parser.add_argument("--text", type=Path, help="scored by the bundled PaLM in 8 bits too")
    given = parser.parse_args()
    print(machine(given.device))
    for part, header in HEADERS.items():
        print("\n" + table(header, list(rows(part, given.sizes, given.rounds, given.device))), flush=True)
    eight = [[size, *in_8_bits(size, given.rounds, given.device)] for size in given.sizes]
    print("\n" + table(IN_8_BITS, eight))
    if given.text is not None:
        more = bits_in_8_bits(given.text.read_text("utf-8")) - 1
        print(f"\nThe bundled PaLM needs {more:+.2%} bits for the text with its weights in 8 bits.")


if __name__ == "__main__":
    main()
