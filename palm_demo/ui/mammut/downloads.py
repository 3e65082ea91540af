"""Pictures of the gallery as a file to take along."""

from collections.abc import Sequence
from pathlib import Path
from uuid import uuid4

from gradio.utils import get_upload_folder

from palm_demo.gallery.exporting import export_zip
from palm_demo.session import Session


def download_of(session: Session, ids: Sequence[str]) -> Path:
    """A ZIP archive where Gradio serves files from and deletes them after a while."""
    folder = Path(get_upload_folder(), uuid4().hex)
    folder.mkdir(parents=True)
    export_zip(session.gallery, folder / "pictures.zip", ids)
    return folder / "pictures.zip"
