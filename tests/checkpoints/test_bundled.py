"""Weights on disk: what goes in comes out, and what does not fit changes nothing."""

from dataclasses import asdict, replace

import pytest
import torch
from safetensors.torch import load_file
from torch.testing import assert_close

from palm_demo import checkpoints
from palm_demo.checkpoints import files
from palm_demo.checkpoints.bundled import FlamingoConfig, MaMMUTConfig, PaLMConfig
from palm_demo.errors import CheckpointError
from palm_demo.models.layers import RLHF, STYLES
from palm_demo.models.transformer import TransformerConfig
from palm_demo.models.vision import VisionTower

SIZE = TransformerConfig(dim=32, depth=2, heads=2, vocab=48, dim_head=16, ff_mult=2)
PALM = PaLMConfig(SIZE, "rlhf", context=64)
FLAMINGO = FlamingoConfig(
    media_token_id=3,
    media_rule="all",
    cross_attn_every=1,
    max_frames=4,
    max_media=6,
    resampler_depth=1,
    num_latents=3,
)
MAMMUT = MaMMUTConfig(SIZE, "multimodal", cross_layers=(0, 1), dim_latents=20)


def rounded(model, noise: float = 0.2):
    """As a file holds it: noise on every weight, in bf16's precision."""
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(noise * torch.randn_like(weight))
            weight.copy_(weight.bfloat16())
        for buffer in model.buffers():
            buffer.copy_(buffer.to(torch.bfloat16).to(buffer.dtype))
    return model.eval()


def same(one, other) -> bool:
    one, other = one.state_dict(), other.state_dict()
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def spoil(path, change) -> None:
    """Rewrites a file with its tensors changed, its description as it was."""
    with files.safe_open(path, framework="pt") as file:
        metadata = file.metadata()
    tensors = load_file(path)
    change(tensors)
    files.save_file(tensors, path, metadata=metadata)


@pytest.fixture
def palm_file(tmp_path):
    path = tmp_path / "palm.safetensors"
    checkpoints.save_palm(path, rounded(PALM.build()), PALM)
    return path


# round trips


@pytest.mark.parametrize("style", STYLES)
def test_a_palm_comes_back_as_it_was(style, new_ids, tmp_path):
    config, ids = replace(PALM, style=style), new_ids(2, 6)
    palm = rounded(config.build())
    checkpoints.save_palm(tmp_path / "a.safetensors", palm, config)
    loaded, read = checkpoints.load_palm(tmp_path / "a.safetensors")
    assert read == config and not loaded.training
    assert torch.equal(loaded(ids), palm(ids))


def test_a_palms_file_leaves_its_scopes_out(tmp_path, new_ids):
    palm = PALM.build()
    palm.add_scope("carroll", 2)
    checkpoints.save_palm(tmp_path / "a.safetensors", palm, PALM)
    assert checkpoints.load_palm(tmp_path / "a.safetensors")[0].scopes.names == []


def test_a_mammut_comes_back_on_the_shared_tower(new_tower, new_ids, tmp_path):
    tower, pixels, ids = rounded(new_tower()), torch.randn(2, 3, 8, 8), new_ids(2, 5)
    mammut = rounded(MAMMUT.build(tower))
    checkpoints.save_mammut(tmp_path / "a.safetensors", mammut, MAMMUT)
    loaded = checkpoints.load_mammut(tmp_path / "a.safetensors", tower)
    assert loaded.tower is tower and not loaded.training
    made, wanted = (model.encode_images(pixels) for model in (loaded, mammut))
    assert torch.equal(made.latents, wanted.latents)
    assert torch.equal(loaded.logits(ids, made.memory), mammut.logits(ids, wanted.memory))
    real = torch.ones(2, 5, dtype=torch.bool)
    assert torch.equal(loaded.embed_texts(ids, real), mammut.embed_texts(ids, real))


def test_a_flamingo_comes_back_on_the_shared_palm_and_tower(new_tower, new_ids, tmp_path):
    palm, tower, ids = rounded(PALM.build()), rounded(new_tower()), new_ids(1, 6)
    ids[0, 1] = 3
    flamingo = rounded(FLAMINGO.build(palm, tower))
    checkpoints.save_flamingo(tmp_path / "a.safetensors", flamingo, FLAMINGO)
    loaded = checkpoints.load_flamingo(tmp_path / "a.safetensors", palm, tower)
    assert loaded.decoder is palm.decoder and loaded.encoder.tower is tower and not loaded.training
    video = [torch.randn(3, 3, 8, 8)]
    read, made = (model.logits(ids, model.embed_media(video, ids)) for model in (loaded, flamingo))
    assert torch.equal(read, made)


def test_shared_parts_are_stored_once(new_tower, tmp_path):
    palm, tower = PALM.build(), new_tower()
    checkpoints.save_flamingo(tmp_path / "f.safetensors", FLAMINGO.build(palm, tower), FLAMINGO)
    checkpoints.save_mammut(tmp_path / "m.safetensors", MAMMUT.build(tower), MAMMUT)
    for file, shared in (("f", ("decoder.", "encoder.tower.")), ("m", "tower.")):
        stored = load_file(tmp_path / f"{file}.safetensors")
        assert stored and not [name for name in stored if name.startswith(shared)]


def test_a_tower_comes_back_as_it_was(assets, tmp_path):
    # with more, the fiftieth convolution makes much of the last bit of the first
    tower = rounded(VisionTower.from_folder(assets / "vision"), noise=0.01)
    checkpoints.save_tower(tmp_path / "a.safetensors", tower)
    loaded = checkpoints.load_tower(tmp_path / "a.safetensors", assets / "vision")
    assert not loaded.training
    pixels = torch.randn(1, 3, tower.image_size, tower.image_size)
    assert_close(loaded(pixels), tower(pixels))


def test_weights_are_stored_in_two_bytes_each(palm_file):
    weights = sum(weight.numel() for weight in PALM.build().decoder.parameters())
    assert palm_file.stat().st_size < 2 * weights + 8000
    assert {tensor.dtype for tensor in load_file(palm_file).values()} == {torch.bfloat16}


def test_saving_leaves_one_file_and_replaces_the_old_one(palm_file, new_ids):
    other, ids = rounded(PALM.build()), new_ids(1, 4)
    checkpoints.save_palm(palm_file, other, PALM)
    assert [path.name for path in palm_file.parent.iterdir()] == ["palm.safetensors"]
    assert torch.equal(checkpoints.load_palm(palm_file)[0](ids), other(ids))


def test_a_file_that_cannot_be_written_leaves_the_old_one_alone(palm_file, monkeypatch):
    def full(tensors, path, metadata):
        path.write_bytes(b"half of it")
        raise OSError("no space left")

    before = palm_file.read_bytes()
    monkeypatch.setattr(files, "save_file", full)
    with pytest.raises(OSError, match="no space left"):
        checkpoints.save_palm(palm_file, PALM.build(), PALM)
    assert [*palm_file.parent.iterdir()] == [palm_file] and palm_file.read_bytes() == before


# what does not fit


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda tensors: tensors.pop("norm.gamma"), "missing: norm.gamma"),
        (lambda tensors: tensors.update(odd=torch.zeros(1)), "unexpected: odd"),
        (
            lambda tensors: tensors.update({"norm.gamma": torch.zeros(31)}),
            r"wrong shape: norm.gamma is \(31,\), not \(32,\)",
        ),
    ],
    ids=["missing", "unexpected", "misshapen"],
)
def test_a_tensor_that_does_not_fit_is_named_with_the_file(change, said, palm_file):
    spoil(palm_file, change)
    with pytest.raises(CheckpointError, match=rf"palm.safetensors does not fit the model: {said}"):
        checkpoints.load_palm(palm_file)


def test_all_that_is_wrong_is_said_at_once(palm_file):
    def change(tensors):
        del tensors["norm.gamma"]
        tensors["odd"] = tensors["embedding.weight"][:5].clone()
        tensors["embedding.weight"] = tensors["odd"].clone()

    spoil(palm_file, change)
    said = r"missing: norm.gamma; unexpected: odd; wrong shape: embedding.weight"
    with pytest.raises(CheckpointError, match=said):
        checkpoints.load_palm(palm_file)


@pytest.mark.parametrize("change", ["missing", "unexpected", "misshapen"])
def test_nothing_is_half_loaded(change, palm_file):
    palm, tensors = rounded(PALM.build()), load_file(palm_file)
    before = {name: t.clone() for name, t in palm.decoder.state_dict().items()}
    if change == "missing":
        del tensors["norm.gamma"]
    elif change == "unexpected":
        tensors["odd"] = torch.zeros(1)
    else:
        tensors["norm.gamma"] = torch.zeros(31)
    with pytest.raises(CheckpointError):
        files.load_into(palm.decoder, tensors, palm_file)
    after = palm.decoder.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)


@pytest.mark.parametrize("shared", ["decoder.norm.gamma", "encoder.tower.to_patches.bias"])
def test_a_flamingos_file_cannot_overwrite_what_it_shares(shared, new_tower, tmp_path):
    palm, tower, path = rounded(PALM.build()), rounded(new_tower()), tmp_path / "f.safetensors"
    flamingo = FLAMINGO.build(palm, tower)
    checkpoints.save_flamingo(path, flamingo, FLAMINGO)
    before = {name: t.clone() for name, t in flamingo.state_dict().items()}
    spoil(path, lambda tensors: tensors.update({shared: torch.zeros_like(before[shared])}))
    with pytest.raises(CheckpointError, match=f"unexpected: {shared}"):
        checkpoints.load_flamingo(path, palm, tower)
    assert torch.equal(flamingo.state_dict()[shared], before[shared])


@pytest.mark.parametrize("part", [0.0, 0.001, 0.3, 0.999])
def test_a_truncated_file_is_said_to_be_unreadable(part, palm_file):
    whole = palm_file.read_bytes()
    palm_file.write_bytes(whole[: int(len(whole) * part)])
    with pytest.raises(CheckpointError, match=r"palm.safetensors is not a readable safetensors file"):
        checkpoints.load_palm(palm_file)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(CheckpointError, match=r"no weights file at .*gone.safetensors"):
        checkpoints.load_palm(tmp_path / "gone.safetensors")


def test_a_file_of_another_kind_is_refused_with_both_kinds(palm_file, new_tower, assets):
    palm, tower = PALM.build(), new_tower()
    for kind, load in {
        "mammut": lambda: checkpoints.load_mammut(palm_file, tower),
        "flamingo": lambda: checkpoints.load_flamingo(palm_file, palm, tower),
        "tower": lambda: checkpoints.load_tower(palm_file, assets / "vision"),
        "scope": lambda: checkpoints.load_scope(palm_file, palm, "carroll"),
    }.items():
        with pytest.raises(CheckpointError, match=f"holds a palm, not a {kind}"):
            load()


def test_a_file_from_elsewhere_is_refused(tmp_path):
    files.save_file({"norm.gamma": torch.ones(3)}, tmp_path / "a.safetensors")
    with pytest.raises(CheckpointError, match="not one of ours"):
        checkpoints.load_palm(tmp_path / "a.safetensors")


@pytest.mark.parametrize(
    "odd", [{"style": "gpt"}, {"style": []}, {"colour": 3}, {"size": {"dim": 32}}], ids=str
)
def test_a_description_of_another_version_is_refused(odd, tmp_path):
    path = tmp_path / "a.safetensors"
    described = {"kind": "palm", "size": asdict(SIZE), "style": RLHF.name, "context": 64, **odd}
    files.write(path, PALM.build().decoder.state_dict(), described, torch.float32)
    with pytest.raises(CheckpointError, match=r"style ('gpt'|\[\]); known|another version"):
        checkpoints.load_palm(path)


def test_an_unknown_media_rule_is_refused(new_tower, tmp_path):
    path, palm, tower = tmp_path / "f.safetensors", PALM.build(), new_tower()
    odd = replace(FLAMINGO, media_rule="seldom")
    checkpoints.save_flamingo(path, FLAMINGO.build(palm, tower), odd)
    with pytest.raises(CheckpointError, match="media rule 'seldom'; known: immediate, all, both"):
        checkpoints.load_flamingo(path, palm, tower)
