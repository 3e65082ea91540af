"""Plurals, of the world's nouns and of others."""

import pytest

from palm_demo.world import Atlas
from palm_demo.world.plurals import is_plural, stem

CONCEPTS = Atlas.load().concepts


@pytest.mark.parametrize("noun", ["dogs", "gizmos", "mice", "white mice", "wolves", "taxis", "flies"])
def test_plurals_are_known(noun):
    assert is_plural(noun)


@pytest.mark.parametrize("noun", ["dog", "mouse", "bus", "glass", "tennis", "gas", "fly"])
def test_singulars_are_known(noun):
    assert not is_plural(noun)


@pytest.mark.parametrize("concept", CONCEPTS, ids=str)
def test_a_noun_of_the_world_and_its_plural_have_one_stem(concept):
    assert list(map(stem, concept.name.split())) == list(map(stem, concept.plural.split()))


@pytest.mark.parametrize(
    ("one", "several"), [("city", "cities"), ("bus", "buses"), ("glass", "glasses"), ("movie", "movies")]
)
def test_other_nouns_and_their_plurals_have_one_stem(one, several):
    assert stem(one) == stem(several)


def test_other_words_have_other_stems():
    names = {name.split()[-1] for name in (concept.name for concept in CONCEPTS)}
    assert len(set(map(stem, names))) == len(names)
