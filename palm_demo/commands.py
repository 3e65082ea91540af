"""Exit statuses and error messages that all command lines of the project share."""

import sys
from io import TextIOWrapper
from typing import Any

import typer
from typer.core import TyperGroup

from palm_demo.errors import PalmDemoError

LEFT_OUT, REFUSED, INTERRUPTED = 1, 2, 130
"""Exit statuses other than 0. LEFT_OUT: the work is done except for items that were named. REFUSED: a
mistake of the user, explained in one line on stderr. INTERRUPTED: by Ctrl-C."""


class Commands(TyperGroup):
    """The commands of a program. An error that the user can mend ends it with a line and a status,
    without a traceback."""

    refused = REFUSED
    interrupted = "stopped; what was done is kept"

    def invoke(self, ctx: Any) -> Any:
        try:
            given = super().invoke(ctx)
            sys.stdout.flush()
            return given
        except BrokenPipeError:  # whoever reads has read enough, as `head` does; click ends quietly then
            raise
        except OSError as error:
            where = "" if error.filename is None else f" ({error.filename})"
            typer.echo(f"error: {error.strerror or error}{where}; make room, or name another place", err=True)
            raise typer.Exit(self.refused) from error
        except PalmDemoError as error:
            typer.echo(f"error: {error}", err=True)
            raise typer.Exit(self.refused) from error
        except KeyboardInterrupt as error:
            typer.echo(self.interrupted, err=True)
            raise typer.Exit(INTERRUPTED) from error


def new_app(description: str, commands: type[Commands] = Commands) -> typer.Typer:
    """A program without commands yet. Its tracebacks show no values, which may be a visitor's."""
    return typer.Typer(
        cls=commands,
        help=description,
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )


def run(app: typer.Typer) -> None:
    """Runs the command of this process and exits. Characters that the terminal cannot show are escaped."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    app()
