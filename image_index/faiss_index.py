"""The FAISS index: a flat index of the catalog's float16 vectors, rebuilt at will and replaced atomically.

The file is FAISS's own format followed by a trailer that FAISS does not read: the stamp of the catalog it was built
from as JSON, the JSON's length as eight little-endian bytes, and `MAGIC`. A file without a true trailer is no index.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

import faiss
import numpy as np
from numpy.typing import NDArray

from image_index.errors import StorageError
from image_index.records import Ids, Stamp, Vectors

MAGIC = b"imgidx1\n"

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class FaissIndex:
    """An open index and the stamp of the catalog it was built from."""

    stamp: Stamp
    _index: faiss.Index

    def search(self, query: Vectors, count: int, among: Ids | None = None) -> tuple[NDArray[np.float32], Ids]:
        """Return the scores and ids, best first, of the `count` vectors nearest to `query` (D,) by inner product.

        `among` limits the search to those ids. Fewer come back where there are fewer.
        """
        parameters = None
        if among is not None:
            selector = faiss.IDSelectorBatch(among)
            parameters = faiss.SearchParameters(sel=selector)  # type: ignore[call-arg]  # the stubs lack it
        scores, ids = self._index.search(query[np.newaxis], min(count, max(self.stamp.count, 1)), params=parameters)
        found = ids[0] >= 0
        return scores[0][found], ids[0][found]


def build_index(path: Path, stamp: Stamp, chunks: Iterable[tuple[Ids, Vectors]]) -> None:
    """Write an index of `chunks`, ids (n,) and vectors (n, D), to `path`; it is there whole, or not at all.

    Raises `StorageError` where the disk refuses.
    """
    # float16 holds the catalog's vectors exactly, at half the memory traffic of a flat float32 index
    flat = faiss.IndexScalarQuantizer(stamp.dim, faiss.ScalarQuantizer.QT_fp16, faiss.METRIC_INNER_PRODUCT)
    index = faiss.IndexIDMap(flat)
    for ids, vectors in chunks:
        index.add_with_ids(vectors, ids)
    draft = path.with_suffix(".tmp")
    try:
        _write(index, draft, stamp)
        os.replace(draft, path)
        _sync(path.parent)
    except (OSError, RuntimeError) as error:
        draft.unlink(missing_ok=True)
        raise StorageError(f"cannot write {path}: {error}; free some disk space and run again") from error


def _write(index: faiss.Index, path: Path, stamp: Stamp) -> None:
    """Write `index` and its trailer to `path`, down to the disk, readable by its owner alone."""
    os.close(os.open(path, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600))
    faiss.write_index(index, str(path))
    trailer = json.dumps(asdict(stamp)).encode()
    with path.open("ab") as file:
        file.write(trailer + len(trailer).to_bytes(8, "little") + MAGIC)
    _sync(path)


def _sync(path: Path) -> None:
    """Wait until a file, or the entries of a directory, are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read_stamp(path: Path) -> Stamp | None:
    """Return the stamp in the trailer of the file at `path`, or None where there is no whole index."""
    try:
        with path.open("rb") as file:
            file.seek(-16, os.SEEK_END)
            tail = file.read(16)
            length = int.from_bytes(tail[:8], "little")
            if tail[8:] != MAGIC or length > 4096:
                return None
            file.seek(-16 - length, os.SEEK_END)
            return Stamp(**json.loads(file.read(length)))
    except (OSError, ValueError, TypeError):
        return None


def open_index(path: Path, catalog_id: str) -> FaissIndex | None:
    """Open the index at `path` if it is whole and belongs to the catalog `catalog_id`; None means: use the catalog."""
    stamp = read_stamp(path)
    if stamp is None or stamp.catalog_id != catalog_id:
        return None
    try:
        index = faiss.read_index(str(path), faiss.IO_FLAG_MMAP_IFC)
    except RuntimeError as error:
        logger.warning("Ignoring the damaged index %s (%s)", path, str(error).splitlines()[0])
        return None
    if (index.ntotal, index.d) != (stamp.count, stamp.dim):
        logger.warning("Ignoring the damaged index %s (it does not hold what it says)", path)
        return None
    return FaissIndex(stamp, index)
