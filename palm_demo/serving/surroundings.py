"""What has to be there before the page's modules are imported."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from palm_demo.settings import Settings


@contextmanager
def page_folder() -> Iterator[Path]:
    """For uploads and examples, which go with the page."""
    with tempfile.TemporaryDirectory(prefix="palm-demo-") as folder:
        yield Path(folder)


def surround(settings: Settings, folder: Path) -> Path:
    """Sets the environment that Gradio reads when it is imported; the place for the page's examples comes
    back. folder: this page's alone."""
    settings.apply_environment()
    # two processes that share this folder delete each other's files
    os.environ.setdefault("GRADIO_TEMP_DIR", str(folder / "uploads"))
    examples = folder / "examples"
    examples.mkdir(exist_ok=True)
    return examples
