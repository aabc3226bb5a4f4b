"""Growing inverted lists, against lists that are built anew and against numpy."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import pytest

from image_index.records import Ids, Stamp, Vectors
from image_index.vectors import list_file
from image_index.vectors.grow import grow_index
from image_index.vectors.vector_file import Chunks
from tests.support.faiss_examples import STAMP, build, chunks, contents_of, is_whole, opened, random_vectors

COUNT, DIM = 2000, 16
BUILT = replace(STAMP, last_id=10 * COUNT, count=COUNT, dim=DIM)
NEW = 500


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Build lists of the ids 10, 20, 30, ...; they are copied and filled in several rounds, with no vector astray."""
    monkeypatch.setattr("image_index.vectors.clustering.NEAREST_GROUPS", 99)
    monkeypatch.setattr("image_index.vectors.grow.WRITE_ROWS", 7)
    monkeypatch.setattr(list_file, "BLOCK_ROWS", 100)
    monkeypatch.setattr(list_file, "WRITE_ROWS", 300)
    path = tmp_path / "index.faiss"
    build(path, BUILT)
    return path


def grow(path: Path, ids: Ids, vectors: Vectors, stamp: Stamp) -> bool:
    """Bring the index up to `ids` (N,) with `vectors` (N, D)."""

    def newer(after: int) -> Chunks:
        new = ids > after
        return chunks(ids[new], vectors[new], 50)

    present = np.zeros(int(ids[-1]) + 1, np.bool_)
    present[ids] = True
    return grow_index(path, stamp, present, newer)


def grown_by(new: int, *, gone: float = 0.0) -> tuple[Ids, Vectors, Stamp]:
    """Return the ids, the vectors and the stamp of the library with `new` more, and without a share of what it had."""
    vectors, ids = random_vectors(COUNT + new, DIM), np.arange(1, COUNT + new + 1) * 10
    there = np.random.default_rng(1).random(len(ids)) >= gone
    stamp = replace(BUILT, generation=9, last_id=int(ids[-1]), count=int(there.sum()))
    return ids[there], vectors[there], stamp


def lists_of(path: Path) -> list[dict[int, bytes]]:
    """Return the codes of each list, by their ids."""
    index: Any = faiss.read_index(str(path))
    lists: Any = faiss.extract_index_ivf(index).invlists
    held = []
    for number in range(lists.nlist):
        size = lists.list_size(number)
        ids = faiss.rev_swig_ptr(lists.get_ids(number), size)
        codes = faiss.rev_swig_ptr(lists.get_codes(number), size * lists.code_size).reshape(size, lists.code_size)
        held.append({int(image_id): bytes(code) for image_id, code in zip(ids, codes, strict=True)})
    return held


@pytest.mark.parametrize(("new", "gone"), [(NEW, 0.0), (NEW, 0.1), (0, 0.3), (1, 0.0)])
def test_grown_lists_hold_what_is_there_and_find_it(path: Path, new: int, gone: float) -> None:
    """What remains has the code it had; what is new is in the list that is nearest to it, behind the others."""
    before, was = lists_of(path), contents_of(path)
    ids, vectors, stamp = grown_by(new, gone=gone)
    assert grow(path, ids, vectors, stamp)
    after, contents = lists_of(path), contents_of(path)
    assert is_whole(path)
    assert contents is not None
    assert was is not None
    assert contents == replace(was, stamp=stamp, count=len(ids), head=contents.head)
    present = set(ids.tolist())
    old = [{image_id: code for image_id, code in some.items() if image_id in present} for some in before]
    assert [{i: code for i, code in some.items() if i <= BUILT.last_id} for some in after] == old
    assert sorted(image_id for some in after for image_id in some) == ids.tolist()
    assert all(list(some) == sorted(some) for some in after)
    index = opened(path, stamp)
    for vector, image_id in zip(vectors[-50:], ids[-50:], strict=True):
        assert index.search(vector, 10)[1][0] == image_id


def test_growing_in_steps_is_growing_at_once(path: Path, tmp_path: Path) -> None:
    """Byte for byte: codes depend on nothing but the vector and the lists, nor do their places."""
    other = tmp_path / "other.faiss"
    other.write_bytes(path.read_bytes())
    last = grown_by(600)
    for step in (200, 400):
        assert grow(path, *grown_by(step))
    assert grow(path, *last)
    assert grow(other, *last)
    assert path.read_bytes() == other.read_bytes()


def test_nothing_left_is_no_special_case(path: Path) -> None:
    """As few as half of the vectors are; fewer are a case for other lists."""
    ids, vectors, stamp = grown_by(0, gone=0.45)
    assert grow(path, ids, vectors, stamp)
    assert len(opened(path, stamp).search(vectors[0], COUNT)[1]) == len(ids)


@pytest.mark.parametrize("why", ["absent", "catalog", "dimension", "byte", "grown", "shrunk", "older"])
def test_what_cannot_grow_is_left_as_it_is(path: Path, why: str) -> None:
    """Then lists must be built anew: of another catalog, damaged, trained on half as many vectors, or put back."""
    ids, vectors, stamp = grown_by(2 * COUNT if why == "grown" else NEW, gone=0.7 if why == "shrunk" else 0)
    if why == "absent":
        path.unlink()
    elif why == "byte":
        whole = path.read_bytes()
        path.write_bytes(whole[:9999] + bytes([whole[9999] ^ 1]) + whole[10_000:])
    changes: dict[str, dict[str, Any]] = {
        "catalog": {"catalog_id": "b" * 32},
        "dimension": {"dim": DIM + 1},
        "older": {"generation": 1},
    }
    before = path.read_bytes() if path.exists() else None
    assert not grow(path, ids, vectors, replace(stamp, **changes.get(why, {})))
    assert (path.read_bytes() if path.exists() else None) == before
