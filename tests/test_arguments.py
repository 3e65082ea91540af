"""What a caller may pass to a session's verbs, and that everything else is refused with a remedy."""

import inspect
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

import palm_demo
from palm_demo.arguments import bind, checked
from palm_demo.errors import (
    ArgumentError,
    CheckpointError,
    FinetuningError,
    PalmDemoError,
    PromptError,
    SamplingError,
    ScopeError,
)
from palm_demo.session import Session

PICTURE = Image.new("RGB", (64, 48), "navy")
LONE = "a cat \ud800"
VERBS = sorted(
    name
    for name, verb in inspect.getmembers(Session, inspect.isfunction)
    if not name.startswith("_") and name not in ("close",)
)
NEEDED = {
    "answer": {"prompt": "<media> caption:", "media": PICTURE},
    "answers": {"prompts": "caption:", "media": [[]]},
    "bits_per_byte": {"text": "a cat"},
    "caption": {"image": PICTURE},
    "caption_alternatives": {"image": PICTURE},
    "captions": {"images": [PICTURE]},
    "classify": {"image": PICTURE, "labels": ["cat", "dog"]},
    "describe": {"image": PICTURE},
    "embed_and_caption": {"images": [PICTURE]},
    "embed_images": {"images": [PICTURE]},
    "embed_texts": {"texts": ["a cat"]},
    "generate": {"prompt": "Once"},
    "load_adapter": {"path": "none.safetensors"},
    "attention_maps": {"prompt": "<media> caption:", "media": [PICTURE], "answer": "a cat"},
    "opened": {"media": [PICTURE]},
    "opened_image": {"image": PICTURE},
    "prompt_length": {"prompt": "Once"},
    "search": {"query": "a cat"},
    "encode_image": {"image": PICTURE},
    "ood_score": {"medium": PICTURE},
    "similarity": {"texts": ["a cat"], "images": [PICTURE]},
    "stream": {"prompt": "Once"},
    "stream_answer": {"prompt": "<media> caption:", "media": [PICTURE]},
    "finetune": {"text": "too short"},
    "token_probabilities": {"text": "a cat"},
    "who_wrote": {"text": "a cat"},
}
"""Arguments with which a verb runs, or says what is missing."""

SHORT = {"max_new_tokens": 2, "steps": 1}

JUNK = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.integers(-3, 3),
    st.floats(allow_nan=True, allow_infinity=True),
    st.text(st.characters(codec=None), max_size=8),
    st.sampled_from([LONE, "\x00", "", " ", b"bytes", {}, {"a": 1}, object(), len, 2**70, -1, "<media>" * 3]),
    st.lists(st.sampled_from(["cat", "", 3, None, LONE, PICTURE]), max_size=3),
    st.sampled_from([np.float32(3.5), np.int64(2), PICTURE, SimpleNamespace()]),
)


@pytest.fixture(scope="module")
def session():
    session = palm_demo.load()
    yield session
    session.close()


def run(session: Session, name: str, arguments: dict) -> object:
    result = getattr(session, name)(**arguments)
    return [*result] if inspect.isgenerator(result) or hasattr(result, "__next__") else result


def test_every_public_verb_of_a_session_checks_its_arguments():
    assert [name for name in VERBS if not hasattr(getattr(Session, name), "checks_arguments")] == []
    assert set(VERBS) - set(NEEDED) == {"save_adapter"}


@pytest.mark.parametrize("name", NEEDED)
@settings(
    max_examples=25, deadline=None, derandomize=True, suppress_health_check=[*HealthCheck], database=None
)
@given(data=st.data())
@pytest.mark.slow
def test_a_verb_answers_or_raises_a_palm_demo_error_whatever_it_is_given(session, name, data):
    parameters = [p for p in inspect.signature(getattr(Session, name)).parameters if p not in ("self",)]
    short = {key: value for key, value in SHORT.items() if key in parameters}
    spoiled = data.draw(st.sampled_from(parameters))
    arguments = NEEDED[name] | short | {spoiled: data.draw(JUNK)}
    try:
        run(session, name, arguments)
    except PalmDemoError as error:
        assert str(error).strip()


@pytest.mark.parametrize("name", NEEDED)
def test_a_misspelt_setting_is_named_with_what_there_is(session, name):
    with pytest.raises(ArgumentError, match=rf"{name} takes no 'max_tokns'.*It takes"):
        run(session, name, NEEDED[name] | {"max_tokns": 3})


@pytest.mark.parametrize("cancelled", [True, 1, "now", object()])
@pytest.mark.parametrize("name", ["generate", "stream", "answer", "stream_answer", "finetune"])
def test_what_ends_a_text_is_an_event(session, name, cancelled):
    with pytest.raises(ArgumentError, match=r"cancelled is .*; give a threading\.Event, or None"):
        run(session, name, NEEDED[name] | {"cancelled": cancelled})


@pytest.mark.parametrize("adapter", ["carroll", None, {"carroll": 1.0}])
def test_what_is_saved_is_an_adapter(session, adapter, tmp_path):
    with pytest.raises(ArgumentError, match="give an adapter of `load_adapter` or `finetune`"):
        session.save_adapter(adapter, tmp_path / "a.safetensors")


@pytest.mark.parametrize("name", ["", "a\0b", "folder", "file/inside", "a" * 300])
def test_a_file_that_cannot_be_written_is_told_with_its_name(session, name, tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_text("")
    path = str(tmp_path / name) if name else ""
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(CheckpointError, match=r"cannot be written to .*name a file in a folder"):
        session.save_adapter(session.palm.model.scopes["carroll"], path)
    assert sorted(tmp_path.rglob("*")) == before


def test_an_adapter_of_another_model_is_not_saved_as_one_of_this(session, new_palm, tmp_path):
    with pytest.raises(ScopeError, match="fine-tune it here again"):
        session.save_adapter(new_palm().new_adapter(2), tmp_path / "a.safetensors")
    assert not [*tmp_path.iterdir()]


def test_the_nearest_setting_is_suggested(session):
    with pytest.raises(ArgumentError, match="did you mean temperature"):
        session.generate("Once", temprature=0.5)


def test_a_missing_argument_is_named(session):
    with pytest.raises(ArgumentError, match=r"generate.*'prompt'"):
        session.generate()


def test_an_ide_is_shown_every_setting():
    for name in ("generate", "stream", "answer", "stream_answer", "finetune"):
        kinds = {p.kind for p in inspect.signature(getattr(Session, name)).parameters.values()}
        assert inspect.Parameter.VAR_KEYWORD not in kinds
        assert "seed" in inspect.signature(getattr(Session, name)).parameters


def test_one_text_counts_as_a_list_of_one(session):
    assert np.allclose(session.embed_texts("cat"), session.embed_texts(["cat"]))
    assert session.classify(PICTURE, "cat") == session.classify(PICTURE, ["cat"])
    plain = session.generate("Once upon a time", max_new_tokens=24, temperature=0)
    assert "e" in plain
    stopped = session.generate("Once upon a time", max_new_tokens=24, temperature=0, stop=plain[6:12])
    assert stopped == plain[: plain.index(plain[6:12])]


def test_an_answer_is_one_of_the_choices_whatever_it_would_be(session):
    asked = "<media> what is this?"
    for seed in range(3):
        said = session.answer(asked, PICTURE, choices=("wuggle", "old florp"), temperature=2, seed=seed)
        assert said in ("wuggle", "old florp")
    free = session.answer(asked, PICTURE)
    assert session.answer(asked, PICTURE, choices=["a wuggle", free], stop="a") == free
    with pytest.raises(SamplingError, match=r"the choice 'wuggle' has \d+ tokens and max_new_tokens is 1"):
        session.answer(asked, PICTURE, choices="wuggle", max_new_tokens=1)


def test_one_picture_counts_as_a_list_of_one(session):
    assert session.answer("<media> caption:", PICTURE) == session.answer("<media> caption:", [PICTURE])
    assert np.allclose(session.embed_images(PICTURE), session.embed_images([PICTURE]))


def test_numbers_of_numpy_are_numbers(session):
    wanted = session.generate("Once", max_new_tokens=3, temperature=0.5, seed=2)
    given = {"max_new_tokens": np.int64(3), "temperature": np.float32(0.5), "seed": np.uint8(2)}
    assert session.generate("Once", **given) == wanted


@pytest.mark.parametrize("text", [LONE, b"Once", 5, None, ["Once"]])
def test_what_is_no_text_is_refused_by_name(session, text):
    with pytest.raises(ArgumentError, match=r"prompt is .*; give a text"):
        session.generate(text)
    with pytest.raises(ArgumentError, match=r"text is .*; give a text"):
        session.bits_per_byte(text)


@pytest.mark.parametrize("texts", [np.array(5), torch.tensor(5.0)], ids=["numpy", "torch"])
def test_an_array_of_one_number_is_no_list_of_texts(session, texts):
    with pytest.raises(ArgumentError, match=r"texts is .*; give a text"):
        session.embed_texts(texts)


@pytest.mark.parametrize(
    "name, value", [("seed", 2**70), ("seed", -1), ("seed", True), ("top_p", "0.9"), ("max_new_tokens", 0)]
)
def test_settings_outside_their_range_name_value_and_range(session, name, value):
    with pytest.raises((SamplingError, ArgumentError), match=name):
        session.generate("Once", **{name: value})


@pytest.mark.parametrize(
    "name, value",
    [("seed", 2**70), ("seconds", float("nan")), ("learning_rate", "fast"), ("patience", 0), ("rank", True)],
)
def test_settings_of_a_teaching_outside_their_range_are_refused_at_once(session, name, value):
    with pytest.raises((FinetuningError, ArgumentError), match=name):
        session.finetune("A text. " * 2000, **{name: value})


@pytest.mark.slow
def test_a_text_whose_end_is_white_space_is_taught(session):
    progress = session.finetune("The cat sat on the mat, and slept. " * 400 + " " * 4000, steps=1)
    assert [step.step for step in progress] == [0, 1]


@pytest.mark.parametrize("number", [10**400, -(10**400), 10**5000], ids=["large", "small", "unwritable"])
def test_a_number_of_absurdly_many_digits_is_refused_by_name(session, number):
    said = "is a number of more than 100 digits"
    for ask in (
        lambda: session.search("a cat", k=number),
        lambda: session.describe(PICTURE, count=number),
        lambda: session.generate("Once", max_new_tokens=number),
        lambda: session.generate("Once", temperature=number),
        lambda: session.generate("Once", scope={"doyle": number}),
        lambda: session.finetune("A text.", rank=number),
    ):
        with pytest.raises(PalmDemoError, match=said):
            ask()


def test_captions_keep_to_the_context_as_one_caption_does(session):
    for ask in (session.caption, lambda image, count: session.captions([image], count)):
        with pytest.raises(PromptError, match="reads"):
            ask(PICTURE, 5000)


def test_a_bound_call_has_each_argument_as_its_annotation_wants_it():
    @checked
    def verb(first, second=2):
        return first, second

    assert verb(1) == (1, 2)
    assert bind(verb, (5,), {"second": 7}).arguments == {"first": 5, "second": 7}
    with pytest.raises(ArgumentError, match="verb takes no 'third'"):
        verb(1, third=3)
