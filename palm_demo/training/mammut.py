"""Recipe: MaMMUT on the finished tower, from drawn scenes and from photographs that are partly imagined."""

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
from palm_demo.models.vision import VisionTower, freeze_
from palm_demo.training.feature_cache import kept, look_at
from palm_demo.training.loop import Batch, Schedule, to_device, train
from palm_demo.training.paths import RunPaths
from palm_demo.training.photo_words import Photographed, all_names, certain_names, words_batch
from palm_demo.training.photographs import Photographs
from palm_demo.training.pictures import draw_scene, normalized, padded
from palm_demo.world.photographs import named

SINGLES, COUNTS = 0.25, 0.25
"""Parts of scenes with one thing and with several of one; the rest has two."""

REAL = 0.2
"""Part of the photographs that are real, with a name that the classifier is certain of."""

MEASURED = 128
MEASURED_CLASSES = 8
"""Every so many-th of them."""
AT_ONCE = 64


@dataclass(frozen=True)
class MammutRecipe:
    """photographs: a folder of them. pictures: scenes that are drawn and looked at beforehand. crops: of
    photographs. scenes, photos: of a step. start, start_tokenizer: weights of an earlier MaMMUT, whose
    decoder goes on from where it was, and the tokenizer that they were trained with; none for a fresh
    start."""

    photographs: str
    pictures: int = 61_440
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
    size = TransformerConfig(dim=256, depth=3, heads=4, vocab=vocab, ff_mult=2)
    return MaMMUTConfig(size, "multimodal", cross_layers=(0, 1, 2), dim_latents=256)


def train_mammut(recipe: MammutRecipe, paths: RunPaths) -> dict[str, float]:
    """Trains on the finished tower and writes `mammut.safetensors`; returns the last figures."""
    torch.manual_seed(recipe.seed)
    tokenizer = BundledTokenizer.load(paths.tokenizer)
    tower = freeze_(load_tower(paths.weights / "tower.safetensors", paths.assets / "vision"))
    made = new_config(len(tokenizer))
    model = made.build(tower)
    if recipe.start:
        carry_over_(model, Path(recipe.start), tokenizer, BundledTokenizer.load(Path(recipe.start_tokenizer)))
    drawn = random.Random(f"mammut/pictures/{recipe.seed}")
    scenes = [draw_scene(drawn, SINGLES, COUNTS) for _ in range(recipe.pictures)]
    cache = kept(paths.run / "features.safetensors", scenes, tower, f"mammut/{recipe.seed}")
    photographed = look_at_photographs(recipe, tower, paths.run / "photographs.pt")
    classes = world.photo_classes()
    certain = [at for at, name in enumerate(photographed.names) if name is not None]

    def batch_at(step: int) -> Batch:
        rng = random.Random(f"mammut/{recipe.seed}/{step}")
        places = rng.sample(range(len(scenes)), recipe.scenes)
        real = [rng.choice(certain) for _ in range(recipe.photos) if rng.random() < REAL] if certain else []
        imagined = rng.choices(range(len(classes)), k=recipe.photos - len(real))
        of_photos = [photographed.names[at] for at in real] + [classes[number].name for number in imagined]
        pictures = [scenes[at] for at in places] + [world.Photograph(name) for name in of_photos]
        return {
            "places": torch.tensor(places),
            "real": torch.tensor(real, dtype=torch.long),
            "imagined": torch.tensor(imagined),
            "seed": torch.tensor(rng.getrandbits(32)),
            **words_batch(pictures, rng, tokenizer),
        }

    def losses_of(batch: Batch) -> dict[str, Tensor]:
        generator = torch.Generator().manual_seed(int(batch["seed"]))
        patches = torch.stack(cache.seen(batch["places"]))
        photos = photographed.patches[batch["real"].cpu()].float()
        imagined = photographed.imagined(batch["imagined"].cpu(), generator)
        patches = torch.cat((patches, photos.to(patches), imagined.to(patches)))
        return losses(model, model.encode_patches(patches), batch)

    rng = random.Random("mammut/measured")
    scenes_measured = [draw_scene(rng, 0.5, COUNTS) for _ in range(MEASURED)]
    words_measured = words_batch(scenes_measured, rng, tokenizer)
    measured = look_at(scenes_measured, tower, "mammut/measured")

    def measure() -> dict[str, float]:
        device = model.summary.device
        features = model.encode_patches(measured.patches.to(device).float())
        ones = [at for at, scene in enumerate(scenes_measured) if len(scene.things) == 1]
        truth = [scenes_measured[at].names[0] for at in ones]
        some = torch.arange(0, len(classes), MEASURED_CLASSES)
        photos = photographed.imagined(some, torch.Generator().manual_seed(recipe.seed)).to(device)
        of_photos = [classes[number].name for number in some]
        save_mammut(paths.weights / "mammut.safetensors", model, made)
        return {
            "held_out_caption": caption_loss(model, features, to_device(model, words_measured)).item(),
            "held_out_named": part_named(model, features.latents[ones], truth, tokenizer),
            "imagined_photos_named": part_named(
                model, model.encode_patches(photos).latents, of_photos, tokenizer
            ),
        }

    schedule = Schedule(recipe.steps, recipe.learning_rate, average=recipe.average)
    figures = train(model, batch_at, losses_of, measure, schedule, paths.intervals, paths.run)
    save_mammut(paths.weights / "mammut.safetensors", model, made)
    return figures


def look_at_photographs(recipe: MammutRecipe, tower: VisionTower, path: Path) -> Photographed:
    """Crops of the photographs as the tower sees them, from a file once it is written."""
    if not path.is_file():
        crops = Photographs(Path(recipe.photographs))
        rng = random.Random(f"mammut/photographs/{recipe.seed}")
        patches, names = [], []
        for start in range(0, recipe.crops, AT_ONCE):
            count = min(AT_ONCE, recipe.crops - start)
            pixels = torch.stack(
                [torch.from_numpy(crops.crop(rng, tower.image_size)[0]) for _ in range(count)]
            )
            with torch.no_grad():
                patches.append(tower(normalized(pixels)).to(torch.bfloat16))
                names += certain_names(tower.visual.trunk(normalized(pixels)).softmax(dim=1))
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.save({"patches": torch.cat(patches), "names": names}, path)
    kept_ones = torch.load(path, weights_only=True)
    return Photographed(kept_ones["patches"], tower.visual.twin, kept_ones["names"])


def losses(model: MaMMUT, features: ImageFeatures, batch: Batch) -> dict[str, Tensor]:
    """Both of MaMMUT's, where texts that are true of another picture too are not held against it, and that of
    naming."""
    return {
        "caption": caption_loss(model, features, batch),
        "contrastive": contrastive_loss(model, features.latents, batch),
        "naming": naming_loss(model, features.latents, batch),
    }


def caption_loss(model: MaMMUT, features: ImageFeatures, batch: Batch) -> Tensor:
    """Nats per token; only states that have a token to foretell go through the head."""
    labels = batch["caption_labels"]
    told = labels != IGNORED
    states = model.embed(batch["caption_ids"], features.memory)[told]
    return F.cross_entropy(model.decoder.head(states, model.decoder.embedding).float(), labels[told])


def contrastive_loss(model: MaMMUT, latents: Tensor, batch: Batch) -> Tensor:
    similarity = model.similarity(model.embed_texts(batch["text_ids"], batch["text_real"]), latents)
    similarity = similarity.masked_fill(batch["also_true"], -torch.inf)
    pairs = torch.arange(len(latents), device=latents.device)
    return (F.cross_entropy(similarity, pairs) + F.cross_entropy(similarity.T, pairs)) / 2


def naming_loss(model: MaMMUT, latents: Tensor, batch: Batch) -> Tensor:
    """Nats for telling a picture's names among many.

    In a batch of tens, captions differ by background or place, which are learned first and then
    leave the contrastive loss little to say about what a thing is.
    """
    names = model.embed_texts(batch["name_ids"], batch["name_real"])
    scores = model.similarity(names, latents).T.masked_fill(batch["also_named"], -torch.inf)
    return -scores.log_softmax(dim=1).gather(1, batch["nouns"]).mean()


def part_named(model: MaMMUT, latents: Tensor, truth: list[str], tokenizer: BundledTokenizer) -> float:
    """Of pictures, those whose name is the likeliest of all names."""
    ids = padded(tokenizer.encode_batch([named(name) for name in all_names()]), tokenizer.pad_id)
    ids = ids.to(latents.device)
    likeliest = (latents @ model.embed_texts(ids, ids != tokenizer.pad_id).T).argmax(dim=1).tolist()
    return sum(all_names()[at] == name for at, name in zip(likeliest, truth, strict=True)) / len(truth)


@torch.no_grad()
def carry_over_(model: MaMMUT, path: Path, tokenizer: BundledTokenizer, earlier: BundledTokenizer) -> None:
    """Starts a model from an earlier one's weights wherever both have the same shape; a token's embedding
    from the mean of those that the earlier tokenizer has for its text. What reads the tower is new."""
    tensors, _ = files.read(path, MaMMUTConfig.kind)
    embedding = tensors.pop("decoder.embedding.weight").float()
    own = dict(model.named_parameters())
    for name, tensor in tensors.items():
        if name in own and name != "log_scale" and own[name].shape == tensor.shape:
            own[name].copy_(tensor)
    for token in range(len(tokenizer)):
        ids = earlier.encode(tokenizer.decode([token])) or [token]
        model.decoder.embedding.weight[token] = embedding[ids].mean(dim=0)
