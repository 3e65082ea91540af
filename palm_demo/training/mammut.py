"""Recipe: MaMMUT and its vision tower, from scenes drawn as they are needed."""

import random
from dataclasses import dataclass

import torch
from torch import Tensor

from palm_demo.checkpoints import save_mammut, save_tower
from palm_demo.checkpoints.blueprints import MaMMUTBlueprint
from palm_demo.decoder import Size
from palm_demo.models import MaMMUT
from palm_demo.models.mammut import Losses
from palm_demo.tokenizer import Tokenizer
from palm_demo.training.loop import Batch, Schedule, train
from palm_demo.training.pictures import mammut_batch, normalized
from palm_demo.training.place import Workplace
from palm_demo.vision import VisionTower

MEASURED_SEED = "mammut/measured"
CAPTION_WEIGHT = 1.0


@dataclass(frozen=True)
class MammutRecipe:
    steps: int = 3600
    batch: int = 64
    learning_rate: float = 1e-3
    seed: int = 0


def blueprint(vocab: int) -> MaMMUTBlueprint:
    size = Size(dim=256, depth=3, heads=4, vocab=vocab, ff_mult=2)
    return MaMMUTBlueprint(size, "multimodal", cross_layers=(0, 1, 2), dim_latents=256)


def parts_of_kinds(progress: float) -> tuple[float, float]:
    """Parts of single things and of counts: from mostly one large thing to several small ones."""
    return (0.7, 0.05) if progress < 0.25 else (0.35, 0.15)


def train_mammut(recipe: MammutRecipe, place: Workplace) -> dict[str, float]:
    """Trains and writes the tower and the rest; returns the last figures."""
    torch.manual_seed(recipe.seed)
    tokenizer = Tokenizer.load(place.tokenizer)
    made = blueprint(len(tokenizer))
    model = made.build(VisionTower.from_folder(place.assets / "vision"))

    def batch_at(step: int) -> Batch:
        rng = random.Random(f"mammut/{recipe.seed}/{step}")
        return mammut_batch(rng, recipe.batch, *parts_of_kinds(step / recipe.steps), tokenizer)

    def losses_of(batch: Batch) -> dict[str, Tensor]:
        losses = losses_on(model, batch)
        return {"caption": CAPTION_WEIGHT * losses.caption, "contrastive": losses.contrastive}

    measured = mammut_batch(random.Random(MEASURED_SEED), 256, 0.4, 0.2, tokenizer)

    def measure() -> dict[str, float]:
        losses = losses_on(model, measured)
        return {
            "held_out_caption": losses.caption.item(),
            "held_out_contrastive": losses.contrastive.item(),
        }

    schedule = Schedule(recipe.steps, recipe.learning_rate)
    figures = train(model, batch_at, losses_of, measure, schedule, place.intervals, place.run)
    save_tower(place.weights / "tower.safetensors", model.tower)
    save_mammut(place.weights / "mammut.safetensors", model, made)
    return figures


def losses_on(model: MaMMUT, batch: Batch) -> Losses:
    return model.losses(
        model.encode_images(normalized(batch["pixels"])),
        batch["caption_ids"],
        batch["caption_labels"],
        batch["text_ids"],
        batch["text_real"],
    )
