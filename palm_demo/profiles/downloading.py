"""A profile's files from the Hub into its client's cache, and what can go wrong on the way."""

import errno
import json
import shutil
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from huggingface_hub import constants, hf_hub_download
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RemoteEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.utils import httpx
from tqdm.auto import tqdm

from palm_demo.errors import ProfileError
from palm_demo.profiles.description import File
from palm_demo.profiles.memory import GB
from palm_demo.profiles.steps import Step, Tell

INDEX = ".index.json"
PICKLES = (".pt", ".pth", ".bin")
FULL = (errno.ENOSPC, errno.EDQUOT)


def download(files: Sequence[File], tell: Tell) -> dict[File, Path]:
    """Where each file lies now; those that the cache has are not fetched again. Of an index its shards come
    too, to the same folder.

    Raises ProfileError that says which file cannot be had, why, and what to do about it; before the first
    byte where the disk has no room for all.
    """
    tell(Step("Asking the Hub for the files"))
    wanted = list(dict.fromkeys(files))
    indices = [file for file in wanted if file.file.endswith(INDEX)]
    shards = [shard for index in indices for shard in _shards(index)]
    sizes = {file: _missing_bytes(file) for file in dict.fromkeys([*wanted, *shards])}
    _check_room(sizes)
    progress = _Progress(sum(sizes.values()), tell)
    for file in sizes:
        with explained(file):
            _fetch(file, tqdm_class=progress.bar(file))
    return {file: _cached(file) for file in wanted}


def _fetch(file: File, **options):
    return hf_hub_download(file.repo, file.file, revision=file.revision, **options)


def _cached(file: File) -> Path:
    with explained(file):
        return Path(_fetch(file))


def _shards(index: File) -> list[File]:
    """Raises ProfileError where the file is no index."""
    path = _cached(index)
    try:
        names = sorted(set(json.loads(path.read_text(encoding="utf-8"))["weight_map"].values()))
        return [index.beside(name) for name in names]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ProfileError(
            f"{index.file} of {index.repo} is no index of weights; name another file"
        ) from error


def _missing_bytes(file: File) -> int:
    """That have to be downloaded."""
    with explained(file):
        told = _fetch(file, dry_run=True)
    return (told.file_size or 0) if told.will_download else 0


def _check_room(sizes: dict[File, int]) -> None:
    """A pickle's weights are written once more, as safetensors beside it."""
    needed = sum(size * (2 if file.file.endswith(PICKLES) else 1) for file, size in sizes.items())
    if not needed:
        return
    folder = Path(constants.HF_HUB_CACHE)
    there = next(path for path in (folder, *folder.parents) if path.exists())
    if needed > (free := shutil.disk_usage(there).free):
        raise ProfileError(_no_room(f"{needed / GB:.1f} GB are needed and {free / GB:.1f} GB are free"))


def _no_room(why: str) -> str:
    return (
        f"there is no room for the files in {constants.HF_HUB_CACHE}: {why}; make room, or set HF_HOME to a "
        "folder on a larger disk"
    )


class _Progress:
    """Bytes of all files together, told at each hundredth."""

    def __init__(self, total: int, tell: Tell):
        self.total, self.tell = total, tell
        self.done, self.told = 0, -1
        self._lock = threading.Lock()

    def bar(self, file: File) -> type[tqdm]:
        """What the Hub's client takes for a bar in a terminal."""
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
            if (hundredth := int(100 * part)) == self.told:
                return
            self.told = hundredth
        self.tell(Step(f"Downloading {file.repo}, of {self.total / GB:.1f} GB in all", part))


@contextmanager
def explained(file: File) -> Iterator[None]:
    """Turns what goes wrong between the Hub and the disk into a ProfileError, which names no token."""
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
    except httpx.HTTPError as error:
        raise ProfileError(
            f"{what} stopped coming ({type(error).__name__}); start again when the network is better"
        ) from error
    except OSError as error:
        if error.errno in FULL:
            raise ProfileError(_no_room(error.strerror)) from error
        told = str(error).partition("\n")[0]
        raise ProfileError(f"{what} did not come whole ({told}); start again") from error
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
