"""The Spacefile is read as a whole: every mistake in it comes with its line and what to do."""

from pathlib import Path

import pytest

from palm_demo.errors import ArgumentError, FileError
from palm_demo.settings import SPACEFILE, ServeOptions, Settings, load_settings


@pytest.fixture
def changed(tmp_path):
    """The Spacefile with some of its text replaced."""

    def change(*pairs: tuple[str, str]) -> Path:
        text = SPACEFILE.read_text(encoding="utf-8")
        for old, new in pairs:
            assert old in text
            text = text.replace(old, new, 1)
        (tmp_path / "Spacefile").write_text(text, encoding="utf-8")
        return tmp_path / "Spacefile"

    return change


def line_of(text: str) -> int:
    lines = SPACEFILE.read_text(encoding="utf-8").splitlines()
    return next(number for number, line in enumerate(lines, 1) if text in line)


def findings(path: Path) -> list[str]:
    with pytest.raises(FileError) as caught:
        load_settings(path)
    return [str(finding) for finding in caught.value.diagnostics]


def test_every_section_is_read():
    settings = load_settings()
    assert isinstance(settings, Settings)
    assert settings.limits.media_limits.pixels == settings.limits.megapixels * 1_000_000
    assert settings.limits.batch_limits.rows == settings.limits.rows
    assert settings.env.variables["GRADIO_ANALYTICS_ENABLED"] == "False"
    assert settings.files.allow and settings.space.title and settings.hardware.request


@pytest.mark.parametrize(
    ("old", "new", "wrong"),
    [
        ("version: 1", "version: 2", "version is 2; take 1"),
        ("  media: 8", "  medias: 8", "limits.medias is unknown; did you mean media?"),
        ("  queue: 32", "  queue: none", "limits.queue is 'none'; give a whole number"),
        ("  queue: 32", "  queue: 0", "limits.queue is 0; give a number above 0"),
        ("  queue: 32", "  queue: true", "limits.queue is True; give a whole number"),
        ("  queue: 32", "  queue: [32]", "limits.queue is a section or list; give a whole number"),
        ("visitors: false", "visitors: 'no'", "gallery.visitors is 'no'; give true or false"),
        ("color_to: pink", "color_to: mauve", "space.color_to is 'mauve'; take red or yellow or green or"),
        ("sdk_version: 6.31.0", "sdk_version: 6.31", "runtime.sdk_version is 6.31; give a text; in quotes"),
        ("startup_timeout: 30m", "startup_timeout: soon", "give seconds, minutes or hours such as 30m"),
        ('"False"', "False", "env.variables.GRADIO_ANALYTICS_ENABLED is False; give a text; in quotes"),
        ("secrets: []", "secrets: [no-name]", "env.secrets[0] is 'no-name'; name it with letters"),
        (
            "    HF_HUB_DIS",
            "    1_HF_HUB_DIS",
            "env.variables has the key '1_HF_HUB_DISABLE_TELEMETRY'; n",
        ),
        ("megapixels: 25", "megapixels: .inf", "limits.megapixels is inf; give a number"),
        ("megapixels: 25", "megapixels: .nan", "limits.megapixels is nan; give a number"),
        ("version: 1", "version: true", "version is True; give a whole number"),
        ("visitors: false", "visitors: !!bool maybe", "gallery.visitors is 'maybe'; give true or false"),
        ("  queue: 32", "  queue: !!int ''", "limits.queue is ''; give a whole number"),
        ("  queue: 32", "  queue: !!timestamp soon", "limits.queue is 'soon'; give a whole number"),
        ("  emoji: 🌴", "  emoji: 🌴\n  tile: x", "space.tile is unknown; did you mean title?"),
        ("  emoji: 🌴", "  emoji: 🌴\n  hue: x", "space.hue is unknown; known are id, title, emoji,"),
        ("  emoji: 🌴", "  emoji: 🌴\n  ? [a]", "space.? is unknown; known are id, title, emoji,"),
        ("secrets: []", "secrets: HF_TOKEN", "env.secrets is not a list; write each entry after a dash"),
        ("  license: mit", "  license: mit\n  repository: code", "space.repository is 'code'; give an"),
        ("  license: mit", "  license: mit\n  license: gpl", "space.license is there twice; keep one"),
    ],
)
def test_a_mistake_is_told_with_its_line_and_remedy(changed, old, new, wrong):
    found, *missing = findings(changed((old, new)))
    assert all("missing" in one for one in missing)  # as what was named wrongly is
    line = line_of(old.strip()) + new.count("\n")
    assert found.startswith(f"Spacefile:{line}: ") and wrong in found


def test_all_mistakes_are_told_at_once(changed):
    found = findings(changed(("  media: 8", "  medias: 8"), ("  queue: 32", "  queue: none")))
    assert [one.split(": ", 1)[1].split(";")[0] for one in found] == [
        "limits.medias is unknown",
        "limits.queue is 'none'",
        "limits.media is missing",
    ]


def test_a_list_that_contains_itself_is_refused(changed):
    assert (
        "limits.queue[0] contains itself; write its values out"
        in findings(changed(("  queue: 32", "  queue: &q [*q]")))[0]
    )


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("", "Spacefile:1: Spacefile is empty"),
        ("space: [", "Spacefile:1: this is not YAML"),
        ("- one", "Spacefile:1: the file has no keys"),
        ("version: !!python/name:os.system", "this is not YAML"),
        ("[" * 9999, "Spacefile:1: this is not YAML: it is nested too deeply"),
        ("version: 1\nspace: \x07", "Spacefile:2: it has the control character '\\x07'; delete the"),
    ],
)
def test_a_file_that_is_none_is_refused(tmp_path, text, wrong):
    path = tmp_path / "Spacefile"
    path.write_text(text, encoding="utf-8")
    assert wrong in findings(path)[0]


def test_a_file_that_is_not_there_is_named(tmp_path):
    assert findings(tmp_path / "Spacefile") == [
        "Spacefile:1: it cannot be read: No such file or directory; put the file there"
    ]


def test_the_repository_is_an_address_or_none(changed):
    for line, read in (("https://example.org/code", "https://example.org/code"), ("", None)):
        path = changed(("  license:", f"  repository: {line}\n  license:"))
        assert load_settings(path).space.repository == read


def test_options_are_those_given_then_the_environments_then_the_defaults():
    environment = {"PALM_DEMO_PROFILE": "hub", "PORT": "80", "GRADIO_SERVER_PORT": "81", "PALM_DEMO_MCP": "1"}
    options = ServeOptions.read(environment, profile="small", replicas=3, gallery=None)
    assert (options.profile, options.replicas, options.gallery) == ("small", 3, None)
    assert options.port == 80 and options.mcp is True and options.cpus == ServeOptions.cpus
    assert ServeOptions.read({"GRADIO_SERVER_PORT": "81", "PALM_DEMO_GALLERY": ""}).port == 81
    assert ServeOptions.read({}) == ServeOptions()


def test_mistakes_in_options_are_told_at_once_by_their_variable_or_option():
    environment = {"PORT": "abc", "PALM_DEMO_MCP": "maybe", "GRADIO_SERVER_NAME": " "}
    with pytest.raises(ArgumentError) as caught:
        ServeOptions.read(environment, engine="dask", replicas=0)
    assert str(caught.value).splitlines() == [
        "GRADIO_SERVER_NAME is ' '; write something",
        "PORT is 'abc'; give a whole number",
        "PALM_DEMO_MCP is 'maybe'; give true or false",
        "--engine is 'dask'; take local or ray",
        "--replicas is '0'; give a number above 0",
    ]
    with pytest.raises(ArgumentError, match="PORT is '65536'; give 1 to 65535"):
        ServeOptions.read({"PORT": "65536"})


def test_options_that_are_given_reach_what_reads_the_environment_later(monkeypatch):
    for name in ("PORT", "PALM_DEMO_PROFILE"):
        monkeypatch.setenv(name, "1")
    ServeOptions.apply(port=8000, profile=None)
    assert (ServeOptions.read().port, ServeOptions.read().profile) == (8000, "1")
