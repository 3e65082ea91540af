"""The named endpoints around MaMMUT's pictures: captions by likelihood, similarities, the gallery."""

import gradio as gr

from palm_demo.errors import GalleryError, PromptError
from palm_demo.internals.gradio_files import told_of
from palm_demo.session import Session
from palm_demo.settings import Limits
from palm_demo.ui.api import uploaded
from palm_demo.ui.boundary.visitors import owner_of
from palm_demo.ui.mammut.contributions import Contributions
from palm_demo.ui.mammut.downloads import download_of
from palm_demo.ui.messages import in_api
from palm_demo.ui.uploads import check_media, check_texts


def add_gallery_endpoints(session: Session, limits: Limits, contributions: Contributions) -> None:
    """Adds caption_alternatives, similarity, gallery_info, gallery_add, gallery_remove and
    gallery_export to the current Blocks."""

    def caption_alternatives(image: dict, count: int = 5) -> dict:
        """The likeliest captions of a picture file -> how probable MaMMUT finds each."""
        with in_api():
            return session.caption_alternatives(uploaded(image), count)

    def similarity(texts: list[str], images: list[dict]) -> list[list[float]]:
        """For each text its cosine with each picture file, -1 to 1."""
        with in_api():
            pictures = [uploaded(image) for image in check_media(images, limits)]
            return session.similarity(check_texts(texts, limits), pictures).tolist()

    def gallery_info() -> dict:
        """How many pictures the gallery has, which weights made their latents, and whether visitors
        may add some."""
        with in_api():
            return {
                "pictures": len(session.gallery),
                "weights": session.fingerprint,
                "visitors_add": contributions.rules.visitors,
            }

    def gallery_add(images: list[dict], request: gr.Request) -> dict:
        """Adds picture files to the gallery, where its owner allows that: ids of those added, how many
        were there already or look like one that is, and why others could not be read."""
        with in_api():
            files = [uploaded(image) for image in check_media(images, limits)]
            *_, report = contributions.add(owner_of(request), files)
            return {
                "added": report.added,
                "copies": len(report.known) + len(report.near),
                "unreadable": dict(report.unreadable),
            }

    def gallery_remove(ids: list[str], request: gr.Request) -> int:
        """Removes pictures that this client has added; how many."""
        with in_api():
            return contributions.remove(owner_of(request), check_ids(ids, limits))

    def gallery_export(ids: list[str]) -> dict:
        """A ZIP file of pictures by their ids, as `search` gives them, and a Parquet table of the rest."""
        with in_api():
            return told_of(download_of(session, check_ids(ids, limits)))

    for endpoint in (caption_alternatives, similarity, gallery_add):
        gr.api(endpoint, concurrency_limit=None)  # the session has the line
    for endpoint in (gallery_info, gallery_remove, gallery_export):
        gr.api(endpoint, concurrency_id="gallery", concurrency_limit=1)


def check_ids(ids: list[str], limits: Limits) -> list[str]:
    """Ids of the gallery; GalleryError when there are none or more than one search finds."""
    if not isinstance(ids, list) or not all(isinstance(id, str) and len(id) <= 64 for id in ids):
        raise PromptError("ids is not a list of ids; give those that `search` gives")
    if not 1 <= len(ids) <= limits.hits:
        raise GalleryError(f"{len(ids)} pictures were named; name 1 to {limits.hits}")
    return ids
