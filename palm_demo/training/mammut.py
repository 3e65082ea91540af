"""Recipe: MaMMUT and its vision tower, from scenes drawn as they are needed."""

import random
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from palm_demo.checkpoints import save_mammut, save_tower
from palm_demo.checkpoints.blueprints import MaMMUTBlueprint
from palm_demo.decoder import Size
from palm_demo.models import MaMMUT
from palm_demo.tokenizer import Tokenizer
from palm_demo.training.loop import Batch, Schedule, train
from palm_demo.training.pictures import mammut_batch, normalized
from palm_demo.training.place import Workplace
from palm_demo.vision import VisionTower

MEASURED_SEED = "mammut/measured"


@dataclass(frozen=True)
class MammutRecipe:
    steps: int = 2800
    batch: int = 64
    learning_rate: float = 1e-3
    seed: int = 0


def blueprint(vocab: int) -> MaMMUTBlueprint:
    size = Size(dim=256, depth=3, heads=4, vocab=vocab, ff_mult=2)
    return MaMMUTBlueprint(size, "multimodal", cross_layers=(0, 1, 2), dim_latents=256)


def parts_of_kinds(progress: float) -> tuple[float, float]:
    """Parts of single things and of counts: from mostly one large thing to several small ones."""
    return (0.75, 0.05) if progress < 0.3 else (0.35, 0.15)


def train_mammut(recipe: MammutRecipe, place: Workplace) -> dict[str, float]:
    """Trains and writes the tower and the rest; returns the last figures."""
    torch.manual_seed(recipe.seed)
    tokenizer = Tokenizer.load(place.tokenizer)
    made = blueprint(len(tokenizer))
    model = made.build(VisionTower.from_folder(place.assets / "vision"))

    def batch_at(step: int) -> Batch:
        rng = random.Random(f"mammut/{recipe.seed}/{step}")
        return mammut_batch(rng, recipe.batch, *parts_of_kinds(step / recipe.steps), tokenizer)

    measured = mammut_batch(random.Random(MEASURED_SEED), 256, 0.4, 0.2, tokenizer)

    def measure() -> dict[str, float]:
        return {f"held_out_{name}": t.item() for name, t in losses_on(model, measured).items()}

    schedule = Schedule(recipe.steps, recipe.learning_rate)
    losses_of = partial(losses_on, model)
    figures = train(model, batch_at, losses_of, measure, schedule, place.intervals, place.run)
    save_tower(place.weights / "tower.safetensors", model.tower)
    save_mammut(place.weights / "mammut.safetensors", model, made)
    return figures


def losses_on(model: MaMMUT, batch: Batch) -> dict[str, Tensor]:
    """MaMMUT's two losses and a third, in nats.

    `naming` contrasts each picture with many nouns at once. In a batch of tens, other
    captions differ by background or place, which are learned first and then leave the contrastive
    loss little to say about what a thing is.
    """
    features = model.encode_images(normalized(batch["pixels"]))
    losses = model.losses(
        features,
        batch["caption_ids"],
        batch["caption_labels"],
        batch["text_ids"],
        batch["text_real"],
    )
    names = model.embed_texts(batch["name_ids"], batch["name_real"])
    likelihoods = model.similarity(names, features.latents).T.log_softmax(dim=1)
    return {
        "caption": losses.caption,
        "contrastive": losses.contrastive,
        "naming": -likelihoods.gather(1, batch["nouns"]).mean(),
    }
