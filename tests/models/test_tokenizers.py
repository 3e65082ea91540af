"""Text to ids and back."""

import random

import pytest
import tokenizers

from palm_demo import world
from palm_demo.errors import CheckpointError
from palm_demo.inference.prompts import encode_interleaved
from palm_demo.models.tokenizers import (
    SPECIAL_TOKENS,
    BundledTokenizer,
    NeoXTokenizer,
    OpenFlamingoTokenizer,
    plain,
)

TEXTS = [
    "a cat left of a dog on a blue background",
    "  two  spaces, a\ttab,\r\n lines \n\n and an end ",
    "naïve café — “quotes” 日本語 العربية ไทย",
    "😀 👩\u200d👩\u200d👧 🇫🇷 ❤\ufe0f",
    "".join(map(chr, range(32))) + "\x7f\x85\u200b\ufeff\ufffd",
    "<media> <eos> <pad><bos>",
    "",
]


def specials(tokenizer: BundledTokenizer) -> set[int]:
    return {tokenizer.pad_id, tokenizer.bos_id, tokenizer.eos_id, tokenizer.media_id}


def test_special_ids_are_four_different_ones_in_range(tokenizer):
    assert len(specials(tokenizer)) == 4
    assert all(0 <= i < len(tokenizer) for i in specials(tokenizer))


@pytest.mark.parametrize("text", TEXTS, ids=range(len(TEXTS)))
def test_any_text_comes_back_in_its_plain_form(text, tokenizer):
    ids = tokenizer.encode(text)
    assert tokenizer.decode(ids) == plain(text)
    assert all(0 <= i < len(tokenizer) for i in ids)


def test_any_characters_come_back_in_their_plain_form(tokenizer):
    rng = random.Random(0)
    letters = [chr(i) for i in range(0x11000) if not 0xD800 <= i < 0xE000]
    for _ in range(100):
        text = "".join(rng.choices(letters, k=20))
        assert tokenizer.decode(tokenizer.encode(text)) == plain(text)
        ids, pieces = tokenizer.encode_pieces(text)
        assert ids == tokenizer.encode(text) and len(pieces) == len(ids) and "".join(pieces) == text


@pytest.mark.parametrize("name", SPECIAL_TOKENS)
def test_a_special_tokens_name_typed_in_a_text_is_plain_text(name, tokenizer):
    ids = tokenizer.encode(f"see {name} here")
    assert not specials(tokenizer) & set(ids)
    assert tokenizer.decode(ids) == f"see {name} here"


def test_special_ids_leave_nothing_in_the_text(tokenizer):
    ids = [
        tokenizer.bos_id,
        *tokenizer.encode("a cat"),
        tokenizer.media_id,
        tokenizer.eos_id,
        tokenizer.pad_id,
    ]
    assert tokenizer.decode(ids) == "a cat"
    assert "".join(tokenizer.decode_stream(ids)) == "a cat"


def test_a_batch_is_encoded_as_its_members(tokenizer):
    assert tokenizer.encode_batch(TEXTS) == [tokenizer.encode(text) for text in TEXTS]


def test_what_is_never_sampled_is_every_special_token_but_the_end(tokenizer):
    assert set(tokenizer.suppress_ids()) == specials(tokenizer) - {tokenizer.eos_id}


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(CheckpointError, match=r"no tokenizer at .*gone.json"):
        BundledTokenizer.load(tmp_path / "gone.json")


def test_a_file_that_is_no_tokenizer_is_named(tmp_path):
    (tmp_path / "odd.json").write_text('{"hello": 1}')
    with pytest.raises(CheckpointError, match=r"odd.json is not a tokenizer"):
        BundledTokenizer.load(tmp_path / "odd.json")


def test_a_tokenizer_without_our_special_tokens_is_refused(tmp_path):
    tokenizers.Tokenizer(tokenizers.models.BPE()).save(str(tmp_path / "bare.json"))
    with pytest.raises(CheckpointError, match="<pad>, <bos>, <eos>, <media>"):
        BundledTokenizer.load(tmp_path / "bare.json")


def test_nearly_every_word_of_a_noun_is_one_id(session):
    """So an answer is as many choices as it has words."""
    words = {f" {word}" for noun in world.concepts() for word in noun.split()}
    whole = [word for word in words if len(session.palm.tokenizer.encode(word)) == 1]
    assert len(whole) / len(words) >= 0.99


@pytest.mark.parametrize("text", TEXTS, ids=range(len(TEXTS)))
def test_pieces_are_the_text_as_it_was_written(text, tokenizer):
    ids, pieces = tokenizer.encode_pieces(text)
    assert ids == tokenizer.encode(text) and len(pieces) == len(ids)
    assert "".join(pieces) == text


def test_a_piece_is_what_its_token_stands_for(tokenizer):
    _, pieces = tokenizer.encode_pieces("“No—” he said…")
    assert [piece for piece in pieces if piece] == ["“", "No", "—”", " he", " said", "…"]


def test_halves_of_surrogate_pairs_are_question_marks_in_pieces(tokenizer):
    assert "".join(tokenizer.encode_pieces("a \ud800 b")[1]) == "a ? b"


def test_other_models_tokenizers_read_typography_as_it_is(neox_file):
    bpe = tokenizers.Tokenizer.from_file(str(neox_file))
    bpe.add_special_tokens(["<|padding|>"])
    for reader in (NeoXTokenizer(bpe), OpenFlamingoTokenizer.extend(neox_file, bpe.get_vocab_size() + 2)):
        assert reader.decode(reader.encode("“Don’t—”")) == "“Don’t—”"


@pytest.fixture
def neox_file(assets, tmp_path):
    """A language model's tokenizer: it knows an end of text, and none of OpenFlamingo's marks."""
    bpe = tokenizers.Tokenizer.from_file(str(assets / "tokenizer.json"))
    bpe.add_special_tokens(["<|endoftext|>"])
    bpe.save(str(tmp_path / "tokenizer.json"))
    return tmp_path / "tokenizer.json"


def test_openflamingos_marks_are_the_last_rows_of_the_embedding_in_their_order(neox_file, tokenizer):
    rows = len(tokenizer) + 4
    extended = OpenFlamingoTokenizer.extend(neox_file, rows)
    assert (extended.eos_id, extended.media_id, extended.pad_id) == (rows - 3, rows - 2, rows - 1)
    assert len(extended) == rows and extended.prefix_ids == []
    ids = encode_interleaved("<media>Output: <image> a cat", extended)
    assert ids == [extended.media_id, *extended.encode("Output: <image> a cat")]
    assert extended.media_id not in ids[1:] and extended.decode(ids) == "Output: <image> a cat"


def test_a_tokenizer_of_another_language_model_is_refused_with_both_numbers(neox_file, tokenizer):
    tokens = len(tokenizer) + 4
    with pytest.raises(CheckpointError, match=f"has {tokens} tokens .* embedding {tokens + 1} rows"):
        OpenFlamingoTokenizer.extend(neox_file, tokens + 1)
