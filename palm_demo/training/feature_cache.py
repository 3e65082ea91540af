"""What a frozen tower sees in drawn scenes, kept: each is drawn and looked at once, then asked about often.

To draw and look at the pictures of a step takes about as long as the step does.
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
from palm_demo.training.muon import fastest_precision
from palm_demo.training.pictures import as_tensor, draw, normalized

FRAMES = 8
"""Of a video."""

AT_ONCE = 64
"""Scenes that the tower looks at together."""

Medium = world.Scene | world.MovingScene


@dataclass(frozen=True)
class FeatureCache:
    """media: the scenes. patches: (frames of all, patches, dim) bf16, in their order.
    counts: (media,), the frames of each."""

    media: Sequence[Medium]
    patches: Tensor
    counts: Tensor

    @locked_cached_property
    def starts(self) -> Tensor:
        """(media,), the first frame of each."""
        return self.counts.cumsum(dim=0) - self.counts

    def seen(self, places: Tensor) -> list[Tensor]:
        """Patches of the media at these places, on their device, fp32: (patches, dim) of a picture,
        (frames, patches, dim) of a video."""
        device, places = places.device, places.cpu()
        starts, counts = self.starts[places].tolist(), self.counts[places].tolist()
        runs = [self.patches[at : at + n].to(device).float() for at, n in zip(starts, counts, strict=True)]
        return [run if n > 1 else run[0] for run, n in zip(runs, counts, strict=True)]


def look_at(media: Sequence[Medium], tower: nn.Module, seed: str, loaders: int = 0) -> FeatureCache:
    """What a tower sees in these scenes, each drawn as large as it takes pictures, with alterations that its
    number and the seed decide.

    loaders: processes that draw; 0 draws in this one.
    """
    device = next(tower.parameters()).device
    mixed = device.type == "cuda" or fastest_precision() == torch.bfloat16
    chunks = DataLoader(_Drawn(media, seed, tower.image_size), batch_size=None, num_workers=loaders)
    seen = []
    for pixels in tqdm(chunks, desc="looking", mininterval=5, disable=len(media) <= AT_ONCE):
        with torch.no_grad(), torch.autocast(device.type, torch.bfloat16, enabled=mixed):
            seen.append(tower(normalized(pixels.to(device))).to("cpu", torch.bfloat16))
    return FeatureCache(media, torch.cat(seen), _frame_counts(media))


def kept(path: Path, media: Sequence[Medium], tower: nn.Module, seed: str) -> FeatureCache:
    """The same from a file, which is written if it is not there. Raises ValueError when it is of
    other scenes."""
    if path.is_file():
        feature_cache = FeatureCache(media, load_file(path)["patches"], _frame_counts(media))
        if len(feature_cache.patches) != (frames := int(feature_cache.counts.sum())):
            raise ValueError(
                f"{path} has {len(feature_cache.patches)} frames, not the {frames} asked for; "
                "use a new folder"
            )
        return feature_cache
    feature_cache = look_at(media, tower, seed, loaders=2)
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({"patches": feature_cache.patches}, path.with_suffix(".tmp"))
    path.with_suffix(".tmp").replace(path)
    return feature_cache


class _Drawn(Dataset):
    """Chunks of scenes -> (frames, size, size, 3) uint8."""

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
