"""Filters in SQL, against the same said in Python about every row."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from fnmatch import fnmatchcase
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from image_index.catalog import matching, reader, schema
from image_index.catalog.catalog import Catalog
from image_index.catalog.filters import Filters, Orientation, glob_matcher
from image_index.paths import below
from image_index.positions import Circle
from image_index.records import EmbeddedBatch, EmbeddedImage, Ids, ImageFacts, ImageFile, OtherName, PictureFacts
from tests.support.records import LONG_AGO_NS, batch

PLACES = (b"/", b"/p", b"/p/in", b"/p/inn", b"/q", b"/p/in/3.jpg", b"/none")
CAMERAS = (None, "Canon EOS 5D", "NIKON D750", "Apple iPhone 12", "50% O'Brien_")


@pytest.fixture(
    scope="module",
    params=[(True, matching.NARROW, True), (False, matching.NARROW, True), (True, 30, True), (True, 30, False)],
    ids=["with FTS5", "without FTS5", "nothing is narrow", "no other names"],
)
def catalog(request: pytest.FixtureRequest) -> Iterator[Catalog]:
    """Give a catalog of pictures that differ in everything a filter can ask for; a few builds of SQLite lack FTS5.

    Every seventh is missing, every fifth has two other names.
    """
    random = np.random.default_rng(4)
    has_fts5, narrow, names = request.param
    with (
        tempfile.TemporaryDirectory() as directory,
        _has_fts5(says=has_fts5),
        Catalog(Path(directory) / "c", write=True) as made,
        pytest.MonkeyPatch.context() as patch,
    ):
        assert made.keeps_words == has_fts5
        patch.setattr(matching, "NARROW", narrow)
        patch.setattr(reader, "PICTURES_AT_A_TIME", 64)
        images = [picture(number, random) for number in range(200)]
        made.record(EmbeddedBatch(tuple(images), np.ones((len(images), 4), np.float32)))
        made.mark_missing(row for row in made.known(b"/") if row.id % 7 == 0)
        paths = [row.path for row in made.known(b"/") if row.id % 5 == 0]
        others = [OtherName(b"%b/of%d.jpg" % (b, n), p) for n, p in enumerate(paths) for b in (b"/q/in", b"/p/in")]
        made.add_names(others if names else ())
        yield made


@contextmanager
def _has_fts5(*, says: bool) -> Iterator[None]:
    """Make SQLite seem to have FTS5, or not."""
    with pytest.MonkeyPatch.context() as patch:
        for module in (schema, matching):
            patch.setattr(module, "has_fts5", lambda _: says)
        yield


def picture(number: int, random: np.random.Generator) -> EmbeddedImage:
    """Return a picture with facts of its own."""
    place = (b"/p", b"/p/in", b"/p/inn", b"/q")[number % 4]
    file = ImageFile(
        place + b"/%d.%s" % (number, (b"jpg", b"png")[number % 2]), 1, int(random.integers(200_000)) * 10**9 + 7
    )
    taken = int(random.integers(200_000)) if number % 3 else None
    size = [int(value) for value in random.integers(1, 5, size=2)]
    form = ("jpeg", "png", "heif")[number % 3]
    found = PictureFacts(size[0], size[1], form, taken, "exif", CAMERAS[number % 5], phash=bytes(8))
    latitude, longitude = (float(value) for value in random.integers((-90, -180), (91, 181)))
    if number % 4:
        found = found._replace(latitude=latitude, longitude=longitude)
    return EmbeddedImage(file, bytes(32), LONG_AGO_NS, found)


def path_fits(path: bytes, filters: Filters) -> bool:
    """Tell in Python whether `filters` mean a path."""
    inside = [path == place or path.startswith(below(place)) for place in filters.under]
    outside = [path != place and not path.startswith(below(place)) for place in filters.exclude_under]
    name = path.rpartition(b"/")[2].decode()
    named = not filters.globs or any(fnmatchcase(name, glob) for glob in filters.globs)
    listed = filters.files is None or path in filters.files
    has_words = all(word.encode() in path for word in filters.words)
    return (not inside or any(inside)) and all(outside) and named and listed and has_words


def fits(image: ImageFacts, filters: Filters) -> bool:
    """Tell in Python whether `filters` mean a picture, but for its path."""
    width, height = filters.min_size or (0, 0)
    away = None if filters.near is None else filters.near.distance_m(image.picture.latitude, image.picture.longitude)
    shapes = {
        Orientation.LANDSCAPE: image.picture.width > image.picture.height,
        Orientation.PORTRAIT: image.picture.width < image.picture.height,
        Orientation.SQUARE: image.picture.width == image.picture.height,
    }
    return all(
        (
            filters.missing or not image.missing,
            filters.newer_s is None or image.date_s >= filters.newer_s,
            filters.older_s is None or image.date_s < filters.older_s,
            filters.month_day is None or f"{datetime.fromtimestamp(image.date_s):%m-%d}" == filters.month_day,
            filters.near is None or (away is not None and away <= filters.near.radius_m),
            not filters.has_gps or image.picture.longitude is not None,
            filters.camera is None or filters.camera.lower() in (image.picture.camera or "").lower(),
            not filters.formats or image.picture.format in filters.formats,
            image.picture.width >= width and image.picture.height >= height,
            filters.orientation is None or shapes[filters.orientation],
            filters.after_id is None or image.id > filters.after_id,
            filters.up_to_id is None or image.id <= filters.up_to_id,
        )
    )


circles = st.builds(
    Circle, st.integers(-90, 90), st.integers(-180, 180), st.floats(1, 2e7) | st.sampled_from([111_196.0, 2e7 + 10**5])
)
dates = st.none() | st.integers(-1, 200_001) | st.floats(0, 200_000)
all_filters = st.builds(
    Filters,
    under=st.lists(st.sampled_from(PLACES), max_size=2).map(tuple),
    exclude_under=st.lists(st.sampled_from(PLACES[2:]), max_size=2).map(tuple),
    globs=st.lists(st.sampled_from(["*.jpg", "1*", "*.png", "?.jpg", "none"]), max_size=2).map(tuple),
    words=st.lists(st.sampled_from(["in", "/p/in", "1", "jp", "jpg", "/q", ".jpg", "f2", "none"]), max_size=2).map(
        tuple
    ),
    files=st.none()
    | st.dictionaries(st.sampled_from([b"/p/0.jpg", b"/q/in/of3.jpg", b"/x", b"/p/in/1.png", b"/p/5.png"]), st.just(0)),
    newer_s=dates,
    older_s=dates,
    month_day=st.sampled_from([None, None, "01-01", "01-02", "12-31"]),
    near=st.none() | circles,
    has_gps=st.booleans(),
    camera=st.sampled_from([None, None, "canon", "EOS", "nikon d", "%", "_", "o'b", "x"]),
    formats=st.lists(st.sampled_from(["jpeg", "png", "webp"]), max_size=2).map(tuple),
    min_size=st.none() | st.tuples(st.integers(0, 5), st.integers(0, 5)),
    orientation=st.none() | st.sampled_from(Orientation),
    after_id=st.none() | st.integers(0, 201),
    up_to_id=st.none() | st.integers(0, 201),
    missing=st.booleans(),
)


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(all_filters)
def test_filters_choose_what_python_chooses(catalog: Catalog, filters: Filters) -> None:
    """Every filter and any mix of them, over every row; one name that meets all conditions on paths is enough."""
    every = [image for image in catalog.facts_of(range(1, 201)).values() if fits(image, filters)]
    alone = [image.id for image in every if path_fits(image.path, filters)]
    assert sorted(image_id for image_id, *_ in catalog.ranked(filters)) == alone
    paths = {image.id: catalog.names_at(image.path) for image in every}
    expected = [key for key, names in paths.items() if any(path_fits(name, filters) for name in names)]
    assert catalog.ids_matching(filters).tolist() == expected
    some = np.arange(1, 201, 3)
    assert catalog.matching_of(some, filters).tolist() == [key for key in expected if key in some]
    matcher = filters.path_matcher()
    assert all(matcher(name) == path_fits(name, filters) for names in paths.values() for name in names)
    found = [image.id for images, vectors in catalog.pictures(filters) for image in images if len(vectors)]
    assert found == expected


def test_each_filter_alone_leaves_some_out_and_some_in(catalog: Catalog) -> None:
    """The test above would prove nothing of a filter that never decides."""
    for filters in (
        Filters(under=(b"/p",)),
        Filters(exclude_under=(b"/p/in",)),
        Filters(globs=("*.jpg",)),
        Filters(words=("inn", "jp")),
        Filters(words=("q",)),
        Filters(files={b"/none": 0, b"/p/4.jpg": 0, b"/p/inn/6.jpg": 2}),
        Filters(newer_s=100_000),
        Filters(older_s=100_000),
        Filters(month_day="01-02"),
        Filters(near=Circle(50, 170, 5_000_000)),
        Filters(has_gps=True),
        Filters(camera="canon"),
        Filters(formats=("png",)),
        Filters(min_size=(3, 2)),
        Filters(orientation=Orientation.PORTRAIT),
        Filters(after_id=50),
        Filters(up_to_id=50),
        Filters(),
    ):
        assert 0 < len(catalog.ids_matching(filters)) < 200
        assert filters.chooses == (filters != Filters())
        assert len(catalog.ids_matching(replace(filters, missing=True))) > len(catalog.ids_matching(filters))


def test_listed_files_are_known_by_any_of_their_names(catalog: Catalog) -> None:
    """Missing ones too; each list is compared anew."""
    row, named = next(image for image in catalog.known(b"/") if image.missing), b"/q/in/of0.jpg"
    known = {2} if catalog.holds_names() else set()
    assert (catalog.names_at(named) != [named]) == bool(known)
    assert catalog.listed_files({b"/none": 0, row.path: 1, b"/x": 2, named: 2}) == {1} | known
    assert catalog.listed_files({named: 2}) == known
    assert catalog.listed_files({}) == frozenset()


def test_a_place_is_found_by_an_index(catalog: Catalog) -> None:
    """Of a million pictures, those in a box around it are looked at, and no others."""
    for longitude in (2.0, 179.999):
        where, parameters = Filters(near=Circle(48, longitude, 1000)).where()
        catalog.connection.create_function("distance_m", 4, lambda *_: 0.0)
        plan = [row[3] for row in catalog.rows(f"EXPLAIN QUERY PLAN SELECT id FROM images WHERE {where}", parameters)]
        assert all("images_by_position (latitude>? AND latitude<?" in step for step in plan), plan


@pytest.mark.parametrize("zone", ["UTC", "Europe/Berlin", "America/Caracas", "Pacific/Apia"])
def test_a_day_of_any_year_is_that_of_local_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, zone: str) -> None:
    """Also of years in which the place had another offset from UTC, and of times that no calendar has."""
    monkeypatch.setenv("TZ", zone)
    time.tzset()
    moments = [datetime(year, 5, 31, hour).timestamp() for year in (1890, 1912, 1969, 2024, 2090) for hour in (0, 23)]
    others = [datetime(2024, 5, 30, 23, 59).timestamp(), datetime(2024, 6, 1).timestamp(), -(2.0**60), 2.0**60]
    others += [datetime(year, month, 1).timestamp() for year in (2023, 2024) for month in (1, 3)]
    images = [
        EmbeddedImage(ImageFile(b"/%d" % n, 1, 1), bytes(32), 1, PictureFacts(1, 1, "png", int(moment)))
        for n, moment in enumerate(moments + others)
    ]
    with Catalog(tmp_path / "c", write=True) as made:
        made.record(EmbeddedBatch(tuple(images), np.ones((len(images), 4), np.float32)))
        assert made.ids_matching(Filters(month_day="05-31")).tolist() == list(range(1, len(moments) + 1))
        assert made.ids_matching(Filters(month_day="03-01")).tolist() == [len(images) - 2, len(images)]
        assert made.ids_matching(Filters(month_day="12-31")).tolist() == [len(moments) + 4]
    monkeypatch.undo()
    time.tzset()


def test_few_are_told_from_many_by_indexes(catalog: Catalog, monkeypatch: pytest.MonkeyPatch) -> None:
    """It decides how to search, never what is found: who is not told the few collects them later."""
    monkeypatch.setattr(matching, "NARROW", 200)
    canon, png, both = Filters(camera="canon"), Filters(formats=("png",)), Filters(camera="canon", formats=("png",))
    found = {one: catalog.ids_matching(one).tolist() for one in (canon, png, both)}
    assert {one: ids_of(catalog.few_matching(one)) for one in found} == found
    assert ids_of(catalog.few_matching(Filters(month_day="01-02"))) != []
    assert ids_of(catalog.few_matching(Filters(month_day="07-14"))) == []
    monkeypatch.setattr(matching, "NARROW", 1 + max(map(len, found.values())) // 2)
    assert catalog.few_matching(both) is None
    assert {one: catalog.ids_matching(one).tolist() for one in found} == found
    assert catalog.few_matching(Filters(orientation=Orientation.SQUARE)) is None


def ids_of(ids: Ids | None) -> list[int] | None:
    """Return ids as Python's numbers."""
    return None if ids is None else ids.tolist()


def test_a_glob_and_words_are_found_by_the_index_of_words(catalog: Catalog, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a million paths those that have the letters are looked at, and no others."""
    monkeypatch.setattr(matching, "NARROW", 200)
    for filters in (Filters(globs=("*2.jpg",)), Filters(globs=("*.jpg", "inn/*")), Filters(words=("inn",))):
        few = catalog.few_matching(filters)
        assert (few is not None) == catalog.keeps_words
        assert few is None or few.tolist() == catalog.ids_matching(filters).tolist() != []
    assert catalog.few_matching(Filters(globs=("1*",))) is None
    assert catalog.few_matching(Filters(globs=("*.jpg", "*"))) is None


@pytest.mark.parametrize("asked", ["/\u00fc/\u00e9", "/u\u0308/e\u0301", "/\u00fc/e\u0301"])
def test_a_directory_is_found_however_its_name_is_composed(tmp_path: Path, asked: str) -> None:
    """macOS decomposes what keyboards type composed, and one path may have both; a row keeps its bytes."""
    names = ["/\u00fc/e\u0301/1.jpg", "/u\u0308/\u00e9/2.jpg", "/\u00fc/\u00e9x/3.jpg", "/u/e/4.jpg"]
    with Catalog(tmp_path / "c", write=True) as made:
        made.record(batch({name.encode(): [0, 0, 0, 1] for name in names}))
        assert made.ids_matching(Filters(under=(asked.encode(),))).tolist() == [1, 2]
        assert made.ids_matching(Filters(exclude_under=(asked.encode(),))).tolist() == [3, 4]
        assert [image.path.decode() for image in made.facts_of([1, 2]).values()] == names[:2]


@pytest.mark.parametrize(
    ("globs", "fitting", "not_fitting"),
    [
        (("*.jpg",), [b"/a.jpg", b"/x/y/a.jpg"], [b"/a.jpeg", b"/a.jpg.png", b"/a.JPG"]),
        (("2024/*",), [b"/p/2024/a.jpg", b"/2024/a.jpg"], [b"/p/a.jpg", b"/p/x2024/a.jpg"]),
        (("2024/*.jpg",), [b"/p/2024/a.jpg"], [b"/p/2024/in/a.jpg", b"/p/2024/a.png"]),
        (("2024/**/*.jpg",), [b"/p/2024/in/deep/a.jpg", b"/p/2024/a.jpg"], [b"/p/2023/in/a.jpg"]),
        (("/p/*.jpg",), [b"/p/a.jpg"], [b"/q/p/a.jpg", b"/p/in/a.jpg"]),
        (("*.jpg", "*.png"), [b"/a.jpg", b"/a.png"], [b"/a.gif"]),
        (("!*.png",), [b"/a.jpg"], [b"/a.png"]),
        (("*.jpg", "!IMG_*"), [b"/a.jpg"], [b"/IMG_1.jpg", b"/a.png"]),
        (("IMG_[0-9]?.*",), [b"/IMG_12.jpg"], [b"/IMG_1.jpg", b"/IMG_a2.jpg"]),
        (("caf\u00e9*",), ["/caf\u00e9.jpg".encode(), "/cafe\u0301.jpg".encode()], [b"/cafe.jpg"]),
        (
            ("cafe\u0301/?.jpg",),
            ["/caf\u00e9/\u00e9.jpg".encode(), "/cafe\u0301/e\u0301.jpg".encode()],
            [b"/cafe/e.jpg"],
        ),
        (("*.jpg",), [b"/\xff\xfe.jpg", b"/new\nline.jpg"], []),
    ],
)
def test_globs_mean_what_gitignore_means(
    globs: tuple[str, ...], fitting: list[bytes], not_fitting: list[bytes]
) -> None:
    """A name anywhere, the end of a path with a slash, the whole path with one in front; `!` leaves out."""
    matches = glob_matcher(globs)
    assert [path for path in fitting + not_fitting if matches(path)] == fitting
