"""The models that the benchmarks compare: random ones of the same shape, ours and others'."""

from palm_rlhf_pytorch.palm import PaLM as ReferencePaLM
from torch import nn
from transformers import LlamaConfig, LlamaForCausalLM

from palm_demo.checkpoints import from_reference
from palm_demo.models import PaLM

SHAPES = {
    "8 M": {"dim": 256, "num_tokens": 6144, "depth": 6, "dim_head": 64, "heads": 8},
    "145 M": {"dim": 768, "num_tokens": 50_304, "depth": 12, "dim_head": 128, "heads": 8},
    "1 B": {"dim": 2048, "num_tokens": 50_304, "depth": 16, "dim_head": 128, "heads": 8},
    "2 B": {"dim": 2560, "num_tokens": 50_304, "depth": 24, "dim_head": 128, "heads": 8},
}
"""Arguments of the reference's PaLM. From 145 M on the shapes of conceptofmind's "150m", "1b" and "2b"."""
SMALL = ["8 M", "145 M"]
"""Shapes for which two cores are enough."""

FF_MULT = 4


def palms(size: str) -> tuple[PaLM, ReferencePaLM]:
    """Ours and palm-rlhf-pytorch's of the same weights."""
    reference = ReferencePaLM(**SHAPES[size], ff_mult=FF_MULT).eval().requires_grad_(False)
    ours = from_reference("palm-rlhf-pytorch", reference.state_dict(), **SHAPES[size], ff_mult=FF_MULT)
    return ours.requires_grad_(False), reference


def llama(size: str) -> LlamaForCausalLM:
    """transformers' Llama of the same width, depth, heads and ids, with one key/value head."""
    shape = SHAPES[size]
    config = LlamaConfig(
        hidden_size=shape["dim"],
        intermediate_size=shape["dim"] * FF_MULT,
        num_hidden_layers=shape["depth"],
        num_attention_heads=shape["heads"],
        num_key_value_heads=1,
        head_dim=shape["dim_head"],
        vocab_size=shape["num_tokens"],
        max_position_embeddings=8192,
        tie_word_embeddings=True,
    )
    model = LlamaForCausalLM(config).eval().requires_grad_(False)
    model.generation_config.eos_token_id = None  # random weights must not end a text
    model.generation_config.pad_token_id = 0
    return model


def size_bytes(model: nn.Module) -> int:
    """The bytes of all weights, which a decode step reads. Those shared by two modules count once."""
    return sum(weight.numel() * weight.element_size() for weight in model.parameters())
