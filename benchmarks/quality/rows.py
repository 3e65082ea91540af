"""Fresh cases, the figures read on them, and the table they go into."""

import json
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from palm_demo import world

SEED = "quality"
AT_ONCE = 50

KEPT = Path(__file__).with_name("figures.json")
"""The figures of the last run that was kept: column -> row -> value."""


@dataclass(frozen=True)
class Row:
    """One figure. value and chance: parts of 1, or bits per byte; chance is what a guess gets."""

    what: str
    value: float
    chance: str
    cases: int


@dataclass(frozen=True)
class Cases:
    """How many cases a row has, and the atlas that they are drawn with."""

    count: int
    atlas: world.Atlas

    def draw(self, name: str, make: Callable[[random.Random], object]) -> list:
        """Makes `count` cases, each from a seed of its own."""
        return [make(random.Random(f"{SEED}/{name}/{case}")) for case in range(self.count)]


def chunks(items: Sequence) -> Iterator[Sequence]:
    for start in tqdm(range(0, len(items), AT_ONCE), leave=False):
        yield items[start : start + AT_ONCE]


def table(columns: dict[str, Sequence[Row]], before: dict[str, dict[str, float]]) -> str:
    """Markdown: a column of figures for each style, beside what it was before."""
    by_name = {row.what: row for rows in columns.values() for row in rows}
    titles = " | before | ".join(columns)
    lines = [f"| what | {titles} | before | chance | cases |", "|---" * (2 * len(columns) + 3) + "|"]
    for what, row in by_name.items():
        figures = []
        for title, rows in columns.items():
            now = next((r.value for r in rows if r.what == what), None)
            figures += [_figure(now), _figure(before.get(title, {}).get(what))]
        lines.append(f"| {what} | {' | '.join(figures)} | {row.chance} | {row.cases} |")
    return "\n".join(lines)


def _figure(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def kept() -> dict[str, dict[str, float]]:
    return json.loads(KEPT.read_text(encoding="utf-8")) if KEPT.is_file() else {}


def keep(columns: dict[str, Sequence[Row]]) -> None:
    """Keeps the figures that a later run calls "before". Those of other columns stay."""
    figures = kept()
    for title, rows in columns.items():
        figures[title] = {row.what: round(float(row.value), 4) for row in rows}
    KEPT.write_text(json.dumps(figures, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
