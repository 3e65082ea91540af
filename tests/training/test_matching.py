"""Which words are held against which pictures, and what the loss makes of it."""

import random

import pytest
import torch
from torch.testing import assert_close

from palm_demo import world
from palm_demo.models.transformer import TransformerConfig
from palm_demo.training.objectives import matching_loss, noun_states, shown_nouns
from palm_demo.world.photographs import named


@pytest.fixture
def flamingo(new_flamingo, tokenizer):
    """One whose PaLM reads the real tokenizer's ids."""
    torch.manual_seed(0)
    model = new_flamingo(
        size=TransformerConfig(dim=32, depth=2, heads=2, vocab=len(tokenizer), dim_head=16, ff_mult=2)
    )
    model.media_token_id = tokenizer.media_id
    return model


def test_each_noun_has_the_states_of_its_own_words(flamingo, tokenizer):
    asked = noun_states(flamingo, tokenizer)
    decoder = flamingo.decoder
    for noun in random.Random(0).sample(range(len(world.all_names())), 5):
        name = world.all_names()[noun]
        question = f" question: is there {named(name)}"
        ids = [tokenizer.bos_id, tokenizer.media_id, *tokenizer.encode(question)]
        first = {}
        decoder(
            decoder.embedding(torch.tensor([ids])),
            cross_attention={0: lambda s, first=first: first.setdefault(0, s)},
        )
        words = len(tokenizer.encode(f" {name}"))
        assert_close(asked.states[asked.nouns == noun], first[0][0, -words:])


def test_shown_nouns_are_those_of_each_scene():
    rng = random.Random(0)
    scenes = [world.single_scene(rng), world.pair_scene(rng), world.count_scene(rng)]
    for scene, shown in zip(scenes, shown_nouns(scenes), strict=True):
        assert {world.all_names()[noun] for noun in shown.nonzero()[:, 0]} == set(scene.names)


def test_a_photograph_shows_what_its_thing_is_too():
    (shown,) = shown_nouns([world.Photograph("beagle")])
    assert {world.all_names()[noun] for noun in shown.nonzero()[:, 0]} == {"beagle", "dog"}


def test_the_loss_is_that_of_a_plain_loop_over_pictures_shown_nouns_words_and_heads(flamingo, tokenizer):
    asked, latents = noun_states(flamingo, tokenizer), torch.randn(2, 3, 24)
    shown = torch.zeros(2, len(world.all_names()), dtype=torch.bool)
    shown[0, 3] = shown[1, 5] = shown[1, 90] = True
    cross_attn = flamingo.cross_attention["0"]
    keys, _ = cross_attn.keys_values(latents)
    which, found, missing = [], [], []
    shown_somewhere = [3, 5, 90]
    for picture in range(2):
        margins = []
        for noun in shown_somewhere:
            queries = cross_attn.attention.to_q(cross_attn.norm(asked.states[asked.nouns == noun]))
            scores = (
                queries.unflatten(-1, (2, -1)).transpose(0, 1) @ keys[picture].mT * cross_attn.attention.scale
            )
            margins.append((scores[..., 1:].exp().sum(dim=-1).log() - scores[..., 0]).mean())
        margins, here = torch.stack(margins), shown[picture, shown_somewhere]
        which.append(-margins.softmax(dim=0)[here].log())
        found.append(-margins[here].sigmoid().log())
        missing.append(-(1 - margins[~here].sigmoid()).log())
    expected = sum(torch.cat(part).mean() for part in (which, found, missing))
    assert_close(matching_loss(flamingo, asked, latents, shown), expected, atol=1e-4, rtol=1e-4)


def test_the_loss_teaches_attention_to_find(flamingo, tokenizer):
    asked, latents = noun_states(flamingo, tokenizer), torch.randn(4, 3, 24)
    shown = torch.eye(len(world.all_names()), dtype=torch.bool)[:4]
    learned = torch.optim.Adam(flamingo.cross_attention["0"].attention.parameters(), lr=1e-2)
    before = matching_loss(flamingo, asked, latents, shown).item()
    for _ in range(20):
        learned.zero_grad()
        matching_loss(flamingo, asked, latents, shown).backward()
        learned.step()
    assert matching_loss(flamingo, asked, latents, shown).item() < before / 2
