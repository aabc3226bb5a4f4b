"""Writing inverted lists, of all vectors of a large library, in bounded memory."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import faiss
import numpy as np
from numpy.typing import NDArray

from image_index.files.atomic import replacing_file
from image_index.records import Stamp, Vectors
from image_index.vectors.clustering import ListNumbers
from image_index.vectors.derived_file import Contents, append_trailer
from image_index.vectors.list_file import Places, Source, assigned, fill, head_of
from image_index.vectors.lists import LEAST_RADIUS, Tuning, sample_of, train_lists
from image_index.vectors.open_index import map_index

Texts = Callable[[], Vectors | None]
"""Returns the vectors (Q, D) of texts as people search for, or None if the model has no text tower here."""


def build_index(path: Path, stamp: Stamp, source: Source, texts: Texts = lambda: None) -> None:
    """Write an index of all of `source`, which is the catalog of `stamp`, to `path`; whole, or not at all.

    `texts` are what its reach is measured with. `grow_index` does less where lists are there already. Raises
    `StorageError` where the disk refuses.
    """
    with replacing_file(path) as draft:
        finish(draft, _write_lists(draft, Contents(stamp, stamp.count), source, texts()))


def finish(draft: Path, contents: Contents) -> None:
    """Append the trailer to a file that FAISS can read; raise `StorageError` where it cannot.

    The inverted lists are written past FAISS. A version of it with another format must not cost the old file.
    """
    map_index(draft)
    append_trailer(draft, contents)


def _write_lists(path: Path, contents: Contents, source: Source, texts: Vectors | None) -> Contents:
    """Write inverted lists in three passes over the vectors: a sample to train on, into which list each, and there.

    FAISS would need all codes in memory to write them: 1.5 GB for ten million vectors of 512 dimensions. Here the place
    of each list in the file is known after the second pass, and the third writes every code to its place.
    """
    sample = sample_of(source(), contents.count)
    index = train_lists(sample, contents.count)
    tuning = Tuning(sample, texts)
    del sample
    lists, radii = _assign(index, contents.count, source, tuning)
    ivf = faiss.extract_index_ivf(index)
    index.ntotal = ivf.ntotal = len(lists)
    sizes = np.bincount(lists, minlength=ivf.nlist)
    with path.open("r+b") as file:
        head = file.write(head_of(index, sizes))
        file.truncate(head + len(lists) * (ivf.code_size + 8))
        fill(file, index, source, lists, Places.of(sizes, ivf.code_size, head))
    reach = tuning.reach(index, radii)
    return replace(
        contents,
        head=head,
        error=tuning.error(index),
        trained_on=contents.count,
        reach=reach.text,
        near_reach=reach.near,
        near_score=reach.near_score,
        radii=tuple(radii.round(3).tolist()),
    )


def _assign(
    index: faiss.IndexPreTransform, count: int, source: Source, tuning: Tuning
) -> tuple[ListNumbers, NDArray[np.float64]]:
    """Return the list of each of the `count` vectors of `source`, in its order, and the radius of each list (L,).

    Every vector is shown to `tuning`.
    """
    nlist = faiss.extract_index_ivf(index).nlist
    lists, filled, squares = np.empty(count, np.int32), 0, np.zeros(nlist)
    for vectors, found, scores in assigned(index, source):
        tuning.look_at(vectors, found)
        lists[filled : filled + len(found)] = found
        squares += np.bincount(found, 2 - 2 * scores, nlist)  # how far unit vectors of that score lie apart, squared
        filled += len(found)
    lists = lists[:filled]
    radii = np.sqrt(np.maximum(squares, 0) / np.maximum(np.bincount(lists, minlength=nlist), 1))
    return lists, np.maximum(radii, LEAST_RADIUS)
