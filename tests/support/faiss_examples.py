"""FAISS files that several tests need: random unit vectors under known ids."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import faiss
import numpy as np
from numpy.typing import NDArray

from image_index.records import Ids, Stamp, Vectors
from image_index.vectors.build import build_index
from image_index.vectors.derived_file import Contents, read_trailer, state
from image_index.vectors.open_index import FaissIndex, open_index

STAMP = Stamp("a" * 32, 7, 300, 30, 8)


def random_vectors(count: int, dim: int, seed: int = 0) -> Vectors:
    """Return unit vectors as the catalog gives them: float32 that holds float16 values."""
    vectors = np.random.default_rng(seed).standard_normal((count, dim))
    unit: NDArray[np.float16] = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float16)
    return unit.astype(np.float32)


def chunks(ids: Ids, vectors: Vectors, size: int = 7) -> Iterator[tuple[Ids, NDArray[np.float16]]]:
    """Yield ids and vectors in pieces, as they are stored."""
    for start in range(0, len(ids), size):
        yield ids[start : start + size], vectors[start : start + size].astype(np.float16)


def build(path: Path, stamp: Stamp = STAMP) -> Vectors:
    """Build an index whose ids are 10, 20, 30, ...; return its vectors."""
    vectors = random_vectors(stamp.count, stamp.dim)
    size = max(7, stamp.count // 40)  # pieces of 7 of a large index would take most of the time
    build_index(path, stamp, lambda: chunks(np.arange(1, stamp.count + 1) * 10, vectors, size))
    return vectors


def opened(path: Path, stamp: Stamp = STAMP) -> FaissIndex:
    """Open an index that must be whole."""
    index = open_index(path, stamp.catalog_id)
    assert index is not None
    return index


def read_stamp(path: Path) -> Stamp | None:
    """Return the stamp of the catalog that the file at `path` was built from, or None where there is no whole index."""
    contents = contents_of(path)
    return contents.stamp if contents else None


def contents_of(path: Path) -> Contents | None:
    """Return what the trailer of the file at `path` says, or None where there is no whole one."""
    trailer = read_trailer(path)
    return trailer.contents if trailer else None


def is_whole(path: Path) -> bool:
    """Tell whether the file at `path` is byte for byte what was written, for whichever catalog."""
    contents = contents_of(path)
    return contents is not None and state(path, contents.stamp.catalog_id)[1] is not None


@contextmanager
def visited_lists() -> Iterator[Callable[[], int]]:
    """Count how many inverted lists FAISS visits within; give what tells it."""
    counters: Any = faiss.cvar
    stats = counters.indexIVF_stats
    stats.reset()
    yield lambda: int(stats.nlist)
