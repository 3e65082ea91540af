"""Typographic forms of a text count as its plain one, for everything that reads text."""

import pytest

from palm_demo.errors import PromptError
from palm_demo.models import tokenizers
from palm_demo.models.tokenizers import plain, strip_trailing_spaces

CURLY = (
    "“Have some wine,” the March Hare said in an encouraging tone.\n\nAlice looked all round the table, but "
    "there was nothing on it but tea. “I don’t see any wine,” she remarked.\n\n“There isn’t any,” said the "
    "March Hare—rather rudely…"
)
STRAIGHT = (
    '"Have some wine," the March Hare said in an encouraging tone.\n\nAlice looked all round the table, but '
    'there was nothing on it but tea. "I don\'t see any wine," she remarked.\n\n"There isn\'t any," said the '
    "March Hare--rather rudely..."
)


@pytest.mark.parametrize(
    "written, read",
    [
        ("“a” „b“ «c»", '"a" "b" "c"'),
        ("‘a’ don’t ‚b‛ 5′", "'a' don't 'b' 5'"),
        ("a—b―c", "a--b--c"),
        ("1914–1918, well‑known, −3", "1914-1918, well-known, -3"),
        ("so…", "so..."),
        ("a\u00a0b\u2009c\u202fd\u3000e", "a b c d e"),
        ("one\r\ntwo\rthree\u2028four", "one\ntwo\nthree\nfour"),
        ("soft\u00adhyphen zero\u200bwidth \ufeffmark", "softhyphen zerowidth mark"),
        ("cafe\u0301", "café"),
        ("ﬁne ﬂour", "fine flour"),
        ("👩\u200d👩\u200d👧 é ß 日本 £5 3°", "👩\u200d👩\u200d👧 é ß 日本 £5 3°"),
        ("half \ud800", "half ?"),
    ],
)
def test_a_form_is_read_as_its_plain_one(written, read):
    assert plain(written) == read
    assert plain(read) == read


def test_a_curly_text_is_read_and_scored_as_its_straight_form(session):
    assert plain(CURLY) == STRAIGHT
    tokenizer = session.palm.tokenizer
    assert tokenizer.encode(CURLY) == tokenizer.encode(STRAIGHT)
    assert session.bits_per_byte(CURLY) == session.bits_per_byte(STRAIGHT)
    assert session.bits_per_byte(CURLY) < 2.5
    assert session.who_wrote(CURLY) == session.who_wrote(STRAIGHT)


def test_the_token_view_shows_the_text_as_it_was_written(session):
    curly, straight = (session.token_probabilities(text) for text in (CURLY, STRAIGHT))
    assert "".join(token.text for token in curly) == CURLY
    assert [token.probability for token in curly] == [token.probability for token in straight]


def test_a_curly_beginning_goes_on_as_its_straight_form(session):
    settings = {"max_new_tokens": 12, "temperature": 0.0}
    assert session.generate(CURLY, **settings) == session.generate(STRAIGHT, **settings)


@pytest.mark.parametrize("end", [" ", "  ", "\u00a0", " \u2009\u200b", "\u3000\ufeff "])
def test_spaces_at_the_end_of_a_beginning_are_no_token(session, end):
    assert strip_trailing_spaces(f"It was{end}") == "It was"
    settings = {"max_new_tokens": 6, "temperature": 0.0}
    assert session.generate(f"It was{end}", **settings) == session.generate("It was ", **settings)
    assert strip_trailing_spaces(f"{end}\n") == f"{end}\n"


def test_each_kind_of_space_at_a_texts_end_is_looked_at_once(monkeypatch):
    asked = []
    monkeypatch.setattr(tokenizers, "plain", lambda text: asked.append(text) or plain(text))
    assert strip_trailing_spaces("It was" + " \u3000" * 100_000) == "It was"
    assert len(asked) <= 3


def test_a_word_is_searched_with_any_apostrophe(session):
    tokenizer = session.mammut.tokenizer
    assert tokenizer.encode_for_embedding(["a cat’s bowl"]) == tokenizer.encode_for_embedding(
        ["a cat's bowl"]
    )


@pytest.mark.parametrize("verb", ["bits_per_byte", "who_wrote", "token_probabilities", "generate"])
def test_a_text_of_nothing_that_is_seen_is_empty(session, verb):
    with pytest.raises(PromptError, match="empty"):
        getattr(session, verb)("\u200b\ufeff")
