"""How inverted lists are laid out and tuned, against exact search in numpy."""

from __future__ import annotations

import numpy as np
import pytest

from image_index.records import Vectors
from image_index.vectors import lists
from image_index.vectors.lists import Tuning, list_count, sample_of, train_lists
from tests.support.faiss_examples import chunks, random_vectors

COUNT, DIM = 6000, 16


def topical(count: int, dim: int, topics: int = 40) -> Vectors:
    """Return unit vectors around some directions."""
    random = np.random.default_rng(1)
    vectors = random_vectors(topics, dim)[random.integers(topics, size=count)] + 0.1 * random_vectors(count, dim, 2)
    unit: Vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    return unit


@pytest.mark.parametrize("train", [True, False])
def test_a_sample_is_a_random_part_of_the_vectors(train: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each at most once, from everywhere, as many as are needed and no more."""
    monkeypatch.setattr(lists, "SAMPLE_PER_LIST", 2)
    monkeypatch.setattr(lists, "TUNING_SAMPLE", 200)
    numbers = np.arange(COUNT, dtype=np.float32)[:, np.newaxis]
    sample = sample_of(chunks(np.arange(COUNT), numbers, 999), COUNT, train=train)[:, 0]
    assert len(set(sample.tolist())) == len(sample) == (2 * list_count(COUNT) if train else 200)
    assert sample.tolist() == sorted(sample.tolist())
    assert 0.4 < np.mean(sample) / COUNT < 0.6


def test_the_number_of_lists_grows_with_the_root_of_the_count_and_is_bounded() -> None:
    """Four times as many vectors, twice as many lists."""
    assert list_count(0) == 1
    assert list_count(40_000) == 2 * list_count(10_000)
    assert list_count(10**7) == list_count(10**9) == lists.MAX_LISTS


def test_tuned_lists_find_what_an_exact_search_finds() -> None:
    """For queries that the tuning has not seen: near pictures, and anywhere."""
    vectors = topical(COUNT, DIM)
    index = train_lists(vectors, COUNT)
    index.add(vectors)
    tuning = Tuning(vectors)
    for ids, part in chunks(np.arange(COUNT), vectors, 1000):
        tuning.look_at(ids, part)
    homes = index.quantizer.search(vectors, 1)[1][:, 0].astype(np.int32)
    index.nprobe = tuning.nprobe(index, np.arange(COUNT), homes)
    assert 1 <= index.nprobe <= index.nlist // 4
    for queries in (topical(200, DIM) + 0.02, random_vectors(200, DIM, 9)):
        best = np.argsort(-(queries @ vectors.T), axis=1)[:, :10]
        found = index.search(queries, 100)[1]  # enough for the quantiser's errors; a search compares them exactly
        assert np.mean([len(set(a) & set(b)) / 10 for a, b in zip(best.tolist(), found.tolist(), strict=True)]) >= 0.99


def test_lists_are_tuned_for_the_texts_that_are_given() -> None:
    """Texts that lie in the midst of a few lists need few, those that lie between all need many."""
    vectors = topical(COUNT, DIM)
    index = train_lists(vectors, COUNT)
    homes = index.quantizer.search(vectors, 1)[1][:, 0].astype(np.int32)

    def probes(texts: Vectors) -> int:
        tuning = Tuning(vectors, texts)
        tuning.look_at(np.arange(COUNT), vectors)
        return tuning.nprobe(index, np.arange(COUNT), homes)

    assert probes(vectors[:200]) < probes(random_vectors(200, DIM, 7))


def test_the_error_bounds_what_the_quantiser_does_to_scores() -> None:
    """For other vectors and queries than those it was measured by."""
    vectors = topical(COUNT, DIM)
    index = train_lists(vectors[::2], COUNT)
    error = Tuning(vectors[::2]).error(index)
    rounded = index.sq.decode(index.sq.compute_codes(vectors))
    assert np.abs(random_vectors(50, DIM, 4) @ (rounded - vectors).T).max() <= error < 0.02


def test_a_small_sample_gives_as_many_lists_as_it_can() -> None:
    """No list is trained on nothing."""
    assert train_lists(random_vectors(5, DIM), 1000).nlist == 5
