"""The command `serve`: the page, with its models in one process or on replicas."""

import threading
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Annotated, Literal

import typer

import palm_demo
from palm_demo.cli.output import complete_profile
from palm_demo.installation import SPACEFILE
from palm_demo.settings import ServeOptions


def _option(field: str, **settings) -> typer.models.OptionInfo:
    """The command's option for a field of `ServeOptions`, with its variable and default."""
    outside, default = ServeOptions.outside(field), getattr(ServeOptions(), field)
    variables = f" Variable: {' or '.join(outside.variables)}." if outside.variables else ""
    shown = False if default in (None, False) else str(default)
    return typer.Option(help=f"{outside.help}{variables}", show_default=shown, **settings)


def serve(
    profile: Annotated[
        str | None, _option("profile", metavar="NAME", autocompletion=complete_profile)
    ] = None,
    gallery: Annotated[str | None, _option("gallery", metavar="PLACE")] = None,
    host: Annotated[str | None, _option("host")] = None,
    port: Annotated[int | None, _option("port")] = None,
    mcp: Annotated[bool | None, _option("mcp")] = None,
    engine: Annotated[Literal["local", "ray"] | None, _option("engine")] = None,
    replicas: Annotated[int | None, _option("replicas")] = None,
    cpus: Annotated[int | None, _option("cpus")] = None,
    spacefile: Annotated[
        Path,
        typer.Option(
            metavar="FILE", help="Title, limits and rules of the page: an edited copy of the Spacefile."
        ),
    ] = SPACEFILE,
) -> None:
    """Serve the page, as app.py does."""
    given = {"profile": profile, "gallery": gallery, "host": host, "port": port, "mcp": mcp}
    given |= {"engine": engine, "replicas": replicas, "cpus": cpus}
    if ServeOptions.read(**given).engine == "local":
        from palm_demo.serving import local

        return local.serve(spacefile, **given)

    from palm_demo.serving.local import terminated_as_interrupted
    from palm_demo.serving.ray_app import running
    from palm_demo.session.starter_gallery import page_place
    from palm_demo.settings import load_settings

    settings = load_settings(spacefile)
    settings.apply_environment()
    options = ServeOptions.apply(**given)
    limits = settings.limits.media_limits, settings.limits.batch_limits
    new_session = partial(palm_demo.load, options.profile, *limits)
    place = page_place(options.profile, options.gallery)
    print(f"starting {options.replicas} replicas …", flush=True)
    with (
        suppress(KeyboardInterrupt),
        terminated_as_interrupted(),  # otherwise SIGTERM would leave the replicas on the cluster
        running(new_session, settings, place, options.replicas, options.cpus) as address,
    ):
        print(f"the page is at {address}; Ctrl-C ends it", flush=True)
        threading.Event().wait()
