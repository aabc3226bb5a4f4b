"""Perceptual hashes, against the library imagehash."""

from __future__ import annotations

import warnings
from pathlib import Path

import imagehash
import numpy as np
from PIL import Image

from image_index.pictures.phash import SIDE, perceptual_hash
from tests.support.photos import real_photos


def expected(grey: Image.Image) -> bytes:
    """Return the hash that imagehash gives a picture of 32 x 32, which it then does not scale."""
    with warnings.catch_warnings(action="ignore"):
        return np.packbits(imagehash.phash(grey).hash).tobytes()


def test_hashes_are_those_of_imagehash(sample_photos: Path) -> None:
    """Bit for bit, for photos and noise."""
    random = np.random.default_rng(1)
    pictures = [Image.open(path).convert("L").resize((SIDE, SIDE)) for path in real_photos(sample_photos, 100)]
    pictures += [Image.fromarray(random.integers(0, 256, (SIDE, SIDE), dtype=np.uint8)) for _ in range(100)]
    assert len(pictures) > 100
    for picture in pictures:
        assert perceptual_hash(np.asarray(picture)) == expected(picture)


def test_a_flat_picture_has_a_hash_too() -> None:
    """The same for all of them: only the mean, the lowest frequency, is above the median, unless that is 0 as well."""
    flat = [perceptual_hash(np.full((SIDE, SIDE), level, np.uint8)) for level in (0, 1, 127, 255)]
    assert flat == [bytes(8)] + 3 * [b"\x80" + bytes(7)]
