"""Connects to Ray, here or on the machines of a cluster."""

import logging
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

from palm_demo.errors import ClusterError, MissingExtraError
from palm_demo.installation import pip_install


@contextmanager
def connected(cpus: int, instead: str) -> Iterator[ModuleType]:
    """Connects to Ray, and yields its module.

    It uses an existing connection, the cluster that RAY_ADDRESS names, or processes of this machine
    with so many cores, which end with the block. instead: what else the user can do, for the end of
    messages.

    Raises MissingExtraError if Ray is not installed, and ClusterError if it cannot be started or
    reached.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # Ray tells its makers of every start otherwise
    try:
        import ray
    except ImportError as error:
        raise MissingExtraError(f"Ray is not installed; {pip_install('ray')}, or {instead}") from error
    # Ray starts its processes anew at once, which is what this warning fears it does not
    warnings.filterwarnings("ignore", "lancedb fork support", RuntimeWarning)
    started = not ray.is_initialized()
    if started:
        _start(ray, cpus, instead)
    try:
        yield ray
    finally:
        if started:
            ray.shutdown()


def _start(ray: ModuleType, cpus: int, instead: str) -> None:
    cluster = os.environ.get("RAY_ADDRESS")
    own = {} if cluster else {"address": "local", "num_cpus": cpus, "include_dashboard": False}
    try:
        ray.init(**own, log_to_driver=False, logging_level=logging.ERROR)
    except Exception as error:  # no kind of its own: Ray raises a bare one when it starts too slowly
        raise ClusterError(
            f"Ray cannot be started or reached ({str(error)[:200]}); see that RAY_ADDRESS names a running "
            f"cluster, unset it to use this machine alone, or {instead}"
        ) from error
