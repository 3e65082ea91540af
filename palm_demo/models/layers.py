"""The layers that a decoder is built from, one idea of a paper per class.

Norms read states of any dtype and give that of their weights.

Letters: `b` batch, `n` new tokens, `m` visible tokens, `h` heads, `d` head width.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from palm_demo.models import packed_weights
from palm_demo.models.cpu_linear import decodes, linear, linear_in_fp32, multiply_packed
from palm_demo.models.packed_weights import PackedWeight


class LayerNorm(nn.Module):
    """Layer normalisation with a gain and no bias (PaLM, section 2)."""

    def __init__(self, dim: int):
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(dim))

    def forward(self, x: Tensor) -> Tensor:
        return F.layer_norm(x, x.shape[-1:], self.gamma.to(x.dtype)).to(self.gamma.dtype)


class BiasedLayerNorm(nn.LayerNorm):
    """Layer normalisation with a gain and a bias, as in Flamingo's reference."""

    def forward(self, x: Tensor) -> Tensor:
        gain, bias = self.weight.to(x.dtype), self.bias.to(x.dtype)
        return F.layer_norm(x, self.normalized_shape, gain, bias, self.eps).to(self.weight.dtype)


class RMSNorm(nn.Module):
    """Root-mean-square normalisation (Zhang & Sennrich 2019), as in Toolformer's PaLM."""

    eps = 1e-8

    def __init__(self, dim: int):
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(dim))

    def forward(self, x: Tensor) -> Tensor:
        root_mean_square = x.norm(dim=-1, keepdim=True) * x.shape[-1] ** -0.5
        return (x / root_mean_square.clamp(min=self.eps) * self.gamma).to(self.gamma.dtype)


class GELU(nn.Module):
    """GELU activation of the feed-forward, which reads one inner width."""

    inner_widths = 1

    def forward(self, x: Tensor) -> Tensor:
        return F.gelu(x)


class SwiGLU(nn.Module):
    """SwiGLU activation (Shazeer 2020), which reads two inner widths: values, then gates."""

    inner_widths = 2

    def forward(self, x: Tensor) -> Tensor:
        values, gates = x.chunk(2, dim=-1)
        return F.silu(gates) * values


@dataclass(frozen=True)
class Rotation:
    """Rotates queries and keys by their positions. It is computed once a pass and shared by all blocks.

    Each tensor is fp32 and (n, 1, d), or (n, h + 1, d) if queries and the key differ; with a batch axis in
    front if rows stand at different positions. Sines of the first half of a head are negative.
    """

    cos: Tensor
    sin: Tensor

    def __call__(self, qk: Tensor) -> Tensor:
        """Rotates the queries and, last, the key of each token: (b, n, h + 1, d), in its own dtype."""
        return _turn(qk, self.cos, self.sin)

    def of_keys(self, keys: Tensor) -> Tensor:
        """Rotates keys (..., n, d) alone, all by the rotation's only position."""
        return _turn(keys, self.cos[..., -1, :], self.sin[..., -1, :])


def _turn(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotates each pair of numbers, one from either half of the head, by its angle."""
    return torch.addcmul(x * cos, x.roll(x.shape[-1] // 2, dims=-1), sin).to(x.dtype)


class RoPE:
    """Rotary position embedding (Su et al. 2021).

    It holds no buffers: angles are computed in fp32 from the positions of each pass, so neither a cast
    of the model nor inference mode can spoil them.
    """

    base = 10_000.0

    def __init__(self, dim_head: int):
        self.dim_head = dim_head

    def __call__(self, positions: Tensor, heads: int) -> Rotation:
        """The rotation for absolute positions, (n,) or (b, n)."""
        return Rotation(*self._circle(positions))

    def _circle(self, positions: Tensor) -> tuple[Tensor, Tensor]:
        """Cosines and sines, (..., 1, d) each, of positions (...)."""
        frequencies, _ = _of_pairs(self.dim_head, self.base, positions.device)
        angles = positions[..., None, None].float() * frequencies
        cos, sin = angles.cos(), angles.sin()
        return torch.cat((cos, cos), dim=-1), torch.cat((-sin, sin), dim=-1)


class XPos(RoPE):
    """RoPE whose attention scores decay with distance (Sun et al. 2022, section 2.3).

    The reference centres the exponent on the middle of the sequence, which moves as the sequence
    grows. Absolute positions give the same scores and can be cached.
    """

    def __init__(self, dim_head: int, scale_base: float = 512.0):
        """scale_base: the larger, the slower scores decay."""
        super().__init__(dim_head)
        self.scale_base = scale_base

    def __call__(self, positions: Tensor, heads: int) -> Rotation:
        cos, sin = self._circle(positions)
        _, decay = _of_pairs(self.dim_head, self.base, positions.device)
        scale = decay ** (positions[..., None, None].float() / self.scale_base)
        scale = torch.cat((scale, scale), dim=-1)
        of_queries = (*positions.shape, heads, self.dim_head)
        return Rotation(
            torch.cat(((cos * scale).expand(of_queries), cos / scale), dim=-2),
            torch.cat(((sin * scale).expand(of_queries), sin / scale), dim=-2),
        )


@lru_cache(maxsize=64)
@torch.inference_mode(False)  # a model that is trained may use them later
def _of_pairs(dim_head: int, base: float, device: torch.device) -> tuple[Tensor, Tensor]:
    """The frequency of each pair of a head, and the base of XPos's decay, (d / 2,) fp32 each."""
    pairs = torch.arange(0, dim_head, 2, device=device, dtype=torch.float32)
    return 1.0 / base ** (pairs / dim_head), (pairs + 0.4 * dim_head) / (1.4 * dim_head)


class PlainQK(nn.Module):
    """Leaves queries and keys as they are. Scores are divided by the root of the head width."""

    def __init__(self, dim_head: int):
        super().__init__()
        self.softmax_scale = dim_head**-0.5

    def forward(self, qk: Tensor) -> Tensor:
        """(b, n, h + 1, d) queries and key."""
        return qk


class NormalizedQK(nn.Module):
    """Unit queries and keys with learned gains; scores are multiplied by 8 (qk-norm, Henry et al. 2020).

    `softmax_scale`: the reference names the factor 8 and then still divides by the root of the head
    width. Weights trained with it need the same factor.
    """

    def __init__(self, dim_head: int, softmax_scale: float = 8.0):
        super().__init__()
        self.softmax_scale = softmax_scale
        self.query_gain = nn.Parameter(torch.ones(dim_head))
        self.key_gain = nn.Parameter(torch.ones(dim_head))

    def forward(self, qk: Tensor) -> Tensor:
        """(b, n, h + 1, d) queries and key."""
        gains = torch.cat((self.query_gain.expand(qk.shape[-2] - 1, -1), self.key_gain[None]))
        return F.normalize(qk, dim=-1) * gains


class TiedHead(nn.Module):
    """Logits from the embedding itself (PaLM, section 2: shared input-output embeddings).

    A packed head has the embedding in packed form. The table for lookups then lies in a file, of which
    only the needed rows are read and whose memory the system can take back.
    """

    _packed: tuple[tuple, PackedWeight] | None = None

    def __init__(self, embedding: nn.Embedding):
        super().__init__()
        nn.init.normal_(embedding.weight, std=0.02)

    def forward(self, states: Tensor, embedding: nn.Embedding) -> Tensor:
        weight, packed = embedding.weight, self._packed
        if packed is not None and packed[0] == packed_weights.state_of(weight) and decodes(states, weight):
            return multiply_packed(states, packed[1], dtype=torch.float32)
        if states.dtype != torch.bfloat16:
            return linear(states, weight)
        return linear_in_fp32(states, weight)  # in bf16, logits around 5 would lie 0.03 apart

    def pack_embedding_(self, embedding: nn.Embedding, in_8_bits: bool = False) -> None:
        """Packs the embedding for products, and maps the table for lookups, if this processor gains by it.

        in_8_bits: whether it may be rounded for products.
        """
        weight = embedding.weight
        if self._packed is not None and self._packed[0] == packed_weights.state_of(weight):
            return
        half = weight.dtype == torch.bfloat16
        packed = packed_weights.pack_in_8_bits(weight) if in_8_bits else None
        packed = packed or (packed_weights.pack_for_fp32_sums if half else packed_weights.pack)(weight)
        if packed is not None:
            weight.requires_grad_(False).data = packed_weights.mapped(weight)
        self._packed = packed and (packed_weights.state_of(weight), packed)

    def __getstate__(self) -> dict:
        """The state for copies and pickles, unpacked."""
        return {name: value for name, value in self.__dict__.items() if name != "_packed"}


class BiasedHead(nn.Module):
    """Logits from a projection of its own, with a bias, as in Toolformer's PaLM."""

    def __init__(self, embedding: nn.Embedding):
        super().__init__()
        self.projection = nn.Linear(embedding.embedding_dim, embedding.num_embeddings)

    def forward(self, states: Tensor, embedding: nn.Embedding) -> Tensor:
        return self.projection(states)


@dataclass(frozen=True)
class Style:
    """The layers of one published PaLM. Checkpoints store its name.

    `norm` is built from the model's width, `rotary` and `qk` from the head's width, `head` from the
    embedding.
    """

    name: str
    norm: Callable[[int], nn.Module]
    activation: Callable[[], nn.Module]
    rotary: Callable[[int], RoPE]
    qk: Callable[[int], nn.Module]
    head: Callable[[nn.Embedding], nn.Module]


TOOLFORMER = Style("toolformer", RMSNorm, GELU, RoPE, PlainQK, BiasedHead)
RLHF = Style("rlhf", LayerNorm, SwiGLU, XPos, PlainQK, TiedHead)
RLHF_QK_NORM = Style("rlhf-qk-norm", LayerNorm, SwiGLU, XPos, NormalizedQK, TiedHead)
MULTIMODAL = Style("multimodal", LayerNorm, SwiGLU, RoPE, PlainQK, TiedHead)

STYLES = {style.name: style for style in (TOOLFORMER, RLHF, RLHF_QK_NORM, MULTIMODAL)}
