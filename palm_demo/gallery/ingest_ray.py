"""Ingests pictures as a Ray Data job: many processes or machines read and embed, and one writes."""

from __future__ import annotations

import logging
import pickle
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from math import ceil

import numpy as np
import pyarrow as pa

from palm_demo.errors import ClusterError
from palm_demo.gallery.ingest import BATCH, Encoder, Ingested, Ingestor, embed_files
from palm_demo.gallery.report import Report
from palm_demo.gallery.rows import Row, as_table, schema
from palm_demo.gallery.sources import Source
from palm_demo.gallery.store import Gallery
from palm_demo.internals.ray_cluster import connected

OUTCOMES = [pa.field("file", pa.string()), pa.field("known", pa.bool_()), pa.field("why", pa.string())]
"""Columns that say what happened to a file. The columns of its row are empty if there is none."""


def ingest_with_ray(
    gallery: Gallery,
    new_encoder: Callable[[], Encoder],
    files: Sequence[Source],
    captions: Mapping[str, str],
    link: bool = False,
    on_progress: Callable[[int], object] = lambda count: None,
    workers: int = 2,
) -> Report:
    """Adds picture files on the processes of a Ray cluster, with the same result as `ingest_pictures`.

    Pictures come back in the order of the files, so that of two copies the same one is kept.

    Args:
        gallery, files, captions, link, on_progress: as of `ingest_pictures`. Every machine has to find
            the files at the same path.
        new_encoder: called once in each worker, which keeps the result.
        workers: the number of processes.

    Raises MissingExtraError where Ray is not installed, and ClusterError where it cannot be reached or
    a worker fails.
    """
    with connected(workers, "add with --engine local") as ray, _workers_that_may_fail():
        import ray.data

        context = ray.data.DataContext.get_current()
        context.execution_options.preserve_order = True
        context.enable_progress_bars = False  # `on_progress` is the progress
        logging.getLogger("ray.data").setLevel(logging.ERROR)
        ingestor = Ingestor(gallery)
        # in full: workers need not stand in the folder that this process stands in. Pickled: names may be
        # no UTF-8, which Arrow's texts are
        places = [{"file": pickle.dumps(file.absolute())} for file in files]
        blocks = max(1, ceil(len(files) / BATCH))
        ingested = ray.data.from_items(places, override_num_blocks=blocks)
        ingested = ingested.map_batches(
            EmbeddingWorker,
            fn_constructor_args=(new_encoder, ray.put(ingestor.copies.ids), dict(captions), link),
            batch_size=BATCH,
            batch_format="pyarrow",
            compute=ray.data.ActorPoolStrategy(size=min(workers, blocks)),
        )
        for part in ingested.iter_batches(batch_size=BATCH, batch_format="pyarrow"):
            ingestor.take(_from_table(part))
            on_progress(len(part))
        return ingestor.finish()


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


class EmbeddingWorker:
    """One worker of the Ray job, which turns a table of files into a table of rows."""

    def __init__(self, new_encoder: Callable[[], Encoder], known, captions: Mapping[str, str], link: bool):
        """Loads the encoder. `known`: a Ray reference to the ids that the gallery has already."""
        import ray

        self.encoder, self.captions, self.link = new_encoder(), captions, link
        self.known = ray.get(known)

    def __call__(self, batch: pa.Table) -> pa.Table:
        files = [pickle.loads(data) for data in batch["file"].to_pylist()]
        ingested = embed_files(files, self.encoder, self.known, self.captions, self.link)
        return _as_table(ingested, self.encoder.embedding_dim)


def _as_table(ingested: Sequence[Ingested], embedding_dim: int) -> pa.Table:
    """Results as an Arrow table, one line per file in their order."""
    rows = [one.row for one in ingested if one.row is not None]
    form = schema(embedding_dim)
    written = as_table(rows, form) if rows else form.empty_table()
    places = iter(range(len(rows)))
    taken = written.take(
        pa.array([None if one.row is None else next(places) for one in ingested], pa.int64())
    )
    columns = [[one.name for one in ingested], [one.known for one in ingested], [one.why for one in ingested]]
    # a row that is not there has no id: no column of these may promise values
    lines = {name: taken[name] for name in form.names}
    lines |= {
        field.name: pa.array(column, field.type) for field, column in zip(OUTCOMES, columns, strict=True)
    }
    return pa.table(lines)


def _from_table(part: pa.Table) -> list[Ingested]:
    ingested = []
    for line in part.to_pylist():
        name, known, why = (line.pop(field.name) for field in OUTCOMES)
        row = None
        if line["id"] is not None:
            row = Row(**{**line, "embedding": np.array(line["embedding"], np.float32)})
        ingested.append(Ingested(name, row, known, why))
    return ingested
