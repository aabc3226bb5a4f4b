"""Where the photos of the tests are, and those of them that every oracle reads as we do."""

from __future__ import annotations

import os
from pathlib import Path

from PIL import Image

REPOSITORY = Path(__file__).parents[2]
SAMPLE_PHOTOS = REPOSITORY / os.environ.get("SAMPLE_PHOTOS", ".demo/photos")
"""Where `make` puts the sample photos."""

CALTECH = Path(os.environ["CALTECH"]).resolve() if "CALTECH" in os.environ else None
"""The 1010 photos that the documents speak of, for tests marked `examples`; `make examples PHOTOS=DIR` says where."""

CATEGORIES = 101
"""Caltech-101 has a directory for each."""


def real_photos(directory: Path, count: int) -> list[Path]:
    """Return up to `count` photos without transparency or colour profile, spread over those of `directory`."""
    photos = sorted(path for path in directory.iterdir() if path.suffix in {".jpg", ".png"} and _is_plain(path))
    return photos[:: max(1, len(photos) // count)][:count]


def _is_plain(path: Path) -> bool:
    with Image.open(path) as image:
        return image.mode in {"L", "RGB"} and "icc_profile" not in image.info
