"""A cache of the frozen tower's features of drawn scenes: drawn and encoded once, used in many steps.

Drawing and encoding the pictures of a step takes about as long as the step itself. The recipes of MaMMUT,
Flamingo and the OOD detector share the pictures.
"""

import hashlib
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from palm_demo import world
from palm_demo.checkpoints import written_whole
from palm_demo.concurrency import locked_cached_property
from palm_demo.errors import CheckpointError
from palm_demo.training.muon import fastest_precision
from palm_demo.training.pictures import as_tensor, draw, draw_scene, normalized

FRAMES = 8
"""Frames of a video."""

AT_ONCE = 16
"""Scenes that the tower encodes together."""

SINGLES, COUNTS = 0.3, 0.25
"""Fractions of pictures with one thing and with several of one thing; the rest has two things."""

NOISE = 0.5
"""The largest standard deviation of the noise on a twin's tokens, whose own is one."""

Medium = world.Scene | world.MovingScene | world.Photograph
Drawn = Sequence[world.Scene | world.MovingScene]


@dataclass(frozen=True)
class FeatureCache:
    """The tower's patches of scenes or photographs.

    Attributes:
        media: what the patches show.
        patches: (frames of all media, patches, dim) bf16, in the order of the media.
        counts: (media,), the number of frames of each.
    """

    media: Sequence[Medium]
    patches: Tensor
    counts: Tensor

    def __add__(self, other: "FeatureCache") -> "FeatureCache":
        """The media of both, one after the other."""
        return FeatureCache(
            [*self.media, *other.media],
            torch.cat((self.patches, other.patches)),
            torch.cat((self.counts, other.counts)),
        )

    def first(self, count: int) -> "FeatureCache":
        """The first media."""
        frames = int(self.counts[:count].sum())
        return FeatureCache(self.media[:count], self.patches[:frames], self.counts[:count])

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


def with_noise(patches: Tensor, width: int, generator: torch.Generator | None = None) -> Tensor:
    """Adds noise to the first `width` channels, the twin's tokens, of each picture: (b, ..., channels).

    Tokens of a style that was never trained on are a little different, and a model that relies on the finest
    details of known ones does not recognise them.
    """
    size = [len(patches), *[1] * (patches.ndim - 1)]
    strength = NOISE * torch.rand(size, generator=generator)
    noise = strength * torch.randn(*patches.shape[:-1], width, generator=generator)
    return torch.cat((patches[..., :width] + noise.to(patches), patches[..., width:]), dim=-1)


def pictures(count: int, seed: int) -> list[world.Scene]:
    """The scenes of a seed, on which MaMMUT, Flamingo and the OOD detector are trained."""
    rng = random.Random(f"pictures/{seed}")
    return [draw_scene(rng, SINGLES, COUNTS) for _ in range(count)]


def encode_scenes(media: Drawn, tower: nn.Module, seed: str, loaders: int = 0) -> FeatureCache:
    """Draws scenes at the tower's size, with random alterations, and encodes them.

    The alterations depend on a scene's position and the seed. `loaders`: processes that draw, and encode
    too where the tower is on the CPU; 0 does all in this one.
    """
    encode = partial(_encode, tower, fastest_precision() == torch.bfloat16)
    # two processes with a thread each encode nearly twice as much as one with two threads
    by_loaders = loaders > 0 and next(tower.parameters()).device.type == "cpu"
    scenes = _Scenes(media, seed, tower.image_size, encode if by_loaders else None)
    chunks = DataLoader(scenes, batch_size=None, num_workers=loaders)
    shown = tqdm(chunks, desc="encoding", mininterval=5, disable=len(media) <= AT_ONCE)
    patches = torch.cat([chunk if by_loaders else encode(chunk) for chunk in shown])
    return FeatureCache(media, patches, _frame_counts(media))


def load_or_encode(path: Path, media: Drawn, tower: nn.Module, seed: str) -> FeatureCache:
    """Loads a feature cache from a file, or encodes the scenes and writes the file.

    Raises CheckpointError when the file is of another number of scenes, another seed or another tower.
    """
    made_by = fingerprint(tower)
    if path.is_file():
        with safe_open(path, "pt") as file:
            patches, made_with = file.get_tensor("patches"), file.metadata() or {}
        counts = _frame_counts(media)
        if len(patches) != (frames := int(counts.sum())):
            raise CheckpointError(
                f"{path} has {len(patches)} frames, not the {frames} asked for; use a new folder"
            )
        if made_with.get("tower") != made_by:
            raise CheckpointError(f"{path} was made by another tower; delete it, or use a new folder")
        if (its_seed := made_with.get("seed")) != seed:
            raise CheckpointError(f"{path} has the scenes of {its_seed}, not of {seed}; use a new folder")
        return FeatureCache(media, patches, counts)
    feature_cache = encode_scenes(media, tower, seed, loaders=2)
    metadata = {"tower": made_by, "seed": seed}
    with written_whole(path) as partial:
        save_file({"patches": feature_cache.patches}, partial, metadata)
    return feature_cache


def fingerprint(tower: nn.Module) -> str:
    """A digest of a tower's weights, which tells whose features a file has."""
    digest = hashlib.sha256()
    for name, tensor in tower.state_dict().items():
        digest.update(name.encode())
        digest.update(tensor.contiguous().float().numpy(force=True).tobytes())
    return digest.hexdigest()


@torch.no_grad()
def _encode(tower: nn.Module, mixed: bool, pixels: Tensor) -> Tensor:
    device = next(tower.parameters()).device
    with torch.autocast(device.type, torch.bfloat16, enabled=mixed):
        return tower(normalized(pixels.to(device))).to("cpu", torch.bfloat16)


class _Scenes(Dataset):
    """Drawn scenes in chunks, each (frames, size, size, 3) uint8, or what `encode` makes of such a chunk."""

    def __init__(self, media: Drawn, seed: str, size: int, encode: Callable[[Tensor], Tensor] | None = None):
        self.media, self.seed, self.size, self.encode = media, seed, size, encode

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
        drawn = torch.stack(frames)
        if self.encode is None:
            return drawn
        return torch.cat([self.encode(some) for some in drawn.split(AT_ONCE)])


def _frame_counts(media: Drawn) -> Tensor:
    return torch.tensor([FRAMES if isinstance(medium, world.MovingScene) else 1 for medium in media])
