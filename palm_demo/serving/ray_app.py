"""One page in front of replicated models: a Ray Serve application.

There is one page process, for a visitor's queue, uploads, scopes and history are its own: two behind one
port would lose calls. It computes nothing, so the models are what has to be many.
"""

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import ray
from ray import serve
from ray.serve import Application
from starlette.types import ASGIApp

from palm_demo.concurrency import run_in_thread
from palm_demo.serving.ray_session import RemoteSession
from palm_demo.serving.replica import Replica
from palm_demo.serving.surroundings import surround
from palm_demo.session import Session
from palm_demo.settings import Limits, Settings

MODELS = "models"
VISITORS = 1000
"""Requests that the page has at once; most are browsers that listen for what comes."""

GOODBYE_SECONDS = 2.0
"""For browsers that go on listening, when the page ends."""


def application(
    new_session: Callable[[], Session],
    settings: Settings,
    gallery_place: str,
    folder: Path,
    replicas: int,
    cpus: int,
) -> Application:
    """The page, which stays on the machine that calls this, and the replicas, wherever there are cores.
    folder: of this machine, for what the page keeps as long as it is there."""

    host = os.environ.get("GRADIO_SERVER_NAME", "127.0.0.1")

    @run_in_thread  # Serve calls it in its event loop, where waiting for the replicas would be an error
    def build() -> ASGIApp:
        examples = surround(settings, folder)

        from palm_demo.ui import page

        session = RemoteSession(serve.get_deployment_handle(MODELS), gallery_place)
        of_all = replace(settings, limits=_times(replicas, settings.limits))
        return page.mount(page.build(session, of_all, examples), of_all, host)

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
    """What many replicas do at once; each has the limits as they are."""
    shared = ("rows", "waiting", "queue", "finetunings_at_once")
    return replace(limits, **{name: replicas * getattr(limits, name) for name in shared})
