"""Serves the page with its models on replicas of Ray Serve, on this machine or on a cluster.

There is one process for the page, because it keeps the visitors' queue, uploads, scopes and history: with
two behind one port, calls would be lost. It computes nothing, so only the models are replicated.
"""

import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from starlette.types import ASGIApp

from palm_demo.concurrency import run_in_thread
from palm_demo.errors import ClusterError
from palm_demo.internals.http_protocol import IN_RAY, KEEP_ALIVE_SECONDS, RAY_CALLBACK
from palm_demo.internals.ray_cluster import connected
from palm_demo.serving.local import page_folder, surround
from palm_demo.session import Session
from palm_demo.settings import Limits, ServeOptions, Settings

if TYPE_CHECKING:  # an extra
    from ray.serve import Application

NAME = "palm-demo"
PORT = 7860
ALONE = "serve with --engine local"
MODELS = "models"
VISITORS = 1000
"""The most requests to the page at once. Most are browsers that wait for events."""

GOODBYE_SECONDS = 2.0
"""Seconds for browsers with open streams when the page ends."""


@contextmanager
def running(
    new_session: Callable[[], Session],
    settings: Settings,
    gallery_place: str,
    replicas: int = 2,
    cpus: int = 1,
) -> Iterator[str]:
    """Serves the page as `ServeOptions` says, and yields its address.

    Args:
        new_session: called once on each replica.
        settings: from the Spacefile.
        gallery_place: the place of the gallery, as seen from this machine, where the page runs.
        replicas: the number of replicas.
        cpus: cores of each replica.

    Raises MissingExtraError or ClusterError as `connected` does, and ClusterError if there are fewer
    cores or the page does not start.
    """
    if replicas < 1 or cpus < 1:
        raise ClusterError(f"{replicas} replicas of {cpus} cores answer nobody; ask for 1 or more of each")
    options = ServeOptions.read()
    host, port = options.host, options.port or PORT
    os.environ.setdefault(RAY_CALLBACK, IN_RAY)  # read by the proxy's process, which inherits it
    with page_folder() as folder, connected(replicas * cpus, ALONE) as ray:
        _check_cores(ray, replicas, cpus)
        from ray import serve

        logging.getLogger("ray.serve").setLevel(logging.WARNING)
        serve.start(http_options={"host": host, "port": port, "keep_alive_timeout_s": KEEP_ALIVE_SECONDS})
        try:
            page = application(new_session, settings, gallery_place, folder, replicas, cpus)
            try:
                serve.run(page, name=NAME)
            except Exception as error:  # Ray raises a plain RuntimeError
                raise ClusterError(
                    f"the page does not start ({str(error)[:500]}); see that every machine has the package "
                    f"and its weights and that nothing else is served there, or {ALONE}"
                ) from error
            yield f"http://{host}:{port}"
        finally:
            serve.delete(NAME)


def _check_cores(ray: ModuleType, replicas: int, cpus: int) -> None:
    if (there := ray.cluster_resources().get("CPU", 0)) < replicas * cpus:
        raise ClusterError(
            f"{replicas} replicas of {cpus} cores need {replicas * cpus} and the cluster has {there:g}; ask "
            "for fewer --replicas or --cpus"
        )


def application(
    new_session: Callable[[], Session],
    settings: Settings,
    gallery_place: str,
    folder: Path,
    replicas: int,
    cpus: int,
) -> "Application":
    """The Ray Serve application: the page on the calling machine, and the replicas where there are cores.

    folder: on this machine, for the page's files. The other arguments are those of `running`.
    """

    import ray
    from ray import serve

    from palm_demo.serving.ray_session import RaySession, Replica

    host = ServeOptions.read().host

    @run_in_thread  # Serve calls it in its event loop, where it must not wait for replicas
    def build() -> ASGIApp:
        examples = surround(settings, folder)

        from palm_demo.ui import page

        session = RaySession(serve.get_deployment_handle(MODELS), gallery_place)
        combined = replace(settings, limits=_times(replicas, settings.limits))
        return page.mount(page.build(session, combined, examples), combined, host)

    models = serve.deployment(
        Replica,
        name=MODELS,
        num_replicas=replicas,
        max_ongoing_requests=settings.limits.threads,
        ray_actor_options={"num_cpus": cpus},
        graceful_shutdown_timeout_s=GOODBYE_SECONDS,
    )
    here = f"node:{ray.util.get_node_ip_address()}"
    ingress = serve.deployment(
        serve.ingress(build)(),
        name="page",
        num_replicas=1,
        max_ongoing_requests=VISITORS,
        ray_actor_options={"num_cpus": 0, "resources": {here: 0.001}},
        graceful_shutdown_timeout_s=GOODBYE_SECONDS,
    )
    return ingress.bind(models.bind(new_session, settings.limits.threads))


def _times(replicas: int, limits: Limits) -> Limits:
    """The limits of all replicas together, from the limits of one."""
    shared = ("rows", "waiting", "queue", "finetunings_at_once")
    return replace(limits, **{name: replicas * getattr(limits, name) for name in shared})
