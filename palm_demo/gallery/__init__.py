"""Pictures that last: a LanceDB table of pictures, captions and unit latents, searched by cosine."""

from palm_demo.gallery.adding import Encoder, add_pictures
from palm_demo.gallery.filters import EVERYTHING, Filters, read_since
from palm_demo.gallery.lance import MEMORY
from palm_demo.gallery.opening import (
    find_gallery,
    galleries_in,
    has_gallery,
    no_gallery,
    open_gallery,
    open_with_scenes,
)
from palm_demo.gallery.report import Report
from palm_demo.gallery.rows import Hit, Item
from palm_demo.gallery.table import Gallery

__all__ = [
    "EVERYTHING",
    "MEMORY",
    "Encoder",
    "Filters",
    "Gallery",
    "Hit",
    "Item",
    "Report",
    "add_pictures",
    "find_gallery",
    "galleries_in",
    "has_gallery",
    "no_gallery",
    "open_gallery",
    "open_with_scenes",
    "read_since",
]
