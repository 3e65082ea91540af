"""The command line of the Space: `python -m palm_demo.space {render,check,deploy}`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from palm_demo import commands
from palm_demo.errors import SpaceError
from palm_demo.installation import INSTALLED, ROOT

if TYPE_CHECKING:
    from palm_demo.space.checkout import Checkout

BUILD_SECONDS = 1800
"""The longest that the Hub may take to build, in addition to the app's start."""


class SpaceCommands(commands.Commands):
    """Commands that end with status 1 when anything is wrong, whether raised or found by `check`."""

    refused = 1
    interrupted = "stopped; what the Hub has begun goes on, and deploy can be run again"


app = commands.new_app("The Space of the Spacefile.", SpaceCommands)


def _checkout(context: typer.Context) -> "Checkout":
    """The checkout of this copy, or the one in `context.obj`. Raises SpaceError in an installed package."""
    from palm_demo.space.checkout import Checkout

    root: Path = context.obj or ROOT
    if INSTALLED:
        raise SpaceError(
            f"a Space is made of a clone of the repository, and {root} is what pip installed; "
            "go into a clone and give the command there"
        )
    return Checkout(root)


@app.command()
def render(context: typer.Context) -> None:
    """Write the README's front matter."""
    from palm_demo.space.card import render

    checkout = _checkout(context)
    changed = render(checkout.root / "README.md", checkout.settings)
    print("README.md has new front matter" if changed else "README.md is as the Spacefile says")


@app.command()
def check(context: typer.Context) -> None:
    """Find what is wrong, offline."""
    _check(_checkout(context))


def _check(checkout: "Checkout") -> None:
    from palm_demo.space.checking import check

    diagnostics = check(checkout.root)
    for diagnostic in diagnostics:
        print(diagnostic)
    print(f"{len(diagnostics)} to mend" if diagnostics else "nothing to mend")
    if diagnostics:
        raise typer.Exit(1)


@app.command()
def deploy(
    context: typer.Context,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be done, without any request.")
    ] = False,
    repo: Annotated[
        str | None, typer.Option(metavar="OWNER/NAME", help="Instead of the Spacefile's id.")
    ] = None,
    renew_secrets: Annotated[
        bool, typer.Option("--renew-secrets", help="Set also the secrets that it has.")
    ] = False,
) -> None:
    """Make the Space or bring it up to date, and wait until it runs."""
    from palm_demo.space.deploying import deploy, describe, make_plan

    checkout = _checkout(context)
    _check(checkout)
    plan = make_plan(checkout, repo, renew_secrets)
    if dry_run:
        for line in describe(plan):
            print(line)
        return
    patience_seconds = BUILD_SECONDS + plan.settings.runtime.startup_timeout_seconds
    address = deploy(plan, lambda line: print(line, flush=True), patience_seconds)
    print(f"it runs: {address}")


if __name__ == "__main__":
    commands.run(app)
