"""The README's front matter is the Spacefile's; the rest of the README is nobody's but its author's."""

from huggingface_hub import SpaceCard

from palm_demo.settings import SPACEFILE, load_settings
from palm_demo.space import __main__ as space_command
from palm_demo.space.card import with_front_matter


def test_front_matter_says_what_the_spacefile_says():
    settings = load_settings()
    data = SpaceCard(with_front_matter("# A page\n", settings)).data.to_dict()
    assert data["title"] == settings.space.title and data["emoji"] == settings.space.emoji
    assert data["colorFrom"] == settings.space.color_from and data["colorTo"] == settings.space.color_to
    assert data["sdk"] == "gradio" and data["sdk_version"] == settings.runtime.sdk_version
    assert data["python_version"] == settings.runtime.python and data["app_file"] == "app.py"
    assert data["suggested_hardware"] == settings.hardware.suggested
    assert data["startup_duration_timeout"] == settings.runtime.startup_timeout
    assert "models" not in data and "preload_from_hub" not in data


def test_models_and_what_is_preloaded_are_lists(tmp_path):
    text = SPACEFILE.read_text(encoding="utf-8")
    changed = tmp_path / "Spacefile"
    text = text.replace("models: []", "models: [one/model]")
    text = text.replace("preload: []", "preload: ['one/model model.safetensors,config.json']")
    changed.write_text(text, encoding="utf-8")
    data = SpaceCard(with_front_matter("", load_settings(changed))).data.to_dict()
    assert data["models"] == ["one/model"]
    assert data["preload_from_hub"] == ["one/model model.safetensors,config.json"]


def test_rendering_twice_changes_nothing_and_the_text_stays(folder, lines):
    first = (folder.root / "README.md").read_bytes()
    assert first.startswith(b"---\ntitle: ") and first.endswith(b"---\n\n# A page\n\n---\n\nIts text.\n")
    lines()
    assert folder.run("render") == 0
    assert lines() == ["README.md is as the Spacefile says"]
    assert (folder.root / "README.md").read_bytes() == first


def test_without_a_readme_there_is_nothing_to_write_into(folder, lines):
    (folder.root / "README.md").unlink()
    assert folder.run("render") == 1
    assert "there is no README.md" in lines()[-1]


def test_new_front_matter_takes_the_place_of_the_old(folder):
    folder.write("README.md", "---\ntitle: [broken\n---\n# A page\r\nwith its own line ends\r\n")
    assert folder.run("render") == 0
    written = (folder.root / "README.md").read_bytes()
    assert written.endswith(b"---\n# A page\r\nwith its own line ends\r\n") and b"broken" not in written


def test_an_installed_package_is_no_space(monkeypatch, capsys):
    monkeypatch.setattr(space_command, "INSTALLED", True)
    for verb in ("render", "check", "deploy"):
        assert space_command.app([verb], standalone_mode=False) == 1
        assert "go into a clone and give the command there" in capsys.readouterr().err
