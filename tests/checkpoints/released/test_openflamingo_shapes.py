"""OpenFlamingo's released shapes fit our reader and model, without memory for them."""

import pytest
import torch

from palm_demo.checkpoints import from_reference

from .plain_openflamingo import LAYERS_OF, lm_config


def released(kind: str, dim: int, rows: int, every: int) -> dict[str, tuple[int, ...]]:
    """Of a whole OpenFlamingo, as the layout lists them."""
    stem, shapes = f"lang_encoder.{LAYERS_OF[kind]}", {"perceiver.latents": (64, 1024)}

    def normed(*names: str, width: int, biased: bool = True) -> None:
        for name in names:
            shapes[f"{name}.weight"] = (width,)
            if biased:
                shapes[f"{name}.bias"] = (width,)

    normed("perceiver.norm", width=1024)
    for layer in range(6):
        at = f"perceiver.layers.{layer}."
        normed(f"{at}0.norm_media", f"{at}0.norm_latents", f"{at}1.0", width=1024)
        shapes |= {f"{at}0.to_q.weight": (512, 1024), f"{at}0.to_kv.weight": (1024, 1024)}
        shapes |= {f"{at}0.to_out.weight": (1024, 512), f"{at}1.1.weight": (4096, 1024)}
        shapes[f"{at}1.3.weight"] = (1024, 4096)
    for layer in range(32):
        at = f"{stem}.{layer}.decoder_layer."
        if kind == "gpt_neox":
            normed(f"{at}input_layernorm", f"{at}post_attention_layernorm", width=dim)
            for name, out, into in (
                ("attention.query_key_value", 3 * dim, dim),
                ("attention.dense", dim, dim),
                ("mlp.dense_h_to_4h", 4 * dim, dim),
                ("mlp.dense_4h_to_h", dim, 4 * dim),
            ):
                shapes |= {f"{at}{name}.weight": (out, into), f"{at}{name}.bias": (out,)}
        else:
            normed(f"{at}norm_1", f"{at}norm_2", width=dim, biased=False)
            shapes |= {f"{at}attn.Wqkv.weight": (3 * dim, dim), f"{at}attn.out_proj.weight": (dim, dim)}
            shapes |= {f"{at}ffn.up_proj.weight": (4 * dim, dim), f"{at}ffn.down_proj.weight": (dim, 4 * dim)}
        if (layer + 1) % every == 0:
            at = f"{stem}.{layer}.gated_cross_attn_layer."
            normed(f"{at}attn.norm", f"{at}ff.0", width=dim)
            shapes |= {f"{at}attn_gate": (1,), f"{at}ff_gate": (1,), f"{at}attn.to_q.weight": (512, dim)}
            shapes |= {f"{at}attn.to_kv.weight": (1024, 1024), f"{at}attn.to_out.weight": (dim, 512)}
            shapes |= {f"{at}ff.1.weight": (4 * dim, dim), f"{at}ff.3.weight": (dim, 4 * dim)}
    if kind == "gpt_neox":
        shapes |= {f"lang_encoder.{name}.weight": (rows, dim) for name in ("gpt_neox.embed_in", "embed_out")}
        normed("lang_encoder.gpt_neox.final_layer_norm", width=dim)
    else:
        shapes["lang_encoder.transformer.wte.weight"] = (rows, dim)
        normed("lang_encoder.transformer.norm_f", width=dim, biased=False)
    return shapes


def released_on_meta(kind: str, dim: int, rows: int, every: int, **others):
    """The model of the true shapes, without memory."""
    big = lm_config(kind, 50432)
    if kind == "mpt":
        big.d_model, big.n_heads, big.n_layers = dim, 32, 32
    else:
        big.hidden_size, big.num_attention_heads, big.num_hidden_layers = dim, 32, 32
        big.intermediate_size, big.rope_parameters["partial_rotary_factor"] = 4 * dim, 1.0
    shapes = released(kind, dim, rows, every)
    meta_tensors = {name: torch.empty(shape, device="meta") for name, shape in shapes.items()}
    arguments = {"media_token_id": rows - 2, "every": every} | others
    return from_reference("openflamingo", meta_tensors, lm_config=big, **arguments)


@pytest.mark.parametrize(
    ("kind", "dim", "rows", "every", "billions"),
    [("gpt_neox", 2560, 50280, 2, 3.73), ("mpt", 4096, 50280, 4, 7.83)],
    ids=["4B", "9B"],
)
@pytest.mark.slow
def test_the_released_shapes_fit_and_give_logits_of_the_right_shape(kind, dim, rows, every, billions):
    ours = released_on_meta(kind, dim, rows, every)
    assert [int(layer) for layer in ours.cross_attention] == list(range(every - 1, 32, every))
    assert (
        ours.config.dim_head == dim // 32 and ours.cross_attention[str(every - 1)].attention.scale == 64**-0.5
    )
    weights = sum(weight.numel() for weight in ours.parameters())
    assert weights / 1e9 == pytest.approx(billions, abs=0.01)
    ids, pictures = torch.empty(2, 12, dtype=torch.long, device="meta"), (2, 3, 256, 1024)
    assert ours(ids, embeds=torch.empty(pictures, device="meta")).shape == (2, 12, rows)
