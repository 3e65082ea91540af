"""A session on ZeroGPU gives what a session here gives.

`test_zerogpu.py` runs this file in a process of its own, with the fixtures of `pretended_zerogpu.py`.
"""

import os
import signal
import threading
from concurrent.futures import ThreadPoolExecutor
from queue import SimpleQueue

import numpy as np
import pytest
from PIL import Image

from palm_demo.errors import CheckpointError, GpuError, MediaError, PromptError, ScopeError
from palm_demo.serving.zerogpu_quota import LONGEST
from tests.serving.device_api import Gpus
from tests.serving.finetuned import finetuned_until_stopped
from tests.serving.pretended_zerogpu import HELD, PROMPT, PROVERBS


def seconds(gpus: Gpus) -> int:
    return int(gpus.asked[-1]["durationSeconds"])


def test_texts_and_their_scopes_are_the_sessions(zero, session):
    asked = {"max_new_tokens": 12, "seed": 3}
    for scope in (None, session.scopes[0], {session.scopes[0]: 0.7, session.scopes[1]: -0.5}):
        deltas = list(zero.stream(PROMPT, scope, **asked))
        assert len(deltas) > 3 and "".join(deltas) == session.generate(PROMPT, scope, **asked)
    assert zero.bits_per_byte(PROMPT) == pytest.approx(session.bits_per_byte(PROMPT), rel=1e-4)
    assert zero.who_wrote(PROMPT) == pytest.approx(session.who_wrote(PROMPT), rel=1e-3)
    assert [token.text for token in zero.token_probabilities(PROMPT)] == [
        token.text for token in session.token_probabilities(PROMPT)
    ]


def test_pictures_and_videos_of_this_machine_are_seen(zero, session, pictures):
    prompt, video = "<media> <media> question: what is it? answer:", [Image.open(path) for path in pictures]
    media = [str(pictures[0]), video]
    assert zero.answer(prompt, media, max_new_tokens=8) == session.answer(prompt, media, max_new_tokens=8)
    assert zero.answers([prompt], [media]) == session.answers([prompt], [media])
    assert zero.caption(pictures[0]) == session.caption(pictures[0])
    assert zero.captions(pictures) == session.captions(pictures)
    seen = zero.encode_image(pictures[0])
    assert zero.caption(seen) == session.caption(pictures[0])
    assert seen.ood_score == pytest.approx(session.ood_score(pictures[0]), abs=1e-3)
    assert zero.caption_alternatives(pictures[0], 2).keys() == (
        session.caption_alternatives(pictures[0], 2).keys()
    )
    assert zero.classify(pictures[0], ["cat", "dog"]) == pytest.approx(
        session.classify(pictures[0], ["cat", "dog"]), rel=1e-3
    )
    np.testing.assert_allclose(zero.embed_images(pictures), session.embed_images(pictures), atol=1e-4)
    np.testing.assert_allclose(zero.embed_texts(["a cat"]), session.embed_texts(["a cat"]), atol=1e-4)
    looked = zero.attention_maps(prompt, media, "a cat")
    assert looked.tokens == session.attention_maps(prompt, media, "a cat").tokens and len(looked.media) == 2


def test_what_needs_no_gpu_asks_for_none(zero, session, gpus, pictures, tmp_path):
    before = len(gpus.asked)
    assert zero.prompt_length(PROMPT) == session.prompt_length(PROMPT)
    assert zero.ood_score(pictures[0]) == pytest.approx(session.ood_score(pictures[0]), abs=1e-3)
    zero.save_adapter(session.palm.model.scopes[session.scopes[0]], tmp_path / "mine.safetensors")
    assert zero.load_adapter(tmp_path / "mine.safetensors").rank > 0
    assert len(zero.gallery) > 0
    assert len(gpus.asked) == before


def test_this_process_writes_nothing_itself(zero):
    list(zero.stream(PROMPT, max_new_tokens=4, seed=1))
    assert "continuous batch" not in {thread.name for thread in threading.enumerate()}
    assert {weight.device.type for weight in zero._session.palm.model.parameters()} == {"cpu"}


def test_one_worker_answers_one_request_after_another(zero, gpus):
    zero.bits_per_byte(PROMPT)
    workers = dict(gpus.workers)
    list(zero.stream(PROMPT, max_new_tokens=4, seed=1))
    zero.embed_texts(["a cat"])
    assert gpus.workers == workers


def test_what_is_wrong_with_a_request_comes_at_once_and_costs_nothing(zero, gpus, tmp_path):
    before = len(gpus.asked)
    with pytest.raises(PromptError, match=r"^the prompt is empty"):
        zero.stream(" ")
    with pytest.raises(PromptError):
        zero.stream_answer("<media> what is it?", [])
    with pytest.raises(MediaError, match=r"^there is no file gone\.png"):
        zero.caption(tmp_path / "gone.png")
    with pytest.raises(CheckpointError, match=r"^there is no weights file at "):
        zero.load_adapter(tmp_path / "gone.safetensors")
    assert len(gpus.asked) == before


def test_errors_of_a_worker_are_the_sessions(zero):
    with pytest.raises(ScopeError, match=r"^there is no scope 'nobody'; known scopes: "):
        zero.bits_per_byte("a", "nobody")
    with pytest.raises(PromptError, match=r"^the text is empty"):
        zero.bits_per_byte("")


def test_who_stops_ends_the_text_and_the_next_request_is_answered(zero, session, gpus):
    """The gate stays shut: the text can only end by being stopped."""
    cancelled = threading.Event()
    deltas = zero.stream(HELD, cancelled=cancelled, seed=5, max_new_tokens=200)
    next(deltas)
    workers = dict(gpus.workers)
    cancelled.set()
    assert len(list(deltas)) < 10
    assert gpus.lent == 0
    assert zero.bits_per_byte(PROMPT) == pytest.approx(session.bits_per_byte(PROMPT), rel=1e-4)
    assert gpus.workers == workers


def test_a_text_that_nobody_reads_any_more_ends(zero, gpus):
    deltas = zero.stream(HELD, seed=6, max_new_tokens=200)
    next(deltas)
    deltas.close()
    assert gpus.lent == 0


def test_who_drops_a_text_that_has_ended_stops_nobody_elses(zero, session, gpus, gate, monkeypatch):
    """There are two events: the third text would be given that of the first, if it were free."""
    places = SimpleQueue()
    for place in range(2):
        places.put(place)
    monkeypatch.setattr(zero, "_free", places)
    dropped = zero.stream(PROMPT, max_new_tokens=8, seed=1)
    next(dropped)
    gpus.until(lambda: gpus.lent == 0)
    zero.bits_per_byte(PROMPT)
    asked = {"max_new_tokens": 12, "seed": 4}
    deltas = zero.stream(HELD, **asked)
    first = next(deltas)
    dropped.close()
    gate.open()
    assert first + "".join(deltas) == session.generate(HELD, **asked)


def test_words_come_while_the_rest_is_still_written(zero, session, gate):
    asked = {"max_new_tokens": 12, "seed": 4}
    deltas = zero.stream(HELD, **asked)
    first = next(deltas)
    gate.open()
    assert first + "".join(deltas) == session.generate(HELD, **asked)


def test_two_visitors_at_once_have_a_gpu_each_and_the_third_waits_in_line(zero, session, gpus, gate):
    asked = {"max_new_tokens": 8, "temperature": 0.0}
    first, second = zero.stream(HELD, **asked), zero.stream(HELD, **asked)
    texts = [next(first), next(second)]
    assert gpus.lent == 2 and len(set(gpus.workers.values())) == 2
    with ThreadPoolExecutor(1) as third:
        waiting = third.submit(zero.bits_per_byte, PROMPT)
        gpus.until(lambda: gpus.in_line == 1)
        assert not waiting.done()
        gate.open()
        gate.open()
        texts = [texts[0] + "".join(first), texts[1] + "".join(second)]
        assert waiting.result() == pytest.approx(session.bits_per_byte(PROMPT), rel=1e-4)
    assert texts == [session.generate(HELD, **asked)] * 2


def test_who_stops_in_line_does_not_wait_for_a_gpu(zero, gpus):
    held = [zero.stream(HELD, seed=7, max_new_tokens=100) for _ in range(2)]
    for deltas in held:
        next(deltas)
    cancelled = threading.Event()
    with ThreadPoolExecutor(2) as visitors:
        text = visitors.submit(list, zero.stream(PROMPT, cancelled=cancelled))
        finetuned = visitors.submit(
            list, zero.finetune(PROVERBS.read_text(encoding="utf-8"), cancelled=cancelled)
        )
        gpus.until(lambda: gpus.in_line == 2)
        cancelled.set()
        assert text.result() == []
        with pytest.raises(GpuError, match=r"^the fine-tuning was stopped before a GPU was there"):
            finetuned.result()
    assert gpus.lent == 2
    for deltas in held:
        deltas.close()


def test_a_scope_is_finetuned_in_a_worker_saved_here_and_written_with(zero, session, tmp_path):
    seen = finetuned_until_stopped(zero, PROVERBS.read_text(encoding="utf-8"))
    adapter = seen[-1].adapter
    zero.save_adapter(adapter, tmp_path / "mine.safetensors")
    assert zero.load_adapter(tmp_path / "mine.safetensors").rank == 4
    asked = {"max_new_tokens": 8, "temperature": 0.0}
    assert zero.generate(PROMPT, adapter, **asked) == session.generate(PROMPT, adapter, **asked)


def test_of_a_worker_that_is_killed_its_visitor_hears_and_the_next_is_answered(zero, session, gpus):
    deltas = zero.stream(HELD, seed=8, max_new_tokens=200)
    next(deltas)
    (index,) = gpus._lent.values()
    os.kill(gpus.workers[index], signal.SIGKILL)
    with pytest.raises(
        GpuError, match=r"^the GPU was taken back before the answer was there \(ZeroGPU worker"
    ):
        list(deltas)
    assert zero.bits_per_byte(PROMPT) == pytest.approx(session.bits_per_byte(PROMPT), rel=1e-4)


def test_a_quota_that_is_used_up_is_told(zero, gpus):
    gpus.refused = True
    with pytest.raises(GpuError, match=r"^there is no GPU for this now \(ZeroGPU quota exceeded: .*\); try"):
        zero.bits_per_byte(PROMPT)


def test_the_longer_a_request_the_longer_the_gpu_is_asked_for(zero, gpus, pictures):
    list(zero.stream(PROMPT, max_new_tokens=4))
    short = seconds(gpus)
    list(zero.stream(PROMPT, max_new_tokens=64, seed=1))
    long = seconds(gpus)
    assert 0 < short < long
    zero.bits_per_byte(PROMPT * 400)
    assert seconds(gpus) > short
    zero.embed_images(pictures[:1] * 8)
    assert seconds(gpus) > short
    for asked, within in ((20.0, range(21, LONGEST)), (1000.0, [LONGEST])):
        progress = zero.finetune(PROVERBS.read_text(encoding="utf-8"), seconds=asked)
        next(progress)
        progress.close()
        assert seconds(gpus) in within
