"""Downloads a profile's files from the Hub into its client's cache, and explains what goes wrong."""

import errno
import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import constants, hf_hub_download, try_to_load_from_cache
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RemoteEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from tqdm.auto import tqdm

from palm_demo.errors import ProfileError
from palm_demo.internals.hub_client import HttpError
from palm_demo.profiles.choosing import GB, free_disk, room_needed
from palm_demo.profiles.description import File
from palm_demo.weight_files import converted_name, is_index, read_index

logger = logging.getLogger(__name__)
FULL = (errno.ENOSPC, errno.EDQUOT)
NOT_THERE = (RepositoryNotFoundError, RevisionNotFoundError, RemoteEntryNotFoundError)

Convert = Callable[[Path], Path]
"""Writes a pickle again as safetensors, beside it, and returns that file."""


@dataclass(frozen=True)
class Step:
    """A step of loading.

    Attributes:
        what: is being done.
        part: how much of it is done, 0 to 1; None if unknown.
    """

    what: str
    part: float | None = None


OnProgress = Callable[[Step], object]


def no_op(step: Step) -> None:
    """Ignores a step, for loading that nobody watches."""


def download(
    files: Sequence[File], on_progress: OnProgress, convert: Convert | None = None
) -> dict[File, Path]:
    """Downloads files and returns the path of each. Files in the cache are not fetched again.

    An index is downloaded with its shards, to the same folder. If the Hub does not have a file, its
    alternatives are tried.

    Args:
        files: what to download.
        on_progress: called with each step.
        convert: converts each pickle that was fetched, which is then removed. A pickle that was in the
            cache before stays, because another program may use it.

    Raises ProfileError that says which file cannot be had, why, and what to do about it; before the
    first byte if the disk has no room for all. Raises what `convert` does.
    """
    on_progress(Step("Asking the Hub for the files"))
    found = {file: _first_found(file) for file in dict.fromkeys(files)}
    wanted = {there.file: there for there in found.values()}
    for there in list(wanted.values()):
        if is_index(there.file.file):
            wanted |= {shard: _look_up(shard) for shard in _shards(there)}
    missing = sorted((there for there in wanted.values() if there.missing_bytes), key=_pickles_first)
    _check_room(missing)
    progress = _Progress(sum(there.missing_bytes for there in missing), on_progress)
    places = {there.file: there.path for there in wanted.values()}
    for there in missing:
        with explained(there.file):
            _fetch(there.file, tqdm_class=progress.bar(there.file))
        if convert is not None and there.file.is_pickle:
            on_progress(Step(f"Rewriting {there.file.file} of {there.file.repo} as safetensors"))
            places[there.file] = convert(there.path)
            _remove(there.path)
    return {file: places[there.file] for file, there in found.items()}


@dataclass(frozen=True)
class _Found:
    """A file that the Hub or the cache has.

    Attributes:
        path: where it is, or will be after `missing_bytes` have been downloaded.
    """

    file: File
    path: Path
    missing_bytes: int


def _first_found(file: File) -> _Found:
    """The first of a file's alternatives that the Hub has. Raises ProfileError if it has none."""
    refused = []
    for name in file.names:
        try:
            return _look_up(name)
        except ProfileError as error:
            wrong_name = isinstance(error.__cause__, NOT_THERE) and not isinstance(
                error.__cause__, GatedRepoError
            )
            if not wrong_name or len(file.names) == 1:
                raise
            refused.append(error)
            logger.info("%s", error)
    wrong = ", and ".join(str(error).partition("; ")[0] for error in refused)
    raise ProfileError(f"{wrong}; name another") from refused[0]


def _look_up(file: File) -> _Found:
    """Looks a file up on the Hub or in the cache. A pickle that was converted and removed is its
    conversion."""
    with explained(file):
        try:
            entry = _fetch(file, dry_run=True)
        except LocalEntryNotFoundError:
            if file.is_pickle and (path := cached(converted(file))):
                return _Found(file, path, 0)
            raise
        path = Path(entry.local_path)
        made = path.with_name(Path(converted(file).file).name)
        if not entry.will_download or (file.is_pickle and made.is_file()):
            return _Found(file, path if path.exists() else made, 0)
        return _Found(file, path, entry.file_size or 0)


def _fetch(file: File, **options):
    return hf_hub_download(file.repo, file.file, revision=file.revision, **options)


def _shards(index: _Found) -> list[File]:
    """Downloads an index and lists its shards. Raises ProfileError if the file is not an index."""
    file = index.file
    with explained(file):
        path = Path(_fetch(file))
    try:
        return [file.beside(name) for name in sorted(set(read_index(path).values()))]
    except ValueError as error:
        raise ProfileError(
            f"{file.file} of {file.repo} is not an index of weights ({error}); name another file"
        ) from error


def in_cache(file: File) -> bool:
    """Whether a file, or its conversion, is in the Hub's cache with all its shards. It makes no request."""
    path = cached(file)
    if path is None or not is_index(file.file):
        return path is not None
    try:
        shards = set(read_index(path).values())
    except (OSError, ValueError):
        return False
    return all(cached(file.beside(shard)) for shard in shards)


def converted(file: File) -> File:
    """The safetensors file that a pickle is converted to, beside it."""
    return File(file.repo, converted_name(file.file), file.revision)


def cached(file: File) -> Path | None:
    """The path of a file, or of its conversion, in the cache."""
    for one in (file, converted(file)):
        found = try_to_load_from_cache(
            one.repo, one.file, cache_dir=constants.HF_HUB_CACHE, revision=one.revision
        )
        if isinstance(found, str):
            return Path(found)
    return None


def _pickles_first(there: _Found) -> tuple[bool, int]:
    """Sort key: pickles first, the largest before the others, because converting one takes twice its
    size."""
    return not there.file.is_pickle, -there.missing_bytes


def _remove(pickle: Path) -> None:
    """Removes a pickle from the cache, both the link and the bytes."""
    content = pickle.resolve()
    pickle.unlink(missing_ok=True)
    content.unlink(missing_ok=True)


def _check_room(missing: Sequence[_Found]) -> None:
    needed = room_needed([(there.missing_bytes, there.file.is_pickle) for there in missing])
    if needed and needed > (free := free_disk()):
        raise ProfileError(_no_room(f"{needed / GB:.1f} GB are needed and {free / GB:.1f} GB are free"))


def _no_room(why: str) -> str:
    return (
        f"there is no room for the files in {constants.HF_HUB_CACHE}: {why}; make room, or set HF_HOME to a "
        "folder on a larger disk"
    )


class _Progress:
    """The progress of all files together, reported at each percent."""

    def __init__(self, total: int, on_progress: OnProgress):
        self.total, self.on_progress = total, on_progress
        self.done, self.percent = 0, -1
        self._lock = threading.Lock()

    def bar(self, file: File) -> type[tqdm]:
        """A class that the Hub's client uses as a progress bar."""
        progress = self

        class Bar(tqdm):
            def __init__(self, *arguments, **settings):
                super().__init__(*arguments, **{**settings, "disable": True})

            def update(self, n=1):
                progress.add(file, int(n or 0))

        return Bar

    def add(self, file: File, size_bytes: int) -> None:
        with self._lock:
            self.done += size_bytes
            part = min(1.0, max(0.0, self.done / max(1, self.total)))
            if (percent := int(100 * part)) == self.percent:
                return
            self.percent = percent
        self.on_progress(Step(f"Downloading {file.repo}, of {self.total / GB:.1f} GB in all", part))


@contextmanager
def explained(file: File) -> Iterator[None]:
    """Turns errors of the Hub and the disk into a ProfileError, which never contains a token."""
    what = f"{file.file} of {file.repo}"
    try:
        yield
    except ProfileError:
        raise
    except GatedRepoError as error:
        raise ProfileError(
            f"{file.repo} is only for those who accept its terms; do that on its page, and set HF_TOKEN to a "
            "token of yours"
        ) from error
    except RepositoryNotFoundError as error:
        raise ProfileError(
            f"the Hub has no repository {file.repo}, or does not show it without a token; look at the name, "
            "or set HF_TOKEN to a token that may read it"
        ) from error
    except RevisionNotFoundError as error:
        raise ProfileError(f"{file.repo} has no revision {file.revision!r}; name another") from error
    except RemoteEntryNotFoundError as error:
        raise ProfileError(f"{file.repo} has no file {file.file} at {file.revision}; name another") from error
    except HfHubHTTPError as error:
        raise ProfileError(_refused(what, error)) from error
    except LocalEntryNotFoundError as error:
        raise ProfileError(_unreachable(what, error.__cause__ or error)) from error
    except HttpError as error:
        raise ProfileError(
            f"{what} stopped coming ({type(error).__name__}); start again when the network is better"
        ) from error
    except OSError as error:
        if error.errno in FULL:
            raise ProfileError(_no_room(error.strerror)) from error
        reason = str(error).partition("\n")[0]
        raise ProfileError(f"{what} did not come whole ({reason}); start again") from error
    except (ValueError, RuntimeError) as error:
        raise ProfileError(f"{what} cannot be downloaded ({error}); start again") from error


def _refused(what: str, error: HfHubHTTPError) -> str:
    status = error.response.status_code
    if status in (401, 403):
        return f"the Hub answered {status} about {what}; set HF_TOKEN to a token that may read it"
    return f"the Hub answered {status} about {what}; start again in a few minutes"


def _unreachable(what: str, cause: BaseException) -> str:
    if isinstance(cause, OfflineModeIsEnabled):
        return (
            f"{what} is not in the cache, and HF_HUB_OFFLINE keeps the Hub's client offline; set it to 0, or "
            "name the file under hub.preload in the Spacefile"
        )
    if isinstance(cause, HfHubHTTPError):
        return _refused(what, cause)
    return (
        f"the Hub at {constants.ENDPOINT} cannot be reached for {what} ({type(cause).__name__}); see whether "
        "this machine has a network"
    )
