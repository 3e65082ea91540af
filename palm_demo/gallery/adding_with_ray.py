"""Adding pictures as a Ray Data job: many processes, or machines, read and look; one writes."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from math import ceil
from pathlib import Path

import numpy as np
import pyarrow as pa

from palm_demo.cluster import connected
from palm_demo.errors import ClusterError
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
    MissingExtraError where Ray is not installed, ClusterError where it cannot be reached or a worker fails.
    """
    with connected(workers, "add with --engine local") as ray, _workers_that_may_fail():
        import ray.data

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
def _workers_that_may_fail() -> Iterator[None]:
    from ray.exceptions import RayError

    try:
        yield
    except RayError as error:
        last_line = str(error).strip().rpartition("\n")[2][:200]
        raise ClusterError(
            f"a worker of Ray failed ({last_line}); what was added stays: run it again to go on, or add with "
            "--engine local"
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
