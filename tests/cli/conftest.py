"""Commands run here and now, on the session that other tests share."""

import json
from collections.abc import Callable

import pytest

import palm_demo
from palm_demo.cli.main import main


@pytest.fixture
def run(session, monkeypatch, capsys) -> Callable[..., str]:
    """What a command prints."""
    monkeypatch.setattr(palm_demo, "load", lambda *arguments, **settings: session)

    def command(*words: object) -> str:
        assert main([str(word) for word in words]) == 0, capsys.readouterr().err
        return capsys.readouterr().out

    return command


@pytest.fixture
def run_json(run) -> Callable:
    """The same as the one JSON document that `--json` prints."""
    return lambda *words: json.loads(run(*words, "--json"))


@pytest.fixture
def refused(run, capsys) -> Callable[..., str]:
    """The one line that a command says on stderr when it ends with status 2."""

    def command(*words: object) -> str:
        assert main([str(word) for word in words]) == 2
        said = capsys.readouterr()
        assert said.out == "" and said.err.count("\n") == 1
        return said.err

    return command
