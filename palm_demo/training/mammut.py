"""Recipe: MaMMUT on the finished tower, from drawn scenes and from features of photographs, most of them
made up."""

import random
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from palm_demo import world
from palm_demo.checkpoints import files, load_tower, save_mammut
from palm_demo.checkpoints.bundled import MaMMUTConfig
from palm_demo.models import MaMMUT
from palm_demo.models.losses import IGNORED
from palm_demo.models.mammut import ImageFeatures
from palm_demo.models.tokenizers import BundledTokenizer
from palm_demo.models.transformer import TransformerConfig
from palm_demo.models.vision import freeze_
from palm_demo.training.feature_cache import COUNTS, encode_scenes, load_or_encode, pictures, with_noise
from palm_demo.training.loop import Batch, Schedule, to_device, train
from palm_demo.training.paths import RunPaths
from palm_demo.training.photo_features import photo_features_of
from palm_demo.training.photo_words import words_batch
from palm_demo.training.pictures import draw_scene, padded
from palm_demo.training.warm_start import copy_where_alike_
from palm_demo.training.wordnet import RelatedWords
from palm_demo.world.photographs import named

SINGLES = 0.5
"""Fraction of the measured scenes with one thing."""

REAL = 0.2
"""Fraction of photographs that are real and have a name that the classifier is certain of."""

MEASURED = 128
"""Held-out scenes."""

MEASURED_EVERY = 8
"""The step through the list of photographs' classes: every eighth is measured."""


@dataclass(frozen=True)
class MammutRecipe:
    """Settings of MaMMUT's training.

    Attributes:
        photographs: a folder of photographs.
        wordnet: a folder with WordNet's files; empty to do without related words.
        pictures: scenes that are drawn and encoded beforehand.
        crops: crops of photographs that are encoded beforehand.
        scenes, photos: how many of each a step has.
        average: decay of the moving average of the weights.
        start, start_tokenizer: weights of an earlier MaMMUT whose decoder is trained further, and
            their tokenizer; empty for a fresh start.
    """

    photographs: str
    wordnet: str = ""
    pictures: int = 49_152
    crops: int = 2_048
    steps: int = 8_000
    scenes: int = 48
    photos: int = 16
    learning_rate: float = 1e-3
    average: float = 0.998
    start: str = ""
    start_tokenizer: str = ""
    seed: int = 0


def new_config(vocab: int) -> MaMMUTConfig:
    """The configuration of the bundled MaMMUT."""
    size = TransformerConfig(dim=256, depth=3, heads=4, vocab=vocab, ff_mult=2)
    return MaMMUTConfig(size, "multimodal", cross_layers=(0, 1, 2), dim_latents=256)


def train_mammut(recipe: MammutRecipe, paths: RunPaths) -> dict[str, float]:
    """Trains MaMMUT on the finished tower and writes `mammut.safetensors`. Returns the last figures."""
    torch.manual_seed(recipe.seed)
    tokenizer = BundledTokenizer.load(paths.tokenizer)
    tower = freeze_(load_tower(paths.weights / "tower.safetensors", paths.assets / "vision"))
    made = new_config(len(tokenizer))
    model = made.build(tower)
    if recipe.start:
        init_from_(model, Path(recipe.start), tokenizer, BundledTokenizer.load(Path(recipe.start_tokenizer)))
    scenes, seed = pictures(recipe.pictures, recipe.seed), f"pictures/{recipe.seed}"
    cache = load_or_encode(paths.features / "pictures.safetensors", scenes, tower, seed)
    photo_features = photo_features_of(recipe.photographs, recipe.crops, tower, recipe.seed, paths)
    related = RelatedWords.read(Path(recipe.wordnet)) if recipe.wordnet else None
    twin_width = tower.visual.twin.projection.out_features
    classes = world.photo_classes()
    certain = [at for at, name in enumerate(photo_features.names) if name is not None]

    def batch_at(step: int) -> Batch:
        rng = random.Random(f"mammut/{recipe.seed}/{step}")
        places = rng.sample(range(len(scenes)), recipe.scenes)
        real = [rng.choice(certain) for _ in range(recipe.photos) if rng.random() < REAL] if certain else []
        imagined = rng.choices(range(len(classes)), k=recipe.photos - len(real))
        of_photos = [photo_features.names[at] for at in real] + [classes[number].name for number in imagined]
        shown = [scenes[at] for at in places] + [world.Photograph(name) for name in of_photos]
        return {
            "places": torch.tensor(places),
            "real": torch.tensor(real, dtype=torch.long),
            "imagined": torch.tensor(imagined),
            "seed": torch.tensor(rng.getrandbits(32)),
            **words_batch(shown, rng, tokenizer, related),
        }

    def losses_of(batch: Batch) -> dict[str, Tensor]:
        generator = torch.Generator().manual_seed(int(batch["seed"]))
        patches = torch.stack(cache.patches_of(batch["places"]))
        patches = with_noise(patches, twin_width, generator)
        photos = photo_features.patches[batch["real"].cpu()].float()
        imagined = photo_features.imagined(batch["imagined"].cpu(), generator)
        patches = torch.cat((patches, photos.to(patches), imagined.to(patches)))
        return losses(model, model.encode_patches(patches), batch)

    rng = random.Random("mammut/measured")
    scenes_measured = [draw_scene(rng, SINGLES, COUNTS) for _ in range(MEASURED)]
    words_measured = words_batch(scenes_measured, rng, tokenizer)
    measured = encode_scenes(scenes_measured, tower, "mammut/measured")

    def measure() -> dict[str, float]:
        device = model.summary.device
        features = model.encode_patches(measured.patches.to(device).float())
        ones = [at for at, scene in enumerate(scenes_measured) if len(scene.things) == 1]
        truth = [scenes_measured[at].names[0] for at in ones]
        some = torch.arange(0, len(classes), MEASURED_EVERY)
        photos = photo_features.imagined(some, torch.Generator().manual_seed(recipe.seed)).to(device)
        of_photos = [classes[number].name for number in some]
        save_mammut(paths.weights / "mammut.safetensors", model, made)
        return {
            "held_out_caption": caption_loss(model, features, to_device(model, words_measured)).item(),
            "held_out_named": naming_accuracy(model, features.latents[ones], truth, tokenizer),
            "imagined_photos_named": naming_accuracy(
                model, model.encode_patches(photos).latents, of_photos, tokenizer
            ),
        }

    schedule = Schedule(recipe.steps, recipe.learning_rate, average=recipe.average)
    figures = train(model, batch_at, losses_of, measure, schedule, paths.intervals, paths.run)
    save_mammut(paths.weights / "mammut.safetensors", model, made)
    return figures


def losses(model: MaMMUT, features: ImageFeatures, batch: Batch) -> dict[str, Tensor]:
    """MaMMUT's two losses and the naming loss, by name.

    In the contrastive loss, a text that is also true of another picture does not count against it.
    """
    return {
        "caption": caption_loss(model, features, batch),
        "contrastive": contrastive_loss(model, features.latents, batch),
        "naming": naming_loss(model, features.latents, batch),
    }


def caption_loss(model: MaMMUT, features: ImageFeatures, batch: Batch) -> Tensor:
    """Nats per token of the captions. Only states that have a token to predict go through the head."""
    labels = batch["caption_labels"]
    learned = labels != IGNORED
    states = model.embed(batch["caption_ids"], features.memory)[learned]
    return F.cross_entropy(model.decoder.head(states, model.decoder.embedding).float(), labels[learned])


def contrastive_loss(model: MaMMUT, latents: Tensor, batch: Batch) -> Tensor:
    """Nats for finding each picture's text and each text's picture in the batch."""
    similarity = model.similarity(model.embed_texts(batch["text_ids"], batch["text_real"]), latents)
    similarity = similarity.masked_fill(batch["also_true"], -torch.inf)
    pairs = torch.arange(len(latents), device=latents.device)
    return (F.cross_entropy(similarity, pairs) + F.cross_entropy(similarity.T, pairs)) / 2


def naming_loss(model: MaMMUT, latents: Tensor, batch: Batch) -> Tensor:
    """Nats for telling a picture's names among many.

    Most captions of a small batch differ by background or relation. Once these are learned, the
    contrastive loss is low and says little about what a thing is.
    """
    names = model.embed_texts(batch["name_ids"], batch["name_real"])
    scores = model.similarity(names, latents).T.masked_fill(batch["also_named"], -torch.inf)
    return -scores.log_softmax(dim=1).gather(1, batch["nouns"]).mean()


def naming_accuracy(model: MaMMUT, latents: Tensor, truth: list[str], tokenizer: BundledTokenizer) -> float:
    """The fraction of pictures whose name is the likeliest of all names."""
    ids = padded(tokenizer.encode_batch([named(name) for name in world.all_names()]), tokenizer.pad_id)
    ids = ids.to(latents.device)
    likeliest = (latents @ model.embed_texts(ids, ids != tokenizer.pad_id).T).argmax(dim=1).tolist()
    return sum(world.all_names()[at] == name for at, name in zip(likeliest, truth, strict=True)) / len(truth)


@torch.no_grad()
def init_from_(model: MaMMUT, path: Path, tokenizer: BundledTokenizer, earlier: BundledTokenizer) -> None:
    """Initialises a model with an earlier one's weights wherever both have the same shape.

    A token's embedding starts as the mean of those of the earlier tokenizer's tokens for its text. The
    layers that read the tower start fresh.
    """
    tensors, _ = files.read(path, MaMMUTConfig.kind)
    embedding = tensors.pop("decoder.embedding.weight").float()
    copy_where_alike_(model, tensors, ("log_scale",))
    for token in range(len(tokenizer)):
        ids = earlier.encode(tokenizer.decode([token])) or [token]
        model.decoder.embedding.weight[token] = embedding[ids].mean(dim=0)
