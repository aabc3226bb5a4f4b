"""The files that hold FAISS indexes: a trailer that says what is in them, and checksums.

A file is FAISS's own format followed by a trailer that FAISS does not read: as JSON the fields of `Trailer`, among them
the CRC-32 of every block before; then the JSON's CRC-32 (4 bytes, little-endian), its length (8 bytes, little-endian),
and `MAGIC`. A file without a true trailer is no index.
"""

from __future__ import annotations

import json
import os
import zlib
from dataclasses import asdict, dataclass
from pathlib import Path

from image_index.records import Stamp

MAGIC = b"imgidx2\n"
FOOTER_BYTES = 4 + 8 + len(MAGIC)

FLAT_LIMIT = 200_000
"""Up to as many vectors an index is flat, hence exact: a search of them all takes 6 ms."""

BLOCK_BYTES = 1 << 20
"""How much of the file one checksum covers."""

QUICK_BYTES = 16 << 20
"""A file of at most this size is checked whole before every search: it takes about 5 ms."""


@dataclass(frozen=True, slots=True)
class Contents:
    """What an index file holds: the vectors of the catalog `stamp` whose ids are over `after`.

    `head` and `foot` are the bytes at its start and end that FAISS relies on to stay inside the file. A score may
    differ from the true one by `error`. `trained_on` is how many vectors there were when its lists were laid out.
    """

    stamp: Stamp
    count: int
    after: int = 0
    head: int = 0
    foot: int = 0
    error: float = 0.0
    trained_on: int = 0


@dataclass(frozen=True, slots=True)
class Trailer:
    """What the end of an index file says of it; `size` is where FAISS's own bytes end."""

    contents: Contents
    checksums: tuple[int, ...]
    size: int


def append_trailer(path: Path, contents: Contents) -> None:
    """Append the trailer to the file of FAISS at `path`."""
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


def read_contents(path: Path) -> Contents | None:
    """Return what the file at `path` says that it holds, or None where there is no whole index."""
    trailer = read_trailer(path)
    return trailer.contents if trailer else None


def is_whole(path: Path, *, thorough: bool = True) -> bool:
    """Tell whether the file at `path` is byte for byte what was written; without `thorough` only where it costs little.

    A search looks at what FAISS itself relies on (the header, the centroids, the sizes of the lists); a damaged vector
    or id can cost it a hit, but never a wrong score, which comes from the catalog.
    """
    trailer = read_trailer(path)
    if trailer is None or len(trailer.checksums) != -(-trailer.size // BLOCK_BYTES):
        return False
    blocks = range(len(trailer.checksums))
    if not thorough and trailer.size > QUICK_BYTES:
        head, foot = trailer.contents.head, trailer.contents.foot
        blocks_of_foot = blocks[(trailer.size - foot) // BLOCK_BYTES :] if foot else ()
        looked_at = {*blocks[: -(-head // BLOCK_BYTES)], *blocks_of_foot}
    else:
        looked_at = set(blocks)
    return all(_checksum(path, i * BLOCK_BYTES, trailer.size) == trailer.checksums[i] for i in looked_at)


def _checksum(path: Path, start: int, end: int) -> int:
    """Return the CRC-32 of the block of a file that begins at `start`; nothing at or after `end` belongs to it."""
    with path.open("rb") as file:
        file.seek(start)
        return zlib.crc32(file.read(min(BLOCK_BYTES, end - start)))
