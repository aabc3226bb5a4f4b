"""Which pictures are the same one: by content, or so near that one is made of the other.

Near ones are proposed by their perceptual hashes and confirmed by their vectors. Every picture of a group is confirmed
against the best of it, so that no chain leads from one picture to quite another.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from image_index.catalog.filters import Filters
from image_index.catalog.reader import CatalogReader
from image_index.records import ImageFacts

SIMILARITY = 0.80
"""The least cosine of the vectors of two pictures that are the same (docs/decisions/0013)."""

DISTANCE = 10
"""In how many of their 64 bits the hashes of two such pictures may differ at most."""

HASH_BYTES = 8
"""The length of a hash; what has another was never one."""

CHUNK = 4096
"""How many vectors are read at a time."""


@dataclass(frozen=True, slots=True)
class Duplicate:
    """A picture of a group: the cosine of its vector with that of the best one, and whether its content is equal."""

    image: ImageFacts
    similarity: float
    exact: bool


Group = tuple[Duplicate, ...]
"""The same picture several times, best first: most pixels, then most bytes, then the oldest."""


@dataclass(frozen=True, slots=True)
class DuplicateOptions:
    """How near pictures have to be: in bits of the hashes and the cosine of the vectors, or `exact` alone."""

    similarity: float = SIMILARITY
    distance: int = DISTANCE
    exact: bool = False


def find_duplicates(
    catalog: CatalogReader,
    filters: Filters,
    options: DuplicateOptions | None = None,
    is_there: Callable[[ImageFacts], bool] = lambda _: True,
) -> list[Group]:
    """Return the groups of two and more of the pictures that `filters` mean and that are there, the largest first."""
    options = options or DuplicateOptions()
    by_content: defaultdict[bytes, list[ImageFacts]] = defaultdict(list)
    for image in catalog.facts_of(catalog.ids_matching(filters).tolist()).values():
        by_content[image.sha256].append(image)
    copies = [sorted(images, key=_worth) for images in by_content.values()]
    copies.sort(key=lambda images: _worth(images[0]))
    stars = {} if options.exact else _near(catalog, [images[0] for images in copies], options)
    members = {other for near in stars.values() for other, _ in near}
    groups = (
        [(image, 1.0, True) for image in images]
        + [(image, cosine, False) for other, cosine in stars.get(best, ()) for image in copies[other]]
        for best, images in enumerate(copies)
        if best not in members and (len(images) > 1 or best in stars)
    )
    found = (tuple(Duplicate(*member) for member in group if is_there(member[0])) for group in groups)
    ordered = (tuple(sorted(group, key=lambda member: _worth(member.image))) for group in found if len(group) > 1)
    return sorted(ordered, key=lambda group: (-len(group), group[0].image.path))


def _worth(image: ImageFacts) -> tuple[int, int, int, bytes]:
    """Return what pictures are sorted by, the best first."""
    return -image.picture.width * image.picture.height, -image.size, image.date_s, image.path


def _near(
    catalog: CatalogReader, images: Sequence[ImageFacts], options: DuplicateOptions
) -> dict[int, list[tuple[int, float]]]:
    """Return by position, for the best of each group of near pictures, the others with their cosines.

    `images` are of different content, best first; whoever comes first takes all that are near enough and still free.
    """
    hashed = [position for position, image in enumerate(images) if len(image.picture.phash or b"") == HASH_BYTES]
    hashes = _Hashes(images, hashed, options.distance)
    candidates = hashes.candidates()
    vectors = _Vectors(catalog, [images[position].id for position in candidates])
    stars: dict[int, list[tuple[int, float]]] = {}
    free = np.ones(len(images), np.bool_)
    for best, near_best in hashes.neighbours(candidates, free):
        others = near_best[free[near_best] & (near_best > best)]
        if not len(others):
            continue
        cosines = vectors.cosines(images[best].id, [images[other].id for other in others])
        near = cosines >= options.similarity
        if near.any():
            stars[best] = list(zip(others[near].tolist(), cosines[near].tolist(), strict=True))
            free[others[near]] = False
    return stars


class _Hashes:
    """The pictures by their hashes, and which hashes are near each other.

    Pairs are never kept: of thousands of blank pages nearly every two are one.
    """

    def __init__(self, images: Sequence[ImageFacts], positions: Sequence[int], distance: int) -> None:
        raw = np.frombuffer(b"".join(images[position].picture.phash or b"" for position in positions), np.uint8)
        self._hashes, groups = np.unique(raw.reshape(-1, HASH_BYTES), axis=0, return_inverse=True)
        self._positions, self._distance = np.array(positions, np.int64), distance
        self._group_of = np.full(len(images), -1, np.int64)
        self._group_of[self._positions] = groups
        self._by_group = self._positions[np.argsort(groups, kind="stable")]
        self._counts = np.bincount(groups, minlength=len(self._hashes))
        self._starts = np.cumsum(self._counts) - self._counts

    def candidates(self) -> NDArray[np.int64]:
        """Return the positions of the pictures that are near any other, in ascending order."""
        from image_index.vectors.hashes import near_pairs

        has_near = self._counts > 1
        for pair in near_pairs(self._hashes, self._distance):
            for side in pair:
                has_near[side] = True
        return self._positions[has_near[self._group_of[self._positions]]]

    def neighbours(
        self, positions: NDArray[np.int64], free: NDArray[np.bool_]
    ) -> Iterator[tuple[int, NDArray[np.int64]]]:
        """Yield those of `positions` that are still `free` when their turn comes, and the positions near each."""
        from image_index.vectors.hashes import HashIndex

        index = HashIndex(self._hashes, self._distance)
        for start in range(0, len(positions), index.block):
            block = positions[start : start + index.block]
            block = block[free[block]]
            groups, places = np.unique(self._group_of[block], return_inverse=True)
            limits, found = index.near(groups)
            for position, place in zip(block.tolist(), places.tolist(), strict=True):
                if free[position]:
                    yield position, self._members(found[limits[place] : limits[place + 1]])

    def _members(self, groups: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the positions of the pictures that have any of these hashes."""
        counts = self._counts[groups]
        steps = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
        members: NDArray[np.int64] = self._by_group[np.repeat(self._starts[groups], counts) + steps]
        return members


class _Vectors:
    """The vectors of the pictures that are compared, as float16, so that a million take a gigabyte."""

    def __init__(self, catalog: CatalogReader, ids: Sequence[int]) -> None:
        parts = [catalog.vectors_of(ids[start : start + CHUNK]) for start in range(0, len(ids), CHUNK)]
        self._rows = (
            {int(image_id): row for row, image_id in enumerate(np.concatenate([p[0] for p in parts]))} if parts else {}
        )
        self._vectors = (
            np.concatenate([p[1].astype(np.float16) for p in parts]) if parts else np.empty((0, 0), np.float16)
        )

    def cosines(self, one: int, others: Iterable[int]) -> NDArray[np.float32]:
        """Return the cosines of the vector of image `one` with those of `others`; -1 for what is gone meanwhile."""
        rows = [self._rows.get(other, -1) for other in others]
        if one not in self._rows:
            return np.full(len(rows), -1, np.float32)
        found = self._vectors[rows].astype(np.float32) @ self._vectors[self._rows[one]].astype(np.float32)
        return np.where(np.array(rows) < 0, np.float32(-1), found)
