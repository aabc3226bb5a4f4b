"""The Python interface, over an index trained by a child with a fake model: a picture's vector is its colour."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import image_index
from image_index import (
    Engine,
    Filters,
    Hit,
    ImageFacts,
    Index,
    Query,
    ScanOptions,
    SearchOptions,
    make_filters,
    make_query,
    make_update,
    update_index,
)
from image_index.errors import IndexNotFound, UsageError
from image_index.records import Vectors
from image_index.settings import IndexHome
from tests.support import fake_models
from tests.support.children import started_children
from tests.support.library import Library, nearest

NAMES = tuple(f"{place}/{number}.png" for place in ("a", "b") for number in range(5))


@pytest.fixture
def library(tmp_path: Path) -> Library:
    """Return ten pictures in two directories, indexed."""
    made = Library(tmp_path / "photos", IndexHome(tmp_path / "index"))
    made.add(*NAMES)
    made.train()
    return made


@pytest.fixture
def index(library: Library) -> Iterator[Index]:
    """Give the library's index, open; where it needs a model it takes the fake one."""
    with Index(library.home, Engine("cpu", loader=fake_models.load)) as opened:
        yield opened


def unit(*values: float) -> Vectors:
    """Return a vector of length one."""
    vector = np.array(values, np.float32)
    return np.asarray(vector / np.linalg.norm(vector), np.float32)


def test_a_search_by_vector_finds_what_numpy_finds(library: Library, index: Index) -> None:
    """Best first, with typed facts of each picture."""
    hits = index.search(unit(1, 2, 0.5), SearchOptions(limit=4))
    assert [hit.path for hit in hits] == nearest(library.home, unit(1, 2, 0.5), 4)
    assert all(isinstance(hit, Hit) and isinstance(hit.image, ImageFacts) for hit in hits)
    assert (hits[0].image.picture.width, hits[0].image.picture.height, hits[0].image.picture.format) == (8, 8, "png")
    assert hits[0].image.file.is_file()


def test_sigma_is_how_far_a_score_stands_out_of_all_scores(index: Index) -> None:
    """Numpy's mean and deviation over every picture, whatever is filtered."""
    query = unit(1, 2, 0.5)
    scores = index.vectors()[1] @ query
    same_directory = make_filters(under=index.search(query)[0].image.file.parent)
    for hit in index.search(query, SearchOptions(limit=None, filters=same_directory)):
        assert hit.sigma == pytest.approx(float((hit.score - scores.mean()) / scores.std()), abs=0.05)
    cut = float(scores.mean() + 0.5 * scores.std())
    assert len(index.search(query, SearchOptions(limit=None, min_sigma=0.5))) == int((scores >= cut).sum())


def test_filters_are_those_of_the_command_line(library: Library, index: Index) -> None:
    """By the same names, for searches and for walks."""
    some = make_filters(under=library.photos / "a", glob="[0-2].png", newer="1970", type="png")
    names, top = {Path(f"a/{number}.png") for number in range(3)}, library.photos.resolve()
    hits = index.search(unit(1, 1, 1), SearchOptions(filters=some))
    assert {hit.image.file.relative_to(top) for hit in hits} == names
    assert {image.file.relative_to(top) for image in index.images(some)} == names
    images, vectors = index.vectors(some)
    assert (len(images), vectors.shape) == (3, (3, 3))
    assert len(index.vectors(make_filters(glob="nothing"))[1]) == 0


def test_a_query_may_be_a_text_a_sum_or_a_picture_of_the_index(library: Library, index: Index) -> None:
    """A picture is not found by itself, unless that is asked for."""
    picture = library.photos / "a/0.png"
    query = make_query(images=[str(picture)])
    assert isinstance(query, Query)
    assert picture.resolve() not in [hit.image.file for hit in index.search(query, SearchOptions(limit=None))]
    assert len(index.search(query, SearchOptions(limit=None))) == 9
    assert picture.resolve() in [hit.image.file for hit in index.search(query, SearchOptions(include_query=True))]
    stored = index.vectors(make_filters(under=picture))[1][0]
    np.testing.assert_allclose(index.encode(query), stored, atol=1e-3)


def test_pictures_that_are_gone_are_left_out_unless_asked_for(library: Library, index: Index) -> None:
    """Also before a training has noticed; others take their places."""
    best = [hit.image for hit in index.search(unit(1, 2, 0.5), SearchOptions(limit=4))]
    best[0].file.unlink()
    best[1].file.unlink()
    found = [hit.image.id for hit in index.search(unit(1, 2, 0.5), SearchOptions(limit=2))]
    assert found == [best[2].id, best[3].id]
    gone_too = SearchOptions(limit=2, filters=Filters(missing=True))
    assert [hit.image.id for hit in index.search(unit(1, 2, 0.5), gone_too)] == [best[0].id, best[1].id]
    library.train()
    assert len(index) == 8
    assert [hit.image.id for hit in index.search(unit(1, 2, 0.5), gone_too)] == [best[0].id, best[1].id]


def test_marks_show_each_picture_once(library: Library, index: Index) -> None:
    """A mark never moves back, and names do not know of each other."""
    assert index.mark("a") == 0
    newest = index.last_id
    index.move_mark("a", newest)
    index.move_mark("a", 1)
    assert (index.mark("a"), index.mark("b")) == (newest, 0)
    library.add("a/new.png")
    library.train()
    since = make_filters(after_id=index.mark("a"), up_to_id=index.last_id)
    new = index.search(unit(1, 1, 1), SearchOptions(limit=None, filters=since))
    assert [hit.image.file.name for hit in new] == ["new.png"]


def test_what_is_known_of_a_picture(library: Library, index: Index) -> None:
    """By its path in any form; None for another."""
    image = index.image(library.photos / "a/0.png")
    assert image is not None
    assert index.image(os.fsencode(image.file)) == image
    assert index.image("/nowhere") is None
    assert (index.counts().images, index.model and index.model.dim) == (10, 3)


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ({"limit": 0}, "at least 1"),
        ({"min_sigma": float("nan")}, "is a number"),
        ({"min_score": float("nan")}, "is a number"),
        ({"sort": "colour"}, "score, date or path"),
    ],
    ids=str,
)
def test_options_that_make_no_sense_are_a_usage_error(arguments: dict[str, Any], reason: str) -> None:
    """As soon as they are made."""
    with pytest.raises(UsageError, match=reason):
        SearchOptions(**arguments)


def test_a_directory_that_nobody_knows_is_a_usage_error(index: Index) -> None:
    """Never an empty list, whatever is asked."""
    nowhere = make_filters(under="/nonexistent")
    for call in (
        lambda: index.search(unit(1, 1, 1), SearchOptions(filters=nowhere)),
        lambda: index.vectors(nowhere),
        lambda: index.duplicates(nowhere),
        lambda: index.tag(("a", "b"), filters=nowhere),
        lambda: index.export("/nonexistent/out", nowhere),
    ):
        with pytest.raises(UsageError, match="no such directory"):
            call()


@pytest.mark.parametrize(
    "vector", [np.ones(3, np.float32), np.zeros(3, np.float32), unit(1, 1, 1, 1), np.full(3, np.nan, np.float32)]
)
def test_a_vector_that_is_none_of_the_models_is_a_usage_error(index: Index, vector: Vectors) -> None:
    """Of another length, or of other dimensions."""
    with pytest.raises(UsageError, match="length one and 3 dimensions"):
        index.search(vector)


def test_there_is_no_index_to_open(tmp_path: Path) -> None:
    """The error says how one is made."""
    with pytest.raises(IndexNotFound, match="imgidx train"):
        Index.open(tmp_path)


def test_an_empty_index_finds_nothing_and_loads_no_model(tmp_path: Path) -> None:
    """Whatever is asked."""
    home = IndexHome(tmp_path / "index")
    Library(tmp_path, home).train(tmp_path)
    with Index.open(home.path) as index:
        assert index.search("a dog") == index.search("a dog", SearchOptions(filters=Filters(missing=True))) == []
        assert index.duplicates() == []
        assert len(index.vectors()[0]) == len(index) == 0


def test_an_update_from_python(tmp_path: Path) -> None:
    """One call makes an index; without roots, those it knows are brought up to date."""
    (tmp_path / "photos").mkdir()
    Library(tmp_path / "photos", IndexHome(tmp_path / "index")).add("a/1.png", "a/2.png", "b/3.png")
    home, engine = tmp_path / "index", Engine("cpu", workers=1, loader=fake_models.load)
    scan = ScanOptions(excludes=("b",))
    first = update_index(make_update(tmp_path / "photos", index=home, model="starter", scan=scan, engine=engine))
    assert (first.embedded, first.failed) == (2, 0)
    again = update_index(make_update(index=home, engine=engine))
    assert (again.embedded, again.unchanged) == (1, 2)
    fetching = make_update(tmp_path / "photos", index=home, scan=ScanOptions(fetch_cloud=True), engine=engine)
    assert (fetching.engine.fetch_cloud, make_update(index=home).engine.fetch_cloud) == (True, False)
    with pytest.raises(UsageError, match="no such directory"):
        make_update("/nonexistent", index=home)
    with pytest.raises(UsageError, match="name a directory"):
        make_update(index=tmp_path / "none")


def test_a_closed_index_leaves_no_child(index: Index) -> None:
    """Its model goes with it."""
    with started_children() as started:
        assert index.encode("a dog").shape == (3,)
    (child,) = started
    assert child.is_alive
    index.close()
    assert not child.is_alive


def test_the_package_itself_imports_nothing_heavy() -> None:
    """`import image_index` is what the command line does first."""
    code = (
        "import image_index, sys; image_index.errors.UsageError; "
        "print({'numpy', 'sqlite3', 'faiss'} & set(sys.modules)); image_index.Index"
    )
    environment = os.environ | {"COVERAGE_PROCESS_CONFIG": ""}  # coverage itself imports sqlite3
    place = Path(__file__).parents[1]
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=place, env=environment
    )
    assert done.stdout == "set()\n"


def test_a_name_that_is_not_there_is_an_attribute_error() -> None:
    """As of any module."""
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        image_index.nothing  # noqa: B018


def test_every_name_of_the_interface_is_there() -> None:
    """Each is imported when it is asked for, and none is `Any` for a type checker."""
    for name in image_index.__all__:
        assert getattr(image_index, name) is not None
    assert Path(image_index.__file__).with_name("py.typed").exists()
