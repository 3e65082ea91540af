"""Where a gallery lies when nobody, or somebody, has said where."""

import contextlib
import logging
import os
from pathlib import Path

from palm_demo.installation import data_folder

logger = logging.getLogger(__name__)

MEMORY = "memory://"
"""A gallery that ends with the process, and leaves nothing behind."""


def beside_the_app(profile: str | None = None) -> Path:
    """The default folder of the page and of the command line: in the checkout, or for an installed package
    in the user's data folder. profile: whose weights are not the bundled ones has a gallery of its own."""
    name = "gallery" if profile is None else f"gallery-{profile}"
    return data_folder() / name


def chosen_place(named: str | None, default: Path | None = None) -> str:
    """The place that was named (a folder, or s3://…), or else the default folder (beside the app), or
    memory where that cannot be written. What was named is never replaced: opening it says what is wrong."""
    default = default or beside_the_app()
    if named:
        return named
    with contextlib.suppress(OSError):
        default.mkdir(parents=True, exist_ok=True)
    if os.access(default, os.W_OK):
        return str(default)
    logger.warning("%s cannot be written: the gallery is kept in memory and ends with the page", default)
    return MEMORY
