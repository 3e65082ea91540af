"""The verb `serve`: the page, with its models in one process or on replicas."""

import argparse
import threading
from functools import partial
from pathlib import Path

import palm_demo
from palm_demo.cli.output import add_command
from palm_demo.serving import local
from palm_demo.serving.replicated import running
from palm_demo.session.place import VARIABLE, default_place, page_place
from palm_demo.settings import SPACEFILE, load_settings


def add_verbs(verbs) -> None:
    serve = add_command(verbs, "serve", _serve, "open the page in the browser's reach, as app.py does")
    serve.add_argument(
        "--engine", choices=("local", "ray"), default="local", help="ray: the models on replicas of their own"
    )
    serve.add_argument("--replicas", type=int, default=2, help="processes of --engine ray that answer (2)")
    serve.add_argument("--cpus", type=int, default=1, help="cores of each of them (1)")
    serve.add_argument(
        "--spacefile",
        type=Path,
        default=SPACEFILE,
        metavar="FILE",
        help=f"title, limits and rules of the page; copy {SPACEFILE} and change it",
    )
    serve.epilog = (
        "PORT and GRADIO_SERVER_NAME say where the page is, by default http://127.0.0.1:7860. "
        f"Its gallery lies in {default_place()}, with a profile's name after it, or where "
        f"{VARIABLE} says."
    )


def _serve(given: argparse.Namespace) -> None:
    if given.engine == "local":
        return local.serve(given.profile, given.spacefile)
    settings, place = load_settings(given.spacefile), page_place(given.profile)
    new_session = partial(palm_demo.load, given.profile, settings.limits.of_media, settings.limits.of_batch)
    print(f"starting {given.replicas} replicas …", flush=True)
    with running(new_session, settings, place, given.replicas, given.cpus) as address:
        print(f"the page is at {address}; Ctrl-C ends it", flush=True)
        threading.Event().wait()
