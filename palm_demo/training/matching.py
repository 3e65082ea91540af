"""Teaching words where to look: a noun's attention goes to pictures that show it.

A yes or no tells one bit about one picture. Here each noun that is asked for is held against every
picture of the batch, in the scores of the bridges' own attention: to the first latent, where a word
looks that finds nothing, or to the others.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from torch import Tensor

from palm_demo import world
from palm_demo.models import Flamingo
from palm_demo.prompting import encode_interleaved
from palm_demo.tokenizer import Tokenizer

BEFORE_NOUN = "question: is there"


def asked_nouns(asked: Sequence[Sequence[world.Question]], tokenizer: Tokenizer) -> dict[str, Tensor]:
    """What is asked of pictures by name, from questions in groups about one picture each.

    words: (w, 3), of each id of a noun its row, its place after <bos>, and its question's number.
    shows: (questions, groups), whether the group's picture shows the noun.
    """
    rows = [question for group in asked for question in group]
    pictures = [set(group[0].media[0].names) for group in asked]
    words, shows = [], []
    for row, question in enumerate(rows):
        if question.kind != "is_there":
            continue
        before, _, rest = question.prompt.partition(BEFORE_NOUN)
        article, noun = rest.split("?")[0].split(maxsplit=1)
        start = f"{before}{BEFORE_NOUN} {article}"
        first, end = (1 + len(encode_interleaved(text, tokenizer)) for text in (start, f"{start} {noun}"))
        words += [[row, place, len(shows)] for place in range(first, end)]
        shows.append([noun in names for names in pictures])
    return {"words": torch.tensor(words), "shows": torch.tensor(shows)}


@contextmanager
def watched_states(model: Flamingo) -> Iterator[dict[str, Tensor]]:
    """The states (b, n, dim) that come to each bridge in the passes within, by layer."""
    seen: dict[str, Tensor] = {}

    def keep(layer: str):
        return lambda bridge, arguments: seen.__setitem__(layer, arguments[0])

    handles = [bridge.register_forward_pre_hook(keep(layer)) for layer, bridge in model.bridges.items()]
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()


def matching_loss(
    model: Flamingo, states: dict[str, Tensor], latents: Tensor, words: Tensor, shows: Tensor
) -> Tensor:
    """Binary cross-entropy in nats, pictures that show a noun weighing as much as all that do not.

    states: as watched. latents: (groups, m, dim). words, shows: as `asked_nouns` gives them.
    """
    rows, places, questions = words.T
    counts = torch.bincount(questions, minlength=len(shows))[:, None]
    losses = []
    for layer, bridge in model.bridges.items():
        attention = bridge.attention
        heads = attention.to_q(bridge.norm(states[layer][rows, places])).unflatten(-1, (attention.heads, -1))
        keys, _ = bridge.keys_values(latents)
        scores = torch.einsum("whd,ghmd->wghm", heads, keys).float() * attention.scale
        found = (scores[..., 1:].logsumexp(dim=-1) - scores[..., 0]).mean(dim=-1)
        found = found.new_zeros(shows.shape).index_add(0, questions, found) / counts
        losses += [F.softplus(-found[shows]).mean(), F.softplus(found[~shows]).mean()]
    return torch.stack(losses).mean()
