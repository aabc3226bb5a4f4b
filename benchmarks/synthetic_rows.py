"""Rows of a catalog as those of a grown library: dates, cameras, formats, sizes and paths of every kind, from a seed.

A library of twenty years: half of its pictures are of the last five. Most come from a few cameras and phones, one in
five says nothing of its camera. A directory holds the pictures of one event, 200 on average.
"""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import sha256
from typing import Any

import numpy as np

COLUMNS = (
    "id, path, size, mtime_ns, sha256, read_at_ns, width, height, format, taken_at_s, date_source, camera,"
    " latitude, longitude, phash"
)
MARKS = ", ".join("?" * len(COLUMNS.split(",")))

FIRST_S, YEAR_S, YEARS = 1_104_537_600, 31_556_952, 20
"""The library begins in 2005."""

CAMERAS = tuple(f"{make} {model}" for model in range(5) for make in ("Canon EOS", "NIKON D", "Apple iPhone", "SONY A"))
FORMATS = (("jpeg", "jpg", 0.78), ("heif", "heic", 0.14), ("png", "png", 0.05), ("raw", "dng", 0.03))
SIZES = ((4032, 3024), (6000, 4000), (1920, 1080), (1080, 1080), (640, 480))
PLACES = ("home", "beach", "birthday", "hiking", "office", "wedding", "zoo", "city trip")
PER_EVENT = 200


def pictures(first: int, count: int) -> Iterator[tuple[Any, ...]]:
    """Yield the rows of `count` pictures, for the columns `COLUMNS`, with ids from `first` on."""
    random = np.random.default_rng(first)
    events = np.arange(first, first + count) // PER_EVENT
    # the year of an event is by its number alone, so that its pictures lie in one directory
    shares = np.array([np.random.default_rng(int(event)).random() for event in range(events[0], events[-1] + 1)])
    dates = FIRST_S + (YEARS * YEAR_S * np.sqrt(shares[events - events[0]])).astype(int)
    popularity = 1 / np.arange(1, len(CAMERAS) + 1)
    cameras = random.choice(len(CAMERAS), count, p=popularity / popularity.sum())
    formats = random.choice(len(FORMATS), count, p=[share for *_, share in FORMATS])
    sizes, coins = random.integers(len(SIZES), size=count), random.random((count, 4))
    for place, number in enumerate(range(first, first + count)):
        name, extension, _ = FORMATS[formats[place]]
        taken_s, event = int(dates[place]) + number % PER_EVENT * 60, int(events[place])
        month = (taken_s - FIRST_S) % YEAR_S * 12 // YEAR_S + 1
        where = b"/photos/%d/%02d %s %d" % (
            2005 + (taken_s - FIRST_S) // YEAR_S,
            month,
            PLACES[event % len(PLACES)].encode(),
            event,
        )
        path = b"%s/IMG_%08d.%s" % (where, number, extension.encode())
        digest = sha256(path).digest()
        width, height = SIZES[sizes[place]] if coins[place, 0] < 0.7 else SIZES[sizes[place]][::-1]
        is_dated, has_camera, has_place = coins[place, 1:] < (0.85, 0.8, 0.4)
        yield (
            number, path, number * 7919 % 5_000_000 + 100_000, taken_s * 10**9 + 10**17, digest, 0, width, height, name,
            taken_s if is_dated else None, "exif" if is_dated else "file",
            CAMERAS[cameras[place]] if has_camera else None,
            *((float(coins[place, 0]) * 180 - 90, float(coins[place, 1]) * 360 - 180) if has_place else (None, None)),
            digest[:8],
        )  # fmt: skip
