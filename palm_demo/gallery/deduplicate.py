"""Finds copies: pictures that are in a gallery already, or that look like one of it."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Sequence

from palm_demo.gallery.rows import Row
from palm_demo.gallery.store import Gallery

PHASH_BITS, COSINE = 4, 0.98
"""Limits for a copy: at most this many different bits of the perceptual hash, and at least this cosine.

`python -m benchmarks.copies` on 150 scenes: of pictures saved as JPEG of quality 60, and of those
shrunk to a third, 0.987 are within both limits. Pictures that must count as different are mistaken for
copies less often by both limits than by the hash alone: the same drawing on another background in 0.06
instead of 0.32 of cases; the same drawing moved by 3% of the frame in 0.20 instead of 0.22.
"""

MASKS = [sum(1 << bit for bit in range(first, 64, PHASH_BITS + 1)) for first in range(PHASH_BITS + 1)]
"""Parts of a hash, one more than bits may differ: near hashes agree in one part at least. Each takes every
fifth bit, because neighbours, which are neighbouring frequencies, are often equal in pictures."""


class NearHashes:
    """Perceptual hashes in memory, found again by others that differ in at most PHASH_BITS bits.

    A hash is compared only with those that agree with it in one of MASKS, of a million random ones with
    about 700.
    """

    def __init__(self, hashes: Iterable[int] = ()):
        self._hashes = array("Q")
        self._places: list[dict[int, array]] = [{} for _ in MASKS]
        for phash in hashes:
            self.add(phash)

    def add(self, phash: int) -> None:
        """Adds a hash. Its place is the number of those before it."""
        place = len(self._hashes)
        self._hashes.append(phash)
        for mask, places in zip(MASKS, self._places, strict=True):
            places.setdefault(phash & mask, array("I")).append(place)

    def candidates(self, phash: int) -> set[int]:
        """The places of the hashes that agree with this one in a part."""
        parts = zip(MASKS, self._places, strict=True)
        return {place for mask, places in parts for place in places.get(phash & mask, ())}

    def near(self, phash: int) -> list[int]:
        """The places of all near hashes, in their order."""
        return [
            place
            for place in sorted(self.candidates(phash))
            if (self._hashes[place] ^ phash).bit_count() <= PHASH_BITS
        ]


class Deduplicator:
    """Ids and perceptual hashes of all pictures of a gallery, in memory: about 300 bytes a picture."""

    def __init__(self, gallery: Gallery):
        self.gallery = gallery
        there = gallery.read_columns(["id", "phash"])
        self.names = there["id"].to_pylist()
        self.ids = set(self.names)
        self.hashes = NearHashes(there["phash"].to_pylist())

    def near(self, row: Row, fresh: dict[str, Row]) -> str | None:
        """The id of a picture that looks the same, or None. `fresh`: pictures not yet in the gallery, by
        id."""
        alike = [self.names[place] for place in self.hashes.near(row.phash)]
        embeddings = self.gallery.embeddings([id for id in alike if id not in fresh])
        embeddings |= {id: fresh[id].embedding for id in alike if id in fresh}
        return next(
            (id for id in alike if id in embeddings and embeddings[id] @ row.embedding >= COSINE), None
        )

    def split(self, rows: Sequence[Row]) -> tuple[list[Row], list[Row], list[tuple[Row, str]]]:
        """Splits rows into new ones, known ones and near copies.

        Returns:
            The new rows, which count as known from now on; the rows whose file is in the gallery
                already; and the rows that look like another picture, each with that picture's id.
        """
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
        self.hashes.add(row.phash)
