"""All vectors of the catalog in one piece, mapped into memory: what a search compares, and what lists are built from.

    vectors.f16    the vectors, one row after the other: D little-endian float16 numbers each, as the catalog has them
    vectors.ids    the id of each row, a little-endian int64; they ascend
    vectors.json   how many rows there are, of which state of which catalog, and the checksums of their blocks

Rows are appended in place, behind the last one, and vectors.json is replaced when they are on the disk. What lies
beyond the rows that it counts does not exist: a run killed at any point leaves the old state, and the next one writes
over what it left. Rows of pictures that are gone stay until the files are written anew. To do that, vectors.json is
removed first and written last, so that nobody takes one of the files for part of what was there before.
"""

from __future__ import annotations

import json
import logging
import mmap
import os
import weakref
import zlib
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from image_index.files.atomic import replacing_file, storage_errors, sync
from image_index.half import to_float32
from image_index.records import DerivedState, Ids, Stamp, Vectors
from image_index.settings import IndexHome
from image_index.vectors import derived_file
from image_index.vectors.derived_file import blocks_to_check, is_sound
from image_index.vectors.exact_scan import best_rows, rows_at_least

ID_BYTES = 8
ROWS_AT_A_TIME = 8192
"""How many rows are read in one go: 16 MB as float32 of 512 dimensions."""

ATTEMPTS = 5
"""How often a search tries to open the files while a training replaces them."""

logger = logging.getLogger(__name__)

Chunks = Iterable[tuple[Ids, NDArray[np.float16]]]
"""Ids (n,) in ascending order, and their vectors (n, D)."""


@dataclass(frozen=True, slots=True)
class Table:
    """What vectors.json says: the `rows` of the two files, and the CRC-32 of every block of each."""

    stamp: Stamp
    rows: int
    vectors_crc32: tuple[int, ...]
    ids_crc32: tuple[int, ...]

    @property
    def vectors_bytes(self) -> int:
        """How much of vectors.f16 counts."""
        return self.rows * 2 * self.stamp.dim

    @property
    def ids_bytes(self) -> int:
        """How much of vectors.ids counts."""
        return self.rows * ID_BYTES


class _OpenFile:
    """An open file of which single rows are read, until nobody uses it any more.

    Read from the map, each would count for up to 2 MB of this process's memory, for Linux maps whole what it holds in
    large pages: 272 rows of ten million, 350 MB. It takes 0.8 ms for so many, from the map 0.3 to 1.3.
    """

    def __init__(self, path: Path) -> None:
        self._descriptor = os.open(path, os.O_RDONLY)
        weakref.finalize(self, os.close, self._descriptor)
        if hasattr(os, "posix_fadvise"):
            os.posix_fadvise(self._descriptor, 0, 0, os.POSIX_FADV_RANDOM)  # the disk need not read ahead

    def rows(self, numbers: list[int], width: int) -> bytes:
        """Return the rows of these numbers, `width` bytes each; of what the disk refuses, zeros."""
        read, descriptor = os.pread, self._descriptor
        with suppress(OSError):
            data = b"".join([read(descriptor, width, number * width) for number in numbers])
            if len(data) == width * len(numbers):
                return data
        return b"".join(self._row(number, width) for number in numbers)  # damaged: one by one

    def _row(self, number: int, width: int) -> bytes:
        try:
            return os.pread(self._descriptor, width, number * width).ljust(width, b"\0")
        except OSError:  # a vector of zeros is none of the catalog's: the picture is left out with a warning
            return bytes(width)


@dataclass(frozen=True, slots=True, eq=False)
class VectorFile:
    """Rows of the open files: the ids (N,), ascending, and their vectors. Its scores are those of the vectors."""

    stamp: Stamp
    ids: Ids
    _rows: NDArray[np.float16]
    _file: _OpenFile | None = None
    _map: mmap.mmap | None = None
    _start: int = 0

    error: float = 0.0
    """By how much a true score may exceed the one that `search` gives."""

    def __len__(self) -> int:
        return len(self.ids)

    def after(self, image_id: int) -> VectorFile:
        """Return the rows whose ids are over `image_id`."""
        first = int(np.searchsorted(self.ids, image_id, side="right"))
        return replace(
            self,
            ids=self.ids[first:],
            _rows=self._rows[first:],
            _start=self._start + first,
        )

    def chunks(self) -> Iterator[tuple[Ids, Vectors]]:
        """Yield the ids (n,) and float32 vectors (n, D) of all rows, in order of their ids."""
        return ((ids, to_float32(vectors)) for ids, vectors in self.stored())

    def stored(self) -> Iterator[tuple[Ids, NDArray[np.float16]]]:
        """Yield the same with the vectors as they are stored."""
        for first in range(0, len(self), ROWS_AT_A_TIME):
            piece = slice(first, first + ROWS_AT_A_TIME)
            yield self.ids[piece].copy(), self._rows[piece].copy()
            self._leave(first + ROWS_AT_A_TIME)

    def sample(self, count: int) -> Iterator[tuple[Ids, Vectors]]:
        """Yield the same of `count` rows or somewhat more, evenly spread, or of all."""
        ids = self.ids[:: max(1, len(self) // count)]
        return (self.gather(ids[first : first + ROWS_AT_A_TIME]) for first in range(0, len(ids), ROWS_AT_A_TIME))

    def _leave(self, end: int) -> None:
        """Let the memory of the rows before `end` go: pages once touched would count as this process's own."""
        if self._map is not None and hasattr(mmap, "MADV_DONTNEED"):
            length = (self._start + end) * self._rows.itemsize * self._rows.shape[1]
            self._map.madvise(mmap.MADV_DONTNEED, 0, min(length, len(self._map)) // mmap.PAGESIZE * mmap.PAGESIZE)

    def gather(self, ids: Ids) -> tuple[Ids, Vectors]:
        """Return those of `ids` that have a row, in their order, and their float32 vectors (n, D)."""
        places, there = self._places(ids)
        if self._file is None:
            return ids[there], to_float32(self._rows[places[there]])
        data = self._file.rows((places[there] + self._start).tolist(), 2 * self._rows.shape[1])
        return ids[there], to_float32(np.frombuffer(data, "<f2").reshape(-1, self._rows.shape[1]))

    def _places(self, ids: Ids) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """Return the row of each of `ids`, and which of them have one.

        Where nothing is gone an id tells its row; to look for 300 ids among ten million takes a millisecond.
        """
        if not len(self):
            return np.zeros(len(ids), np.int64), np.zeros(len(ids), np.bool_)
        places = np.clip(ids - self.ids[0], 0, len(self) - 1)
        elsewhere = self.ids[places] != ids
        places[elsewhere] = np.minimum(np.searchsorted(self.ids, ids[elsewhere]), len(self) - 1)
        return places, self.ids[places] == ids

    def search(
        self, query: Vectors, count: int, among: Ids | None = None
    ) -> tuple[NDArray[np.float32], Ids, float | None]:
        """Return the scores and ids, best first, of the `count` rows nearest to `query` (D,), of those `among` ids.

        The third is the most that any other may score, None where there is no other.
        """
        scores, rows = best_rows(self._rows, query, count, self._chosen(among))
        return scores, self.ids[rows], float(scores[-1]) if len(rows) == count else None

    def near(self, query: Vectors, least: float, among: Ids | None = None) -> Ids:
        """Return the ids, in ascending order, of the rows that score at least `least`, give or take rounding."""
        found: Ids = self.ids[rows_at_least(self._rows, query, least, self._chosen(among))]
        return found

    def _chosen(self, among: Ids | None) -> NDArray[np.int64] | None:
        """Return the rows of the ids that a search is limited to, in ascending order."""
        if among is None:
            return None
        places, there = self._places(np.sort(among))
        return places[there]


# Reading


def open_vectors(home: IndexHome, catalog_id: str) -> VectorFile | None:
    """Open the files if they are whole, as far as a search checks that, and of the catalog `catalog_id`."""
    for _ in range(ATTEMPTS):
        before = _read_text(home)
        state, table = _state(home, catalog_id, before, at_most=0)
        found = _mapped(home, table) if table else None
        if _read_text(home) == before:  # else one of them may already be another file
            if state is DerivedState.DAMAGED or (table is not None and found is None):
                cause = "damaged, or of another catalog"
                logger.warning("Ignoring %s (%s); the next train writes it anew", home.vectors, cause)
            return found
    return None


def vectors_state(
    home: IndexHome, catalog_id: str, *, now: Stamp | None = None, thorough: bool = True, at_most: int | None = None
) -> tuple[DerivedState, Table | None]:
    """Return how the files stand to the catalog `catalog_id`, as `derived_file.state` does of others."""
    state, table = _state(home, catalog_id, _read_text(home), at_most=at_most if thorough else 0)
    if table is not None and now is not None and table.stamp != now:
        return DerivedState.BEHIND, table
    return state, table


def _state(
    home: IndexHome, catalog_id: str, text: bytes | None, at_most: int | None
) -> tuple[DerivedState, Table | None]:
    """Return the state of the files, and their table where they can be used; of large ones `at_most` is checked."""
    if text is None and not os.path.lexists(home.vector_table):
        return DerivedState.ABSENT, None
    table = _table(text or b"")
    if table is None or table.stamp.catalog_id != catalog_id:
        return DerivedState.DAMAGED, None
    files = (
        (home.vectors, table.vectors_bytes, table.vectors_crc32),
        (home.vector_ids, table.ids_bytes, table.ids_crc32),
    )
    for path, size, checksums in files:
        if not is_sound(path, size, checksums, blocks_to_check(size, at_most)):
            return DerivedState.DAMAGED, None
    return DerivedState.CURRENT, table


def _read_text(home: IndexHome) -> bytes | None:
    """Return what vectors.json holds, None where there is none to read."""
    try:
        return home.vector_table.read_bytes()
    except OSError:
        return None


def _table(text: bytes) -> Table | None:
    """Return what vectors.json says, None where it is damaged."""
    contents = text.partition(b', "contents": ')[2][:-2]
    if text != _signed(contents):
        return None
    try:
        values = json.loads(contents)
        checksums = (tuple(values[name]) for name in ("vectors_crc32", "ids_crc32"))
        return Table(Stamp(**values["stamp"]), int(values["rows"]), *checksums)
    except (ValueError, TypeError, KeyError):
        return None


def _signed(contents: bytes) -> bytes:
    """Return the text of vectors.json: its contents and, before them, their checksum."""
    return b'{"crc32": %d, "contents": %s}\n' % (zlib.crc32(contents), contents)


def _mapped(home: IndexHome, table: Table) -> VectorFile | None:
    """Return the rows of a table, mapped into memory; None where the files cannot be opened."""
    if not table.rows:
        none = np.empty((0, table.stamp.dim), np.float16)
        return VectorFile(table.stamp, np.empty(0, np.int64), none)
    try:
        ids = np.frombuffer(_map(home.vector_ids, table.ids_bytes), "<i8")
        vectors, file = _map(home.vectors, table.vectors_bytes), _OpenFile(home.vectors)
    except (OSError, ValueError):
        return None
    return VectorFile(table.stamp, ids, np.frombuffer(vectors, "<f2").reshape(table.rows, -1), file, vectors)


def _map(path: Path, size: int) -> mmap.mmap:
    """Return the first `size` bytes of a file, mapped into memory."""
    with path.open("rb") as file:
        return mmap.mmap(file.fileno(), size, access=mmap.ACCESS_READ)


# Writing


def write_vectors(home: IndexHome, stamp: Stamp, chunks: Chunks) -> None:
    """Write the files anew, of all the vectors of the catalog `stamp`; raise `StorageError` where the disk refuses."""
    with replacing_file(home.vectors) as vectors, replacing_file(home.vector_ids) as ids:
        table = _append(vectors, ids, Table(stamp, 0, (), ()), chunks)
        sync(vectors)  # before the old files count no more
        sync(ids)
        with storage_errors(home.vector_table):
            home.vector_table.unlink(missing_ok=True)
            sync(home.path)
    _write_table(home, table)


def append_vectors(home: IndexHome, table: Table, stamp: Stamp, chunks: Chunks) -> None:
    """Append those vectors of the catalog `stamp` that are not yet in the files; raise `StorageError` as above."""
    with storage_errors(home.vectors):
        table = _append(home.vectors, home.vector_ids, replace(table, stamp=stamp), chunks)
        sync(home.vectors)
        sync(home.vector_ids)
    _write_table(home, table)


def _append(vectors: Path, ids: Path, table: Table, chunks: Chunks) -> Table:
    """Write chunks behind the rows of `table`; return the table with them."""
    with vectors.open("r+b") as vector_file, ids.open("r+b") as id_file:
        of_vectors = _Writer(vector_file, table.vectors_bytes, table.vectors_crc32)
        of_ids = _Writer(id_file, table.ids_bytes, table.ids_crc32)
        for chunk_ids, chunk in chunks:
            of_vectors.write(np.ascontiguousarray(chunk, "<f2").data.cast("B"))
            of_ids.write(memoryview(chunk_ids.astype("<i8").tobytes()))
    return Table(table.stamp, of_ids.size // ID_BYTES, tuple(of_vectors.checksums), tuple(of_ids.checksums))


class _Writer:
    """Writes to a file behind its first `size` bytes, and goes on with the checksums of its blocks."""

    def __init__(self, file: BinaryIO, size: int, checksums: Iterable[int]) -> None:
        self.size = size
        self.checksums = [*checksums]
        self._file = file
        file.truncate(size)  # what a killed run left behind them
        file.seek(size)

    def write(self, data: memoryview) -> None:
        """Append bytes."""
        self._file.write(data)
        while data:
            used = self.size % derived_file.BLOCK_BYTES
            if not used:
                self.checksums.append(0)
            part = data[: derived_file.BLOCK_BYTES - used]
            self.checksums[-1] = zlib.crc32(part, self.checksums[-1])  # the CRC-32 of a block goes on where it was
            self.size += len(part)
            data = data[len(part) :]


def _write_table(home: IndexHome, table: Table) -> None:
    """Replace vectors.json."""
    checksums = {"vectors_crc32": table.vectors_crc32, "ids_crc32": table.ids_crc32}
    contents = {"stamp": asdict(table.stamp), "rows": table.rows, **checksums}
    _write_text(home, _signed(json.dumps(contents).encode()))


def _write_text(home: IndexHome, text: bytes) -> None:
    """Replace vectors.json by one of this content."""
    with replacing_file(home.vector_table) as draft:
        draft.write_bytes(text)


def copy_vectors(home: IndexHome, copy: IndexHome) -> None:
    """Copy the files, where they are whole, to a home without any; a training may append to them meanwhile.

    Raises `StorageError` where the disk refuses.
    """
    text = _read_text(home)
    table = _table(text or b"")
    vectors = _mapped(home, table) if table else None
    if text and table and vectors is not None and _read_text(home) == text:
        write_vectors(copy, table.stamp, vectors.stored())
        _write_text(copy, text)  # its own checksums: what is damaged is so in the copy too
