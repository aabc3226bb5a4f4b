"""Opening and searching FAISS files, against numpy."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import faiss
import pytest

from image_index.vectors.derived_file import Contents, append_trailer
from image_index.vectors.open_index import open_index
from tests.support.faiss_examples import STAMP, build, contents_of, is_whole, opened, random_vectors, read_stamp


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Give the path of an index that is not there yet."""
    return tmp_path / "index.faiss"


def test_an_index_that_is_not_of_lists_is_ignored(path: Path) -> None:
    """In a small library it was a flat one once; now the file of vectors is searched."""
    flat = faiss.IndexScalarQuantizer(STAMP.dim, faiss.ScalarQuantizer.QT_fp16, faiss.METRIC_INNER_PRODUCT)
    flat.add(random_vectors(STAMP.count, STAMP.dim))
    faiss.write_index(flat, str(path))
    append_trailer(path, Contents(STAMP, STAMP.count))
    assert is_whole(path)
    assert open_index(path, STAMP.catalog_id) is None


def test_index_of_another_catalog_is_ignored(path: Path) -> None:
    """A file copied from elsewhere has nothing to say here."""
    build(path)
    assert open_index(path, "b" * 32) is None


def test_missing_index_is_none(path: Path) -> None:
    """Search goes on with the catalog alone."""
    assert read_stamp(path) is None
    assert open_index(path, STAMP.catalog_id) is None


@pytest.mark.parametrize("count", [STAMP.count - 1, STAMP.count + 1])
def test_index_that_does_not_hold_what_it_says_is_ignored(path: Path, count: int) -> None:
    """The counts of stamp and index must agree."""
    build(path)
    contents = contents_of(path)
    assert contents is not None
    append_trailer(path, replace(contents, count=count))
    assert is_whole(path)
    assert open_index(path, STAMP.catalog_id) is None


def test_open_index_outlives_its_replacement(path: Path) -> None:
    """A search that began before a rebuild ends with what it began with."""
    vectors = build(path)
    index = opened(path)
    build(path, replace(STAMP, count=1))
    assert index.search(vectors[3], 1)[1][0] == 40
