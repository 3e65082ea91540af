"""The patches of pictures and frames that a vision tower has seen, so that none passes it twice."""

import hashlib
from collections.abc import Callable, Hashable, Iterable, Sequence

from torch import Tensor, nn

from palm_demo.concurrency import client
from palm_demo.kept import Kept


class SeenFrames:
    """A cache of patches, which the parts of a session share.

    A frame's key has a hash of its pixels, the tower, and the client who showed it: what somebody has
    shown is found by nobody else, who could tell by the speed of an answer that it had been shown.

    max_bytes: of all patches together.
    """

    def __init__(self, max_bytes: int):
        self._patches: Kept[Tensor] = Kept(max_bytes)

    def keys(self, tower: nn.Module, frames: Iterable[Tensor]) -> list[Hashable]:
        """The key of each frame (3, size, size). Call it in the context of the client's request."""
        return [(client.get(), tower, _digest(frame)) for frame in frames]

    def patches(
        self,
        keys: Sequence[Hashable],
        frames: Iterable[Tensor],
        look: Callable[[list[Tensor]], Iterable[Tensor]],
    ) -> list[Tensor]:
        """The patches (patches, dim) of each frame.

        Args:
            keys, frames: one key for each frame.
            look: runs the tower. It gets the frames that are not in the cache, all at once.
        """
        seen = {key: self._patches.get(key) for key in keys}
        new = {key: frame for key, frame in zip(keys, frames, strict=True) if seen[key] is None}
        if new:
            for key, patches in zip(new, look([*new.values()]), strict=True):
                seen[key] = patches.clone()  # without the others of the pass
                self._patches.put(key, seen[key], patches.nbytes)
        return [seen[key] for key in keys]


def _digest(frame: Tensor) -> bytes:
    """A hash that tells frames apart."""
    return hashlib.blake2b(frame.numpy(force=True).tobytes(), digest_size=32).digest()
