"""The verb `serve`: the page, with its models in one process or on replicas."""

from functools import partial
from pathlib import Path
from typing import Annotated, Literal

import typer

import palm_demo
from palm_demo.cli.output import TINY, Profile
from palm_demo.installation import SPACEFILE


def serve(
    engine: Annotated[
        Literal["local", "ray"], typer.Option(help="ray: the models on replicas of their own.")
    ] = "local",
    replicas: Annotated[int, typer.Option(help="Processes of --engine ray that answer.")] = 2,
    cpus: Annotated[int, typer.Option(help="Cores of each of them.")] = 1,
    spacefile: Annotated[
        Path,
        typer.Option(
            metavar="FILE", help="Title, limits and rules of the page: a copy of the Spacefile, changed."
        ),
    ] = SPACEFILE,
    profile: Profile = TINY,
) -> None:
    """Open the page in the browser's reach, as app.py does.

    PORT and GRADIO_SERVER_NAME say where the page is, by default http://127.0.0.1:7860. PALM_DEMO_GALLERY
    names the folder of its gallery.
    """
    if engine == "local":
        from palm_demo.serving import local

        return local.serve(profile, spacefile)

    import threading

    from palm_demo.serving.ray_app import running
    from palm_demo.session.place import page_place
    from palm_demo.settings import load_settings

    settings, place = load_settings(spacefile), page_place(profile)
    limits = settings.limits.media_limits, settings.limits.batch_limits
    new_session = partial(palm_demo.load, profile, *limits)
    print(f"starting {replicas} replicas …", flush=True)
    with running(new_session, settings, place, replicas, cpus) as address:
        print(f"the page is at {address}; Ctrl-C ends it", flush=True)
        threading.Event().wait()
