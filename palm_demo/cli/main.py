"""The command line: `palm-demo VERB …`, and `python -m palm_demo VERB …` in a checkout.

torch and other large libraries are imported by the verbs that need them, when they run, so that
`--help` and shell completion are fast.
"""

import logging
from typing import Annotated

import typer

import palm_demo
from palm_demo import commands
from palm_demo.cli import gallery, models, serving
from palm_demo.installation import NAME

PANELS = {
    "PaLM: texts": (
        models.generate,
        models.bits_per_byte,
        models.who_wrote,
        models.tokens,
        models.finetune,
        models.scopes,
    ),
    "Flamingo and MaMMUT: pictures": (
        models.answer,
        models.caption,
        models.embed,
        models.classify,
        gallery.search,
        models.samples,
    ),
    "The page": (serving.serve,),
}
"""The verbs in the groups of --help."""

app = commands.new_app("PaLM, Flamingo and MaMMUT from the command line.")
for panel, verbs in PANELS.items():
    for verb in verbs:
        app.command(rich_help_panel=panel)(verb)
app.add_typer(gallery.app, name="gallery", rich_help_panel="The gallery")


def _show_version(asked: bool) -> None:
    if asked:
        typer.echo(f"{NAME} {palm_demo.__version__}")
        raise typer.Exit


@app.callback()
def _begin(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    logging.basicConfig(level=logging.ERROR, format="%(levelname)s: %(message)s")


def main() -> None:
    """Runs the command that this process was started with. `palm_demo.commands` lists the exit statuses."""
    commands.run(app)
