"""Auxiliary objectives of training: words that look at the right picture, and captions as vectors.

A yes or no tells one bit about one noun and one picture. Here every noun that some picture of the batch
shows is held against all of them, in the scores of the first bridge's own attention: to the first
latent, where a word looks that finds nothing, or to the others. The language model is frozen
and no picture has come in before the first bridge, so what nouns bring there is made once.

PaLM reads the world's questions with it, and so learns to answer from what it is told: to find a thing
that is asked for, to give a thing the name it was given before. Flamingo's bridges then only have to
bring a picture's meaning there.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from palm_demo import world
from palm_demo.inference.prompts import encode_interleaved
from palm_demo.models import Flamingo
from palm_demo.models.tokenizers import MEDIA, BundledTokenizer
from palm_demo.training.pictures import padded
from palm_demo.world.captions import NUMBERS

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
def noun_states(model: Flamingo, tokenizer: BundledTokenizer) -> NounStates:
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

    decoder(decoder.embedding(ids), cross_attention={0: see})
    flat = [(noun, paths) for noun, of_noun in enumerate(places) for paths in of_noun]
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
    cross_attn = model.cross_attention["0"]
    attention = cross_attn.attention
    queries = attention.to_q(cross_attn.norm(asked.states)).unflatten(-1, (attention.heads, -1))
    keys, _ = cross_attn.keys_values(latents)
    scores = torch.einsum("whd,phmd->pwhm", queries, keys).float() * attention.scale
    of_words = (scores[..., 1:].logsumexp(dim=-1) - scores[..., 0]).mean(dim=-1)
    words = torch.bincount(asked.nouns, minlength=shown.shape[1])
    found = of_words.new_zeros(shown.shape).index_add(1, asked.nouns, of_words) / words
    which = -found.log_softmax(dim=1)[shown].mean()
    whether = F.softplus(-found[shown]).mean() + F.softplus(found[~shown]).mean()
    return which + whether


NOISE = 0.5
"""At most, beside a meaning of size one: bridges will not say it as clearly as words do."""

LOUD = 6.0
"""How large a meaning is at first: about half of the states that it is added to."""


def meaning(medium: world.Scene | world.MovingScene | world.Photograph) -> list[str]:
    """The words for a medium: its things, and their number, way and background; of a photograph, its name
    and that it is one."""
    if isinstance(medium, world.Photograph):
        return [medium.name, "photo"]
    moving = isinstance(medium, world.MovingScene)
    scene = medium.scene if moving else medium
    words = [*dict.fromkeys(scene.names), scene.background.color]
    if scene.kind == "count":
        words.append(NUMBERS[len(scene.names)])
    if moving:
        words.append(medium.way)
    return words


class Meanings(nn.Module):
    """Ids of words -> one vector: the sum of what tells their embeddings from all others. Serves in
    training alone."""

    def __init__(self, dim: int):
        super().__init__()
        self.out = nn.Linear(dim, dim, bias=False)
        with torch.no_grad():
            self.out.weight.copy_(LOUD * torch.eye(dim))  # what is meant is nearly said already

    def forward(self, words: Tensor, embedding: Tensor) -> Tensor:
        """(m, t) ids, -1 where there is none; (vocab, dim) -> (m, dim)."""
        embedding = embedding.detach()
        codes = F.layer_norm(embedding - embedding.mean(dim=0), embedding.shape[1:])
        said = (codes[words.clamp(min=0)] * (words >= 0)[..., None]).sum(dim=1)
        meant = F.layer_norm(said, said.shape[1:])
        if self.training:
            loudness = torch.rand(len(meant), 1, device=meant.device) * NOISE
            meant = meant + torch.randn_like(meant) * loudness
        return self.out(meant)
