"""Where the gallery of a profile lies: the one place that the page, the commands and replicas ask."""

import logging
import os
from pathlib import Path

from palm_demo.gallery import MEMORY
from palm_demo.installation import GALLERY_VARIABLE, data_folder
from palm_demo.profiles import TINY, own_name

logger = logging.getLogger(__name__)


def default_place(profile: str | Path = TINY) -> str:
    """The folder where nobody has named one: `gallery` in the data folder for the bundled weights, and one
    with its name for every other profile, since latents of other weights mean something else."""
    own = "" if profile == TINY else f"-{own_name(profile)}"
    return str(data_folder() / f"gallery{own}")


def named_place(named: str | None = None) -> str | None:
    """The place that was named, by the caller or else by the environment."""
    return named or os.environ.get(GALLERY_VARIABLE) or None


def gallery_place(profile: str | Path = TINY, named: str | None = None) -> str:
    """The place that was named, or else the default one. Nothing is made there."""
    return named_place(named) or default_place(profile)


def page_place(profile: str | Path = TINY, named: str | None = None) -> str:
    """The same for a page, which goes on in memory where the default folder cannot be written. A place that
    was named is never replaced: opening it says what is wrong."""
    return named_place(named) or writable_or_memory(default_place(profile))


def writable_or_memory(folder: str) -> str:
    """The folder, made where there is none, or else memory."""
    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
        if os.access(folder, os.W_OK):
            return folder
    except OSError as error:
        logger.info("no folder can be made at %s (%s)", folder, error.strerror)
    logger.warning("%s cannot be written: the gallery is kept in memory and ends with the page", folder)
    return MEMORY
