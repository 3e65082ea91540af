"""What commands have in common, and what they print: lines for people, or one JSON document for programs."""

import argparse
import json
from collections.abc import Iterable


def add_command(verbs, name: str, run, described: str) -> argparse.ArgumentParser:
    """A verb's parser, whose `run` is called with what was given."""
    parser = verbs.add_parser(name, help=described, description=described[0].upper() + described[1:] + ".")
    parser.set_defaults(run=run)
    return parser


def add_verb(verbs, name: str, run, described: str) -> argparse.ArgumentParser:
    """The same of a verb that prints what it found."""
    parser = add_command(verbs, name, run, described)
    parser.add_argument("--json", action="store_true", help="print one JSON document instead of lines")
    return parser


def show(given: argparse.Namespace, document: object, lines: Iterable[str]) -> None:
    """The document with `--json`, the lines otherwise."""
    if given.json:
        print(json.dumps(document, ensure_ascii=False))
    else:
        for line in lines:
            print(line)
