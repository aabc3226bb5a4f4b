"""Thumbnails on the disk: by content and size, so that a picture that has changed never has an old one."""

from __future__ import annotations

import os
import secrets
from contextlib import suppress
from pathlib import Path
from threading import Lock

MOST_BYTES = 512 << 20
"""How much the cache may take: some 50,000 thumbnails of 256 pixels."""

SLACK = 16
"""The cache may be larger by a 16th for a while: it is not looked through at each thumbnail."""


class ThumbnailCache:
    """A directory of WebP files, of which those go first that were used longest ago.

    It survives restarts, and several servers may use it. Where it cannot be written to it is empty. A server that is
    killed, or a power cut, may leave a file that is not whole: none is given out.
    """

    def __init__(self, directory: Path, most_bytes: int = MOST_BYTES) -> None:
        self._directory = directory
        self._most_bytes = most_bytes
        self._unchecked_bytes = most_bytes  # whatever a server before us has left
        self._lock = Lock()

    def find(self, content: bytes, side: int) -> bytes | None:
        """Return the thumbnail of `side` pixels of the content with that SHA-256; None where there is none."""
        path = self._path(content, side)
        with suppress(OSError):
            data = path.read_bytes()
            if is_whole(data):
                os.utime(path)
                return data
        return None

    def keep(self, content: bytes, side: int, data: bytes) -> None:
        """Store a thumbnail, as far as the disk takes it."""
        path = self._path(content, side)
        draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
        with suppress(OSError):
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            try:
                draft.write_bytes(
                    data
                )  # not synced, which takes longer than making it: `find` looks whether it is whole
                draft.replace(path)
            except OSError:
                draft.unlink(missing_ok=True)
                raise
            with self._lock:
                self._unchecked_bytes += len(data)
                if self._unchecked_bytes > self._most_bytes // SLACK:
                    self._unchecked_bytes = 0
                    self._shrink()

    def _path(self, content: bytes, side: int) -> Path:
        name = content.hex()
        return self._directory / name[:2] / f"{name}-{side}.webp"

    def _shrink(self) -> None:
        """Remove what was used longest ago, until the rest is no more than it may be."""
        files: list[tuple[int, int, Path]] = []
        for path in self._directory.glob("*/*"):
            with suppress(FileNotFoundError):  # another server has removed it
                status = path.stat()
                files.append((status.st_mtime_ns, status.st_size, path))
        excess = sum(size for _, size, _ in files) - self._most_bytes
        for _, size, path in sorted(files):
            if excess <= 0:
                return
            path.unlink(missing_ok=True)
            excess -= size


def is_whole(data: bytes) -> bool:
    """Tell whether a WebP file has the length that its header says (https://developers.google.com/speed/webp)."""
    return data[:4] == b"RIFF" and int.from_bytes(data[4:8], "little") + 8 == len(data) and data[8:12] == b"WEBP"
