"""What names of weights' files say, in profiles and where weights are read alike."""

import pytest

from palm_demo.profiles.choosing import disk_needed
from palm_demo.profiles.description import File
from palm_demo.weight_files import WEIGHTS, converted_name, holds_pickles, is_index, is_pickle, read_index


def test_every_ending_that_is_read_is_of_one_kind():
    kinds = {ending: (is_pickle(ending), is_index(ending), holds_pickles(ending)) for ending in WEIGHTS}
    assert kinds == {
        ".safetensors": (False, False, False),
        ".pt": (True, False, True),
        ".pth": (True, False, True),
        ".bin": (True, False, True),
        ".safetensors.index.json": (False, True, False),
        ".bin.index.json": (False, True, True),
    }


@pytest.mark.parametrize("ending", WEIGHTS)
def test_what_is_written_once_more_is_counted_twice(ending):
    needed = disk_needed([File("them/lm", f"model{ending}", gb=1.0)])
    assert needed == (2e9 if holds_pickles(ending) else 1e9)


def test_a_converted_pickle_is_no_pickle():
    assert converted_name("model.bin") == "model.bin.safetensors"
    assert not is_pickle(converted_name("model.bin"))


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ("[]", "it has no weight_map"),
        ("[" * 200_000, "it is nested too deeply"),
        ('{"weight_map": 3}', "it has no weight_map"),
        ('{"weight_map": {"a": 3}}', "it has a in 3, which is not a file name"),
        ('{"weight_map": {"a": "b/c.bin"}}', "it names 'b/c.bin'; shards have to lie beside their index"),
        (r'{"weight_map": {"a": "b\\\\c.bin"}}', "shards have to lie beside their index"),
        ('{"weight_map": {"a": ".."}}', "shards have to lie beside their index"),
        ('{"weight_map": {"a": ""}}', "shards have to lie beside their index"),
    ],
)
def test_an_index_that_is_none_says_what_is_wrong(content, why, tmp_path):
    index = tmp_path / "model.safetensors.index.json"
    index.write_text(content, encoding="utf-8")
    with pytest.raises(ValueError) as caught:
        read_index(index)
    assert why in str(caught.value)
