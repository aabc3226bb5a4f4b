"""A library of any size with an index of it, made in seconds: empty files, and catalog rows as if they were pictures.

The layout is that of a camera's library: a directory a month with a thousand long names each.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from itertools import islice
from pathlib import Path

import numpy as np

from image_index.catalog.catalog import Catalog
from image_index.paths import resolve
from image_index.records import EmbeddedBatch, EmbeddedImage, ImageFile, ModelFacts, PictureFacts, Preprocess
from image_index.settings import IndexHome

FILES_PER_DIRECTORY = 1000
LONG_AGO_NS = 10**18
NOWHERE = "hf-hub:nobody/nothing"


@dataclass(frozen=True, slots=True)
class LargeLibrary:
    """A directory of files and the home of an index that knows them all."""

    photos: Path
    home: IndexHome


def make_library(where: Path, count: int, dim: int, *, bound: bool = True) -> LargeLibrary:
    """Write `count` files below `where`, and an index of them with random unit vectors of `dim` dimensions.

    It is `bound` to a model that is not on this machine, or else takes the first that it is trained with.
    """
    library = LargeLibrary(where / "photos", IndexHome(where / "index"))
    library.home.create()
    facts = ModelFacts(NOWHERE, "0" * 64, "{}", Preprocess((8, 8), (0, 0, 0), (1, 1, 1)), dim)
    files = _write_files(library.photos, count)
    with Catalog(library.home.catalog, write=True) as catalog:
        if bound:
            catalog.set_model(facts)
        while chunk := list(islice(files, 10_000)):
            catalog.record(random_batch(chunk, dim))
        catalog.note_scan(resolve(library.photos), None)
    return library


def random_batch(files: list[ImageFile], dim: int) -> EmbeddedBatch:
    """Return what children would make of `files`, with random unit vectors."""
    vectors = np.random.default_rng(len(files[0].path)).normal(size=(len(files), dim)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    images = (
        EmbeddedImage(file, sha256(file.path).digest(), 2 * LONG_AGO_NS, PictureFacts(640, 480, "JPEG"))
        for file in files
    )
    return EmbeddedBatch(tuple(images), vectors)


def bare_walk(directory: Path) -> int:
    """Look at every file below `directory` with no more than `os.scandir` and `stat`; return how many there are."""
    count, left = 0, [os.fsencode(directory)]
    while left:
        with os.scandir(left.pop()) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    left.append(entry.path)
                else:
                    entry.stat(follow_symlinks=False)
                    count += 1
    return count


def _write_files(photos: Path, count: int) -> Iterator[ImageFile]:
    """Write the files and yield them; each has a time of its own, long ago."""
    for number in range(count):
        month, place = divmod(number, FILES_PER_DIRECTORY)
        directory = photos / f"{1990 + month // 12}" / f"{month % 12 + 1:02d} a place with a long name"
        if place == 0:
            directory.mkdir(parents=True)
        path = resolve(directory) + b"/IMG_%08d_%06d family and friends.jpg" % (number, number * 7919 % 1_000_000)
        os.close(os.open(path, os.O_CREAT | os.O_WRONLY))
        os.utime(path, ns=(LONG_AGO_NS + number, LONG_AGO_NS + number))
        yield ImageFile(path, 0, LONG_AGO_NS + number)
