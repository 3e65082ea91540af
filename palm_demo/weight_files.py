"""File names of weights: safetensors, pickles, and indices of several files."""

import json
from pathlib import Path, PurePosixPath

SAFETENSORS = ".safetensors"
PICKLES = (".pt", ".pth", ".bin")
INDEX = ".index.json"
INDEXED = (SAFETENSORS, ".bin")
"""Endings of the files that an index may list."""

WEIGHTS = (SAFETENSORS, *PICKLES, *(ending + INDEX for ending in INDEXED))
"""All endings of files with weights."""


def is_pickle(name: str) -> bool:
    """Whether a file is a pickle, whose weights are converted to safetensors before they are read."""
    return name.endswith(PICKLES)


def is_index(name: str) -> bool:
    """Whether a file is an index, which says which of several files has which weight."""
    return name.endswith(INDEX)


def holds_pickles(name: str) -> bool:
    """Whether a file is a pickle, or an index of pickles."""
    return is_pickle(name.removesuffix(INDEX))


def converted_name(pickle: str) -> str:
    """The name of the safetensors file that a pickle is converted to, beside it."""
    return pickle + SAFETENSORS


def read_index(path: Path) -> dict[str, str]:
    """The file of each weight, by the weight's name. All files are beside the index.

    Raises ValueError that says what is wrong with the index, and OSError if it cannot be read.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
    places = content.get("weight_map") if isinstance(content, dict) else None
    if not isinstance(places, dict):
        raise ValueError("it has no weight_map")
    for weight, file in places.items():
        if not isinstance(file, str):
            raise ValueError(f"it has {weight} in {file!r}, which is not a file name")
        if file in ("", "..") or PurePosixPath(file).name != file or "\\" in file:
            raise ValueError(f"it names {file!r}; shards have to lie beside their index")
    return places
