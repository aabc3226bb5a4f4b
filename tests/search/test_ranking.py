"""Search, against every vector compared with the query in numpy."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial, partialmethod
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from image_index.catalog import matching
from image_index.catalog.catalog import Catalog
from image_index.catalog.filters import Filters
from image_index.errors import StorageError
from image_index.paths import below
from image_index.records import EmbeddedBatch, Hit, Ids, ImageFacts, Match, Vectors
from image_index.search import ranking
from image_index.search.ranking import OpenFiles, Place, SearchOptions, Sort, open_files
from image_index.settings import IndexHome
from image_index.training.freshness import build_if_stale
from image_index.vectors import derived_file
from image_index.vectors.open_index import FaissIndex, map_index
from image_index.vectors.vector_file import VectorFile, write_vectors
from tests.support.faiss_examples import contents_of
from tests.support.library import search
from tests.support.records import batch, embedded_image, facts, image_file

DIRECTORIES = (b"/p", b"/p/in", b"/p/inn", b"/q")
WHOLE = st.integers(-2, 2)
"""Vectors of small whole numbers: every score is exact in float32, and many are equal."""
VECTORS = st.lists(WHOLE, min_size=3, max_size=3)

Found = tuple[int, float, bytes, int]
"""Rank, score, path and id."""


@dataclass
class Mirrored:
    """A catalog, and the same again in a dictionary."""

    home: IndexHome
    catalog: Catalog
    pictures: dict[bytes, tuple[int, list[float]]] = field(default_factory=dict)

    def add(self, vectors: Mapping[bytes, Sequence[float]]) -> None:
        """Store pictures; those there already are changed."""
        self.catalog.record(batch(vectors))
        for path, vector in vectors.items():
            image = self.catalog.image_at(path)
            assert image is not None
            self.pictures[path] = (image.id, [float(value) for value in vector])

    def lose(self, paths: set[bytes]) -> None:
        """Mark pictures missing."""
        there = paths & self.pictures.keys()
        self.catalog.mark_missing(image for path in there if (image := self.catalog.image_at(path)))
        for path in there:
            del self.pictures[path]

    def build(self) -> None:
        """Write the file of vectors."""
        write_vectors(self.home, self.catalog.stamp(), self.catalog.stored_after(0))

    def expected(self, query: list[int], options: SearchOptions) -> list[Found]:
        """Return the hits of a search through the dictionary; a vector of zeros is none, and is found by nothing."""
        scored = []
        for path, (image_id, vector) in self.pictures.items():
            if not any(vector):
                continue
            score = sum(a * b for a, b in zip(vector, query, strict=True))
            under = options.filters.under
            inside = any(path == place or path.startswith(below(place)) for place in under)
            if score >= options.min_score and (inside or not under):
                scored.append((-score, image_id, path))
        best = sorted(scored)[: options.limit]
        return [(rank, -score, path, image_id) for rank, (score, image_id, path) in enumerate(best, 1)]


def found(hits: Iterable[Hit]) -> list[Found]:
    """Return what the dictionary knows of hits too."""
    return [(hit.rank, hit.score, hit.path, hit.image.id) for hit in hits]


def in_pages(ask: Callable[[SearchOptions], list[Hit]], options: SearchOptions, last_id: int) -> list[Hit]:
    """Return all hits, asked for page by page of `limit` each."""
    hits: list[Hit] = []
    while True:
        page = ask(
            replace(options, after=Place(hits[-1].score, hits[-1].image.id, len(hits), last_id) if hits else None)
        )
        hits += page
        if len(page) < (options.limit or len(page) + 1):
            return hits


@pytest.fixture
def library() -> Iterator[Mirrored]:
    """Give an empty library."""
    with tempfile.TemporaryDirectory() as temporary:
        home = IndexHome(Path(temporary))
        with Catalog(home.catalog, write=True) as catalog:
            catalog.set_model(facts(3))
            yield Mirrored(home, catalog)


def paths(count: int) -> list[bytes]:
    """Return paths in several directories."""
    return [b"%b/%d" % (DIRECTORIES[number % 4], number) for number in range(count)]


PICTURES = st.dictionaries(st.sampled_from(paths(30)), VECTORS, max_size=30)


@st.composite
def searches(draw: st.DrawFn) -> SearchOptions:
    """Return how to search."""
    return SearchOptions(
        limit=draw(st.none() | st.integers(1, 40)),
        filters=Filters(under=tuple(draw(st.sets(st.sampled_from([*DIRECTORIES, b"/", b"/p/in/1", b"/nothing"]))))),
        min_score=draw(st.sampled_from([-100.0, -100.0, 0.0, 1.0, 4.0])),
    )


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    PICTURES,
    st.booleans(),
    st.sets(st.sampled_from(paths(30))),
    PICTURES,
    st.sets(st.sampled_from(paths(30)), max_size=8),
    VECTORS,
    st.lists(searches(), min_size=3, max_size=3),
    st.sampled_from([(10_000, 256), (2, 1), (1, 2)]),
)
def test_search_agrees_with_brute_force(
    library: Mirrored,
    before: dict[bytes, list[int]],
    build: bool,
    lost: set[bytes],
    after: dict[bytes, list[int]],
    lost_after: set[bytes],
    query: list[int],
    options: list[SearchOptions],
    few_and_proposed: tuple[int, int],
) -> None:
    """Whatever changed since the FAISS file was built, or if there is none, the hits are exactly the best there are.

    Few pictures that filters choose are compared one by one; of many, FAISS proposes some at first.
    """
    library.lose(set(paths(30)))
    library.home.vector_table.unlink(missing_ok=True)
    library.add(before)
    library.lose(lost)
    if build:
        library.build()
    library.add(after)
    library.lose(lost_after)
    with pytest.MonkeyPatch.context() as patch:
        few, proposed = few_and_proposed
        for module, name, value in (
            (ranking, "FEW", few),
            (matching, "NARROW", few),
            (ranking, "PROPOSED", proposed),
        ):
            patch.setattr(module, name, value)
        for option in options:
            ask = partial(search, library.catalog, library.home, np.array(query, np.float32))
            assert found(ask(option)) == library.expected(query, option)
            assert in_pages(ask, option, library.catalog.read_last_id()) == ask(replace(option, limit=None))


def unit_vectors(count: int, dim: int, seed: int) -> Vectors:
    """Return unit vectors, every third of them a copy of the first."""
    vectors = np.random.default_rng(seed).standard_normal((count, dim))
    vectors[::3] = vectors[0]
    unit: NDArray[np.float16] = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float16)
    return unit.astype(np.float32)


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(1, 80), st.sampled_from([3, 64, 100, 512]), st.integers(0, 2**16), st.integers(0, 80))
def test_best_hits_are_a_prefix_of_more_hits(library: Mirrored, count: int, dim: int, seed: int, built: int) -> None:
    """Asking for one hit more adds one and changes none, copies of one picture and real-valued scores included."""
    vectors = unit_vectors(count, dim, seed)
    query = vectors[0] if seed % 2 else unit_vectors(1, dim, seed + 1)[0]
    with tempfile.TemporaryDirectory() as temporary:
        home = IndexHome(Path(temporary))
        with Catalog(home.catalog, write=True) as catalog:
            catalog.set_model(facts(dim))
            images = [embedded_image(image_file(b"/%d" % number)) for number in range(count)]
            for part in (slice(0, built), slice(built, None)):
                catalog.record(EmbeddedBatch(tuple(images[part]), vectors[part]))
                if part.start == 0:
                    write_vectors(home, catalog.stamp(), catalog.stored_after(0))
            hits = search(catalog, home, query, SearchOptions(limit=None))
            exact = {b"/%d" % i: score for i, score in enumerate(vectors.astype(np.float64) @ query.astype(np.float64))}
            np.testing.assert_allclose([hit.score for hit in hits], sorted(exact.values(), reverse=True), atol=1e-6)
            np.testing.assert_allclose([exact[hit.path] for hit in hits], [hit.score for hit in hits], atol=1e-6)
            assert [hit.rank for hit in hits] == list(range(1, count + 1))
            assert len({hit.image.id for hit in hits}) == count
            assert hits == sorted(hits, key=lambda hit: (-hit.score, hit.image.id))
            for limit in {1, 2, count // 3, count // 2, count - 1} - {0}:
                assert search(catalog, home, query, SearchOptions(limit=limit)) == hits[:limit]
                assert in_pages(partial(search, catalog, home, query), SearchOptions(limit), count) == hits


@pytest.mark.parametrize("built", [0, 200, 300])
def test_copies_of_one_picture_come_in_the_order_of_their_ids(library: Mirrored, built: int) -> None:
    """More equal scores than hits wanted: the oldest are shown, in the FAISS file and out of it."""
    library.add({b"/%03d" % number: [1, 1, 0] for number in range(built)})
    library.build()
    library.add({b"/%03d" % number: [1, 1, 0] for number in range(built, 300)})
    hits = search(library.catalog, library.home, np.array([1, 1, 0], np.float32), SearchOptions(limit=3))
    assert [hit.path for hit in hits] == [b"/000", b"/001", b"/002"]


def test_missing_pictures_take_no_places(library: Mirrored) -> None:
    """A hundred better ones that are gone do not hide the one that is there."""
    gone = {b"/gone/%d" % number: [2, 2, 2] for number in range(100)}
    library.add({**gone, b"/there": [1, 0, 0]})
    library.build()
    library.lose(set(gone))
    hits = search(library.catalog, library.home, np.array([1, 1, 1], np.float32), SearchOptions(limit=1))
    assert [hit.path for hit in hits] == [b"/there"]
    library.lose({b"/there"})
    for limit in (1, None):
        assert search(library.catalog, library.home, np.array([1, 1, 1], np.float32), SearchOptions(limit)) == []


def test_moved_picture_is_found_where_it_is(library: Mirrored) -> None:
    """Paths come from the catalog: the FAISS file need not be rebuilt for a move."""
    library.add({b"/p/1": [1, 0, 0]})
    library.build()
    image = library.catalog.image_at(b"/p/1")
    assert image is not None
    library.catalog.move([Match(image_file(b"/q/1"), image)])
    query = np.array([1, 0, 0], np.float32)
    for under, there in (((), [b"/q/1"]), ((b"/q",), [b"/q/1"]), ((b"/p",), [])):
        hits = search(library.catalog, library.home, query, SearchOptions(filters=Filters(under=under)))
        assert [hit.path for hit in hits] == there


def test_high_minimum_score_does_not_look_at_every_picture(library: Mirrored, monkeypatch: pytest.MonkeyPatch) -> None:
    """Hits are cut off where they get too bad: FAISS is asked for no more than without a minimum."""
    library.add({b"/%d" % number: [number % 5 - 2, 0, 1] for number in range(500)})
    library.build()
    looked_up = {-100.0: 0, 100.0: 0}
    gather = VectorFile.gather

    def watched(file: VectorFile, ids: Ids) -> tuple[Ids, Vectors]:
        looked_up[minimum] += len(ids)
        return gather(file, ids)

    monkeypatch.setattr(VectorFile, "gather", watched)
    query = np.array([0.5, 0.25, 0.125], np.float32)
    for minimum in looked_up:
        search(library.catalog, library.home, query, SearchOptions(limit=10, min_score=minimum))
    assert 0 < looked_up[100.0] <= looked_up[-100.0]


@pytest.mark.parametrize("content", [None, b"", b"garbage", b"x" * 5000])
def test_search_without_a_usable_file_of_vectors_says_so_and_is_right(
    library: Mirrored, content: bytes | None, caplog: pytest.LogCaptureFixture
) -> None:
    """The catalog alone is enough."""
    library.add({b"/a": [1, 0, 0], b"/b": [0, 1, 0]})
    if content is not None:
        library.home.vector_table.write_bytes(content)
    caplog.set_level("INFO")
    hits = search(library.catalog, library.home, np.array([0, 1, 0], np.float32), SearchOptions(limit=1))
    assert [hit.path for hit in hits] == [b"/b"]
    assert ["vectors.f16" in record.getMessage() for record in caplog.records] == [True]


def test_search_in_an_empty_index_finds_nothing_and_says_nothing(
    library: Mirrored, caplog: pytest.LogCaptureFixture
) -> None:
    """There is nothing to warn of."""
    caplog.set_level("INFO")
    assert search(library.catalog, library.home, np.ones(3, np.float32), SearchOptions()) == []
    assert caplog.records == []


def topical(random: np.random.Generator) -> list[float]:
    """Return a unit vector near one of twenty directions."""
    topic = np.random.default_rng(random.integers(20)).normal(size=8)
    vector = topic / np.linalg.norm(topic) + 0.2 * random.normal(size=8)
    return [float(value) for value in vector / np.linalg.norm(vector)]


def step(library: Mirrored, random: np.random.Generator) -> None:
    """Let something happen to a library, as trains and people do it."""
    known = sorted(library.pictures)
    action = random.choice(["add", "add", "change", "lose", "forget", "build", "build"])
    if action in {"add", "change"}:
        names = paths(3000) if action == "add" else known
        chosen = random.choice(len(names), size=min(len(names), 200), replace=False)
        library.add({names[i]: topical(random) for i in chosen})
    elif action == "lose":
        library.lose({known[i] for i in random.choice(len(known), size=len(known) // 10, replace=False)})
    elif action == "forget":
        for i in random.choice(len(known), size=len(known) // 10, replace=False):
            library.catalog.forget(known[i])
            del library.pictures[known[i]]
    else:
        build_if_stale(library.catalog, library.home, lambda _: None)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(6))
def test_search_in_inverted_lists_agrees_with_brute_force(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever happens to a library in inverted lists: all of them give the exact hits, tuned ones 0.99."""
    for name, value in (
        ("training.freshness.FLAT_LIMIT", 300),
        ("training.freshness.SMALL_INDEX", 0),
        ("training.freshness.GONE_ROWS", 50),
        ("training.freshness.NEWER_ROWS", 50),
        ("search.ranking.FEW", 100),
        ("catalog.matching.NARROW", 100),
    ):
        monkeypatch.setattr(f"image_index.{name}", value)
    random = np.random.default_rng(seed)
    with tempfile.TemporaryDirectory() as temporary:
        home = IndexHome(Path(temporary))
        with Catalog(home.catalog, write=True) as catalog:
            catalog.set_model(facts(8))
            library = Mirrored(home, catalog)
            library.add({path: topical(random) for path in paths(1000)})
            build_if_stale(catalog, home, lambda _: None)
            recalls: list[float] = []
            for _ in range(12):
                step(library, random)
                recalls += compare(library, random)
            assert open_files(catalog, home).indexes[0].nlist
    assert sum(recalls) >= 0.99 * len(recalls)


def exhaustive(files: OpenFiles, home: IndexHome) -> OpenFiles:
    """Return the same files with all inverted lists looked at in every search, and no estimate trusted."""
    opened = []
    for index in files.indexes:
        contents = replace(index.contents, reach=90.0, near_reach=90.0, error=3.0)
        radii = np.full(index.nlist, 0.1, np.float32)
        opened.append(FaissIndex(contents, map_index(home.faiss), radii))
    return replace(files, indexes=tuple(opened))


def compare(library: Mirrored, random: np.random.Generator) -> Iterator[float]:
    """Search with each kind of options; yield the recall of the tuned lists."""
    catalog, files = library.catalog, open_files(library.catalog, library.home)
    all_lists = exhaustive(files, library.home)
    stored = {path: np.array(vector, np.float32).astype(np.float16) for path, (_, vector) in library.pictures.items()}
    vectors = {path: vector.astype(np.float64) for path, vector in stored.items()}
    middle = int(np.median([image_id for image_id, _ in library.pictures.values()]))
    chosen: list[tuple[Filters, Callable[[bytes, int], bool]]] = [
        (Filters(), lambda *_: True),
        (Filters(under=(b"/p",)), lambda path, _: path.startswith(b"/p/")),
        (Filters(exclude_under=(b"/p/in", b"/q")), lambda path, _: not path.startswith((b"/p/in/", b"/q/"))),
        (Filters(globs=("*7",)), lambda path, _: path.endswith(b"7")),
        (Filters(after_id=middle), lambda _, image_id: image_id > middle),
        (Filters(under=(b"/q",), up_to_id=middle), lambda path, i: path.startswith(b"/q/") and i <= middle),
    ]
    for filters, fits in chosen:
        inside = [path for path in vectors if fits(path, library.pictures[path][0])]
        query = random.normal(size=8).astype(np.float32)
        exact = {path: float(vectors[path] @ query) for path in inside}
        best = sorted(inside, key=lambda path: -exact[path])[:10]
        for opened, options in (
            (all_lists, SearchOptions(10, filters=filters)),
            (files, SearchOptions(10, filters=filters, exact=True)),
            (OpenFiles(), SearchOptions(10, filters=filters, exact=True)),
        ):
            hits = ranking.search(opened, catalog, query, options)
            assert [hit.path for hit in hits] == best
            np.testing.assert_allclose([hit.score for hit in hits], [exact[path] for path in best], atol=1e-5)
        tuned = ranking.search(files, catalog, query, SearchOptions(10, filters=filters))
        np.testing.assert_allclose([hit.score for hit in tuned], [exact[hit.path] for hit in tuned], atol=1e-5)
        assert len(tuned) == len(best) > 0
        yield len({hit.path for hit in tuned} & set(best)) / len(best)


def test_what_is_gone_from_the_disk_or_not_wanted_takes_no_places(library: Mirrored, tmp_path: Path) -> None:
    """However many of the best those are; the order and the scores of the rest stay."""
    library.add({b"%b/%03d" % (os.fsencode(tmp_path), number): [1, 1, number % 3] for number in range(60)})
    library.build()
    there = [path for path in sorted(library.pictures) if int(path[-3:]) % 3 == 0]
    for path in there:
        Path(os.fsdecode(path)).touch()
    query = np.array([0, 0.25, 1], np.float32)
    files = open_files(library.catalog, library.home)

    def shown(image: ImageFacts) -> ImageFacts | None:
        return image if image.file.exists() else None

    hits = ranking.search(files, library.catalog, query, SearchOptions(5), shown)
    assert [hit.path for hit in hits] == there[:5]
    assert [hit.rank for hit in hits] == [1, 2, 3, 4, 5]
    own = frozenset(hit.image.id for hit in hits[:2])
    others = ranking.search(
        files, library.catalog, query, SearchOptions(5), lambda image: None if image.id in own else shown(image)
    )
    assert [hit.path for hit in others] == there[2:7]


def add_shots(catalog: Catalog, count: int) -> None:
    """Store shots `/p/0.nef` and `/p/0.jpg`, the next further from (1, 0, 0), the RAW file always a little nearer."""
    names = [(f"/p/{number}.{end}", kind) for number in range(count) for end, kind in (("nef", "raw"), ("jpg", "jpeg"))]
    images = []
    for name, kind in names:
        image = embedded_image(image_file(name.encode()), name.encode())
        images.append(replace(image, picture=image.picture._replace(format=kind)))
    angles = np.arange(len(images)) / len(images)
    vectors = np.stack([np.cos(angles), np.sin(angles), 0 * angles], axis=1).astype(np.float32)
    catalog.record(EmbeddedBatch(tuple(images), vectors))


@pytest.mark.parametrize("exact", [True, False])
def test_a_shot_of_raw_and_jpeg_is_one_hit(library: Mirrored, exact: bool) -> None:
    """It is shown as JPEG with the JPEG's score, names the RAW file, and takes one of the places."""
    add_shots(library.catalog, 20)
    library.build()
    hits = search(library.catalog, library.home, np.array([1, 0, 0], np.float32), SearchOptions(5, exact=exact))
    assert [(hit.path, hit.pair) for hit in hits] == [(b"/p/%d.jpg" % n, b"/p/%d.nef" % n) for n in range(5)]
    assert [hit.rank for hit in hits] == [1, 2, 3, 4, 5]
    ask = partial(search, library.catalog, library.home, np.array([1, 0, 0], np.float32))
    assert in_pages(ask, SearchOptions(1, exact=exact), 40) == ask(SearchOptions(None))
    np.testing.assert_allclose([hit.score for hit in hits], np.cos((2 * np.arange(5) + 1) / 40), atol=1e-3)


def test_the_raw_file_is_shown_where_the_jpeg_is_not_asked_for(library: Mirrored) -> None:
    """By a filter, by its score, or because its file is gone although no training has noticed."""
    add_shots(library.catalog, 4)
    query = np.array([1, 0, 0], np.float32)

    def shown(options: SearchOptions, gone: bytes = b"") -> list[Found]:
        files = open_files(library.catalog, library.home)
        hits = ranking.search(
            files, library.catalog, query, options, lambda image: None if image.path == gone else image
        )
        return found(hits)

    raws = shown(SearchOptions(filters=Filters(formats=("raw",))))
    assert [path for _, _, path, _ in raws] == [b"/p/%d.nef" % n for n in range(4)]
    limit = float(np.cos(2.5 / 8))  # between the RAW file and the JPEG of the second shot
    assert [path for _, _, path, _ in shown(SearchOptions(min_score=limit))] == [b"/p/0.jpg", b"/p/1.nef"]
    gone = shown(SearchOptions(2), b"/p/0.jpg")
    assert [path for _, _, path, _ in gone] == [b"/p/0.nef", b"/p/1.jpg"]


def test_a_further_page_has_nothing_that_came_since_the_first(library: Mirrored) -> None:
    """However near it is; so nothing is left out, and nothing comes twice."""
    library.add({b"/%d" % number: [1, number, 0] for number in range(6)})
    ask = partial(search, library.catalog, library.home, np.array([0, 1, 0], np.float32))
    first, last_id = ask(SearchOptions(2)), library.catalog.read_last_id()
    library.add({b"/new": [0, 3, 0], b"/better": [0, 9, 0]})
    after = Place(first[-1].score, first[-1].image.id, 2, last_id)
    assert [(hit.rank, hit.path) for hit in ask(SearchOptions(2, after=after))] == [(3, b"/3"), (4, b"/2")]


def test_a_deep_page_looks_at_no_picture_of_the_pages_before(
    library: Mirrored, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So it costs what the first one does."""
    library.add({b"/%03d" % number: [1, number, 0] for number in range(300)})
    build_if_stale(library.catalog, library.home, lambda _: None)
    looked: list[int] = []
    find = VectorFile.gather

    def look(file: VectorFile, ids: Ids) -> tuple[Ids, Vectors]:
        looked.extend(ids)
        return find(file, ids)

    monkeypatch.setattr(VectorFile, "gather", look)
    ask = partial(search, library.catalog, library.home, np.array([0, 1, 0], np.float32))
    page = ask(SearchOptions(10, after=Place(99, library.pictures[b"/099"][0], 200, 300)))
    assert [hit.path for hit in page] == [b"/%03d" % number for number in range(98, 88, -1)]
    assert len(looked) < 30


def test_facts_are_read_of_no_more_pictures_than_are_taken(library: Mirrored, monkeypatch: pytest.MonkeyPatch) -> None:
    """Scores decide: of a thousand candidates only the first few need a row of `images`."""
    library.add({b"/%04d" % number: [1, number, 0] for number in range(1000)})
    looked: list[int] = []
    find = Catalog.facts_of

    def look(catalog: Catalog, ids: Iterable[int]) -> dict[int, ImageFacts]:
        looked.extend(wanted := list(ids))
        return find(catalog, wanted)

    monkeypatch.setattr(Catalog, "facts_of", look)
    query = np.array([0, 1, 0], np.float32)
    hits = search(library.catalog, library.home, query, SearchOptions(10, exact=True))
    assert [hit.path for hit in hits] == [b"/%04d" % number for number in range(999, 989, -1)]
    assert len(looked) < 100


def test_a_filter_that_most_pictures_pass_is_asked_about_those_proposed_alone(
    library: Mirrored, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To collect nearly all ids of a large library takes longer than the search."""
    library.add({b"/%03d" % number: [1, number, 0] for number in range(300)})
    library.build()
    monkeypatch.setattr(matching, "NARROW", 100)
    monkeypatch.setattr(ranking, "PROPOSED", 20)
    asked: list[str] = []
    for name in ("ids_matching", "matching_of"):
        monkeypatch.setattr(Catalog, name, partialmethod(noting, getattr(Catalog, name), asked))
    query = np.array([0, 1, 0], np.float32)
    hits = search(library.catalog, library.home, query, SearchOptions(5, filters=Filters(after_id=10)))
    assert [hit.path for hit in hits] == [b"/%03d" % number for number in range(299, 294, -1)]
    assert asked == ["matching_of"]
    hits = search(library.catalog, library.home, query, SearchOptions(5, filters=Filters(globs=("01?",))))
    assert [hit.path for hit in hits] == [b"/%03d" % number for number in range(19, 14, -1)]
    assert asked[1:] == ["matching_of", "ids_matching"]


def noting(catalog: Catalog, method: Callable[..., Ids], asked: list[str], *arguments: object) -> Ids:
    """Note the name of a method that is called."""
    asked.append(method.__name__)
    return method(catalog, *arguments)


def test_hits_are_sorted_after_they_are_chosen(library: Mirrored) -> None:
    """The best two of four, newest first or by name; their ranks stay those of their scores."""
    times = {b"/c": 1, b"/b": 3, b"/a": 2, b"/d": 4}
    library.add({b"/c": [2, 0, 0], b"/b": [2, 0, 0], b"/a": [2, 0, 0], b"/d": [1, 0, 0]})
    for path, seconds in times.items():
        image = library.catalog.image_at(path)
        assert image is not None
        library.catalog.move([Match(image_file(path, mtime_ns=seconds * 10**9), image)])
    query = np.array([1, 0, 0], np.float32)
    for sort, order in (
        (Sort.DATE, [b"/b", b"/a", b"/c"]),
        (Sort.PATH, [b"/a", b"/b", b"/c"]),
        (Sort.SCORE, [b"/c", b"/b", b"/a"]),
    ):
        hits = search(library.catalog, library.home, query, SearchOptions(3, sort=sort))
        assert [hit.path for hit in hits] == order
        assert [hit.rank for hit in hits] == [{b"/c": 1, b"/b": 2, b"/a": 3}[path] for path in order]


@pytest.mark.parametrize("built", [True, False])
def test_sigma_is_numpys_over_all_pictures(library: Mirrored, built: bool) -> None:
    """From the file of moments, or measured anew where there is none; a least sigma keeps what numpy keeps."""
    random = np.random.default_rng(5)
    library.add({path: topical(random)[:3] for path in paths(400)})
    if built:
        build_if_stale(library.catalog, library.home, lambda _: None)
    assert library.home.moments.exists() == built
    query = np.array([0.6, 0.0, 0.8], np.float32)
    scores = np.concatenate([vectors @ query for _, vectors in library.catalog.vectors_after(0)])
    sigmas = np.sort((scores - scores.mean()) / scores.std())[::-1]
    hits = search(library.catalog, library.home, query, SearchOptions(None))
    np.testing.assert_allclose(np.array([hit.sigma for hit in hits], float), sigmas, atol=1e-2)
    for least in (-0.5, 0.5, 1.5):
        kept = search(library.catalog, library.home, query, SearchOptions(None, min_sigma=least))
        assert abs(len(kept) - int((sigmas >= least).sum())) <= 1
        assert kept == hits[: len(kept)]


def test_damaged_lists_cost_hits_but_never_give_a_wrong_score(
    library: Mirrored, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A large file is not checked whole before a search: whatever its codes and ids say, the catalog decides."""
    monkeypatch.setattr("image_index.training.freshness.FLAT_LIMIT", 300)
    monkeypatch.setattr(derived_file, "QUICK_BYTES", 0)
    monkeypatch.setattr(derived_file, "BLOCK_BYTES", 256)
    random = np.random.default_rng(1)
    library.add({path: random.integers(-2, 3, 3).tolist() for path in paths(1000)})
    build_if_stale(library.catalog, library.home, lambda _: None)
    whole, contents = library.home.faiss.read_bytes(), contents_of(library.home.faiss)
    assert contents is not None
    truth = {key: (path, score) for _, score, path, key in library.expected([1, 2, -1], SearchOptions(None, -100.0))}
    for _ in range(100):
        start = int(random.integers(contents.head + 256, len(whole) - 3000))
        library.home.faiss.write_bytes(whole[:start] + random.bytes(500) + whole[start + 500 :])
        options = SearchOptions(10, min_score=-100.0)
        hits = search(library.catalog, library.home, np.array([1, 2, -1], np.float32), options)
        assert len(hits) == 10
        assert [(hit.path, hit.score) for hit in hits] == [truth[hit.image.id] for hit in hits]


@pytest.mark.parametrize("name", ["vectors.f16", "vectors.ids"])
def test_damaged_vectors_cost_hits_but_never_give_a_wrong_score(
    library: Mirrored, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """Large files are not checked before a search: whatever they say, the catalog has the last word."""
    monkeypatch.setattr(derived_file, "QUICK_BYTES", 0)
    random = np.random.default_rng(1)
    library.add({path: random.integers(-2, 3, 3).tolist() for path in paths(400)})
    library.build()
    path = library.home.path / name
    whole = path.read_bytes()
    truth = {key: (path, score) for _, score, path, key in library.expected([1, 2, -1], SearchOptions(None, -100.0))}
    counts: list[int] = []
    for _ in range(100):
        start = int(random.integers(len(whole) - 100))
        path.write_bytes(whole[:start] + random.bytes(100) + whole[start + 100 :])
        for limit in (10, None):
            options = SearchOptions(limit, min_score=-100.0, exact=bool(random.integers(2)))
            hits = search(library.catalog, library.home, np.array([1, 2, -1], np.float32), options)
            assert [(hit.path, hit.score) for hit in hits] == [truth[hit.image.id] for hit in hits]
            assert len({hit.image.id for hit in hits}) == len(hits)
            counts.append(len(hits))
    assert np.mean(counts[::2]) > 9
    assert np.mean(counts[1::2]) > len(truth) - 60


def test_damaged_catalog_is_an_error_not_an_empty_answer(library: Mirrored) -> None:
    """Nothing found and cannot look are not the same."""
    library.add({b"/a": [1, 0, 0]})
    library.catalog.connection.execute("DROP TABLE vectors")
    with pytest.raises(StorageError):
        search(library.catalog, library.home, np.ones(3, np.float32), SearchOptions())
