"""What an index holds, at a glance."""

from __future__ import annotations

from dataclasses import dataclass

from image_index.catalog.reader import CatalogReader
from image_index.catalog.runs import Runs
from image_index.records import Counts, KnownRun, ModelFacts, Root
from image_index.settings import IndexHome


@dataclass(frozen=True, slots=True)
class IndexStatus:
    """What an index holds: `model` is None while there are no vectors, `last_run` None before the first."""

    counts: Counts
    roots: tuple[Root, ...]
    model: ModelFacts | None
    size_bytes: int
    last_run: KnownRun | None


def read_status(home: IndexHome) -> IndexStatus:
    """Return what the index in `home` holds; raises `IndexNotFound` where there is none."""
    with CatalogReader(home.catalog) as catalog:
        return IndexStatus(
            catalog.counts(), tuple(catalog.roots()), catalog.read_model(), home.size_bytes(), Runs(catalog).last()
        )
