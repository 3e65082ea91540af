"""Profiles: which weights each model gets, where they come from, and whether they fit into memory and
disk."""

from palm_demo.profiles.choosing import (
    GB,
    Chosen,
    choose,
    computes_in_bfloat16,
    free_disk,
    free_memory,
    on_zerogpu,
)
from palm_demo.profiles.description import (
    Choice,
    File,
    FlamingoChoice,
    MammutChoice,
    PalmChoice,
    Profile,
    Tower,
)
from palm_demo.profiles.downloading import OnProgress, Step, download, in_cache, no_op
from palm_demo.profiles.reading import TINY, own_name, profile_names, read_profile

__all__ = [
    "GB",
    "TINY",
    "Choice",
    "Chosen",
    "File",
    "FlamingoChoice",
    "MammutChoice",
    "OnProgress",
    "PalmChoice",
    "Profile",
    "Step",
    "Tower",
    "choose",
    "computes_in_bfloat16",
    "download",
    "free_disk",
    "free_memory",
    "in_cache",
    "no_op",
    "on_zerogpu",
    "own_name",
    "profile_names",
    "read_profile",
]
