"""Fixtures that several test modules share."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import settings

# what a test finds must not depend on how busy the machine is
settings.register_profile("imgidx", deadline=None)
settings.load_profile("imgidx")

# a shell's background jobs, and nohup, ignore these, and so would every process started here
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)

REPOSITORY = Path(__file__).parents[1]


@pytest.fixture(scope="session")
def sample_photos() -> Path:
    """Return the directory of sample photos; `make` has fetched them, else this does."""
    directory = REPOSITORY / os.environ.get("SAMPLE_PHOTOS", ".demo/photos")
    if not directory.exists():
        subprocess.run([sys.executable, REPOSITORY / "tools/sample_photos.py", directory], check=True)
    return directory
