"""The page's example photographs: each with names that models know, and with its author and licence."""

from pathlib import Path

import pytest
from PIL import Image

from palm_demo import world
from palm_demo.ui.photographs import FOLDER, credits, example_photos, thumbnail


def test_each_file_is_listed_with_its_credit():
    files = {path.name for path in FOLDER.glob("*.webp")}
    assert {photo.file.name for photo in example_photos()} == files
    card = (FOLDER / "README.md").read_text(encoding="utf-8")
    for photo in example_photos():
        assert f"`{photo.file.name}`" in card and photo.credit in credits()


@pytest.mark.parametrize("photo", example_photos(), ids=lambda photo: photo.name)
def test_the_name_that_is_asked_for_is_one_that_models_know(photo):
    assert photo.name in world.all_names()
    assert photo.captions[0] == world.photo_caption(photo.name)


def test_a_thumbnail_is_a_small_square(tmp_path: Path):
    with Image.open(thumbnail(example_photos()[0], tmp_path)) as image:
        assert image.size == (176, 176)
