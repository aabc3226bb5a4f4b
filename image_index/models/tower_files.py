"""The directory `text/` of an index home: an exported text tower, or the reason why there is none.

`manifest.json` says which model the files belong to and what their bytes were; nothing here is believed unless it
agrees. Small files carry a CRC-32. The weights, hundreds of megabytes, carry a sum of 64-bit words for each block:
numpy adds up 150 MB in 10 ms, where CRC-32 takes from 20 to 150, and no flipped bit leaves a sum as it was.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from image_index.files.atomic import replacing_directory

FORMAT = 1
"""Grows when an older imgidx could not read what is exported, or an export is worth making anew."""

USUAL_LOGIT_SCALE = 100.0
"""What most models multiply a cosine with, CLIP's own among them; for one that does not say."""

MANIFEST, GRAPH, WEIGHTS, MERGES = "manifest.json", "graph.onnx", "weights.bin", "merges.bin"

BLOCK_BYTES = 256 << 10
"""How much of the weights one sum covers."""


@dataclass(frozen=True, slots=True)
class EmbeddingTable:
    """Where in the weights the rows of the tokens lie: the largest part, of which a query needs a few rows only."""

    start: int = 0
    end: int = 0
    row_bytes: int = 1


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """What the tokenizer needs beside its merges."""

    bytes_inside: tuple[int, ...]
    bytes_at_end: tuple[int, ...]
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Manifest:
    """What `text/` holds, for the model of that fingerprint; with a `refusal` it holds nothing.

    `own_length` tells whether a text may be shorter than `context_length`. `crc32` is of the small files, `sums` are of
    the weights' blocks. `logit_scale` is what the model multiplies a cosine with to compare texts; older
    exports do not say.
    """

    fingerprint: str
    refusal: str | None = None
    dim: int = 0
    context_length: int = 0
    own_length: bool = False
    vocabulary: Vocabulary | None = None
    table: EmbeddingTable = EmbeddingTable()
    sizes: tuple[tuple[str, int], ...] = ()
    crc32: tuple[tuple[str, int], ...] = ()
    sums: tuple[int, ...] = ()
    logit_scale: float | None = None


def read_manifest(directory: Path) -> Manifest | None:
    """Return what `directory` says it holds, or None where it has no whole manifest of this format."""
    try:
        values = json.loads((directory / MANIFEST).read_bytes())
        content = values["manifest"]
        if values["format"] != FORMAT or values["crc32"] != _crc(content):
            return None
        vocabulary = content.pop("vocabulary")
        return Manifest(
            table=EmbeddingTable(**content.pop("table")),
            vocabulary=vocabulary and Vocabulary(**{k: _frozen(v) for k, v in vocabulary.items()}),
            **{key: _frozen(value) for key, value in content.items()},
        )
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return None


def write_manifest(directory: Path, manifest: Manifest) -> None:
    """Write the manifest; it is the last file that an export writes."""
    content = json.loads(json.dumps(asdict(manifest)))
    text = json.dumps({"format": FORMAT, "crc32": _crc(content), "manifest": content})
    (directory / MANIFEST).write_text(text, encoding="ascii")


def describe_files(directory: Path) -> dict[str, Any]:
    """Return the sizes and checksums of an exported tower's files, as `Manifest` takes them."""
    small = (GRAPH, MERGES)
    return {
        "sizes": tuple((name, (directory / name).stat().st_size) for name in (*small, WEIGHTS)),
        "crc32": tuple((name, zlib.crc32((directory / name).read_bytes())) for name in small),
        "sums": tuple(_sums(directory / WEIGHTS)),
    }


def is_whole(directory: Path, manifest: Manifest, ids: Iterable[int] | None = None) -> bool:
    """Tell whether the files are byte for byte what was exported.

    With the token `ids` of a query, of the embedding table only the rows that the query needs are looked at.
    """
    try:
        if any((directory / name).stat().st_size != size for name, size in manifest.sizes):
            return False
        if any(zlib.crc32((directory / name).read_bytes()) != crc for name, crc in manifest.crc32):
            return False
        count = -(-dict(manifest.sizes)[WEIGHTS] // BLOCK_BYTES)
        numbers = range(count) if ids is None else _blocks_of(manifest.table, ids, count)
        return len(manifest.sums) == count and all(
            found == manifest.sums[number]
            for number, found in zip(numbers, _sums(directory / WEIGHTS, numbers), strict=True)
        )
    except (OSError, ValueError, KeyError):
        return False


def is_settled(directory: Path, fingerprint: str) -> bool:
    """Tell whether there is nothing to export for that model: its tower is there and whole, or was refused."""
    manifest = read_manifest(directory)
    if manifest is None or manifest.fingerprint != fingerprint:
        return False
    return manifest.refusal is not None or (manifest.logit_scale is not None and is_whole(directory, manifest))


def _blocks_of(table: EmbeddingTable, ids: Iterable[int], count: int) -> list[int]:
    """Return the blocks that encoding `ids` reads: all but those that hold nothing but rows of other tokens."""
    spared = range(-(-table.start // BLOCK_BYTES), table.end // BLOCK_BYTES)
    starts = [table.start + token * table.row_bytes for token in ids]
    rows = {start // BLOCK_BYTES for start in starts} | {
        (start + table.row_bytes - 1) // BLOCK_BYTES for start in starts
    }
    return [number for number in range(count) if number not in spared or number in rows]


def _sums(path: Path, numbers: Iterable[int] | None = None) -> list[int]:
    """Return the sums of the blocks of a file, or of those of these numbers: of 64-bit words, modulo 2^64."""
    size = path.stat().st_size
    content: NDArray[np.uint8] = np.memmap(path, np.uint8, "r") if size else np.zeros(0, np.uint8)
    found = []
    for number in range(-(-size // BLOCK_BYTES)) if numbers is None else numbers:
        block = content[number * BLOCK_BYTES : (number + 1) * BLOCK_BYTES]
        whole = len(block) // 8 * 8
        rest = int.from_bytes(block[whole:].tobytes(), "little")
        found.append((int(block[:whole].view("<u8").sum(dtype=np.uint64)) + rest) % (1 << 64))
    return found


def _crc(content: dict[str, Any]) -> int:
    return zlib.crc32(json.dumps(content, sort_keys=True).encode("ascii"))


def _frozen(value: Any) -> Any:
    """Return lists as tuples, at any depth."""
    return tuple(_frozen(item) for item in value) if isinstance(value, list) else value


def write_refusal(directory: Path, fingerprint: str, reason: str) -> None:
    """Record why the model has no tower here, so that not every run tries again; raises `StorageError`."""
    with replacing_directory(directory) as draft:
        write_manifest(draft, Manifest(fingerprint, reason))
        (draft / MANIFEST).chmod(0o600)
