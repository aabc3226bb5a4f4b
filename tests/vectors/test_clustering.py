"""K-means in two levels, against all centroids at once."""

from __future__ import annotations

import numpy as np
import pytest

from image_index.records import Vectors
from image_index.vectors import clustering
from image_index.vectors.clustering import NearestCentroid, spherical_k_means, unit
from tests.support.faiss_examples import random_vectors


def topical(count: int, dim: int = 24, topics: int = 300) -> Vectors:
    """Return unit vectors around some directions."""
    random = np.random.default_rng(1)
    return unit(random_vectors(topics, dim)[random.integers(topics, size=count)] + 0.4 * random_vectors(count, dim, 2))


def test_nearly_every_vector_finds_its_nearest_centroid(monkeypatch: pytest.MonkeyPatch) -> None:
    """In several blocks; and every single one where it is compared with all groups."""
    monkeypatch.setattr(clustering, "BLOCK", 500)
    vectors, centroids = topical(1700), topical(1700)[:300]
    scores = vectors @ centroids.T
    found, found_scores = NearestCentroid(centroids)(vectors)
    np.testing.assert_allclose(found_scores, scores[np.arange(1700), found], atol=1e-6)
    assert np.mean(found == scores.argmax(axis=1)) > 0.85
    assert np.mean(scores.max(axis=1) - scores[np.arange(1700), found]) < 0.01
    monkeypatch.setattr(clustering, "NEAREST_GROUPS", 100)
    np.testing.assert_array_equal(NearestCentroid(centroids)(vectors)[0], scores.argmax(axis=1))


def test_centroids_are_as_near_as_those_of_k_means_by_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """They have unit length, and what looks into some groups loses next to nothing."""
    vectors = topical(6000)

    def likeness() -> float:
        centroids = spherical_k_means(vectors.astype(np.float16), 200)
        np.testing.assert_allclose(np.linalg.norm(centroids, axis=1), 1, atol=1e-5)
        return float((vectors @ centroids.T).max(axis=1).mean())

    in_some = likeness()
    monkeypatch.setattr(clustering, "NEAREST_GROUPS", 100)
    in_all = likeness()
    untrained = float((vectors @ vectors[:200].T).max(axis=1).mean())
    assert in_all - in_some < 0.05 * (in_all - untrained)


def test_fewer_different_vectors_than_centroids_are_no_special_case() -> None:
    """Centroids that nothing is near to are taken from the sample again."""
    vectors = np.tile(random_vectors(3, 8), (20, 1))
    assert spherical_k_means(vectors, 10).shape == (10, 8)
