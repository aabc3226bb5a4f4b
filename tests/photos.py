"""Real photos for the tests: the Caltech pictures beside the repository, else the sample photos."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

CALTECH = Path(__file__).parents[2] / "shared/photos/caltech101-mini"


def real_photos(request: pytest.FixtureRequest, count: int) -> list[Path]:
    """Return up to `count` photos without transparency or colour profile, spread over what there is."""
    directory = CALTECH if CALTECH.is_dir() else request.getfixturevalue("sample_photos")
    photos = sorted(path for path in directory.rglob("*") if path.suffix in {".jpg", ".png"} and _is_plain(path))
    return photos[:: max(1, len(photos) // count)][:count]


def _is_plain(path: Path) -> bool:
    with Image.open(path) as image:
        return image.mode in {"L", "RGB"} and "icc_profile" not in image.info
