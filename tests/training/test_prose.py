"""The books that PaLM reads, and the tokenizer that is made from them."""

import numpy as np
import pytest

from palm_demo import world
from palm_demo.errors import FinetuningError
from palm_demo.models.tokenizers import BundledTokenizer
from palm_demo.training import prose
from palm_demo.training.loop import Intervals
from palm_demo.training.paths import RunPaths
from palm_demo.training.tokenizer import TokenizerRecipe, train_tokenizer

ALWAYS = Intervals(checkpoint_seconds=-1, measure_steps=2)
SECRET = "zanzibar"


@pytest.fixture
def corpus(tmp_path):
    """Two books to learn from, two that may not be read: one by an author of the shelf."""
    folder = tmp_path / "corpus"
    folder.mkdir()
    held_out = sorted(prose.HELD_OUT)[:2]
    rows = ["id,title,author,shelf", "11,Alice,Carroll,carroll", "1661,Holmes,Doyle,doyle"]
    rows += [f"{held_out[0]},Secret,Carroll,carroll", f"{held_out[1]},Other,Nobody,"]
    (folder / "index.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    for name, word in (("11", "rabbit"), ("1661", "pipe")):
        (folder / f"{name}.txt").write_text(f"the {word} was late. " * 40, encoding="utf-8")
    for name in held_out:
        (folder / f"{name}.txt").write_text(f"the {SECRET} was secret. " * 40, encoding="utf-8")
    return folder


def test_held_out_books_are_never_read(corpus, tokenizer, tmp_path):
    tokens = prose.token_array(prose.training_books(corpus), tokenizer)
    text = tokenizer.decode(tokens.tolist())
    assert "rabbit" in text and "pipe" in text and SECRET not in text


def test_a_held_out_book_is_not_on_its_authors_shelf(corpus, tokenizer, tmp_path):
    tokens = prose.token_array(prose.shelf_books(corpus, "carroll"), tokenizer)
    text = tokenizer.decode(tokens.tolist())
    assert "rabbit" in text and "pipe" not in text and SECRET not in text


def test_books_are_learned_from_or_held_out_and_none_is_both(corpus):
    read, unread = prose.training_books(corpus), prose.held_out_books(corpus)
    assert len(read) == len(unread) == 2
    assert sorted([*read, *unread]) == prose.books(corpus)


def test_the_tokenizer_learns_nothing_from_held_out_books(corpus, tmp_path):
    place = RunPaths(tmp_path / "assets", tmp_path / "run", ALWAYS, corpus)
    train_tokenizer(TokenizerRecipe(vocabulary=400, sentences=0), place)
    learned = BundledTokenizer.load(place.tokenizer)
    assert len(learned.encode(" rabbit")) == 1
    assert len(learned.encode(f" {SECRET}")) > len(SECRET) // 2


def test_every_book_begins_and_ends(corpus, tokenizer, tmp_path):
    tokens = prose.token_array(prose.training_books(corpus), tokenizer).tolist()
    assert tokens[0] == tokenizer.bos_id and tokens[-1] == tokenizer.eos_id
    assert tokens.count(tokenizer.bos_id) == tokens.count(tokenizer.eos_id) == 2


def test_the_books_of_the_base_are_one_file_that_needs_no_corpus(corpus, tokenizer, tmp_path):
    (corpus / "7.txt").write_text("nobody's tale. " * 40, encoding="utf-8")
    made = prose.base_texts(corpus, tokenizer, tmp_path / "run/books.npz")
    carried = prose.base_texts(None, tokenizer, tmp_path / "run/books.npz")
    assert carried.read == made.read == ["7"]
    assert carried.held_out == made.held_out and SECRET in carried.held_out[0]
    assert tokenizer.decode(carried.tokens.tolist()) == ("nobody's tale. " * 40).strip()
    with pytest.raises(FinetuningError, match=r"no books at .*gone.npz; bring that file"):
        prose.base_texts(None, tokenizer, tmp_path / "gone.npz")


def test_a_corpus_without_books_to_read_or_to_measure_with_is_refused(corpus, tokenizer, tmp_path):
    with pytest.raises(FinetuningError, match="has 0 books to train on and 2 to measure with"):
        prose.base_texts(corpus, tokenizer, tmp_path / "books.npz")
    own = tmp_path / "own"
    own.mkdir()
    (own / "mine.txt").write_text("my tale. " * 40, encoding="utf-8")
    with pytest.raises(FinetuningError, match="has 1 books to train on and 0 to measure with"):
        prose.base_texts(own, tokenizer, tmp_path / "books.npz")


def test_a_window_is_a_piece_of_the_books_after_a_beginning(corpus, tokenizer, tmp_path):
    tokens = prose.token_array(prose.training_books(corpus), tokenizer)
    windows = [prose.window(tokens, 17, tokenizer.bos_id, number, seed=0) for number in (1, *range(1, 9))]
    assert windows[0] == windows[1]
    assert len(set(map(tuple, windows))) > 4
    joined = " ".join(map(str, tokens.tolist()))
    for window in windows:
        assert len(window) == 17 and window[0] == tokenizer.bos_id
        assert " ".join(map(str, window[1:])) in joined


def test_each_reading_reads_all_once_and_cuts_it_elsewhere():
    tokens = np.arange(1000, dtype=np.uint16)
    pieces = (len(tokens) - 1) // 15 - 1

    def reading(number: int) -> list[list[int]]:
        numbers = range(number * pieces, (number + 1) * pieces)
        return [prose.window(tokens, 16, 2000, place, seed=0)[1:] for place in numbers]

    first, second = reading(0), reading(1)
    for windows in (first, second):
        ids = [token_id for window in sorted(windows) for token_id in window]
        assert ids == list(range(ids[0], ids[0] + 15 * pieces))
    assert min(first) != min(second) and first != sorted(first)


def test_the_base_reads_no_shelf_that_a_scope_is_taught(corpus):
    assert [book.stem for book in prose.base_books(corpus)] == []
    (corpus / "7.txt").write_text("nobody's tale", encoding="utf-8")
    assert [book.stem for book in prose.base_books(corpus)] == ["7"]


def test_a_book_is_cut_at_headings_that_stand_far_apart():
    long = "It was late. " * 300
    book = f"THE BOOK\n\nCHAPTER I\n\n{long}\n\nHe cried OH NO loudly.\n\nCHAPTER II\n\n{long}\n\nTHE END"
    texts = prose.split_into_texts(book)
    assert [text.splitlines()[0] for text in texts] == ["THE BOOK", "CHAPTER II"]
    assert texts[-1].endswith("THE END") and "".join(texts).replace("\n", "") == book.replace("\n", "")


def test_words_of_the_world_are_single_ids(corpus, tmp_path):
    place = RunPaths(tmp_path / "assets", tmp_path / "run", ALWAYS, corpus)
    figures = train_tokenizer(TokenizerRecipe(vocabulary=400, sentences=2000), place)
    learned = BundledTokenizer.load(place.tokenizer)
    assert len(learned) == figures["vocabulary"] > 400
    names = [*world.concepts(), *world.unseen(), *world.photo_nouns(), *world.everyday_words()]
    words = {word for name in names for word in name.split() if word.isalpha()}
    assert [word for word in sorted(words) if len(learned.encode(f" {word}")) > 1] == []
    assert learned.decode(learned.encode("a photo of a tabby cat")) == "a photo of a tabby cat"


def test_an_unknown_shelf_is_named_with_those_there_are(corpus):
    with pytest.raises(ValueError, match=r"no shelf 'verne'; it has .*carroll, doyle"):
        prose.shelf_books(corpus, "verne")


def test_a_folder_without_books_is_named(tmp_path):
    with pytest.raises(FinetuningError, match=r"holds no \.txt files"):
        prose.books(tmp_path)
