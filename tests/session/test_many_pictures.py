"""A device that is full gets fewer pictures at once."""

import random
from itertools import chain

import pytest
import torch

from palm_demo import world
from palm_demo.errors import DeviceMemoryError
from palm_demo.gallery import MEMORY, ingest_pictures, open_gallery
from palm_demo.gallery.sources import find_files
from palm_demo.session import mammut
from palm_demo.session.mammut import in_parts


def doubled_where(room: int):
    """Computes so many at most."""

    def compute(things: list[int]) -> list[int]:
        if len(things) > room:
            raise torch.OutOfMemoryError("full")
        return [2 * thing for thing in things]

    return compute


@pytest.mark.parametrize(
    ("room", "sizes"), [(100, [8, 8, 4]), (8, [8, 8, 4]), (5, [4] * 5), (3, [2] * 10), (1, [1] * 20)]
)
def test_all_are_computed_in_parts_that_fit(room, sizes, monkeypatch):
    monkeypatch.setattr(mammut, "AT_ONCE", 8)
    parts = list(in_parts(doubled_where(room), list(range(20))))
    assert [len(part) for part in parts] == sizes
    assert [*chain.from_iterable(parts)] == [*range(0, 40, 2)]


def test_of_nothing_nothing_is_computed():
    assert list(in_parts(doubled_where(0), [])) == []


def test_where_not_even_one_fits_the_remedy_is_told():
    with pytest.raises(DeviceMemoryError, match=r"even one picture; .* choose a smaller profile"):
        list(in_parts(doubled_where(0), [1, 2, 3]))


def test_pictures_are_embedded_and_captioned_alike_however_many_fit(session, monkeypatch):
    scenes = [world.single_scene(random.Random(seed)) for seed in range(5)]
    pictures = [world.render(scene) for scene in scenes]
    rows, captions = session.embed_images(pictures), session.captions(pictures)
    encode = session.mammut.model.encode_images

    def small(pixels: torch.Tensor):
        if len(pixels) > 2:
            raise torch.OutOfMemoryError("full")
        return encode(pixels)

    monkeypatch.setattr(session.mammut.model, "encode_images", small)
    assert torch.allclose(torch.tensor(session.embed_images(pictures)), torch.tensor(rows), atol=1e-5)
    assert session.captions(pictures) == captions
    together = session.embed_and_caption(pictures)
    assert torch.allclose(torch.tensor(together[0]), torch.tensor(rows), atol=1e-5)
    assert together[1] == captions


def test_a_picture_that_is_added_to_a_gallery_passes_the_tower_once(session, tmp_path):
    for seed in range(3):
        world.render(world.single_scene(random.Random(seed))).save(tmp_path / f"{seed}.png")
    (tmp_path / "2.txt").write_text("mine")
    gallery = open_gallery(MEMORY, session.mammut.fingerprint, session.mammut.embedding_dim)
    passed = []
    hook = session.mammut.model.tower.register_forward_hook(lambda _, given, __: passed.append(len(given[0])))
    try:
        report = ingest_pictures(gallery, session.mammut, find_files(tmp_path)[::-1], {"2.png": "mine"})
    finally:
        hook.remove()
    assert len(report.added) == 3 and [name for name, _ in report.unreadable] == ["2.txt"]
    assert sorted(passed) == [1, 2]
    captions = {row["name"]: row["caption"] for row in gallery.read_columns(["name", "caption"]).to_pylist()}
    assert captions == {
        "0.png": session.caption(tmp_path / "0.png"),
        "1.png": session.caption(tmp_path / "1.png"),
        "2.png": "mine",
    }
