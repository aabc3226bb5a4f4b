"""The files derived from the catalog's vectors: a trailer that says what is in one, and whether that is still true.

A file is FAISS's own format, or the numbers of `moments`, followed by a trailer that FAISS does not read: as JSON the
fields of `Trailer`, among them the CRC-32 of every block before; then the JSON's CRC-32 (4 bytes, little-endian), its
length (8 bytes, little-endian), and `MAGIC`. A file without such a trailer is damaged.
"""

from __future__ import annotations

import json
import os
import random
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from image_index.records import DerivedState, Stamp

MAGIC = b"imgidx3\n"
FOOTER_BYTES = 4 + 8 + len(MAGIC)

FLAT_LIMIT = 200_000
"""Up to as many vectors there are no inverted lists: all are compared, in some 20 ms."""

BLOCK_BYTES = 1 << 20
"""How much of the file one checksum covers."""

QUICK_BYTES = 16 << 20
"""A file of at most this size is checked whole before every search: it takes about 5 ms."""


@dataclass(frozen=True, slots=True)
class Contents:
    """What a file holds: the `count` vectors of the catalog `stamp`.

    `head` is the size in bytes of FAISS's own structures at the start of it: header, centroids, sizes of the lists.
    They are checksummed before every search: damaged, they make FAISS read out of bounds. The true score of a vector
    may exceed the estimated one by `error`, which is exceeded itself by 0.7 % of them. `trained_on` is how many vectors
    there were when the inverted lists were trained. The vectors of a list lie `radii` from its centroid, root mean
    square; `reach`, `near_reach` and `near_score` are those of `lists.Reach`.
    """

    stamp: Stamp
    count: int
    head: int = 0
    error: float = 0.0
    trained_on: int = 0
    reach: float = 0.0
    near_reach: float = 0.0
    near_score: float = 0.0
    radii: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class Trailer:
    """What the end of a file says of it; `size` is how many bytes are before the trailer."""

    contents: Contents
    checksums: tuple[int, ...]
    size: int


def state(
    path: Path, catalog_id: str, *, now: Stamp | None = None, thorough: bool = True, at_most: int | None = None
) -> tuple[DerivedState, Contents | None]:
    """Return how the file at `path` stands to the catalog `catalog_id`, and what it holds where it can be used.

    It is BEHIND where the stamp `now` of the catalog is given and is another than that of the file. `thorough=False`
    checks of a large file only what a search checks: what FAISS needs to stay inside the file. A damaged vector or id
    can then cost a search a hit, but never give a wrong score, for scores come from the catalog. A thorough check of
    `at_most` so many bytes takes a share of the other blocks, drawn by lot, so that all get their turn.
    """
    if not os.path.lexists(path):
        return DerivedState.ABSENT, None
    trailer = read_trailer(path)
    if trailer is None or trailer.contents.stamp.catalog_id != catalog_id:
        return DerivedState.DAMAGED, None
    if not _is_whole(path, trailer, at_most if thorough else 0):
        return DerivedState.DAMAGED, None
    is_behind = now is not None and now != trailer.contents.stamp
    return DerivedState.BEHIND if is_behind else DerivedState.CURRENT, trailer.contents


def append_trailer(path: Path, contents: Contents) -> None:
    """Append the trailer to a file."""
    size = path.stat().st_size
    checksums = [_checksum(path, start, size) for start in range(0, size, BLOCK_BYTES)]
    text = json.dumps({"contents": asdict(contents), "crc32": checksums}).encode()
    with path.open("ab") as file:
        file.write(text + zlib.crc32(text).to_bytes(4, "little") + len(text).to_bytes(8, "little") + MAGIC)


def read_trailer(path: Path) -> Trailer | None:
    """Return the trailer of the file at `path`, or None where there is no whole one."""
    try:
        with path.open("rb") as file:
            end = file.seek(-FOOTER_BYTES, os.SEEK_END)
            footer = file.read(FOOTER_BYTES)
            length = int.from_bytes(footer[4:12], "little")
            if footer[12:] != MAGIC or length > end:
                return None
            start = file.seek(end - length)
            text = file.read(length)
        if zlib.crc32(text) != int.from_bytes(footer[:4], "little"):
            return None
        values = json.loads(text)
        contents = values["contents"]
        stamp = Stamp(**contents.pop("stamp"))
        return Trailer(Contents(stamp, **contents), tuple(values["crc32"]), start)
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return None


def _is_whole(path: Path, trailer: Trailer, at_most: int | None) -> bool:
    """Tell whether the blocks of a file have their checksums; of a large one `at_most` so many bytes of vectors."""
    head = range(min(len(trailer.checksums), -(-trailer.contents.head // BLOCK_BYTES)))
    return is_sound(path, trailer.size, trailer.checksums, {*head, *blocks_to_check(trailer.size, at_most)})


def blocks_to_check(size: int, at_most: int | None) -> set[int]:
    """Return the numbers of all blocks of a file of `size` bytes; of a large one `at_most` so many bytes, by lot."""
    blocks = range(-(-size // BLOCK_BYTES))
    if at_most is None or size <= max(at_most, QUICK_BYTES):
        return {*blocks}
    return {*random.sample(blocks, at_most // BLOCK_BYTES)}


def is_sound(path: Path, size: int, checksums: Sequence[int], blocks: Iterable[int]) -> bool:
    """Tell whether a file has its `size` first bytes and a checksum for each block, right for those in `blocks`."""
    if len(checksums) != -(-size // BLOCK_BYTES):
        return False
    try:
        if path.stat().st_size < size:
            return False
        return all(_checksum(path, number * BLOCK_BYTES, size) == checksums[number] for number in blocks)
    except OSError:
        return False


def _checksum(path: Path, start: int, end: int) -> int:
    """Return the CRC-32 of the block of a file that begins at `start`; nothing at or after `end` belongs to it."""
    with path.open("rb") as file:
        file.seek(start)
        return zlib.crc32(file.read(min(BLOCK_BYTES, end - start)))
