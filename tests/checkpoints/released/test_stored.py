"""Files of weights: safetensors whole or in shards, pickles converted once, and what is refused."""

import json
import os
import pickle
import weakref

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from palm_demo.checkpoints import from_reference, open_weights, pickles
from palm_demo.checkpoints.lazy_state_dict import InferredSizes, StoredTensors, fill
from palm_demo.errors import CheckpointError

from .plain_openmammut import HEADS, TEXT_HEADS, tensors

HEADS_OF = {"heads": HEADS, "text_heads": TEXT_HEADS}


@pytest.fixture
def weights():
    return tensors()


@pytest.fixture
def whole(weights, tmp_path):
    save_file(weights, tmp_path / "model.safetensors")
    return tmp_path / "model.safetensors"


@pytest.fixture
def sharded(weights, tmp_path):
    """Two files and their index."""
    names = sorted(weights)
    places = {name: f"model-0000{1 + place % 2}-of-00002.safetensors" for place, name in enumerate(names)}
    for shard in set(places.values()):
        save_file({n: weights[n] for n in names if places[n] == shard}, tmp_path / shard)
    index = tmp_path / "model.safetensors.index.json"
    index.write_text(json.dumps({"metadata": {}, "weight_map": places}))
    return index


@pytest.fixture
def pickled(weights, tmp_path):
    torch.save(weights, tmp_path / "model.pt")
    return tmp_path / "model.pt"


def same(found, wanted) -> bool:
    return found.keys() == wanted.keys() and all(torch.equal(found[name], t) for name, t in wanted.items())


def refused(path) -> str:
    with pytest.raises(CheckpointError) as caught:
        open_weights(path)
    return str(caught.value)


@pytest.mark.parametrize("kind", ["whole", "sharded", "pickled"])
def test_a_model_is_read_from_any_kind_of_file(kind, weights, request):
    stored = open_weights(request.getfixturevalue(kind))
    assert same(stored, weights)
    read = from_reference("openmammut", stored, **HEADS_OF).state_dict()
    wanted = from_reference("openmammut", weights, **HEADS_OF).state_dict()
    assert same(read, wanted)


def test_outlines_tell_shapes_and_dtypes_without_memory(whole, weights):
    meta_tensors = open_weights(whole).meta_tensors
    assert all(t.is_meta and t.shape == weights[name].shape for name, t in meta_tensors.items())
    assert {t.dtype for t in meta_tensors.values()} == {torch.float32}


def test_what_does_not_fit_is_told_before_a_tensor_is_read(whole, monkeypatch):
    stored = open_weights(whole)
    del stored.files["logit_scale"], stored.meta_tensors["logit_scale"]
    monkeypatch.setattr(StoredTensors, "__getitem__", lambda self, name: pytest.fail(f"{name} was read"))
    with pytest.raises(CheckpointError, match="missing: logit_scale"):
        from_reference("openmammut", stored, **HEADS_OF)


def test_no_two_tensors_are_in_memory_in_the_files_dtype(whole, monkeypatch):
    """Each is turned into the wanted dtype, and let go, before the next one is read."""
    alive, read = weakref.WeakSet(), StoredTensors.__getitem__

    def watched(self, name):
        assert not alive, f"{name} was read while another was still there"
        tensor = read(self, name).clone()
        alive.add(tensor)
        return tensor

    monkeypatch.setattr(StoredTensors, "__getitem__", watched)
    model = from_reference("openmammut", open_weights(whole), dtype=torch.bfloat16, **HEADS_OF)
    assert {p.dtype for p in model.parameters()} == {torch.bfloat16}


def test_a_file_that_is_deleted_leaves_its_model_as_it_was(whole, weights):
    model = from_reference("openmammut", open_weights(whole), **HEADS_OF)
    whole.unlink()
    assert torch.equal(model.map_viz2txt_kv, weights["map_viz2txt_kv"])


def test_an_empty_model_is_filled_whole():
    with torch.device("meta"):
        model = nn.Linear(2, 2)
    given = {"w": torch.eye(2), "b": torch.zeros(2), "beside": torch.zeros(3)}
    names = {"weight": "w", "bias": "b"}
    filled = fill(model, "lines", given, names, {"beside": (3,)}, "cpu", torch.float64)
    assert filled.weight.dtype == torch.float64 and torch.equal(filled.weight, torch.eye(2).double())
    with pytest.raises(CheckpointError, match="do not fit lines: unexpected: beside"):
        fill(model, "lines", given, names, {}, None, None)


# pickles


def test_a_pickle_is_converted_once_and_again_when_it_has_changed(pickled, weights, monkeypatch):
    open_weights(pickled)
    made = pickled.with_name("model.pt.safetensors")
    assert sorted(path.name for path in pickled.parent.iterdir()) == ["model.pt", "model.pt.safetensors"]
    monkeypatch.setattr(torch, "load", lambda *_, **__: pytest.fail("read again"))
    assert same(open_weights(pickled), weights)
    monkeypatch.undo()
    other = {name: t + 1 for name, t in weights.items()}
    torch.save(other, pickled)
    os.utime(pickled, ns=(1, 1))
    assert same(open_weights(pickled), other)
    made.write_bytes(made.read_bytes()[:100])
    assert same(open_weights(pickled), other)


def test_a_pickle_need_not_stay_once_it_was_converted(pickled, weights):
    open_weights(pickled)
    pickled.unlink()
    assert same(open_weights(pickled), weights)
    made = pickled.with_name("model.pt.safetensors")
    made.write_bytes(made.read_bytes()[:100])
    assert "model.pt.safetensors is damaged" in refused(pickled)
    made.unlink()
    assert refused(pickled) == f"there is no weights file at {pickled}"


@pytest.mark.parametrize("nest", ["model_state_dict", "state_dict"])
def test_what_a_training_script_puts_around_weights_is_taken_off(nest, weights, tmp_path):
    wrapped = {f"module.{name}": t for name, t in weights.items()}
    torch.save({nest: wrapped, "epoch": 3}, tmp_path / "epoch_3.pt")
    assert same(open_weights(tmp_path / "epoch_3.pt"), weights)


def test_tied_and_partial_tensors_come_out_of_a_pickle_each_whole(tmp_path):
    table = torch.arange(12.0).reshape(4, 3)
    given = {"embedding": table, "head": table, "rows": table[1:3], "turned": table.T}
    torch.save(given, tmp_path / "tied.bin")
    assert same(open_weights(tmp_path / "tied.bin"), given)


def test_a_pickle_of_torchs_old_kind_is_read(weights, tmp_path):
    torch.save(weights, tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    assert same(open_weights(tmp_path / "old.pt"), weights)


class Surprise:
    """What runs code when it is unpickled by a reader that lets it."""

    def __reduce__(self):
        return os.mkdir, ("surprise",)


def test_a_pickle_with_more_than_tensors_is_refused_and_runs_nothing(weights, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save(weights | {"odd": Surprise()}, tmp_path / "odd.pt")
    assert "odd.pt holds more than tensors" in refused(tmp_path / "odd.pt")
    (tmp_path / "plain.pt").write_bytes(pickle.dumps(Surprise()))
    assert "plain.pt is damaged, was not downloaded to its end, or holds no weights" in refused(
        tmp_path / "plain.pt"
    )
    assert not (tmp_path / "surprise").exists()


@pytest.mark.parametrize("content", [{}, [torch.zeros(1)], {"a": torch.zeros(1), "epoch": 3}], ids=str)
def test_a_pickle_of_other_things_is_refused(content, tmp_path):
    torch.save(content, tmp_path / "odd.pt")
    assert "use the file with the model's weights" in refused(tmp_path / "odd.pt")


def test_a_full_disk_is_told_with_what_is_needed(pickled, weights, monkeypatch):
    nothing = type("Usage", (), {"free": 1000})
    monkeypatch.setattr(pickles.shutil, "disk_usage", lambda folder: nothing)
    needed = sum(t.nbytes for t in weights.values())
    assert f"has 1,000 bytes free; make room for {needed:,} bytes" in refused(pickled)


def test_a_write_that_fails_leaves_nothing_behind(pickled, monkeypatch):
    def fail(tensors, path, metadata):
        path.write_bytes(b"half")
        raise OSError("No space left on device")

    monkeypatch.setattr(pickles, "save_file", fail)
    assert "No space left on device); make room" in refused(pickled)
    assert [path.name for path in pickled.parent.iterdir()] == ["model.pt"]


# damaged files


@pytest.mark.parametrize("kind", ["whole", "pickled"])
@pytest.mark.parametrize("part", [0.0, 0.001, 0.5, 0.999])
def test_a_file_that_was_cut_short_is_refused_with_the_remedy(kind, part, request):
    path = request.getfixturevalue(kind)
    content = path.read_bytes()
    path.write_bytes(content[: int(part * len(content))])
    said = refused(path)
    assert str(path) in said and said.endswith("delete it and download it again")


def test_a_missing_file_is_named(tmp_path):
    assert refused(tmp_path / "gone.pt") == f"there is no weights file at {tmp_path / 'gone.pt'}"


def test_a_missing_and_a_cut_shard_are_named(sharded):
    shard = sharded.with_name("model-00002-of-00002.safetensors")
    content = shard.read_bytes()
    shard.write_bytes(content[:-1])
    assert str(shard) in refused(sharded)
    shard.unlink()
    assert f"names {shard.name}, which is not beside it; download it too" in refused(sharded)


def test_a_shard_without_what_its_index_promises_is_named(sharded):
    places = json.loads(sharded.read_text())
    places["weight_map"]["odd"] = "model-00001-of-00002.safetensors"
    sharded.write_text(json.dumps(places))
    assert "model-00001-of-00002.safetensors lacks odd" in refused(sharded)


def tied(index, name):
    """The index says that the first shard has a tensor of this name too, which it has not."""
    places = json.loads(index.read_text())
    places["weight_map"][name] = "model-00001-of-00002.safetensors"
    index.write_text(json.dumps(places))
    return index


def test_a_tied_head_that_an_index_names_and_no_shard_has_is_left_out(sharded, weights):
    assert same(open_weights(tied(sharded, "lm_head.weight")), weights)


@pytest.mark.parametrize("name", ["embed_out.weight", "transformer.lm_head.bias", "lm_head.weight.odd"])
def test_nothing_else_that_no_shard_has_is_left_out(name, sharded):
    assert f"lacks {name}" in refused(tied(sharded, name))


def test_an_index_of_pickles_is_read_after_they_were_converted_and_removed(sharded, weights):
    places = json.loads(sharded.read_text())["weight_map"]
    for shard in sorted(set(places.values())):
        pickle_of_it = sharded.with_name(shard).with_suffix(".bin")
        torch.save({n: weights[n] for n, place in places.items() if place == shard}, pickle_of_it)
        sharded.with_name(shard).unlink()
    index = sharded.with_name("pytorch_model.bin.index.json")
    places = {name: place.replace(".safetensors", ".bin") for name, place in places.items()}
    index.write_text(json.dumps({"weight_map": places}))
    assert same(open_weights(index), weights)
    for shard in index.parent.glob("*.bin"):
        shard.unlink()
    assert same(open_weights(index), weights)


def test_an_index_cannot_point_out_of_its_folder(sharded):
    sharded.write_text(json.dumps({"weight_map": {"a": "../secret.safetensors"}}))
    assert "shards have to lie beside their index" in refused(sharded)


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"weight_map": 3}', '{"weight_map": {"a": 3}}'])
def test_an_index_that_is_none_is_refused(content, sharded):
    sharded.write_text(content)
    assert "is not an index of weights" in refused(sharded)


@pytest.mark.parametrize(
    ("numbers", "missing"),
    [([0, 1, 999_999_999], 2), ([1], 0), ([0, "9" * 5_000], 1), (["0", "00", "\u0661"], 1), ([], 0)],
)
def test_a_model_is_no_deeper_than_its_file_has_blocks(numbers, missing):
    sizes = InferredSizes("layout", {f"blocks.{number}.weight": torch.zeros(1) for number in numbers})
    with pytest.raises(CheckpointError, match=rf"missing: blocks\.{missing}$"):
        sizes.depth("blocks")
