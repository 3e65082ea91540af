"""The tower's features of photographs: of a few real ones, and most made up from ImageNet's classes.

No captioned photographs are used. The trunk's ImageNet classifier provides the names: its answer is
part of the tower's features. To train on a photograph of a given thing, the features of any photograph
get the answer that the classifier would give to that thing, with realistic uncertainty, and the
thing's name is the text.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from palm_demo import world
from palm_demo.checkpoints import written_whole
from palm_demo.errors import CheckpointError
from palm_demo.models.vision import Twin, VisionTower
from palm_demo.training.feature_cache import FeatureCache, fingerprint
from palm_demo.training.paths import RunPaths
from palm_demo.training.photographs import Photographs
from palm_demo.training.pictures import normalized

AT_ONCE = 64
IMAGINED_AT_ONCE = 1_000

CONFIDENCE = (8.5, 15.5)
"""The classifier's logits per unit of cosine between a class and its first choice, from the 10th to the 90th
percentile of photographs."""

LOGIT_NOISE = 1.7
"""Standard deviation of the part of a photograph's logits that these cosines do not explain."""

CERTAIN = 0.5
"""The least probability at which a real photograph gets the classifier's name."""


@dataclass(frozen=True)
class PhotoFeatures:
    """The tower's features of crops of photographs.

    Attributes:
        patches: (crops, p, width), each ending with the twin's embedding of the classifier's answer.
        twin: the tower's twin.
        names: the name of each crop, None where the classifier is not certain.
    """

    patches: Tensor
    twin: Twin
    names: Sequence[str | None]

    def imagined(self, numbers: Tensor, generator: torch.Generator) -> Tensor:
        """Features of a photograph of each class: (n,) class numbers -> (n, p, width)."""
        crops = torch.randint(len(self.patches), (len(numbers),), generator=generator)
        directions = F.normalize(self.twin.answers.float(), dim=1)
        likeness = directions[numbers] @ directions.T
        least, most = CONFIDENCE
        confidence = least + (most - least) * torch.rand(len(numbers), 1, generator=generator)
        logits = confidence * likeness + LOGIT_NOISE * torch.randn(likeness.shape, generator=generator)
        answer = self.twin.answer(logits).float()
        patches = self.patches[crops].float()
        patches[..., -answer.shape[1] :] = answer[:, None]
        return patches


def certain_names(probabilities: Tensor) -> list[str | None]:
    """The names of crops by their class probabilities (crops, classes); None where no class is certain."""
    classes = world.photo_classes()
    best, places = probabilities.max(dim=1)
    return [
        classes[place].name if much >= CERTAIN else None
        for much, place in zip(best.tolist(), places.tolist(), strict=True)
    ]


def photo_features_of(
    folder: str, count: int, tower: VisionTower, seed: int, paths: RunPaths
) -> PhotoFeatures:
    """The features of `count` crops of a folder's photographs, from a file once it is written.

    Raises CheckpointError when the file is of another number of crops or another tower.
    """
    path, made_by = paths.features / "photographs.pt", fingerprint(tower)
    if not path.is_file():
        crops = Photographs(Path(folder))
        rng = random.Random(f"photographs/{seed}")
        patches, names = [], []
        for start in range(0, count, AT_ONCE):
            some = [crops.crop(rng, tower.image_size)[0] for _ in range(min(AT_ONCE, count - start))]
            pixels = normalized(torch.stack([torch.from_numpy(crop) for crop in some]))
            with torch.no_grad():
                patches.append(tower(pixels).to(torch.bfloat16))
                names += certain_names(tower.visual.trunk(pixels).softmax(dim=1))
        made = {"patches": torch.cat(patches), "names": names, "tower": made_by}
        with written_whole(path) as partial, partial.open("wb") as file:
            torch.save(made, file)
    saved = torch.load(path, weights_only=True)
    if len(saved["names"]) != count:
        raise CheckpointError(
            f"{path} has {len(saved['names'])} crops, not the {count} asked for; use a new folder"
        )
    if saved["tower"] != made_by:
        raise CheckpointError(f"{path} was made by another tower; delete it, or use a new folder")
    return PhotoFeatures(saved["patches"], tower.visual.twin, saved["names"])


def imagined_photographs(photo_features: PhotoFeatures, numbers: Sequence[int], seed: int) -> FeatureCache:
    """The features of an imagined photograph of each of some class numbers."""
    generator, classes = torch.Generator().manual_seed(seed), world.photo_classes()
    patches = [
        photo_features.imagined(some, generator).bfloat16()
        for some in torch.tensor(numbers).split(IMAGINED_AT_ONCE)
    ]
    photos = [world.Photograph(classes[number].name) for number in numbers]
    return FeatureCache(photos, torch.cat(patches), torch.ones(len(photos), dtype=torch.long))
