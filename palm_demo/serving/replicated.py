"""The page with its models on replicas: started on this machine or on a cluster, and ended."""

import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import ModuleType

from palm_demo.errors import ClusterError
from palm_demo.internals.ray_cluster import connected
from palm_demo.serving.surroundings import page_folder
from palm_demo.session import Session
from palm_demo.settings import Settings

NAME = "palm-demo"
ALONE = "serve with --engine local"
KEEP_ALIVE_SECONDS = 75
"""Longer than clients keep a connection that they may use again."""


@contextmanager
def running(
    new_session: Callable[[], Session],
    settings: Settings,
    gallery_place: str,
    replicas: int = 2,
    cpus: int = 1,
) -> Iterator[str]:
    """The page's address while it is served, where PORT and GRADIO_SERVER_NAME say.

    new_session: called once on each replica. gallery_place: as the page sees it, which is on this machine.
    cpus: cores of each replica. Raises MissingExtraError or ClusterError as `connected` does, ClusterError
    too where there are fewer cores or the page does not start.
    """
    if replicas < 1 or cpus < 1:
        raise ClusterError(f"{replicas} replicas of {cpus} cores answer nobody; ask for 1 or more of each")
    host, port = os.environ.get("GRADIO_SERVER_NAME", "127.0.0.1"), int(os.environ.get("PORT", "7860"))
    with page_folder() as folder, connected(replicas * cpus, ALONE) as ray:
        _check_room(ray, replicas, cpus)
        from ray import serve

        from palm_demo.serving.ray_app import application

        logging.getLogger("ray.serve").setLevel(logging.WARNING)
        serve.start(http_options={"host": host, "port": port, "keep_alive_timeout_s": KEEP_ALIVE_SECONDS})
        try:
            page = application(new_session, settings, gallery_place, folder, replicas, cpus)
            try:
                serve.run(page, name=NAME)
            except Exception as error:  # no kind of its own: Ray raises a bare one
                raise ClusterError(
                    f"the page does not start ({str(error)[:500]}); see that every machine has the package "
                    f"and its weights and that nothing else is served there, or {ALONE}"
                ) from error
            yield f"http://{host}:{port}"
        finally:
            serve.delete(NAME)


def _check_room(ray: ModuleType, replicas: int, cpus: int) -> None:
    if (there := ray.cluster_resources().get("CPU", 0)) < replicas * cpus:
        raise ClusterError(
            f"{replicas} replicas of {cpus} cores need {replicas * cpus} and the cluster has {there:g}; ask "
            "for fewer --replicas or --cpus"
        )
