"""The gallery as a wall of pictures: what is shown, under which heading."""

from __future__ import annotations

import html
import itertools
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import gradio as gr

from palm_demo.errors import GalleryError
from palm_demo.gallery import Hit, Item
from palm_demo.session import Session
from palm_demo.ui.messages import without_places

SHOWN = 24
NOWHERE = itertools.count(1)
"""Places where no picture is, the negatives of these, take the ring from around the picture that was clicked.
Gradio leaves it there when told None, and when told the same place again; and the first place that it is
told it takes for one that there is, so that each change of pictures tells two."""


class Listed(NamedTuple):
    """What is kept for a visitor of a picture that is shown: no pixels."""

    id: str
    name: str
    caption: str


def listed(items: Iterable[Item]) -> list[Listed]:
    return [Listed(item.id, item.name, item.caption) for item in items]


class Wall:
    """Built inside the current Blocks.

    Attributes:
        gallery: the pictures.
        found: what is shown, as a state.
        outputs: the components that the updates of this class are for.
        unchanged: the updates that leave all as it is.
    """

    def __init__(self, session: Session):
        self.session = session
        start = self._some(0)
        self.found = gr.State(listed(start))
        self.heading = gr.HTML(self._headed(self._whole()), elem_id="mammut-heading")
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
        """The updates that show what was found. what: that was searched for."""
        count = "1 picture" if len(hits) == 1 else f"{len(hits)} pictures"
        if hits[0].alike:
            return self._shows(
                hits, f"{count} of {len(self.session.gallery)}, best first: click one to describe it"
            )
        return self._shows(hits, f"Nothing like {what} is here. The nearest:")

    def others(self) -> tuple:
        """The updates that show any pictures."""
        return self._shows(self._some(), self._whole())

    def with_new(self, ids: Sequence[str]) -> tuple:
        """The updates that show pictures that were just added, and others after them."""
        new = self.session.gallery.items(ids)
        rest = [item for item in self._some() if item.id not in ids][: max(0, SHOWN - len(new))]
        return self._shows([*new, *rest], self._whole()) if ids else self.unchanged

    def without(self, id: str, items: Sequence[Listed]) -> tuple:
        """The updates that show what was shown but for one that is gone."""
        left = [item.id for item in items if item.id != id]
        return self._shows(self.session.gallery.items(left), self._whole())

    def without_ring(self, event: gr.events.Dependency) -> gr.events.Dependency:
        """After an event that shows other pictures: takes the ring away from the place of one clicked
        before."""
        return event.then(
            lambda: gr.update(selected_index=-next(NOWHERE)),
            None,
            self.gallery,
            queue=False,
            show_progress="hidden",
            api_visibility="private",
        )

    def _shows(self, items: Sequence[Item], heading: str) -> tuple:
        update = gr.update(value=_pictures(items), selected_index=-next(NOWHERE))
        return update, listed(items), self._headed(heading)

    def _headed(self, text: str) -> str:
        return f"<h2 class='heading'>{html.escape(text)}</h2>"

    def _whole(self) -> str:
        try:
            return f"From a gallery of {len(self.session.gallery)} pictures: click one to describe it"
        except GalleryError as error:
            return f"There is no gallery: {without_places(str(error))}"

    def _some(self, seed: int | None = None) -> list[Item]:
        """A few pictures of the gallery, always the same of one seed; none where it cannot be opened."""
        try:
            return self.session.gallery.sample(SHOWN, seed)
        except GalleryError:
            return []


def _pictures(items: Sequence[Item]) -> list[tuple]:
    """(picture, what stands below it), of hits with their scores."""
    return [
        (item.image, f"{item.score:.2f} · {item.caption}" if isinstance(item, Hit) else item.caption)
        for item in items
    ]
