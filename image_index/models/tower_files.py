"""The directory `text/` of an index home: an exported text tower, or the reason why there is none.

`manifest.json` says which model the files belong to, and of each file its size, modification time and CRC-32. Before a
query the sizes and times have to be those: to read 150 MB of weights would take longer than to encode the text.
`imgidx train`, `verify` and `doctor` read every byte (docs/decisions/0016).
"""

from __future__ import annotations

import json
import os
import zlib
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from image_index.files.atomic import replacing_directory
from image_index.records import DerivedState

FORMAT = 1
"""Grows when an older imgidx could not read what is exported, or an export is worth making anew."""

USUAL_LOGIT_SCALE = 100.0
"""What most models multiply a cosine with, CLIP's own among them; for one that does not say."""

MANIFEST, GRAPH, WEIGHTS, MERGES = "manifest.json", "graph.onnx", "weights.bin", "merges.bin"

QUICK_BYTES = 4 << 20
"""A file of at most this size is read whole before every query too: it takes 1 ms."""

READ_BYTES = 1 << 20
"""How much of a file is read at a time."""


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """What the tokenizer needs beside its merges."""

    bytes_inside: tuple[int, ...]
    bytes_at_end: tuple[int, ...]
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class ExportedFile:
    """A file of the tower as it was written."""

    name: str
    size: int
    mtime_ns: int
    crc32: int


@dataclass(frozen=True, slots=True)
class Manifest:
    """What `text/` holds, for the model of that fingerprint; with a `refusal` it holds nothing.

    `own_length` tells whether a text may be shorter than `context_length`. `logit_scale` is what the model multiplies a
    cosine with to compare texts.
    """

    fingerprint: str
    refusal: str | None = None
    dim: int = 0
    context_length: int = 0
    own_length: bool = False
    logit_scale: float = USUAL_LOGIT_SCALE
    vocabulary: Vocabulary | None = None
    files: tuple[ExportedFile, ...] = ()


def state(directory: Path, fingerprint: str, *, thorough: bool = True) -> tuple[DerivedState, Manifest | None]:
    """Return how `directory` stands to the model of that fingerprint, and what it holds unless it is damaged.

    `thorough` reads every byte. Without it the weights are read only where their modification time is not that of the
    export, as in a copied index home.
    """
    if not os.path.lexists(directory):
        return DerivedState.ABSENT, None
    manifest = read_manifest(directory)
    if manifest is None or manifest.fingerprint != fingerprint:
        return DerivedState.DAMAGED, None
    if manifest.refusal is not None:
        return DerivedState.REFUSED, manifest
    try:
        is_whole = all(_is_as_exported(directory, file, thorough=thorough) for file in manifest.files)
    except OSError:
        is_whole = False
    return (DerivedState.CURRENT, manifest) if is_whole else (DerivedState.DAMAGED, None)


def _is_as_exported(directory: Path, file: ExportedFile, *, thorough: bool) -> bool:
    """Tell whether a file is still what was exported."""
    status = (directory / file.name).stat()
    if status.st_size != file.size:
        return False
    # A damaged graph may crash ONNX Runtime, and damaged merges give other tokens: both are small enough to be read.
    believed = not thorough and status.st_mtime_ns == file.mtime_ns and file.size > QUICK_BYTES
    return believed or _crc32_of(directory / file.name) == file.crc32


def describe_files(directory: Path) -> tuple[ExportedFile, ...]:
    """Return what `Manifest` says of the files of an exported tower."""
    statuses = {name: (directory / name).stat() for name in (GRAPH, MERGES, WEIGHTS)}
    return tuple(
        ExportedFile(name, status.st_size, status.st_mtime_ns, _crc32_of(directory / name))
        for name, status in statuses.items()
    )


def _crc32_of(path: Path) -> int:
    """Return the CRC-32 of a file: zlib does 3 GB/s, and SHA-256 a third of that."""
    checksum = 0
    with path.open("rb") as file:
        while part := file.read(READ_BYTES):
            checksum = zlib.crc32(part, checksum)
    return checksum


def read_manifest(directory: Path) -> Manifest | None:
    """Return what `directory` says it holds, or None where it has no whole manifest of this format."""
    try:
        values = json.loads((directory / MANIFEST).read_bytes())
        content = values["manifest"]
        if values["format"] != FORMAT or values["crc32"] != _crc32(content):
            return None
        vocabulary, files = content.pop("vocabulary"), content.pop("files")
        return Manifest(
            vocabulary=vocabulary and Vocabulary(**{key: _frozen(value) for key, value in vocabulary.items()}),
            files=tuple(ExportedFile(**file) for file in files),
            **content,
        )
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return None


def write_manifest(directory: Path, manifest: Manifest) -> None:
    """Write the manifest; it is the last file that an export writes."""
    content = json.loads(json.dumps(asdict(manifest)))
    text = json.dumps({"format": FORMAT, "crc32": _crc32(content), "manifest": content})
    (directory / MANIFEST).write_text(text, encoding="ascii")


def write_refusal(directory: Path, fingerprint: str, reason: str) -> None:
    """Record why the model has no tower here, so that not every run tries again; raises `StorageError`."""
    with replacing_directory(directory) as draft:
        write_manifest(draft, Manifest(fingerprint, reason))
        (draft / MANIFEST).chmod(0o600)


def _crc32(content: dict[str, Any]) -> int:
    return zlib.crc32(json.dumps(content, sort_keys=True).encode("ascii"))


def _frozen(value: Any) -> Any:
    """Return a list as a tuple."""
    return tuple(value) if isinstance(value, list) else value
