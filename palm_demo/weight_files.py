"""Names of the files that weights come in: safetensors, pickles, and the index of several of either."""

import json
from pathlib import Path, PurePosixPath

SAFETENSORS = ".safetensors"
PICKLES = (".pt", ".pth", ".bin")
INDEX = ".index.json"
INDEXED = (SAFETENSORS, ".bin")
"""What an index is written for, before its own ending."""

WEIGHTS = (SAFETENSORS, *PICKLES, *(ending + INDEX for ending in INDEXED))
"""Every ending that weights are read from."""


def is_pickle(name: str) -> bool:
    """Whether a file's weights are written once more, as safetensors, before they are read."""
    return name.endswith(PICKLES)


def is_index(name: str) -> bool:
    """Whether a file tells which of several files has which weight."""
    return name.endswith(INDEX)


def holds_pickles(name: str) -> bool:
    """Whether a file is a pickle, or an index of pickles."""
    return is_pickle(name.removesuffix(INDEX))


def converted_name(pickle: str) -> str:
    """Name of the safetensors file that a pickle becomes, beside it."""
    return pickle + SAFETENSORS


def read_index(path: Path) -> dict[str, str]:
    """File of each weight, by the weight's name. All files lie beside the index.

    Raises ValueError that says what is wrong with the index, and OSError where it cannot be read.
    """
    content = json.loads(path.read_text(encoding="utf-8"))
    places = content.get("weight_map") if isinstance(content, dict) else None
    if not isinstance(places, dict):
        raise ValueError("it has no weight_map")
    for weight, file in places.items():
        if not isinstance(file, str):
            raise ValueError(f"it has {weight} in {file!r}, which is no file's name")
        if file in ("", "..") or PurePosixPath(file).name != file or "\\" in file:
            raise ValueError(f"it names {file!r}; shards have to lie beside their index")
    return places
