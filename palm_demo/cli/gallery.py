"""`gallery {add,search,remove,export,rebuild,info}`: the pictures that search finds."""

import argparse
from functools import partial
from pathlib import Path

from tqdm import tqdm

import palm_demo
from palm_demo.cli.output import LEFT_OUT, add_gallery_option, add_verb, opened, opened_to_search, show
from palm_demo.errors import GalleryError, PromptError
from palm_demo.gallery import Filters, Gallery, Report, add_pictures, galleries_in, open_gallery, read_since
from palm_demo.gallery.captions import captions_beside
from palm_demo.gallery.ingest_ray import add_with_ray
from palm_demo.gallery.maintenance import export, outdated, rebuild
from palm_demo.gallery.opening import check_writable
from palm_demo.gallery.sources import find_files, pictures_of
from palm_demo.installation import COMMAND
from palm_demo.session.place import gallery_place

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
    add_gallery_option(parser)
    return parser


def _add(given: argparse.Namespace) -> int:
    place = gallery_place(given.profile, given.gallery)
    files, report = find_files(given.source), Report()
    pictures, captions = pictures_of(files), captions_beside(files, report)
    check_writable(place)  # before models are loaded
    session = opened(given)
    gallery = open_gallery(place, session.fingerprint, session.dim_latents)
    with tqdm(total=len(pictures), unit=" pictures", disable=None) as bar:
        if given.engine == "ray":
            added = add_with_ray(
                gallery,
                partial(palm_demo.load, given.profile),
                pictures,
                captions,
                given.link,
                bar.update,
                given.workers,
            )
        else:
            added = add_pictures(gallery, session, pictures, captions, given.link, bar.update)
    report.extend(added)
    names = gallery.names([id for _, id in report.near])
    document = {
        "added": report.added,
        "known": report.known,
        "near": [{"name": name, "like": names.get(id, id), "id": id} for name, id in report.near],
        **_left_out(report),
        "pictures": len(gallery),
    }
    lines = [f"{_pictures(len(report.added))} added; the gallery has {len(gallery)}"]
    if report.known:
        lines.append(f"{len(report.known)} were there already")
    near = [f"{name} (like {names.get(id, id)})" for name, id in report.near]
    lines += _listed("look like a picture that is there", near)
    if not files:
        lines.append(f"there are no files in {given.source}")
    elif not pictures:
        lines.append(f"none of the {len(files)} files in {given.source} is called like a picture")
    show(given, document, lines + _told(report))
    return _status(report)


def _left_out(report: Report) -> dict:
    return {
        "unreadable": [{"name": name, "why": why} for name, why in report.unreadable],
        "noted": [{"name": name, "what": what} for name, what in report.noted],
    }


def _told(report: Report) -> list[str]:
    """What was left out, and what was done in another way."""
    left_out = _listed("could not be read", [f"{name}: {why}" for name, why in report.unreadable])
    return left_out + _listed("noted", [f"{name}: {what}" for name, what in report.noted])


def _status(report: Report) -> int:
    return LEFT_OUT if report.unreadable else 0


def _pictures(count: int) -> str:
    return "1 picture" if count == 1 else f"{count} pictures"


def _listed(what: str, entries: list[str]) -> list[str]:
    if not entries:
        return []
    rest = [f"  and {len(entries) - TOLD} more"] if len(entries) > TOLD else []
    return [f"{len(entries)} {what}:", *(f"  {entry}" for entry in entries[:TOLD]), *rest]


def _search(given: argparse.Namespace) -> None:
    if not given.words.strip() and given.image is None:
        raise PromptError("there is nothing to search for; give words, or a picture with --image")
    filters = Filters(given.contains, read_since(given.since))
    session = opened_to_search(given)
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


def _remove(given: argparse.Namespace) -> int:
    galleries = galleries_in(gallery_place(given.profile, given.gallery))
    ids = list(dict.fromkeys(given.ids))
    there = set().union(*(gallery.names(ids) for gallery in galleries))
    missing = [id for id in ids if id not in there]
    for gallery in galleries:
        gallery.remove(ids)
    left = max(map(len, galleries))
    document = {"removed": len(there), "missing": missing, "pictures": left}
    lines = [f"{len(there)} of {len(ids)} removed; the gallery has {left}"]
    if missing:
        lines += _listed("not in the gallery", missing)
        lines.append("give ids as `gallery search` prints them")
    show(given, document, lines)
    return LEFT_OUT if missing else 0


def _export(given: argparse.Namespace) -> int:
    gallery, report = _only(gallery_place(given.profile, given.gallery)), Report()
    with tqdm(total=len(gallery), unit=" pictures", disable=None) as bar:
        written = export(gallery, given.folder, report=report)
        count = sum(bar.update(done) or done for done in written)
    document = {"exported": count, "folder": str(given.folder), **_left_out(report)}
    show(given, document, [f"{_pictures(count)} written to {given.folder}", *_told(report)])
    return _status(report)


def _rebuild(given: argparse.Namespace) -> int:
    place, report = gallery_place(given.profile, given.gallery), Report()
    check_writable(place, make=False)
    session = opened(given)
    count, seen = outdated(place, session.fingerprint), 0
    with tqdm(total=count, unit=" pictures", disable=None) as bar:
        for done in rebuild(place, session, report):
            bar.update(done)
            seen += done
    seen -= len(report.unreadable)
    lines = [f"{_pictures(seen)} looked at again" if count else "the gallery is of these weights already"]
    show(given, {"rebuilt": seen, **_left_out(report)}, lines + _told(report))
    return _status(report)


def _info(given: argparse.Namespace) -> None:
    """Reads the table alone: no weights are loaded for it."""
    place = gallery_place(given.profile, given.gallery)
    lying = galleries_in(place)
    about = {
        "place": place,
        "pictures": max(map(len, lying)),
        "weights": ", ".join(gallery.fingerprint for gallery in lying),
        "dim_latents": lying[0].dim_latents,
        "indexed": lying[0].indexed,
    }
    if len(lying) > 1:
        about["unfinished"] = f"a rebuild has not ended; `{COMMAND} gallery rebuild` goes on with it"
    show(given, about, [f"{name}: {value}" for name, value in about.items()])


def _only(place: str) -> Gallery:
    """The gallery of a place, whichever weights made it. Raises GalleryError where there are two."""
    lying = galleries_in(place)
    if len(lying) > 1:
        raise GalleryError(
            f"a rebuild of the gallery in {place} has not ended; go on with `{COMMAND} gallery rebuild` first"
        )
    return lying[0]
