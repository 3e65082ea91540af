"""Commands run here and now, on the session that other tests share."""

import json
from collections.abc import Callable

import pytest
from typer.testing import CliRunner, Result

import palm_demo
from palm_demo.cli.main import app
from palm_demo.commands import REFUSED


@pytest.fixture
def invoke(session, monkeypatch) -> Callable[..., Result]:
    """A command's status and what it says."""
    monkeypatch.setattr(palm_demo, "load", lambda *arguments, **settings: session)

    def command(*words: object, input: str | bytes | None = None) -> Result:
        return CliRunner().invoke(app, [str(word) for word in words], input=input, catch_exceptions=False)

    return command


@pytest.fixture
def run(invoke) -> Callable[..., str]:
    """What a command prints that does all of its work."""

    def command(*words: object, input: str | bytes | None = None) -> str:
        ended = invoke(*words, input=input)
        assert ended.exit_code == 0, ended.output
        return ended.stdout

    return command


@pytest.fixture
def run_json(run) -> Callable:
    """The one JSON document that it prints with `--json`."""
    return lambda *words: json.loads(run(*words, "--json"))


@pytest.fixture
def refused(invoke) -> Callable[..., str]:
    """The one line that a command says on stderr when it ends with status 2."""

    def command(*words: object) -> str:
        ended = invoke(*words)
        assert ended.exit_code == REFUSED, ended.output
        assert ended.stdout == "" and ended.stderr.count("\n") == 1
        assert ended.stderr.startswith("error: ")
        return ended.stderr

    return command
