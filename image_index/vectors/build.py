"""Writing FAISS indexes: a flat one for what is searched at once, inverted lists in bounded memory for more."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import faiss
import numpy as np

from image_index.files.atomic import replacing_file
from image_index.records import Stamp, Vectors
from image_index.vectors.clustering import ListNumbers
from image_index.vectors.derived_file import FLAT_LIMIT, Contents, append_trailer
from image_index.vectors.list_file import Places, Source, assigned, fill, head_of
from image_index.vectors.lists import Tuning, sample_of, train_lists
from image_index.vectors.open_index import map_index

Texts = Callable[[], Vectors | None]
"""Returns the vectors (Q, D) of texts as people search for, or None if the model has no text tower here."""


def build_index(path: Path, stamp: Stamp, source: Source, texts: Texts = lambda: None) -> None:
    """Write an index of all of `source`, which is the catalog of `stamp`, to `path`; whole, or not at all.

    `texts` is called only where there are enough vectors for inverted lists, to choose `nprobe`. `grow_index` does less
    where lists are there already. Raises `StorageError` where the disk refuses.
    """
    contents = Contents(stamp, stamp.count)
    with replacing_file(path) as draft:
        if stamp.count <= FLAT_LIMIT:
            contents = _write_flat(draft, contents, source)
        else:
            contents = _write_lists(draft, contents, source, texts())
        finish(draft, contents)


def build_tail(path: Path, stamp: Stamp, after: int, source: Source) -> None:
    """Write a flat index of `source`, the vectors of the catalog of `stamp` whose ids are over `after`, to `path`."""
    with replacing_file(path) as draft:
        finish(draft, _write_flat(draft, Contents(stamp, 0, after), source))


def finish(draft: Path, contents: Contents) -> None:
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


def _write_lists(path: Path, contents: Contents, source: Source, texts: Vectors | None) -> Contents:
    """Write inverted lists in three passes over the vectors: a sample to train on, into which list each, and there.

    FAISS would need all codes in memory to write them: 1.5 GB for ten million vectors of 512 dimensions. Here the place
    of each list in the file is known after the second pass, and the third writes every code to its place.
    """
    sample = sample_of(source(), contents.count)
    index = train_lists(sample, contents.count)
    tuning = Tuning(sample, texts)
    del sample
    lists = _assign(index, contents.count, source, tuning)
    reach, ivf = tuning.reach(index), faiss.extract_index_ivf(index)
    index.ntotal = ivf.ntotal = len(lists)
    ivf.nprobe = reach.nprobe
    sizes = np.bincount(lists, minlength=ivf.nlist)
    head = head_of(index, sizes)
    with path.open("r+b") as file:
        file.write(head)
        file.truncate(len(head) + len(lists) * (ivf.code_size + 8))
        fill(file, index, source, lists, Places.of(sizes, ivf.code_size, len(head)))
    return replace(
        contents,
        head=len(head),
        error=tuning.error(index),
        trained_on=contents.count,
        near_nprobe=reach.near_nprobe,
        near_score=reach.near_score,
    )


def _assign(index: faiss.IndexPreTransform, count: int, source: Source, tuning: Tuning) -> ListNumbers:
    """Return the list of each of the `count` vectors of `source`, in its order; show every vector to `tuning`."""
    lists, filled = np.empty(count, np.int32), 0
    for vectors, found in assigned(index, source):
        tuning.look_at(vectors, found)
        lists[filled : filled + len(found)] = found
        filled += len(found)
    return lists[:filled]
