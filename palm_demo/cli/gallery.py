"""The commands of the gallery: `gallery {add,search,remove,export,rebuild,info}`."""

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

import palm_demo
from palm_demo.cli.output import (
    TINY,
    AsJson,
    Place,
    Profile,
    counted,
    left_out,
    lines_of,
    listed,
    open_session,
    open_to_search,
    progress,
    show,
)
from palm_demo.commands import LEFT_OUT
from palm_demo.errors import GalleryError, PromptError
from palm_demo.installation import COMMAND

if TYPE_CHECKING:
    from palm_demo.gallery import Encoder, Gallery

app = typer.Typer(help="The pictures that search finds.", no_args_is_help=True)


@app.command()
def add(
    source: Annotated[Path, typer.Argument(help="A folder with its subfolders, or a ZIP archive.")],
    link: Annotated[
        bool, typer.Option("--link", help="Store the files' paths instead of their bytes.")
    ] = False,
    engine: Annotated[Literal["local", "ray"], typer.Option(help="ray: as a Ray Data job.")] = "local",
    workers: Annotated[int, typer.Option(help="Processes of --engine ray.")] = 2,
    gallery: Place = None,
    profile: Profile = TINY,
    as_json: AsJson = False,
) -> None:
    """Add the pictures of a folder or a ZIP archive."""
    from palm_demo.gallery import Report, ingest_pictures, open_gallery
    from palm_demo.gallery.captions import captions_beside
    from palm_demo.gallery.ingest_ray import ingest_with_ray
    from palm_demo.gallery.opening import check_writable
    from palm_demo.gallery.sources import find_files, pictures_of
    from palm_demo.session import picture_weights
    from palm_demo.session.starter_gallery import gallery_place

    place = gallery_place(profile, gallery)
    files, report = find_files(source), Report()
    pictures, captions = pictures_of(files), captions_beside(files, report)
    check_writable(place)  # before models are loaded
    if engine == "ray":  # the workers load the models
        table, new_encoder = open_gallery(place, *picture_weights(profile)), partial(_load_encoder, profile)
        with progress(len(pictures), "pictures") as bar:
            added = ingest_with_ray(table, new_encoder, pictures, captions, link, bar.update, workers)
    else:
        encoder = open_session(profile).mammut
        table = open_gallery(place, encoder.fingerprint, encoder.embedding_dim)
        with progress(len(pictures), "pictures") as bar:
            added = ingest_pictures(table, encoder, pictures, captions, link, bar.update)
    report.extend(added)
    names = table.names([id for _, id in report.near])
    document = {
        "added": report.added,
        "known": report.known,
        "near": [{"name": name, "like": names.get(id, id), "id": id} for name, id in report.near],
        **left_out(report),
        "pictures": len(table),
    }
    lines = [f"{counted(len(report.added))} added; the gallery has {len(table)}"]
    if report.known:
        lines.append(f"already there: {len(report.known):,}")
    near = [f"{name} (like {names.get(id, id)})" for name, id in report.near]
    lines += listed("similar to a picture that is there", near)
    if not files:
        lines.append(f"there are no files in {source}")
    elif not pictures:
        lines.append(f"no file in {source} is called like a picture")
    show(as_json, document, lines + lines_of(report))
    if report.unreadable:
        raise typer.Exit(LEFT_OUT)


def _load_encoder(profile: str) -> "Encoder":
    """Loads what embeds and captions pictures, in a worker of Ray."""
    return palm_demo.load(profile).mammut


@app.command()
def search(
    words: Annotated[str, typer.Argument(help="What the pictures show.", show_default=False)] = "",
    image: Annotated[
        Path | None, typer.Option(help="A picture; words given too are searched for in captions.")
    ] = None,
    contains: Annotated[str | None, typer.Option(help="Only pictures whose caption has these words.")] = None,
    since: Annotated[
        str | None, typer.Option(metavar="DATE", help="Only pictures added since then, such as 2026-01-31.")
    ] = None,
    k: Annotated[int, typer.Option(help="The number of pictures.")] = 8,
    gallery: Place = None,
    profile: Profile = TINY,
    as_json: AsJson = False,
) -> None:
    """Find pictures of the gallery by words, by a picture or by both."""
    from palm_demo.gallery import Filters, read_since
    from palm_demo.gallery.rows import check_count

    if not words.strip() and image is None:
        raise PromptError("there is nothing to search for; give words, or a picture with --image")
    check_count(k)  # before models are loaded
    filters = Filters(contains, read_since(since))
    session = open_to_search(profile, gallery)
    hits = session.search(image or words, k, words="" if image is None else words, filters=filters)
    document = [
        {
            "score": hit.score,
            "alike": hit.alike,
            "caption": hit.caption,
            "id": hit.id,
            "name": hit.name,
            "added": hit.added.isoformat(),
        }
        for hit in hits
    ]
    nothing = ["nothing like it is here; the nearest are"] if hits and not hits[0].alike else []
    lines = [f"{hit.score:.3f}  {hit.caption}  {hit.name}  {hit.id}" for hit in hits]
    show(as_json, document, [*nothing, *lines])


@app.command()
def remove(
    ids: Annotated[list[str], typer.Argument(metavar="ID…", help="Ids as `search` prints them.")],
    gallery: Place = None,
    profile: Profile = TINY,
    as_json: AsJson = False,
) -> None:
    """Remove pictures."""
    from palm_demo.gallery import galleries_in
    from palm_demo.session.starter_gallery import gallery_place

    galleries = galleries_in(gallery_place(profile, gallery))
    ids = list(dict.fromkeys(ids))
    there = set().union(*(table.names(ids) for table in galleries))
    missing = [id for id in ids if id not in there]
    for table in galleries:
        table.remove(ids)
    left = max(map(len, galleries))
    lines = [f"{len(there)} of {len(ids)} removed; the gallery has {left}"]
    if missing:
        lines += listed("not in the gallery", missing)
        lines.append("give ids as `gallery search` prints them")
    show(as_json, {"removed": len(there), "missing": missing, "pictures": left}, lines)
    if missing:
        raise typer.Exit(LEFT_OUT)


@app.command()
def export(
    folder: Annotated[Path, typer.Argument(help="A new folder, or an empty one.")],
    gallery: Place = None,
    profile: Profile = TINY,
    as_json: AsJson = False,
) -> None:
    """Write all pictures and a Parquet table into a new folder."""
    from palm_demo.gallery import Report
    from palm_demo.gallery.maintenance import export
    from palm_demo.session.starter_gallery import gallery_place

    table, report = _only(gallery_place(profile, gallery)), Report()
    with progress(len(table), "pictures") as bar:
        written = export(table, folder, report=report)
        count = sum(bar.update(done) or done for done in written)
    document = {"exported": count, "folder": str(folder), **left_out(report)}
    show(as_json, document, [f"{counted(count)} written to {folder}", *lines_of(report)])
    if report.unreadable:
        raise typer.Exit(LEFT_OUT)


@app.command()
def rebuild(gallery: Place = None, profile: Profile = TINY, as_json: AsJson = False) -> None:
    """Embed every picture again, after the model has changed."""
    from palm_demo.gallery import Report
    from palm_demo.gallery.maintenance import outdated, rebuild
    from palm_demo.gallery.opening import check_writable
    from palm_demo.session.starter_gallery import gallery_place

    place, report = gallery_place(profile, gallery), Report()
    check_writable(place, make=False)
    session = open_session(profile)
    count, seen = outdated(place, session.mammut.fingerprint), 0
    with progress(count, "pictures") as bar:
        for done in rebuild(place, session.mammut, report):
            bar.update(done)
            seen += done
    seen -= len(report.unreadable)
    lines = [f"{counted(seen)} embedded again" if count else "the gallery is of these weights already"]
    show(as_json, {"rebuilt": seen, **left_out(report)}, lines + lines_of(report))
    if report.unreadable:
        raise typer.Exit(LEFT_OUT)


@app.command()
def info(gallery: Place = None, profile: Profile = TINY, as_json: AsJson = False) -> None:
    """Show what is in the gallery, without loading weights."""
    from palm_demo.gallery import galleries_in
    from palm_demo.session.starter_gallery import gallery_place

    place = gallery_place(profile, gallery)
    galleries = galleries_in(place)
    about = {
        "place": place,
        "pictures": max(map(len, galleries)),
        "weights": ", ".join(table.fingerprint for table in galleries),
        "embedding_dim": galleries[0].embedding_dim,
        "indexed": galleries[0].indexed,
    }
    if len(galleries) > 1:
        about["unfinished"] = f"a rebuild has not ended; `{COMMAND} gallery rebuild` goes on with it"
    show(as_json, about, [f"{name}: {value}" for name, value in about.items()])


def _only(place: str) -> "Gallery":
    """The gallery of a place, whichever weights made it. Raises GalleryError if there are two."""
    from palm_demo.gallery import galleries_in

    galleries = galleries_in(place)
    if len(galleries) > 1:
        raise GalleryError(
            f"a rebuild of the gallery in {place} has not ended; go on with `{COMMAND} gallery rebuild` first"
        )
    return galleries[0]
