"""Options, sessions and output that the commands share."""

import json
import sys
from collections.abc import Generator, Iterable
from contextlib import contextmanager, nullcontext
from io import TextIOWrapper
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

import palm_demo
from palm_demo.errors import GalleryError, PromptError
from palm_demo.installation import GALLERY_VARIABLE, PROFILE_VARIABLE
from palm_demo.text_limits import LONG_TEXT_BYTES

if TYPE_CHECKING:
    from tqdm import tqdm

    from palm_demo.gallery import Report
    from palm_demo.profiles import Step
    from palm_demo.session import Session

TINY = "tiny"
"""The profile of the bundled weights."""
LISTED = 20
"""The most files that are listed one by one. `--json` lists all."""


def complete_profile() -> list[str]:
    """Profile names for shell completion."""
    from palm_demo.profiles import profile_names

    return profile_names()


Profile = Annotated[
    str,
    typer.Option(
        envvar=PROFILE_VARIABLE,
        metavar="NAME",
        help="Which weights: tiny, small, hub, or a YAML file.",
        autocompletion=complete_profile,
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document instead of lines.")]
Place = Annotated[
    str | None,
    typer.Option(
        "--gallery",
        envvar=GALLERY_VARIABLE,
        metavar="PLACE",
        help="A folder or s3://…; by default the gallery that the profile's page has.",
    ),
]


def open_session(profile: str, **settings) -> "Session":
    """Opens the session of a profile. On a terminal, its progress is shown on one line."""
    try:
        return palm_demo.load(profile, on_progress=_show_step, **settings)
    finally:
        if sys.stderr.isatty():
            print("\r\033[K", end="", file=sys.stderr, flush=True)


def _show_step(step: "Step") -> None:
    if sys.stderr.isatty():
        part = "" if step.part is None else f" {step.part:.0%}"
        print(f"\r\033[K{step.what}{part}", end="", file=sys.stderr, flush=True)


def open_to_search(profile: str, named: str | None) -> "Session":
    """Opens the session of a profile with the gallery that was named, or the default one.

    If none was named and the default one does not exist, the gallery is in memory and has the scenes
    of a new page. Raises GalleryError if there is no gallery at a place that was named.
    """
    from palm_demo.gallery import has_gallery, no_gallery
    from palm_demo.session.starter_gallery import gallery_place, named_place

    place = gallery_place(profile, named)
    if has_gallery(place):
        return open_session(profile, gallery_place=place)
    if named_place(named):
        raise GalleryError(no_gallery(place))
    typer.echo(f"{no_gallery(place)}; these are the scenes that a new page begins with", err=True)
    return open_session(profile)


def show(as_json: bool, document: object, lines: Iterable[str]) -> None:
    """Prints the document with `--json`, otherwise the lines."""
    if as_json:
        every_letter = (sys.stdout.encoding or "").lower().startswith("utf")
        print(json.dumps(document, ensure_ascii=not every_letter))
    else:
        for line in lines:
            print(line)


@contextmanager
def progress(total: int, unit: str) -> Generator["tqdm"]:
    """A progress bar on stderr, if that is a terminal."""
    from tqdm import tqdm

    with tqdm(total=total, unit=f" {unit}", disable=None) as bar:
        yield bar


def listed(what: str, entries: list[str]) -> list[str]:
    """A line that counts the entries, then the first of them, one per line. Nothing if there are none."""
    if not entries:
        return []
    rest = [f"  and {len(entries) - LISTED} more"] if len(entries) > LISTED else []
    return [f"{len(entries)} {what}:", *(f"  {entry}" for entry in entries[:LISTED]), *rest]


def left_out(report: "Report") -> dict:
    """The part of a JSON document about files that could not be read or were stored in another way."""
    return {
        "unreadable": [{"name": name, "why": why} for name, why in report.unreadable],
        "noted": [{"name": name, "what": what} for name, what in report.noted],
    }


def lines_of(report: "Report") -> list[str]:
    """Lines about files that could not be read or were stored in another way."""
    unreadable = listed("could not be read", [f"{name}: {why}" for name, why in report.unreadable])
    return unreadable + listed("noted", [f"{name}: {what}" for name, what in report.noted])


def counted(pictures: int) -> str:
    """ "1 picture", "2 pictures"."""
    return "1 picture" if pictures == 1 else f"{pictures:,} pictures"


def read_text(file: Path) -> str:
    """Reads a text file, or standard input for `-`.

    Raises PromptError if there is none, it is not UTF-8, or it is longer than any verb takes. No more of it
    is read then, as it may have no end.
    """
    try:
        with nullcontext(sys.stdin.buffer) if str(file) == "-" else file.open("rb") as opened:
            text = TextIOWrapper(opened, encoding="utf-8-sig").read(LONG_TEXT_BYTES + 1)
    except (OSError, UnicodeDecodeError) as error:
        raise PromptError(
            f"{file} cannot be read as a text in UTF-8 ({error}); save it as one, or name another file"
        ) from error
    if len(text) > LONG_TEXT_BYTES:
        raise PromptError(
            f"{file} has more than {LONG_TEXT_BYTES:,} bytes, which is the most that fit; give a part of it"
        )
    return text
