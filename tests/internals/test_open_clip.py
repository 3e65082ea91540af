"""What open_clip does not document and we use does what we take it to do."""

import logging
import subprocess
import sys

import pytest
import torch
from open_clip.tokenizer import SimpleTokenizer
from PIL import Image
from torch import nn

from palm_demo.internals.open_clip_parts import (
    QuickGELU,
    ResidualAttentionBlock,
    VisionTransformer,
    image_preparation,
    prepare_for_,
    raw_tokens_,
    untrained,
)

HEAVY = {"open_clip", "torchvision", "timm", "transformers", "lancedb", "pandas", "torch._dynamo", "sympy"}
IMPORT = f"import sys, palm_demo; palm_demo.load; print(*sorted({HEAVY!r} & sys.modules.keys()))"


@pytest.fixture
def visual() -> nn.Module:
    transformer = VisionTransformer(32, 16, 24, 2, 2, 2, pool_type="none", output_dim=8, act_layer=nn.GELU)
    return prepare_for_(raw_tokens_(transformer), 32).eval()


def test_tokens_come_as_they_leave_the_last_block(visual):
    left = []
    visual.transformer.register_forward_hook(lambda module, inputs, output: left.append(output))
    _, tokens = visual(torch.randn(2, 3, 32, 32))
    assert tokens.shape == (2, 5, 24) and torch.equal(tokens, left[0])


def test_a_picture_is_prepared_by_the_encoders_own_settings(visual):
    pixels = image_preparation(visual)(Image.new("RGB", (50, 40), (255, 0, 0)))
    assert pixels.shape == (3, 32, 32)
    mean, std = (torch.tensor(visual.preprocess_cfg[name]) for name in ("mean", "std"))
    wanted = (torch.tensor([1.0, 0.0, 0.0]) - mean) / std
    torch.testing.assert_close(pixels[:, 16, 16], wanted)
    assert visual.preprocess_cfg["resize_mode"] in ("shortest", "longest", "squash")
    assert visual.image_size == (32, 32)


def test_a_block_is_attention_and_then_a_feed_forward_each_behind_a_norm():
    block, x = ResidualAttentionBlock(24, 2, 2).eval(), torch.randn(2, 5, 24)
    states = x + block.attn(*[block.ln_1(x)] * 3, need_weights=False)[0]
    torch.testing.assert_close(block(x), states + block.mlp(block.ln_2(states)))
    weights = block.attn.in_proj_weight, block.attn.in_proj_bias, block.attn.out_proj.weight
    assert [tuple(weight.shape) for weight in weights] == [(72, 24), (72,), (24, 24)]


def test_a_block_that_looks_elsewhere_norms_that_too():
    block = ResidualAttentionBlock(24, 2, 2, is_cross_attention=True).eval()
    x, seen = torch.randn(2, 1, 5, 24)
    states = x + block.attn(block.ln_1(x), *[block.ln_1_kv(seen)] * 2, need_weights=False)[0]
    torch.testing.assert_close(block(x, k_x=seen, v_x=seen), states + block.mlp(block.ln_2(states)))


def test_quick_gelu_is_the_sigmoid_one():
    x = torch.linspace(-3, 3, 7)
    torch.testing.assert_close(QuickGELU()(x), x * torch.sigmoid(1.702 * x))


def test_words_have_the_tables_that_tokens_are_made_of():
    words = SimpleTokenizer()
    assert len(words.encoder) == words.vocab_size == 49_408
    assert (words.sot_token_id, words.eot_token_id) == (49_406, 49_407)
    assert words.decoder[words.encoder["cat</w>"]] == "cat</w>"
    assert all(len(pair) == 2 for pair in list(words.bpe_ranks)[:100])
    assert {words.byte_decoder[letter] for letter in words.byte_encoder.values()} == set(range(256))
    assert words.pat.findall(words.clean_fn("A  Cat's hat")) == ["a", "cat", "'s", "hat"]


def test_an_encoder_whose_weights_come_next_is_made_in_silence(assets, caplog):
    before = [*logging.getLogger().handlers]
    untrained(assets / "vision")
    assert not caplog.records
    logging.warning("another's word")
    assert [record.getMessage() for record in caplog.records] == ["another's word"]
    assert logging.getLogger().handlers == before


def test_open_clip_and_what_it_brings_are_imported_with_the_first_tower_only():
    ended = subprocess.run([sys.executable, "-c", IMPORT], capture_output=True, encoding="utf-8")
    assert (ended.returncode, ended.stdout.strip()) == (0, ""), ended.stderr
