"""`gallery {add,search,remove,export,rebuild,info}`: the pictures that search finds."""

import argparse
import os
from functools import partial
from pathlib import Path

from tqdm import tqdm

import palm_demo
from palm_demo.cli.output import add_verb, opened, show
from palm_demo.errors import PromptError
from palm_demo.gallery import Filters, Report, add_pictures, open_gallery, read_since
from palm_demo.gallery.adding_with_ray import add_with_ray
from palm_demo.gallery.captions import captions_beside
from palm_demo.gallery.exporting import export
from palm_demo.gallery.place import beside_the_app
from palm_demo.gallery.rebuilding import outdated, rebuild
from palm_demo.gallery.sources import find_files, pictures_of
from palm_demo.profiles import TINY, own_name

TOLD = 20
"""Files that could not be read and copies that are listed one by one; `--json` lists all."""


def add_verbs(verbs) -> None:
    group = verbs.add_parser("gallery", help=__doc__.splitlines()[0].partition(": ")[2].rstrip("."))
    actions = group.add_subparsers(dest="action", required=True, metavar="ACTION")

    add = _action(actions, "add", _add, "add the pictures of a folder or a ZIP archive")
    add.add_argument("source", type=Path, help="a folder, with those in it, or a ZIP archive")
    add.add_argument("--link", action="store_true", help="keep the files' paths instead of their bytes")
    add.add_argument("--engine", choices=("local", "ray"), default="local", help="ray: as a Ray Data job")
    add.add_argument("--workers", type=int, default=2, help="processes of --engine ray (2)")

    search = _action(actions, "search", _search, "find pictures by words, by a picture or by both")
    search.add_argument("words", nargs="?", default="", help="what the pictures show")
    search.add_argument("--image", type=Path, help="a picture; with words too, they are sought in captions")
    search.add_argument("--contains", help="only pictures whose caption has these words")
    search.add_argument("--since", help="only pictures added since then, such as 2026-01-31")
    search.add_argument("--k", type=int, default=8, help="how many (8)")

    remove = _action(actions, "remove", _remove, "take pictures out")
    remove.add_argument("ids", nargs="+", metavar="ID", help="as `search` prints them")

    out = _action(actions, "export", _export, "write all pictures and a Parquet table into a new folder")
    out.add_argument("folder", type=Path)

    _action(actions, "rebuild", _rebuild, "look at every picture again, after the model has changed")
    _action(actions, "info", _info, "say what is in the gallery")


def _action(actions, name: str, run, described: str) -> argparse.ArgumentParser:
    parser = add_verb(actions, name, run, described)
    parser.add_argument(
        "--gallery",
        default=os.environ.get("PALM_DEMO_GALLERY"),
        help=f"a folder or s3://… (PALM_DEMO_GALLERY, or else {beside_the_app()}, with a profile's name)",
    )
    return parser


def _place(given: argparse.Namespace) -> str:
    """Where the gallery lies: that of other weights than the bundled ones is another."""
    return given.gallery or str(beside_the_app(None if given.profile == TINY else own_name(given.profile)))


def _add(given: argparse.Namespace) -> None:
    files = find_files(given.source)
    pictures, captions = pictures_of(files), captions_beside(files)
    session = opened(given)
    gallery = open_gallery(_place(given), session.fingerprint, session.dim_latents)
    with tqdm(total=len(pictures), unit=" pictures", disable=None) as bar:
        if given.engine == "ray":
            report = add_with_ray(
                gallery,
                partial(palm_demo.load, given.profile),
                pictures,
                captions,
                given.link,
                bar.update,
                given.workers,
            )
        else:
            report = add_pictures(gallery, session, pictures, captions, given.link, bar.update)
    document = {
        "added": report.added,
        "known": report.known,
        "near": [{"name": name, "like": other} for name, other in report.near],
        "unreadable": [{"name": name, "why": why} for name, why in report.unreadable],
        "pictures": len(gallery),
    }
    show(given, document, _told(report, len(gallery)))


def _told(report: Report, count: int) -> list[str]:
    lines = [f"{len(report.added)} pictures added; the gallery has {count}"]
    if report.known:
        lines.append(f"{len(report.known)} were there already")
    lines += _listed("look like a picture that is there", [f"{n} (like {id})" for n, id in report.near])
    lines += _listed("could not be read", [f"{name}: {why}" for name, why in report.unreadable])
    return lines


def _listed(what: str, entries: list[str]) -> list[str]:
    if not entries:
        return []
    rest = [f"  and {len(entries) - TOLD} more"] if len(entries) > TOLD else []
    return [f"{len(entries)} {what}:", *(f"  {entry}" for entry in entries[:TOLD]), *rest]


def _search(given: argparse.Namespace) -> None:
    if not given.words.strip() and given.image is None:
        raise PromptError("there is nothing to search for; give words, or a picture with --image")
    session = opened(given, gallery_place=_place(given))
    filters = Filters(given.contains, read_since(given.since))
    by_both = given.words if given.image is not None else ""
    hits = session.search(given.image or given.words, given.k, words=by_both, filters=filters)
    document = [
        {
            "score": hit.score,
            "caption": hit.caption,
            "id": hit.id,
            "name": hit.name,
            "added": hit.added.isoformat(),
        }
        for hit in hits
    ]
    show(given, document, [f"{hit.score:.3f}  {hit.caption}  {hit.name}  {hit.id}" for hit in hits])


def _remove(given: argparse.Namespace) -> None:
    gallery = opened(given, gallery_place=_place(given)).gallery
    removed = gallery.remove(given.ids)
    document = {"removed": removed, "pictures": len(gallery)}
    show(given, document, [f"{removed} of {len(given.ids)} removed; the gallery has {len(gallery)}"])


def _export(given: argparse.Namespace) -> None:
    gallery = opened(given, gallery_place=_place(given)).gallery
    with tqdm(total=len(gallery), unit=" pictures", disable=None) as bar:
        count = sum(bar.update(done) or done for done in export(gallery, given.folder))
    document = {"exported": count, "folder": str(given.folder)}
    show(given, document, [f"{count} pictures written to {given.folder}"])


def _rebuild(given: argparse.Namespace) -> None:
    session = opened(given)
    count = outdated(_place(given), session.fingerprint)
    with tqdm(total=count, unit=" pictures", disable=None) as bar:
        for done in rebuild(_place(given), session):
            bar.update(done)
    line = f"{count} pictures looked at again" if count else "the gallery is of these weights already"
    show(given, {"rebuilt": count}, [line])


def _info(given: argparse.Namespace) -> None:
    session = opened(given, gallery_place=_place(given))
    about = {
        "place": _place(given),
        "pictures": len(session.gallery),
        "weights": session.fingerprint,
        "dim_latents": session.dim_latents,
        "indexed": session.gallery.indexed,
    }
    show(given, about, [f"{name}: {value}" for name, value in about.items()])
