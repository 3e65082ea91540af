"""Which pictures a gallery has already: the same file, or the same picture saved anew."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from palm_demo.gallery.rows import Row
from palm_demo.gallery.table import Gallery

PHASH_BITS, COSINE = 4, 0.98
"""A copy differs in at most so many bits of its perceptual hash, and has at least this cosine.

`python -m benchmarks.copies` on 150 scenes: of pictures saved as JPEG of quality 60 and of those shrunk
to a third 0.987 pass both limits. What must stay is another picture: the same drawing on another
background passes the hash alone in 0.32 of cases, both limits in 0.06; the same drawing moved by 3% of
the frame in 0.22 and 0.20.
"""


class Copies:
    """The ids and perceptual hashes of all that a gallery holds, in memory: 8 bytes and an id each."""

    def __init__(self, gallery: Gallery):
        self.gallery = gallery
        there = gallery.whole(["id", "phash"])
        self.names = there["id"].to_pylist()
        self.ids = set(self.names)
        self.hashes = there["phash"].to_numpy()

    def near(self, row: Row, fresh: dict[str, Row]) -> str | None:
        """The id of a picture that looks the same; `fresh` are those that are not in the gallery yet."""
        apart = np.bitwise_count(self.hashes ^ np.uint64(row.phash))
        alike = [self.names[place] for place in np.flatnonzero(apart <= PHASH_BITS)]
        latents = self.gallery.latents([id for id in alike if id not in fresh])
        latents |= {id: fresh[id].latent for id in alike if id in fresh}
        return next((id for id in alike if id in latents and latents[id] @ row.latent >= COSINE), None)

    def without(self, rows: Sequence[Row]) -> tuple[list[Row], list[Row], list[tuple[Row, str]]]:
        """Rows apart: the new ones, which count as there from now on; those whose file is there
        already; those that look like another picture, with its id."""
        fresh: dict[str, Row] = {}
        same, near = [], []
        for row in rows:
            if row.id in self.ids:
                same.append(row)
            elif other := self.near(row, fresh):
                near.append((row, other))
            else:
                fresh[row.id] = row
                self._note(row)
        return list(fresh.values()), same, near

    def _note(self, row: Row) -> None:
        self.ids.add(row.id)
        self.names.append(row.id)
        self.hashes = np.append(self.hashes, np.uint64(row.phash))
