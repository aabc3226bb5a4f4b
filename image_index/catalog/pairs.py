"""Pairs: the RAW file of a shot, and the JPEG or HEIC that the camera wrote beside it.

Both lie in one directory, under names that differ in the extension alone (`DSC001.NEF`, `DSC001.JPG`), and were taken
at the same time, or neither says when: the modification time of a file does not count, for it is no time of a shot.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterable

from image_index.catalog.reader import CatalogReader
from image_index.records import DateSource, ImageFacts

RAW = "raw"

DEVELOPED = ("jpeg", "mpo", "heif")
"""The formats that cameras write beside RAW, the best known first."""

QUARTER_S, DAY_S = 900, 86_400
"""All offsets from UTC are whole quarters of an hour, and less than a day."""


def holds_any_raw(catalog: CatalogReader) -> bool:
    """Tell whether there is any RAW file, without which there are no pairs."""
    return catalog.one("SELECT 1 FROM images WHERE format = ? LIMIT 1", (RAW,)) is not None


def pair_of(catalog: CatalogReader, image: ImageFacts) -> ImageFacts | None:
    """Return the other file of a shot: for RAW the developed one, for JPEG and HEIC the RAW; None if there is none."""
    others = DEVELOPED if is_raw(image) else (RAW,) if image.picture.format in DEVELOPED else ()
    if not others:
        return None
    stem = _stem(image.path)
    beside = (other for other in catalog.facts_beside(stem, others) if not other.missing)
    pairs = [other for other in beside if _stem(other.path) == stem and _same_time(image, other)]
    return min(pairs, key=lambda other: (others.index(other.picture.format), other.path), default=None)


def raws_of_pairs(images: Iterable[ImageFacts]) -> frozenset[int]:
    """Return the ids of those RAW files whose shot is among `images` as JPEG or HEIC too."""
    images = list(images)
    raws: defaultdict[bytes, list[ImageFacts]] = defaultdict(list)
    for image in filter(is_raw, images):
        raws[_stem(image.path)].append(image)
    if not raws:
        return frozenset()
    developed = (image for image in images if image.picture.format in DEVELOPED)
    return frozenset(raw.id for image in developed for raw in raws.get(_stem(image.path), ()) if _same_time(raw, image))


def is_raw(image: ImageFacts) -> bool:
    """Tell whether a picture is a camera's RAW file."""
    return image.picture.format == RAW


def _stem(path: bytes) -> bytes:
    """Return a path without its extension."""
    return os.path.splitext(path)[0]


def _same_time(one: ImageFacts, other: ImageFacts) -> bool:
    """Tell whether two pictures were taken in the same second, or neither says when.

    LibRaw gives the time of a CR3 without its offset from UTC, so that it is taken for one of this machine's zone. The
    JPEG beside it may state the offset, and then the two differ by the hours between the zones.
    """
    here, there = one.picture.taken_at_s, other.picture.taken_at_s
    if here is None or there is None or DateSource.RAW not in {one.picture.date_source, other.picture.date_source}:
        return here == there
    return abs(here - there) < DAY_S and (here - there) % QUARTER_S == 0
