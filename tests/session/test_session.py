"""The session on the bundled weights: what a user calls, and what the weights must at least do."""

import random
import re
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from PIL import Image

import palm_demo
from palm_demo import world
from palm_demo.checkpoints import fingerprint
from palm_demo.errors import MediaError, NotFiniteError, PromptError, SamplingError, ScopeError
from palm_demo.media import MediaLimits, decode_image
from palm_demo.session import OUT_OF_DISTRIBUTION, Session, picture_weights
from palm_demo.session.palm import PalmPart
from palm_demo.session.searching import NONE

STORY = "It was a dark night, and the old man"


@pytest.fixture(scope="module")
def pictures():
    """A few single things with their scenes."""
    scenes = [world.single_scene(random.Random(f"session/{case}")) for case in range(40)]
    return [(world.render(scene), scene) for scene in scenes]


def test_same_seed_gives_the_same_text_and_another_seed_another(session: Session):
    first, again, other = (session.generate(STORY, max_new_tokens=24, seed=seed) for seed in (1, 1, 2))
    assert first == again != other


def test_streamed_deltas_are_the_generated_text(session: Session):
    streamed = "".join(session.stream(STORY, max_new_tokens=24, seed=5))
    assert streamed == session.generate(STORY, max_new_tokens=24, seed=5)


def test_temperature_zero_is_greedy_whatever_the_seed(session: Session):
    texts = {session.generate(STORY, max_new_tokens=12, temperature=0, seed=seed) for seed in (1, 2)}
    assert len(texts) == 1


def test_a_trailing_space_in_the_prompt_changes_nothing_but_the_space(session: Session):
    plain = session.generate(STORY, max_new_tokens=12, temperature=0)
    assert session.generate(STORY + " ", max_new_tokens=12, temperature=0) == plain.lstrip()


def test_a_stop_string_ends_the_text_before_it(session: Session):
    whole = session.generate(STORY, max_new_tokens=40, seed=3)
    word = whole.split()[4]
    cancelled = session.generate(STORY, max_new_tokens=40, seed=3, stop=[word])
    assert cancelled == whole[: whole.index(word)]


def test_a_cancelled_stream_ends(session: Session):
    cancelled = threading.Event()
    deltas = session.stream(STORY, max_new_tokens=100, seed=1, cancelled=cancelled)
    next(deltas)
    cancelled.set()
    assert len(list(deltas)) <= 1


def test_at_least_three_authors_have_scopes_that_write_otherwise(session: Session):
    assert len(session.scopes) >= 3
    texts = {
        session.generate(STORY, scope=scope, max_new_tokens=20, temperature=0)
        for scope in (None, *session.scopes)
    }
    assert len(texts) > 1


def test_a_scope_in_use_leaves_the_base_as_it_is(session: Session):
    before = session.generate(STORY, max_new_tokens=12, temperature=0)
    session.generate(STORY, scope=session.scopes[0], max_new_tokens=12, temperature=0)
    assert session.generate(STORY, max_new_tokens=12, temperature=0) == before


def test_english_is_likelier_than_the_same_letters_shuffled(session: Session):
    text = "The young lady went down to the garden, and her brother came to meet her at the gate."
    letters = list(text)
    random.Random(0).shuffle(letters)
    assert session.bits_per_byte(text) < 3 < session.bits_per_byte("".join(letters))


def test_bits_per_byte_takes_texts_longer_than_the_context(session: Session):
    text = "The king rode out, and all his men rode after him. " * 80
    assert 0 < session.bits_per_byte(text) < 2


def test_who_wrote_knows_verse_from_a_detective_story(session: Session):
    verse = (
        "KING.\nCome hither, gentle cousin; what ill news\nHath made thy cheek so pale? Speak, I command.\n\n"
        "CLIFFORD.\nMy gracious liege, the rebels are in arms,\nAnd every hour their multitude doth grow.\n"
    )
    story = (
        '"You will observe, my dear fellow," said he, knocking out his pipe, "that the mud upon his boot '
        'is dry. He came by the late train from town, and in a cab." I confessed that I had seen nothing.'
    )
    for text, author in ((verse, "shakespeare"), (story, "doyle")):
        found = session.who_wrote(text)
        assert list(found) == session.scopes
        assert sum(found.values()) == pytest.approx(1)
        assert max(found, key=found.get) == author


def test_who_wrote_needs_a_text_and_two_scopes(session: Session, monkeypatch):
    with pytest.raises(PromptError, match="empty"):
        session.who_wrote(" \n")
    monkeypatch.setattr(PalmPart, "scopes", ["doyle"])
    with pytest.raises(ScopeError, match="there are 1 scopes; load two"):
        session.who_wrote("Once upon a time")


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


def test_search_finds_a_gallery_picture_by_itself(session: Session):
    wanted = session.gallery.sample(1, seed=7)[0]
    picture = decode_image(session.gallery.original(wanted.id), wanted.name)
    hits = session.search(picture, k=3)
    assert len(hits) == 3
    assert (hits[0].id, hits[0].caption) == (wanted.id, wanted.caption)
    assert hits[0].score == pytest.approx(1, abs=1e-4)
    assert hits[0].score >= hits[1].score >= hits[2].score


def test_search_by_caption_finds_most_gallery_pictures(session: Session):
    gallery = session.gallery
    assert len(gallery) >= 200
    asked = [item.caption for item in gallery.sample(30, seed=0)]
    found = [caption in [hit.caption for hit in session.search(caption, 5)] for caption in asked]
    assert sum(found) >= 0.7 * len(found)


def test_more_hits_than_pictures_gives_all_pictures(session: Session):
    assert len(session.search("a cat", k=10_000)) == len(session.gallery)


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


@pytest.mark.slow
def test_no_alternative_has_a_slip_of_the_pen(session: Session, pictures):
    names = {name for concept in world.Atlas.load().concepts for name in (str(concept), concept.plural)}
    for picture, _ in pictures:
        for text in session.caption_alternatives(picture):
            things = re.split(r" to the (?:left|right) of | above | below ", text.split(" on a")[0])
            assert all(re.sub(r"^(two|three|four|five) ", "", thing) in names for thing in things), text


def test_similarities_are_cosines_of_texts_and_pictures(session: Session, pictures):
    images = [picture for picture, _ in pictures[:3]]
    texts = [world.caption(scene) for _, scene in pictures[:2]]
    found = session.similarity(texts, images)
    assert found.shape == (2, 3)
    assert np.allclose(
        found[1, 2], session.embed_texts(texts)[1] @ session.embed_images(images)[2], atol=1e-5
    )


@pytest.mark.slow
def test_a_session_without_a_place_leaves_nothing_behind(session: Session, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    fresh = palm_demo.load()
    assert fresh.search("a cat", 1)[0].caption == session.search("a cat", 1)[0].caption
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_a_gallery_in_a_folder_is_filled_once_and_kept(session: Session, tmp_path):
    first = palm_demo.load(gallery_place=tmp_path)
    gone = first.search("a cat", 1)[0]
    count = len(first.gallery)
    assert count == len(session.gallery)
    first.gallery.remove([gone.id])
    second = palm_demo.load(gallery_place=tmp_path)
    assert len(second.gallery) == count - 1
    assert gone.id not in {hit.id for hit in second.search("a cat", 5)}


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


def test_background_colours_are_answered(session: Session):
    asked = [world.sample_question(random.Random(f"session/{i}"), "background_color") for i in range(30)]
    media = [[world.render(q.media[0])] for q in asked]
    answers = session.answers([q.prompt for q in asked], media)
    assert sum(a == q.answer for a, q in zip(answers, asked, strict=True)) >= 0.7 * len(asked)
    assert session.answer(asked[0].prompt, media[0]) == answers[0]


def test_a_video_file_is_answered_as_its_frames_are(session: Session, tmp_path):
    question = world.sample_question(random.Random(4), "way")
    frames = world.frames(question.media[0], count=8, size=96)
    path = world.write_video(tmp_path / "moving.mp4", frames, fps=4)
    answer = session.answer(question.prompt, [path])
    assert answer in ("to the left", "to the right", "up", "down")
    assert session.answer(question.prompt, [frames]) in ("to the left", "to the right", "up", "down")


def test_text_without_media_is_answered_by_the_bare_language_model(session: Session):
    bare = session.generate("It was a", max_new_tokens=6, temperature=0, repetition_penalty=1.0)
    assert session.answer("It was a", [], max_new_tokens=6) == bare.strip()


@pytest.mark.parametrize("asked", ["is there a cat?", "question: is there a cat? answer:", "What is this?"])
def test_a_question_without_a_picture_says_that_one_is_missing(session: Session, asked):
    with pytest.raises(MediaError, match="has no picture; add"):
        session.answer(asked, [])


@pytest.mark.parametrize(
    ("arguments", "error", "said"),
    [
        ({"prompt": " "}, PromptError, "empty"),
        ({"prompt": "word " * 20_000}, PromptError, "shorten"),
        ({"prompt": STORY, "scope": "nobody"}, ScopeError, "nobody"),
        ({"prompt": STORY, "max_new_tokens": 0}, SamplingError, "max_new_tokens"),
        ({"prompt": STORY, "temperature": -1.0}, SamplingError, "temperature"),
        ({"prompt": STORY, "top_p": 1.5}, SamplingError, "top_p"),
        ({"prompt": STORY, "top_k": -3}, SamplingError, "top_k"),
    ],
)
def test_bad_requests_are_refused_before_the_first_delta(session: Session, arguments, error, said):
    with pytest.raises(error, match=said):
        session.stream(**arguments)


def test_marks_and_media_must_agree(session: Session, pictures):
    picture = pictures[0][0]
    with pytest.raises(PromptError, match="2 <media> marks but 1 medium"):
        session.answer("<media> <media> caption:", [picture])
    with pytest.raises(PromptError, match="1 <media> mark but 2 media"):
        session.answer("<media> caption:", [picture, picture])
    assert session.answer("caption:", [picture]) == session.answer("<media> caption:", [picture])


def test_a_picture_larger_than_can_be_shrunk_is_refused(session: Session, pictures, monkeypatch):
    monkeypatch.setattr(session.mammut, "media_limits", MediaLimits(pixels=10, read_pixels=100))
    with pytest.raises(MediaError, match="megapixels"):
        session.caption(pictures[0][0])


@pytest.mark.parametrize("labels", [[], ["cat", " "], ["cat", "cat"]])
def test_labels_must_be_given_once_each(session: Session, pictures, labels):
    with pytest.raises(PromptError, match="label"):
        session.classify(pictures[0][0], labels)


def test_ids_that_are_not_text_never_come_out(session: Session):
    text = session.generate(STORY, max_new_tokens=60, temperature=3.0, seed=9)
    assert not any(token in text for token in ("<pad>", "<bos>", "<media>"))


def test_which_bundled_weights_make_latents_is_what_the_session_says(session):
    assert picture_weights() == (session.mammut.fingerprint, session.mammut.embedding_dim)


@pytest.mark.slow
@pytest.mark.parametrize("number", [1e6, 1e30, float("inf"), float("nan")], ids=str)
def test_a_visitor_with_an_absurd_scope_spoils_nobody_elses_texts(session: Session, number):
    """As on the page: others write before, beside and after."""
    absurd = session.palm.model.new_adapter(4)
    for weight in absurd.parameters():
        weight.data.fill_(number)
    scopes = [None, "doyle", "carroll", "shakespeare"]
    asked = list(zip(("It was a", "The captain", "Once upon a time", "O sir,"), scopes, strict=True))

    def write(prompt: str, scope) -> str:
        try:
            return session.generate(prompt, scope=scope, temperature=0, max_new_tokens=24)
        except NotFiniteError as error:
            return str(error)

    alone = [write(*one) for one in asked]
    mixed = [one for pair in zip(asked, [("And so", absurd)] * len(asked), strict=True) for one in pair]
    with ThreadPoolExecutor(len(mixed)) as visitors:
        together = list(visitors.map(lambda one: write(*one), mixed))
    assert together[::2] == alone
    assert [write(*one) for one in asked] == alone
    with ThreadPoolExecutor(len(asked)) as visitors:
        assert list(visitors.map(lambda one: write(*one), asked)) == alone
