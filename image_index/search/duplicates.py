"""Find groups of the same picture: files of equal content, and pictures that are copies but for scale or small edits.

Near duplicates are proposed by perceptual hashes and confirmed by vectors (docs/decisions/0013). Every picture of a
group is compared with the best one of it. Were A like B and B like C enough, A and C could be different pictures.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from image_index.catalog.filters import Filters
from image_index.catalog.pairs import raws_of_pairs
from image_index.catalog.reader import CatalogReader
from image_index.errors import UsageError
from image_index.records import ImageFacts

SIMILARITY = 0.80
"""The least cosine of the vectors of two near duplicates (docs/decisions/0013)."""

DISTANCE = 10
"""In how many of their 64 bits the perceptual hashes of two near duplicates may differ."""

HASH_BYTES = 8
"""The length of a perceptual hash; a blob of another length is damaged, and is not compared."""

CHUNK = 4096
"""How many vectors are read at a time."""


@dataclass(frozen=True, slots=True)
class Duplicate:
    """A member of a group: its cosine to the best picture of the group, and whether their content is equal."""

    image: ImageFacts
    similarity: float
    exact: bool


Group = tuple[Duplicate, ...]
"""Duplicates of one picture, best first: most pixels, then most bytes, then the oldest."""


@dataclass(frozen=True, slots=True)
class DuplicateOptions:
    """How near two duplicates must be: the least cosine, and the greatest distance of their hashes in bits.

    With `exact` only equal content counts. With `pairs` the RAW and the JPEG of one shot do too; see `catalog.pairs`.
    Raises `UsageError` for a cosine that there is not.
    """

    similarity: float = SIMILARITY
    distance: int = DISTANCE
    exact: bool = False
    pairs: bool = False

    def __post_init__(self) -> None:
        if not -1 <= self.similarity <= 1:
            raise UsageError(f"a cosine lies between -1 and 1, not at {self.similarity:g}")


def find_duplicates(
    catalog: CatalogReader,
    filters: Filters,
    options: DuplicateOptions | None = None,
    is_there: Callable[[ImageFacts], bool] = lambda _: True,
) -> list[Group]:
    """Return the groups of duplicates among the pictures that `filters` and `is_there` choose, the largest first."""
    options = options or DuplicateOptions()
    by_content: defaultdict[bytes, list[ImageFacts]] = defaultdict(list)
    chosen = catalog.facts_of(catalog.ids_matching(filters, other_names=False).tolist()).values()
    for image in chosen:
        by_content[image.sha256].append(image)
    # Files of equal content are one node in the clustering, and `copies[node]` are those files, best first.
    copies = [sorted(images, key=_rank) for images in by_content.values()]
    copies.sort(key=lambda images: _rank(images[0]))
    # The JPEG of a shot stands for its RAW file too, which therefore is like nothing but what has the same content.
    raws = frozenset() if options.pairs else raws_of_pairs(chosen)
    alone = {node for node, images in enumerate(copies) if raws and any(image.id in raws for image in images)}
    clusters = {} if options.exact else _cluster(catalog, [images[0] for images in copies], alone, options)
    members = {member for cluster in clusters.values() for member, _ in cluster}
    groups = (
        [(image, 1.0, True) for image in images]
        + [(image, cosine, False) for member, cosine in clusters.get(node, ()) for image in copies[member]]
        for node, images in enumerate(copies)
        if node not in members and (len(images) > 1 or node in clusters)
    )
    found = (tuple(Duplicate(*member) for member in group if is_there(member[0])) for group in groups)
    real = (_real_files(group) for group in found if len(group) > 1)
    ordered = (tuple(sorted(group, key=lambda member: _rank(member.image))) for group in real if len(group) > 1)
    return sorted(ordered, key=lambda group: (-len(group), group[0].image.path))


def _real_files(group: Group) -> Group:
    """Return the members of a group with one name for each file, if possible one without a link.

    Names of one file share its device and inode: links that a training followed, hard links, mounts of the same disk.
    They are no copies: who deletes "the other one", as `dupes --omit-first` invites to, deletes the only file there is.
    """
    files: dict[object, Duplicate] = {}
    for member in group:
        identity = _identity(member.image)
        if identity not in files or (_is_link(files[identity].image) and not _is_link(member.image)):
            files[identity] = member
    return tuple(files.values())


def _is_link(image: ImageFacts) -> bool:
    """Tell whether a symbolic link is on the way to a picture's file."""
    return os.path.realpath(image.path) != image.path


def _identity(image: ImageFacts) -> object:
    """Return what tells a file from all others; where the system does not say, its path with links resolved."""
    try:
        status = os.stat(image.path)
    except OSError:
        return image.id
    return (status.st_dev, status.st_ino) if status.st_ino else os.path.realpath(image.path)


def _rank(image: ImageFacts) -> tuple[int, int, int, bytes]:
    """Return the sort key that puts the best picture first."""
    return -image.picture.width * image.picture.height, -image.size, image.date_s, image.path


def _cluster(
    catalog: CatalogReader, images: Sequence[ImageFacts], alone: Container[int], options: DuplicateOptions
) -> dict[int, list[tuple[int, float]]]:
    """Cluster near duplicates greedily, the best picture first: each centre takes all unclaimed pictures near it.

    `images` differ in content and are sorted best first; those at the positions `alone` are not compared. A picture is
    near a centre if it is within both thresholds. Returns {centre: [(member, cosine)]}, as positions in `images`; a
    picture without neighbours is in no cluster.
    """
    hashed = [
        position
        for position, image in enumerate(images)
        if position not in alone and len(image.picture.phash or b"") == HASH_BYTES
    ]
    hashes = _Hashes(images, hashed, options.distance)
    candidates = hashes.candidates()
    vectors = _Vectors(catalog, [images[position].id for position in candidates])
    clusters: dict[int, list[tuple[int, float]]] = {}
    unclaimed = np.ones(len(images), np.bool_)
    for centre, neighbours in hashes.neighbours(candidates, unclaimed):
        others = neighbours[unclaimed[neighbours] & (neighbours > centre)]
        if not len(others):
            continue
        cosines = vectors.cosines(images[centre].id, [images[other].id for other in others])
        near = cosines >= options.similarity
        if near.any():
            clusters[centre] = list(zip(others[near].tolist(), cosines[near].tolist(), strict=True))
            unclaimed[others[near]] = False
    return clusters


class _Hashes:
    """Pictures grouped by their perceptual hash, and the neighbours of each hash.

    Only distinct hashes are compared, and pairs are never collected. Ten thousand blank pages have one hash between
    them, or some that differ by a bit: as pairs of pictures they would be 50 million.
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
        """Return the positions of the pictures whose hash is near that of any other picture, in ascending order."""
        from image_index.vectors.hashes import near_pairs

        has_near = self._counts > 1
        for pair in near_pairs(self._hashes, self._distance):
            for side in pair:
                has_near[side] = True
        return self._positions[has_near[self._group_of[self._positions]]]

    def neighbours(
        self, positions: NDArray[np.int64], unclaimed: NDArray[np.bool_]
    ) -> Iterator[tuple[int, NDArray[np.int64]]]:
        """Yield each of `positions` that is `unclaimed` when its turn comes, with the positions of its neighbours.

        The caller changes `unclaimed` between two of them: what it claims is not yielded any more.
        """
        from image_index.vectors.hashes import HashIndex

        index = HashIndex(self._hashes, self._distance)
        for start in range(0, len(positions), index.block):
            block = positions[start : start + index.block]
            block = block[unclaimed[block]]
            # Each distinct hash of the block is searched for once, however many pictures have it.
            groups, places = np.unique(self._group_of[block], return_inverse=True)
            limits, found = index.near(groups)
            for position, place in zip(block.tolist(), places.tolist(), strict=True):
                if unclaimed[position]:
                    yield position, self._members(found[limits[place] : limits[place + 1]])

    def _members(self, groups: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the positions of the pictures that have any of these hashes.

        The pictures of hash g stand in `_by_group` from `_starts[g]` on, `_counts[g]` of them: these ranges are joined
        without a loop, as this is done for each picture that is yielded.
        """
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
        """Return the cosines of image `one` to `others`; -1 where a vector has been dropped in the meantime."""
        rows = [self._rows.get(other, -1) for other in others]
        if one not in self._rows:
            return np.full(len(rows), -1, np.float32)
        found = self._vectors[rows].astype(np.float32) @ self._vectors[self._rows[one]].astype(np.float32)
        return np.where(np.array(rows) < 0, np.float32(-1), found)
