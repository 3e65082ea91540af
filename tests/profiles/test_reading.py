"""Profiles are read as a whole: every mistake comes with its line and what to do, before any request."""

from pathlib import Path

import pytest

from palm_demo.errors import FileError, ProfileError
from palm_demo.profiles import own_name, profile_names, read_profile
from palm_demo.profiles.reading import FOLDER

HUB = FOLDER / "hub.yaml"


@pytest.fixture
def changed(tmp_path):
    """hub.yaml with some of its text replaced."""

    def change(*pairs: tuple[str, str]) -> Path:
        text = HUB.read_text(encoding="utf-8")
        for old, new in pairs:
            assert old in text
            text = text.replace(old, new, 1)
        (tmp_path / "mine.yaml").write_text(text, encoding="utf-8")
        return tmp_path / "mine.yaml"

    return change


def findings(path: Path) -> list[str]:
    with pytest.raises(FileError) as caught:
        read_profile(path)
    return [str(finding) for finding in caught.value.diagnostics]


def test_the_profile_of_the_hub_names_all_three_systems():
    profile = read_profile("hub")
    assert {system: list(choices) for system, choices in profile.systems.items()} == {
        "palm": ["2b", "1b", "150m"],
        "flamingo": ["9b", "4b"],
        "mammut": ["openmammut", "coca"],
    }
    big = profile.flamingo["9b"]
    assert len(list(big.files)) == 5 and big.tower.weights in big.files
    assert profile_names() == ["tiny", "hub", "small"]


def test_a_file_is_a_profile_by_its_path(changed):
    path = changed()
    assert read_profile(path) == read_profile(str(path)) == read_profile("hub")
    assert own_name(path) == "mine" and own_name("hub,palm=1b") == "hub" and own_name("../ä b.yaml") == "-b"
    assert own_name("hub,palm=1b,mammut=coca") == "hub-mammut-coca"


def test_choices_are_taken_by_their_names():
    profile = read_profile("hub,mammut=coca, palm=1b")
    assert list(profile.mammut) == ["coca"] and list(profile.palm) == ["1b"] and len(profile.flamingo) == 2
    with pytest.raises(ProfileError, match="no choice 'palm=9b'; it has palm=2b, palm=1b"):
        read_profile("hub,palm=9b")
    with pytest.raises(
        ProfileError, match="there is no profile 'hib'; take tiny, hub, small, or the path of a YAML"
    ):
        read_profile("hib")
    for none in ("a" * 300, "a" * 300 + ",palm=1b"):
        with pytest.raises(ProfileError, match="there is no profile 'aaa"):
            read_profile(none)
    with pytest.raises(ProfileError, match="choices of the bundled weights; these have none, give 'tiny'"):
        read_profile("tiny,palm=1b")


def test_a_system_may_be_left_out(tmp_path):
    text = HUB.read_text(encoding="utf-8")
    path = tmp_path / "pictures.yaml"
    path.write_text("version: 1\n\n" + text[text.index("mammut:") :], encoding="utf-8")
    assert list(read_profile(path).systems) == ["mammut"]
    path.write_text("version: 1\n", encoding="utf-8")
    assert findings(path) == ["pictures.yaml:1: it names no system; name palm, flamingo or mammut"]


@pytest.mark.parametrize(
    ("old", "new", "wrong"),
    [
        ("dtype: bfloat16", "dtype: float16", "palm.2b.dtype is 'float16'; take bfloat16 or float32"),
        ("context: 8192", "context: 9000", "palm.2b.context is 9000; give 1 to 8192"),
        ("rows: 8", "rows: 0", "palm.2b.rows is 0; give a number above 0"),
        ("memory_gb: 7.2", "memory_gb: lots", "palm.2b.memory_gb is 'lots'; give a number"),
        ("layout: palm-8k", "layout: palm", "palm.2b.layout is 'palm'; take palm-8k"),
        ("repo: conceptofmind/palm-2b", "repo: palm-2b", "weights.repo is 'palm-2b'; write OWNER/NAME"),
        ("palm_2b_8k_v0.pt", "palm_2b_8k_v0.zip", "name safetensors, their .index.json, or a pickle"),
        ("file: tokenizer.json", "file: tokenizer.txt", "name a .json file"),
        ("every: 4", "every_n: 4", "flamingo.9b.every_n is unknown; did you mean every?"),
        ("activation: quick_gelu", "activation: relu", "tower.activation is 'relu'; take gelu or quick_gelu"),
        ("    pool_heads: 8\n", "", "mammut.coca.pool_heads is missing; name it"),
        ("layout: coca", "layout: openmammut", "mammut.coca.pool_heads is 8; leave it out"),
    ],
)
def test_a_mistake_is_told_with_its_line_and_remedy(changed, old, new, wrong):
    found = findings(changed((old, new)))
    assert wrong in found[0]
    assert found[0].startswith("mine.yaml:") and int(found[0].split(":")[1]) > 1
