"""A session's pictures and videos: each opened once, looked at once, and the same however it comes."""

import random
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from palm_demo import world
from palm_demo.errors import MediaError, SamplingError
from palm_demo.inference.prefix_cache import BLOCK
from palm_demo.media import MediaLimits
from palm_demo.session import Session, mammut
from tests.clients import as_client
from tests.media_files import red_over_blue, video

STORY = "It was a dark night, and the old man"


@pytest.fixture(scope="module")
def picture() -> Image.Image:
    return world.render(world.single_scene(random.Random("session/0")))


def test_an_encoded_image_does_not_pass_the_tower_again(session: Session, picture, monkeypatch):
    with as_client("another"):
        alone = (
            session.caption(picture),
            session.caption_alternatives(picture, 3),
            session.classify(picture, ["cat", "dog"]),
            session.ood_score(picture),
        )
    passes, opened = [], []
    tower, read = session.mammut.model.tower, mammut.open_image
    hook = tower.register_forward_hook(lambda *_: passes.append(1))
    monkeypatch.setattr(mammut, "open_image", lambda *args: (opened.append(1), read(*args))[1])
    with as_client("who has shown nothing yet"):  # other tests have shown this picture as nobody
        seen = session.encode_image(picture)
    found = (
        session.caption(seen),
        session.caption_alternatives(seen, 3),
        session.classify(seen, ["cat", "dog"]),
        seen.ood_score,
    )
    hook.remove()
    assert found[0] == alone[0] and list(found[1]) == list(alone[1])
    assert np.allclose([*found[1].values(), *found[2].values()], [*alone[1].values(), *alone[2].values()])
    assert found[3] == pytest.approx(alone[3], abs=0.002)
    assert (len(passes), len(opened)) == (1, 1)


def test_describing_a_picture_and_finding_its_like_is_one_pass_of_the_tower_and_one_decode(
    session: Session, monkeypatch
):
    """And says what the single verbs say."""
    assert len(session.gallery)  # a new one embeds its scenes
    part, passes, prefills, joined = session.mammut, [], [], []
    hook = part.model.tower.register_forward_hook(lambda *_: passes.append(1))
    read, join = part.model.prefill, part.engine.batch.join
    monkeypatch.setattr(part.model, "prefill", lambda *args: (prefills.append(1), read(*args))[1])
    monkeypatch.setattr(part.engine.batch, "join", lambda *args: (joined.append(1), join(*args))[1])
    for case in range(4):
        drawn = world.render(world.single_scene(random.Random(f"describing/{case}")))
        with as_client("another"):
            alone = session.caption(drawn), session.caption_alternatives(drawn), session.search(drawn, 3)
        for counted in (passes, prefills, joined):
            counted.clear()
        seen = session.encode_image(drawn)
        said, found = session.describe(seen), session.search(seen, 3)
        assert (len(passes), len(prefills), len(joined)) == (1, 1, 0)
        assert said.caption == alone[0] and said.alternatives == pytest.approx(alone[1])
        assert [*said.alternatives] == [*alone[1]]
        assert [hit.id for hit in found] == [hit.id for hit in alone[2]]
        assert seen.ood_score is not None
    hook.remove()


def test_media_that_were_opened_once_serve_all_verbs(session: Session, tmp_path, monkeypatch):
    path = video(tmp_path / "a.mp4", 16, side=64)
    red_over_blue().save(tmp_path / "a.png")
    prompt = "<media> <media> what is it?"
    alone = session.answer(prompt, [path, tmp_path / "a.png"], max_new_tokens=4)
    opened = session.opened([path, tmp_path / "a.png"])
    assert [len(opened[0]), opened[1].size] == [8, (40, 60)]
    monkeypatch.setattr("palm_demo.media.frames.open_video", lambda *_: pytest.fail("opened again"))
    assert session.answer(prompt, opened, max_new_tokens=4) == alone
    assert session.ood_score(opened[0]) is not None


def test_the_videos_of_one_question_share_a_budget(session: Session, tmp_path, monkeypatch):
    path = video(tmp_path / "a.mp4", 16, side=64)
    monkeypatch.setattr(session.flamingo, "media_limits", MediaLimits(decoded_frames=12))
    session.answer("<media> what is it?", [path], max_new_tokens=1)
    with pytest.raises(MediaError, match="more decoding than a request may have"):
        session.answer("<media> <media> what is it?", [path, path], max_new_tokens=1)
    with pytest.raises(MediaError, match="more decoding than a request may have"):
        session.opened([path, path])


def test_pictures_are_the_same_to_all_verbs_however_they_come(session: Session, tmp_path):
    clear = red_over_blue().convert("RGBA")
    clear.putalpha(Image.linear_gradient("L").resize(clear.size))
    clear.save(tmp_path / "a.png")
    data = (tmp_path / "a.png").read_bytes()
    sources = [tmp_path / "a.png", str(tmp_path / "a.png"), data, BytesIO(data), clear, np.asarray(clear)]
    first, *others = session.embed_images(sources)
    assert all(np.allclose(first, other, atol=1e-5) for other in others)
    assert len({session.caption(source) for source in sources}) == 1
    assert len({session.answer("<media> what is it?", [source], max_new_tokens=4) for source in sources}) == 1


def test_many_texts_are_embedded_some_at_a_time(session: Session, monkeypatch):
    texts = [f"{number} cats" for number in range(9)]
    together = session.embed_texts(texts)
    monkeypatch.setattr(mammut, "AT_ONCE", 2)
    sizes, embed = [], session.mammut.model.embed_texts
    monkeypatch.setattr(
        session.mammut.model, "embed_texts", lambda ids, real: (sizes.append(len(ids)), embed(ids, real))[1]
    )
    assert np.allclose(session.embed_texts(texts), together, atol=1e-5)
    assert sizes == [2, 2, 2, 2, 1]


def test_stop_strings_are_a_few_short_ones(session: Session):
    for stop, told in (
        (["x"] * 90_000, "90,000 texts and at most 64"),
        (["x" * 201], "201 characters and at most 200"),
    ):
        for write in (session.generate, lambda text, **settings: session.answer(text, [], **settings)):
            with pytest.raises(SamplingError, match=told):
                write(STORY, stop=stop)


def test_a_picture_that_a_visitor_has_shown_before_is_not_looked_at_again(session: Session, monkeypatch):
    """Nor is the beginning of what they ask read again; for others it is."""
    pictures = [world.render(world.single_scene(random.Random(f"again/{place}"))) for place in range(3)]
    example = (
        "<media> caption: a thing on a field, as plain as can be, that was drawn before all of the others "
    )
    few_shot = f"{example * 6}<media> caption: "
    looked_at, read = [], []
    encoder, batch = session.flamingo.model.encoder, session.flamingo.engine.batch
    patches, step_beside = encoder.patches, batch.step_beside
    monkeypatch.setattr(encoder, "patches", lambda media: (looked_at.append(len(media)), patches(media))[1])
    monkeypatch.setattr(
        batch,
        "step_beside",
        lambda ids, cache, pieces: (
            read.extend(map(len, (p for p, _ in pieces))),
            step_beside(ids, cache, pieces),
        )[1],
    )

    def ask(visitor: str, last: int) -> tuple[str, list[int], int]:
        looked_at.clear()
        read.clear()
        with as_client(visitor):
            said = session.answer(few_shot, [*pictures[:2] * 3, pictures[last]], max_new_tokens=6)
        return said, looked_at[:], sum(read)

    tokens = session.prompt_length(few_shot)
    first = ask("one", last=0)
    assert first[1:] == ([2], tokens)
    again = ask("one", last=0)
    assert again[0] == first[0] and again[1:] == ([], tokens - tokens // BLOCK * BLOCK)
    assert ask("one", last=2)[1:] == ([1], tokens - tokens // BLOCK * BLOCK)
    assert ask("other", last=0) == first


def test_each_frame_that_a_client_shows_passes_the_tower_once_whatever_is_asked(session: Session):
    """Flamingo and MaMMUT share the tower. Nothing that is said is another for it."""
    frames = world.frames(world.sample_question(random.Random(4), "way").media[0], count=8, size=96)
    picture = world.render(world.single_scene(random.Random("tower/0")))
    media, prompt = [frames, picture], "<media> <media> what is it?"
    passed = []
    hook = session.flamingo.model.encoder.tower.register_forward_hook(
        lambda tower, given, _: passed.append(len(given[0]))
    )

    def ask_all(who: str) -> tuple:
        passed.clear()
        with as_client(who):
            captions = session.caption(frames[4]), session.caption(picture)
            answers = [session.answer(prompt, media, max_new_tokens=8) for _ in range(2)]
            (answered,) = session.answers([prompt], [media], 8)
            maps = session.attention_maps(prompt, media, "a cat")
            scores = [session.ood_score(medium) for medium in media]
        assert answers == [answered] * 2
        return captions, answers, scores, maps

    captions, answers, scores, maps = ask_all("one")
    assert passed == [1, 1, 7]
    assert ask_all("other")[:3] == (captions, answers, scores) and sum(passed) == 9
    hook.remove()
    with as_client("new"):
        assert [session.ood_score(medium) for medium in media] == pytest.approx(scores, abs=0.002)
    with as_client("newer"):
        alone = session.attention_maps(prompt, media, "a cat")
    for seen, looked_at in zip(maps.media, alone.media, strict=True):
        assert seen.maps == pytest.approx(looked_at.maps, abs=1e-4)
        assert seen.frames == looked_at.frames
