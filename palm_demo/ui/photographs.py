"""The photographs among the page's examples, with their correct names, authors and licences."""

import csv
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from PIL import ImageOps

from palm_demo.installation import ASSETS
from palm_demo.media import open_image
from palm_demo.world.photographs import Photograph, indefinite

FOLDER = ASSETS / "photographs"
THUMBNAIL, QUALITY = 176, 70


@dataclass(frozen=True)
class ExamplePhoto(Photograph):
    """A photograph with its file.

    Attributes:
        others: other correct names, everyday words last.
        file: the picture.
        credit: its author and licence.
        asked: whether the page asks Flamingo about it, because it knows the name.
    """

    others: tuple[str, ...]
    file: Path
    credit: str
    asked: bool

    @property
    def all_names(self) -> tuple[str, ...]:
        """All correct names, everyday words last."""
        return (self.name, *self.others)

    @property
    def title(self) -> str:
        """The everyday word for what it shows."""
        return self.all_names[-1].capitalize()

    @property
    def captions(self) -> tuple[str, ...]:
        """All correct captions."""
        return tuple(f"a photo of {indefinite(name)}" for name in self.all_names)


@cache
def example_photos() -> tuple[ExamplePhoto, ...]:
    """All example photographs, in the order of photographs.csv."""
    with (FOLDER / "photographs.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    return tuple(_photo(**row) for row in rows)


def thumbnail(photo: ExamplePhoto, folder: Path) -> Path:
    """Writes the middle square of a photograph, THUMBNAIL pixels wide, into a folder."""
    path = folder / f"thumbnail-{photo.file.name}"
    ImageOps.fit(open_image(photo.file), (THUMBNAIL, THUMBNAIL)).save(path, quality=QUALITY)
    return path


def credits() -> str:
    """The authors and licences of all example photographs, in one line."""
    return "; ".join(dict.fromkeys(photo.credit for photo in example_photos()))


def _photo(file: str, names: str, credit: str, asked: str) -> ExamplePhoto:
    name, *others = names.split("|")
    return ExamplePhoto(name, tuple(others), FOLDER / file, credit, asked == "yes")
