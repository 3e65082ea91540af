"""Recipe: Flamingo's bridges, between the finished PaLM and the finished tower."""

import random
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from palm_demo import world
from palm_demo.checkpoints import load_palm, load_tower, save_flamingo
from palm_demo.checkpoints.blueprints import FlamingoBlueprint
from palm_demo.models.flamingo import Flamingo
from palm_demo.models.palm import IGNORED
from palm_demo.prompting import encode_interleaved
from palm_demo.tokenizer import Tokenizer
from palm_demo.training.loop import Batch, Schedule, beside, train
from palm_demo.training.matching import matching_loss, noun_states, shown_nouns
from palm_demo.training.pictures import as_tensor, draw, draw_scene, normalized, padded
from palm_demo.training.place import Workplace

FRAMES = 8
AJAR = 0.5
SMALL = 0.02
MEASURED = 64
STILL = 0.7
"""How often a batch is about single pictures; else it is about several, or about videos. A batch
of both would fill short questions up to the length of the long ones."""

MATCH_WEIGHT = 0.5
"""Of the loss that teaches words where to look, beside that of the answers."""

SINGLES, COUNTS = 0.4, 0.2
ABOUT = {
    "single": ("caption", "is_there", "is_there", "background_color"),
    "pair": ("caption", "is_there", "is_there", "what_is_where", "what_is_where"),
    "count": ("caption", "is_there", "how_many"),
}
"""What is asked about a picture, all of it each time: looking costs more than asking."""

SEVERAL = {
    ("few_shot_naming", "few_shot_naming"): 0.5,
    ("which_picture", "which_picture"): 0.2,
    ("way",): 0.2,
    ("grows_or_shrinks",): 0.1,
}
"""The same of several pictures and of videos, and how often."""


@dataclass(frozen=True)
class FlamingoRecipe:
    """matching_steps: how many of the steps, at first, only teach the first bridge where to look.
    naming_steps: how many after them are for the names of single things. batch: single pictures in a
    step; of several pictures or videos it holds half as many, in naming twice, in matching four times
    as many."""

    steps: int = 6000
    matching_steps: int = 500
    naming_steps: int = 400
    batch: int = 32
    learning_rate: float = 2e-3
    seed: int = 0


def blueprint(media_token_id: int) -> FlamingoBlueprint:
    return FlamingoBlueprint(
        media_token_id,
        media_rule="all",
        cross_attn_every=1,
        max_frames=FRAMES,
        max_media=8,
        resampler_depth=1,
        num_latents=36,
    )


def matching_batch(rng: random.Random, size: int, tokenizer: Tokenizer) -> Batch:
    """Pictures without a question: looking is learned apart, as it is cheap without the text."""
    scenes = [draw_scene(rng, SINGLES, COUNTS) for _ in range(size)]
    return {
        "ids": torch.tensor([[tokenizer.bos_id, tokenizer.media_id]] * size),
        "frames": torch.stack([draw(scene, rng) for scene in scenes]),
        "frame_counts": torch.ones(size, dtype=torch.long),
        "firsts": torch.arange(size),
        "shown_nouns": shown_nouns(scenes),
    }


def naming_batch(rng: random.Random, size: int, tokenizer: Tokenizer) -> Batch:
    """Captions of single things. Nouns come first: among all other questions, captions were still
    all wrong after 1,000 steps, alone a third was right after 300."""
    asked = [[world.ask(rng, "caption", (world.single_scene(rng),))] for _ in range(size)]
    return questions_batch(rng, asked, tokenizer)


def flamingo_batch(rng: random.Random, size: int, tokenizer: Tokenizer) -> Batch:
    """Questions about `size` pictures, or about half as many groups of pictures and videos."""
    if rng.random() < STILL:
        asked = [_about_one(rng) for _ in range(size)]
        scenes = [questions[0].media[0] for questions in asked]
        return questions_batch(rng, asked, tokenizer) | {"shown_nouns": shown_nouns(scenes)}
    asked = [_about_several(rng) for _ in range(size // 2)]
    return questions_batch(rng, asked, tokenizer)


def _about_one(rng: random.Random) -> list[world.Question]:
    scene = draw_scene(rng, SINGLES, COUNTS)
    return [world.ask(rng, kind, (scene,)) for kind in ABOUT[scene.kind]]


def _about_several(rng: random.Random) -> list[world.Question]:
    (kinds,) = rng.choices(list(SEVERAL), weights=list(SEVERAL.values()))
    first = world.sample_question(rng, kinds[0])
    return [first, *(world.ask(rng, kind, first.media) for kind in kinds[1:])]


def questions_batch(
    rng: random.Random, asked: Sequence[Sequence[world.Question]], tokenizer: Tokenizer
) -> Batch:
    """Groups of questions about the same media, which are drawn once.

    ids, labels: (questions, n), the answers' ids as labels. frames: (all frames, size, size, 3) uint8.
    frame_counts: (media,). firsts: (groups,), the row of each group's first question. shown: (marks
    of all questions,), the media they stand for.
    """
    rows, labels, frames, counts, firsts, shown = [], [], [], [], [], []
    for questions in asked:
        media = questions[0].media
        firsts.append(len(rows))
        shown += [*range(len(counts), len(counts) + len(media))] * len(questions)
        for question in questions:
            prompt = [tokenizer.bos_id, *encode_interleaved(question.prompt, tokenizer)]
            answer = [*tokenizer.encode(f" {question.answer}"), tokenizer.eos_id]
            rows.append([*prompt, *answer[:-1]])
            labels.append([*[IGNORED] * (len(prompt) - 1), *answer])
        for medium in media:
            drawn = _frames(medium, rng)
            frames += drawn
            counts.append(len(drawn))
    return {
        "ids": padded(rows, tokenizer.pad_id),
        "labels": padded(labels, IGNORED),
        "frames": torch.stack(frames),
        "frame_counts": torch.tensor(counts),
        "firsts": torch.tensor(firsts),
        "shown": torch.tensor(shown),
    }


def _frames(medium: world.Scene | world.MovingScene, rng: random.Random) -> list[Tensor]:
    if isinstance(medium, world.Scene):
        return [draw(medium, rng)]
    return [as_tensor(frame) for frame in world.frames(medium, FRAMES)]


def train_flamingo(recipe: FlamingoRecipe, place: Workplace) -> dict[str, float]:
    """Trains and writes `flamingo.safetensors`; returns the last figures."""
    torch.manual_seed(recipe.seed)
    tokenizer = Tokenizer.load(place.tokenizer)
    palm, _ = load_palm(place.weights / "palm.safetensors")
    tower = load_tower(place.weights / "tower.safetensors", place.assets / "vision")
    made = blueprint(tokenizer.media_id)
    model = made.build(palm, tower)
    ajar_(model)

    asked = noun_states(model, tokenizer)

    def batch_at(step: int) -> Batch:
        rng = random.Random(f"flamingo/{recipe.seed}/{step}")
        if step < recipe.matching_steps:
            return matching_batch(rng, 4 * recipe.batch, tokenizer)
        if step < recipe.matching_steps + recipe.naming_steps:
            return naming_batch(rng, 2 * recipe.batch, tokenizer)
        return flamingo_batch(rng, recipe.batch, tokenizer)

    def losses_of(batch: Batch) -> dict[str, Tensor]:
        latents = latents_of(model, batch)
        losses = {}
        if "labels" in batch:
            logits = model.logits(batch["ids"], latents[batch["shown"]])
            losses["answer"] = answer_loss(logits, batch["labels"])
        if "shown_nouns" in batch:
            losses["match"] = MATCH_WEIGHT * matching_loss(model, asked, latents, batch["shown_nouns"])
        return losses

    measured = {kind: _held_out(kind, tokenizer) for kind in world.KINDS}

    def measure() -> dict[str, float]:
        return {kind: _all_right(model, beside(model, batch)) for kind, batch in measured.items()}

    schedule = Schedule(recipe.steps, recipe.learning_rate)
    figures = train(model, batch_at, losses_of, measure, schedule, place.intervals, place.run)
    save_flamingo(place.weights / "flamingo.safetensors", model, made)
    return figures


def _held_out(kind: str, tokenizer: Tokenizer) -> Batch:
    rng = random.Random(f"flamingo/measured/{kind}")
    names = world.unseen() if kind == "few_shot_naming" else None
    asked = [[world.sample_question(rng, kind, names=names)] for _ in range(MEASURED)]
    return questions_batch(rng, asked, tokenizer)


def ajar_(model: Flamingo) -> None:
    """Starts training with gates ajar and small latents.

    Adam moves a gate by a learning rate a step, with a sign that noise decides while it is shut: after
    265 steps from zero all stood below 0.06, and no answer had learned to look. Latents of size one
    drown what they collect: captions learned a quarter faster from small ones.
    """
    with torch.no_grad():
        for bridge in model.bridges.values():
            bridge.attention_gate.fill_(AJAR)
            bridge.ff_gate.fill_(AJAR)
        model.resampler.latents.mul_(SMALL)


def latents_of(model: Flamingo, batch: Batch) -> Tensor:
    """(media, m, dim)"""
    frames = normalized(batch["frames"]).split(batch["frame_counts"].tolist())
    media = [some if len(some) > 1 else some[0] for some in frames]
    return model.embed_media(media, batch["ids"][batch["firsts"]])


def logits_on(model: Flamingo, batch: Batch) -> Tensor:
    return model.logits(batch["ids"], latents_of(model, batch)[batch["shown"]])


def answer_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Nats per token of each answer, then their mean: over all tokens at once a caption would weigh
    six times a yes or no."""
    nats = F.cross_entropy(logits.float().mT, labels, ignore_index=IGNORED, reduction="none")
    return (nats.sum(dim=1) / (labels != IGNORED).sum(dim=1)).mean()


def _all_right(model: Flamingo, batch: Batch) -> float:
    """The part of rows in which each answer token is the likeliest, given those before it."""
    right = (logits_on(model, batch).argmax(dim=-1) == batch["labels"]) | (batch["labels"] == IGNORED)
    return right.all(dim=1).float().mean().item()
