"""PaLM's verbs on the command line."""

from itertools import islice

import pytest

import palm_demo
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
    quick = ("--steps", 4, "--judge-steps", 1, "--rank", 2, "--batch", 1, "--window", 64)
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
    quick = ("--judge-steps", 1, "--rank", 2, "--batch", 1, "--window", 64)
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
    "scopes, said", [(["poe=much"], "'much' is no strength"), (["poe", "poe=0.5"], "names poe twice")]
)
def test_a_strength_that_is_none_is_explained(refused, scopes, said):
    options = [part for scope in scopes for part in ("--scope", scope)]
    assert said in refused("generate", "The night", *options)
