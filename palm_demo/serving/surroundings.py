"""What has to be there before the page's modules are imported."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from palm_demo.settings import Settings


@contextmanager
def surroundings(settings: Settings) -> Iterator[Path]:
    """Sets the environment that Gradio reads when it is imported; a folder for the page's examples comes
    back, which goes with the block, as do visitors' uploads."""
    with tempfile.TemporaryDirectory(prefix="palm-demo-") as folder:
        settings.apply_environment()
        # two processes that share this folder delete each other's files
        os.environ.setdefault("GRADIO_TEMP_DIR", f"{folder}/uploads")
        examples = Path(folder, "examples")
        examples.mkdir()
        yield examples
