"""Recipe: what pictures look like to the finished tower that it was trained on."""

import random
from dataclasses import dataclass

from palm_demo.checkpoints import load_tower, save_ood_detector
from palm_demo.models.ood import OODDetector
from palm_demo.training.feature_cache import look_at
from palm_demo.training.flamingo import COUNTS, SINGLES
from palm_demo.training.paths import RunPaths
from palm_demo.training.pictures import draw_scene


@dataclass(frozen=True)
class FamiliarityRecipe:
    pictures: int = 20_480
    seed: int = 0


def train_familiarity(recipe: FamiliarityRecipe, paths: RunPaths) -> dict[str, float]:
    """Writes `familiarity.safetensors`; returns the middle of the distances from the mean."""
    rng = random.Random(f"familiarity/{recipe.seed}")
    scenes = [draw_scene(rng, SINGLES, COUNTS) for _ in range(recipe.pictures)]
    tower = load_tower(paths.weights / "tower.safetensors", paths.assets / "vision")
    feature_cache = look_at(scenes, tower, f"familiarity/{recipe.seed}", loaders=2)
    familiarity = OODDetector(tower.width)
    familiarity.fit_(feature_cache.patches.float())
    save_ood_detector(paths.weights / "familiarity.safetensors", familiarity)
    return {"median_distance": familiarity.distances.median().item()}
