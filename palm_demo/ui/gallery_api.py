"""The API endpoints that compare pictures and maintain the gallery."""

import gradio as gr

from palm_demo.errors import GalleryError, PromptError
from palm_demo.internals.gradio_endpoints import FilePath, endpoint
from palm_demo.internals.gradio_files import file_data
from palm_demo.session import Session
from palm_demo.settings import Limits
from palm_demo.ui.api import EXAMPLES, uploaded
from palm_demo.ui.boundary.visitors import owner_of
from palm_demo.ui.mammut.contributing import Contributions, download_of
from palm_demo.ui.messages import in_api
from palm_demo.ui.uploads import check_media, check_texts


def add_gallery_endpoints(session: Session, limits: Limits, contributions: Contributions) -> None:
    """Adds caption_alternatives, similarity, gallery_info, gallery_add, gallery_remove and
    gallery_export to the current Blocks."""

    def caption_alternatives(image: FilePath, count: int = 5) -> dict:
        """The likeliest captions of a picture file -> the probability that MaMMUT gives each.

        Args:
            image: a picture file; assistants give the path of an upload or a data: URI.
            count: the most captions, 1 to 20; those below 1 % are left out.
        """
        with in_api():
            return session.caption_alternatives(uploaded(image), count)

    def similarity(texts: list[str], images: list[FilePath]) -> list[list[float]]:
        """The cosine of each text with each picture file, -1 to 1, in a list for each text.

        Args:
            texts: words or sentences.
            images: picture files; assistants give paths of uploads or data: URIs.
        """
        with in_api():
            pictures = [uploaded(image) for image in check_media(images, limits)]
            return session.similarity(check_texts(texts, limits), pictures).tolist()

    def gallery_info() -> dict:
        """The number of pictures in the gallery, the weights that made their embeddings, and whether visitors
        may add pictures."""
        with in_api():
            return {
                "pictures": len(session.gallery),
                "weights": session.mammut.fingerprint,
                "visitors_add": contributions.rules.visitors,
            }

    def gallery_add(images: list[FilePath], request: gr.Request) -> dict:
        """Adds picture files to the gallery, if its owner allows that. Gives the ids of added pictures, the
        number of copies of pictures that are there already, and why others could not be read.

        Args:
            images: picture files; assistants give paths of uploads or data: URIs.
        """
        with in_api():
            files = [uploaded(image) for image in check_media(images, limits)]
            *_, report = contributions.add(owner_of(request), files)
            return {
                "added": report.added,
                "copies": len(report.known) + len(report.near),
                "unreadable": dict(report.unreadable),
            }

    def gallery_remove(ids: list[str], request: gr.Request) -> int:
        """Removes pictures that this client has added. Gives their number.

        Args:
            ids: those that `gallery_add` gave.
        """
        with in_api():
            return contributions.remove(owner_of(request), check_ids(ids, limits))

    def gallery_export(ids: list[str]) -> dict:
        """A ZIP file with pictures of the gallery, and a Parquet table of their data.

        Args:
            ids: those that `search` gives.
        """
        with in_api():
            return file_data(download_of(session, check_ids(ids, limits)))

    of_pictures, of_gallery = (caption_alternatives, similarity), (gallery_info, gallery_add, gallery_remove)
    for function in (*of_pictures, *of_gallery, gallery_export):
        endpoint(function, EXAMPLES, concurrency_limit=None)  # the session has the queue


def check_ids(ids: list[str], limits: Limits) -> list[str]:
    """Returns ids of pictures. Raises GalleryError for none, and for more than one search can find."""
    if not isinstance(ids, list) or not all(isinstance(id, str) and len(id) <= 64 for id in ids):
        raise PromptError("ids is not a list of ids; give those that `search` gives")
    if not 1 <= len(ids) <= limits.hits:
        raise GalleryError(f"{len(ids)} pictures were named; name 1 to {limits.hits}")
    return ids
