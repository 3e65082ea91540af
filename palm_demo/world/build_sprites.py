"""Renders the sprite sheets from npm's icon sets. Run it when the list of nouns changes.

It needs `resvg-py` and `inflect`, and the icon sets that assets/sprites/README.md tells how to install:

    python -m palm_demo.world.build_sprites --icons DIR/node_modules --out assets/sprites
    python -m palm_demo.world.build_sprites --icons DIR/node_modules --style twemoji --out ANYWHERE
"""

from __future__ import annotations

import argparse
import io
import json
import logging
import math
from pathlib import Path

import inflect
import resvg_py
from PIL import Image

from palm_demo.world.atlas import SPRITES, STYLES, Noun, read_nouns

CELL = 64  # pixels; a scene of 96 seldom draws a thing larger
MARGIN = 1  # transparent pixels around each drawing, so that neighbours never bleed into it
RENDERED = 4 * CELL  # drawn larger, cropped, then shrunk: tight crops stay sharp
COLUMNS = 25
VALIDATION_STYLE = "twemoji"  # CC BY 4.0: built on demand, never shipped
QUALITY = 82

log = logging.getLogger(__name__)


def svg_of(icon: str, icons: dict) -> str | None:
    """The SVG text of `icon` in an Iconify set, following aliases; None where the set lacks it."""
    body = icons["icons"].get(icon)
    if body is None:
        alias = icons.get("aliases", {}).get(icon)
        return None if alias is None else svg_of(alias["parent"], icons)
    width = body.get("width", icons.get("width", 16))
    height = body.get("height", icons.get("height", 16))
    left, top = body.get("left", 0), body.get("top", 0)
    # currentColor has no page to inherit from here; black is what browsers use
    text = body["body"].replace("currentColor", "#000")
    return (
        '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
        f'viewBox="{left} {top} {width} {height}" width="{width}" height="{height}">{text}</svg>'
    )


def draw_cell(svg: str) -> Image.Image | None:
    """Render an SVG, crop it to what is visible and centre it in one RGBA cell; None when blank."""
    png = resvg_py.svg_to_bytes(svg_string=svg, width=RENDERED, height=RENDERED, skip_system_fonts=True)
    picture = Image.open(io.BytesIO(png)).convert("RGBA")
    box = picture.getchannel("A").point(lambda alpha: 255 if alpha > 12 else 0).getbbox()
    if box is None:
        return None
    picture = picture.crop(box)
    room = CELL - 2 * MARGIN
    scale = room / max(picture.size)
    width, height = (max(1, round(side * scale)) for side in picture.size)
    cell = Image.new("RGBA", (CELL, CELL))
    cell.paste(
        picture.resize((width, height), Image.Resampling.LANCZOS),
        ((CELL - width) // 2, (CELL - height) // 2),
    )
    return cell


def build_style(style: str, nouns: list[Noun], icons_folder: Path, out: Path) -> dict:
    """Write `out/STYLE.webp` and return its entry for `atlas.json`: file, package version, cells."""
    package = icons_folder / "@iconify-json" / style
    if not package.is_dir():
        raise ValueError(f"{package} is missing; run: npm install @iconify-json/{style}")
    icons = json.loads((package / "icons.json").read_text(encoding="utf-8"))
    cells: list[int | None] = []
    drawn: list[Image.Image] = []
    for noun in nouns:
        icon = noun.icon_in(style)
        svg = svg_of(icon, icons) if icon else None
        cell = draw_cell(svg) if svg else None
        if cell is None:
            cells.append(None)
            continue
        cells.append(len(drawn))
        drawn.append(cell)
    sheet = Image.new("RGBA", (COLUMNS * CELL, math.ceil(len(drawn) / COLUMNS) * CELL))
    for index, cell in enumerate(drawn):
        sheet.paste(cell, (index % COLUMNS * CELL, index // COLUMNS * CELL))
    path = out / f"{style}.webp"
    sheet.save(path, quality=QUALITY, alpha_quality=90, method=6)
    log.info("%s: %d drawings, %d bytes", path.name, len(drawn), path.stat().st_size)
    version = json.loads((package / "package.json").read_text(encoding="utf-8"))["version"]
    return {
        "file": path.name,
        "package": f"@iconify-json/{style}",
        "version": version,
        "cells": cells,
    }


def describe(noun: Noun, words: inflect.engine) -> dict:
    """The entry of one noun in `atlas.json`."""
    article = words.a(noun.name).split(" ", 1)[0]
    return {
        "name": noun.name,
        "article": article,
        "plural": words.plural_noun(noun.name),
        "category": noun.category,
        "seen": noun.seen,
        "icon": noun.icon,
    }


def build(styles: list[str], icons_folder: Path, out: Path) -> None:
    """Write one WebP sheet per style and `atlas.json` into `out`, which is made if missing."""
    nouns = read_nouns()
    words = inflect.engine()
    out.mkdir(parents=True, exist_ok=True)
    sheets = {style: build_style(style, nouns, icons_folder, out) for style in styles}
    entries = [describe(noun, words) for noun in nouns]
    for index, entry in enumerate(entries):
        entry["sets"] = [style for style in styles if sheets[style]["cells"][index] is not None]
    lines = ",\n".join("  " + json.dumps(entry) for entry in entries)
    rows = ",\n".join(f"  {json.dumps(style)}: {json.dumps(sheet)}" for style, sheet in sheets.items())
    (out / "atlas.json").write_text(
        f'{{\n "cell": {CELL},\n "columns": {COLUMNS},\n "concepts": [\n{lines}\n ],\n'
        f' "styles": {{\n{rows}\n }}\n}}\n',
        encoding="utf-8",
    )


def main() -> None:
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--icons", type=Path, default=Path("node_modules"), help="npm's node_modules")
    parser.add_argument("--out", type=Path, required=True, help="folder for the sheets and atlas.json")
    parser.add_argument("--style", action="append", help="build this set only (may be given again)")
    arguments = parser.parse_args()
    styles = arguments.style or list(STYLES)
    if VALIDATION_STYLE in styles and arguments.out.resolve() == SPRITES:
        parser.error(f"{VALIDATION_STYLE} judges the models and is never shipped; choose another --out")
    build(styles, arguments.icons, arguments.out)


if __name__ == "__main__":
    main()
