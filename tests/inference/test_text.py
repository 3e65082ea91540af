"""Ids into text as they come."""

import random

import pytest
import torch

from palm_demo.errors import PromptError
from palm_demo.inference.decoding import generate_ids, text_deltas

STORY = "The cat sat on the mat. The dog, a big one, sat beside it; 'twas naïve 😀👩\u200d🚀 indeed."


def said(text: str, tokenizer, *stop: str) -> list[str]:
    return list(text_deltas(tokenizer.encode(text), tokenizer, stop))


def letters(text: str, tokenizer) -> list[int]:
    """Ids of a text one character at a time, so that any string is split over several."""
    return [i for letter in text for i in tokenizer.encode(letter)]


def test_deltas_together_are_the_text(tokenizer):
    deltas = said(STORY, tokenizer)
    assert "".join(deltas) == STORY
    assert len(deltas) > 20 and all(deltas)


@pytest.mark.parametrize(
    ("dropped", "stop", "wanted"),
    [(" ", (), "\n\nDown it"), (" ", (" ",), "\n\nDown"), (" \n", ("\n",), "Down it"), ("", (" ",), "")],
)
def test_what_is_left_out_at_the_beginning_ends_nothing(dropped, stop, wanted, tokenizer):
    deltas = [*text_deltas(letters("  \n\nDown it", tokenizer), tokenizer, stop, dropped)]
    assert "".join(deltas) == wanted and all(deltas)


@pytest.mark.parametrize("stop", [".", "mat", " sat on", "cat sat on the m", "😀", "The"])
def test_text_ends_before_the_first_stop_string(stop, tokenizer):
    assert "".join(said(STORY, tokenizer, stop)) == STORY[: STORY.index(stop)]


@pytest.mark.parametrize("stop", ["\n\nQ:", "sat on the mat", "aab", "abab"])
def test_a_stop_string_split_over_many_ids_is_found(stop, tokenizer):
    for before in ("", "x", "aa", "aba", "sat on sat ", "\n\n"):
        text = before + stop
        deltas = text_deltas(letters(text + " and so on", tokenizer), tokenizer, [stop])
        assert "".join(deltas) == text[: text.index(stop)]


def test_nothing_of_a_stop_string_is_given_out_while_it_may_still_come(tokenizer):
    given = ""
    for delta in text_deltas(letters("one STOP two", tokenizer), tokenizer, ["STOP"]):
        given += delta
        assert "S" not in given
    assert given == "one "


def test_the_earliest_of_several_stop_strings_ends_the_text(tokenizer):
    assert "".join(said(STORY, tokenizer, "dog", "mat", "sat beside")) == "The cat sat on the "
    assert said(STORY, tokenizer, "e", "h") == ["T"]
    assert said(STORY, tokenizer, "e", "The") == []


def test_held_back_text_is_released_when_the_stop_string_does_not_come(tokenizer):
    ids = letters("one STO two ST", tokenizer)
    assert "".join(text_deltas(ids, tokenizer, ["STOP"])) == "one STO two ST"


def test_held_back_text_is_released_as_soon_as_it_is_known_to_be_harmless(tokenizer):
    stream = text_deltas(letters("aSTx" + "b" * 50, tokenizer), tokenizer, ["STOP"])
    given = ""
    while "x" not in given:
        given += next(stream)
    assert given == "aSTx"


def test_an_empty_stop_string_stops_nothing(tokenizer):
    assert "".join(said(STORY, tokenizer, "")) == STORY


def test_a_stop_string_at_once_gives_nothing(tokenizer):
    assert said("STOP here", tokenizer, "STOP") == []


def test_ids_after_the_stop_string_are_not_asked_for(tokenizer):
    ids = iter(tokenizer.encode("one two three four five six"))
    assert "".join(text_deltas(ids, tokenizer, [" two"])) == "one"
    assert len(list(ids)) >= 3


@pytest.mark.parametrize("character", ["é", "日", "🦧", "👩\u200d🚀"])
def test_a_character_split_over_ids_comes_out_whole(character, tokenizer):
    ids = tokenizer.encode(character)
    deltas = list(text_deltas(ids, tokenizer))
    assert "".join(deltas) == character
    assert not any("\ufffd" in delta for delta in deltas)


def test_the_real_tokenizer_does_split_characters(tokenizer):
    assert len(tokenizer.encode("🦧")) > 1


def test_ids_that_are_no_text_break_nothing(tokenizer):
    rng = random.Random(0)
    for _ in range(200):
        ids = [rng.randrange(len(tokenizer)) for _ in range(12)]
        text = "".join(text_deltas(ids, tokenizer, ["never this"]))
        assert tokenizer.decode(ids).rstrip("\ufffd") == text.rstrip("\ufffd")


@pytest.mark.parametrize("shape", [(1, 0), (0, 3), (3,)], ids=str)
def test_ids_are_generated_after_one_prompt_or_more_of_one_id_or_more(shape, new_palm):
    with pytest.raises(PromptError, match="give"):
        generate_ids(new_palm(), torch.zeros(shape, dtype=torch.long), 3)
