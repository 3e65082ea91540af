"""OpenFlamingo's released weights give, through our reader, cache and decode loop, what its layout says."""

import copy
from functools import partial

import pytest
import torch
from torch.testing import assert_close

from palm_demo.checkpoints import from_reference
from palm_demo.errors import CheckpointError, PromptError
from palm_demo.inference.decoding import stream_ids
from palm_demo.inference.sampling import Sampler
from palm_demo.inference.settings import SamplingParams

from .plain_openflamingo import (
    CROSS_LAYERS,
    DIM_MEDIA,
    EVERY,
    HEADS,
    LAYERS_OF,
    MEDIA,
    ROWS,
    Plain,
    language_model,
    lm_config,
    trained,
    whole,
)

PROMPTS = ([MEDIA, 5, 6, MEDIA, 7, 8], [9, 4], [4, MEDIA, 5])
MARKS = (2, 0, 1)
of_the_layout = {"atol": 1e-4, "rtol": 1e-4}
of_the_whole = {"atol": 1e-5, "rtol": 1e-5}


@pytest.fixture(params=LAYERS_OF)
def kind(request) -> str:
    return request.param


@pytest.fixture
def lm(kind):
    return language_model(kind)


@pytest.fixture
def tensors(kind, lm):
    return whole(kind, lm, trained(kind))


@pytest.fixture
def plain(kind, lm, tensors):
    return Plain(kind, lm, tensors)


def read(kind: str, tensors, **others):
    """By the language model's config from before its embedding was resized."""
    arguments = {"media_token_id": MEDIA, "every": EVERY, "heads": HEADS} | others
    return from_reference("openflamingo", tensors, lm_config=lm_config(kind, ROWS - 2), **arguments)


@pytest.fixture
def ours(kind, tensors):
    return read(kind, tensors)


def patches(media: int) -> list[torch.Tensor]:
    return [torch.randn(4, DIM_MEDIA) for _ in range(media)]


def latents(model, ids: list[int], media: list[torch.Tensor]):
    return model.embed_patches(media, torch.tensor([ids])) if media else None


def logits(model, ids: list[int], media: list[torch.Tensor]) -> torch.Tensor:
    return model.logits(torch.tensor([ids]), latents(model, ids, media))[0]


def padded(rows) -> torch.Tensor:
    return torch.nn.utils.rnn.pad_sequence([torch.tensor(row) for row in rows], batch_first=True)


# logits


@pytest.mark.parametrize(("ids", "marks"), [*zip(PROMPTS, MARKS, strict=True)], ids=["two", "none", "late"])
@torch.no_grad()
def test_logits_are_those_of_the_layout(ids, marks, ours, plain):
    media = patches(marks)
    assert_close(logits(ours, ids, media), plain.logits(ids, media), **of_the_layout)


@torch.no_grad()
def test_a_batch_of_patches_gives_the_logits_of_the_layout(ours, plain):
    ids, media = padded([PROMPTS[0], PROMPTS[0][::-1]]), torch.stack([torch.stack(patches(2)) for _ in "ab"])
    for row, given in enumerate(ours(ids, embeds=media)):
        assert_close(given, plain.logits(ids[row].tolist(), list(media[row])), **of_the_layout)


@torch.no_grad()
def test_each_text_hears_the_picture_right_before_it(ours):
    ids, (one, other, third) = PROMPTS[0], patches(3)
    changed = logits(ours, ids, [one, other]) - logits(ours, ids, [third, other])
    assert changed[0].abs().max() > 1e-3
    changed = logits(ours, ids, [one, other]) - logits(ours, ids, [one, third])
    assert not changed[:3].any() and (changed[3:].abs().amax(dim=-1) > 1e-3).all()


@torch.no_grad()
def test_text_alone_goes_through_the_feed_forward_of_cross_attention(ours):
    ids = torch.tensor([PROMPTS[1]])
    bare = ours.decoder.logits(ours.decoder(ours.decoder.embedding(ids)))
    assert (ours(ids) - bare).abs().max() > 1e-3


# cache


@torch.no_grad()
def test_rows_of_unequal_length_decode_as_each_does_whole_and_alone(ours):
    media, following = [patches(marks) for marks in MARKS], torch.randint(3, 40, (3, 4))
    ids, lengths = padded(PROMPTS), [len(prompt) for prompt in PROMPTS]
    together = ours.embed_patches([medium for some in media for medium in some], ids)
    first, cache = ours.prefill(ids, lengths, max(lengths) + 4, together)
    steps = torch.stack([first, *(ours.decode_step(following[:, n], cache) for n in range(4))], dim=1)
    for row, prompt in enumerate(PROMPTS):
        alone = logits(ours, [*prompt, *following[row].tolist()], media[row])
        assert_close(steps[row], alone[len(prompt) - 1 :], **of_the_whole)


@torch.no_grad()
def test_rows_that_come_and_go_decode_as_each_does_whole_and_alone(ours):
    media, following = [patches(marks) for marks in MARKS], torch.randint(3, 40, (3, 6))
    cache, live, fed = ours.new_cache(3, 16), [], [0, 0, 0]
    wanted = [
        logits(ours, [*prompt, *following[row].tolist()], media[row])[len(prompt) :]
        for row, prompt in enumerate(PROMPTS)
    ]
    for joins, leaves in ((1, None), (0, None), (2, 1), (None, 0), (1, None)):
        if leaves is not None:
            cache.drop(live.index(leaves))
            live[live.index(leaves)] = live[-1]
            live.pop()
        if joins is not None:
            prompt = PROMPTS[joins]
            looked = latents(ours, prompt, media[joins])
            _, row = ours.prefill(torch.tensor([prompt]), [len(prompt)], len(prompt), looked)
            cache.put(row)
            live.append(joins)
            fed[joins] = 0
        step = ours.decode_step(torch.stack([following[row, fed[row]] for row in live]), cache)
        for row, given in zip(live, step, strict=True):
            assert_close(given, wanted[row][fed[row]], **of_the_whole)
            fed[row] += 1


@torch.no_grad()
def test_our_decode_loop_says_what_an_argmax_loop_over_the_layout_says(ours, plain):
    media = [patches(marks) for marks in MARKS]
    looked = ours.embed_patches([medium for some in media for medium in some], padded(PROMPTS))
    steps = stream_ids(
        partial(ours.prefill, latents=looked),
        ours.decode_step,
        PROMPTS,
        [Sampler(SamplingParams(), [MEDIA]) for _ in PROMPTS],
        5,
        -1,
        torch.device("cpu"),
    )
    for written, prompt, some in zip(zip(*steps, strict=True), PROMPTS, media, strict=True):
        assert list(written) == plain.greedy(prompt, some, 5)


# pixels


@torch.no_grad()
def test_pictures_are_seen_by_the_tower_and_videos_are_refused(kind, tensors, new_tower):
    ours, (picture, video) = (
        read(kind, tensors, tower=new_tower()),
        (torch.randn(3, 8, 8), torch.randn(2, 3, 8, 8)),
    )
    ids = torch.tensor([PROMPTS[2]])
    seen = ours.encoder.tower(picture[None])
    assert_close(ours(ids, images=picture[None, None]), ours(ids, embeds=seen[None]))
    with pytest.raises(PromptError, match="2 frames, at most 0 fit"):
        ours.embed_media([video], ids)


# files


def same(one, other) -> bool:
    one, other = one.state_dict(), other.state_dict()
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def test_a_file_is_read_however_it_is_wrapped(kind, tensors, ours):
    wrapped = {"epoch": 3, "model_state_dict": {f"module.{name}": t for name, t in tensors.items()}}
    assert same(read(kind, wrapped), ours)
    bare = {name.replace(".decoder_layer.", "."): t for name, t in tensors.items()}
    assert same(read(kind, bare), ours)


def test_tensors_may_have_other_names_beside_theirs_or_instead(kind, tensors, ours):
    stem = f"lang_encoder.{LAYERS_OF[kind]}."
    others = {}
    for name, tensor in tensors.items():
        layer, _, part = name.removeprefix(stem).partition(".")
        if part.startswith("gated_cross_attn_layer."):
            part = part.removeprefix("gated_cross_attn_layer.")
            others[f"lang_encoder.gated_cross_attn_layers.{layer}.{part}"] = tensor
        elif part.startswith("decoder_layer."):
            others[f"lang_encoder.old_decoder_blocks.{layer}.{part.removeprefix('decoder_layer.')}"] = tensor
    assert same(read(kind, tensors | others), ours)
    assert same(read(kind, {n: t for n, t in tensors.items() if not n.startswith(stem)} | others), ours)
    bent = next(iter(others))
    with pytest.raises(CheckpointError, match=f"{bent} is not the tensor that this checkpoint has as"):
        read(kind, tensors | others | {bent: others[bent] + 1})


def test_the_language_model_may_be_in_a_file_of_its_own(kind, lm, tensors, ours):
    blocks = f"lang_encoder.{LAYERS_OF[kind]}."
    embedding = ("embed_in.weight", "embed_out.weight", "wte.weight")
    released = {
        name: t
        for name, t in tensors.items()
        if "perceiver" in name or "gated_cross" in name or name.endswith(embedding)
    }
    own = dict(lm.state_dict())
    for name in own:
        if name.endswith((*embedding, "lm_head.weight")):
            own[name] = torch.zeros(ROWS - 2, own[name].shape[1])  # from before it was resized
    if kind == "gpt_neox":
        own["gpt_neox.layers.0.attention.masked_bias"] = torch.tensor(-1e9)
    assert same(read(kind, released, lm_weights=own), ours)
    with pytest.raises(CheckpointError, match=r"none of the language model's own blocks.*lm_weights"):
        read(kind, released)
    del own[next(name for name in own if f"lang_encoder.{name}".startswith(blocks))]
    with pytest.raises(CheckpointError, match=f"missing: {blocks}0"):
        read(kind, released, lm_weights=own)


def test_every_tensor_is_demanded_none_is_left_over_and_each_has_its_shape(kind, tensors):
    for name in (
        "perceiver.latents",
        "perceiver.layers.1.1.3.weight",
        f"lang_encoder.{LAYERS_OF[kind]}.1.gated_cross_attn_layer.attn.to_q.weight",
        f"lang_encoder.{LAYERS_OF[kind]}.3.gated_cross_attn_layer.ff_gate",
    ):
        with pytest.raises(CheckpointError, match=f"do not fit openflamingo: missing: {name}"):
            read(kind, {other: t for other, t in tensors.items() if other != name})
        with pytest.raises(CheckpointError, match=f"wrong shape: {name} is "):
            read(kind, tensors | {name: torch.zeros(2, 3, 4)})
    block = next(name for name in tensors if ".2.decoder_layer." in name)
    with pytest.raises(CheckpointError, match="missing: "):
        read(kind, {name: t for name, t in tensors.items() if name != block})
    with pytest.raises(CheckpointError, match="unexpected: surprise"):
        read(kind, tensors | {"surprise": torch.zeros(1)})
    surplus = f"lang_encoder.{LAYERS_OF[kind]}.0.gated_cross_attn_layer.ff_gate"
    with pytest.raises(CheckpointError, match=f"unexpected: {surplus}"):
        read(kind, tensors | {surplus: torch.zeros(1)})


def test_what_cannot_be_is_refused_with_the_remedy(kind, tensors):
    with pytest.raises(CheckpointError, match=f"media_token_id is {ROWS} and the embedding has rows 0 to"):
        read(kind, tensors, media_token_id=ROWS)
    with pytest.raises(CheckpointError, match="every is 5; it can be 1 to 4"):
        read(kind, tensors, every=5)
    with pytest.raises(CheckpointError, match=r"missing: .*\.0\.gated_cross_attn_layer"):
        read(kind, tensors, every=1)
    with pytest.raises(CheckpointError, match=r"width 16, which cannot be divided into heads \(3\)"):
        read(kind, tensors, heads=3)
    with pytest.raises(CheckpointError, match="of kind gpt_neox or mpt, and lm_config is of kind None"):
        from_reference("openflamingo", tensors, lm_config={}, media_token_id=MEDIA, every=EVERY)


def test_a_language_model_that_transformers_would_run_wrongly_is_refused():
    for kind, spoil in (
        ("mpt", lambda config: setattr(config.attn_config, "qk_ln", True)),
        ("gpt_neox", lambda config: config.rope_parameters.update(rope_type="linear", factor=2.0)),
    ):
        config, lm = lm_config(kind, ROWS), language_model(kind)
        spoil(config)
        with pytest.raises(CheckpointError, match="the language model"):
            from_reference(
                "openflamingo",
                whole(kind, lm, trained(kind)),
                lm_config=config,
                media_token_id=MEDIA,
                every=EVERY,
                heads=HEADS,
            )


def test_neither_the_callers_tensors_nor_the_config_are_touched(kind, tensors):
    config = lm_config(kind, ROWS - 2)
    before, weights = copy.deepcopy(config.to_dict()), {name: t.clone() for name, t in tensors.items()}
    ours = from_reference(
        "openflamingo", tensors, lm_config=config, media_token_id=MEDIA, every=EVERY, heads=HEADS
    )
    with torch.no_grad():
        for weight in ours.parameters():
            weight.zero_()
    assert config.to_dict() == before
    assert all(torch.equal(tensors[name], weights[name]) for name in weights)


def test_the_model_comes_in_the_dtype_asked_for_and_learns_only_between_text_and_pictures(kind, tensors):
    ours = read(kind, tensors, dtype=torch.bfloat16)
    assert {weight.dtype for weight in ours.parameters()} == {torch.bfloat16} and not ours.training
    assert torch.isfinite(
        ours(torch.tensor([PROMPTS[2]]), embeds=torch.randn(1, 1, 4, DIM_MEDIA).bfloat16())
    ).all()
    learning = {name.split(".")[0] for name, weight in ours.named_parameters() if weight.requires_grad}
    assert learning == {"encoder", "cross_attention", "media_embedding"}
    assert tuple(map(int, ours.cross_attention)) == CROSS_LAYERS
