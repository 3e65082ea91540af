"""Teaching words where to look: a noun's attention goes to pictures that show it.

A yes or no tells one bit about one noun and one picture. Here every noun that some picture of the batch
shows is held against all of them, in the scores of the first bridge's own attention: to the first
latent, where a word looks that finds nothing, or to the others. The language model is frozen
and no picture has come in before the first bridge, so what nouns bring there is made once.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from palm_demo import world
from palm_demo.models import Flamingo
from palm_demo.prompting import encode_interleaved
from palm_demo.tokenizer import MEDIA, Tokenizer
from palm_demo.training.pictures import padded

ASKED = f"{MEDIA} question: is there"


@dataclass(frozen=True)
class NounStates:
    """states: (words, dim), at each id of each noun where the first bridge takes them up.
    nouns: (words,), the number of its noun in `world.concepts()`."""

    states: Tensor
    nouns: Tensor

    def only(self, wanted: Tensor) -> "NounStates":
        """Those of the nouns that are wanted, (nouns,) bool, which get new numbers."""
        numbers = wanted.cumsum(dim=0) - 1
        states, nouns = self.states.to(wanted.device), self.nouns.to(wanted.device)
        return NounStates(states[wanted[nouns]], numbers[nouns[wanted[nouns]]])


@torch.no_grad()
def noun_states(model: Flamingo, tokenizer: Tokenizer) -> NounStates:
    """Of every noun, in the question whether it is there."""
    rows, places = [], []
    for noun in world.concepts():
        article, _ = world.with_article(noun).split(maxsplit=1)
        before = [tokenizer.bos_id, *encode_interleaved(f"{ASKED} {article}", tokenizer)]
        words = tokenizer.encode(f" {noun}")
        rows.append([*before, *words])
        places.append(range(len(before), len(before) + len(words)))
    ids = padded(rows, tokenizer.pad_id).to(model.media_embedding.device)
    decoder, seen = model.decoder, []

    def see(states: Tensor) -> Tensor:
        seen.append(states)
        return states

    decoder(decoder.embedding(ids), bridges={0: see})
    flat = [(noun, place) for noun, of_noun in enumerate(places) for place in of_noun]
    nouns, at = torch.tensor(flat, device=ids.device).T
    return NounStates(seen[0][nouns, at], nouns)


def shown_nouns(scenes: Sequence[world.Scene]) -> Tensor:
    """(scenes, nouns), whether a scene shows a noun."""
    return torch.tensor([[noun in scene.names for noun in world.concepts()] for scene in scenes])


def matching_loss(model: Flamingo, asked: NounStates, latents: Tensor, shown: Tensor) -> Tensor:
    """Nats: of telling a noun that is shown from those of other pictures, and whether it is shown at all.

    latents: (pictures, m, dim). shown: (pictures, nouns).
    """
    asked, shown = asked.only(shown.any(dim=0)), shown[:, shown.any(dim=0)]
    bridge = model.bridges["0"]
    attention = bridge.attention
    queries = attention.to_q(bridge.norm(asked.states)).unflatten(-1, (attention.heads, -1))
    keys, _ = bridge.keys_values(latents)
    scores = torch.einsum("whd,phmd->pwhm", queries, keys).float() * attention.scale
    of_words = (scores[..., 1:].logsumexp(dim=-1) - scores[..., 0]).mean(dim=-1)
    words = torch.bincount(asked.nouns, minlength=shown.shape[1])
    found = of_words.new_zeros(shown.shape).index_add(1, asked.nouns, of_words) / words
    which = -found.log_softmax(dim=1)[shown].mean()
    whether = F.softplus(-found[shown]).mean() + F.softplus(found[~shown]).mean()
    return which + whether
