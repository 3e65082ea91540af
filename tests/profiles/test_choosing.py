"""What is taken of a profile by the memory that there is, and whether hub.yaml says rightly what it takes."""

from functools import partial

import open_clip
import pytest
import torch

from palm_demo.checkpoints import from_reference
from palm_demo.errors import ProfileError
from palm_demo.profiles import choose, read_profile
from palm_demo.profiles.memory import CGROUP, GB, ZERO_GB, _left_to_container, free_memory
from tests.released import plain_openmammut, test_openflamingo, test_palm

HUB = read_profile("hub")


@pytest.mark.parametrize(
    ("free_gb", "taken"),
    [
        (15, "PaLM 150m, OpenFlamingo 4B, openMaMMUT L/14"),
        (23, "PaLM 2b, OpenFlamingo 4B, openMaMMUT L/14"),
        (40, "PaLM 2b, OpenFlamingo 9B, openMaMMUT L/14"),
    ],
)
def test_the_best_that_fits_into_the_gpu_is_taken_or_else_into_memory(free_gb, taken):
    chosen = choose(HUB, {"cpu": GB, "cuda": free_gb * GB})
    assert chosen.told == taken and set(chosen.devices.values()) == {"cuda"}
    chosen = choose(HUB, {"cpu": free_gb * GB})
    assert chosen.told == taken and set(chosen.devices.values()) == {"cpu"}


def test_too_little_memory_is_told_with_what_is_needed_and_what_is_there():
    with pytest.raises(ProfileError, match=r"OpenFlamingo 4B, openMaMMUT L/14 takes 13\.8 GB of GPU memory"):
        choose(HUB, {"cpu": 99 * GB, "cuda": 8 * GB})
    with pytest.raises(ProfileError, match=r"of memory where 2\.0 GB are free; take a larger machine"):
        choose(HUB, {"cpu": 2 * GB})


def test_a_system_that_is_not_named_is_bundled(tmp_path):
    path = tmp_path / "one.yaml"
    path.write_text("version: 1\npalm:" + open_section("palm"), encoding="utf-8")
    chosen = choose(read_profile(path), {"cpu": 3 * GB})
    assert list(chosen.choices) == ["palm"] and chosen.flamingo is chosen.mammut is None


def test_a_gpu_that_is_named_has_to_be_there(tmp_path):
    path = tmp_path / "one.yaml"
    path.write_text("version: 1\npalm:" + open_section("palm", "device: cuda\n    "), encoding="utf-8")
    with pytest.raises(ProfileError, match="asks for a GPU and there is none; write device: auto"):
        choose(read_profile(path), {"cpu": 99 * GB})


def open_section(name: str, first: str = "") -> str:
    """A section of hub.yaml from its choices on; `first` is written before each name of a choice's."""
    from palm_demo.profiles.reading import FOLDER

    text = (FOLDER / "hub.yaml").read_text(encoding="utf-8")
    section = text.split(f"\n{name}:")[1].split("\n\n")[0]
    return section.replace("    name:", f"    {first}name:") + "\n"


@pytest.mark.parametrize("name", list(HUB.palm))
def test_the_memory_that_a_palm_takes_is_what_its_shapes_need(name):
    """Weights and cache, and no more than 3 GB to compute with."""
    dim, depth, *_ = test_palm.ROWS[name]
    choice = HUB.palm[name]
    tensors = test_palm.tensors(dim, depth, 50304, heads=8, dim_head=128, device="meta")
    palm = from_reference("palm-8k", tensors, dtype=torch.bfloat16)
    cache = palm.new_cache(choice.rows, choice.context).tokens
    check(choice.memory_gb, [*palm.parameters(), cache.keys, cache.values])


@pytest.mark.parametrize(("name", "kind", "dim"), [("4b", "gpt_neox", 2560), ("9b", "mpt", 4096)])
def test_the_memory_that_a_flamingo_takes_is_what_its_shapes_need(name, kind, dim):
    choice = HUB.flamingo[name]
    flamingo = test_openflamingo.released_on_meta(kind, dim, 50280, choice.every, dtype=torch.bfloat16)
    vit = openmammut_tensors(width=1024, depth=24, patch=14, side=16, text_width=768, text_depth=2)
    tower = from_reference("clip-tower", vit, heads=16, activation="quick_gelu", dtype=torch.bfloat16)
    cache = flamingo.new_cache(choice.rows, choice.context).tokens
    check(choice.memory_gb, [*flamingo.parameters(), *tower.parameters(), cache.keys, cache.values])


def test_the_memory_that_the_captioners_take_is_what_their_shapes_need():
    openmammut, coca = HUB.mammut["openmammut"], HUB.mammut["coca"]
    tensors = openmammut_tensors(
        width=1024, depth=24, patch=14, side=16, text_width=768, text_depth=12, vocab=49408, context=77
    )
    heads = {"heads": openmammut.heads, "text_heads": openmammut.text_heads}
    made = from_reference("openmammut", tensors, **heads, dtype=torch.bfloat16)
    cache = made.new_cache(openmammut.rows, made.context).tokens
    check(openmammut.memory_gb, [*made.parameters(), cache.keys, cache.values])
    config = open_clip.get_model_config("coca_ViT-L-14")
    config.pop("custom_text")
    with torch.device("meta"):
        theirs = open_clip.CoCa(**config)
    heads = {"heads": coca.heads, "text_heads": coca.text_heads, "pool_heads": coca.pool_heads}
    made = from_reference("coca", theirs.state_dict(), **heads, dtype=torch.bfloat16)
    cache = made.new_cache(coca.rows, made.context).tokens
    check(coca.memory_gb, [*made.parameters(), cache.keys, cache.values])


openmammut_tensors = partial(plain_openmammut.tensors, device="meta")


def check(memory_gb: float, tensors) -> None:
    needed = sum(tensor.nbytes for tensor in tensors) / GB
    assert needed < memory_gb < needed + 3


def test_a_container_has_what_its_limit_leaves(tmp_path):
    assert min(_left_to_container(tmp_path)) == 2**63 - 1
    for name, value in (("memory.max", "max"), ("memory.current", "700"), ("memory.stat", "anon 5\nx 1\n")):
        (tmp_path / name).write_text(value)
    assert min(_left_to_container(tmp_path)) == 2**63 - 1
    (tmp_path / "memory.max").write_text("1000\n")
    assert min(_left_to_container(tmp_path)) == 300
    (tmp_path / "memory.stat").write_text("anon 5\ninactive_file 200\n")
    assert min(_left_to_container(tmp_path)) == 500
    assert free_memory()["cpu"] <= min(_left_to_container(CGROUP))


def test_weights_for_zerogpu_lie_in_memory_and_fit_the_gpu_that_is_lent(monkeypatch):
    monkeypatch.setenv("SPACES_ZERO_GPU", "true")
    free = free_memory()
    assert free.keys() == {"cpu"} and free["cpu"] <= ZERO_GB * GB
    assert set(choose(HUB, {"cpu": ZERO_GB * GB}).devices.values()) == {"cpu"}
