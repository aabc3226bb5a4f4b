"""Find groups of the same picture: files of equal content, and pictures that are copies but for scale or small edits.

Near duplicates are told by their grids (`copies`, docs/decisions/0021). Every picture of a group is compared with the
best one of it. Were A like B and B like C enough, A and C could be different pictures.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from image_index.catalog.filters import Filters
from image_index.catalog.pairs import DEVELOPED, RAW, raws_of_pairs
from image_index.catalog.reader import CatalogReader
from image_index.errors import UsageError
from image_index.records import ImageFacts
from image_index.search.copies import Copies

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

Kept = frozenset[tuple[int, int]]
"""Pairs of ids, in either order, of pictures that are not to be shown as duplicates."""

Clusters = dict[int, list[tuple[int, float]]]
"""The near duplicates of some contents and their cosines: {content: [(other content, cosine)]}, as positions."""


@dataclass(frozen=True, slots=True)
class DuplicateOptions:
    """How near two duplicates must be, beside their grids: the least cosine of their vectors, by default any.

    With `exact` only equal content counts. With `pairs` the RAW and the JPEG of one shot do too; see `catalog.pairs`.
    With `kept` so do pictures that the user wants to keep both. Raises `UsageError` for a cosine that there is not.
    """

    similarity: float = -1.0
    exact: bool = False
    pairs: bool = False
    kept: bool = False

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
    kept = kept_pairs(catalog, options)
    found = (on_disk(group, kept, is_there) for group in candidate_groups(catalog, filters, options))
    return sorted((group for group in found if group), key=place_of)


def place_of(group: Group) -> tuple[int, bytes]:
    """Return the place of a group among others: the largest first, then by the path of the best picture."""
    return -len(group), group[0].image.path


def kept_pairs(catalog: CatalogReader, options: DuplicateOptions) -> Kept:
    """Return the pairs that are not to be shown."""
    return frozenset() if options.kept else catalog.kept()


def candidate_groups(catalog: CatalogReader, filters: Filters, options: DuplicateOptions) -> Iterator[Group]:
    """Yield the groups among the pictures that `filters` choose, as the catalog has them; `on_disk` looks at the files.

    This is what takes long: it reads the grids of all pictures.
    """
    by_content: defaultdict[bytes, list[int]] = defaultdict(list)
    formats: dict[int, str] = {}
    for image_id, sha256, image_format in catalog.ranked(filters):
        by_content[sha256].append(image_id)
        formats[image_id] = image_format
    # Files of equal content are one node in the clustering, and `copies[node]` are their ids, best first.
    copies = list(by_content.values())
    # The JPEG of a shot stands for its RAW file too, which therefore is like nothing but what has the same content.
    raws = frozenset() if options.exact or options.pairs else _raws_of_pairs(catalog, formats)
    compared = {node: ids[0] for node, ids in enumerate(copies) if raws.isdisjoint(ids)}
    kept = kept_pairs(catalog, options)
    clusters = {} if options.exact else _clusters(catalog, compared, kept, options.similarity)
    return _members(catalog, copies, clusters)


def on_disk(group: Group, kept: Kept, is_there: Callable[[ImageFacts], bool]) -> Group:
    """Return a group, best first, without the pictures that are not there, names of one file, and what is kept.

    Where fewer than two are left it is empty.
    """
    there = tuple(member for member in group if is_there(member.image))
    if len(there) < 2:
        return ()
    real = tuple(sorted(_real_files(there), key=lambda member: _rank(member.image)))
    left = _without_kept(real, kept)
    return left if len(left) > 1 else ()


def _without_kept(group: Group, kept: Kept) -> Group:
    """Return a group without those pictures that are to be kept beside the best of it."""
    best = group[0].image.id
    return tuple(member for member in group if (best, member.image.id) not in kept)


def _members(catalog: CatalogReader, copies: Sequence[Sequence[int]], clusters: Clusters) -> Iterator[Group]:
    """Yield the groups: of each cluster, and of each content that several files have."""
    claimed = {member for cluster in clusters.values() for member, _ in cluster}
    groups = [
        [(image_id, 1.0, True) for image_id in ids]
        + [(image_id, cosine, False) for member, cosine in clusters.get(node, ()) for image_id in copies[member]]
        for node, ids in enumerate(copies)
        if node not in claimed and (len(ids) > 1 or node in clusters)
    ]
    facts = catalog.facts_of(image_id for group in groups for image_id, _, _ in group)
    for group in groups:
        yield tuple(Duplicate(facts[member[0]], *member[1:]) for member in group if member[0] in facts)


def _real_files(group: Group) -> Group:
    """Return the members of a group with one name for each file, if possible one without a link.

    A training leaves one row for each file, but files may have become one since (programs replace copies by links), and
    where files have no inode it cannot tell. Who deletes "the other one", as `dupes --omit-first` invites to, would
    delete the only file there is.
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


def _clusters(catalog: CatalogReader, images: dict[int, int], kept: Kept, similarity: float) -> Clusters:
    """Cluster near duplicates greedily: each centre takes all unclaimed pictures near it.

    `images` are the ids of pictures by node, best first; `similarity` is the least cosine of their vectors.
    """
    nodes, ids = list(images), list(images.values())
    near = Copies(catalog, ids)
    pairs = near.pairs()
    centres, starts = np.unique(pairs[:, 0], return_index=True)
    clusters: Clusters = {}
    unclaimed = np.ones(len(ids), np.bool_)
    for centre, found in zip(centres.tolist(), np.split(pairs[:, 1], starts[1:]), strict=False):
        if not unclaimed[centre]:
            continue
        others = np.union1d(found, near.all_of(centre, len(found)))
        others = others[unclaimed[others] & (others > centre)]
        others = np.array([other for other in others.tolist() if (ids[centre], ids[other]) not in kept], np.int64)
        cosines = _cosines(catalog, ids[centre], [ids[other] for other in others])
        members, cosines = others[cosines >= similarity], cosines[cosines >= similarity]
        if len(members):
            clusters[nodes[centre]] = [
                (nodes[at], cosine) for at, cosine in zip(members, cosines.tolist(), strict=True)
            ]
            unclaimed[members] = False
    return clusters


def _raws_of_pairs(catalog: CatalogReader, formats: dict[int, str]) -> frozenset[int]:
    """Return the ids of those RAW files whose shot is among the images as JPEG or HEIC too; `formats` are by id."""
    if RAW not in formats.values():
        return frozenset()
    shots = (image_id for image_id, image_format in formats.items() if image_format in (RAW, *DEVELOPED))
    return raws_of_pairs(catalog.facts_of(shots).values())


def _cosines(catalog: CatalogReader, one: int, others: Sequence[int]) -> NDArray[np.float32]:
    """Return the cosines of image `one` to `others`; NaN, which is near nothing, where one has no vector."""
    _, vector = catalog.vectors_of([one])
    found = np.full(len(others), np.nan, np.float32)
    for start in range(0, len(others) if len(vector) else 0, CHUNK):
        some = np.array(others[start : start + CHUNK])
        ids, vectors = catalog.vectors_of(some)
        if len(ids):
            # which of `some` have a vector: vectors come in their order
            there = slice(None) if len(ids) == len(some) else np.isin(some, ids)
            found[start : start + CHUNK][there] = vectors @ vector[0]
    return found
