"""The card beside links to the page on other sites, and a placeholder that is shown while the page loads."""

import html
import io
import re
from random import Random

from PIL import Image, ImageDraw, ImageFont

from palm_demo import world
from palm_demo.internals.gradio_page import with_card
from palm_demo.settings import Space
from palm_demo.ui.boundary.guard import CARD

CARD_SIZE = (1200, 630)
"""Width and height of the card in pixels, as large sites show it."""
SCENES, SIDE, GAP = 4, 240, 36
INK, PAPER, ACCENT = (241, 245, 249), (15, 23, 42), (94, 234, 212)

ROOT = re.compile(rb'"root":"([^"]+)"')
"""The URL of the page in Gradio's configuration."""

OPENING = """
<style>
  #opening { max-width: 1240px; width: 100%; margin: 0 auto; padding: 12px 16px; box-sizing: border-box;
             font-family: system-ui, sans-serif; }
  #opening b { font-size: 1.15rem; }
  #opening p { margin: 4px 0 16px; opacity: .8; }
  #opening div { height: 96px; border-radius: 8px; margin-bottom: 12px; background: rgb(100 116 139 / .14); }
</style>
<main id="opening"><b>TITLE</b><p>WHAT</p><div></div><div style="height: 320px"></div></main>
<script>
  new MutationObserver((_, all) => {
    if (!document.querySelector("[role=tab]")) return;
    document.getElementById("opening").remove();
    all.disconnect();
  }).observe(document.body, {childList: true, subtree: true});
</script>
"""
"""The placeholder, which removes itself when the page's scripts have drawn the page."""


def dressed(page: bytes, space: Space) -> bytes:
    """Gradio's HTML of the page with the card and the placeholder added."""
    root = found[1].decode() if (found := ROOT.search(page)) else ""
    first = OPENING.replace("TITLE", html.escape(space.title))
    first = first.replace("WHAT", html.escape(f"{space.short_description}."))
    return with_card(page, space.title, f"{space.short_description}.", f"{root}{CARD}", first)


def draw_card(space: Space) -> bytes:
    """Draws the card's picture as a PNG: four scenes under the page's title."""
    card = Image.new("RGB", CARD_SIZE, PAPER)
    draw = ImageDraw.Draw(card)
    draw.text((60, 70), space.title, INK, ImageFont.load_default(58))
    draw.text((60, 158), f"{space.short_description}.", ACCENT, ImageFont.load_default(36))
    for place in range(SCENES):
        scene = world.sample_question(Random(f"card/{place}"), "what_is_where").media[0]
        picture = world.render(scene, SIDE)
        card.paste(picture, (60 + place * (SIDE + GAP), 300))
    with io.BytesIO() as file:
        card.save(file, "PNG", optimize=True)
        return file.getvalue()
