"""Reads `nouns.txt`, the hand-made list of what the picture world contains."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

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
    spelled = tuple(tuple(word.split("=", 1)) for word in words if "=" in word)
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
