"""Pictures that last: a LanceDB table of pictures, captions and unit latents, searched by cosine."""

from palm_demo.gallery.adding import Encoder, Report, add_pictures
from palm_demo.gallery.filters import EVERYTHING, Filters, read_since
from palm_demo.gallery.place import MEMORY, chosen_place
from palm_demo.gallery.rows import Hit, Item
from palm_demo.gallery.start import fill
from palm_demo.gallery.table import Gallery, open_gallery

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
    "chosen_place",
    "fill",
    "open_gallery",
    "read_since",
]
