"""Files that macOS would call dataless, on a system that knows no such files."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from image_index import dataless


class DatalessStatus:
    """What `os.stat` says of a file, with Apple's flag."""

    st_flags = 0x40000000 | 0x20
    """SF_DATALESS as macOS's sys/stat.h has it, beside UF_TRACKED, which many files have."""

    def __init__(self, status: os.stat_result) -> None:
        self._status = status

    def __getattr__(self, name: str) -> Any:
        return getattr(self._status, name)


def send_to_cloud(monkeypatch: pytest.MonkeyPatch, *paths: Path) -> None:
    """Let these files and directories look as macOS shows them when only a cloud has their content.

    To open or list one of them fails the test: on a Mac that would be a download.
    """
    away = {os.fsencode(path) for path in paths}
    look, list_directory, open_file = os.stat, os.scandir, os.open

    def stat(path: Any, **options: Any) -> Any:
        status = look(path, **options)
        return DatalessStatus(status) if isinstance(path, str | bytes | Path) and os.fsencode(path) in away else status

    def refused(function: Any) -> Any:
        def call(path: Any, *arguments: Any, **options: Any) -> Any:
            assert isinstance(path, int) or os.fsencode(path) not in away, f"{path} is downloaded"
            return function(path, *arguments, **options)

        return call

    monkeypatch.setattr(dataless, "HAS_FLAG", True)
    monkeypatch.setattr(os, "stat", stat)
    monkeypatch.setattr(os, "scandir", refused(list_directory))
    monkeypatch.setattr(os, "open", refused(open_file))
