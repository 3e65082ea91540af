"""The sprites: named drawings in several styles, and the hand-made list of the nouns they show."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image

from palm_demo.installation import ASSETS

SPRITES = ASSETS / "sprites"
STYLES = (
    "noto",
    "noto-v1",
    "fxemoji",
    "fluent-emoji",
    "fluent-emoji-flat",
    "fluent-emoji-high-contrast",
)


@dataclass(frozen=True)
class Concept:
    """A noun of the world: its name ("red apple"), article ("a") and plural ("red apples").

    Attributes:
        category: the heading it stands under in `nouns.txt`.
        seen: whether models are trained on it; unseen concepts are for few-shot naming.
        icon: the name of its icon in the icon sets.
    """

    name: str
    article: str
    plural: str
    category: str
    seen: bool
    icon: str

    def __str__(self) -> str:
        return f"{self.article} {self.name}"


class Atlas:
    """Concepts and their drawings. A style's sheet is read once, when it is first drawn from."""

    def __init__(self, folder: Path, description: dict) -> None:
        self.folder = folder
        self.cell: int = description["cell"]
        self.columns: int = description["columns"]
        self.concepts = tuple(
            Concept(**{key: entry[key] for key in Concept.__dataclass_fields__})
            for entry in description["concepts"]
        )
        self.trained = tuple(concept.name for concept in self.concepts if concept.seen)
        self.unseen = tuple(concept.name for concept in self.concepts if not concept.seen)
        self.styles = tuple(description["styles"])
        self._files = {style: sheet["file"] for style, sheet in description["styles"].items()}
        self._cells = {
            style: {
                c.name: cell
                for c, cell in zip(self.concepts, sheet["cells"], strict=True)
                if cell is not None
            }
            for style, sheet in description["styles"].items()
        }
        self._by_name = {concept.name: concept for concept in self.concepts}
        self._drawn: dict[tuple[str, ...], frozenset[str]] = {}
        self._sheets: dict[str, np.ndarray] = {}
        self._sprites: dict[tuple[str, str], Image.Image] = {}

    @classmethod
    def load(cls, folder: Path | str = SPRITES) -> Atlas:
        """Returns the atlas in a folder, read from disk once. Raises ValueError when there is none."""
        return _load(Path(folder).resolve())

    def concept(self, name: str) -> Concept:
        """The concept of a name. Raises ValueError for a name that is not in the world."""
        try:
            return self._by_name[name]
        except KeyError:
            raise ValueError(
                f"unknown concept {name!r}; choose one of world.concepts() or world.unseen()"
            ) from None

    def has(self, name: str, style: str) -> bool:
        """Whether `style` draws `name`."""
        self._check_style(style)
        return self.concept(name).name in self._cells[style]

    def styles_of(self, name: str, styles: Sequence[str] | None = None) -> tuple[str, ...]:
        """The styles that draw a name, out of the given ones (None: all), in the order given."""
        self.concept(name)
        return tuple(style for style in styles or self.styles if name in self._cells[style])

    def drawable(self, names: Sequence[str] | None, styles: Sequence[str] | None) -> list[str]:
        """The names (None: all trained) that at least one of the styles (None: any) draws.

        Raises ValueError for an unknown name or style, and when nothing is left.
        """
        names = self.trained if names is None else names
        styles = self.styles if styles is None else styles
        available = self._drawn_in(tuple(styles))
        drawn = [name for name in names if name in available]
        if len(drawn) < len(names):
            for name in names:
                self.concept(name)
        if not drawn:
            raise ValueError(
                f"none of {len(names)} names is drawn in {', '.join(styles)}; give other names or styles"
            )
        return drawn

    def pixels(self, name: str, style: str) -> np.ndarray:
        """One drawing as (cell, cell, 4) uint8, alpha not premultiplied; a view, not to be written to."""
        if not self.has(name, style):
            drawn = ", ".join(self.styles_of(name))
            raise ValueError(f"style {style!r} has no drawing of {name!r}; these have: {drawn}")
        row, column = divmod(self._cells[style][name], self.columns)
        sheet = self._sheet(style)
        return sheet[row * self.cell : (row + 1) * self.cell, column * self.cell : (column + 1) * self.cell]

    def sprite(self, name: str, style: str) -> Image.Image:
        """One drawing as an RGBA picture of cell x cell pixels, shared between calls: copy before editing."""
        key = (name, style)
        if key not in self._sprites:
            self._sprites[key] = Image.fromarray(np.ascontiguousarray(self.pixels(name, style)), "RGBA")
        return self._sprites[key]

    def _drawn_in(self, styles: tuple[str, ...]) -> frozenset[str]:
        if styles not in self._drawn:
            for style in styles:
                self._check_style(style)
            self._drawn[styles] = frozenset(name for style in styles for name in self._cells[style])
        return self._drawn[styles]

    def _check_style(self, style: str) -> None:
        if style not in self._cells:
            raise ValueError(f"unknown style {style!r}; this atlas has: {', '.join(self.styles)}")

    def _sheet(self, style: str) -> np.ndarray:
        if style not in self._sheets:
            with Image.open(self.folder / self._files[style]) as picture:
                sheet = np.array(picture.convert("RGBA"))
            sheet.flags.writeable = False
            self._sheets[style] = sheet
        return self._sheets[style]


@cache
def _load(folder: Path) -> Atlas:
    path = folder / "atlas.json"
    if not path.is_file():
        raise ValueError(
            f"{path} does not exist; build it with python -m palm_demo.world.build_sprites --out {folder}"
        )
    return Atlas(folder, json.loads(path.read_text(encoding="utf-8")))


NOUNS_FILE = Path(__file__).with_name("nouns.txt")


@dataclass(frozen=True)
class Noun:
    """One thing to draw: its English name and where each icon set keeps its drawing."""

    name: str
    category: str
    seen: bool
    icon: str
    spelled: tuple[tuple[str, str], ...]

    def icon_in(self, icon_set: str) -> str | None:
        """Name of this noun's icon in `icon_set`, or None when that set's drawing is left out."""
        own = dict(self.spelled).get(icon_set)
        if own is not None:
            return None if own == "-" else own
        return self.icon.replace("-", "") if icon_set == "fxemoji" else self.icon


def parse_noun(line: str, category: str) -> Noun:
    """Parse one line of `nouns.txt`; the file's head explains the notation."""
    name, _, rest = line.removeprefix("*").strip().partition(":")
    name = name.strip()
    words = rest.split()
    icons = [word for word in words if "=" not in word] or [name.replace(" ", "-")]
    if len(icons) > 1:
        raise ValueError(
            f"nouns.txt names {len(icons)} icons for {name!r}; keep one and give the others as set=icon"
        )
    parts = (word.partition("=") for word in words)
    spelled = tuple((chosen, icon) for chosen, equals, icon in parts if equals)
    return Noun(name, category, not line.startswith("*"), icons[0], spelled)


def read_nouns(path: Path = NOUNS_FILE) -> list[Noun]:
    """All nouns in the order of the list; raises ValueError when a name comes twice."""
    nouns: list[Noun] = []
    category = "thing"
    for line in path.read_text(encoding="utf-8").splitlines():
        line = line.strip()
        if line.startswith("["):
            category = line.strip("[]")
        elif line and not line.startswith("#"):
            nouns.append(parse_noun(line, category))
    names = [noun.name for noun in nouns]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"{path.name} lists {', '.join(twice)} more than once; remove the extra lines")
    return nouns
