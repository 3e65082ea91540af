"""A cache of the frozen tower's features of drawn scenes: drawn and encoded once, used in many steps.

Drawing and encoding the pictures of a step takes about as long as the step itself.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from palm_demo import world
from palm_demo.concurrency import locked_cached_property
from palm_demo.errors import CheckpointError
from palm_demo.training.muon import fastest_precision
from palm_demo.training.pictures import as_tensor, draw, normalized

FRAMES = 8
"""Frames of a video."""

AT_ONCE = 64
"""Scenes that the tower encodes together."""

Medium = world.Scene | world.MovingScene


@dataclass(frozen=True)
class FeatureCache:
    """The tower's patches of scenes.

    Attributes:
        media: the scenes.
        patches: (frames of all media, patches, dim) bf16, in the order of the media.
        counts: (media,), the number of frames of each.
    """

    media: Sequence[Medium]
    patches: Tensor
    counts: Tensor

    @locked_cached_property
    def starts(self) -> Tensor:
        """(media,), the position of each medium's first frame."""
        return self.counts.cumsum(dim=0) - self.counts

    def patches_of(self, places: Tensor) -> list[Tensor]:
        """Patches of the media at some positions, in fp32 on the positions' device.

        Returns (patches, dim) for a picture and (frames, patches, dim) for a video.
        """
        device, places = places.device, places.cpu()
        starts, counts = self.starts[places].tolist(), self.counts[places].tolist()
        runs = [self.patches[at : at + n].to(device).float() for at, n in zip(starts, counts, strict=True)]
        return [run if n > 1 else run[0] for run, n in zip(runs, counts, strict=True)]


def encode_scenes(media: Sequence[Medium], tower: nn.Module, seed: str, loaders: int = 0) -> FeatureCache:
    """Draws scenes at the tower's size, with random alterations, and encodes them.

    The alterations depend on a scene's position and the seed. `loaders`: processes that draw; 0 draws
    in this one.
    """
    device = next(tower.parameters()).device
    mixed = device.type == "cuda" or fastest_precision() == torch.bfloat16
    chunks = DataLoader(_DrawnScenes(media, seed, tower.image_size), batch_size=None, num_workers=loaders)
    encoded = []
    for pixels in tqdm(chunks, desc="encoding", mininterval=5, disable=len(media) <= AT_ONCE):
        with torch.no_grad(), torch.autocast(device.type, torch.bfloat16, enabled=mixed):
            encoded.append(tower(normalized(pixels.to(device))).to("cpu", torch.bfloat16))
    return FeatureCache(media, torch.cat(encoded), _frame_counts(media))


def load_or_encode(path: Path, media: Sequence[Medium], tower: nn.Module, seed: str) -> FeatureCache:
    """Loads a feature cache from a file, or encodes the scenes and writes the file.

    Raises CheckpointError when the file is of other scenes.
    """
    if path.is_file():
        feature_cache = FeatureCache(media, load_file(path)["patches"], _frame_counts(media))
        if len(feature_cache.patches) != (frames := int(feature_cache.counts.sum())):
            raise CheckpointError(
                f"{path} has {len(feature_cache.patches)} frames, not the {frames} asked for; "
                "use a new folder"
            )
        return feature_cache
    feature_cache = encode_scenes(media, tower, seed, loaders=2)
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({"patches": feature_cache.patches}, path.with_suffix(".tmp"))
    path.with_suffix(".tmp").replace(path)
    return feature_cache


class _DrawnScenes(Dataset):
    """A data set of drawn scenes in chunks, each (frames, size, size, 3) uint8."""

    def __init__(self, media: Sequence[Medium], seed: str, size: int):
        self.media, self.seed, self.size = media, seed, size

    def __len__(self) -> int:
        return -(-len(self.media) // AT_ONCE)

    def __getitem__(self, chunk: int) -> Tensor:
        if chunk >= len(self):
            raise IndexError(chunk)
        rng = random.Random(f"bank/{self.seed}/{chunk}")
        frames = []
        for medium in self.media[chunk * AT_ONCE : (chunk + 1) * AT_ONCE]:
            if isinstance(medium, world.Scene):
                frames.append(draw(medium, rng, self.size))
            else:
                frames += [as_tensor(frame) for frame in world.frames(medium, FRAMES, self.size)]
        return torch.stack(frames)


def _frame_counts(media: Sequence[Medium]) -> Tensor:
    return torch.tensor([1 if isinstance(medium, world.Scene) else FRAMES for medium in media])
