"""What is taken of a profile by the memory and disk that there are, and whether that is reckoned rightly."""

import re
from dataclasses import replace
from functools import partial
from types import SimpleNamespace

import open_clip
import pytest
import torch

import palm_demo
from palm_demo.checkpoints import from_reference
from palm_demo.errors import ProfileError
from palm_demo.models.cpu_linear import Projection
from palm_demo.profiles import choose, read_profile
from palm_demo.profiles.choosing import (
    CGROUP,
    GB,
    ZERO_GB,
    _left_to_container,
    disk_needed,
    free_memory,
    room_needed,
)
from palm_demo.session import loading
from tests.checkpoints.released import plain_openmammut, test_openflamingo_shapes, test_palm

HUB, SMALL = read_profile("hub"), read_profile("small")


MACHINES = {  # free: memory, GPU memory, disk, each in GB; whether the GPU has bfloat16 -> what is taken
    "16 GB, no GPU": ((14.5, None, 42, True), "PaLM 150m, OpenFlamingo 4B, openMaMMUT L/14"),
    "32 GB, no GPU": ((30.5, None, 42, True), "PaLM 2b, OpenFlamingo 9B, openMaMMUT L/14"),
    "T4, 50 GB of disk": ((13.5, 15.4, 42, False), "PaLM 150m, OpenFlamingo 4B, openMaMMUT L/14"),
    "L4": ((28.5, 23.4, 392, True), "PaLM 2b, OpenFlamingo 4B, openMaMMUT L/14"),
    "A100": ((140, 79.4, 992, True), "PaLM 2b, OpenFlamingo 9B, openMaMMUT L/14"),
    "A100, 50 GB of disk": ((140, 79.4, 42, True), "PaLM 2b, OpenFlamingo 9B, openMaMMUT L/14"),
    "A100, 20 GB of disk": ((140, 79.4, 20, True), "PaLM 1b, OpenFlamingo 4B, openMaMMUT L/14"),
}


@pytest.mark.parametrize("machine", MACHINES)
def test_what_is_loaded_of_the_hub_fits_each_machine(machine, monkeypatch):
    (memory, gpu, disk, bfloat16), taken = MACHINES[machine]
    free = {"cpu": int(memory * GB)} | ({} if gpu is None else {"cuda": int(gpu * GB)})
    there = {"free_memory": free, "free_disk": disk * GB, "computes_in_bfloat16": bfloat16}
    for name, value in there.items():
        monkeypatch.setattr(loading, name, lambda value=value: value)
    monkeypatch.setattr(loading, "in_cache", lambda file: False)
    read = []

    def note(chosen, *_) -> SimpleNamespace:
        read.append(chosen)
        return SimpleNamespace(all=())

    monkeypatch.setattr(loading, "_read", note)
    monkeypatch.setattr(loading, "Session", lambda *made_of: made_of)
    palm_demo.load("hub")
    (chosen,) = read
    assert chosen.summary == taken
    device = "cpu" if gpu is None else "cuda"
    assert set(chosen.devices.values()) == {device}
    assert sum(choice.memory_on(device) for choice in chosen.choices.values()) * GB <= free[device]
    assert chosen.downloads_gb <= chosen.disk_gb + 1e-6 and chosen.disk_gb <= disk


def test_weights_that_are_packed_take_more_on_a_cpu_than_on_a_gpu():
    for choice in every_choice():
        assert choice.memory_on("cpu") == pytest.approx(choice.memory_gb + 0.15 * choice.packed_gb)
        assert choice.memory_on("cuda") == choice.memory_gb
    free = 14_000_000_000
    assert choose(HUB, {"cpu": GB, "cuda": free}).summary == "PaLM 150m, OpenFlamingo 4B, openMaMMUT L/14"
    with pytest.raises(ProfileError, match="there is too little memory"):
        choose(HUB, {"cpu": free})


def test_a_choice_that_does_not_say_what_is_packed_is_reckoned_at_its_most():
    (choice,) = read_profile("hub,palm=1b").palm.values()
    assert replace(choice, packed_gb=None).memory_on("cpu") == pytest.approx(1.15 * choice.memory_gb)


def test_a_gpu_without_bfloat16_gets_what_each_choice_bears():
    chosen = choose(HUB, {"cpu": GB, "cuda": 16 * GB}, bfloat16=False)
    assert {choice.name: choice.dtype for choice in chosen.choices.values()} == {
        "PaLM 150m": "float32",
        "OpenFlamingo 4B": "bfloat16",
        "openMaMMUT L/14": "float16",
    }
    assert chosen.palm.memory_gb == 2 * HUB.palm["150m"].memory_gb
    assert {c.dtype for c in choose(HUB, {"cpu": 16 * GB}, bfloat16=False).choices.values()} == {"bfloat16"}


def test_too_little_memory_is_told_with_what_is_needed_and_what_is_there():
    with pytest.raises(ProfileError, match=r"OpenFlamingo 4B, openMaMMUT L/14 takes 13\.8 GB of GPU memory"):
        choose(HUB, {"cpu": 99 * GB, "cuda": 8 * GB})
    with pytest.raises(ProfileError, match=r"of memory where 2\.0 GB are free; take a larger machine"):
        choose(HUB, {"cpu": 2 * GB})


def test_too_little_disk_is_told_with_what_is_needed_and_what_is_there():
    with pytest.raises(
        ProfileError,
        match=r"too little disk: even PaLM 150m, OpenFlamingo 4B, openMaMMUT L/14 takes 15\.4 GB while it is "
        r"downloaded, and 9\.0 GB are free; make room",
    ):
        choose(HUB, {"cpu": 99 * GB}, 9 * GB)


def test_what_was_downloaded_before_takes_no_more_disk():
    big = read_profile("hub,palm=2b,flamingo=9b,mammut=coca")
    files = [file for some in big.systems.values() for choice in some.values() for file in choice.files]
    with pytest.raises(ProfileError, match="too little disk"):
        choose(big, {"cpu": 99 * GB}, 10 * GB)
    there = {file for file in files if file.repo.startswith("ybelkada/") or "flamingo" in file.repo}
    assert choose(big, {"cpu": 99 * GB}, 19 * GB, downloaded=there.__contains__)
    assert choose(big, {"cpu": 99 * GB}, 0, downloaded=lambda file: True)
    # the 9B came in float32, because its first name was wrong
    fallback = {file.otherwise for file in files}
    assert disk_needed(files, fallback.__contains__) < disk_needed(files) - 10 * GB


def test_pickles_are_converted_one_after_another_the_largest_first():
    assert room_needed([(3, True), (5, True), (1, False)]) == 11  # both, and the second once more
    assert room_needed([(5, True), (9, False)]) == 14
    assert room_needed([(5, True)]) == 10
    assert room_needed([]) == 0


def test_a_laptop_without_a_gpu_holds_the_small_profile():
    small = read_profile("small")
    chosen = choose(small, {"cpu": 5 * GB}, 4 * GB)
    assert chosen.summary == "PaLM 150m, CoCa B/32" and chosen.flamingo is None
    assert {choice.dtype for choice in chosen.choices.values()} == {"float32"}
    with pytest.raises(ProfileError, match=r"even PaLM 150m, CoCa B/32 takes 4\.4 GB of memory"):
        choose(small, {"cpu": 3 * GB})


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


@pytest.mark.parametrize(
    "choice", [*HUB.palm.values(), *SMALL.palm.values()], ids=lambda choice: f"{choice.name} {choice.dtype}"
)
def test_the_memory_and_disk_that_a_palm_takes_are_what_its_shapes_need(choice):
    dim, depth, *_ = test_palm.ROWS[choice.name.removeprefix("PaLM ")]
    tensors = test_palm.tensors(dim, depth, 50304, heads=8, dim_head=128, device="meta")
    palm = from_reference("palm-8k", tensors, dtype=getattr(torch, choice.dtype))
    check(choice, [palm], palm.new_cache(choice.rows, choice.context))
    check_disk(choice.weights, tensors)


@pytest.mark.parametrize(("name", "kind", "dim"), [("4b", "gpt_neox", 2560), ("9b", "mpt", 4096)])
def test_the_memory_that_a_flamingo_takes_is_what_its_shapes_need(name, kind, dim):
    choice = HUB.flamingo[name]
    flamingo = test_openflamingo_shapes.released_on_meta(kind, dim, 50280, choice.every, dtype=torch.bfloat16)
    vit = openmammut_tensors(width=1024, depth=24, patch=14, side=16, text_width=768, text_depth=2)
    tower = from_reference("clip-tower", vit, heads=16, activation="quick_gelu", dtype=torch.bfloat16)
    check(choice, [flamingo, tower], flamingo.new_cache(choice.rows, choice.context))


def test_the_memory_and_disk_that_openmammut_takes_are_what_its_shapes_need():
    choice = HUB.mammut["openmammut"]
    tensors = openmammut_tensors(
        width=1024, depth=24, patch=14, side=16, text_width=768, text_depth=12, vocab=49408, context=77
    )
    heads = {"heads": choice.heads, "text_heads": choice.text_heads}
    made = from_reference("openmammut", tensors, **heads, dtype=torch.bfloat16)
    check(choice, [made], made.new_cache(choice.rows, made.context))
    check_disk(choice.weights, tensors)


COCAS = {
    "coca": (HUB.mammut["coca"], "coca_ViT-L-14", "mscoco_finetuned_laion2b_s13b_b90k"),
    "coca-b32": (SMALL.mammut["coca-b32"], "coca_ViT-B-32", "mscoco_finetuned_laion2b_s13b_b90k"),
    "coca-b32-web": (SMALL.mammut["coca-b32-web"], "coca_ViT-B-32", "laion2b_s13b_b90k"),
}
"""Each with its names in open_clip: of the model, and of the weights."""


@pytest.mark.parametrize("name", COCAS)
def test_a_coca_stands_where_open_clip_says_and_takes_what_its_shapes_need(name):
    choice, model, tag = COCAS[name]
    repo = open_clip.get_pretrained_cfg(model, tag)["hf_hub"].rstrip("/")
    assert {file.repo for file in choice.weights.names} == {repo}
    config = open_clip.get_model_config(model)
    config.pop("custom_text")
    with torch.device("meta"):
        tensors = open_clip.CoCa(**config).state_dict()
    heads = {"heads": choice.heads, "text_heads": choice.text_heads, "pool_heads": choice.pool_heads}
    made = from_reference("coca", tensors, **heads, dtype=getattr(torch, choice.dtype))
    check(choice, [made], made.new_cache(choice.rows, made.context))
    check_disk(choice.weights, tensors)
    assert choice.text_heads == config["text_cfg"]["heads"]
    assert choice.pool_heads == config["vision_cfg"]["attn_pooler_heads"]
    assert choice.heads == config["vision_cfg"]["width"] // 64  # of open_clip's heads each has 64 numbers


openmammut_tensors = partial(plain_openmammut.tensors, device="meta")


def check(choice, modules, cache) -> None:
    """Weights and cache, and from half a GB to a little more than two to compute with; and on a CPU what its
    layout of our own linear maps takes, as `test_projection` measures it."""
    weights_gb = sum(weight.nbytes for module in modules for weight in module.parameters()) / GB
    ours = [part for module in modules for part in module.modules() if isinstance(part, Projection)]
    packed_gb = sum(part.weight.nbytes for part in ours) / GB
    needed_gb = weights_gb + cache.tokens.size_bytes / GB
    assert 0.45 < choice.memory_gb - needed_gb < 2.2
    assert packed_gb <= choice.packed_gb < packed_gb + 0.15
    assert choice.memory_on("cpu") > needed_gb + 0.15 * packed_gb + 0.45


def check_disk(file, tensors) -> None:
    """Each tensor is written, a tied one too."""
    size_gb = sum(tensor.nbytes for tensor in tensors.values()) / GB
    assert all(size_gb <= name.gb < size_gb + 0.1 for name in file.names)


def every_choice():
    return [choice for p in (HUB, SMALL) for some in p.systems.values() for choice in some.values()]


def test_every_name_and_commit_that_nobody_saw_is_marked_and_every_size_said():
    for choice in every_choice():
        assert choice.licence != type(choice).licence
        for file in choice.files:
            for name in file.names:
                assert re.fullmatch("[0-9a-f]{40}|refs/pr/5", name.revision) or "commit" in name.unverified
                assert name.gb or name.file.endswith(".json")


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
