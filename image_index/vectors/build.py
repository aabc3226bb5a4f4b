"""Writing FAISS indexes: a flat one for what is searched at once, inverted lists in bounded memory for more."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO

import faiss
import numpy as np
from numpy.typing import NDArray

from image_index.files.atomic import replacing_file
from image_index.records import Ids, Stamp, Vectors
from image_index.vectors.clustering import ListNumbers, NearestCentroid
from image_index.vectors.codes import Codes, encode
from image_index.vectors.derived_file import FLAT_LIMIT, Contents, append_trailer, state
from image_index.vectors.lists import (
    Tuning,
    centroids_of,
    empty_lists,
    rotated,
    rotation_of,
    sample_of,
    train_lists,
)
from image_index.vectors.open_index import map_index
from image_index.vectors.threads import in_threads

RETRAIN_GROWTH = 2.0
"""The lists are trained anew when there are so many times as many vectors as when that was done last."""

BLOCK_ROWS = 8192
"""How many vectors one thread assigns or encodes at a time: 17 MB of 512 dimensions."""

WRITE_ROWS = 131_072
"""How many codes are put into their lists in one go: 20 MB of 512 dimensions. In fewer, more pieces are written."""

Source = Callable[[], Iterable[tuple[Ids, Vectors]]]
"""Returns all vectors from the start, in chunks: ids (n,) and vectors (n, D); the same ones at every call."""

Texts = Callable[[], Vectors | None]
"""Returns the vectors (Q, D) of texts as people search for, or None if the model has no text tower here."""


def build_index(path: Path, stamp: Stamp, source: Source, texts: Texts = lambda: None) -> None:
    """Write an index of all of `source`, which is the catalog of `stamp`, to `path`; whole, or not at all.

    `texts` is called only where there are enough vectors for inverted lists, to choose `nprobe`. The centroids are
    taken over from the index that stands there, where it was trained on about as many vectors. Raises `StorageError`
    where the disk refuses.
    """
    contents = Contents(stamp, stamp.count)
    with replacing_file(path) as draft:
        if stamp.count <= FLAT_LIMIT:
            contents = _write_flat(draft, contents, source)
        else:
            contents = _write_lists(draft, contents, source, texts(), _reusable(path, stamp))
        _finish(draft, contents)


def build_tail(path: Path, stamp: Stamp, after: int, source: Source) -> None:
    """Write a flat index of `source`, the vectors of the catalog of `stamp` whose ids are over `after`, to `path`."""
    with replacing_file(path) as draft:
        _finish(draft, _write_flat(draft, Contents(stamp, 0, after), source))


def _finish(draft: Path, contents: Contents) -> None:
    """Append the trailer to a file that FAISS can read; raise `StorageError` where it cannot.

    The inverted lists are written past FAISS. A version of it with another format must not cost the old file.
    """
    map_index(draft)
    append_trailer(draft, contents)


def _write_flat(path: Path, contents: Contents, source: Source) -> Contents:
    """Write a flat index; return its contents.

    All codes are in memory, and for a moment twice: up to 270 MB for 200,000 vectors of 512 dimensions.
    """
    # float16 holds the catalog's vectors exactly, at half the memory traffic of a flat float32 index
    flat = faiss.IndexScalarQuantizer(contents.stamp.dim, faiss.ScalarQuantizer.QT_fp16, faiss.METRIC_INNER_PRODUCT)
    index = faiss.IndexIDMap(flat)
    for ids, vectors in source():
        index.add_with_ids(vectors, ids)
    with path.open("r+b") as file:  # through Python, so that a full disk is an OSError with its number
        faiss.write_index(index, faiss.PyCallbackIOWriter(file.write))  # type: ignore[attr-defined]
    foot = 8 + 8 * index.ntotal
    head = path.stat().st_size - index.ntotal * flat.code_size - foot
    return replace(contents, count=contents.count or index.ntotal, head=head, foot=foot)


@dataclass(frozen=True, slots=True)
class _Old:
    """An index to start from: its centroids without vectors, and in which list each of its ids (N,), sorted, was."""

    index: faiss.IndexPreTransform
    ids: Ids
    lists: ListNumbers
    trained_on: int


def _reusable(path: Path, stamp: Stamp) -> _Old | None:
    """Return what of the index at `path` can be used again for the vectors of `stamp`."""
    _, contents = state(path, stamp.catalog_id)
    if contents is None or not contents.trained_on or contents.stamp.dim != stamp.dim:
        return None
    if not 1 / RETRAIN_GROWTH < stamp.count / contents.trained_on < RETRAIN_GROWTH:
        return None
    full = map_index(path)
    ivf: Any = faiss.extract_index_ivf(full)
    sizes = np.array([ivf.invlists.list_size(number) for number in range(ivf.nlist)])
    _, ids_at = _places(sizes, ivf.code_size, contents.head)
    with path.open("rb") as file:  # not through the map: pages once touched would stay in memory
        ids = np.concatenate([_read_ids(file, *place) for place in zip(ids_at.tolist(), sizes.tolist(), strict=True)])
    order = np.argsort(ids)
    lists = np.repeat(np.arange(ivf.nlist, dtype=np.int32), sizes)[order]
    return _Old(_emptied(full), ids[order], lists, contents.trained_on)


def _read_ids(file: BinaryIO, start: int, count: int) -> Ids:
    """Return the ids of one list."""
    file.seek(start)
    return np.frombuffer(file.read(8 * count), "<i8")


def _emptied(full: faiss.IndexPreTransform) -> faiss.IndexPreTransform:
    """Return an index without vectors that has the rotation and the centroids of `full`, and needs it no more."""
    rotation = faiss.RandomRotationMatrix(full.d, full.d)
    faiss.copy_array_to_vector(faiss.vector_to_array(rotation_of(full).A), rotation.A)
    rotation.is_trained = True
    return faiss.IndexPreTransform(rotation, empty_lists(faiss.clone_index(faiss.extract_index_ivf(full).quantizer)))


def _write_lists(path: Path, contents: Contents, source: Source, texts: Vectors | None, old: _Old | None) -> Contents:
    """Write inverted lists in three passes over the vectors: a sample to train on, into which list each, and there.

    FAISS would need all codes in memory to write them: 1.5 GB for ten million vectors of 512 dimensions. Here the place
    of each list in the file is known after the second pass, and the third writes every code to its place.
    """
    sample = sample_of(source(), contents.count, train=old is None)
    index = old.index if old else train_lists(sample, contents.count)
    tuning = Tuning(sample, texts)
    del sample
    lists = _assign(index, contents.count, source, tuning, old)
    reach, ivf = tuning.reach(index), faiss.extract_index_ivf(index)
    index.ntotal = ivf.ntotal = len(lists)
    ivf.nprobe = reach.nprobe
    head = _head(index, np.bincount(lists, minlength=ivf.nlist))
    with path.open("r+b") as file:
        file.write(head)
        file.truncate(len(head) + len(lists) * (ivf.code_size + 8))
        _fill(file, index, source, lists, len(head))
    return replace(
        contents,
        head=len(head),
        error=tuning.error(index),
        trained_on=old.trained_on if old else contents.count,
        near_nprobe=reach.near_nprobe,
        near_score=reach.near_score,
    )


def _assign(
    index: faiss.IndexPreTransform, count: int, source: Source, tuning: Tuning, old: _Old | None
) -> ListNumbers:
    """Return the list of each of the `count` vectors of `source`, in its order; show every vector to `tuning`."""
    nearest, lists, filled = NearestCentroid(centroids_of(index)), np.empty(count, np.int32), 0

    def assigned(chunk: tuple[Ids, Vectors]) -> tuple[Vectors, ListNumbers]:
        ids, vectors = chunk
        return vectors, _lists_of(ids, vectors, nearest, old)

    for vectors, found in in_threads(assigned, _blocks(source)):
        tuning.look_at(vectors, found)
        lists[filled : filled + len(found)] = found
        filled += len(found)
    return lists[:filled]


def _lists_of(ids: Ids, vectors: Vectors, nearest: NearestCentroid, old: _Old | None) -> ListNumbers:
    """Return the lists of vectors (n, D).

    A vector that the old index held need not be compared with centroids: they are the same as before, and an id never
    gets another vector.
    """
    if old is None:
        return nearest(vectors)
    places = np.minimum(np.searchsorted(old.ids, ids), len(old.ids) - 1)
    lists = old.lists[places]
    new = old.ids[places] != ids
    lists[new] = nearest(vectors[new])
    return lists


def _blocks(source: Source) -> Iterator[tuple[Ids, Vectors]]:
    """Yield what `source` does in blocks of `BLOCK_ROWS` or more, for small ones take longer; the last may be less."""
    ids, vectors = list[Ids](), list[Vectors]()
    for some_ids, some_vectors in source():
        ids.append(some_ids)
        vectors.append(some_vectors)
        if sum(map(len, ids)) >= BLOCK_ROWS:
            yield np.concatenate(ids), np.concatenate(vectors)
            ids, vectors = [], []
    if ids:
        yield np.concatenate(ids), np.concatenate(vectors)


def _head(index: faiss.IndexPreTransform, sizes: NDArray[np.int64]) -> bytes:
    """Return the beginning of a file of inverted lists, as `write_InvertedLists` of FAISS's index_write.cpp has it.

    It is the empty index, then "ilar", the number of lists, the bytes of a code, "full" (a size for every list, not
    for those alone that hold something), and the sizes of the lists. Then comes each list: its codes, then its ids.
    """
    data = faiss.serialize_index(index).tobytes()
    start = data.rindex(b"ilar")
    ivf = faiss.extract_index_ivf(index)
    counts = struct.pack("<QQ4sQ", ivf.nlist, ivf.code_size, b"full", ivf.nlist)
    return data[:start] + b"ilar" + counts + sizes.astype("<u8").tobytes()


def _places(sizes: NDArray[np.int64], width: int, start: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return where in the file the codes, `width` bytes each, and the ids of each list begin, the first at `start`."""
    codes_at = start + (np.cumsum(sizes) - sizes) * (width + 8)
    return codes_at, codes_at + sizes * width


def _fill(file: BinaryIO, index: faiss.IndexPreTransform, source: Source, lists: ListNumbers, start: int) -> None:
    """Write the code and the id of every vector to its place in its list; the first list begins at `start`.

    Vectors come in the order of their ids, and so they are in each list. `codes_at` and `ids_at` are where the next one
    of each list goes; those of one list that come together are written together.
    """
    ivf = faiss.extract_index_ivf(index)
    width = ivf.code_size
    codes_at, ids_at = _places(np.bincount(lists, minlength=ivf.nlist), width, start)
    for ids, mine, codes in _encoded(index, source, lists):
        order = np.argsort(mine, kind="stable")
        codes_in_order, ids_in_order = codes[order], ids[order].astype("<i8")
        numbers, starts, counts = np.unique(mine[order], return_index=True, return_counts=True)
        for number, first, count in zip(numbers.tolist(), starts.tolist(), counts.tolist(), strict=True):
            file.seek(codes_at[number])
            file.write(codes_in_order[first : first + count].data)
            file.seek(ids_at[number])
            file.write(ids_in_order[first : first + count].data)
        codes_at[numbers] += counts * width
        ids_at[numbers] += counts * 8


def _encoded(
    index: faiss.IndexPreTransform, source: Source, lists: ListNumbers
) -> Iterator[tuple[Ids, ListNumbers, Codes]]:
    """Yield ids (n,), their lists (n,) and codes (n, B), `WRITE_ROWS` or somewhat more at a time."""
    centroids = faiss.extract_index_ivf(index).quantizer.reconstruct_n()

    def chunks() -> Iterator[tuple[Ids, Vectors, ListNumbers]]:
        position = 0
        for ids, vectors in _blocks(source):
            yield ids, vectors, lists[position : position + len(ids)]
            position += len(ids)

    def encoded(chunk: tuple[Ids, Vectors, ListNumbers]) -> tuple[Ids, ListNumbers, Codes]:
        ids, vectors, mine = chunk
        return ids, mine, encode(rotated(index, vectors), centroids, mine)

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
