"""The wall: pictures of the gallery under a heading."""

from __future__ import annotations

import html
import itertools
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import gradio as gr

from palm_demo.errors import GalleryError
from palm_demo.gallery import Hit, Item
from palm_demo.session import Session

SHOWN = 24
NOWHERE = itertools.count(1)
"""Numbers whose negatives are selected to remove the ring around a clicked picture.

Gradio keeps the ring if None or the same index is selected again. It also corrects the first index after a
change of pictures to an existing one, so each change selects two.
"""


class Listed(NamedTuple):
    """A picture that is shown, as it is stored for a visitor, without pixels."""

    id: str
    name: str
    caption: str


def listed(items: Iterable[Item]) -> list[Listed]:
    """Pictures of the gallery without their pixels."""
    return [Listed(item.id, item.name, item.caption) for item in items]


class Wall:
    """The wall of pictures, built inside the current Blocks.

    Attributes:
        gallery: the component with the pictures.
        found: the state with the pictures that are shown.
        heading: above the pictures.
        outputs: the components that the updates of this class are for.
        unchanged: the updates that change nothing.
    """

    def __init__(self, session: Session):
        self.session = session
        start = self._sample(0)
        self.found = gr.State(listed(start))
        self.heading = gr.HTML(self._heading_html(self._gallery_size()), elem_id="mammut-heading")
        self.gallery = gr.Gallery(
            _pictures(start),
            label="Gallery",
            show_label=False,
            columns=6,
            height="auto",
            allow_preview=False,
            interactive=False,
            object_fit="cover",
            buttons=[],
            elem_id="mammut-gallery",
            elem_classes="captioned",
        )
        self.outputs = [self.gallery, self.found, self.heading]
        self.unchanged = (gr.skip(), gr.skip(), gr.skip())

    def hits(self, hits: Sequence[Hit], what: str) -> tuple:
        """The updates that show the results of a search. what: was searched for, for the heading."""
        count = "The picture" if len(hits) == 1 else f"The {len(hits)} pictures"
        if hits[0].alike:
            here = len(self.session.gallery)
            return self._update(
                hits, f"{count} most like {what}, of {here}, with how alike: click one to describe it"
            )
        return self._update(hits, f"Perhaps nothing here is like {what}. The nearest:")

    def others(self) -> tuple:
        """The updates that show random pictures."""
        return self._update(self._sample(), self._gallery_size())

    def with_new(self, ids: Sequence[str]) -> tuple:
        """The updates that show pictures that were just added, and random ones after them."""
        new = self.session.gallery.items(ids)
        rest = [item for item in self._sample() if item.id not in ids][: max(0, SHOWN - len(new))]
        return self._update([*new, *rest], self._gallery_size()) if ids else self.unchanged

    def without(self, id: str, items: Sequence[Listed]) -> tuple:
        """The updates that show the same pictures without a removed one.

        Args:
            id: of the removed picture.
            items: the pictures that were shown.
        """
        left = [item.id for item in items if item.id != id]
        return self._update(self.session.gallery.items(left), self._gallery_size())

    def without_ring(self, event: gr.events.Dependency) -> gr.events.Dependency:
        """Adds an event after one that shows other pictures, which removes the ring around a picture."""
        return event.then(
            lambda: gr.update(selected_index=-next(NOWHERE)),
            None,
            self.gallery,
            queue=False,
            show_progress="hidden",
            api_visibility="private",
        )

    def _update(self, items: Sequence[Item], heading: str) -> tuple:
        update = gr.update(value=_pictures(items), selected_index=-next(NOWHERE))
        return update, listed(items), self._heading_html(heading)

    def _heading_html(self, text: str) -> str:
        return f"<h2 class='heading'>{html.escape(text)}</h2>"

    def _gallery_size(self) -> str:
        """The heading above random pictures; "" if the gallery cannot be opened."""
        try:
            return f"From a gallery of {len(self.session.gallery)} pictures: click one to describe it"
        except GalleryError:
            return ""

    def _sample(self, seed: int | None = None) -> list[Item]:
        """Random pictures of the gallery, the same for a seed; none if it cannot be opened."""
        try:
            return self.session.gallery.sample(SHOWN, seed)
        except GalleryError:
            return []


def _pictures(items: Sequence[Item]) -> list[tuple]:
    """(picture, caption) of items. Captions of hits begin with their scores."""
    return [
        (item.image, f"{item.score:.2f} · {item.caption}" if isinstance(item, Hit) else item.caption)
        for item in items
    ]
