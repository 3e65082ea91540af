"""Recipe: the OOD detector, fitted to the finished tower's features of drawn scenes and photographs."""

from dataclasses import dataclass

from palm_demo import world
from palm_demo.checkpoints import load_tower, save_ood_detector
from palm_demo.models.ood import OODDetector
from palm_demo.training.feature_cache import load_or_encode, pictures
from palm_demo.training.paths import RunPaths
from palm_demo.training.photo_features import imagined_photographs, photo_features_of


@dataclass(frozen=True)
class OODRecipe:
    """Settings of the OOD detector.

    Attributes:
        photographs: a folder of photographs.
        pictures: scenes that are encoded, as for MaMMUT.
        fitted: how many of these scenes it is fitted to.
        crops: crops of photographs that are encoded.
        photos: imagined photographs of each class, by which the classifier's certainty is measured.
    """

    photographs: str
    pictures: int = 49_152
    fitted: int = 16_384
    crops: int = 2_048
    photos: int = 4
    seed: int = 0


def train_ood(recipe: OODRecipe, paths: RunPaths) -> dict[str, float]:
    """Fits the OOD detector and writes `ood.safetensors`. Returns the median distance from the mean and the
    median doubt."""
    tower = load_tower(paths.weights / "tower.safetensors", paths.assets / "vision")
    scenes, seed = pictures(recipe.pictures, recipe.seed), f"pictures/{recipe.seed}"
    drawings = load_or_encode(paths.features / "pictures.safetensors", scenes, tower, seed).patches
    drawings = drawings[: recipe.fitted]
    photo_features = photo_features_of(recipe.photographs, recipe.crops, tower, recipe.seed, paths)
    classes = list(range(len(world.photo_classes()))) * recipe.photos
    photographs = imagined_photographs(photo_features, classes, recipe.seed + 1).patches
    detector = OODDetector(tower.width, tower.width_answers)
    detector.fit_(drawings.float(), photographs)
    save_ood_detector(paths.weights / "ood.safetensors", detector)
    return {
        "median_distance": detector.distances.median().item(),
        "median_doubt": detector.doubts.median().item(),
    }
