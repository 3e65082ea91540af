"""Undocumented parts of the Hub's client: its HTTP library, its reading of cards, its file patterns."""

import re
from collections.abc import Iterable

from huggingface_hub.repocard import REGEX_YAML_BLOCK
from huggingface_hub.utils import filter_repo_objects, httpx

HttpError = httpx.HTTPError
"""What its HTTP library raises if no answer comes: httpx's error, or that of the fork it has moved to."""


def front_matter(card: str) -> re.Match | None:
    """The match of the YAML front matter of a README, as the Hub finds it. Group 2 is the YAML."""
    return REGEX_YAML_BLOCK.search(card)


def matching(names: Iterable[str], patterns: Iterable[str]) -> list[str]:
    """The names that match one of the patterns, as in uploads."""
    return list(filter_repo_objects(names, allow_patterns=list(patterns)))
