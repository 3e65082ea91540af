"""A session whose models are in other processes gives what a session here gives."""

import threading
from concurrent.futures import ThreadPoolExecutor
from copy import deepcopy
from dataclasses import fields
from itertools import pairwise

import numpy as np
import pytest
import torch
from PIL import Image

from palm_demo.errors import ArgumentError, CheckpointError, MediaError, PromptError, ScopeError
from palm_demo.models.lora import Adapter
from palm_demo.serving.ray_session import RaySession
from palm_demo.serving.session_proxy import FlamingoInfo, MammutInfo, SessionProxy
from palm_demo.session import Session
from palm_demo.ui.palm.finetune import PROVERBS
from tests.serving.conftest import until
from tests.serving.finetuned import finetuned_until_stopped

pytestmark = pytest.mark.ray

BUILT_ON_OTHERS = {"generate", "answer", "search", "gallery", "parts"}
FACTS = ("about", "scopes", "media_limits", "bundled")
OF_PARTS = {"flamingo": FlamingoInfo, "mammut": MammutInfo}


@pytest.fixture
def pictures(tmp_path):
    """Two files, as a visitor uploads them."""
    paths = [tmp_path / "red.png", tmp_path / "blue.png"]
    for path in paths:
        Image.new("RGB", (64, 64), path.stem).save(path)
    return paths


@pytest.fixture
def adapter(session):
    """A scope that changes what is written."""
    torch.manual_seed(1)
    adapter = session.palm.model.new_adapter(4).requires_grad_(False)
    for layer in adapter.layers:
        for lora in layer.values():
            lora.up.normal_(std=2.0)
    return adapter


def test_nothing_that_a_session_can_do_is_left_out():
    public = {name for name in dir(Session) if not name.startswith("_")}
    assert public - vars(SessionProxy).keys() - vars(RaySession).keys() == BUILT_ON_OTHERS


def test_what_the_page_reads_is_the_sessions(remote, session):
    for fact in FACTS:
        assert getattr(remote, fact) == getattr(session, fact)
    for name, info in OF_PARTS.items():
        there, here = getattr(remote, name), getattr(session, name)
        assert all(getattr(there, fact.name) == getattr(here, fact.name) for fact in fields(info))


def test_texts_and_their_scopes_are_the_sessions(remote, session):
    asked = {"max_new_tokens": 12, "seed": 3}
    for scope in (None, session.scopes[0]):
        assert remote.generate("It was a dark night", scope, **asked) == session.generate(
            "It was a dark night", scope, **asked
        )
    assert remote.bits_per_byte("It was a dark night.") == pytest.approx(
        session.bits_per_byte("It was a dark night."), rel=1e-4
    )


def test_pictures_and_videos_of_this_machine_are_seen(remote, session, pictures):
    prompt, video = "<media> <media> question: what is it? answer:", [Image.open(path) for path in pictures]
    media = [str(pictures[0]), video]
    assert remote.answer(prompt, media, max_new_tokens=8) == session.answer(prompt, media, max_new_tokens=8)
    assert remote.caption(pictures[0]) == session.caption(pictures[0])
    assert remote.classify(pictures[0], ["cat", "dog"]) == pytest.approx(
        session.classify(pictures[0], ["cat", "dog"]), rel=1e-3
    )
    np.testing.assert_allclose(remote.embed_images(pictures), session.embed_images(pictures), atol=1e-4)
    assert remote.caption(remote.encode_image(pictures[0])) == session.caption(pictures[0])
    assert remote.answer(prompt, remote.opened(media), max_new_tokens=8) == (
        session.answer(prompt, media, max_new_tokens=8)
    )
    looked = remote.attention_maps(prompt, media, "a cat")
    assert looked.tokens == session.attention_maps(prompt, media, "a cat").tokens
    assert len(looked.media) == 2


def test_errors_are_the_sessions_and_come_at_once(remote, tmp_path):
    with pytest.raises(PromptError, match=r"^the prompt is empty"):
        remote.stream(" ", seed=1)
    with pytest.raises(ScopeError, match=r"there is no scope 'nobody'"):
        remote.bits_per_byte("a", "nobody")
    with pytest.raises(MediaError, match=r"^there is no file gone\.png"):
        remote.caption(tmp_path / "gone.png")
    with pytest.raises(CheckpointError, match=r"^there is no weights file at "):
        remote.load_adapter(tmp_path / "gone.safetensors")
    with pytest.raises(ArgumentError, match="missing a required argument: 'image'"):
        remote.caption()


def test_words_come_while_the_rest_is_still_written(remote, session, gate):
    gate.shut()
    asked = {"max_new_tokens": 12, "seed": 4}
    deltas = remote.stream("It was a dark night", **asked)
    first = next(deltas)
    gate.open()
    assert first + "".join(deltas) == session.generate("It was a dark night", **asked)


def test_who_stops_ends_the_text_where_it_is_written(remote, gate):
    """The gate stays shut: the text can only end by being stopped."""
    gate.shut()
    cancelled = threading.Event()
    deltas = remote.stream("It was a dark night", cancelled=cancelled, seed=5, max_new_tokens=200)
    with ThreadPoolExecutor(1) as reader:
        read = reader.submit(list, deltas)
        until(gate.writers)
        cancelled.set()
        assert len(read.result()) < 10


def test_a_text_that_nobody_reads_any_more_ends_where_it_is_written(remote, gate, folder):
    gate.shut()
    deltas = remote.stream("It was a dark night", seed=6, max_new_tokens=200)
    next(deltas)
    deltas.close()
    until((folder / "ended6").exists)


def test_a_mix_is_written_elsewhere_with_named_scopes_and_a_visitors_own(remote, session, adapter):
    asked = {"max_new_tokens": 6, "temperature": 0.0}
    for mix in ({session.scopes[0]: 0.7, session.scopes[1]: -0.5}, {session.scopes[0]: 0.5, adapter: 0.3}):
        assert remote.generate("It was a dark night", mix, **asked) == session.generate(
            "It was a dark night", mix, **asked
        )


def test_a_scope_of_a_visitors_own_stays_where_it_was_used(remote, session, gate, adapter):
    """The page learns a moment after the first request where the scope is. By chance alone, one replica of
    two would get all nine requests once in 256 tries."""
    asked = {"max_new_tokens": 4, "temperature": 0.0}
    expected = session.generate("It was a dark night", adapter, **asked)
    assert expected != session.generate("It was a dark night", **asked)

    def stays(adapter: Adapter, first: int) -> bool:
        for seed in range(first, first + 9):
            assert remote.generate("It was a dark night", adapter, seed=seed, **asked) == expected
            if seed == first:
                remote.bits_per_byte(PROVERBS.read_text(encoding="utf-8"))  # something that takes a moment
        return len({gate.writers()[seed] for seed in range(first, first + 9)}) == 1

    assert any(stays(deepcopy(adapter), first) for first in (0, 100, 200))


def test_a_scope_is_finetuned_on_a_replica_saved_here_and_read_again(remote, session, tmp_path):
    seen = finetuned_until_stopped(remote, PROVERBS.read_text(encoding="utf-8"))
    assert len({id(step.adapter) for step in seen}) == 1 + sum(
        later.best < earlier.best for earlier, later in pairwise(seen)
    )
    file = tmp_path / "new" / "mine.safetensors"
    remote.save_adapter(seen[-1].adapter, file)
    again, here = remote.load_adapter(file), session.load_adapter(file)
    for name, weight in here.state_dict().items():
        torch.testing.assert_close(again.state_dict()[name], weight)


def test_a_file_that_is_no_scope_is_refused_by_its_name(remote, tmp_path):
    file = tmp_path / "mine.safetensors"
    file.write_text("no scope")
    with pytest.raises(CheckpointError) as refused:
        remote.load_adapter(file)
    assert str(refused.value).startswith(f"{file} is not a readable safetensors file")
