"""From text and media to ids."""

import json
import subprocess
import sys

import pytest

from palm_demo.errors import PromptError
from palm_demo.inference.prompts import (
    OPENFLAMINGO,
    OURS,
    check_length,
    check_media_count,
    encode_interleaved,
)


def test_every_mark_becomes_the_media_token_and_the_rest_is_text(tokenizer):
    ids = encode_interleaved("<media>a cat.<media><media> And", tokenizer)
    media, cat, rest = tokenizer.media_id, tokenizer.encode("a cat."), tokenizer.encode(" And")
    assert ids == [media, *cat, media, media, *rest]


def test_text_without_marks_is_encoded_as_text(tokenizer):
    assert encode_interleaved("a cat", tokenizer) == tokenizer.encode("a cat")
    assert encode_interleaved("", tokenizer) == []


@pytest.mark.parametrize("text", ["<eos><bos><pad>", "< media >", "<MEDIA>", "<media"])
def test_nothing_else_becomes_a_special_token(text, tokenizer):
    ids = encode_interleaved(text, tokenizer)
    assert not {*tokenizer.suppress_ids(), tokenizer.eos_id} & set(ids)
    assert tokenizer.decode(ids) == text


@pytest.mark.parametrize("count", [0, 1, 3])
def test_as_many_media_as_marks_are_right(count):
    check_media_count("<media> what is this?" * count, count)


@pytest.mark.parametrize(
    ("marks", "media", "said"),
    [
        (2, 1, "has 2 <media> marks but 1 medium attached; attach 1 more"),
        (1, 0, "has 1 <media> mark but 0 media attached; attach 1 more"),
        (0, 2, "has 0 <media> marks but 2 media attached; add 2 more <media>"),
        (1, 2, "has 1 <media> mark but 2 media attached; add 1 more <media>"),
    ],
)
def test_a_mismatch_names_both_counts_and_the_remedy(marks, media, said):
    with pytest.raises(PromptError) as caught:
        check_media_count("<media> and " * marks, media)
    assert said in str(caught.value)


def test_what_fits_the_context_to_the_last_token_is_right():
    check_length(tokens=100, new_tokens=28, context=128)


def test_what_does_not_fit_is_refused_with_the_numbers_and_the_remedy():
    with pytest.raises(PromptError, match=r"100 tokens and 29 new .* reads 128 .* by 1 tokens"):
        check_length(tokens=100, new_tokens=29, context=128)


class Letters:
    """A tokenizer whose ids can be read."""

    media_id, eos_id = "<image>", "<end>"

    def encode(self, text: str) -> list[str]:
        return list(text)


@pytest.mark.parametrize(
    ("text", "pictures", "ids"),
    [
        ("ab", (), "ab"),
        ("<media> a", (), "<image>a"),
        ("<media> a <media> b", (1, 1), "<image>a<end><image>b"),
        ("<media> a<media>", (3, 1), "<image><end><image><end><image>a<end><image>"),
        ("<media> <media> a", (1, 2), "<image><image><end><image>a"),
        ("x <media> a", (), "x<image>a"),
    ],
)
def test_openflamingos_examples_end_before_the_next_picture(text, pictures, ids):
    assert "".join(OPENFLAMINGO.encode(text, Letters(), pictures)) == ids


def test_a_question_is_asked_in_the_form_that_was_learned():
    assert OURS.asked(" What is This? ") == "question: what is this? answer:"
    assert OPENFLAMINGO.asked(" What is This? ") == "Question:What is This? Short answer:"
    shown = "<media> question: how many? answer: two <media> caption:"
    assert OURS.worded(shown) == shown
    assert OPENFLAMINGO.worded(shown) == "<media> Question:how many? Short answer:two <media> Output:"
    assert OPENFLAMINGO.has("Output:") and not OPENFLAMINGO.has("caption: a cat")


@pytest.mark.parametrize(
    ("text", "completed"),
    [
        (
            "<media> question:  Is this a cat?  answer: yes <media> question: what's this? answer:",
            "<media> question: is there a cat? answer: yes <media> question: what is this? answer:",
        ),
        (
            "<media> question: a\nquestion: is it a cat?answer:",
            "<media> question: a\nquestion: is there a cat? answer:",
        ),
        ("<media> question: two\nlines answer: yes", "<media> question: two\nlines answer: yes"),
        ("<media> question: answer: yes", "<media> question: answer: yes"),
        ("<media> no question answer: yes", "<media> no question answer: yes"),
    ],
)
def test_what_stands_between_a_question_and_its_answer_gets_usual_words(text, completed):
    assert OURS.completed(text, text.count("<media>")) == completed


COMPLETES = """
import json, sys
from palm_demo.inference.prompts import OPENFLAMINGO, OURS
for form in OURS, OPENFLAMINGO:
    for shape in json.loads(sys.argv[1]):
        form.completed(form.worded(shape), 1)
"""
PATIENCE_SECONDS = 120
"""For what is over in a second: a pattern that tries all ways to share white space out takes hours."""


def test_a_prompt_of_any_shape_is_completed_in_one_walk():
    """In a process of its own, which can be ended."""
    shapes = [
        "question: " + " " * 16_000 + "x",
        "question: " * 1_600,
        "question: x " * 1_300,
        "answer:" * 2_000,
    ]
    command = [sys.executable, "-c", COMPLETES, json.dumps(shapes)]
    subprocess.run(command, check=True, timeout=PATIENCE_SECONDS)
