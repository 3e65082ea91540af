"""What we use of the Hub's client beyond what it documents: its HTTP library, its reading of cards,
its patterns for files."""

import re
from collections.abc import Iterable

from huggingface_hub.repocard import REGEX_YAML_BLOCK
from huggingface_hub.utils import filter_repo_objects, httpx

HttpError = httpx.HTTPError
"""What its HTTP library raises where no answer comes: httpx's, or that of the fork that it has moved to."""


def front_matter(card: str) -> re.Match | None:
    """Where a README has YAML between lines of dashes at its beginning, as the Hub finds it; group 2 is the
    YAML itself."""
    return REGEX_YAML_BLOCK.search(card)


def matching(names: Iterable[str], patterns: Iterable[str]) -> list[str]:
    """The names that one of the patterns fits, as uploads read them."""
    return list(filter_repo_objects(names, allow_patterns=list(patterns)))
