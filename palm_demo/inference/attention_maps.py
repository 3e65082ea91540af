"""Attention maps: what Flamingo looked at for each word of an answer, down to the patches of each
picture.

A second pass over prompt and answer gives the weights of each cross-attention layer on the media's
latents. A latent has no place in a picture, so its weight is distributed over the patches it was made
from, by attention rollout (Abnar and Zuidema 2020, section 3): with W the resampler's attention of a
layer, mean over its heads,

    R = 1/2 R_before + 1/2 (W_patches + W_latents R_before),

where R, (latents, patches), begins as zeros, because latents begin as the same vectors for all
pictures. The halves stand for the residual connection. At the end each row is scaled to sum to 1, so
that a latent's weight is neither lost nor gained. Attention shows where a model read from, not what it
made of that (Jain and Wallace 2019).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from einops import rearrange
from PIL import Image
from torch import Tensor

from palm_demo.errors import PromptError
from palm_demo.models import Flamingo
from palm_demo.models.resampler import PerceiverResampler


@dataclass(frozen=True)
class Gate:
    """The gates of a cross-attention layer, -1 to 1; 0 is closed.

    Each is the tanh that the layer's attention or feed-forward is multiplied by before it is added to
    the language model's states.
    """

    layer: int
    attention: float
    feed_forward: float


@dataclass(frozen=True, eq=False)
class MediumAttention:
    """A medium of a prompt and the answer's attention to it.

    Attributes:
        frames: as the tower saw them; one for a picture.
        maps: (layers, tokens, frames, rows, columns) float32, each token's attention. Over all media
            of a prompt it sums to 1.
    """

    frames: tuple[Image.Image, ...]
    maps: np.ndarray = field(repr=False)


@dataclass(frozen=True, eq=False)
class AttentionMaps:
    """The attention of an answer to the media of its prompt.

    Attributes:
        tokens: the answer's tokens as text.
        gates: of each cross-attention layer, first layer first, as in the maps.
        media: in the order of the prompt.
    """

    tokens: tuple[str, ...]
    gates: tuple[Gate, ...]
    media: tuple[MediumAttention, ...]

    def map(self, token: int, medium: int, layer: int | None = None) -> np.ndarray:
        """The attention of one token to one medium, (frames, rows, columns).

        layer: one of the gates' layers; None for the mean over all layers, weighted by how far their
        attention gates are open.
        """
        maps = self.media[medium].maps[:, token]
        if layer is not None:
            return maps[[gate.layer for gate in self.gates].index(layer)]
        open_ = np.array([abs(gate.attention) for gate in self.gates])
        return np.average(maps, axis=0, weights=open_ if open_.any() else None).astype(np.float32)

    def media_shares(self, token: int, layer: int | None = None) -> list[float]:
        """The fraction of a token's attention that each medium gets. They sum to 1."""
        return [float(self.map(token, medium, layer).sum()) for medium in range(len(self.media))]


@torch.no_grad()
def compute_attention_maps(
    flamingo: Flamingo, prompt: Sequence[int], answer: Sequence[int], patches: Sequence[Tensor]
) -> tuple[tuple[Gate, ...], list[np.ndarray]]:
    """The gates, and each medium's maps as in `MediumAttention`, for an answer after a prompt.

    Args:
        flamingo: the model.
        prompt, answer: ids.
        patches: of the media, as `MediaEncoder.patches` returns them.

    A token's row is that of the position before it, where the token was chosen. Raises PromptError as
    `embed_patches` does, without media, and if the tower's patches do not form a square.
    """
    if not patches:
        raise PromptError("there is no picture or video to look at; give one per <media>")
    ids = torch.tensor([[*prompt, *answer]], device=patches[0].device)
    weights = flamingo.attention_weights(ids, flamingo.embed_patches(patches, ids))
    chosen = slice(len(prompt) - 1, len(prompt) + len(answer) - 1)
    by_layer = torch.cat([weights[layer][:, :, chosen].mean(dim=1) for layer in sorted(weights)])
    of_media = by_layer.chunk(len(patches), dim=-1)
    maps = []
    for place, (medium, weight) in enumerate(zip(patches, of_media, strict=True)):
        tokens = flamingo.encoder.resampler_input(medium[None], torch.tensor([place], device=ids.device))
        (rolled,) = rollout(flamingo.encoder.resampler, tokens)
        side = _side(medium.shape[-2])
        seen = rearrange((weight @ rolled).float(), "l n (f r c) -> l n f r c", r=side, c=side)
        maps.append(seen.numpy(force=True))
    return gates(flamingo), maps


def rollout(resampler: PerceiverResampler, media: Tensor) -> Tensor:
    """The resampler's attention rollout: which fraction of each latent comes from which token.

    media: (b, tokens, dim), the resampler's input. Returns (b, latents, tokens); rows sum to 1.
    """
    latents, tokens = len(resampler.latents), media.shape[1]
    rolled = media.new_zeros(len(media), latents, tokens)
    for weights in resampler.attention_weights(media):
        of_tokens, of_latents = weights.mean(dim=1).split((tokens, latents), dim=-1)
        rolled = (rolled + of_tokens + of_latents @ rolled) / 2
    return rolled / rolled.sum(dim=-1, keepdim=True)


def gates(flamingo: Flamingo) -> tuple[Gate, ...]:
    """The gates of each cross-attention layer, first layer first."""
    by_layer = {int(layer): cross_attn for layer, cross_attn in flamingo.cross_attention.items()}
    return tuple(
        Gate(layer, by_layer[layer].attention_gate.tanh().item(), by_layer[layer].ff_gate.tanh().item())
        for layer in sorted(by_layer)
    )


def _side(patches: int) -> int:
    """The side of the square that a picture's patches form."""
    side = math.isqrt(patches)
    if side * side != patches:
        raise PromptError(
            f"the vision tower gave {patches} patches, which do not form a square; use a tower of "
            "square patches without other tokens among them"
        )
    return side
