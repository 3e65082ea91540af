"""OpenFlamingo as its layout says, on tiny language models of transformers: one text at a time, token by
token and head by head, without a cache. Only the language model's blocks are not written out."""

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import GPTNeoXConfig, GPTNeoXForCausalLM, MptConfig, MptForCausalLM

ROWS, MEDIA, EVERY, HEADS = 50, 49, 2, 2
DIM, DIM_MEDIA, LATENTS, LAYERS, RESAMPLERS = 32, 24, 3, 4, 2
CROSS_LAYERS = (1, 3)
LAYERS_OF = {"gpt_neox": "gpt_neox.layers", "mpt": "transformer.blocks"}


def lm_config(kind: str, rows: int):
    if kind == "mpt":
        return MptConfig(d_model=DIM, n_heads=4, n_layers=LAYERS, vocab_size=rows, max_seq_len=64)
    return GPTNeoXConfig(
        hidden_size=DIM,
        num_attention_heads=4,
        num_hidden_layers=LAYERS,
        intermediate_size=2 * DIM,
        vocab_size=rows,
        max_position_embeddings=64,
        rotary_pct=0.5,
        use_parallel_residual=False,
    )


def language_model(kind: str, rows: int = ROWS):
    """With noise on every weight."""
    model = (MptForCausalLM if kind == "mpt" else GPTNeoXForCausalLM)(lm_config(kind, rows))
    model.tie_weights()
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(0.1 * torch.randn_like(weight))
    return model.eval()


def trained(kind: str) -> dict[str, Tensor]:
    """What a checkpoint holds beside the language model, at random."""
    shapes: dict[str, tuple[int, ...]] = {"perceiver.latents": (LATENTS, DIM_MEDIA)}
    norms = {"perceiver.norm": DIM_MEDIA}

    def feed_forward(stem: str, dim: int) -> None:
        norms[f"{stem}0"] = dim
        shapes[f"{stem}1.weight"], shapes[f"{stem}3.weight"] = (4 * dim, dim), (dim, 4 * dim)

    for layer in range(RESAMPLERS):
        stem = f"perceiver.layers.{layer}."
        norms[f"{stem}0.norm_media"] = norms[f"{stem}0.norm_latents"] = DIM_MEDIA
        shapes[f"{stem}0.to_q.weight"] = (16, DIM_MEDIA)
        shapes[f"{stem}0.to_kv.weight"] = (32, DIM_MEDIA)
        shapes[f"{stem}0.to_out.weight"] = (DIM_MEDIA, 16)
        feed_forward(f"{stem}1.", DIM_MEDIA)
    for layer in CROSS_LAYERS:
        stem = f"lang_encoder.{LAYERS_OF[kind]}.{layer}.gated_cross_attn_layer."
        shapes[f"{stem}attn_gate"] = shapes[f"{stem}ff_gate"] = (1,)
        norms[f"{stem}attn.norm"] = DIM
        shapes[f"{stem}attn.to_q.weight"] = (12, DIM)
        shapes[f"{stem}attn.to_kv.weight"] = (24, DIM_MEDIA)
        shapes[f"{stem}attn.to_out.weight"] = (DIM, 12)
        feed_forward(f"{stem}ff.", DIM)
    tensors = {name: 0.3 * torch.randn(shape) for name, shape in shapes.items()}
    for name, dim in norms.items():
        for part, start in (("weight", 1.0), ("bias", 0.0)):
            tensors[f"{name}.{part}"] = start + 0.1 * torch.randn(dim)
    return tensors


def whole(kind: str, lm, beside: dict[str, Tensor]) -> dict[str, Tensor]:
    """A checkpoint with all of the language model, its blocks wrapped as OpenFlamingo wraps them."""
    tensors = dict(beside)
    for name, tensor in lm.state_dict().items():
        if name == "lm_head.weight":
            if kind == "gpt_neox":
                tensors["lang_encoder.embed_out.weight"] = tensor
        elif name.startswith(LAYERS_OF[kind]):
            layer, part = name.removeprefix(f"{LAYERS_OF[kind]}.").split(".", 1)
            tensors[f"lang_encoder.{LAYERS_OF[kind]}.{layer}.decoder_layer.{part}"] = tensor
        else:
            tensors[f"lang_encoder.{name}"] = tensor
    return tensors


class Plain:
    def __init__(self, kind: str, lm, tensors: dict[str, Tensor]):
        self.lm, self.tensors = lm, tensors
        self.ids: list[int] = []
        self.media: list[Tensor] = []
        for layer in CROSS_LAYERS:
            block = lm.get_submodule(f"{LAYERS_OF[kind]}.{layer}")
            stem = f"lang_encoder.{LAYERS_OF[kind]}.{layer}.gated_cross_attn_layer."
            block.register_forward_pre_hook(self._before(stem), with_kwargs=True)

    @torch.no_grad()
    def logits(self, ids: list[int], media: list[Tensor]) -> Tensor:
        """media: (patches, dim) each -> (n, rows)."""
        self.ids, self.media = ids, [self.latents(patches) for patches in media]
        return self.lm(torch.tensor([ids])).logits[0]

    def greedy(self, ids: list[int], media: list[Tensor], new: int) -> list[int]:
        for _ in range(new):
            following = self.logits(ids, media)[-1]
            following[MEDIA] = -torch.inf
            ids = [*ids, int(following.argmax())]
        return ids[-new:]

    def latents(self, patches: Tensor) -> Tensor:
        latents = self.tensors["perceiver.latents"]
        for layer in range(RESAMPLERS):
            stem = f"perceiver.layers.{layer}."
            seen, own = (
                self._norm(patches, f"{stem}0.norm_media"),
                self._norm(latents, f"{stem}0.norm_latents"),
            )
            latents = latents + self._attention(own, torch.cat((seen, own)), f"{stem}0.")
            latents = latents + self._feed_forward(latents, f"{stem}1.")
        return self._norm(latents, "perceiver.norm")

    def _before(self, stem: str):
        def hook(block, arguments, named):
            (states,), *others = arguments
            return (self._cross_attention(states, stem)[None], *others), named

        return hook

    def _cross_attention(self, states: Tensor, stem: str) -> Tensor:
        """(n, dim): each token hears the medium right before it, and nothing where there is none."""
        normed, heard, passed = self._norm(states, f"{stem}attn.norm"), torch.zeros_like(states), 0
        for place, token in enumerate(self.ids):
            passed += token == MEDIA
            if passed:
                query, context = normed[place : place + 1], self.media[passed - 1]
                heard[place] = self._attention(query, context, f"{stem}attn.")[0]
        states = states + heard * self.tensors[f"{stem}attn_gate"].tanh()
        return states + self._feed_forward(states, f"{stem}ff.") * self.tensors[f"{stem}ff_gate"].tanh()

    def _attention(self, queries: Tensor, context: Tensor, stem: str) -> Tensor:
        to_q, to_kv, to_out = (self.tensors[f"{stem}{name}.weight"] for name in ("to_q", "to_kv", "to_out"))
        keys, values = (context @ to_kv.T).chunk(2, dim=-1)
        parts = (part.chunk(HEADS, dim=-1) for part in (queries @ to_q.T, keys, values))
        heard = []
        for q, k, v in zip(*parts, strict=True):
            heard.append((q @ k.T * q.shape[-1] ** -0.5).softmax(dim=-1) @ v)
        return torch.cat(heard, dim=-1) @ to_out.T

    def _feed_forward(self, x: Tensor, stem: str) -> Tensor:
        inner = F.gelu(self._norm(x, f"{stem}0") @ self.tensors[f"{stem}1.weight"].T)
        return inner @ self.tensors[f"{stem}3.weight"].T

    def _norm(self, x: Tensor, name: str) -> Tensor:
        return F.layer_norm(x, x.shape[-1:], self.tensors[f"{name}.weight"], self.tensors[f"{name}.bias"])
