"""Recipe: Flamingo's bridges, between the finished PaLM and the finished tower."""

import random
from dataclasses import dataclass

import torch
from torch import Tensor

from palm_demo import world
from palm_demo.checkpoints import load_palm, load_tower, save_flamingo
from palm_demo.checkpoints.blueprints import FlamingoBlueprint
from palm_demo.models.flamingo import Flamingo
from palm_demo.models.palm import IGNORED, cross_entropy
from palm_demo.prompting import encode_interleaved
from palm_demo.tokenizer import Tokenizer
from palm_demo.training.loop import Batch, Schedule, beside, train
from palm_demo.training.pictures import as_tensor, draw, normalized, padded
from palm_demo.training.place import Workplace

FRAMES = 8
AJAR = 0.5
PARTS = {
    "caption": 0.25,
    "what_is_where": 0.15,
    "background_color": 0.1,
    "is_there": 0.15,
    "how_many": 0.1,
    "which_picture": 0.08,
    "few_shot_naming": 0.09,
    "way": 0.05,
    "grows_or_shrinks": 0.03,
}
"""How often each kind of question is asked in training."""


@dataclass(frozen=True)
class FlamingoRecipe:
    steps: int = 2000
    batch: int = 32
    learning_rate: float = 1e-3
    seed: int = 0


def blueprint(media_token_id: int) -> FlamingoBlueprint:
    return FlamingoBlueprint(
        media_token_id,
        media_rule="all",
        cross_attn_every=1,
        max_frames=FRAMES,
        max_media=8,
        resampler_depth=2,
        num_latents=32,
    )


def flamingo_batch(rng: random.Random, size: int, tokenizer: Tokenizer) -> Batch:
    """`size` questions: ids, the answers' ids as labels, and all their media's frames in a row.

    frames: (all frames, size, size, 3) uint8. frame_counts: (media,).
    """
    kinds = rng.choices(list(PARTS), weights=list(PARTS.values()), k=size)
    rows, labels, frames, counts = [], [], [], []
    for kind in kinds:
        question = world.sample_question(rng, kind)
        prompt = [tokenizer.bos_id, *encode_interleaved(question.prompt, tokenizer)]
        answer = [*tokenizer.encode(f" {question.answer}"), tokenizer.eos_id]
        rows.append([*prompt, *answer[:-1]])
        labels.append([*[IGNORED] * (len(prompt) - 1), *answer])
        for medium in question.media:
            drawn = _frames(medium, rng)
            frames += drawn
            counts.append(len(drawn))
    return {
        "ids": padded(rows, tokenizer.pad_id),
        "labels": padded(labels, IGNORED),
        "frames": torch.stack(frames),
        "frame_counts": torch.tensor(counts),
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
    open_gates_(model)

    def batch_at(step: int) -> Batch:
        return flamingo_batch(random.Random(f"flamingo/{recipe.seed}/{step}"), recipe.batch, tokenizer)

    def losses_of(batch: Batch) -> dict[str, Tensor]:
        return {"answer": cross_entropy(logits_on(model, batch), batch["labels"])}

    measured = flamingo_batch(random.Random("flamingo/measured"), 256, tokenizer)

    def measure() -> dict[str, float]:
        batch = beside(model, measured)
        logits = logits_on(model, batch)
        return {
            "held_out_answer": cross_entropy(logits, batch["labels"]).item(),
            "answers_right": _all_right(logits, batch["labels"]),
        }

    schedule = Schedule(recipe.steps, recipe.learning_rate)
    figures = train(model, batch_at, losses_of, measure, schedule, place.intervals, place.run)
    save_flamingo(place.weights / "flamingo.safetensors", model, made)
    return figures


def open_gates_(model: Flamingo) -> None:
    """Starts training with gates ajar. Adam moves a gate by a learning rate a step, with a sign that
    noise decides while it is shut: after 265 steps from zero all stood below 0.06, and no answer
    had learned to look."""
    with torch.no_grad():
        for bridge in model.bridges.values():
            bridge.attention_gate.fill_(AJAR)
            bridge.ff_gate.fill_(AJAR)


def logits_on(model: Flamingo, batch: Batch) -> Tensor:
    media = normalized(batch["frames"]).split(batch["frame_counts"].tolist())
    return model(batch["ids"], model.embed_media(media))


def _all_right(logits: Tensor, labels: Tensor) -> float:
    """The part of rows in which each answer token is the likeliest, given those before it."""
    right = (logits.argmax(dim=-1) == labels) | (labels == IGNORED)
    return right.all(dim=1).float().mean().item()
