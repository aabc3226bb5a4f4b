"""One file is one picture, whatever number of names lead to it: trained by children, then asked for in every way."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from image_index import Engine, Filters, Index, SearchOptions, make_filters, make_query
from image_index.catalog.catalog import Catalog
from image_index.files.scan import ScanOptions
from image_index.paths import resolve
from image_index.records import Summary
from image_index.search.labels import TagOptions
from image_index.settings import IndexHome
from image_index.training.survey import SurveyOptions
from image_index.upkeep.known import known_picture
from image_index.upkeep.maintenance import forget
from tests.support import fake_models
from tests.support.library import Library, counts

pytestmark = pytest.mark.timeout(120)

QUERY = np.array([1, 0, 0], np.float32)
ALL = SearchOptions(limit=None)


def train(library: Library) -> Summary:
    """Train the library's directories, following links."""
    roots = tuple(resolve(library.photos / name) for name in ("album", "orig"))
    return library.train(survey=SurveyOptions(roots, ScanOptions(follow_symlinks=True)))


@pytest.fixture
def library(tmp_path: Path) -> Library:
    """Return two pictures, both also in an album: as a symbolic link and as a hard link; and a copy of the first."""
    made = Library(Path(os.path.realpath(tmp_path)) / "photos", IndexHome(tmp_path / "index"))
    made.add("orig/soft.png", "orig/hard.png")
    (made.photos / "album").mkdir()
    (made.photos / "album/1.png").symlink_to(made.photos / "orig/soft.png")
    (made.photos / "album/2.png").hardlink_to(made.photos / "orig/hard.png")
    shutil.copy2(made.photos / "orig/soft.png", made.photos / "orig/copy.png")
    assert counts(train(made)) == {"embedded": 3}
    return made


def relative(library: Library, *paths: bytes | Path) -> list[str]:
    """Return paths below the photos."""
    return [os.path.relpath(os.fsdecode(path), library.photos) for path in paths]


def hits(library: Library, filters: Filters | None = None) -> list[str]:
    """Return the paths of all pictures that a search finds."""
    with Index(library.home) as index:
        options = SearchOptions(limit=None, filters=filters or Filters())
        return sorted(relative(library, *(hit.path for hit in index.search(QUERY, options))))


def test_a_picture_is_found_once_by_any_of_its_names(library: Library) -> None:
    """It is shown by the name that was asked for; with no word about paths, by that of its row."""
    album = library.photos / "album"
    assert hits(library) == ["album/2.png", "orig/copy.png", "orig/soft.png"]
    assert hits(library, make_filters(under=album)) == ["album/1.png", "album/2.png"]
    assert hits(library, make_filters(under=library.photos / "orig")) == [
        "orig/copy.png",
        "orig/hard.png",
        "orig/soft.png",
    ]
    assert hits(library, make_filters(exclude_under=album)) == ["orig/copy.png", "orig/hard.png", "orig/soft.png"]
    assert hits(library, make_filters(glob="1.png")) == ["album/1.png"]
    assert hits(library, make_filters(glob="hard.png", under=album)) == []


def test_a_picture_asked_by_any_of_its_names_is_itself(library: Library, refuse_children: Callable[[], None]) -> None:
    """Its vector is known, and it is not among its hits."""
    refuse_children()
    with Index(library.home) as index:
        for name in ("album/2.png", "orig/hard.png"):
            found = index.search(make_query(images=[str(library.photos / name)]), ALL)
            assert sorted(relative(library, *(hit.path for hit in found))) == ["orig/copy.png", "orig/soft.png"]
            image = index.image(library.photos / name)
            assert image is not None
            assert relative(library, image.path) == ["album/2.png"]


def test_only_a_real_copy_is_a_duplicate(library: Library) -> None:
    """It is never a link that is shown, nor a file outside the directory that was asked for."""
    with Index(library.home) as index:
        (group,) = index.duplicates(exact=True)
        assert sorted(relative(library, *(member.image.path for member in group))) == ["orig/copy.png", "orig/soft.png"]
        assert index.duplicates(make_filters(under=library.photos / "album")) == []


def test_walks_labels_and_exports_name_what_was_asked_for(library: Library, tmp_path: Path) -> None:
    """As a search does."""
    album = make_filters(under=library.photos / "album")
    with Index(library.home, Engine("cpu", loader=fake_models.load)) as index:
        assert relative(library, *(image.path for image in index.images(album))) == ["album/2.png", "album/1.png"]
        tagged = index.tag(["a", "b"], TagOptions(), album)
        assert relative(library, *(one.image.path for one in tagged)) == ["album/2.png", "album/1.png"]
        index.export(tmp_path / "out", album)
    rows = (tmp_path / "out/metadata/metadata_0.jsonl").read_text().splitlines()
    paths = [Path(json.loads(row)["image_path"]) for row in rows]
    assert relative(library, *paths) == ["album/2.png", "album/1.png"]


def test_what_is_known_of_a_picture_lists_its_names(library: Library) -> None:
    """All but the one that was asked for."""
    with Catalog(library.home.catalog) as catalog:
        for name, other in (("album/1.png", "orig/soft.png"), ("orig/hard.png", "album/2.png")):
            for asked, rest in ((name, other), (other, name)):
                known = known_picture(catalog, os.fsencode(library.photos / asked))
                assert known is not None
                assert (relative(library, known.path), relative(library, *known.names)) == ([asked], [rest])
                assert known.state == "unchanged"


def test_a_picture_outlasts_its_path(library: Library, refuse_children: Callable[[], None]) -> None:
    """At once it is shown by the other name; the next training keeps its id and its vector."""
    before = library.rows()["photos/album/2.png"]
    with Index(library.home) as index:
        newest = index.last_id
    (library.photos / "album/2.png").unlink()
    assert hits(library) == ["orig/copy.png", "orig/hard.png", "orig/soft.png"]
    refuse_children()
    assert counts(train(library)) == {"unchanged": 2, "moved": 1}
    assert library.rows()["photos/orig/hard.png"] == before
    with Index(library.home) as index:
        assert index.last_id == newest  # search --since-last shows nothing twice


def test_a_picture_that_only_a_link_leads_to_is_known_by_the_link(
    library: Library, tmp_path: Path, refuse_children: Callable[[], None]
) -> None:
    """Its file lies outside of what was trained: the path with the link in it is its own."""
    library.photos.joinpath("album/out").symlink_to(tmp_path / "out")
    library.add(str(tmp_path / "out/o.png"))
    assert counts(train(library)) == {"embedded": 1, "unchanged": 3}
    refuse_children()
    assert hits(library, make_filters(under=library.photos / "album/out")) == ["album/out/o.png"]
    with Index(library.home) as index:
        assert index.image(library.photos / "album/out/o.png") is not None
        found = index.search(make_query(images=[str(library.photos / "album/out/o.png")]), ALL)
        assert "album/out/o.png" not in relative(library, *(hit.path for hit in found))
    assert forget(library.home, (library.photos / "album/out",)) == 1
    assert len(hits(library)) == 3


def test_who_forgets_a_link_means_the_link(library: Library) -> None:
    """The picture stays: it has another name."""
    for name in ("album/1.png", "album"):
        assert forget(library.home, (library.photos / name,), dry_run=True) == 0
        assert forget(library.home, (library.photos / name,)) == 0
    assert hits(library) == ["orig/copy.png", "orig/hard.png", "orig/soft.png"]
