"""MaMMUT in the session: captions, labels, embeddings and the out-of-distribution score of pictures."""

import random

import numpy as np
import pytest
import torch
from PIL import Image

from palm_demo import world
from palm_demo.checkpoints import fingerprint
from palm_demo.errors import MediaError, PromptError, SamplingError
from palm_demo.installation import ASSETS
from palm_demo.media import MediaLimits
from palm_demo.session import OUT_OF_DISTRIBUTION, Session, picture_weights
from palm_demo.session.searching import NONE


def test_what_is_no_drawing_is_out_of_distribution_and_scenes_are_not(session: Session, pictures):
    noise = np.random.default_rng(0).integers(0, 255, (96, 96, 3), dtype=np.uint8)
    strange = [Image.fromarray(noise), Image.new("RGB", (96, 96)), Image.radial_gradient("L")]
    assert min(map(session.ood_score, strange)) > OUT_OF_DISTRIBUTION
    scenes = [session.ood_score(picture) for picture, _ in pictures]
    assert sum(score < OUT_OF_DISTRIBUTION for score in scenes) > 0.9 * len(scenes)
    assert session.ood_score(world.frames(world.moving_scene(random.Random(0)))) < OUT_OF_DISTRIBUTION


def test_captions_name_most_single_things(session: Session, pictures):
    captions = session.captions([picture for picture, _ in pictures])
    right = sum(
        caption.startswith(world.with_article(scene.names[0]) + " on")
        for caption, (_, scene) in zip(captions, pictures, strict=True)
    )
    assert right >= 0.6 * len(pictures)


def test_a_batch_of_captions_is_what_each_gets_alone(session: Session, pictures):
    some = [picture for picture, _ in pictures[:5]]
    assert session.captions(some) == [session.caption(picture) for picture in some]


def test_texts_and_pictures_have_unit_rows_in_one_space(session: Session, pictures):
    images = session.embed_images([picture for picture, _ in pictures])
    texts = session.embed_texts([world.caption(scene) for _, scene in pictures])
    assert images.shape == texts.shape
    for rows in (images, texts):
        assert np.allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-5)
    assert (texts @ images.T).argmax(axis=1).tolist().count(0) < len(pictures) / 2
    found = (texts @ images.T).argmax(axis=1) == np.arange(len(images))
    assert found.mean() >= 0.7


def test_nothing_to_embed_gives_no_rows(session: Session):
    assert session.embed_images([]).shape == session.embed_texts([]).shape
    assert len(session.embed_texts([])) == 0


def test_labels_get_probabilities_that_sum_to_one(session: Session, pictures):
    picture, scene = pictures[0]
    other = next(name for name in world.concepts() if name != scene.names[0])
    chances = session.classify(picture, [scene.names[0], other])
    assert sum(chances.values()) == pytest.approx(1)
    assert list(chances) == [scene.names[0], other, NONE]


def test_alternatives_are_captions_with_their_probabilities(session: Session, pictures):
    picture = pictures[0][0]
    found = session.caption_alternatives(picture, 6)
    assert 1 <= len(found) <= 6
    assert session.caption(picture) in found
    assert all(chance >= 0.01 for chance in [*found.values()][1:])
    chances = list(found.values())
    assert chances == sorted(chances, reverse=True)
    assert 0 < sum(chances) <= 1 + 1e-4
    for count in (0, 21):
        with pytest.raises(PromptError, match="1 to 20"):
            session.caption_alternatives(picture, count)
    for most in (0, -2):
        with pytest.raises(SamplingError, match=f"max_new_tokens is {most}"):
            session.caption_alternatives(picture, max_new_tokens=most)


def test_where_the_greedy_caption_is_made_up_every_verb_gives_the_likeliest_that_is_not(
    session: Session, monkeypatch
):
    tiny = Image.open(ASSETS / "photographs" / "cat.webp").resize((24, 24)).resize((224, 224))
    likely = [*session.caption_alternatives(tiny)]
    made_up, other = likely[0], likely[1]
    monkeypatch.setattr(world, "is_caption", lambda text: text == other)
    assert made_up != other == session.caption(tiny)
    assert session.captions([tiny]) == [other] == session.embed_and_caption([tiny])[1]
    assert session.describe(tiny).caption == other and [*session.caption_alternatives(tiny)] == [other]


@pytest.mark.slow
def test_captions_and_alternatives_are_captions(session: Session, pictures):
    for picture, _ in pictures:
        described = session.describe(picture)
        assert all(map(world.is_caption, [described.caption, *described.alternatives]))


def test_a_caption_that_is_cut_short_is_the_beginning_of_the_whole_one(session: Session, pictures):
    whole = session.caption(pictures[0][0])
    cut = session.caption(pictures[0][0], max_new_tokens=3)
    assert cut == session.captions([pictures[0][0]], max_new_tokens=3)[0]
    assert whole.startswith(cut) and len(cut) < len(whole)


def test_similarities_are_cosines_of_texts_and_pictures(session: Session, pictures):
    images = [picture for picture, _ in pictures[:3]]
    texts = [world.caption(scene) for _, scene in pictures[:2]]
    found = session.similarity(texts, images)
    assert found.shape == (2, 3)
    assert np.allclose(
        found[1, 2], session.embed_texts(texts)[1] @ session.embed_images(images)[2], atol=1e-5
    )


def test_a_fingerprint_is_of_the_weights_that_embed(new_mammut):
    mammut = new_mammut()
    before = fingerprint(mammut.latent_weights())
    assert len(before) == 16
    with torch.no_grad():
        for weight in (*mammut.cross_attention.parameters(), *mammut.memory.parameters(), mammut.log_scale):
            weight.add_(1)  # captions and temperatures are no part of a latent
    assert fingerprint(mammut.latent_weights()) == before
    with torch.no_grad():
        mammut.image_to_latents.weight.add_(1e-3)
    assert fingerprint(mammut.latent_weights()) != before


def test_a_picture_larger_than_can_be_shrunk_is_refused(session: Session, pictures, monkeypatch):
    monkeypatch.setattr(session.mammut, "media_limits", MediaLimits(pixels=10, read_pixels=100))
    with pytest.raises(MediaError, match="megapixels"):
        session.caption(pictures[0][0])


@pytest.mark.parametrize("labels", [[], ["cat", " "], ["cat", "cat"]])
def test_labels_must_be_given_once_each(session: Session, pictures, labels):
    with pytest.raises(PromptError, match="label"):
        session.classify(pictures[0][0], labels)


def test_which_bundled_weights_make_latents_is_what_the_session_says(session):
    assert picture_weights() == (session.mammut.fingerprint, session.mammut.embedding_dim)
