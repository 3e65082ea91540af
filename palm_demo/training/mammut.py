"""Recipe: MaMMUT and its vision tower, from scenes drawn as they are needed."""

import random
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from palm_demo import world
from palm_demo.checkpoints import save_mammut, save_tower
from palm_demo.checkpoints.bundled import MaMMUTConfig
from palm_demo.models import MaMMUT
from palm_demo.models.mammut import ImageFeatures
from palm_demo.models.tokenizers import BundledTokenizer
from palm_demo.models.transformer import TransformerConfig
from palm_demo.models.vision import VisionTower, freeze_
from palm_demo.training.feature_cache import kept
from palm_demo.training.loop import Batch, Schedule, to_device, train
from palm_demo.training.paths import RunPaths
from palm_demo.training.pictures import draw_scene, mammut_batch, naming_batch, normalized, words_batch

SINGLES, COUNTS = 0.25, 0.25
"""Parts of scenes with one thing and with several of one; the rest has two."""

MEASURED_SEED = "mammut/measured"


@dataclass(frozen=True)
class MammutRecipe:
    """Three stages: naming single things in small pictures, each step of which is cheap; both losses
    of MaMMUT on whole scenes; the same in larger batches of what the tower, then finished, sees in
    `pictures` scenes, at which it looks only once."""

    naming_steps: int = 5000
    naming_batch: int = 128
    naming_size: int = 48
    naming_rate: float = 2e-3
    steps: int = 2000
    batch: int = 64
    learning_rate: float = 1e-3
    pictures: int = 81_920
    reading_steps: int = 2800
    reading_batch: int = 128
    seed: int = 0


def new_config(vocab: int) -> MaMMUTConfig:
    size = TransformerConfig(dim=256, depth=3, heads=4, vocab=vocab, ff_mult=2)
    return MaMMUTConfig(size, "multimodal", cross_layers=(0, 1, 2), dim_latents=256)


def train_mammut(recipe: MammutRecipe, paths: RunPaths) -> dict[str, float]:
    """Trains and writes the tower and the rest; returns the last figures."""
    torch.manual_seed(recipe.seed)
    tokenizer = BundledTokenizer.load(paths.tokenizer)
    tower = VisionTower.from_folder(paths.assets / "vision")
    learn_names(tower, recipe, paths)
    made = new_config(len(tokenizer))
    model = made.build(tower)
    learn_scenes(model, recipe, tokenizer, paths)
    figures = learn_to_read(model, recipe, tokenizer, paths)
    save_tower(paths.weights / "tower.safetensors", tower)
    save_mammut(paths.weights / "mammut.safetensors", model, made)
    return figures


class Namer(nn.Module):
    """A tower with a throw-away classifier over the world's nouns."""

    def __init__(self, tower: VisionTower):
        super().__init__()
        self.tower = tower
        self.norm = nn.LayerNorm(tower.width)
        self.classifier = nn.Linear(tower.width, len(world.concepts()))

    def forward(self, pixels: Tensor) -> Tensor:
        return self.classifier(self.norm(self.tower(pixels).mean(dim=1)))


def learn_names(tower: VisionTower, recipe: MammutRecipe, paths: RunPaths) -> None:
    """First stage. Things are as large here as those of a pair in a whole scene, so that what is
    learned carries over."""
    namer = Namer(tower)

    def batch_at(step: int) -> Batch:
        rng = random.Random(f"mammut/names/{recipe.seed}/{step}")
        return naming_batch(rng, recipe.naming_batch, recipe.naming_size)

    def losses_of(batch: Batch) -> dict[str, Tensor]:
        return {"naming": F.cross_entropy(namer(normalized(batch["pixels"])).float(), batch["nouns"])}

    measured = naming_batch(random.Random(MEASURED_SEED), 500, recipe.naming_size)

    def measure() -> dict[str, float]:
        batch = to_device(namer, measured)
        named = namer(normalized(batch["pixels"])).argmax(dim=1)
        return {"held_out_named": (named == batch["nouns"]).float().mean().item()}

    schedule = Schedule(recipe.naming_steps, recipe.naming_rate)
    train(namer, batch_at, losses_of, measure, schedule, paths.intervals, paths.run / "names")


def learn_scenes(model: MaMMUT, recipe: MammutRecipe, tokenizer: BundledTokenizer, paths: RunPaths) -> None:
    """Second stage."""

    def batch_at(step: int) -> Batch:
        rng = random.Random(f"mammut/scenes/{recipe.seed}/{step}")
        return mammut_batch(rng, recipe.batch, SINGLES, COUNTS, tokenizer)

    def losses_of(batch: Batch) -> dict[str, Tensor]:
        return losses(model, model.encode_images(normalized(batch["pixels"])), batch)

    measured = mammut_batch(random.Random(MEASURED_SEED), 256, SINGLES, COUNTS, tokenizer)

    def measure() -> dict[str, float]:
        return held_out(losses_of(to_device(model, measured)))

    schedule = Schedule(recipe.steps, recipe.learning_rate)
    train(model, batch_at, losses_of, measure, schedule, paths.intervals, paths.run / "scenes")


def learn_to_read(
    model: MaMMUT, recipe: MammutRecipe, tokenizer: BundledTokenizer, paths: RunPaths
) -> dict[str, float]:
    """Third stage; returns the last figures."""
    tower = freeze_(model.tower)
    drawn = random.Random(f"mammut/pictures/{recipe.seed}")
    scenes = [draw_scene(drawn, SINGLES, COUNTS) for _ in range(recipe.pictures)]
    feature_cache = kept(paths.run / "bank.safetensors", scenes, tower, f"mammut/{recipe.seed}")

    def batch_at(step: int) -> Batch:
        rng = random.Random(f"mammut/reading/{recipe.seed}/{step}")
        places = rng.sample(range(len(scenes)), recipe.reading_batch)
        words = words_batch([scenes[paths] for paths in places], rng, tokenizer)
        return {"places": torch.tensor(places), **words}

    def losses_of(batch: Batch) -> dict[str, Tensor]:
        patches = torch.stack(feature_cache.seen(batch["places"]))
        return losses(model, model.encode_patches(patches), batch)

    measured = mammut_batch(random.Random(MEASURED_SEED), 256, SINGLES, COUNTS, tokenizer)

    def measure() -> dict[str, float]:
        batch = to_device(model, measured)
        return held_out(losses(model, model.encode_images(normalized(batch["pixels"])), batch))

    schedule = Schedule(recipe.reading_steps, recipe.learning_rate)
    return train(model, batch_at, losses_of, measure, schedule, paths.intervals, paths.run / "reading")


def losses(model: MaMMUT, features: ImageFeatures, batch: Batch) -> dict[str, Tensor]:
    """Both of MaMMUT's, and that of naming."""
    both = model.losses(
        features,
        batch["caption_ids"],
        batch["caption_labels"],
        batch["text_ids"],
        batch["text_real"],
    )
    return {
        "caption": both.caption,
        "contrastive": both.contrastive,
        "naming": naming_loss(model, features.latents, batch),
    }


def held_out(losses: dict[str, Tensor]) -> dict[str, float]:
    return {f"held_out_{name}": loss.item() for name, loss in losses.items()}


def naming_loss(model: MaMMUT, latents: Tensor, batch: Batch) -> Tensor:
    """Nats for telling a picture's nouns among many.

    In a batch of tens, captions differ by background or place, which are learned first and then
    leave the contrastive loss little to say about what a thing is.
    """
    names = model.embed_texts(batch["name_ids"], batch["name_real"])
    likelihoods = model.similarity(names, latents).T.log_softmax(dim=1)
    return -likelihoods.gather(1, batch["nouns"]).mean()
