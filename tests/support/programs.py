"""Programs of the system that some tests need."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence

import pytest


def needed(names: Sequence[str], package: str) -> str:
    """Return the path of the first program that is there; without one a test is skipped, but in CI it fails."""
    for name in names:
        if path := shutil.which(name):
            return path
    reason = f"there is none of {', '.join(names)}; on Debian: apt install {package}"
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)
