"""Recipe: the OOD detector, fitted to the finished tower's features of drawn scenes."""

import random
from dataclasses import dataclass

from palm_demo.checkpoints import load_tower, save_ood_detector
from palm_demo.models.ood import OODDetector
from palm_demo.training.feature_cache import encode_scenes
from palm_demo.training.flamingo import COUNTS, SINGLES
from palm_demo.training.paths import RunPaths
from palm_demo.training.pictures import draw_scene


@dataclass(frozen=True)
class OODRecipe:
    """Settings of the OOD detector. `pictures`: scenes that it is fitted to."""

    pictures: int = 20_480
    seed: int = 0


def train_ood(recipe: OODRecipe, paths: RunPaths) -> dict[str, float]:
    """Fits the OOD detector and writes `ood.safetensors`. Returns the median distance from the mean."""
    rng = random.Random(f"familiarity/{recipe.seed}")
    scenes = [draw_scene(rng, SINGLES, COUNTS) for _ in range(recipe.pictures)]
    tower = load_tower(paths.weights / "tower.safetensors", paths.assets / "vision")
    feature_cache = encode_scenes(scenes, tower, f"familiarity/{recipe.seed}", loaders=2)
    detector = OODDetector(tower.width)
    detector.fit_(feature_cache.patches.float())
    save_ood_detector(paths.weights / "ood.safetensors", detector)
    return {"median_distance": detector.distances.median().item()}
