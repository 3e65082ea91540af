"""Once a gallery has grown its embeddings have an index, and what is found stays what is nearest."""

from datetime import datetime, timezone

import numpy as np
import pytest

from palm_demo.gallery import MEMORY, Gallery, index, open_gallery
from palm_demo.gallery.rows import Row
from tests.gallery.conftest import DIM, THUMBNAIL

NOW = datetime(2026, 5, 1, tzinfo=timezone.utc)


def embeddings(start: int, stop: int) -> np.ndarray:
    rows = np.random.default_rng(0).standard_normal((stop, DIM), dtype=np.float32)[start:]
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def grow(gallery: Gallery, start: int, stop: int) -> None:
    gallery.add(
        [
            Row(str(place), f"{place}.png", None, b"", THUMBNAIL, f"picture {place}", place, NOW, embedding)
            for place, embedding in enumerate(embeddings(start, stop), start)
        ]
    )
    gallery.tidy()


def found(gallery: Gallery, query: np.ndarray) -> list[int]:
    return [int(hit.id) for hit in gallery.nearest(query, 5)]


def nearest(count: int, query: np.ndarray) -> list[int]:
    return np.argsort(-embeddings(0, count) @ query)[:5].tolist()


@pytest.fixture
def gallery(monkeypatch) -> Gallery:
    monkeypatch.setattr(index, "INDEXED_FROM", 300)
    return open_gallery(MEMORY, "f", DIM)


def test_a_small_gallery_compares_all_and_a_grown_one_has_an_index(gallery):
    grow(gallery, 0, 299)
    assert not gallery.indexed
    grow(gallery, 299, 400)
    assert gallery.indexed


def test_an_index_finds_what_is_nearest_best_first_with_exact_cosines(gallery):
    grow(gallery, 0, 600)
    for query in embeddings(600, 620):
        hits = gallery.nearest(query, 5)
        assert [int(hit.id) for hit in hits] == nearest(600, query)
        cosines = [float(embeddings(0, 600)[int(hit.id)] @ query) for hit in hits]
        assert [hit.score for hit in hits] == pytest.approx(cosines, abs=1e-6)


def test_pictures_that_came_after_the_index_are_found(gallery):
    grow(gallery, 0, 400)
    query = embeddings(450, 451)[0]
    gallery.add([Row("450", "", None, b"", THUMBNAIL, "late", 0, NOW, query)])
    assert gallery.nearest(query, 1)[0].caption == "late"
    assert "450" in [hit.id for hit in gallery.find(query, 3, words="late")]


def test_an_index_is_trained_anew_when_the_gallery_has_grown_fourfold(gallery):
    for start, stop in ((0, 300), (300, 1100), (1100, 1200)):
        grow(gallery, start, stop)
        trained_on = [i.name for i in gallery.table.list_indices() if i.columns == ["embedding"]]
        assert trained_on == [f"{index.EMBEDDINGS}{1200 if stop == 1200 else 300}"]
    query = embeddings(1200, 1201)[0]
    assert found(gallery, query) == nearest(1200, query)
