"""Bringing inverted lists up to date without encoding again what they hold: its codes are copied, list by list."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO

import faiss
import numpy as np
from numpy.typing import NDArray

from image_index.files.atomic import replacing_file
from image_index.records import Ids, Stamp
from image_index.vectors.build import finish
from image_index.vectors.codes import Codes
from image_index.vectors.derived_file import Contents, state
from image_index.vectors.list_file import WRITE_ROWS, Places, Source, assigned, fill, head_of
from image_index.vectors.lists import emptied
from image_index.vectors.open_index import map_index
from image_index.vectors.vector_file import Chunks

RETRAIN_GROWTH = 2.0
"""The lists are trained anew when there are so many times as many vectors as when that was done last."""

Newer = Callable[[int], Chunks]
"""Returns the vectors whose ids are over the one it is given, as a `Source` does."""


def grow_index(path: Path, stamp: Stamp, present: NDArray[np.bool_], newer: Newer) -> bool:
    """Bring the inverted lists at `path` up to the catalog of `stamp`, which has vectors of the ids that are `present`.

    What is gone is left out, and only what is new is encoded; how many lists a search visits stays as it is. Returns
    False, and does nothing, where `build_index` must do it: where no whole lists of an earlier state of this catalog
    are there, or they were trained on half as many vectors, or on twice as many. Raises `StorageError` where the disk
    refuses.
    """
    _, contents = state(path, stamp.catalog_id)
    if contents is None or not _can_grow(contents, stamp):
        return False
    last_id = contents.stamp.last_id
    known = np.zeros(last_id + 1, np.bool_)
    known[: len(present)] = present[: len(known)]
    with replacing_file(path) as draft, path.open("rb") as file:
        contents = replace(contents, stamp=stamp)
        old = _opened(path, file, contents.head, known)
        finish(draft, _write(draft, contents, old, lambda: newer(last_id)))
    return True


def _can_grow(contents: Contents, stamp: Stamp) -> bool:
    """Tell whether what a file holds can become that of `stamp`; ids are not used again but in an older catalog."""
    was = contents.stamp
    if (
        not contents.trained_on
        or was.dim != stamp.dim
        or stamp.generation < was.generation
        or stamp.last_id < was.last_id
    ):
        return False
    return 1 / RETRAIN_GROWTH < stamp.count / contents.trained_on < RETRAIN_GROWTH


@dataclass(frozen=True, slots=True)
class _Old:
    """Lists to start from: their `index` without vectors, how many each held, where in `file`, and which ids remain."""

    index: faiss.IndexPreTransform
    sizes: NDArray[np.int64]
    places: Places
    file: BinaryIO  # not through the map: pages once touched would stay in memory
    present: NDArray[np.bool_]

    def kept(self) -> Iterator[tuple[int, int, Ids, NDArray[np.bool_]]]:
        """Yield the ids (n,) of a list, or of a part of it, with its number, where it begins, and which are present."""
        for number, size in enumerate(self.sizes.tolist()):
            for first in range(0, size, WRITE_ROWS):
                self.file.seek(self.places.ids[number] + 8 * first)
                ids = np.frombuffer(self.file.read(8 * min(size - first, WRITE_ROWS)), "<i8")
                yield number, first, ids, self.present[ids]

    def codes(self, number: int, first: int, count: int) -> Codes:
        """Return `count` codes of a list from the one numbered `first` on."""
        width = self.places.width
        self.file.seek(self.places.codes[number] + first * width)
        return np.frombuffer(self.file.read(count * width), np.uint8).reshape(count, width)


def _opened(path: Path, file: BinaryIO, head: int, present: NDArray[np.bool_]) -> _Old:
    """Return the lists at `path`."""
    full = map_index(path)
    ivf: Any = faiss.extract_index_ivf(full)
    sizes = np.array([ivf.invlists.list_size(number) for number in range(ivf.nlist)])
    return _Old(emptied(full), sizes, Places.of(sizes, ivf.code_size, head), file, present)


def _write(path: Path, contents: Contents, old: _Old, newer: Source) -> Contents:
    """Write what is still there of the `old` lists, and behind it in each list the `newer` vectors."""
    ivf = faiss.extract_index_ivf(old.index)
    lists = np.concatenate([np.empty(0, np.int32), *(found for _, found, _ in assigned(old.index, newer))])
    sizes = np.bincount(lists, minlength=ivf.nlist)
    for number, _, _, there in old.kept():
        sizes[number] += there.sum()
    count = old.index.ntotal = ivf.ntotal = int(sizes.sum())
    with path.open("r+b") as file:
        head = file.write(head_of(old.index, sizes))
        file.truncate(head + count * (ivf.code_size + 8))
        places = Places.of(sizes, ivf.code_size, head)
        for number, first, ids, there in old.kept():
            places.write(file, number, old.codes(number, first, len(ids))[there], ids[there])
        fill(file, old.index, newer, lists, places)
    return replace(contents, count=count, head=head)
