"""What commands have in common, and what they print: lines for people, or one JSON document for programs."""

import argparse
import json
import os
import sys
from collections.abc import Iterable

import palm_demo
from palm_demo.profiles import TINY, Step, profile_names
from palm_demo.session import Session


def add_command(verbs, name: str, run, described: str) -> argparse.ArgumentParser:
    """A verb's parser, whose `run` is called with what was given."""
    parser = verbs.add_parser(name, help=described, description=described[0].upper() + described[1:] + ".")
    parser.add_argument(
        "--profile",
        default=os.environ.get("PALM_DEMO_PROFILE") or TINY,
        help=f"which weights: {', '.join(profile_names())}, or a YAML file (PALM_DEMO_PROFILE or {TINY})",
    )
    parser.set_defaults(run=run)
    return parser


def add_verb(verbs, name: str, run, described: str) -> argparse.ArgumentParser:
    """The same of a verb that prints what it found."""
    parser = add_command(verbs, name, run, described)
    parser.add_argument("--json", action="store_true", help="print one JSON document instead of lines")
    return parser


def opened(given: argparse.Namespace, **settings) -> Session:
    """The session of the profile that was asked for."""
    try:
        return palm_demo.load(given.profile, tell=_told, **settings)
    finally:
        if sys.stderr.isatty():
            print("\r\033[K", end="", file=sys.stderr, flush=True)


def _told(step: Step) -> None:
    """One line, which the next one takes the place of; nothing where nobody looks."""
    if sys.stderr.isatty():
        part = "" if step.part is None else f" {step.part:.0%}"
        print(f"\r\033[K{step.what}{part}", end="", file=sys.stderr, flush=True)


def show(given: argparse.Namespace, document: object, lines: Iterable[str]) -> None:
    """The document with `--json`, the lines otherwise."""
    if given.json:
        print(json.dumps(document, ensure_ascii=False))
    else:
        for line in lines:
            print(line)
