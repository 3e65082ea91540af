"""On another device than the processor, every verb says the same."""

import random

import pytest
import torch
from torch.testing import assert_close

import palm_demo
from palm_demo import world
from palm_demo.session import Session

from .pretended_device import DEVICE, Pretended, pretended_device

pytestmark = pytest.mark.slow

TEXT = "the cat and the dog and the hat"
ASKED = "<media> <media> Output:"


@pytest.fixture(scope="module")
def pictures():
    return [world.render(world.single_scene(random.Random(seed))) for seed in range(3)]


def said(session: Session, pictures: list) -> dict:
    """What each verb answers."""
    media = [pictures[0], pictures]
    scope = session.palm.model.new_adapter(2)
    return {
        "generate": session.generate(TEXT, max_new_tokens=8, seed=1),
        "with a scope": session.generate(TEXT, max_new_tokens=8, seed=1, scope=scope),
        "answer": session.answer(ASKED, media, max_new_tokens=6),
        "answers": session.answers([ASKED, ASKED], [media, media[::-1]], max_new_tokens=6),
        "caption": session.caption(pictures[0], 6),
        "captions": session.captions(pictures, 6),
        "likeliest": list(session.caption_alternatives(pictures[0], 2, 6).values()),
        "bits": [session.bits_per_byte(TEXT)],
        "probabilities": [token.probability for token in session.token_probabilities(TEXT)],
        "looks": session.attention_maps(ASKED, media, "the cat").media_shares(0),
        "labels": list(session.classify(pictures[0], ["cat", "dog"]).values()),
        "texts": session.embed_texts(["a cat", "two dogs"]),
        "latents": session.embed_images(pictures),
    }


@pytest.fixture(params=["bundled", "released"])
def both(request, session) -> tuple[Session, Session]:
    """Of the same weights; the second has written nothing yet."""
    if request.param == "bundled":
        return session, palm_demo.load()
    request.getfixturevalue("filled_hub")
    profile = request.getfixturevalue("profile")
    return palm_demo.load(profile), palm_demo.load(profile)


def test_all_verbs_say_the_same_there(both, pictures):
    here, there = both
    expected = said(here, pictures)
    with pretended_device():
        for system in there.parts.values():
            system.model.to(DEVICE)
            assert system.device == DEVICE
        found = said(there, pictures)
        there.close()
    for verb, value in found.items():
        if isinstance(value, str) or isinstance(value[0], str):
            assert value == expected[verb], verb
        else:
            assert_close(torch.tensor(value), torch.tensor(expected[verb]), atol=1e-5, rtol=1e-4, msg=verb)


def test_a_scope_is_taught_there(both):
    _, there = both
    with pretended_device():
        there.palm.model.to(DEVICE)
        first, *_, last = there.finetune(f"{TEXT}. " * 200, steps=3, window=16, rank=2)
        assert all(isinstance(weight, Pretended) for weight in last.adapter.parameters())
        assert last.step == 3 and last.best < first.base
        assert there.generate(TEXT, scope=last.adapter, max_new_tokens=3, seed=1)
        there.close()


def test_tensors_here_and_there_do_not_mix():
    with pretended_device():
        here, there = torch.ones(2), torch.ones(2, device=DEVICE)
        with pytest.raises(RuntimeError, match="of tensors on meta and on cpu"):
            here + there
        with pytest.raises(RuntimeError, match="of tensors on meta and on cpu"):
            here[there.long()]
        assert there[torch.tensor([1])].device == DEVICE
        assert (here.to(DEVICE) + there).tolist() == [2, 2]
        assert (there + 1).device == DEVICE and torch.equal(there.cpu(), here)
