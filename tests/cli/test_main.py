"""What all verbs have in common: help without waiting, completion, how they end."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

import palm_demo
from palm_demo import commands
from palm_demo.cli import gallery, main
from palm_demo.errors import MediaError
from palm_demo.profiles import profile_names

HEAVY = {"torch", "open_clip", "transformers", "gradio", "lancedb", "pandas", "ray", "huggingface_hub"}
VERBS = [
    *([verb.__name__.replace("_", "-")] for verbs in main.PANELS.values() for verb in verbs),
    *(["gallery", command.callback.__name__] for command in gallery.app.registered_commands),
]
HELP = """
import sys
from typer.testing import CliRunner
from palm_demo.cli.main import app
for words in {verbs!r}:
    ended = CliRunner().invoke(app, [*words, "--help"])
    assert ended.exit_code == 0 and "Usage" in ended.stdout, (words, ended.output)
print(*sorted({heavy!r} & sys.modules.keys()))
"""
SAY = """
from palm_demo import commands
app = commands.new_app("A program.")
@app.command()
def say() -> None:
    print({said})
@app.command()
def be_silent() -> None: ...
commands.run(app)
"""


def in_a_process(code: str, *words: str, **environment: str) -> subprocess.CompletedProcess:
    command = [sys.executable, "-c", code, *words]
    return subprocess.run(command, capture_output=True, encoding="utf-8", env=os.environ | environment)


def test_help_of_every_level_imports_nothing_heavy():
    """Imports are what help would wait for."""
    ended = in_a_process(HELP.format(verbs=[[], ["gallery"], *VERBS], heavy=HEAVY))
    assert (ended.returncode, ended.stdout.strip()) == (0, ""), ended.stderr


def test_every_verb_is_listed_and_says_what_it_does():
    told = CliRunner().invoke(main.app, ["--help"], env={"COLUMNS": "200"}).stdout
    for verbs in main.PANELS.values():
        for verb in verbs:
            name, sentence = verb.__name__.replace("_", "-"), verb.__doc__.splitlines()[0]
            assert f" {name} " in told and sentence in told
    assert " gallery " in told


def test_the_help_of_profile_names_them():
    told = CliRunner().invoke(main.app, ["scopes", "--help"], env={"COLUMNS": "200"}).stdout
    assert all(name in told for name in profile_names())


def test_the_version_is_the_packages():
    told = CliRunner().invoke(main.app, ["--version"]).stdout
    assert told == f"palm-demo {palm_demo.__version__}\n"


def test_a_shell_completes_verbs_and_profiles():
    code = "import sys; sys.argv[0] = 'palm-demo'; from palm_demo.cli.main import main; main()"
    asked = {"_PALM_DEMO_COMPLETE": "complete_bash", "COMP_CWORD": "1", "COMP_WORDS": "palm-demo cap"}
    assert in_a_process(code, **asked).stdout.split() == ["caption"]
    asked |= {"COMP_CWORD": "3", "COMP_WORDS": "palm-demo scopes --profile "}
    assert {*profile_names()} <= {*in_a_process(code, **asked).stdout.split()}


def failing(error: BaseException) -> typer.Typer:
    app = commands.new_app("A program.")

    @app.command()
    def fail() -> None:
        raise error

    @app.command()
    def be_silent() -> None: ...

    return app


@pytest.mark.parametrize(
    ("error", "status", "said"),
    [
        (MediaError("not a picture; choose another"), 2, "error: not a picture; choose another\n"),
        (KeyboardInterrupt(), 130, "stopped; what was done is kept\n"),
    ],
)
def test_an_end_that_is_no_fault_of_ours_is_one_line(error, status, said):
    ended = CliRunner().invoke(failing(error), ["fail"])
    assert (ended.exit_code, ended.stdout, ended.stderr) == (status, "", said)


def test_a_fault_of_ours_keeps_its_traceback():
    with pytest.raises(ZeroDivisionError):
        CliRunner().invoke(failing(ZeroDivisionError()), ["fail"], catch_exceptions=False)


def test_letters_that_a_terminal_lacks_are_escaped():
    ended = in_a_process(SAY.format(said="'to → 猫'"), "say", PYTHONIOENCODING="ascii")
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "to \\u2192 \\u732b\n", "")


@pytest.mark.skipif(os.name == "nt", reason="needs a POSIX shell")
def test_a_reader_that_goes_away_is_no_fault(tmp_path):
    script = tmp_path / "say.py"
    script.write_text(SAY.format(said="*range(100_000), sep='\\n'"))
    ended = subprocess.run(
        ["sh", "-c", f"'{sys.executable}' '{script}' say | head -n 1"],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": str(Path(palm_demo.__file__).parents[1])},
    )
    assert (ended.stdout, ended.stderr) == ("0\n", "")
