"""PaLM's verbs on the command line."""

import io
import json
import os
import subprocess
import sys
from itertools import islice
from pathlib import Path
from types import SimpleNamespace

import pytest

import palm_demo
from palm_demo.cli.output import read_text, show
from palm_demo.errors import PromptError
from palm_demo.session import load

TEXT = "It was a dark night, and the old man went down to the sea."
GREEDY = {"max_new_tokens": 8, "temperature": 0.0}
OPTIONS = ("--max-new-tokens", 8, "--temperature", 0)


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "text.txt"
    path.write_text(TEXT, encoding="utf-8")
    return path


def test_generate_prints_the_prompt_and_what_follows(run, run_json, session):
    scope = session.scopes[0]
    assert (
        run("generate", "The night", *OPTIONS) == "The night" + session.generate("The night", **GREEDY) + "\n"
    )
    found = run_json("generate", "The night", *OPTIONS, "--scope", scope)
    text = session.generate("The night", scope, **GREEDY)
    assert found == {"prompt": "The night", "scope": scope, "text": text}


@pytest.mark.parametrize("mark", ["", "\ufeff"], ids=["plain", "with a byte order mark"])
def test_a_prompt_comes_from_standard_input(run, session, mark):
    told = run("generate", "-", *OPTIONS, input=f"{mark}The night\n".encode())
    assert told == "The night" + session.generate("The night", **GREEDY) + "\n"


def test_a_text_from_standard_input_that_is_no_utf8_is_refused(invoke):
    ended = invoke("who-wrote", "-", input=b"caf\xe9")
    assert ended.exit_code == 2 and "cannot be read as a text in UTF-8" in ended.stderr


def test_a_text_without_end_is_refused_by_its_beginning(monkeypatch):
    class Endless(io.RawIOBase):
        given = 0

        def readable(self) -> bool:
            return True

        def readinto(self, buffer) -> int:
            self.given += len(buffer)
            assert self.given < 6_000_000
            buffer[:] = bytes(len(buffer))
            return len(buffer)

    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BufferedReader(Endless())))
    with pytest.raises(
        PromptError, match="- has more than 5,000,000 bytes, which is the most that fit; give"
    ):
        read_text(Path("-"))


def test_a_file_that_is_too_long_for_its_verb_is_refused_with_the_limit(refused, tmp_path):
    (tmp_path / "book.txt").write_text("a" * 200_001, encoding="utf-8")
    for verb in ("who-wrote", "tokens"):
        said = refused(verb, tmp_path / "book.txt")
        assert "text has 200,001 bytes and at most 200,000 fit; shorten it" in said


def ended_with(output, *words: object) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "palm_demo", *map(str, words)]
    return subprocess.run(command, stdout=output, stderr=subprocess.PIPE, text=True)


def test_whoever_reads_no_further_ends_a_command_without_a_word(tmp_path):
    reading, writing = os.pipe()
    os.close(reading)
    ended = ended_with(writing, "samples", tmp_path)
    os.close(writing)
    assert (ended.returncode, ended.stderr) == (1, "")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
def test_output_that_cannot_be_written_is_one_line(tmp_path):
    with open("/dev/full", "w") as full:
        ended = ended_with(full, "samples", tmp_path)
    assert ended.returncode == 2 and ended.stderr.startswith("error: No space left on device; make room")
    assert ended.stderr.count("\n") == 1


def test_json_for_a_terminal_without_all_letters_stays_json(monkeypatch):
    printed = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(printed, encoding="cp1252", write_through=True))
    show(True, {"text": "snow \u2603"}, [])
    assert json.loads(printed.getvalue()) == {"text": "snow \u2603"}


def test_bits_per_byte_and_who_wrote_are_the_sessions(run, run_json, session, file):
    assert run_json("bits-per-byte", file)["bits_per_byte"] == pytest.approx(session.bits_per_byte(TEXT))
    chances = session.who_wrote(TEXT)
    assert run_json("who-wrote", file) == pytest.approx(chances)
    assert run("who-wrote", file).splitlines()[0].endswith(max(chances, key=chances.get))


def test_tokens_come_with_alternatives(run, run_json, file):
    tokens = run_json("tokens", file)
    assert "".join(token["text"] for token in tokens) == TEXT
    assert all(len(token["alternatives"]) == 5 for token in tokens)
    assert len(run("tokens", file).splitlines()) == len(tokens)


def test_scopes_are_listed(run, run_json, session):
    assert run_json("scopes") == session.scopes
    assert run("scopes").split() == session.scopes


def test_a_scope_is_taught_and_used_by_its_file(run_json, session, tmp_path):
    lesson, out = tmp_path / "lesson.txt", tmp_path / "cats.safetensors"
    lesson.write_text("The little cat sat on the mat, and the old dog lay by the door. " * 150)
    quick = ("--steps", 4, "--eval-steps", 1, "--rank", 2, "--batch", 1, "--window", 64)
    taught = run_json("finetune", lesson, "--out", out, *quick)
    assert taught["bits_per_byte"] < taught["base"] and taught["steps"] == 4
    written = run_json("generate", "The little", *OPTIONS, "--scope", out)["text"]
    assert written == session.generate("The little", session.load_adapter(out), **GREEDY)


def test_ctrl_c_ends_a_teaching_and_keeps_the_best(run_json, session, tmp_path, monkeypatch, file):
    real = session.finetune

    def interrupted(text, **settings):
        yield from islice(real("The cat sat on the mat. " * 300, **settings), 3)
        raise KeyboardInterrupt

    monkeypatch.setattr(session, "finetune", interrupted)
    quick = ("--eval-steps", 1, "--rank", 2, "--batch", 1, "--window", 64)
    assert run_json("finetune", file, "--out", tmp_path / "cats.safetensors", *quick)["steps"] == 2
    assert session.load_adapter(tmp_path / "cats.safetensors").rank == 2


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("generate", " "), "the prompt is empty"),
        (("generate", "x", "--scope", "nobody"), "no scope 'nobody'"),
        (("generate", "x", "--scope", "gone.safetensors"), "no weights file at gone.safetensors"),
        (("generate", "x", "--temperature", -1), "temperature is -1"),
        (("who-wrote", "gone.txt"), "gone.txt cannot be read"),
        (("finetune", "gone.txt", "--out", "x.pt"), "x.pt does not end in .safetensors"),
    ],
)
def test_a_mistake_is_one_line_and_status_2(refused, words, said):
    assert said in refused(*words)


def test_where_a_scope_cannot_be_written_nothing_is_taught(refused, file, tmp_path, monkeypatch):
    monkeypatch.setattr(palm_demo, "load", lambda *_, **__: pytest.fail("weights were loaded"))
    (tmp_path / "folder.safetensors").mkdir()
    for out in (tmp_path / "nowhere" / "cats.safetensors", tmp_path / "folder.safetensors"):
        assert f"{out} cannot be written" in refused("finetune", file, "--out", out)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["folder.safetensors", "text.txt"]


def test_too_short_a_lesson_is_refused_and_nothing_written(refused, file, tmp_path):
    assert "1,000 are needed" in refused("finetune", file, "--out", tmp_path / "x.safetensors")
    assert not (tmp_path / "x.safetensors").exists()


def test_a_profile_is_named_by_an_option_or_else_by_the_environment(run, session, monkeypatch):
    asked = []
    monkeypatch.setattr(palm_demo, "load", lambda profile, **_: asked.append(profile) or session)
    run("scopes", "--profile", "hub,palm=1b")
    monkeypatch.setenv("PALM_DEMO_PROFILE", "mine.yaml")
    run("scopes")
    monkeypatch.delenv("PALM_DEMO_PROFILE")
    run("scopes")
    assert asked == ["hub,palm=1b", "mine.yaml", "tiny"]


def test_a_profile_that_is_none_is_told_in_one_line(invoke, monkeypatch):
    monkeypatch.setattr(palm_demo, "load", load)
    ended = invoke("scopes", "--profile", "nowhere.yaml")
    assert ended.exit_code == 2
    assert ended.stderr.startswith("error: there is no profile 'nowhere.yaml'; take tiny, hub")


def test_scopes_are_mixed_with_their_strengths(run_json, session):
    one, other = session.scopes[:2]
    mix = {one: 0.7, other: -0.5}
    found = run_json("generate", "The night", *OPTIONS, "--scope", f"{one}=0.7", "--scope", f"{other}=-0.5")
    assert found == {
        "prompt": "The night",
        "scope": mix,
        "text": session.generate("The night", mix, **GREEDY),
    }
    alone = run_json("generate", "The night", *OPTIONS, "--scope", f"{one}=1")
    assert alone["scope"] == one and alone["text"] == session.generate("The night", one, **GREEDY)


@pytest.mark.parametrize(
    "scopes, said",
    [
        (["rate=3e-4.safetensors"], "no weights file at rate=3e-4.safetensors"),
        (["poe=much"], "'much' is not a strength"),
        (["poe", "poe=0.5"], "names poe twice"),
    ],
)
def test_a_strength_that_is_none_is_explained(refused, scopes, said):
    options = [part for scope in scopes for part in ("--scope", scope)]
    assert said in refused("generate", "The night", *options)
