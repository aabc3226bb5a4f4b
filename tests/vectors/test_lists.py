"""How inverted lists are laid out and tuned, against exact search in numpy."""

from __future__ import annotations

from typing import Any

import faiss
import numpy as np
import pytest
from numpy.typing import NDArray

from image_index.records import Vectors
from image_index.vectors import lists, open_index
from image_index.vectors.derived_file import Contents
from image_index.vectors.lists import QUERY_LENGTH, Tuning, fill_lists, list_count, rotated, sample_of, train_lists
from image_index.vectors.open_index import FaissIndex
from tests.support.faiss_examples import STAMP, chunks, random_vectors, visited_lists

COUNT, DIM = 6000, 16


def topical(count: int, dim: int, topics: int = 40) -> Vectors:
    """Return unit vectors around some directions."""
    random = np.random.default_rng(1)
    vectors = random_vectors(topics, dim)[random.integers(topics, size=count)] + 0.1 * random_vectors(count, dim, 2)
    unit: Vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    return unit


def test_a_sample_is_a_random_part_of_the_vectors(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each at most once, from everywhere, as many as are needed and no more."""
    monkeypatch.setattr(lists, "SAMPLE_PER_LIST", 2)
    numbers = np.stack(np.divmod(np.arange(COUNT, dtype=np.float32), 100), axis=1)  # float16 holds no larger ones
    high, low = sample_of(chunks(np.arange(COUNT), numbers, 999), COUNT).astype(np.int64).T
    sample = 100 * high + low
    assert len(set(sample.tolist())) == len(sample) == 2 * list_count(COUNT)
    assert sample.tolist() == sorted(sample.tolist())
    assert 0.4 < np.mean(sample) / COUNT < 0.6


def test_the_number_of_lists_grows_with_the_root_of_the_count_and_is_bounded() -> None:
    """Four times as many vectors, twice as many lists."""
    assert list_count(0) == 1
    assert list_count(40_000) == 2 * list_count(10_000)
    assert list_count(10**7) < list_count(10**8) == list_count(10**9) == lists.MAX_LISTS


def test_tuned_lists_find_what_an_exact_search_finds() -> None:
    """For queries that the tuning has not seen: near pictures, and anywhere."""
    vectors = topical(COUNT, DIM)
    index, homes = trained(vectors)
    fill(index, vectors)
    tuning = Tuning(vectors)
    for start in range(0, COUNT, 1000):
        tuning.look_at(vectors[start : start + 1000], homes[start : start + 1000])
    radii = radii_of(index, vectors, homes)
    reach = tuning.reach(index, radii)
    assert 0 < reach.near <= reach.text
    contents = Contents(
        STAMP, COUNT, reach=reach.text, near_reach=reach.near, near_score=reach.near_score, error=tuning.error(index)
    )
    opened = FaissIndex(contents, index, radii.astype(np.float32))
    for queries in (topical(200, DIM) + 0.02, random_vectors(200, DIM, 9)):
        best = np.argsort(-(queries @ vectors.T), axis=1)[:, :10]
        with visited_lists() as visited:
            found = [opened.search(query, 10)[1] for query in queries]
        assert visited() < 0.9 * len(queries) * opened.nlist
        recalls = [len(set(a) & set(b.tolist())) / 10 for a, b in zip(best.tolist(), found, strict=True)]
        assert np.mean(recalls) >= 0.99


def test_a_search_visits_the_lists_that_may_hold_something_better(monkeypatch: pytest.MonkeyPatch) -> None:
    """The more, the further it reaches; as many as a picture where the query looks like one; a quarter at most."""
    monkeypatch.setattr(open_index, "FIRST_LISTS", 2)
    index, homes = trained(topical(COUNT, DIM))
    fill(index, topical(COUNT, DIM))
    radii = radii_of(index, topical(COUNT, DIM), homes).astype(np.float32)

    def visits(reach: float, near_score: float = 2.0) -> int:
        contents = Contents(STAMP, COUNT, reach=reach, near_reach=0.0, near_score=near_score)
        with visited_lists() as visited:
            FaissIndex(contents, index, radii).search(random_vectors(1, DIM, 9)[0], 1)
        return visited()

    counts = [visits(reach) for reach in (-5.0, 3.0, 4.0, 9.0)]
    assert counts == sorted(counts)
    assert (counts[0], counts[-1]) == (2, -(-faiss.extract_index_ivf(index).nlist // 4))
    assert counts[0] < counts[1] < counts[2] < counts[-1]
    assert visits(9.0, near_score=0.0) == visits(0.0)


def test_crowded_candidates_make_a_search_keep_more_of_them() -> None:
    """Those that it returns reach as far below the last of the best as an estimate may be wrong."""
    vectors = topical(COUNT, DIM)
    index, homes = trained(vectors)
    fill(index, vectors)
    radii = radii_of(index, vectors, homes).astype(np.float32)
    for error in (0.0, 0.05, 0.1):
        contents = Contents(STAMP, COUNT, reach=1.0, near_reach=1.0, near_score=2.0, error=error)
        scores, ids, rest = FaissIndex(contents, index, radii).search(vectors[0], 5)
        assert len(set(ids.tolist())) == len(ids)
        assert rest == scores[-1] <= scores[4] - error
        assert (np.diff(scores) <= 0).all()


def radii_of(index: Any, vectors: Vectors, homes: NDArray[np.int32]) -> NDArray[np.float64]:
    """Return how far the vectors of each list lie from its centroid, root mean square."""
    centroids = faiss.extract_index_ivf(index).quantizer.reconstruct_n()
    squares = np.square(rotated(index, vectors) - centroids[homes]).sum(axis=1)
    sizes = np.maximum(np.bincount(homes, minlength=len(centroids)), 1)
    radii: NDArray[np.float64] = np.maximum(
        np.sqrt(np.bincount(homes, squares, len(centroids)) / sizes), lists.LEAST_RADIUS
    )
    return radii


def fill(index: Any, vectors: Vectors) -> None:
    """Put all vectors into their lists."""
    lists: Any = faiss.extract_index_ivf(index)
    fill_lists(lists, np.arange(COUNT), rotated(index, vectors))
    index.ntotal = COUNT


def trained(vectors: Vectors) -> tuple[Any, NDArray[np.int32]]:
    """Return lists trained on vectors, and in which each of them belongs."""
    index = train_lists(vectors, COUNT)
    quantizer = faiss.extract_index_ivf(index).quantizer
    return index, quantizer.search(rotated(index, vectors), 1)[1][:, 0].astype(np.int32)


def test_lists_are_tuned_for_the_texts_that_are_given() -> None:
    """Texts whose best hits are spread over many lists need more than those that lie in the midst of a few."""
    vectors = topical(COUNT, DIM)
    index, homes = trained(vectors)
    radii = radii_of(index, vectors, homes)

    def reach(texts: Vectors) -> float:
        tuning = Tuning(vectors, texts)
        tuning.look_at(vectors, homes)
        found = tuning.reach(index, radii)
        assert found.text >= found.near
        return found.text

    assert reach(vectors[:200]) < reach(random_vectors(200, DIM, 7))


def test_pictures_are_told_from_texts_by_their_nearest_centroid() -> None:
    """So a picture, which needs few lists, does not pay for texts."""
    vectors = topical(COUNT, DIM)
    vectors[:, 8:] = 0
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    texts = np.roll(vectors[:200], 8, axis=1) + 0.3 * vectors[200:400]  # what sets pictures apart is little of a text
    index, homes = trained(vectors)
    tuning = Tuning(vectors, texts)
    tuning.look_at(vectors, homes)
    reach = tuning.reach(index, radii_of(index, vectors, homes))
    centroids = faiss.extract_index_ivf(index).quantizer.reconstruct_n()
    assert (rotated(index, vectors[1000:1100]) @ centroids.T).max(axis=1).min() > reach.near_score
    assert (rotated(index, texts) @ centroids.T).max(axis=1).max() < reach.near_score


def test_the_error_bounds_what_the_codes_do_to_scores() -> None:
    """For other vectors and queries than those it was measured by, nearly always."""
    vectors, queries = topical(COUNT, DIM), random_vectors(50, DIM, 4)
    index = train_lists(vectors[::2], COUNT)
    error = Tuning(vectors[::2]).error(index)
    index.add(vectors)
    faiss.extract_index_ivf(index).nprobe = faiss.extract_index_ivf(index).nlist
    scores, numbers = index.search(QUERY_LENGTH * queries, COUNT)
    missing = np.take_along_axis(queries @ vectors.T, numbers, axis=1) - scores / QUERY_LENGTH
    assert 0.5 * error < np.quantile(missing, 0.98) <= error < 0.1


def test_a_small_sample_gives_as_many_lists_as_it_can() -> None:
    """No list is trained on nothing."""
    assert faiss.extract_index_ivf(train_lists(random_vectors(5, DIM), 1000)).nlist == 5
