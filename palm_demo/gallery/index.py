"""Indices of a gallery: full text and ids from the start, one for the latents once it has grown."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lancedb.table import Table

INDEXED_FROM = 20_000
"""Pictures from which on latents get an index; below, all of them are compared."""
RETRAINED_AT = 4
"""The index is trained anew when the gallery has grown to so many times what it was trained on."""
PART = 2048
"""Pictures of a part of the index: of a million pictures, PROBES parts are three in a hundred."""
SAMPLED, ROUNDS = 64, 10
"""Pictures per part that k-means learns the parts from, and its rounds: a twentieth of the work of LanceDB's
own 256 and 50."""
PROBES, REFINED = 14, 2
"""Of the index's parts so many are looked into, and of what they offer so many times k compared exactly."""
KEPT = timedelta(minutes=10)
"""How long the files of earlier versions stay, for those who read them."""

VERSIONS_OF_NEW = 3
"""A table is made, then gets two indices."""
LATENTS = "latents_of_"
"""The name of the latents' index ends with how many it was trained on."""


def prepare(table: Table) -> None:
    """The indices that a table has from the start."""
    from lancedb.index import FTS, BTree

    there = {column for index in table.list_indices() for column in index.columns}
    if "caption" not in there:
        table.create_index("caption", config=FTS())
    if "id" not in there:
        table.create_index("id", config=BTree())


def tidy(table: Table) -> None:
    """Brings small files together and new rows into the indices, trains the latents' index when it is
    time, and lets go of what was removed."""
    from lancedb.index import IvfSq

    count, trained_on = table.count_rows(), _trained_on(table)
    if count >= INDEXED_FROM and count >= RETRAINED_AT * trained_on:
        config = IvfSq("cosine", target_partition_size=PART, sample_rate=SAMPLED, max_iterations=ROUNDS)
        table.create_index("latent", config=config, name=f"{LATENTS}{count}", replace=True)
        for index in table.list_indices():
            if index.columns == ["latent"] and index.name != f"{LATENTS}{count}":
                table.drop_index(index.name)
    table.optimize(cleanup_older_than=KEPT)


def has_latents(table: Table) -> bool:
    return _trained_on(table) > 0


def _trained_on(table: Table) -> int:
    names = [index.name for index in table.list_indices() if index.name.startswith(LATENTS)]
    return max((int(name.removeprefix(LATENTS)) for name in names), default=0)
