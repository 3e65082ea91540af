"""LoRA adapters as files: what comes back from them, and what is refused."""

import errno
import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from palm_demo.checkpoints import files, fingerprint, load_adapter, load_scope, save_adapter
from palm_demo.errors import CheckpointError, ScopeError
from palm_demo.models import PaLM
from palm_demo.models.layers import MULTIMODAL, RLHF
from palm_demo.models.transformer import TransformerConfig
from tests.disks import small_files
from tests.scopes import with_two_scopes


@pytest.fixture
def palm(new_palm) -> PaLM:
    return with_two_scopes(new_palm())


def test_a_saved_scope_gives_the_same_logits_on_the_bare_model(palm, new_ids, tmp_path):
    ids = new_ids(1, 6)
    for weight in palm.scopes.parameters():
        weight.data = weight.data.bfloat16().float()
    wanted = palm(ids, scopes=["doyle"])
    save_adapter(tmp_path / "doyle.safetensors", palm, palm.scopes["doyle"])
    for name in palm.scopes.names:
        palm.remove_scope(name)
    load_scope(tmp_path / "doyle.safetensors", palm, "conan")
    assert palm.scopes.names == ["conan"]
    assert torch.equal(palm(ids, scopes=["conan"]), wanted)


def test_a_scopes_file_holds_the_scope_and_nothing_of_the_model(palm, tmp_path):
    save_adapter(tmp_path / "doyle.safetensors", palm, palm.scopes["doyle"])
    stored = sum(tensor.numel() for tensor in load_file(tmp_path / "doyle.safetensors").values())
    assert stored == sum(weight.numel() for weight in palm.scopes["doyle"].parameters())


def test_nothing_else_in_the_folder_is_touched_whatever_the_file_is_called(palm, tmp_path):
    (tmp_path / "doyle.part").write_text("a visitor's own")
    save_adapter(tmp_path / "doyle.safetensors", palm, palm.scopes["doyle"])
    assert (tmp_path / "doyle.part").read_text() == "a visitor's own"
    save_adapter(tmp_path / "voice.part", palm, palm.scopes["doyle"])
    assert load_adapter(tmp_path / "voice.part", palm).rank == palm.scopes["doyle"].rank
    assert {path.name for path in tmp_path.iterdir()} == {"doyle.part", "doyle.safetensors", "voice.part"}


def test_an_adapter_belongs_to_the_weights_without_what_is_merged_into_them(palm, tmp_path):
    before, after = tmp_path / "before.safetensors", tmp_path / "after.safetensors"
    save_adapter(before, palm, palm.scopes["doyle"])
    palm.merge_scope("carroll")
    palm.merge_scope("doyle")
    save_adapter(after, palm, palm.scopes["doyle"])
    load_adapter(before, palm)
    palm.unmerge_scope("doyle")
    palm.unmerge_scope("carroll")
    load_adapter(after, palm)
    assert before.read_bytes() == after.read_bytes()


def test_saving_an_unknown_scope_is_refused(palm, tmp_path):
    with pytest.raises(ScopeError, match="'verne'"):
        save_adapter(tmp_path / "verne.safetensors", palm, palm.scopes["verne"])
    assert not list(tmp_path.iterdir())


def test_a_disk_that_is_full_is_told_as_one_and_leaves_what_was_there(palm, tmp_path):
    """safetensors has an error of its own for it, which nobody would take for the disk's."""
    path = tmp_path / "doyle.safetensors"
    save_adapter(path, palm, palm.scopes["doyle"])
    before = path.read_bytes()
    with small_files(3_000), pytest.raises(OSError, match="File too large") as full:
        save_adapter(path, palm, palm.scopes["doyle"])
    assert full.value.errno == errno.EFBIG and full.value.filename == str(path)
    assert path.read_bytes() == before and [*tmp_path.iterdir()] == [path]


@pytest.mark.parametrize(
    "size",
    [
        TransformerConfig(dim=48, depth=2, heads=2, vocab=48, dim_head=16, ff_mult=2),
        TransformerConfig(dim=32, depth=3, heads=2, vocab=48, dim_head=16, ff_mult=2),
        TransformerConfig(dim=32, depth=2, heads=4, vocab=48, dim_head=16, ff_mult=2),
    ],
    ids=["wider", "deeper", "more heads"],
)
def test_a_file_for_another_shape_is_refused_and_nothing_is_added(palm, new_palm, size, tmp_path):
    save_adapter(tmp_path / "carroll.safetensors", palm, palm.scopes["carroll"])
    other = new_palm(MULTIMODAL, size=size)
    with pytest.raises(CheckpointError, match="does not fit the model"):
        load_scope(tmp_path / "carroll.safetensors", other, "carroll")
    assert other.scopes.names == []


@pytest.mark.parametrize("rank", [0, -1, 3, 4096, "2", None])
def test_a_file_of_an_impossible_rank_is_refused_and_nothing_is_added(palm, new_palm, rank, tmp_path):
    path = tmp_path / "odd.safetensors"
    files.write(path, palm.scopes["carroll"].state_dict(), {"kind": "scope", "rank": rank}, torch.float32)
    bare = new_palm(RLHF)
    with pytest.raises(CheckpointError):
        load_scope(path, bare, "odd")
    assert bare.scopes.names == []


def test_loading_under_a_taken_name_keeps_the_scope_that_was_there(palm, new_ids, tmp_path):
    ids = new_ids(1, 6)
    save_adapter(tmp_path / "carroll.safetensors", palm, palm.scopes["carroll"])
    before = palm(ids, scopes=["doyle"])
    with pytest.raises(ScopeError, match="already exists"):
        load_scope(tmp_path / "carroll.safetensors", palm, "doyle")
    assert torch.equal(palm(ids, scopes=["doyle"]), before)


def written(palm, path, change=None, **description):
    """A file of a scope whose tensors or description were changed."""
    tensors = dict(palm.scopes["doyle"].state_dict())
    tensors |= change(tensors) if change else {}
    whole = {"kind": "scope", "rank": 5, "base": fingerprint(palm.decoder.state_dict())} | description
    save_file(tensors, path, metadata={files.DESCRIPTION: json.dumps(whole)})
    return path


def test_what_a_file_says_is_quoted_in_short_and_in_plain_letters(palm, tmp_path):
    path = tmp_path / "odd.safetensors"
    long = {"x" * 30_000: torch.zeros(0)}
    deep = {min(palm.scopes["doyle"].state_dict()): torch.zeros([1] * 3_000)}
    said = []
    for change, description in (
        (lambda t: long, {}),
        (lambda t: deep, {}),
        (None, {"kind": "k" * 30_000}),
        (None, {"kind": {"a": ["b"] * 10_000}}),
        (None, {"kind": "\ud800\n"}),
        (None, {"rank": 10**4_000}),
        (None, {"base": "\ud800" * 9}),
    ):
        with pytest.raises(CheckpointError) as refused:
            load_adapter(written(palm, path, change, **description), palm, highest_rank=48)
        said.append(str(refused.value).replace(str(path), ""))
    assert all(len(one) < 400 and one.isprintable() for one in said), said


def test_an_adapter_comes_back_from_its_file_and_has_no_name(palm, new_ids, tmp_path):
    ids, own = new_ids(1, 6), palm.new_adapter(3)
    for weight in own.parameters():
        weight.data.normal_(std=0.2).copy_(weight.data.bfloat16())
    save_adapter(tmp_path / "own.safetensors", palm, own)
    loaded = load_adapter(tmp_path / "own.safetensors", palm)
    assert torch.equal(palm(ids, scopes=[loaded]), palm(ids, scopes=[own]))
    assert palm.scopes.names == ["carroll", "doyle"]
    assert not any(weight.requires_grad for weight in loaded.parameters())


@pytest.mark.parametrize(
    ("change", "description", "said"),
    [
        (None, {"base": "0123"}, "trained on other base weights .'0123.*fine-tune it again here"),
        (None, {"base": None}, "other base weights"),
        (None, {"kind": "palm"}, "holds a palm, not a scope"),
        (None, {"rank": 9}, "a scope's rank is 1 to 8"),
        (lambda t: {min(t): min(t.items())[1] * float("nan")}, {}, "not finite"),
        (lambda t: {min(t): min(t.items())[1] / 0}, {}, "not finite"),
        (lambda t: {min(t): min(t.items())[1].int()}, {}, "whole numbers"),
        (lambda t: {"layers.9.query.up": torch.zeros(1)}, {}, "unexpected: layers.9.query.up"),
        (
            lambda t: {name: torch.full_like(w, 1e6) for name, w in t.items()},
            {},
            "times the weights to the query",
        ),
        (lambda t: {name: 100 * w for name, w in t.items()}, {}, "a scope may add 100 times as much at most"),
        (lambda t: {name: torch.zeros_like(w) for name, w in t.items()}, {}, "nothing but zeros in .*down"),
        (lambda t: {min(t): min(t.items())[1].to(torch.float8_e4m3fn)}, {}, "in float8_e4m3fn"),
        (lambda t: {min(t): min(t.items())[1].to(torch.float8_e5m2)}, {}, "in float8_e5m2"),
        (lambda t: {min(t): min(t.items())[1].double() + 1e300}, {}, "not finite"),
        (None, {"rank": True}, "rank True; a scope's rank is"),
        (None, {"rank": 5.0}, "rank 5.0; a scope's rank is"),
        (None, {"base": ["x" * 10_000]}, "other base weights"),
    ],
)
def test_a_file_from_anywhere_is_refused_unless_it_is_a_scope_of_this_model(
    palm, tmp_path, change, description, said
):
    path = written(palm, tmp_path / "odd.safetensors", change, **description)
    with pytest.raises(CheckpointError, match=said):
        load_adapter(path, palm, highest_rank=8)


def test_a_file_larger_than_any_scope_is_not_even_opened(palm, tmp_path):
    path = tmp_path / "large.safetensors"
    path.write_bytes(bytes(1_000_000))
    with pytest.raises(CheckpointError, match="1,000,000 bytes and a scope of rank 8"):
        load_adapter(path, palm, highest_rank=8)


def test_a_name_too_long_to_be_a_files_is_that_of_no_file(palm, tmp_path):
    with pytest.raises(CheckpointError, match="there is no weights file at "):
        load_adapter(tmp_path / ("a" * 300), palm)


def test_a_file_that_is_no_safetensors_is_refused(palm, tmp_path):
    path = tmp_path / "pickled.safetensors"
    torch.save({"down": torch.zeros(2)}, path)
    with pytest.raises(CheckpointError, match="not a readable safetensors file"):
        load_adapter(path, palm)


def test_a_fingerprint_is_of_the_stored_weights_and_of_no_others(palm, new_palm):
    stored = fingerprint(palm.decoder.bfloat16().state_dict())
    assert fingerprint(palm.decoder.float().state_dict()) == stored
    assert fingerprint(new_palm().decoder.state_dict()) != stored
    palm.decoder.blocks[0].ff_out.weight.data[0, 0] += 1
    assert fingerprint(palm.decoder.state_dict()) != stored


@pytest.mark.parametrize(
    "said",
    ["[" * 20_000, "{" * 20_000, '{"kind":' * 20_000, "[]", '"scope"', "1", "null", '{"kind": ["scope"]}'],
)
def test_a_header_that_is_no_description_is_refused(palm, said, tmp_path):
    path = tmp_path / "odd.safetensors"
    save_file(palm.scopes["doyle"].state_dict(), path, metadata={files.DESCRIPTION: said})
    with pytest.raises(CheckpointError, match=r"not one of ours|holds a"):
        load_adapter(path, palm)


def test_a_scope_that_changes_nothing_yet_comes_back_from_its_file(palm, tmp_path):
    save_adapter(tmp_path / "fresh.safetensors", palm, palm.new_adapter(2))
    assert load_adapter(tmp_path / "fresh.safetensors", palm).rank == 2


def test_an_absurd_scope_is_not_added_under_a_name(palm, tmp_path):
    path = written(
        palm, tmp_path / "odd.safetensors", lambda t: {n: torch.full_like(w, 1e6) for n, w in t.items()}
    )
    with pytest.raises(CheckpointError, match=r"adds .* times the weights"):
        load_scope(path, palm, "odd")
    assert palm.scopes.names == ["carroll", "doyle"]
