"""PaLM in the session: texts written and scored, with scopes and without."""

import random
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from palm_demo.errors import NotFiniteError, PromptError, SamplingError, ScopeError
from palm_demo.session import Session
from palm_demo.session.palm import PalmPart

STORY = "It was a dark night, and the old man"


def test_same_seed_gives_the_same_text_and_another_seed_another(session: Session):
    first, again, other = (session.generate(STORY, max_new_tokens=24, seed=seed) for seed in (1, 1, 2))
    assert first == again != other


def test_streamed_deltas_are_the_generated_text(session: Session):
    streamed = "".join(session.stream(STORY, max_new_tokens=24, seed=5))
    assert streamed == session.generate(STORY, max_new_tokens=24, seed=5)


def test_temperature_zero_is_greedy_whatever_the_seed(session: Session):
    texts = {session.generate(STORY, max_new_tokens=12, temperature=0, seed=seed) for seed in (1, 2)}
    assert len(texts) == 1


def test_a_trailing_space_in_the_prompt_changes_nothing_but_the_space(session: Session):
    plain = session.generate(STORY, max_new_tokens=12, temperature=0)
    assert session.generate(STORY + " ", max_new_tokens=12, temperature=0) == plain.lstrip(" ")
    whole = session.generate(STORY + " ", max_new_tokens=12, temperature=0, stop=" ")
    assert whole == plain.split()[0]  # the space that is left out ends nothing


def test_a_mix_is_used_as_it_was_when_it_was_asked_for(session: Session):
    prompt, mix = "Once upon a time there was a king. " * 12, {"carroll": 0.5}
    settings = {"max_new_tokens": 8, "temperature": 0}
    wanted = session.generate(prompt + "He", mix, **settings)
    deltas = session.stream(prompt, mix, **settings)
    mix["carroll"] = -4.0
    first = "".join(deltas)
    assert first == session.generate(prompt, {"carroll": 0.5}, **settings)
    assert session.generate(prompt + "He", {"carroll": 0.5}, **settings) == wanted


def test_a_stop_string_ends_the_text_before_it(session: Session):
    whole = session.generate(STORY, max_new_tokens=40, seed=3)
    word = whole.split()[4]
    cancelled = session.generate(STORY, max_new_tokens=40, seed=3, stop=[word])
    assert cancelled == whole[: whole.index(word)]


def test_a_cancelled_stream_ends(session: Session):
    cancelled = threading.Event()
    deltas = session.stream(STORY, max_new_tokens=100, seed=1, cancelled=cancelled)
    next(deltas)
    cancelled.set()
    assert len(list(deltas)) <= 1


def test_at_least_three_authors_have_scopes_that_write_otherwise(session: Session):
    assert len(session.scopes) >= 3
    texts = {
        session.generate(STORY, scope=scope, max_new_tokens=20, temperature=0)
        for scope in (None, *session.scopes)
    }
    assert len(texts) > 1


def test_a_scope_in_use_leaves_the_base_as_it_is(session: Session):
    before = session.generate(STORY, max_new_tokens=12, temperature=0)
    session.generate(STORY, scope=session.scopes[0], max_new_tokens=12, temperature=0)
    assert session.generate(STORY, max_new_tokens=12, temperature=0) == before


def test_english_is_likelier_than_the_same_letters_shuffled(session: Session):
    text = "The young lady went down to the garden, and her brother came to meet her at the gate."
    letters = list(text)
    random.Random(0).shuffle(letters)
    assert session.bits_per_byte(text) < 3 < session.bits_per_byte("".join(letters))


def test_bits_per_byte_takes_texts_longer_than_the_context(session: Session):
    text = "The king rode out, and all his men rode after him. " * 80
    assert 0 < session.bits_per_byte(text) < 2


def test_who_wrote_knows_verse_from_a_detective_story(session: Session):
    verse = (
        "KING.\nCome hither, gentle cousin; what ill news\nHath made thy cheek so pale? Speak, I command.\n\n"
        "CLIFFORD.\nMy gracious liege, the rebels are in arms,\nAnd every hour their multitude doth grow.\n"
    )
    story = (
        '"You will observe, my dear fellow," said he, knocking out his pipe, "that the mud upon his boot '
        'is dry. He came by the late train from town, and in a cab." I confessed that I had seen nothing.'
    )
    for text, author in ((verse, "shakespeare"), (story, "doyle")):
        found = session.who_wrote(text)
        assert list(found) == session.scopes
        assert sum(found.values()) == pytest.approx(1)
        assert max(found, key=found.get) == author


def test_who_wrote_needs_a_text_and_two_scopes(session: Session, monkeypatch):
    with pytest.raises(PromptError, match="empty"):
        session.who_wrote(" \n")
    monkeypatch.setattr(PalmPart, "scopes", ["doyle"])
    with pytest.raises(ScopeError, match=r"fewer than two scopes to tell apart \(1\); load two"):
        session.who_wrote("Once upon a time")


@pytest.mark.parametrize(
    ("arguments", "error", "said"),
    [
        ({"prompt": " "}, PromptError, "empty"),
        ({"prompt": "word " * 20_000}, PromptError, "shorten"),
        ({"prompt": STORY, "scope": "nobody"}, ScopeError, "nobody"),
        ({"prompt": STORY, "max_new_tokens": 0}, SamplingError, "max_new_tokens"),
        ({"prompt": STORY, "temperature": -1.0}, SamplingError, "temperature"),
        ({"prompt": STORY, "top_p": 1.5}, SamplingError, "top_p"),
        ({"prompt": STORY, "top_k": -3}, SamplingError, "top_k"),
    ],
)
def test_bad_requests_are_refused_before_the_first_delta(session: Session, arguments, error, said):
    with pytest.raises(error, match=said):
        session.stream(**arguments)


def test_ids_that_are_not_text_never_come_out(session: Session):
    text = session.generate(STORY, max_new_tokens=60, temperature=3.0, seed=9)
    assert not any(token in text for token in ("<pad>", "<bos>", "<media>"))


@pytest.mark.slow
@pytest.mark.parametrize("number", [1e6, 1e30, float("inf"), float("nan")], ids=str)
def test_a_visitor_with_an_absurd_scope_spoils_nobody_elses_texts(session: Session, number):
    """As on the page: others write before, beside and after."""
    absurd = session.palm.model.new_adapter(4)
    for weight in absurd.parameters():
        weight.data.fill_(number)
    scopes = [None, "doyle", "carroll", "shakespeare"]
    asked = list(zip(("It was a", "The captain", "Once upon a time", "O sir,"), scopes, strict=True))

    def write(prompt: str, scope) -> str:
        try:
            return session.generate(prompt, scope=scope, temperature=0, max_new_tokens=24)
        except NotFiniteError as error:
            return str(error)

    alone = [write(*one) for one in asked]
    mixed = [one for pair in zip(asked, [("And so", absurd)] * len(asked), strict=True) for one in pair]
    with ThreadPoolExecutor(len(mixed)) as visitors:
        together = list(visitors.map(lambda one: write(*one), mixed))
    assert together[::2] == alone
    assert [write(*one) for one in asked] == alone
    with ThreadPoolExecutor(len(asked)) as visitors:
        assert list(visitors.map(lambda one: write(*one), asked)) == alone
