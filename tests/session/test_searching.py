"""Words find the pictures that show them, and labels that fit none say so: every noun of a new gallery is
tried."""

import random

import numpy as np
import pytest

from palm_demo import world
from palm_demo.errors import PromptError
from palm_demo.gallery import Filters
from palm_demo.session import Session
from palm_demo.session.searching import LEAST, NONE, judged

SCENES = {caption: frozenset(scene.names) for scene, caption in world.start_gallery()}
THERE = sorted(frozenset().union(*SCENES.values()))
NOT_THERE = [name for name in world.concepts() if name not in THERE]


def part_found(session: Session, asked: dict[str, str]) -> float:
    """Words -> what the first picture has to show. The part that is found, and said to be like it."""
    best = {words: session.search(words, 1)[0] for words in asked}
    return np.mean([hit.alike and asked[words] in SCENES[hit.caption] for words, hit in best.items()])


@pytest.mark.slow
def test_every_noun_that_a_picture_shows_finds_it(session: Session):
    assert part_found(session, {name: name for name in THERE}) == 1


@pytest.mark.slow
def test_nouns_with_articles_and_plurals_find_it_too(session: Session):
    concept = world.Atlas.load().concept
    assert part_found(session, {str(concept(name)): name for name in THERE}) == 1
    assert part_found(session, {concept(name).plural: name for name in THERE}) >= 0.99


@pytest.mark.slow
def test_every_caption_finds_its_picture(session: Session):
    assert np.mean([session.search(caption, 1)[0].caption == caption for caption in SCENES]) >= 0.95


@pytest.mark.slow
def test_pictures_alone_find_most_nouns_and_few_that_are_not_there(session: Session):
    """Captions left out: what is compared are embeddings."""

    def best(words: str):
        text, fit = judged(session, words)
        return session.gallery.find(text, 1, fit=fit, least=LEAST)[0]

    found = [name in SCENES[best(name).caption] for name in THERE[::3]]
    assert np.mean(found) >= 0.75  # 0.853 of all
    assert np.mean([best(name).alike for name in NOT_THERE[::3]]) <= 0.2  # 0.061 of all


@pytest.mark.parametrize(
    "words", ["zzzz qqq", "asdf", "the meaning of life", "SELECT * FROM pictures", "123456"]
)
def test_nothing_is_like_words_that_are_none(session: Session, words):
    hits = session.search(words, 3)
    assert len(hits) == 3
    assert not any(hit.alike for hit in hits)


@pytest.mark.parametrize("query", ["a fox on a blue background", "dog", "zzzz", "red"])
def test_scores_are_in_order(session: Session, query):
    scores = [hit.score for hit in session.search(query, 24)]
    assert scores == sorted(scores, reverse=True)
    assert 0 <= scores[-1] <= scores[0] <= 1


def test_words_and_a_picture_are_in_order_too_and_both_count(session: Session):
    picture = world.render(world.scene_of_spec(random.Random(0), world.SceneSpec("cat", color="blue")))
    hits = session.search(picture, 24, words="yellow background")
    scores = [hit.score for hit in hits]
    assert scores == sorted(scores, reverse=True)
    assert "yellow" in hits[0].caption
    assert hits != session.search(picture, 24)


def test_filters_hold_for_words(session: Session):
    hits = session.search("fox", 5, filters=Filters(contains="purple"))
    assert hits and all("purple" in hit.caption for hit in hits)


def test_a_label_that_fits_is_chosen_and_of_others_none(session: Session):
    right, none, count = 0, 0, 40
    for number in range(count):
        rng = random.Random(f"labels/{number}")
        scene = world.single_scene(rng)
        wrong = [name for name in rng.sample(world.concepts(), 9) if name not in scene.names][:8]
        seen = session.encode_image(world.render(scene))
        chosen = session.classify(seen, [*wrong[1:], scene.names[0]])
        assert sum(chosen.values()) == pytest.approx(1)
        right += max(chosen, key=chosen.get) == scene.names[0]
        chosen = session.classify(seen, wrong)
        none += max(chosen, key=chosen.get) == NONE
    assert right >= 0.9 * count  # 0.985 of 200
    assert none >= 0.9 * count  # 0.97 of 200


def test_bare_words_are_compared_as_those_with_an_article_are(session: Session):
    picture = world.render(world.single_scene(random.Random(1)))
    found = session.similarity(["dog", "a dog", "dogs", "A photo of a dog"], picture)
    assert np.ptp(found) == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("query", ["cat.png", "pictures/IMG_0815.JPG"])
def test_the_name_of_a_file_is_not_taken_for_words(session: Session, query):
    with pytest.raises(PromptError, match="--image"):
        session.search(query)
