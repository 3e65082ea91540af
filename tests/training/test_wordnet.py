"""Words of WordNet's for what pictures show, read from a dictionary of a few lines in its format."""

from pathlib import Path

import pytest
from timm.data import ImageNetInfo

from palm_demo import world
from palm_demo.training.wordnet import ARTIFACT, LEFT_OUT, PHYSICAL, RelatedWords, WordNet, related_words

TABBY = ImageNetInfo().label_names()[281][1:]
PERSON, _ = LEFT_OUT
ANIMAL, FELINE, CAT, MANX, KITTY = "00015388", "00000001", "00000002", "00000003", "00000004"
MEANINGS = {
    PHYSICAL: ("physical_entity", "", "what can be touched"),
    ANIMAL: ("animal", PHYSICAL, "a living organism that moves"),
    FELINE: ("feline felid", ANIMAL, 'a lithe mammal with a round head; "it hunts at night"'),
    CAT: ("cat true_cat", FELINE, "a small feline that purrs"),
    TABBY: ("tabby", CAT, "a cat with a striped coat"),
    MANX: ("manx", CAT, "a cat without a tail"),
    ARTIFACT: ("artifact", PHYSICAL, "what somebody made"),
    PERSON: ("person", ANIMAL, "a human being"),
    KITTY: ("kitty", PERSON, "somebody who is dear"),
    "00000005": ("thought", "", "what nobody can touch"),
}
COUNTED = {"manx", "kitty"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with the two files, each after two lines of licence."""
    licence = "  1 This software\n  2 is free\n"
    data, index = [licence], [licence]
    for offset, (words, above, definition) in MEANINGS.items():
        spelled = words.split()
        pointer = f"001 @ {above} n 0000" if above else "000"
        named = " ".join(f"{word} 0" for word in spelled)
        data.append(f"{offset} 03 n {len(spelled):02x} {named} {pointer} | {definition}  \n")
        index += [f"{word} n 1 1 @ 1 {int(word in COUNTED)} {offset}  \n" for word in spelled]
    (tmp_path / "data.noun").write_text("".join(data))
    (tmp_path / "index.noun").write_text("".join(index))
    return tmp_path


def test_the_dictionary_is_read(folder):
    wordnet = WordNet.read(folder)
    assert wordnet.synsets[FELINE].words == ("feline", "felid")
    assert wordnet.synsets[FELINE].definition == "a lithe mammal with a round head"
    assert set(wordnet.lineage(TABBY)) == {TABBY, CAT, FELINE, ANIMAL, PHYSICAL}
    assert wordnet.common == COUNTED


def test_a_word_stands_for_the_names_below_it_or_nearest_to_it(folder):
    related = related_words(WordNet.read(folder))
    assert related["feline"] == related["true cat"] == {"cat", "tabby cat"}
    assert related["manx"] == {"cat", "tabby cat"}, "nothing below it, but below the cat it is"
    assert related["tabby"] == {"tabby cat"}


def test_names_persons_and_what_nobody_can_touch_are_no_such_words(folder):
    related = related_words(WordNet.read(folder))
    assert related.keys().isdisjoint({"cat", "animal", "kitty", "person", "thought"})
    assert related.keys().isdisjoint({*world.concepts(), *world.photo_nouns()})


def test_each_name_has_its_words_with_their_definitions(folder):
    read = RelatedWords.read(folder)
    assert {"feline", "felid", "true cat", "manx", "tabby"} <= set(read.of_name["tabby cat"])
    assert "tabby" not in read.of_name["cat"]
    assert read.definitions["manx"] == "a cat without a tail"
