"""Copies are found by comparing a picture with few of those that are there."""

import random
from dataclasses import replace

import numpy as np

from palm_demo.gallery.deduplicate import COSINE, PHASH_BITS, Deduplicator, NearHashes
from tests.gallery.conftest import row_of


def altered(rng: random.Random, phash: int, bits: int) -> int:
    """The hash with this many of its bits flipped."""
    return phash ^ sum(1 << place for place in rng.sample(range(64), bits))


def families(rng: random.Random, count: int) -> list[int]:
    """Random hashes, each with others that differ from it in up to two bits more than those of a copy."""
    bases = [rng.getrandbits(64) for _ in range(count)]
    hashes = [altered(rng, base, bits) for base in bases for bits in range(PHASH_BITS + 3)]
    rng.shuffle(hashes)
    return hashes


def test_near_hashes_are_those_that_a_comparison_with_all_finds():
    hashes = families(random.Random(0), 400)
    near, everything = NearHashes(hashes), np.array(hashes, np.uint64)
    for phash in hashes:
        apart = np.bitwise_count(everything ^ np.uint64(phash))
        assert near.near(phash) == np.flatnonzero(apart <= PHASH_BITS).tolist()


def test_hashes_that_are_added_later_are_found_too():
    hashes = families(random.Random(1), 50)
    grown = NearHashes()
    for phash in hashes:
        grown.add(phash)
    whole = NearHashes(hashes)
    assert [grown.near(phash) for phash in hashes] == [whole.near(phash) for phash in hashes]


def test_a_picture_is_compared_with_few_of_very_many(monkeypatch):
    rng = random.Random(2)
    hashes, compared, real = [rng.getrandbits(64) for _ in range(100_000)], [], NearHashes.candidates

    def counted(self, phash):
        found = real(self, phash)
        compared.append(len(found))
        return found

    near = NearHashes(hashes)
    monkeypatch.setattr(NearHashes, "candidates", counted)
    for phash in hashes[:500]:
        near.near(phash)
    assert sum(compared) / len(compared) < len(hashes) / 1000


def test_a_copy_of_a_stored_and_of_a_fresh_picture_is_told_by_the_first_one_alike(new_gallery, eye):
    rng = random.Random(3)
    embedding = np.zeros(eye.embedding_dim, np.float32)
    embedding[0] = 1
    turned = np.zeros_like(embedding)
    turned[:2] = COSINE - 0.01, np.sqrt(1 - (COSINE - 0.01) ** 2)
    phash = rng.getrandbits(64)

    def row(number: int, bits: int, embedding: np.ndarray):
        return replace(row_of(number), phash=altered(rng, phash, bits), embedding=embedding)

    gallery = new_gallery()
    stored = [row(1, 0, turned), row(2, 2, embedding), row(3, PHASH_BITS + 1, embedding)]
    gallery.add(stored)
    copies = Deduplicator(gallery)
    looks_other, copy = row(4, 0, -embedding), row(5, 1, embedding)
    far = replace(row_of(6), phash=phash ^ (2**40 - 1), embedding=embedding)
    far_copy = replace(row_of(7), phash=far.phash ^ 0b1111, embedding=embedding)
    fresh, same, near = copies.split([stored[0], looks_other, copy, far, far_copy])
    assert fresh == [looks_other, far] and same == [stored[0]]
    assert near == [(copy, stored[1].id), (far_copy, far.id)]
