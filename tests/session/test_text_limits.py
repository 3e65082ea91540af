"""No verb of a session begins with a text longer than it says: it is refused before it is even read."""

import inspect
from collections.abc import Callable
from itertools import count, repeat
from pathlib import Path
from typing import get_args, get_type_hints

import pytest
from PIL import Image

from palm_demo.arguments import AtMost
from palm_demo.errors import ArgumentError, GalleryError, PalmDemoError, PromptError
from palm_demo.gallery import Filters
from palm_demo.models import tokenizers
from palm_demo.session import Session
from palm_demo.text_limits import LONG_TEXT_BYTES, MOST_TEXTS, TEXT_BYTES, WORDS_BYTES, size_bytes

PICTURE = Image.new("RGB", (64, 48), "navy")
VERBS: dict[str, tuple[int, Callable[[Session, str], object]]] = {
    "stream": (TEXT_BYTES, lambda session, text: session.stream(text)),
    "generate": (TEXT_BYTES, lambda session, text: session.generate(text, max_new_tokens=1)),
    "stop": (TEXT_BYTES, lambda session, text: session.generate("Once", stop=[text])),
    "who_wrote": (TEXT_BYTES, lambda session, text: session.who_wrote(text)),
    "token_probabilities": (TEXT_BYTES, lambda session, text: session.token_probabilities(text)),
    "bits_per_byte": (LONG_TEXT_BYTES, lambda session, text: session.bits_per_byte(text)),
    "finetune": (LONG_TEXT_BYTES, lambda session, text: session.finetune(text, steps=1)),
    "stream_answer": (TEXT_BYTES, lambda session, text: session.stream_answer(text, [PICTURE])),
    "answer": (TEXT_BYTES, lambda session, text: session.answer(text, [PICTURE], max_new_tokens=1)),
    "answers": (TEXT_BYTES, lambda session, text: session.answers([text], [[PICTURE]], max_new_tokens=1)),
    "prompt_length": (TEXT_BYTES, lambda session, text: session.prompt_length(text)),
    "attention_maps": (TEXT_BYTES, lambda session, text: session.attention_maps(text, [PICTURE], "yes")),
    "answer of attention_maps": (
        TEXT_BYTES,
        lambda session, text: session.attention_maps("caption:", [PICTURE], text),
    ),
    "embed_texts": (TEXT_BYTES, lambda session, text: session.embed_texts([text])),
    "classify": (TEXT_BYTES, lambda session, text: session.classify(PICTURE, ["cat", text])),
    "similarity": (TEXT_BYTES, lambda session, text: session.similarity(text, [PICTURE])),
    "search": (WORDS_BYTES, lambda session, text: session.search(text)),
    "words of search": (WORDS_BYTES, lambda session, text: session.search("a cat", words=text)),
}
"""What takes a text, with the most bytes that it takes."""
UNITS = {
    "letters": "a",
    "spaces": " ",
    "combining marks": "\u0301",
    "families": "👩\u200d👩\u200d👧",
    "NULs": "\0",
}


@pytest.fixture
def handled(monkeypatch) -> list[int]:
    """Sizes of the texts that are normalized or tokenized. None may be longer than any verb takes."""
    sizes, replace_surrogates = [], tokenizers.replace_surrogates

    def counting(text: str) -> str:
        sizes.append(size_bytes(text))
        assert sizes[-1] <= LONG_TEXT_BYTES
        return replace_surrogates(text)

    monkeypatch.setattr(tokenizers, "replace_surrogates", counting)
    return sizes


@pytest.mark.parametrize("kind", [str, Path])
def test_paths_of_megabytes_are_refused_in_a_line(session, kind):
    path = kind("a" * 1_000_000)
    own = session.palm.model.scopes["carroll"]
    for use in (session.load_adapter, lambda path: session.save_adapter(own, path)):
        with pytest.raises(PalmDemoError, match="path has 1,000,000 bytes and at most 4,000 fit; shorten it"):
            use(path)


@pytest.mark.parametrize("unit", UNITS.values(), ids=UNITS)
@pytest.mark.parametrize(("most", "ask"), VERBS.values(), ids=VERBS)
def test_ten_megabytes_of_anything_are_refused_unread(session, handled, most, ask, unit):
    text = unit * (10_000_000 // size_bytes(unit))
    size = size_bytes(text)
    with pytest.raises(PromptError, match=rf"has {size:,} bytes and at most {most:,} fit; shorten it"):
        ask(session, text)
    assert handled == []


@pytest.mark.parametrize(("most", "ask"), VERBS.values(), ids=VERBS)
def test_one_byte_too_many_is_named_with_the_limit(session, handled, most, ask):
    with pytest.raises(PromptError, match=rf"has {most + 1:,} bytes and at most {most:,} fit"):
        ask(session, "é" * (most // 2) + "a")
    assert handled == []


@pytest.mark.parametrize(("most", "ask"), VERBS.values(), ids=VERBS)
def test_a_million_halves_of_surrogate_pairs_are_no_text(session, handled, most, ask):
    with pytest.raises(ArgumentError) as refused:
        ask(session, "\ud800" * 1_000_000)
    assert "; give " in str(refused.value) and len(str(refused.value)) < 300
    assert handled == []


AT_LENGTH = (
    "who_wrote",
    "token_probabilities",
    "bits_per_byte",
    "finetune",
    "prompt_length",
    "words of search",
)
"""Verbs that take whatever fits."""


@pytest.mark.parametrize("unit", ["\u0301", "👩\u200d👩\u200d👧", "a\0", "question: ", "xy"])
@pytest.mark.parametrize("name", [name for name in VERBS if name not in AT_LENGTH])
def test_what_just_fits_is_refused_after_it_was_read_a_few_times(session, handled, name, unit):
    most, ask = VERBS[name]
    with pytest.raises(PalmDemoError) as refused:
        ask(session, unit * (most // size_bytes(unit)))
    assert len(str(refused.value)) < 300
    assert sum(handled) <= 4 * most


@pytest.mark.parametrize("text", ["\0" * 30, "\u0301" * 30, "👩\u200d👩\u200d👧" * 3])
def test_odd_texts_within_the_limits_are_scored(session, text):
    assert session.bits_per_byte(text) > 0
    assert "".join(token.text for token in session.token_probabilities(text)) == text


def test_every_text_of_every_verb_has_a_limit():
    """Whatever takes a text by its annotation, the next verb's too."""
    unlimited = [
        f"{name}({argument})"
        for name, verb in inspect.getmembers(Session, inspect.isfunction)
        if not name.startswith("_")
        for argument, hint in get_type_hints(inspect.unwrap(verb), include_extras=True).items()
        if argument != "return"
        and _takes_text(hint)
        and not any(isinstance(one, AtMost) for one in _extras(hint))
    ]
    assert unlimited == []


def _extras(hint: object) -> tuple:
    return get_args(hint)[1:] if hasattr(hint, "__metadata__") else ()


def _takes_text(hint: object) -> bool:
    """Whether an argument is a text or a list of texts, and no path, picture or name of a scope."""
    words = [one.words for one in _extras(hint) if hasattr(one, "words")]
    return hint is str or any(word.startswith(("a text", "words")) for word in words)


def test_a_list_without_end_is_refused(session, handled):
    said = f"has more than {MOST_TEXTS:,} texts; give them in parts"
    for texts in (repeat("cat"), map(str, count())):
        with pytest.raises(PromptError, match=f"labels {said}"):
            session.classify(PICTURE, texts)
    with pytest.raises(PromptError, match=f"stop {said}"):
        session.generate("Once", stop=repeat("."))
    assert handled == []


def test_media_without_end_are_refused(session, handled):
    with pytest.raises(ArgumentError, match=r"images is repeat\(.*or a list of them, 100,000 at most"):
        session.captions(repeat(PICTURE))
    with pytest.raises(ArgumentError, match=r"media is .*100,000 at most"):
        session.answer("what is this?", (PICTURE for _ in count()))
    assert handled == []


def test_texts_that_are_too_long_only_together_are_refused(session, handled):
    texts = ["a" * TEXT_BYTES] * (LONG_TEXT_BYTES // TEXT_BYTES + 1)
    with pytest.raises(PromptError, match=r"texts has 5,200,000 bytes and at most 5,000,000 fit at once"):
        session.embed_texts(texts)
    assert handled == []


@pytest.mark.parametrize(
    "media",
    ["a", ["a" * 10_000_000], [b"a" * 10_000_000], [PICTURE]],
    ids=["text", "texts", "bytes", "picture"],
)
def test_media_that_are_no_list_for_each_prompt_are_not_counted_by_letters(session, handled, media):
    with pytest.raises(PromptError, match="give a list with a list of media for each prompt"):
        session.answers(["caption:"], media)
    assert handled == []


def test_more_media_than_any_context_are_refused_unread(session, handled):
    with pytest.raises(PromptError, match="100000 tokens"):
        session.answer("what is this?", ["none.png"] * 100_000)
    with pytest.raises(ArgumentError, match="100,000 at most"):
        session.answer("what is this?", ["none.png"] * 1_000_000)
    assert handled == []


def test_a_filter_keeps_to_the_limit_of_words():
    assert Filters("a" * WORDS_BYTES)
    with pytest.raises(GalleryError, match="contains has 4,001 bytes and at most 4,000 fit; shorten it"):
        Filters("a" * (WORDS_BYTES + 1))


def test_a_label_that_was_given_twice_is_found_in_one_walk(session):
    class Label(str):
        compared = 0

        def __eq__(self, other: object) -> bool:
            Label.compared += 1
            return super().__eq__(other)

        __hash__ = str.__hash__

        def strip(self, *chars) -> "Label":
            return self

    labels = [Label(number) for number in range(300)]
    with pytest.raises(PromptError, match="the label '299' was given twice"):
        session.classify(PICTURE, [*labels, Label(299)])
    assert Label.compared < 3 * len(labels)
