"""What commands have in common, and what they print: lines for people, or one JSON document for programs."""

import argparse
import json
import os
import sys
from collections.abc import Iterable

import palm_demo
from palm_demo.errors import GalleryError
from palm_demo.gallery import has_gallery, no_gallery
from palm_demo.profiles import TINY, Step, profile_names
from palm_demo.session import Session
from palm_demo.session.place import VARIABLE, default_place, gallery_place, named_place
from palm_demo.session.session import check_count

LEFT_OUT = 1
"""The exit status of a command that has done its work, but for items that it names; 2 is a command that was
refused, 130 one that was interrupted."""


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
        return palm_demo.load(given.profile, on_progress=_told, **settings)
    finally:
        if sys.stderr.isatty():
            print("\r\033[K", end="", file=sys.stderr, flush=True)


def add_gallery_option(parser: argparse.ArgumentParser) -> None:
    """Which gallery a verb reads or writes."""
    parser.add_argument(
        "--gallery",
        help=f"a folder or s3://… ({VARIABLE}, or else {default_place()}, with a profile's name)",
    )


def opened_to_search(given: argparse.Namespace) -> Session:
    """The session of the profile, with the gallery that was named or lies at the default place. Where nobody
    has named one and there is none yet, it is in memory and has the scenes that a page begins with.

    Raises GalleryError where there is no gallery at a place that was named.
    """
    check_count(given.k)  # before models are loaded
    place = gallery_place(given.profile, given.gallery)
    if has_gallery(place):
        return opened(given, gallery_place=place)
    if named_place(given.gallery):
        raise GalleryError(no_gallery(place))
    print(f"{no_gallery(place)}; these are the scenes that a new page begins with", file=sys.stderr)
    return opened(given)


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
