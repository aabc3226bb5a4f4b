"""Fixtures that several test modules share."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import settings

from tests.support.photos import CALTECH, CATEGORIES, REPOSITORY, SAMPLE_PHOTOS

# what a test finds must not depend on how busy the machine is
settings.register_profile("imgidx", deadline=None)
settings.load_profile("imgidx")

# a shell's background jobs, and nohup, ignore these, and so would every process started here
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)


def pytest_configure() -> None:
    """Refuse a directory that is not Caltech-101, before anything runs."""
    if CALTECH and sum(path.is_dir() for path in CALTECH.glob("*")) != CATEGORIES:
        raise pytest.UsageError(
            f"{CALTECH} is not Caltech-101, which has a directory for each of its {CATEGORIES} categories: "
            "run make examples PHOTOS=DIR"
        )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out the tests of Caltech-101 where nobody says where it is; pytest counts them as deselected."""
    if CALTECH is None:
        left_out = [item for item in items if item.get_closest_marker("examples")]
        items[:] = [item for item in items if item not in left_out]
        config.hook.pytest_deselected(items=left_out)


@pytest.fixture(scope="session")
def sample_photos() -> Path:
    """Return the directory of sample photos; `make` has fetched them, else this does."""
    if not SAMPLE_PHOTOS.exists():
        subprocess.run([sys.executable, REPOSITORY / "tools/sample_photos.py", SAMPLE_PHOTOS], check=True)
    return SAMPLE_PHOTOS


@pytest.fixture(scope="session")
def caltech() -> Path:
    """Return the directory of Caltech-101, for tests marked `examples`."""
    assert CALTECH is not None
    return CALTECH
