"""How fast a gallery finds pictures as it grows, beside faiss-cpu's exact and HNSW search.

Each size and each side has processes of its own, so that its memory is its own too, and imports only what
it needs there. Embeddings are synthetic clusters of the bundled width, the same for all sides.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

DIM = 256
PER_CLUSTER, SPREAD = 200, 0.6
"""Pictures of a kind, and how far they lie from its middle: two of one kind have a cosine of about 0.74,
as embeddings of scenes with the same noun have."""
K = 10
LINKS, BUILDING, SEARCHING = 32, 80, 128
"""faiss HNSW: neighbours of a node; candidates while building; while searching, for recall beside ours."""
PART = 10_000
ADDING_MS = 20
"""Between two rows, as when `gallery add` writes them."""


def clusters(count: int) -> np.ndarray:
    """The middles of the clusters: (kinds, DIM), of length one."""
    random = np.random.default_rng(0)
    return unit(random.standard_normal((max(1, count // PER_CLUSTER), DIM), dtype=np.float32))


def embeddings(count: int, start: int, stop: int) -> np.ndarray:
    """Rows `start` to `stop` of `count` unit embeddings. Rows from `count` on are the queries."""
    random, middles = np.random.default_rng([1, start]), clusters(count)
    near = middles[random.integers(len(middles), size=stop - start)]
    noise = random.standard_normal((stop - start, DIM), dtype=np.float32)
    return unit(near + SPREAD / DIM**0.5 * noise)


def unit(rows: np.ndarray) -> np.ndarray:
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def parts(count: int) -> Iterator[tuple[int, np.ndarray]]:
    """PART rows of the embeddings at a time, each time with the number of the first one."""
    for start in range(0, count, PART):
        yield start, embeddings(count, start, min(start + PART, count))


def queries(count: int, how_many: int) -> np.ndarray:
    return embeddings(count, count, count + how_many)


def exact(count: int, how_many: int) -> list[list[int]]:
    """The true top K of each query, in any order, a part of the rows at a time."""
    asked = queries(count, how_many)
    best = np.zeros((how_many, 0)), np.zeros((how_many, 0), int)
    for start, rows in parts(count):
        cosines = np.hstack([best[0], asked @ rows.T])
        places = np.hstack([best[1], np.tile(np.arange(start, start + len(rows)), (how_many, 1))])
        top = np.argpartition(-cosines, K - 1, axis=1)[:, :K]
        best = np.take_along_axis(cosines, top, 1), np.take_along_axis(places, top, 1)
    return best[1].tolist()


def build_gallery(count: int, folder: Path) -> None:
    """Rows as `gallery add` writes them, each with a name and a time of its own and a thumbnail of usual
    size, then the indices."""
    from datetime import datetime, timedelta, timezone

    from palm_demo import world
    from palm_demo.gallery import open_gallery
    from palm_demo.gallery.pictures import thumbnail
    from palm_demo.gallery.rows import Row

    (scene, _), *_ = world.start_gallery(1)
    small, now = thumbnail(world.render(scene, 192)), datetime.now(timezone.utc)
    gallery = open_gallery(folder, "benchmark", DIM)
    for start, rows in parts(count):
        gallery.add(
            [
                Row(
                    id=f"{place:064}",
                    name=f"{place}.jpg",
                    path=f"/pictures/{place}.jpg",
                    original=None,
                    thumbnail=small,
                    caption=f"picture {place}",
                    phash=place,
                    added=now + timedelta(milliseconds=ADDING_MS * place),
                    embedding=row,
                )
                for place, row in enumerate(rows, start)
            ]
        )
    gallery.tidy()


def open_built_gallery(folder: Path) -> Callable[[np.ndarray], list[int]]:
    from palm_demo.gallery import open_gallery

    gallery = open_gallery(folder, "benchmark", DIM)
    return lambda embedding: [int(hit.id) for hit in gallery.nearest(embedding, K)]


def build_flat(count: int, folder: Path) -> None:
    import faiss

    _faiss(faiss.IndexFlatIP(DIM), count, folder)


def build_hnsw(count: int, folder: Path) -> None:
    import faiss

    index = faiss.IndexHNSWFlat(DIM, LINKS, faiss.METRIC_INNER_PRODUCT)
    index.hnsw.efConstruction, index.hnsw.efSearch = BUILDING, SEARCHING
    _faiss(index, count, folder)


def _faiss(index, count: int, folder: Path) -> None:
    import faiss

    for _, rows in parts(count):
        index.add(rows)
    faiss.write_index(index, str(folder / "index"))


def open_faiss(folder: Path) -> Callable[[np.ndarray], list[int]]:
    import faiss

    index = faiss.read_index(str(folder / "index"))
    return lambda embedding: index.search(embedding[None], K)[1][0].tolist()


SIDES = {
    "gallery": (build_gallery, open_built_gallery),
    "faiss flat": (build_flat, open_faiss),
    "faiss HNSW": (build_hnsw, open_faiss),
}


def build(side: str, count: int, folder: Path) -> dict:
    begun = time.perf_counter()
    SIDES[side][0](count, folder)
    disk = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    return {"build": time.perf_counter() - begun, "disk": disk}


def search(side: str, count: int, how_many: int, folder: Path) -> dict:
    """Searches in a process that has built nothing, as a page or a command does."""
    find = SIDES[side][1](folder)
    opened = _memory_bytes()
    seconds, found = [], []
    for query in queries(count, how_many):
        start = time.perf_counter()
        found.append(find(query))
        seconds.append(time.perf_counter() - start)
    warm = np.array(seconds[how_many // 10 :]) * 1000  # the first fill caches
    return {
        "p50": float(np.median(warm)),
        "p99": float(np.quantile(warm, 0.99)),
        "found": found,
        "opened": opened,
        "memory": _memory_bytes(),
    }


def _memory_bytes() -> int:
    """The resident memory of this process."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0]) * 1024


def rows_of(count: int, how_many: int) -> list[list[str]]:
    """The cells of one size, a row for each side."""
    truth, lines = exact(count, how_many), []
    for side in SIDES:
        with tempfile.TemporaryDirectory() as folder:
            figures = _apart("build", side, count, how_many, folder)
            figures |= _apart("search", side, count, how_many, folder)
        pairs = zip(figures["found"], truth, strict=True)
        recall = float(np.mean([len(set(found) & set(best)) / K for found, best in pairs]))
        lines.append(
            [
                f"{count:,}",
                side,
                f"{figures['p50']:.1f}",
                f"{figures['p99']:.1f}",
                f"{recall:.3f}",
                f"{figures['build']:.0f}",
                f"{figures['opened'] / 1e6:.0f}",
                f"{figures['memory'] / 1e6:.0f}",
                f"{figures['disk'] / 1e6:.0f}",
            ]
        )
        print(*lines[-1], file=sys.stderr, flush=True)
    return lines


def _apart(task: str, side: str, count: int, how_many: int, folder: str) -> dict:
    """A task in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.gallery", "--task", task, side, folder]
    command += ["--sizes", str(count), "--queries", str(how_many)]
    told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return json.loads(told.splitlines()[-1])


HEADER = [
    "pictures",
    "side",
    "p50 ms",
    "p99 ms",
    "recall@10",
    "build s",
    "MB of memory, opened",
    "MB, after searching",
    "disk MB",
]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--queries", type=int, default=1000)
    parser.add_argument("--task", nargs=3, metavar=("TASK", "SIDE", "FOLDER"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.task:
        (task, side, folder), count = given.task, given.sizes[0]
        figures = (
            build(side, count, Path(folder))
            if task == "build"
            else search(side, count, given.queries, Path(folder))
        )
        print(json.dumps(figures))
        return
    import torch

    from benchmarks.measuring import machine, table

    lines = [line for count in given.sizes for line in rows_of(count, given.queries)]
    print(machine(torch.device("cpu")), table(HEADER, lines), sep="\n\n")


if __name__ == "__main__":
    main()
