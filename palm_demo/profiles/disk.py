"""How much disk a profile's files take, and how much there is of it."""

import json
import shutil
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from huggingface_hub import constants, try_to_load_from_cache

from palm_demo.profiles.description import PICKLES, File
from palm_demo.profiles.memory import GB

INDEX = ".index.json"


def free_disk() -> int:
    """Bytes that are free where the Hub's client keeps what it downloads."""
    folder = Path(constants.HF_HUB_CACHE)
    there = next(path for path in (folder, *folder.parents) if path.exists())
    return shutil.disk_usage(there).free


def disk_needed(files: Iterable[File], downloaded: Callable[[File], bool] = lambda file: False) -> int:
    """Bytes that a profile's files take while they are downloaded, as far as it says their sizes.

    downloaded: says of a file that it is there, and takes no more room.
    """
    missing = [file for file in dict.fromkeys(files) if not any(map(downloaded, file.names))]
    return room_needed([(int(GB * (file.gb or 0)), _of_pickles(file)) for file in missing])


def _of_pickles(file: File) -> bool:
    """Also of an index of pickles, which counts as if all of them were one."""
    return file.file.removesuffix(INDEX).endswith(PICKLES)


def room_needed(sizes: Sequence[tuple[int, bool]]) -> int:
    """Bytes for files of so many bytes, pickles or not. Pickles come first, the largest of them before the
    others, and each is written once more, as safetensors, and removed then."""
    done = most = 0
    for size_bytes in sorted((size for size, is_pickle in sizes if is_pickle), reverse=True):
        most = max(most, done + 2 * size_bytes)
        done += size_bytes
    return max(most, done + sum(size for size, is_pickle in sizes if not is_pickle))


def in_cache(file: File) -> bool:
    """Whether a file is in the Hub's cache, with its shards where it is an index, or what it was converted
    to. Asks nobody."""
    path = cached(file)
    if path is None or not file.file.endswith(INDEX):
        return path is not None
    try:
        shards = set(json.loads(path.read_text(encoding="utf-8"))["weight_map"].values())
        return all(cached(file.beside(shard)) for shard in shards)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False


def converted(file: File) -> File:
    """What a pickle becomes, beside it."""
    return File(file.repo, f"{file.file}.safetensors", file.revision)


def cached(file: File) -> Path | None:
    """Where the cache has a file, or what it was converted to."""
    for one in (file, converted(file)):
        found = try_to_load_from_cache(
            one.repo, one.file, cache_dir=constants.HF_HUB_CACHE, revision=one.revision
        )
        if isinstance(found, str):
            return Path(found)
    return None
