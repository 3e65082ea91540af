"""open_clip's CoCa writes with our decode loop what its own forward says."""

from functools import partial

import open_clip
import pytest
import torch
from torch.testing import assert_close

from palm_demo.checkpoints import from_reference
from palm_demo.errors import CheckpointError
from palm_demo.inference.decoding import stream_ids
from palm_demo.inference.sampling import Sampler
from palm_demo.inference.settings import SamplingParams
from palm_demo.models.clip_captioners import new_coca
from palm_demo.models.transformer import TransformerConfig
from palm_demo.models.vision import ViTConfig

from .captioners import check_cached_logits_match_full_forward_in_a_ragged_batch, equal

VIT = ViTConfig(image_size=8, patch_size=4, dim=32, depth=2, heads=4, ff_mult=4, dim_latents=24)
TEXT = TransformerConfig(dim=24, depth=2, heads=2, vocab=64, dim_head=12)
HEADS = {"heads": 4, "text_heads": 2, "pool_heads": 3}
START, END = 62, 63


@pytest.fixture
def theirs():
    made = new_coca(VIT, 5, HEADS["pool_heads"], TEXT, context=10, decoder_depth=3).eval()
    for weight in made.parameters():
        torch.nn.init.normal_(weight, std=0.4)
    return made


@pytest.fixture
def ours(theirs):
    return from_reference("coca", theirs.state_dict(), **HEADS)


@pytest.fixture
def pixels():
    return torch.randn(2, 3, 8, 8)


@torch.no_grad()
def test_caption_logits_are_open_clips(ours, theirs, pixels):
    ids = torch.randint(1, 60, (2, 9))
    wanted = theirs(pixels, ids, output_labels=False)["logits"]
    assert_close(ours(ids, pixels), wanted, **equal)


@torch.no_grad()
def test_latents_are_open_clips(ours, theirs, pixels):
    assert_close(ours.encode_images(pixels).latents, theirs.encode_image(pixels), **equal)
    texts = torch.tensor([[START, 4, 7, END, 0, 0, 0, 0, 0, 0], [START, 9, 2, 5, 8, 4, 4, 4, 3, END]])
    wanted = theirs.encode_text(texts)
    assert_close(ours.embed_texts(texts, texts != 0), wanted, **equal)
    short = texts[:1, :4]
    assert_close(ours.embed_texts(short, short != 0), wanted[:1], **equal)
    assert ours.dim_latents == 24


def test_cached_logits_match_full_forward_in_a_ragged_batch(ours, pixels):
    check_cached_logits_match_full_forward_in_a_ragged_batch(ours, pixels)


@torch.no_grad()
def test_greedy_captions_are_open_clips_forward_in_a_loop(ours, theirs, pixels):
    prefill = partial(ours.prefill, memory=ours.encode_images(pixels).memory)
    samplers = [Sampler(SamplingParams(), banned=()) for _ in pixels]
    steps = stream_ids(prefill, ours.decode_step, [[START]] * 2, samplers, 8, eos_id=-1, device=pixels.device)
    said = torch.tensor(list(steps)).T
    ids = torch.full((2, 1), START)
    for _ in range(8):
        following = theirs(pixels, ids, output_labels=False)["logits"][:, -1].argmax(dim=-1)
        ids = torch.cat((ids, following[:, None]), dim=1)
    assert torch.equal(said, ids[:, 1:])


@torch.no_grad()
def test_latents_depend_on_the_latent_weights_alone(ours, pixels):
    kept, text = ours.latent_weights(), torch.tensor([[START, 4, END]])
    before = ours.encode_images(pixels).latents, ours.embed_texts(text, text != 0)
    for name, weight in ours.named_parameters():
        if name not in kept:
            weight.normal_()
    after = ours.encode_images(pixels).latents, ours.embed_texts(text, text != 0)
    assert all(torch.equal(*pair) for pair in zip(before, after, strict=True))
    assert kept.keys() < dict(ours.named_parameters()).keys()


@pytest.mark.slow
def test_a_missing_a_surplus_and_a_misshapen_tensor_are_named(theirs):
    tensors = dict(theirs.state_dict())
    for name in sorted(tensors)[::9]:
        with pytest.raises(CheckpointError, match="missing"):
            from_reference("coca", {n: t for n, t in tensors.items() if n != name}, **HEADS)
    with pytest.raises(CheckpointError, match=r"unexpected: text\.odd"):
        from_reference("coca", tensors | {"text.odd": torch.zeros(1)}, **HEADS)
    with pytest.raises(CheckpointError, match=r"wrong shape: text\.cls_emb is \(3,\)"):
        from_reference("coca", tensors | {"text.cls_emb": torch.zeros(3)}, **HEADS)
    with pytest.raises(CheckpointError, match=r"24, which cannot be divided into heads \(5\)"):
        from_reference("coca", tensors, **HEADS | {"pool_heads": 5})


@pytest.mark.slow
def test_the_shapes_of_open_clips_own_configuration_are_read():
    config = open_clip.get_model_config("coca_ViT-L-14")
    config.pop("custom_text")
    with torch.device("meta"):
        theirs = open_clip.CoCa(**config)
    ours = from_reference("coca", theirs.state_dict(), heads=16, text_heads=12, pool_heads=8)
    shapes = {name.removeprefix("tower."): t.shape for name, t in ours.state_dict().items()}
    assert shapes == {name: t.shape for name, t in theirs.state_dict().items()}
    assert (ours.tower.image_size, ours.context, ours.config.depth) == (224, 76, 24)
    assert ours.config.vocab == 49408
