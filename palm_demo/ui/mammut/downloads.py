"""Pictures of the gallery as a file to take along."""

from collections.abc import Sequence
from pathlib import Path

from palm_demo.gallery.exporting import export_zip
from palm_demo.internals.gradio_files import new_folder
from palm_demo.session import Session


def download_of(session: Session, ids: Sequence[str]) -> Path:
    """A ZIP archive where Gradio serves files from and deletes them after a while."""
    folder = new_folder()
    export_zip(session.gallery, folder / "pictures.zip", ids)
    return folder / "pictures.zip"
