"""What Flamingo looked at when it chose the words of an answer, down to the patches of each picture.

A second pass over prompt and answer gives what each bridge weighs the media's latents with. A latent is
no place in a picture, so its weight goes on to the patches it was made from, by attention rollout
(Abnar and Zuidema 2020, section 3): with W the resampler's attention of a layer, mean over its heads,

    R = 1/2 R_before + 1/2 (W_patches + W_latents R_before),

where R, (latents, patches), begins as zeros, for latents begin as the same vectors for all pictures. The
halves are the residual sum. At last each row is scaled to sum to 1: a latent's weight is neither lost
nor gained. Attention tells where a model took from, not what it made of that (Jain and Wallace 2019).
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
    """How far a bridge is open, -1 to 1: the tanh that its attention and its feed-forward are scaled with
    before they are added to what the language model thinks. 0 is shut."""

    layer: int
    attention: float
    feed_forward: float


@dataclass(frozen=True, eq=False)
class MediumAttention:
    """A medium of a text and where the answer looked in it.

    frames: as the tower saw them, one of a picture. maps: (layers, tokens, frames, rows, columns) float32,
    the part of a token's attention that went there; over all media of a text they sum to 1.
    """

    frames: tuple[Image.Image, ...]
    maps: np.ndarray = field(repr=False)


@dataclass(frozen=True, eq=False)
class AttentionMaps:
    """tokens: the answer's, as text. gates: of each bridge, first layer first, as in the maps."""

    tokens: tuple[str, ...]
    gates: tuple[Gate, ...]
    media: tuple[MediumAttention, ...]

    def map(self, token: int, medium: int, layer: int | None = None) -> np.ndarray:
        """(frames, rows, columns) of one token in one medium, at one of the gates' layers, or (None) the
        mean over all, in which a bridge weighs as much as its attention is open."""
        maps = self.media[medium].maps[:, token]
        if layer is not None:
            return maps[[gate.layer for gate in self.gates].index(layer)]
        open_ = np.array([abs(gate.attention) for gate in self.gates])
        return np.average(maps, axis=0, weights=open_ if open_.any() else None).astype(np.float32)

    def media_shares(self, token: int, layer: int | None = None) -> list[float]:
        """What part of a token's attention each medium got; they sum to 1."""
        return [float(self.map(token, medium, layer).sum()) for medium in range(len(self.media))]


@torch.no_grad()
def compute_attention_maps(
    flamingo: Flamingo, prompt: Sequence[int], answer: Sequence[int], media: Sequence[Tensor]
) -> tuple[tuple[Gate, ...], list[np.ndarray]]:
    """The gates, and each medium's maps as in `MediumAttention`, for an answer after a prompt.

    media: pixels, pictures (3, size, size) and videos (frames, 3, size, size). A token's row is that of
    the place before it, where it was chosen. Raises PromptError as `embed_media` does, without media,
    and where the tower's patches are no square.
    """
    if not media:
        raise PromptError("there is no picture or video to look at; give one per <media>")
    ids = torch.tensor([[*prompt, *answer]], device=media[0].device)
    patches = flamingo.encoder.patches(media)
    weights = flamingo.attention_weights(ids, flamingo.embed_patches(patches, ids))
    chosen = slice(len(prompt) - 1, len(prompt) + len(answer) - 1)
    by_layer = torch.cat([weights[layer][:, :, chosen].mean(dim=1) for layer in sorted(weights)])
    of_media = by_layer.chunk(len(media), dim=-1)
    maps = []
    for place, (medium, weight) in enumerate(zip(patches, of_media, strict=True)):
        tokens = flamingo.encoder.resampler_input(medium[None], torch.tensor([place], device=ids.device))
        (rolled,) = rollout(flamingo.encoder.resampler, tokens)
        side = _side(medium.shape[-2])
        seen = rearrange((weight @ rolled).float(), "l n (f r c) -> l n f r c", r=side, c=side)
        maps.append(seen.numpy(force=True))
    return gates(flamingo), maps


def rollout(resampler: PerceiverResampler, media: Tensor) -> Tensor:
    """(b, tokens, dim) as the resampler reads them -> (b, latents, tokens), rows that sum to 1: what part
    of each latent is from which token."""
    latents, tokens = len(resampler.latents), media.shape[1]
    rolled = media.new_zeros(len(media), latents, tokens)
    for weights in resampler.attention_weights(media):
        of_tokens, of_latents = weights.mean(dim=1).split((tokens, latents), dim=-1)
        rolled = (rolled + of_tokens + of_latents @ rolled) / 2
    return rolled / rolled.sum(dim=-1, keepdim=True)


def gates(flamingo: Flamingo) -> tuple[Gate, ...]:
    """Of each bridge, first layer first."""
    by_layer = {int(layer): cross_attn for layer, cross_attn in flamingo.cross_attention.items()}
    return tuple(
        Gate(layer, by_layer[layer].attention_gate.tanh().item(), by_layer[layer].ff_gate.tanh().item())
        for layer in sorted(by_layer)
    )


def _side(patches: int) -> int:
    """Of the grid that a picture's patches are: pictures come to the tower as squares."""
    side = math.isqrt(patches)
    if side * side != patches:
        raise PromptError(
            f"the vision tower gave {patches} patches, which are no square; use a tower of square patches "
            "without other tokens among them"
        )
    return side
