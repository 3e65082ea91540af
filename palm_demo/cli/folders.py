"""Tables of many pictures: captions in a CSV file, embeddings in a Parquet file.

A picture that fails is a line of the report and does not end the run. Running the command again
continues a run that was interrupted.
"""

import csv
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from io import StringIO
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import TYPE_CHECKING, Any

import typer

from palm_demo.cli.output import counted, left_out, lines_of, progress, show
from palm_demo.commands import LEFT_OUT
from palm_demo.errors import PromptError

if TYPE_CHECKING:
    import pyarrow as pa

    from palm_demo.gallery import Report
    from palm_demo.gallery.sources import Source
    from palm_demo.session import Session

BATCH = 16
"""Pictures that are decoded and encoded together."""
PART = 512
"""Embeddings that are written at a time. A killed run loses at most these."""
COLUMNS = ["path", "caption", "error", "fingerprint"]


def is_collection(path: Path) -> bool:
    """Whether a path is a folder or a ZIP archive."""
    # `Path.is_dir` would raise where a name is too long
    return os.path.isdir(path) or path.suffix.lower() == ".zip"


def files_of(images: Sequence[Path]) -> list["Source"]:
    """The picture files among some paths, and those in folders and archives, each once.

    Raises GalleryError for a folder or archive that cannot be read, and PromptError if there are no
    pictures.
    """
    from palm_demo.gallery.sources import Source, find_files, pictures_of

    files: list[Source] = []
    for image in images:
        files += (
            pictures_of(find_files(image)) if is_collection(image) else [Source(image.parent, image.name)]
        )
    if not files:
        raise PromptError(
            f"there are no pictures in {', '.join(map(str, images))}; name a folder that has some, or files"
        )
    return list(dict.fromkeys(files))


def why(path: str, error: Exception) -> str:
    """The reason and the remedy for a picture that failed. Raises the error again if no picture is at
    fault."""
    from palm_demo.gallery.report import why

    return why(path, error)


def captions(
    session: "Session", files: Sequence["Source"], max_new_tokens: int
) -> Iterator[tuple[str, str, str | Exception]]:
    """Yields (path, id, caption or error) of each picture."""
    return _compute_each(session, files, lambda some: session.captions(some, max_new_tokens=max_new_tokens))


def _compute_each(
    session: "Session", files: Sequence["Source"], compute: Callable[[list], Iterable]
) -> Iterator[tuple[str, str, Any]]:
    from palm_demo.gallery.pictures import MAX_SIDE, content_id
    from palm_demo.gallery.report import batched, each
    from palm_demo.media import decode_image

    def look(some: Sequence["Source"]) -> list[tuple[str, Any]]:
        read = [file.read() for file in some]
        images = [
            decode_image(data, file.name, session.media_limits, MAX_SIDE)
            for data, file in zip(read, some, strict=True)
        ]
        return list(zip(map(content_id, read), compute(images), strict=True))

    for some in batched(files, BATCH):
        for file, found in zip(some, each(look, some), strict=True):
            yield (path_of(file), "", found) if isinstance(found, Exception) else (path_of(file), *found)


def path_of(file: "Source") -> str:
    """The path of a file in a table. For a file in an archive, the archive's path and its path in there."""
    from palm_demo.gallery.report import shown

    return shown(str(file.container / file.name))


def check_writable(file: Path) -> None:
    """Raises PromptError if a file cannot be written, before any work is done for it."""
    try:
        if file.is_dir():
            raise IsADirectoryError(21, "it is a folder")
        with NamedTemporaryFile(dir=file.parent, prefix=f".{file.name}-"):
            pass
        if file.exists() and not os.access(file, os.W_OK):
            raise PermissionError(13, "it may not be changed")
    except OSError as error:
        raise PromptError(f"{file} cannot be written ({error.strerror}); name another file") from error


def show_result(as_json: bool, table: Path, done: int, kept: int, report: "Report") -> None:
    """Prints the result of a run. Exits with LEFT_OUT if pictures were left out."""
    there = [f"already there: {kept:,}"] if kept else []
    show(
        as_json,
        {"table": str(table), "done": done, "kept": kept, **left_out(report)},
        [f"{counted(done)} done; {table} has {done + kept:,}", *there, *lines_of(report)],
    )
    if report.unreadable:
        raise typer.Exit(LEFT_OUT)


def _refuse_others(table: Path, theirs: set[str], session: "Session") -> None:
    if others := theirs - {session.mammut.fingerprint}:
        raise PromptError(
            f"{table} was made by other weights ({others.pop()}) than these ({session.mammut.fingerprint}); "
            "name another file, or the profile that made it"
        )


class CaptionTable:
    """A CSV file of captions, which grows as they are written.

    Failed pictures are in it with the reason, and the next run tries them again.

    Attributes:
        kept: number of captions from earlier runs.
        done: number of captions of this run.
    """

    def __init__(self, file: Path):
        """Raises PromptError if the file is another table, or cannot be written."""
        check_writable(file)
        self.file, self.done = file, 0
        self._rows = self._read()

    @property
    def kept(self) -> int:
        """Number of captions from earlier runs."""
        return sum(map(_has_caption, self._rows))

    def fill(self, session: "Session", files: Sequence["Source"], max_new_tokens: int) -> "Report":
        """Captions the pictures that have none. Raises PromptError if other weights wrote the rest."""
        from palm_demo.gallery import Report

        captioned = [row for row in self._rows if _has_caption(row)]
        _refuse_others(self.file, {row[3] for row in captioned}, session)
        report, there = Report(), {row[0] for row in captioned}
        missing = [file for file in files if path_of(file) not in there]
        self._rows = self._without(map(path_of, missing))
        growing = self.file.with_name(f".{self.file.name}.new")
        try:
            with open(growing, "w", encoding="utf-8", newline="") as target:
                csv.writer(target).writerows([COLUMNS, *self._rows])
            os.replace(growing, self.file)  # a half written row of a killed run is gone
        finally:
            growing.unlink(missing_ok=True)
        with (
            open(self.file, "a", encoding="utf-8", newline="") as target,
            progress(len(missing), "pictures") as bar,
        ):
            writer = csv.writer(target)
            for path, _, found in captions(session, missing, max_new_tokens):
                if isinstance(found, Exception):
                    report.leave_out(path, found)
                    writer.writerow([path, "", report.unreadable[-1][1], session.mammut.fingerprint])
                else:
                    writer.writerow([path, found, "", session.mammut.fingerprint])
                    self.done += 1
                target.flush()
                bar.update()
        return report

    def _without(self, tried: Iterable[str]) -> list[list[str]]:
        """The rows but those of failed pictures that are tried again."""
        paths = set(tried)
        return [row for row in self._rows if _has_caption(row) or row[0] not in paths]

    def _read(self) -> list[list[str]]:
        """The rows, of which each has a caption or the reason why there is none."""
        try:
            with open(self.file, encoding="utf-8", newline="") as source:
                text = source.read()
            header, *rows = [*csv.reader(StringIO(text, newline=""))] or [COLUMNS]
        except FileNotFoundError:
            return []
        except (OSError, UnicodeDecodeError, csv.Error) as error:
            raise PromptError(
                f"{self.file} cannot be read as a CSV table ({error}); name another file"
            ) from error
        if header != COLUMNS:
            raise PromptError(
                f"{self.file} is another table, with the columns {', '.join(header)}; name another file"
            )
        if not text.endswith("\n"):
            rows = rows[:-1]  # of a killed run, whose last row may be half written
        return [row for row in rows if len(row) == len(COLUMNS) and (row[1] or row[2]) and row[3]]


def _has_caption(row: list[str]) -> bool:
    return bool(row[1])


class EmbeddingTable:
    """A Parquet file of embeddings, which appears when it is complete.

    What an interrupted run has done is in a folder beside it until the next run ends.

    Attributes:
        kept: number of embeddings from earlier runs.
        done: number of embeddings of this run.
    """

    def __init__(self, file: Path):
        """Raises PromptError if the file is another table, or cannot be written."""
        check_writable(file)
        self.file, self.parts = file, file.with_name(f".{file.name}.parts")
        self.done = 0
        self._earlier, self._there, self._weights = [], set(), set()
        for earlier in [*([file] if file.exists() else []), *sorted(self.parts.glob("*.parquet"))]:
            found = self._read(earlier)
            paths = {*found["path"].to_pylist()}
            if paths <= self._there:
                continue  # a part that the table has already: the run was killed before it was removed
            self._earlier.append(earlier)
            self._there |= paths
            self._weights |= {*found["fingerprint"].to_pylist()}
        self.kept = len(self._there)

    def fill(self, session: "Session", files: Sequence["Source"]) -> "Report":
        """Embeds the pictures that are not in the table. Raises PromptError if other weights made the
        rest."""
        import pyarrow as pa

        from palm_demo.gallery import Report

        _refuse_others(self.file, self._weights, session)
        form = pa.schema(
            [
                pa.field("id", pa.string(), nullable=False),
                pa.field("path", pa.string(), nullable=False),
                pa.field("embedding", pa.list_(pa.float32(), session.mammut.embedding_dim), nullable=False),
                pa.field("fingerprint", pa.string(), nullable=False),
            ]
        )
        report, fingerprint = Report(), session.mammut.fingerprint
        missing = [file for file in files if path_of(file) not in self._there]
        self.parts.mkdir(exist_ok=True)
        rows: list[dict] = []
        try:
            with progress(len(missing), "pictures") as bar:
                for path, id, found in _compute_each(session, missing, session.embed_images):
                    bar.update()
                    if isinstance(found, Exception):
                        report.leave_out(path, found)
                        continue
                    rows.append({"id": id, "path": path, "embedding": found, "fingerprint": fingerprint})
                    if len(rows) == PART:
                        self._keep(pa.Table.from_pylist(rows, form))
                        rows = []
        finally:
            if rows:
                self._keep(pa.Table.from_pylist(rows, form))
        self._join(form)
        return report

    def _keep(self, table: "pa.Table") -> None:
        """Writes a part, completely or not at all."""
        import pyarrow.parquet as pq

        growing = self.parts / "growing"
        pq.write_table(table, growing)
        taken = len([*self.parts.glob("*.parquet")])
        part = self.parts / f"{taken:06}.parquet"
        os.replace(growing, part)
        self._earlier.append(part)
        self.done += len(table)

    def _join(self, form: "pa.Schema") -> None:
        import pyarrow.parquet as pq

        growing = self.parts / "joined"
        with pq.ParquetWriter(growing, form) as writer:
            for earlier in self._earlier:
                with pq.ParquetFile(earlier) as source:
                    for rows in source.iter_batches():
                        writer.write_batch(rows.cast(form))
        os.replace(growing, self.file)
        with suppress(OSError):
            shutil.rmtree(self.parts)

    def _read(self, file: Path) -> "pa.Table":
        import pyarrow as pa
        import pyarrow.parquet as pq

        try:
            return pq.read_table(file, columns=["path", "fingerprint"])
        except (OSError, ValueError, KeyError, pa.ArrowException) as error:
            reason = str(error).partition("\n")[0]
            raise PromptError(
                f"{file} is not a table of embeddings that `embed` wrote ({reason:.200}); name another file"
            ) from error
