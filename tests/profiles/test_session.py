"""A session of released weights, downloaded: each system in its own words, with all of the verbs."""

import contextlib
import io
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from PIL import Image

import palm_demo
from palm_demo.errors import PromptError, ScopeError
from palm_demo.models import packed_weights
from palm_demo.profiles import download, read_profile
from palm_demo.session import ANSWERED, Session, loading, picture_weights
from palm_demo.world.motion import write_video
from tests.checkpoints.released import plain_openflamingo, plain_openmammut

from . import weights

TEXT = "the cat and the dog"


@pytest.fixture(scope="module")
def session(filled_hub, profile) -> Session:
    made = palm_demo.load(profile)
    yield made
    made.close()


@pytest.fixture(scope="module")
def pictures() -> list[Image.Image]:
    noise = np.random.default_rng(0).integers(0, 255, (3, 20, 30, 3), dtype=np.uint8)
    return [Image.fromarray(one) for one in noise]


def test_each_system_has_its_own_words_context_and_rows(session):
    parts = session.parts.values()
    assert [len(s.tokenizer) for s in parts] == [weights.rows() - 3, weights.rows(), 49408]
    assert [s.context for s in parts] == [128, 64, 40]
    assert {s.engine.batch.limits.rows for s in parts} == {2}
    assert [part["name"] for part in session.about.values()] == [
        "PaLM small",
        "OpenFlamingo small",
        "openMaMMUT small",
    ]
    assert all(part["parameters"] > 1000 for part in session.about.values())
    assert not any(s.bundled for s in parts)


@torch.no_grad()
def test_palm_writes_what_its_logits_say_and_never_ends_by_itself(session):
    palm, tokenizer = session.palm.model, session.palm.tokenizer
    ids = [tokenizer.eos_id, *tokenizer.encode(TEXT)]  # what stood between the texts it learned from
    for _ in range(8):
        logits = palm(torch.tensor([ids]))[0, -1]
        logits[[*tokenizer.suppress_ids(), *range(len(tokenizer), len(logits))]] = -torch.inf
        ids.append(int(logits.argmax()))
    settings = {"max_new_tokens": 8, "temperature": 0, "repetition_penalty": 1.0}
    wanted = "".join(tokenizer.decode_stream(ids[-8:]))  # bytes that are no text yet wait
    assert session.generate(TEXT, **settings) == wanted
    streamed = "".join(session.stream(TEXT, max_new_tokens=8, seed=3))
    assert streamed == session.generate(TEXT, max_new_tokens=8, seed=3)
    with pytest.raises(PromptError, match="reads 128 in all"):
        session.generate(TEXT, max_new_tokens=128)


def test_palm_is_judged_and_taught_without_bundled_scopes(session):
    assert session.scopes == []
    with pytest.raises(ScopeError, match=r"fewer than two scopes to tell apart \(0\); load two"):
        session.who_wrote(TEXT)
    assert session.bits_per_byte(TEXT) > 0
    assert "".join(token.text for token in session.token_probabilities(TEXT)) == TEXT
    *_, last = session.finetune("the cat and the dog and the hat. " * 200, steps=2, window=16, rank=2)
    assert last.step == 2
    assert session.generate(TEXT, scope=last.adapter, max_new_tokens=9, seed=1)


@pytest.mark.skipif(not packed_weights.ON_X86, reason="other processors multiply weights as they are")
def test_a_profile_can_ask_for_palm_in_8_bits(session, profile, tmp_path):
    quantized = tmp_path / "int8.yaml"
    text = Path(profile).read_text("utf-8")
    quantized.write_text(text.replace("    layout: palm-8k\n", "    layout: palm-8k\n    quantize: int8\n"))
    with contextlib.closing(palm_demo.load(quantized)) as rounded:
        blocks = rounded.palm.model.decoder.blocks
        assert all(isinstance(block.fused.stored(), packed_weights.Int8Weight) for block in blocks)
        assert rounded.bits_per_byte(TEXT) == pytest.approx(session.bits_per_byte(TEXT), rel=0.05)
        assert rounded.generate(TEXT, max_new_tokens=4, temperature=0)


@pytest.fixture(scope="module")
def plain_flamingo(filled_hub) -> plain_openflamingo.Plain:
    """The weights that were published, in the plainest forward."""
    pickled = io.BytesIO(filled_hub.models["them/flamingo"]["checkpoint.pt"])
    trained = torch.load(pickled, weights_only=True)["model_state_dict"]
    own = {name.removeprefix("module."): tensor for name, tensor in trained.items()}
    published, lm = (
        filled_hub.models["them/lm"],
        plain_openflamingo.language_model(weights.KIND, weights.rows()),
    )
    tensors = safetensors.torch.load(published["a.safetensors"])
    tensors |= safetensors.torch.load(published["b.safetensors"])
    tensors["gpt_neox.embed_in.weight"] = own["lang_encoder.gpt_neox.embed_in.weight"]
    tensors["embed_out.weight"] = own["lang_encoder.embed_out.weight"]
    lm.load_state_dict({name.replace("embed_out", "lm_head"): tensor for name, tensor in tensors.items()})
    return plain_openflamingo.Plain(weights.KIND, lm, own)


@torch.no_grad()
def test_flamingo_answers_what_the_layout_says_in_its_own_form(
    session, plain_flamingo, pictures, monkeypatch
):
    tokenizer, tower = session.flamingo.tokenizer, session.flamingo.model.encoder.tower
    media, end = tokenizer.media_id, tokenizer.eos_id
    monkeypatch.setattr(plain_openflamingo, "MEDIA", media)
    shown = [media, *tokenizer.encode("Output:the hat"), end, media, *tokenizer.encode("Output:")]
    patches = list(tower(tower.preprocess(pictures[:2])))
    ids = list(shown)
    while len(ids) < len(shown) + 6:
        logits = plain_flamingo.logits(ids, patches)[-1]
        logits[tokenizer.suppress_ids()] = -torch.inf
        if (best := int(logits.argmax())) == end:
            break
        ids.append(best)
    said = ids[len(shown) :]
    wanted = "".join(tokenizer.decode_stream(said)).lstrip()  # bytes that are no text yet wait
    prompt = "<media> Output:the hat <media> Output:"
    assert session.answer(prompt, pictures[:2], max_new_tokens=6) == wanted
    assert (
        session.answers([prompt], [pictures[:2]], max_new_tokens=6)
        == [tokenizer.decode(said).strip()]
        != [""]
    )
    assert "".join(session.stream_answer(prompt, pictures[:2], max_new_tokens=6)) == wanted


@pytest.mark.parametrize("mark", ["Output:", "Question:", "Short answer:"])
def test_an_answer_ends_where_the_next_example_would_begin(mark, session, pictures, monkeypatch):
    tokenizer, written = session.flamingo.tokenizer, ["a c", "at. ", mark[:3], f"{mark[3:]}a dog"]
    monkeypatch.setattr(tokenizer, "decode_stream", lambda ids: iter(written))
    monkeypatch.setattr(tokenizer, "decode", lambda ids: "".join(written))
    for stop in ((), ("horse",)):
        said = session.stream_answer("<media> Output:", pictures[:1], max_new_tokens=2, stop=stop)
        assert "".join(said).strip() == "a cat."
    assert session.answer("<media> Output:", pictures[:1], max_new_tokens=2, stop="at") == "a c"
    assert session.answers(["<media> Output:"], [pictures[:1]], max_new_tokens=2) == ["a cat."]


def test_of_a_video_the_frame_in_its_middle_is_shown(session, pictures, monkeypatch, tmp_path):
    monkeypatch.setattr(session.flamingo, "frames", 1)
    assert session.flamingo.pictures_of_video == 1
    colours = ["red", "red", "green", "green", "green", "blue", "blue"]
    frames = [Image.new("RGB", (32, 32), colour) for colour in colours]
    file = write_video(tmp_path / "video.mp4", frames)
    for video in (frames, frames[1::2], file):
        ids, groups = session.flamingo._interleave("<media> Output:", [video], ANSWERED)
        assert ids.count(session.flamingo.tokenizer.media_id) == len(groups[0]) == 1
        (seen,) = session.attention_maps("<media> Output:", [video], "the cat").media
        (shown,) = seen.frames
        red, green, blue = np.asarray(shown).reshape(-1, 3).mean(axis=0)
        assert green > red + 50 and green > blue + 50


def test_profiles_show_one_frame_of_a_video_where_they_say_nothing():
    assert {choice.frames for choice in read_profile("hub").flamingo.values()} == {1}


def test_each_system_says_its_licence(session):
    assert {part["licence"] for part in session.about.values()} == {"not named in its profile"}


def test_more_frames_of_a_video_are_shown_as_pictures_each_in_a_chunk_of_its_own(session, pictures):
    video = [picture.rotate(turn) for turn in (0, 90, 180) for picture in pictures]
    ids, groups = session.flamingo._interleave("<media> <media> Output:", [pictures[0], video], ANSWERED)
    assert [len(group) for group in groups] == [1, 3] and all(one.ndim == 3 for one in groups[1])
    media, end = (getattr(session.flamingo.tokenizer, name) for name in ("media_id", "eos_id"))
    assert ids[:6] == [media, media, end, media, end, media] and ids.count(media) == 4
    looked = session.attention_maps("<media> <media> Output:", [pictures[0], video], "the cat")
    assert [len(seen.frames) for seen in looked.media] == [1, 3]
    assert sum(looked.media_shares(0)) == pytest.approx(1, abs=1e-4)
    assert [gate.layer for gate in looked.gates] == [1, 3]


@torch.no_grad()
def test_mammut_captions_and_compares_as_the_layout_says(session, pictures):
    words, tower = session.mammut.tokenizer, session.mammut.model.tower
    named = {
        name.removeprefix("tower."): tensor for name, tensor in session.mammut.model.state_dict().items()
    }
    plain = plain_openmammut.Plain(named)
    (pixels,) = tower.preprocess(pictures[:1])
    ids = [words.bos_id]
    while len(ids) <= 5:
        logits = plain.logits(ids, pixels)[-1]
        logits[words.suppress_ids()] = -torch.inf
        if (best := int(logits.argmax())) == words.eos_id:
            break
        ids.append(best)
    wanted = words.decode(ids).strip()
    assert session.caption(pictures[0], max_new_tokens=5) == wanted
    assert session.captions(pictures, max_new_tokens=5)[0] == wanted
    np.testing.assert_allclose(
        session.embed_images(pictures[:1])[0], plain.image_latent(pixels).numpy(), atol=1e-5
    )
    assert sum(session.classify(pictures[0], ["cat", "dog"]).values()) == pytest.approx(1)


def test_a_word_that_no_model_could_read_is_refused_with_its_length(session):
    with pytest.raises(PromptError, match="the prompt has 2004 tokens"):
        session.embed_texts(["a" * 16_000])


@pytest.mark.slow
def test_a_gallery_is_made_and_searched(session):
    hits = session.search("a cat", k=3)
    assert len(hits) == 3 and len(session.gallery) > 100
    assert session.search(hits[0].image, k=1)


@pytest.mark.parametrize("choice", ["", ",mammut=coca", ",mammut=small"])
def test_which_weights_make_latents_is_known_from_mammuts_files_alone(
    choice, filled_hub, profile, monkeypatch
):
    whole = palm_demo.load(f"{profile}{choice}")
    wanted = whole.mammut.fingerprint, whole.mammut.embedding_dim
    whole.close()
    read = []
    monkeypatch.setattr(
        loading, "download", lambda files, *others: read.extend(files) or download(files, *others)
    )
    for name in ("read_palm", "read_flamingo"):
        monkeypatch.setattr(loading, name, lambda *_: pytest.fail("more than MaMMUT was read"))
    assert picture_weights(f"{profile}{choice}") == wanted
    assert {file.repo for file in read} <= {"them/mammut", "them/coca"}


def test_nobody_has_measured_what_these_weights_find_familiar(session, pictures):
    assert session.ood_score(pictures[0]) is None


def test_another_choice_of_the_profile_is_taken_when_it_is_asked_for(filled_hub, profile, pictures):
    session = palm_demo.load(f"{profile},mammut=coca,palm=small")
    assert session.about["mammut"]["name"] == "CoCa small"
    assert isinstance(session.caption(pictures[0], max_new_tokens=5), str)
    assert session.similarity(["a cat"], pictures).shape == (1, 3)
    session.close()


def test_all_verbs_work_in_bfloat16(filled_hub, profile, pictures, tmp_path):
    path = tmp_path / "half.yaml"
    path.write_text(profile.read_text().replace("float32", "bfloat16"))
    session = palm_demo.load(path)
    assert {next(iter(s.model.parameters())).dtype for s in session.parts.values()} == {torch.bfloat16}
    assert session.generate(TEXT, max_new_tokens=4, seed=1)
    assert session.bits_per_byte(TEXT) > 0
    assert isinstance(session.answer("<media> Output:", pictures[:1], max_new_tokens=3), str)
    assert session.attention_maps("<media> Output:", pictures[:1], "the cat").tokens
    assert isinstance(session.caption(pictures[0], max_new_tokens=3), str)
    assert session.caption_alternatives(pictures[0], 2, max_new_tokens=2)
    assert session.similarity(["a cat"], pictures).shape == (1, 3)
    session.close()


def test_a_system_that_is_left_out_is_the_bundled_one(filled_hub, profile, tmp_path):
    text = profile.read_text()
    path = tmp_path / "palm.yaml"
    path.write_text(text[: text.index("flamingo:")])
    session = palm_demo.load(path)
    assert [system.bundled for system in session.parts.values()] == [False, True, True]
    assert session.generate(TEXT, max_new_tokens=12, seed=3)
    assert session.ood_score(Image.new("RGB", (64, 64), "red")) is not None
    session.close()
