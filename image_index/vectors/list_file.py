"""The file of inverted lists as FAISS reads it, written piece by piece.

It is the empty index as FAISS writes it; then "ilar", the number of lists, the bytes of a code, "full" (a size for
every list, not for those alone that hold something), and the sizes of the lists, as `write_InvertedLists` of FAISS's
index_write.cpp has it. Then comes each list: its codes, then its ids, in ascending order.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import BinaryIO

import faiss
import numpy as np
from numpy.typing import NDArray

from image_index.half import to_float32
from image_index.records import Ids, Vectors
from image_index.vectors.clustering import ListNumbers, NearestCentroid
from image_index.vectors.codes import Codes, encode
from image_index.vectors.lists import centroids_of, rotated
from image_index.vectors.threads import in_threads
from image_index.vectors.vector_file import Chunks

BLOCK_ROWS = 8192
"""How many vectors one thread assigns or encodes at a time: 17 MB of 512 dimensions."""

WRITE_ROWS = 131_072
"""How many codes are put into their lists in one go: 20 MB of 512 dimensions. In fewer, more pieces are written."""

Source = Callable[[], Chunks]
"""Returns vectors from the start; the same ones at every call."""


@dataclass(frozen=True, slots=True)
class Places:
    """Where in the file the next code and the next id of each list go, or are; shape (L,)."""

    codes: NDArray[np.int64]
    ids: NDArray[np.int64]
    width: int

    @classmethod
    def of(cls, sizes: NDArray[np.int64], width: int, start: int) -> Places:
        """Return where lists of `sizes` (L,) and codes of `width` bytes begin, the first at `start`."""
        codes = start + (np.cumsum(sizes) - sizes) * (width + 8)
        return cls(codes, codes + sizes * width, width)

    def write(self, file: BinaryIO, number: int, codes: Codes, ids: Ids) -> None:
        """Write the next codes (n, B) and ids (n,) of one list to their places."""
        file.seek(self.codes[number])
        file.write(codes.data)
        file.seek(self.ids[number])
        file.write(ids.astype("<i8").data)
        self.codes[number] += codes.nbytes
        self.ids[number] += 8 * len(ids)


def head_of(index: faiss.IndexPreTransform, sizes: NDArray[np.int64]) -> bytes:
    """Return all that comes before the first list, for an `index` without vectors but with their number."""
    data = faiss.serialize_index(index).tobytes()
    start = data.rindex(b"ilar")
    ivf = faiss.extract_index_ivf(index)
    counts = struct.pack("<QQ4sQ", ivf.nlist, ivf.code_size, b"full", ivf.nlist)
    return data[:start] + b"ilar" + counts + sizes.astype("<u8").tobytes()


def assigned(index: faiss.IndexPreTransform, source: Source) -> Iterator[tuple[Vectors, ListNumbers, Vectors]]:
    """Yield all vectors (n, D) of `source`, in its order, their lists (n,), and the scores (n,) of the centroids."""
    nearest = NearestCentroid(centroids_of(index))

    def of_block(block: tuple[Ids, NDArray[np.float16]]) -> tuple[Vectors, ListNumbers, Vectors]:
        vectors = to_float32(block[1])
        return vectors, *nearest(vectors)

    return in_threads(of_block, _blocks(source))


def fill(file: BinaryIO, index: faiss.IndexPreTransform, source: Source, lists: ListNumbers, places: Places) -> None:
    """Write the code and the id of every vector of `source`, whose `lists` (N,) are known, to its place in its list.

    Those of one list that come together are written together.
    """
    for chunk_ids, mine, chunk_codes in _encoded(index, source, lists):
        order = np.argsort(mine, kind="stable")
        numbers, starts, counts = np.unique(mine[order], return_index=True, return_counts=True)
        ids, codes = chunk_ids[order], chunk_codes[order]
        for number, first, count in zip(numbers.tolist(), starts.tolist(), counts.tolist(), strict=True):
            places.write(file, number, codes[first : first + count], ids[first : first + count])


def _encoded(
    index: faiss.IndexPreTransform, source: Source, lists: ListNumbers
) -> Iterator[tuple[Ids, ListNumbers, Codes]]:
    """Yield ids (n,), their lists (n,) and codes (n, B), `WRITE_ROWS` or somewhat more at a time."""
    centroids = faiss.extract_index_ivf(index).quantizer.reconstruct_n()

    def chunks() -> Iterator[tuple[Ids, NDArray[np.float16], ListNumbers]]:
        position = 0
        for ids, vectors in _blocks(source):
            yield ids, vectors, lists[position : position + len(ids)]
            position += len(ids)

    def encoded(chunk: tuple[Ids, NDArray[np.float16], ListNumbers]) -> tuple[Ids, ListNumbers, Codes]:
        ids, vectors, mine = chunk
        return ids, mine, encode(rotated(index, to_float32(vectors)), centroids, mine)

    waiting: list[tuple[Ids, ListNumbers, Codes]] = []
    for chunk in in_threads(encoded, chunks()):
        waiting.append(chunk)
        if sum(len(ids) for ids, _, _ in waiting) >= WRITE_ROWS:
            yield _joined(waiting)
            waiting = []
    if waiting:
        yield _joined(waiting)


def _joined(parts: list[tuple[Ids, ListNumbers, Codes]]) -> tuple[Ids, ListNumbers, Codes]:
    """Return the ids, lists and codes of several parts as one."""
    ids, lists, codes = zip(*parts, strict=True)
    return np.concatenate(ids), np.concatenate(lists), np.concatenate(codes)


def _blocks(source: Source) -> Iterator[tuple[Ids, NDArray[np.float16]]]:
    """Yield what `source` does in blocks of `BLOCK_ROWS` or more, for small ones take longer; the last may be less."""
    ids, vectors = list[Ids](), list[NDArray[np.float16]]()
    for some_ids, some_vectors in source():
        ids.append(some_ids)
        vectors.append(some_vectors)
        if sum(map(len, ids)) >= BLOCK_ROWS:
            yield np.concatenate(ids), np.concatenate(vectors)
            ids, vectors = [], []
    if ids:
        yield np.concatenate(ids), np.concatenate(vectors)
