"""The gallery: a LanceDB table of pictures, captions and unit embeddings, searched by cosine."""

from palm_demo.gallery.ingest import Encoder, ingest_pictures
from palm_demo.gallery.lance import MEMORY
from palm_demo.gallery.opening import (
    find_gallery,
    galleries_in,
    has_gallery,
    no_gallery,
    open_gallery,
)
from palm_demo.gallery.report import Report
from palm_demo.gallery.rows import EVERYTHING, Filters, Hit, Item, check_count, read_since
from palm_demo.gallery.store import Fit, Gallery

__all__ = [
    "EVERYTHING",
    "MEMORY",
    "Encoder",
    "Filters",
    "Fit",
    "Gallery",
    "Hit",
    "Item",
    "Report",
    "check_count",
    "find_gallery",
    "galleries_in",
    "has_gallery",
    "ingest_pictures",
    "no_gallery",
    "open_gallery",
    "read_since",
]
