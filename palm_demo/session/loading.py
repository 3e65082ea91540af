"""Opens a session of a profile, or of the bundled weights if that fails."""

import importlib.util
import logging
from collections.abc import Callable
from pathlib import Path

import torch

from palm_demo.arguments import File, checked
from palm_demo.checkpoints import converted, fingerprint
from palm_demo.concurrency import FairQueue, run_in_thread
from palm_demo.errors import MissingExtraError, PalmDemoError, ProfileError
from palm_demo.gallery import MEMORY
from palm_demo.inference.prompts import OPENFLAMINGO, OURS
from palm_demo.inference.settings import BatchLimits
from palm_demo.installation import pip_install
from palm_demo.media import MediaLimits
from palm_demo.models.cpu_linear import pack_
from palm_demo.profiles import (
    GB,
    TINY,
    Choice,
    Chosen,
    OnProgress,
    Profile,
    Step,
    choose,
    computes_in_bfloat16,
    download,
    free_disk,
    free_memory,
    in_cache,
    no_op,
    on_zerogpu,
    read_profile,
)
from palm_demo.session.loaded_models import (
    Bundled,
    LoadedModels,
    read_flamingo,
    read_mammut,
    read_palm,
)
from palm_demo.session.session import Session

logger = logging.getLogger(__name__)
READERS = {"palm": read_palm, "flamingo": read_flamingo, "mammut": read_mammut}


@checked
@run_in_thread
def load(
    profile: File = TINY,
    media_limits: MediaLimits | None = None,
    batch_limits: BatchLimits | None = None,
    gallery_place: str | Path = MEMORY,
    on_progress: OnProgress = no_op,
) -> Session:
    """Opens the session of a profile.

    Args:
        profile: "tiny" for the bundled weights, "hub" or "small" for released ones, chosen by the
            memory; or a YAML file (see `read_profile`).
        media_limits: limits on pictures and videos; by default those of MediaLimits.
        batch_limits: how many texts a model writes at once; by default those of BatchLimits.
        gallery_place: where the pictures that `search` finds are stored; by default in memory, where
            they end with the process.
        on_progress: called with each step of loading.

    Raises:
        FileError: for mistakes in a profile's file.
        ProfileError: if there is no such profile, it does not fit, or it cannot be downloaded.
        CheckpointError: if weights are missing or damaged.
    """
    limits = batch_limits or BatchLimits()
    models = _bundled(limits) if profile == TINY else _released(profile, limits, on_progress)
    if not on_zerogpu():  # there a GPU computes
        for loaded in models.all:
            pack_(loaded.model, loaded.in_8_bits)
    turns = FairQueue(limits.passes, limits.waiting_of_one)
    return Session(models, media_limits or MediaLimits(), gallery_place, turns)


def load_or_tiny(
    profile: str | Path,
    media_limits: MediaLimits,
    batch_limits: BatchLimits,
    gallery_place: str | Path,
    own_gallery_place: Callable[[], str | Path],
    on_progress: OnProgress = no_op,
) -> tuple[Session, PalmDemoError | None]:
    """Opens the session of a profile. If that fails, opens the bundled weights and returns the reason
    too.

    own_gallery_place: returns the place of the bundled weights' gallery, because other galleries have
    other embeddings.
    """
    try:
        return load(profile, media_limits, batch_limits, gallery_place, on_progress), None
    except PalmDemoError as error:
        why = error
    except (MemoryError, torch.OutOfMemoryError) as error:
        why = ProfileError(
            f"memory ran out while the weights were read ({type(error).__name__}); choose less"
        )
    except Exception as error:  # whatever it is, a page that comes up is better than none
        logger.exception("unforeseen while %s was loaded", profile)
        why = ProfileError(f"something unforeseen went wrong ({type(error).__name__}); the log says what")
    line = " ".join(str(why).split())
    logger.error("the profile %s cannot be loaded, the bundled weights take its place: %s", profile, line)
    return load(TINY, media_limits, batch_limits, own_gallery_place()), why


@checked
@run_in_thread
def picture_weights(profile: File = TINY, on_progress: OnProgress = no_op) -> tuple[str, int]:
    """The `fingerprint` and `embedding_dim` of a profile's MaMMUT, for the upkeep of a gallery.

    Of released weights only MaMMUT's are downloaded and loaded, into main memory, and are then
    released. Raises what `load` does.
    """
    model = None
    if profile != TINY:
        chosen = _chosen(read_profile(profile))
        if (choice := chosen.mammut) is not None:
            files = download([*choice.files], on_progress, converted)
            _check_memory(choice, "cpu")
            model = read_mammut(choice, files, "cpu", BatchLimits()).model
    model = model or Bundled(BatchLimits()).mammut.model
    return fingerprint(model.latent_weights()), model.dim_latents


def _bundled(limits: BatchLimits) -> LoadedModels:
    bundled = Bundled(limits)
    frames = bundled.flamingo.model.encoder.max_frames
    return LoadedModels(bundled.palm, bundled.flamingo, bundled.mammut, frames, OURS, bundled.ood)


def _released(profile: str | Path, limits: BatchLimits, on_progress: OnProgress) -> LoadedModels:
    """Loads released weights, after checking everything that can be known before the download."""
    on_progress(Step("Reading the profile"))
    read = read_profile(profile)
    if read.flamingo and importlib.util.find_spec("transformers") is None:
        raise MissingExtraError(
            f"OpenFlamingo needs transformers, which is not installed; {pip_install('openflamingo')}, "
            "or add transformers to requirements.txt"
        )
    chosen = _chosen(read)
    logger.info("the profile %s is %s, on %s", profile, chosen.summary, ", ".join({*chosen.devices.values()}))
    return _read(chosen, limits, on_progress)


def _chosen(profile: Profile) -> Chosen:
    """Chooses by what this machine has."""
    return choose(profile, free_memory(), free_disk(), in_cache, computes_in_bfloat16())


def _check_memory(choice: Choice, device: str) -> None:
    """Checks again that there is enough memory, which others may have taken since the choice was made.

    Too much makes a GPU raise an error, but makes the kernel kill the process.
    """
    free, needed = free_memory().get(device, 0), int(GB * choice.memory_on(device))
    if needed > free:
        raise ProfileError(
            f"there is too little memory now: {choice.name} takes {needed / GB:.1f} GB and {free / GB:.1f} "
            "GB are free; end what else runs here, or take a smaller choice"
        )


def _read(chosen: Chosen, limits: BatchLimits, on_progress: OnProgress) -> LoadedModels:
    choices = chosen.choices
    files = download(chosen.files, on_progress, converted)
    bundled, models = Bundled(limits), {}
    for place, (name, choice) in enumerate(choices.items()):
        on_progress(Step(f"Reading {choice.name} into memory", place / len(choices)))
        _check_memory(choice, chosen.devices[name])
        models[name] = READERS[name](choice, files, chosen.devices[name], limits)
    models = {name: models.get(name) or getattr(bundled, name) for name in READERS}
    drawings = models["flamingo"].bundled and models["mammut"].bundled
    flamingo = chosen.flamingo
    return LoadedModels(
        **models,
        frames=flamingo.frames if flamingo else models["flamingo"].model.encoder.max_frames,
        form=OPENFLAMINGO if flamingo else OURS,
        ood=bundled.ood if drawings else None,
    )
