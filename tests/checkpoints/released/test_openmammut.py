"""openMaMMUT's released weights give, through our reader and our decode loop, what its layout says."""

import pytest
import torch
from torch.testing import assert_close

from palm_demo.checkpoints import from_reference
from palm_demo.errors import CapacityError, CheckpointError, PromptError
from palm_demo.inference.beam_search import beam_search
from palm_demo.inference.decoding import stream_ids
from palm_demo.inference.sampling import Sampler
from palm_demo.inference.settings import SamplingParams
from palm_demo.media import to_rgb

from .captioners import check_cached_logits_match_full_forward_in_a_ragged_batch, equal
from .plain_openmammut import END, HEADS, START, TEXT_HEADS, Plain, tensors

HEADS_OF = {"heads": HEADS, "text_heads": TEXT_HEADS}


@pytest.fixture
def weights():
    return tensors()


@pytest.fixture
def plain(weights):
    return Plain(weights)


@pytest.fixture
def ours(weights):
    return from_reference("openmammut", weights, **HEADS_OF)


@pytest.fixture
def pixels():
    return torch.randn(2, 3, 8, 8)


def padded(rows: list[list[int]]) -> tuple[torch.Tensor, torch.Tensor]:
    ids = torch.nn.utils.rnn.pad_sequence([torch.tensor(row) for row in rows], batch_first=True)
    return ids, torch.arange(ids.shape[1]) < torch.tensor([len(row) for row in rows])[:, None]


@torch.no_grad()
def test_image_latents_and_caption_memory_are_those_of_the_layout(ours, plain, pixels, weights):
    features = ours.encode_images(pixels)
    for row, picture in enumerate(pixels):
        assert_close(features.latents[row], plain.image_latent(picture), **equal)
        assert_close(features.memory[row], plain.tokens(picture) @ weights["map_viz2txt_kv"], **equal)


@torch.no_grad()
def test_the_towers_tokens_are_raw_with_the_class_token_first(ours, plain, pixels):
    assert ours.tower.patches == 5
    assert_close(ours.tower(pixels)[1], plain.tokens(pixels[1]), **equal)


@torch.no_grad()
def test_caption_logits_are_those_of_the_layout(ours, plain, pixels):
    ids = torch.randint(1, 60, (2, 12))
    logits = ours(ids, pixels)
    for row in range(2):
        assert_close(logits[row], plain.logits(ids[row].tolist(), pixels[row]), **equal)


@torch.no_grad()
def test_text_latents_are_those_of_the_layout_whatever_padding_they_come_with(ours, plain):
    rows = [[START, 5, 9, 4, END], [START, 8, END], [START, *range(1, 11), END]]
    latents = ours.embed_texts(*padded(rows))
    for row, latent in zip(rows, latents, strict=True):
        assert_close(latent, plain.text_latent(row), **equal)
        assert_close(ours.embed_texts(*padded([row]))[0], latent, **equal)


@torch.no_grad()
def test_padding_to_the_whole_context_matters(ours, plain):
    short = plain.text([START, 8, END], None).mean(dim=0)
    (latent,) = ours.embed_texts(*padded([[START, 8, END]]))
    assert torch.cosine_similarity(short, latent, dim=0) < 0.99


def test_a_text_beyond_the_context_is_refused_with_both_lengths(ours):
    with pytest.raises(PromptError, match=r"13 tokens .* reads 12"):
        ours.embed_texts(*padded([[START, *range(1, 12), END]]))


def test_cached_logits_match_full_forward_in_a_ragged_batch(ours, pixels):
    check_cached_logits_match_full_forward_in_a_ragged_batch(ours, pixels)


@torch.no_grad()
def test_rows_that_join_and_leave_a_batch_keep_their_text(ours, pixels):
    memory, ids = ours.encode_images(pixels).memory, torch.tensor([[START, 7, 3], [START, 9, 4]])
    alone = [ours.prefill(ids[row : row + 1], [3], 3, memory[row : row + 1])[1] for row in range(2)]
    batch = ours.new_cache(4, 12)
    for cache in alone:
        batch.put(cache)
    both = ours.decode_step(torch.tensor([5, 6]), batch)
    assert_close(both[0], ours.logits(torch.tensor([[START, 7, 3, 5]]), memory[:1])[0, -1], **equal)
    batch.drop(0)
    (left,) = ours.decode_step(torch.tensor([8]), batch)
    assert_close(left, ours.logits(torch.tensor([[START, 9, 4, 6, 8]]), memory[1:])[0, -1], **equal)


@torch.no_grad()
def test_greedy_captions_are_the_plain_forwards(ours, plain, pixels):
    prefill = lambda ids, lengths, capacity: ours.prefill(  # noqa: E731
        ids, lengths, capacity, ours.encode_images(pixels).memory
    )
    samplers = [Sampler(SamplingParams(), banned=()) for _ in pixels]
    steps = list(
        stream_ids(prefill, ours.decode_step, [[START]] * 2, samplers, 9, eos_id=-1, device=pixels.device)
    )
    for row, picture in enumerate(pixels):
        assert [step[row] for step in steps] == plain.greedy(picture, 9)


@torch.no_grad()
def test_beams_are_scored_as_the_plain_forward_scores_them(ours, plain, pixels):
    memory = ours.encode_images(pixels[:1]).memory
    prefill = lambda ids, lengths, capacity: ours.prefill(ids, lengths, capacity, memory)  # noqa: E731
    found = beam_search(prefill, ours.decode_step, [START], 4, 4, END, [0, START], pixels.device).texts
    assert len(found) == 4
    for ids, score in found:
        logits = plain.logits([START, *ids], pixels[0])
        logits[:, [0, START]] = -torch.inf
        said = [*ids, END] if len(ids) < 4 else ids
        nats = logits.log_softmax(dim=-1)[range(len(said)), said].sum()
        assert score == pytest.approx(float(nats), abs=1e-4)


@torch.no_grad()
def test_a_caption_beyond_the_context_is_refused(ours, pixels):
    memory = ours.encode_images(pixels).memory
    _, cache = ours.prefill(torch.ones(2, 12, dtype=torch.long), [12, 12], 40, memory)
    with pytest.raises(CapacityError, match="13 tokens but its cache was made for 12"):
        ours.decode_step(torch.tensor([1, 1]), cache)


@torch.no_grad()
def test_latents_depend_on_the_latent_weights_alone(ours, pixels):
    kept, texts = ours.latent_weights(), padded([[START, 5, END]])
    before = ours.encode_images(pixels).latents, ours.embed_texts(*texts)
    for name, weight in ours.named_parameters():
        if name not in kept:
            weight.normal_()
    after = ours.encode_images(pixels).latents, ours.embed_texts(*texts)
    assert all(torch.equal(*pair) for pair in zip(before, after, strict=True))
    assert kept.keys() < dict(ours.named_parameters()).keys()


def test_any_picture_is_prepared_for_the_tower(ours, picture):
    pixels = ours.tower.preprocess([picture, to_rgb(picture).resize((40, 30))])
    assert pixels.shape == (2, 3, 8, 8)
    assert ours.tower.shown(pixels)[0].size == (8, 8)


# what does not fit


def refused(weights, **arguments):
    with pytest.raises(CheckpointError) as caught:
        from_reference("openmammut", weights, **HEADS_OF | arguments)
    assert str(caught.value).startswith("these tensors do not fit openmammut: ")
    return str(caught.value)


@pytest.mark.slow
def test_every_tensor_is_demanded(weights):
    for name in weights:
        assert name.rsplit(".", 2)[0] in refused({n: t for n, t in weights.items() if n != name}), name


def test_a_scale_may_come_with_an_axis_of_one(weights, ours):
    listed = weights | {"logit_scale": weights["logit_scale"][None]}
    read = from_reference("openmammut", listed, heads=HEADS, text_heads=TEXT_HEADS)
    assert read.logit_scale.shape == () and torch.equal(read.scale, ours.scale)
    assert "wrong shape: logit_scale is (2,), not ()" in refused(weights | {"logit_scale": torch.zeros(2)})


def test_a_surplus_tensor_is_named(weights):
    assert "unexpected: text.odd" in refused(weights | {"text.odd": torch.zeros(1)})


@pytest.mark.slow
def test_every_wrong_shape_is_told(weights):
    for name in weights:
        assert "wrong shape" in refused(weights | {name: torch.zeros(3, 5, 7)}), name


def test_heads_that_do_not_divide_the_width_are_told(weights):
    assert "32, which cannot be divided into heads (5)" in refused(weights, heads=5)
    assert "24, which cannot be divided into heads (7)" in refused(weights, text_heads=7)
    assert "heads (0)" in refused(weights, heads=0)


def test_places_that_make_no_square_are_told(weights):
    assert "7 places for patches" in refused(weights | {"visual.positional_embedding": torch.zeros(8, 32)})


def test_latents_of_two_widths_are_told(weights):
    assert "width 20 and texts 24" in refused(weights | {"visual.proj": torch.zeros(32, 20)})


# how the weights come in


def test_the_callers_tensors_stay_the_callers(weights, ours):
    with torch.no_grad():
        ours.map_viz2txt_kv.zero_()
    assert weights["map_viz2txt_kv"].any()


@torch.no_grad()
def test_weights_come_in_the_dtype_that_was_asked_for(weights, pixels):
    model = from_reference("openmammut", weights, dtype=torch.bfloat16, **HEADS_OF)
    assert {p.dtype for p in model.parameters()} == {torch.bfloat16} and not model.training
    exact = from_reference("openmammut", {n: t.bfloat16().float() for n, t in weights.items()}, **HEADS_OF)
    cosines = (model.encode_images(pixels).latents * exact.encode_images(pixels).latents).sum(dim=-1)
    assert (cosines > 0.98).all()
    ids = torch.randint(1, 60, (2, 6))
    logits, wanted = model(ids, pixels).float(), exact(ids, pixels)
    assert (logits - wanted).norm() < 0.1 * wanted.norm()


def test_the_released_shapes_are_508_million_parameters_in_531_tensors():
    released = tensors(1024, 24, 14, 16, 768, 12, 49408, 77, device="meta")
    assert len(released) == 531
    model = from_reference("openmammut", released, heads=16, text_heads=12)
    assert sum(p.numel() for p in model.parameters()) / 1e6 == pytest.approx(508.3, abs=0.05)
    assert model.tower.image_size == 224 and model.tower.patches == 257
    assert model.cross_layers == (0, 2, 4, 6, 8, 10) and model.context == 77 and model.dim_latents == 768
    memory = torch.empty(2, 257, 768, device="meta")
    assert model.logits(torch.zeros(2, 77, dtype=torch.long, device="meta"), memory).shape == (2, 77, 49408)
