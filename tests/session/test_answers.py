"""Flamingo in the session: answers about pictures and videos, and what it asks for."""

import random

import pytest

from palm_demo import world
from palm_demo.errors import MediaError, PromptError, SamplingError
from palm_demo.session import Session


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


def test_more_media_than_fit_are_refused_before_any_is_looked_at(session: Session, pictures, monkeypatch):
    looked_at = []
    monkeypatch.setattr(session.flamingo.model.encoder, "patches", looked_at.append)
    most = session.flamingo.model.encoder.max_media
    with pytest.raises(PromptError, match=f"has {most + 1} media, at most {most} fit"):
        session.stream_answer("which picture has a cat?", [pictures[0][0]] * (most + 1))
    assert looked_at == []


def test_a_merged_scope_is_another_language_model_for_flamingo_too(session: Session, pictures):
    prompt = f"{'a thing on a field, as plain as can be. ' * 9}<media> caption:"
    palm, asked = session.palm.model, {"max_new_tokens": 8}
    before = session.answer(prompt, [pictures[0][0]], **asked)
    palm.merge_scope({"carroll": 4.0, "poe": 4.0})
    try:
        merged = session.answer(prompt, [pictures[0][0]], **asked)
        session.flamingo.engine.batch.prefixes.blocks.clear()
        assert merged == session.answer(prompt, [pictures[0][0]], **asked)
    finally:
        palm.unmerge_scope({"carroll": 4.0, "poe": 4.0})
    assert before == session.answer(prompt, [pictures[0][0]], **asked)


def test_choices_are_answered_in_their_plain_form_and_none_is_empty(session: Session, pictures):
    assert session.answer("<media> what is it?", [pictures[0][0]], choices=["it\u2019s"]) == "it's"
    for choice in ("\u200b", " ", ""):
        with pytest.raises(SamplingError, match="a text of choices is empty"):
            session.answer("<media> what is it?", [pictures[0][0]], choices=["cat", choice])


def test_marks_and_media_must_agree(session: Session, pictures):
    picture = pictures[0][0]
    with pytest.raises(PromptError, match="2 <media> marks but 1 medium"):
        session.answer("<media> <media> caption:", [picture])
    with pytest.raises(PromptError, match="1 <media> mark but 2 media"):
        session.answer("<media> caption:", [picture, picture])
    assert session.answer("caption:", [picture]) == session.answer("<media> caption:", [picture])
