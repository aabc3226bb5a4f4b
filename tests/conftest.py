"""Fixtures that several test modules share."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[1]


@pytest.fixture(scope="session")
def sample_photos() -> Path:
    """Return the directory of sample photos; `make` has fetched them, else this does."""
    directory = REPOSITORY / os.environ.get("SAMPLE_PHOTOS", ".demo/photos")
    if not directory.exists():
        subprocess.run([sys.executable, REPOSITORY / "tools/sample_photos.py", directory], check=True)
    return directory
