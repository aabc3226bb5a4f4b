"""Thumbnails on the disk."""

from __future__ import annotations

import os
from hashlib import sha256
from pathlib import Path

from image_index.service.thumbnail_cache import ThumbnailCache


def webp(size: int) -> bytes:
    """Return what has the header of a WebP file of `size` bytes."""
    return b"RIFF" + (size - 8).to_bytes(4, "little") + b"WEBP" + bytes(size - 12)


def content(number: int) -> bytes:
    """Return the hash of a content."""
    return sha256(bytes([number])).digest()


def files(directory: Path) -> list[Path]:
    """Return what lies in the cache."""
    return [path for path in directory.glob("**/*") if path.is_file()]


def test_a_thumbnail_is_found_by_content_and_size(tmp_path: Path) -> None:
    """Also after a restart."""
    ThumbnailCache(tmp_path / "cache").keep(content(1), 256, webp(100))
    cache = ThumbnailCache(tmp_path / "cache")
    assert cache.find(content(1), 256) == webp(100)
    assert cache.find(content(1), 128) is None
    assert cache.find(content(2), 256) is None


def test_a_file_that_is_not_whole_is_not_given_out(tmp_path: Path) -> None:
    """As a power cut leaves it; it is made anew."""
    cache = ThumbnailCache(tmp_path / "cache")
    for broken in (b"", webp(100)[:-1], bytes(100), webp(100) + b"x"):
        cache.keep(content(1), 256, broken)
        assert cache.find(content(1), 256) is None
    cache.keep(content(1), 256, webp(100))
    assert cache.find(content(1), 256) == webp(100)


def test_what_was_used_longest_ago_goes_first(tmp_path: Path) -> None:
    """And no more lies there than may."""
    cache = ThumbnailCache(tmp_path / "cache", 1000)
    for number in range(9):
        cache.keep(content(number), 64, webp(100))
        for place, path in enumerate(files(tmp_path / "cache")):
            os.utime(path, (place, place))  # all of them long ago
    used = cache.find(content(0), 64)
    assert used is not None
    for number in range(9, 14):
        cache.keep(content(number), 64, webp(100))
    assert sum(path.stat().st_size for path in files(tmp_path / "cache")) <= 1000
    assert cache.find(content(0), 64) == used
    assert cache.find(content(13), 64) is not None


def test_where_nothing_can_be_written_nothing_is_kept(tmp_path: Path) -> None:
    """A search in an index on a read-only disk shows pictures all the same."""
    (tmp_path / "cache").write_text("in the way")
    cache = ThumbnailCache(tmp_path / "cache")
    cache.keep(content(1), 64, webp(100))
    assert cache.find(content(1), 64) is None
