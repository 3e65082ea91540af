"""CLIP's words behind our tokenizer's interface."""

import random

import open_clip
import pytest

from palm_demo.models.tokenizers import ClipTokenizer

TEXTS = ["a photo of a cat", "it's 3 o'clock!!", "naïve café — 日本語 😀", "  two\n lines  ", ""]


@pytest.fixture(scope="module")
def words() -> ClipTokenizer:
    return ClipTokenizer()


@pytest.mark.parametrize("text", TEXTS)
def test_whole_texts_are_open_clips_without_its_padding(text, words):
    (row,) = words.encode_for_embedding([text])
    theirs = open_clip.tokenize(text)[0].tolist()
    assert row == theirs[: len(row)] and not any(theirs[len(row) :])
    assert row[0] == words.bos_id == 49406 and row[-1] == words.eos_id == 49407
    assert words.prefix_ids == [49406] and len(words) == 49408


@pytest.mark.parametrize("text", TEXTS)
def test_text_comes_back_cleaned_whole_or_in_deltas(text, words):
    ids = words.encode_for_embedding([text])[0]
    assert words.decode(ids).split() == words.words.decode(ids[1:-1]).split()
    assert "".join(words.decode_stream(ids)) == words.decode(ids)
    assert "\ufffd" not in words.decode(ids)


@pytest.mark.parametrize(
    "word", ["a" * 300, "abcdefghij" * 30, "naïve日本" * 20, "xqzt!!" * 40, "don'tcan't" * 9]
)
def test_long_words_are_joined_as_open_clip_joins_them(word, words):
    plain = open_clip.tokenizer.SimpleTokenizer()
    assert words.encode(f"see {word} here") == plain.encode(f"see {word} here")


def test_a_word_without_end_takes_no_time_without_end_and_nothing_is_kept_of_words(words):
    """open_clip's own joining would take minutes."""
    kept = dict(words.words.cache)
    word = "".join(random.Random(0).choices("abcdefghijklmnopqrstuvwxyz", k=100_000))
    assert words.decode(words.encode(word)).strip() == word
    for number in range(300):
        words.encode(f"{word[number : number + 20]} cat")
    assert words.words.cache == kept


def test_a_character_split_over_several_ids_waits_for_its_last(words):
    ids = words.encode("𓀀 cat")
    assert len(ids) > 2
    assert list(words.decode_stream(ids)) == ["𓀀 ", "cat "]
    assert list(words.decode_stream(ids[:1])) == ["\ufffd"]


@pytest.mark.parametrize("name", ["<start_of_text>", "<end_of_text>"])
def test_a_special_tokens_name_typed_in_a_text_is_text(name, words):
    ids = words.encode(f"see {name} here")
    assert not {words.bos_id, words.eos_id} & set(ids)
    assert words.decode(ids).replace(" ", "") == f"see{name}here"


def test_padding_and_the_beginning_never_come_out_of_a_model(words):
    assert set(words.suppress_ids()) == {0, words.bos_id}
