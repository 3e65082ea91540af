"""openMaMMUT, written down from its layout: random tensors, and the plainest forward over them."""

import torch
import torch.nn.functional as F
from torch import Tensor

HEADS, TEXT_HEADS = 4, 2
START, END = 62, 63


def tensors(
    width=32, depth=3, patch=4, side=2, text_width=24, text_depth=4, vocab=64, context=12, device="cpu"
) -> dict[str, Tensor]:
    """All of the layout, by name, random."""
    shapes = {
        "logit_scale": (),
        "map_viz2txt_kv": (width, text_width),
        "visual.class_embedding": (width,),
        "visual.positional_embedding": (side * side + 1, width),
        "visual.proj": (width, text_width),
        "visual.conv1.weight": (width, 3, patch, patch),
        **norm("visual.ln_pre", width),
        **norm("visual.ln_post", width),
        "text.token_embedding.weight": (vocab, text_width),
        "text.positional_embedding": (context, text_width),
        "text.text_projection": (text_width, vocab),
        **norm("text.ln_final", text_width),
    }
    for layer in range(depth):
        shapes |= block(f"visual.transformer.resblocks.{layer}", width)
    for layer in range(text_depth):
        shapes |= block(f"text.resblocks.{layer}", text_width)
    for layer in range(text_depth // 2):
        name = f"text.cross_attn.{layer}"
        shapes |= block(name, text_width) | norm(f"{name}.ln_1_kv", text_width)
    return {name: 0.4 * torch.randn(shape, device=device) for name, shape in shapes.items()}


def norm(name: str, width: int) -> dict[str, tuple[int, ...]]:
    return {f"{name}.weight": (width,), f"{name}.bias": (width,)}


def block(name: str, width: int) -> dict[str, tuple[int, ...]]:
    return {
        **norm(f"{name}.ln_1", width),
        **norm(f"{name}.ln_2", width),
        f"{name}.attn.in_proj_weight": (3 * width, width),
        f"{name}.attn.in_proj_bias": (3 * width,),
        f"{name}.attn.out_proj.weight": (width, width),
        f"{name}.attn.out_proj.bias": (width,),
        f"{name}.mlp.c_fc.weight": (4 * width, width),
        f"{name}.mlp.c_fc.bias": (4 * width,),
        f"{name}.mlp.c_proj.weight": (width, 4 * width),
        f"{name}.mlp.c_proj.bias": (width,),
    }


class Plain:
    """No cache, no batch of heads, no modules."""

    def __init__(self, weights: dict[str, Tensor]):
        self.w = weights

    def norm(self, name: str, x: Tensor) -> Tensor:
        centred = x - x.mean(dim=-1, keepdim=True)
        scaled = centred / (centred.square().mean(dim=-1, keepdim=True) + 1e-5).sqrt()
        return scaled * self.w[f"{name}.weight"] + self.w[f"{name}.bias"]

    def linear(self, name: str, x: Tensor) -> Tensor:
        return x @ self.w[f"{name}.weight"].T + self.w[f"{name}.bias"]

    def attention(self, name: str, x: Tensor, context: Tensor, heads: int, causal: bool) -> Tensor:
        """(n, width) looks at (m, width)."""
        weights = self.w[f"{name}.in_proj_weight"].chunk(3)
        biases = self.w[f"{name}.in_proj_bias"].chunk(3)
        read = (y @ w.T + b for y, w, b in zip((x, context, context), weights, biases, strict=True))
        attn_out = []
        for q, k, v in zip(*(part.chunk(heads, dim=-1) for part in read), strict=True):
            scores = q @ k.T / q.shape[-1] ** 0.5
            if causal:
                scores = scores.masked_fill(torch.ones_like(scores).triu(1).bool(), -torch.inf)
            attn_out.append(scores.softmax(dim=-1) @ v)
        return self.linear(f"{name}.out_proj", torch.cat(attn_out, dim=-1))

    def block(self, name: str, x: Tensor, heads: int, causal: bool = False, memory: Tensor | None = None):
        normed = self.norm(f"{name}.ln_1", x)
        context = normed if memory is None else self.norm(f"{name}.ln_1_kv", memory)
        x = x + self.attention(f"{name}.attn", normed, context, heads, causal)
        inner = self.linear(f"{name}.mlp.c_fc", self.norm(f"{name}.ln_2", x))
        gelu = 0.5 * inner * (1 + torch.erf(inner / 2**0.5))
        return x + self.linear(f"{name}.mlp.c_proj", gelu)

    def layers(self, stem: str) -> int:
        return len({name.split(".")[stem.count(".") + 1] for name in self.w if name.startswith(f"{stem}.")})

    def tokens(self, pixels: Tensor) -> Tensor:
        """(3, size, size) -> (1 + patches, width), as they leave the last block."""
        kernel = self.w["visual.conv1.weight"]
        patch = kernel.shape[-1]
        rows = pixels.unfold(1, patch, patch).unfold(2, patch, patch)  # 3, side, side, patch, patch
        patches = rows.permute(1, 2, 0, 3, 4).flatten(0, 1).flatten(1) @ kernel.flatten(1).T
        x = torch.cat((self.w["visual.class_embedding"][None], patches))
        x = self.norm("visual.ln_pre", x + self.w["visual.positional_embedding"])
        for layer in range(self.layers("visual.transformer.resblocks")):
            x = self.block(f"visual.transformer.resblocks.{layer}", x, HEADS)
        return x

    def image_latent(self, pixels: Tensor) -> Tensor:
        pooled = self.norm("visual.ln_post", self.tokens(pixels).mean(dim=0))
        return F.normalize(pooled @ self.w["visual.proj"], dim=-1)

    def text(self, ids: list[int], memory: Tensor | None) -> Tensor:
        """(n, width), normed: causal where it looks at a picture, both ways where not."""
        x = self.w["text.token_embedding.weight"][ids] + self.w["text.positional_embedding"][: len(ids)]
        for layer in range(self.layers("text.resblocks")):
            x = self.block(f"text.resblocks.{layer}", x, TEXT_HEADS, causal=memory is not None)
            if memory is not None and layer % 2 == 0:
                x = self.block(f"text.cross_attn.{layer // 2}", x, TEXT_HEADS, memory=memory)
        return self.norm("text.ln_final", x)

    def text_latent(self, ids: list[int]) -> Tensor:
        places = len(self.w["text.positional_embedding"])
        return F.normalize(self.text(ids + [0] * (places - len(ids)), None).mean(dim=0), dim=-1)

    def logits(self, ids: list[int], pixels: Tensor) -> Tensor:
        """(n, vocab) of a caption."""
        memory = self.tokens(pixels) @ self.w["map_viz2txt_kv"]
        return self.text(ids, memory) @ self.w["text.text_projection"]

    def greedy(self, pixels: Tensor, count: int) -> list[int]:
        ids = [START]
        for _ in range(count):
            ids.append(int(self.logits(ids, pixels)[-1].argmax()))
        return ids[1:]
