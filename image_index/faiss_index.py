"""The FAISS index: a flat index of the catalog's float16 vectors, rebuilt at will and replaced atomically.

The file is FAISS's own format followed by a trailer that FAISS does not read: as JSON, the stamp of the catalog it was
built from and the CRC-32 of every block before; then the JSON's CRC-32 (4 bytes, little-endian), its length (8 bytes,
little-endian), and `MAGIC`. A file without a true trailer is no index.
"""

from __future__ import annotations

import json
import logging
import os
import zlib
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

import faiss
import numpy as np
from numpy.typing import NDArray

from image_index.errors import StorageError
from image_index.records import Ids, Stamp, Vectors

MAGIC = b"imgidx1\n"

BLOCK_BYTES = 16 << 20
"""How much of the file one checksum covers."""

QUICK_BLOCKS = 4
"""A file of as many blocks is checked whole before every search: 64 MB take about 30 ms."""

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
    path.unlink(missing_ok=True)  # what a killed run left behind may be readable by others
    os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    faiss.write_index(index, str(path))
    size = path.stat().st_size
    checksums = [_checksum(path, start, size) for start in range(0, size, BLOCK_BYTES)]
    text = json.dumps({"stamp": asdict(stamp), "crc32": checksums}).encode()
    with path.open("ab") as file:
        file.write(text + zlib.crc32(text).to_bytes(4, "little") + len(text).to_bytes(8, "little") + MAGIC)
    _sync(path)


def _checksum(path: Path, start: int, end: int) -> int:
    """Return the CRC-32 of the block of a file that begins at `start`; nothing at or after `end` belongs to it."""
    with path.open("rb") as file:
        file.seek(start)
        return zlib.crc32(file.read(min(BLOCK_BYTES, end - start)))


def _sync(path: Path) -> None:
    """Wait until a file, or the entries of a directory, are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@dataclass(frozen=True, slots=True)
class _Trailer:
    """What the end of an index file says of it; `size` is where FAISS's own bytes end."""

    stamp: Stamp
    checksums: tuple[int, ...]
    size: int


def _read_trailer(path: Path) -> _Trailer | None:
    """Return the trailer of the file at `path`, or None where there is no whole one."""
    footer = 4 + 8 + len(MAGIC)
    try:
        with path.open("rb") as file:
            end = file.seek(-footer, os.SEEK_END)
            tail = file.read(footer)
            length = int.from_bytes(tail[4:12], "little")
            if tail[12:] != MAGIC or length > end:
                return None
            start = file.seek(end - length)
            text = file.read(length)
        if zlib.crc32(text) != int.from_bytes(tail[:4], "little"):
            return None
        values = json.loads(text)
        return _Trailer(Stamp(**values["stamp"]), tuple(values["crc32"]), start)
    except (OSError, ValueError, TypeError, KeyError):
        return None


def read_stamp(path: Path) -> Stamp | None:
    """Return the stamp in the trailer of the file at `path`, or None where there is no whole index."""
    trailer = _read_trailer(path)
    return trailer.stamp if trailer else None


def is_whole(path: Path, *, thorough: bool = True) -> bool:
    """Tell whether the file at `path` is byte for byte what was written; without `thorough` only where it costs little.

    A search looks at the first and the last block, which hold everything that FAISS itself relies on; a damaged vector
    in between can cost it a hit, but never a wrong score, which comes from the catalog.
    """
    trailer = _read_trailer(path)
    if trailer is None or len(trailer.checksums) != -(-trailer.size // BLOCK_BYTES):
        return False
    blocks = range(len(trailer.checksums))
    looked_at = blocks if thorough or len(blocks) <= QUICK_BLOCKS else (blocks[0], blocks[-1])
    return all(_checksum(path, i * BLOCK_BYTES, trailer.size) == trailer.checksums[i] for i in looked_at)


def open_index(path: Path, catalog_id: str) -> FaissIndex | None:
    """Open the index at `path` if it is whole and belongs to the catalog `catalog_id`; None means: use the catalog."""
    stamp = read_stamp(path)
    if stamp is None or stamp.catalog_id != catalog_id:
        return None
    if not is_whole(path, thorough=False):
        logger.warning("Ignoring the damaged index %s; the next train, or imgidx verify --repair, rebuilds it", path)
        return None
    try:
        index = faiss.read_index(str(path), faiss.IO_FLAG_MMAP_IFC)
    except (RuntimeError, MemoryError) as error:  # a damaged length is a request for terabytes
        logger.warning("Ignoring the damaged index %s (%s)", path, str(error).partition("\n")[0])
        return None
    if (index.ntotal, index.d) != (stamp.count, stamp.dim):
        logger.warning("Ignoring the damaged index %s (it does not hold what it says)", path)
        return None
    return FaissIndex(stamp, index)
