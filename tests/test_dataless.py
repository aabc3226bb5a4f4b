"""What counts as being in a cloud."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from image_index.dataless import is_dataless


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (SimpleNamespace(st_flags=0x40000000), True),  # SF_DATALESS
        (SimpleNamespace(st_flags=0x40000060), True),  # with UF_COMPRESSED and UF_TRACKED
        (SimpleNamespace(st_flags=0x60), False),
        (SimpleNamespace(st_flags=0x80000), False),  # SF_RESTRICTED
        (SimpleNamespace(), False),  # Linux
    ],
)
def test_the_flag_of_macos_decides(status: Any, expected: bool) -> None:
    """Beside whatever other flags a file has; where there are no flags nothing is in a cloud."""
    assert is_dataless(status) is expected


def test_a_file_of_this_disk_is_not_in_a_cloud(tmp_path: Path) -> None:
    """Nor is a directory."""
    assert not is_dataless(tmp_path.stat())
