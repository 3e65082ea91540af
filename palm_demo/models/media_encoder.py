"""Encodes pictures and videos as the latents that a text reads (Flamingo, section 3.1.1)."""

from collections.abc import Sequence
from typing import Protocol

import torch
from einops import rearrange
from torch import Tensor, nn

from palm_demo.errors import PromptError
from palm_demo.models.resampler import PerceiverResampler
from palm_demo.models.vision import freeze_


class MediaPositions(Protocol):
    """The interface of media positions, which tell the media of a text apart.

    `PatchPositions`, `LatentPositions` and `NoPositions` of `palm_demo.models.resampler` have it.
    """

    @property
    def max_media(self) -> int | None:
        """The most media of a text; None for any number."""

    def to_patches(self, patches: Tensor, places: Tensor) -> Tensor: ...

    def to_latents(self, latents: Tensor, places: Tensor) -> Tensor: ...


class MediaEncoder(nn.Module):
    """A frozen vision tower and a resampler.

    Args:
        tower: any image encoder, (b, 3, size, size) -> (b, patches, dim); None if patches are given
            instead of pixels.
        resampler: turns patches into latents.
        places: the media positions.
        max_frames: the most frames of a video; 0 if the model knows pictures only.
        projection: from the tower's width to the resampler's; by default both are the same.
    """

    def __init__(
        self,
        tower: nn.Module | None,
        resampler: PerceiverResampler,
        places: MediaPositions,
        max_frames: int,
        projection: nn.Module | None = None,
    ):
        super().__init__()
        self.tower = freeze_(tower) if tower is not None else None
        self.projection = projection or nn.Identity()
        self.resampler, self.places = resampler, places
        self.frame_positions = nn.Parameter(torch.randn(max_frames, self.dim) * 0.02)

    @property
    def dim(self) -> int:
        """Width of the latents."""
        return self.resampler.latents.shape[1]

    @property
    def num_latents(self) -> int:
        """Number of latents of each medium."""
        return len(self.resampler.latents)

    @property
    def max_frames(self) -> int:
        return len(self.frame_positions)

    @property
    def max_media(self) -> int | None:
        """The most media of a text; None for any number."""
        return self.places.max_media

    def patches(self, media: Sequence[Tensor]) -> list[Tensor]:
        """The tower's patches of pictures (3, size, size) and videos (frames, 3, size, size).

        Returns (patches, dim) for a picture and (frames, patches, dim) for a video. Raises PromptError
        when there is no tower, a video has more frames than `max_frames`, or the tower gives no
        patches.
        """
        if self.tower is None:
            raise PromptError("this Flamingo has no vision tower; give it patches (`embeds`), no pixels")
        if not media:
            return []
        frames = [medium if medium.ndim == 4 else medium[None] for medium in media]
        for medium in media:
            if medium.ndim == 4:
                self._check_frames(len(medium))
        with torch.no_grad():
            patches = self.tower(torch.cat(frames))
        if patches.ndim != 3:
            raise PromptError(
                f"the vision tower gave {tuple(patches.shape)}; it has to give patches, (b, patches, dim)"
            )
        each = patches.split([len(video) for video in frames])
        return [p if m.ndim == 4 else p[0] for p, m in zip(each, media, strict=True)]

    def forward(self, media: Sequence[Tensor], places: Tensor) -> Tensor:
        """Latents (media, latents, dim) of patches as `patches` returns them.

        places: (media,), each medium's position in its text, from 0. Frames of a video get time
        positions, pictures none. Raises PromptError as `patches` does.
        """
        groups: dict[tuple[int, ...], list[int]] = {}
        for index, patches in enumerate(media):
            groups.setdefault(tuple(patches.shape), []).append(index)
        latents: list[Tensor | None] = [None] * len(media)
        for indices in groups.values():
            patches = torch.stack([media[index] for index in indices])
            resampled = self.resampler(self.resampler_input(patches, places[indices]))
            placed = self.places.to_latents(resampled, places[indices])
            for index, row in zip(indices, placed, strict=True):
                latents[index] = row
        if not latents:
            return self.resampler.latents.new_zeros(0, self.num_latents, self.dim)
        return torch.stack(latents)

    def resampler_input(self, patches: Tensor, places: Tensor) -> Tensor:
        """The resampler's input for media of one kind: (b, tokens, dim), frame after frame.

        patches: (b, patches, width), of videos (b, frames, patches, width). places: (b,).
        """
        patches = self.projection(patches)
        if patches.ndim == 4:
            self._check_frames(patches.shape[1])
            patches = patches + rearrange(self.frame_positions[: patches.shape[1]], "f d -> f 1 d")
            patches = rearrange(patches, "b f p d -> b (f p) d")
        return self.places.to_patches(patches, places)

    def _check_frames(self, count: int) -> None:
        if count > self.max_frames:
            raise PromptError(
                f"a video has {count} frames, at most {self.max_frames} fit; sample fewer of them"
            )
