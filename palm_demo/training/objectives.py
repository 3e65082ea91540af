"""Auxiliary objectives: attention that finds the right picture (Flamingo), and captions as vectors
(PaLM).

The answer yes or no teaches little: one bit about one noun and one picture. `matching_loss` compares every
noun that some picture of the batch shows with all pictures of the batch, by the attention scores of the
first cross-attention layer: a noun should attend to the first latent where it finds nothing, and otherwise
to the others. The language model is frozen and no picture comes in before that layer, so the states of the
nouns are computed once.

`Meanings` turns the words for a picture into one vector. PaLM reads the world's questions with these
vectors, and so learns to answer from them: to find a thing that is asked for, and to use the name that
a thing was given before. Flamingo's cross-attention then only has to provide these vectors from
pictures.
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
from palm_demo.training.photo_words import words_of
from palm_demo.training.pictures import padded
from palm_demo.world.captions import NUMBERS
from palm_demo.world.photographs import named

ASKED = f"{MEDIA} question: is there"


@dataclass(frozen=True)
class NounStates:
    """States of all nouns where the first cross-attention layer receives them.

    Attributes:
        states: (words, dim), one at each token of each noun.
        nouns: (words,), the position of its noun in `world.all_names()`.
    """

    states: Tensor
    nouns: Tensor

    def only(self, wanted: Tensor) -> "NounStates":
        """The states of the wanted nouns, (nouns,) bool, numbered anew."""
        numbers = wanted.cumsum(dim=0) - 1
        states, nouns = self.states.to(wanted.device), self.nouns.to(wanted.device)
        return NounStates(states[wanted[nouns]], numbers[nouns[wanted[nouns]]])


@torch.no_grad()
def noun_states(model: Flamingo, tokenizer: BundledTokenizer) -> NounStates:
    """Computes the states of every noun in the question "is there …?" about it."""
    rows, places = [], []
    for noun in world.all_names():
        article = named(noun).removesuffix(noun).rstrip()
        before = [tokenizer.bos_id, *encode_interleaved(f"{ASKED} {article}".rstrip(), tokenizer)]
        words = tokenizer.encode(f" {noun}")
        rows.append([*before, *words])
        places.append(range(len(before), len(before) + len(words)))
    ids = padded(rows, tokenizer.pad_id).to(model.media_embedding.device)
    decoder, received = model.decoder, []

    def receive(states: Tensor) -> Tensor:
        received.append(states)
        return states

    decoder(decoder.embedding(ids), cross_attention={0: receive})
    flat = [(noun, place) for noun, of_noun in enumerate(places) for place in of_noun]
    nouns, at = torch.tensor(flat, device=ids.device).T
    return NounStates(received[0][nouns, at], nouns)


def shown_nouns(pictures: Sequence[world.Scene | world.Photograph]) -> Tensor:
    """Which of `world.all_names()` each picture shows, (pictures, nouns) bool.

    A photo of a beagle also shows a dog.
    """
    shown = [
        words_of(picture) if isinstance(picture, world.Photograph) else picture.names for picture in pictures
    ]
    return torch.tensor([[noun in words for noun in world.all_names()] for words in shown])


def matching_loss(model: Flamingo, asked: NounStates, latents: Tensor, shown: Tensor) -> Tensor:
    """Nats for telling a shown noun's pictures from the others, plus those for telling whether each picture
    shows it.

    latents: (pictures, m, dim). shown: (pictures, nouns) bool.
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
"""The most noise on a meaning of size one, because cross-attention will be less clear than words."""

INITIAL_SCALE = 6.0
"""The initial size of a meaning: about half of the states that it is added to."""


def meaning(medium: world.Scene | world.MovingScene | world.Photograph) -> list[str]:
    """The words for a medium: its things, and their number, way and background.

    A photograph has its name and the word "photo".
    """
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
    """Turns words into one vector: the sum of what distinguishes their embeddings. Used in training only."""

    def __init__(self, dim: int):
        super().__init__()
        self.out = nn.Linear(dim, dim, bias=False)
        with torch.no_grad():
            self.out.weight.copy_(INITIAL_SCALE * torch.eye(dim))  # so that training begins near the identity

    def forward(self, words: Tensor, embedding: Tensor) -> Tensor:
        """Word ids (m, t), -1 where there is none, and the embedding (vocab, dim) -> (m, dim)."""
        embedding = embedding.detach()
        codes = F.layer_norm(embedding - embedding.mean(dim=0), embedding.shape[1:])
        summed = (codes[words.clamp(min=0)] * (words >= 0)[..., None]).sum(dim=1)
        meanings = F.layer_norm(summed, summed.shape[1:])
        if self.training:
            noise = torch.rand(len(meanings), 1, device=meanings.device) * NOISE
            meanings = meanings + torch.randn_like(meanings) * noise
        return self.out(meanings)
