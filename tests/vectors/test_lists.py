"""How inverted lists are laid out and tuned, against exact search in numpy."""

from __future__ import annotations

from typing import Any

import faiss
import numpy as np
import pytest
from numpy.typing import NDArray

from image_index.records import Vectors
from image_index.vectors import lists
from image_index.vectors.derived_file import Contents
from image_index.vectors.lists import QUERY_LENGTH, Tuning, fill_lists, list_count, rotated, sample_of, train_lists
from image_index.vectors.open_index import FaissIndex
from tests.support.faiss_examples import STAMP, chunks, random_vectors

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
    index.add(vectors)
    tuning = Tuning(vectors)
    for numbers, part in chunks(np.arange(COUNT), vectors, 1000):
        tuning.look_at(part, homes[numbers])
    reach = tuning.reach(index)
    ivf: Any = faiss.extract_index_ivf(index)
    ivf.nprobe = reach.nprobe
    assert 1 <= reach.near_nprobe <= reach.nprobe <= ivf.nlist // 4
    contents = Contents(STAMP, COUNT, gap=reach.gap, near_nprobe=reach.near_nprobe, near_score=reach.near_score)
    for queries in (topical(200, DIM) + 0.02, random_vectors(200, DIM, 9)):
        best = np.argsort(-(queries @ vectors.T), axis=1)[:, :10]
        # 600 are enough for the codes' errors; a search compares them exactly
        found = [FaissIndex(contents, index).search(query, 600)[1] for query in queries]
        recalls = [len(set(a) & set(b.tolist())) / 10 for a, b in zip(best.tolist(), found, strict=True)]
        assert np.mean(recalls) >= 0.99


def test_a_text_visits_the_lists_that_are_about_as_near_as_the_best() -> None:
    """Never more than `nprobe`, and not fewer than a picture does, which has `near_nprobe`."""
    index, _ = trained(topical(COUNT, DIM))
    lists: Any = faiss.extract_index_ivf(index)
    lists.nprobe = 40
    fill_lists(lists, np.arange(COUNT), rotated(index, topical(COUNT, DIM)))
    index.ntotal = COUNT

    def visited(gap: float, near_score: float = 2.0) -> int:
        contents = Contents(STAMP, COUNT, gap=gap, near_nprobe=5, near_score=near_score)
        counters: Any = faiss.cvar
        stats = counters.indexIVF_stats
        stats.reset()
        FaissIndex(contents, index).search(random_vectors(1, DIM, 9)[0], 1)
        return int(stats.nlist)

    counts = [visited(gap) for gap in (0.0, 0.1, 0.2, 2.0)]
    assert counts == sorted(counts)
    assert (counts[0], counts[-1]) == (5, 40)
    assert 5 < counts[1] < 40
    assert visited(2.0, near_score=0.0) == 5


def trained(vectors: Vectors) -> tuple[Any, NDArray[np.int32]]:
    """Return lists trained on vectors, and in which each of them belongs."""
    index = train_lists(vectors, COUNT)
    quantizer = faiss.extract_index_ivf(index).quantizer
    return index, quantizer.search(rotated(index, vectors), 1)[1][:, 0].astype(np.int32)


def test_lists_are_tuned_for_the_texts_that_are_given(monkeypatch: pytest.MonkeyPatch) -> None:
    """Texts that lie in the midst of a few lists need few, those that lie between all need many."""
    monkeypatch.setattr("image_index.vectors.lists.NEAR_RECALL", 0.0)  # what pictures need would hide the difference
    vectors = topical(COUNT, DIM)
    index, homes = trained(vectors)

    def probes(texts: Vectors) -> int:
        tuning = Tuning(vectors, texts)
        tuning.look_at(vectors, homes)
        return tuning.reach(index).nprobe

    assert probes(vectors[:200]) < probes(random_vectors(200, DIM, 7))


def test_pictures_are_told_from_texts_by_their_nearest_centroid() -> None:
    """So a picture, which needs few lists, does not pay for texts."""
    vectors = topical(COUNT, DIM)
    vectors[:, 8:] = 0
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    texts = np.roll(vectors[:200], 8, axis=1) + 0.3 * vectors[200:400]  # what sets pictures apart is little of a text
    index, homes = trained(vectors)
    tuning = Tuning(vectors, texts)
    tuning.look_at(vectors, homes)
    reach = tuning.reach(index)
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
