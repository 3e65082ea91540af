"""The command line: `palm-demo VERB …`, and `python -m palm_demo VERB …` in a checkout."""

import argparse
import logging
import sys
from collections.abc import Sequence

import palm_demo
from palm_demo.cli import gallery, pictures, serving, texts
from palm_demo.errors import PalmDemoError
from palm_demo.installation import COMMAND, NAME

GROUPS = (texts, pictures, gallery, serving)
"""Each adds its verbs to the parser, and says of each what it runs."""


def make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=COMMAND, description="PaLM, Flamingo and MaMMUT from the command line."
    )
    parser.add_argument("--version", action="version", version=f"{NAME} {palm_demo.__version__}")
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    for group in GROUPS:
        group.add_verbs(verbs)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command. 0 when all is done, 1 when it is but for items that were left out and are named, 2
    for an error of the user's, which is told on stderr without a traceback."""
    given = make_parser().parse_args(arguments)
    logging.basicConfig(level=logging.ERROR, format="%(levelname)s: %(message)s")
    try:
        return given.run(given) or 0
    except PalmDemoError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("stopped; what was done is kept", file=sys.stderr)
        return 130
