"""Adding pictures as a Ray Data job: many processes, or machines, read and look; one writes."""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from math import ceil
from pathlib import Path
from types import ModuleType

import numpy as np
import pyarrow as pa

from palm_demo.errors import GalleryError
from palm_demo.gallery.adding import BATCH, Encoder, Intake, Report, described, looked_at, readable
from palm_demo.gallery.rows import Row, as_table, schema
from palm_demo.gallery.sources import Source
from palm_demo.gallery.table import Gallery

OUTCOMES = [pa.field("file", pa.string()), pa.field("known", pa.bool_()), pa.field("unreadable", pa.string())]
"""What became of a file whose row was not made, beside the columns of the row."""


def add_with_ray(
    gallery: Gallery,
    new_encoder: Callable[[], Encoder],
    files: Sequence[Source],
    captions: Mapping[str, str],
    link: bool = False,
    tell: Callable[[int], object] = lambda count: None,
    workers: int = 2,
) -> Report:
    """As `add_pictures`, with the same rows. new_encoder: called once in each worker, which keeps what
    comes; every machine has to see the files at the same place.

    Pictures come back in the order of the files, so that of two copies the same one stays. Raises
    GalleryError where Ray is not installed or cannot be reached, and where a worker fails.
    """
    with _connected(workers) as ray:
        context = ray.data.DataContext.get_current()
        context.execution_options.preserve_order = True
        context.enable_progress_bars = False  # `tell` is the progress
        logging.getLogger("ray.data").setLevel(logging.ERROR)
        intake = Intake(gallery)
        # in full: workers need not stand in the folder that this process stands in
        places = [{"container": str(file.container.absolute()), "name": file.name} for file in files]
        blocks = max(1, ceil(len(files) / BATCH))
        looked = ray.data.from_items(places, override_num_blocks=blocks)
        looked = looked.map_batches(
            Looker,
            fn_constructor_args=(new_encoder, ray.put(intake.copies.ids), dict(captions), link),
            batch_size=BATCH,
            batch_format="pyarrow",
            compute=ray.data.ActorPoolStrategy(size=min(workers, blocks)),
        )
        for part in looked.iter_batches(batch_size=BATCH, batch_format="pyarrow"):
            intake.write(intake.fresh(_rows(part, intake.report)))
            tell(len(part))
        return intake.finish()


@contextmanager
def _connected(workers: int) -> Iterator[ModuleType]:
    """Ray as it is connected already, or to the cluster that RAY_ADDRESS names, or else to processes of
    this machine that end with the job."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # Ray tells its makers of every start otherwise
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise GalleryError("Ray is not installed; `pip install 'palm-demo[ray]'`") from error
    # Ray starts its processes anew at once, which is what this warning fears it does not
    warnings.filterwarnings("ignore", "lancedb fork support", RuntimeWarning)
    started = not ray.is_initialized()
    if started:
        _start(ray, workers)
    try:
        yield ray
    except ray.exceptions.RayError as error:
        last_line = str(error).strip().rpartition("\n")[2][:200]
        raise GalleryError(
            f"a worker of Ray failed ({last_line}); what was added stays: run it again to go on, or add with "
            "--engine local"
        ) from error
    finally:
        if started:
            ray.shutdown()


def _start(ray: ModuleType, workers: int) -> None:
    cluster = os.environ.get("RAY_ADDRESS")
    own = {} if cluster else {"address": "local", "num_cpus": workers, "include_dashboard": False}
    try:
        ray.init(**own, log_to_driver=False, logging_level=logging.ERROR)
    except Exception as error:  # no kind of its own: Ray raises a bare one when it starts too slowly
        raise GalleryError(
            f"Ray cannot be started or reached ({str(error)[:200]}); see that RAY_ADDRESS names a running "
            "cluster, unset it to use this machine alone, or add with --engine local"
        ) from error


class Looker:
    """One worker: files in, rows out."""

    def __init__(self, new_encoder: Callable[[], Encoder], known, captions: Mapping[str, str], link: bool):
        """known: a reference to the ids that the gallery has already."""
        import ray

        self.encoder, self.captions, self.link = new_encoder(), captions, link
        self.known = ray.get(known)

    def __call__(self, batch: pa.Table) -> pa.Table:
        report = Report()
        files = [Source(Path(row["container"]), row["name"]) for row in batch.to_pylist()]
        pixels = list(readable(files, self.encoder.media_limits, self.known, report))
        images = {each.id: each.image for each, _ in pixels}
        rows = described(looked_at(pixels, self.encoder, self.captions, self.link), images, self.encoder)
        return _outcomes(files, rows, report, self.encoder.dim_latents)


def _outcomes(files: Sequence[Source], rows: Sequence[Row], report: Report, dim_latents: int) -> pa.Table:
    """One line per file, in their order."""
    made = {row.name: place for place, row in enumerate(rows)}
    unreadable, known = dict(report.unreadable), set(report.known)
    written = as_table(rows, schema(dim_latents)) if rows else schema(dim_latents).empty_table()
    places = pa.array([made.get(file.name) for file in files], pa.int64())
    taken = written.take(places)
    columns = [
        [file.name for file in files],
        [file.name in known for file in files],
        [unreadable.get(file.name) for file in files],
    ]
    for field, column in zip(OUTCOMES, columns, strict=True):
        taken = taken.append_column(field, pa.array(column, field.type))
    return taken


def _rows(part: pa.Table, report: Report) -> list[Row]:
    """The rows of a part; what became of the other files goes into the report."""
    rows = []
    for line in part.to_pylist():
        file, known, why = (line.pop(field.name) for field in OUTCOMES)
        if why is not None:
            report.unreadable.append((file, why))
        elif known:
            report.known.append(file)
        else:
            latent = np.array(line.pop("latent"), np.float32)
            rows.append(Row(**line, latent=latent))
    return rows
