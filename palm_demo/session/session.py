"""All verbs on one object, and its gallery."""

from palm_demo.arguments import Picture, Text, Whole, checked
from palm_demo.concurrency import made_once
from palm_demo.errors import PromptError, shown
from palm_demo.gallery import EVERYTHING, Filters, Gallery, Hit, open_with_scenes
from palm_demo.session.flamingo import FlamingoVerbs
from palm_demo.session.mammut import MammutVerbs
from palm_demo.session.palm import PalmVerbs

MOST_HITS = 10_000


def check_count(k: int) -> None:
    """Raises PromptError on a count of pictures that no search gives."""
    if not 1 <= k <= MOST_HITS:
        raise PromptError(f"k is {k}; ask for 1 to {MOST_HITS:,} pictures")


class Session(PalmVerbs, FlamingoVerbs, MammutVerbs):
    """Three systems and a gallery.

    Everything a caller can do wrong raises a PalmDemoError. Many threads may use one session:
    their texts are written side by side, in one batch for each model.
    """

    @made_once
    def gallery(self) -> Gallery:
        """The pictures that `search` finds, kept in `gallery_place`; a new gallery begins with scenes
        of the picture world that no model was trained on. Raises GalleryError as `open_gallery` does."""
        return open_with_scenes(self.gallery_place, self)

    @checked
    def search(
        self, query: Picture, k: Whole = 8, *, words: Text = "", filters: Filters = EVERYTHING
    ) -> list[Hit]:
        """The k pictures of the gallery nearest to words (str) or to a picture (PIL, Path).

        words: looked for in the captions too, and both rankings joined. filters: which pictures may be
        found at all.
        """
        check_count(k)
        if not isinstance(filters, Filters):
            raise PromptError(f"filters is {shown(filters)}; give palm_demo.gallery.Filters")
        (latent,) = self.embed_texts([query]) if isinstance(query, str) else self.embed_images([query])
        if words.strip():
            return self.gallery.hybrid_search(latent, words, k, filters)
        return self.gallery.nearest(latent, k, filters)
