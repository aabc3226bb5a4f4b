"""Fetch sample photos: the pictures of scikit-image's data directory, out of one pinned wheel.

    python tools/sample_photos.py DIRECTORY

The wheel is downloaded by pip from whatever index pip is set up for; nothing of it is installed.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path, PurePosixPath

WHEEL = "scikit-image==0.25.2"
SUFFIXES = {".png", ".jpg", ".jpeg", ".gif", ".tif"}
PLATFORM = ("--python-version", "3.11", "--platform", "manylinux2014_x86_64", "--only-binary", ":all:")
"""Any one wheel will do for its pictures, and the same one everywhere; the code in it is not run."""

TEST_PATTERNS = ("multipage", "no_time", "chessboard")
"""Files of scikit-image's own tests that show nothing."""


def fetch_samples(directory: Path) -> list[Path]:
    """Put the sample photos into `directory`, which appears whole or not at all; return them in order."""
    with tempfile.TemporaryDirectory(dir=directory.parent) as scratch:
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
        subprocess.run([*pip, *PLATFORM, "--dest", scratch, WHEEL], check=True)
        wheel = next(Path(scratch).glob("*.whl"))
        draft = Path(scratch) / "photos"
        draft.mkdir()
        with zipfile.ZipFile(wheel) as archive:
            for name in map(PurePosixPath, archive.namelist()):
                if name.parent == PurePosixPath("skimage/data") and is_photo(name):
                    (draft / name.name).write_bytes(archive.read(str(name)))
        draft.rename(directory)
    return sorted(directory.iterdir())


def is_photo(name: PurePosixPath) -> bool:
    """Tell the photos from the files of scikit-image's own tests."""
    return name.suffix in SUFFIXES and not name.name.startswith(TEST_PATTERNS)


def main() -> None:
    """Fetch into the directory named on the command line, unless it is there."""
    directory = Path(sys.argv[1])
    directory.parent.mkdir(parents=True, exist_ok=True)
    photos = sorted(directory.iterdir()) if directory.exists() else fetch_samples(directory)
    print(f"{len(photos)} sample photos in {directory}")


if __name__ == "__main__":
    main()
