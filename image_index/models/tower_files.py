"""The directory `towers/` of an index home: the exported towers of its model, or the reasons why there are none.

`manifest.json` says which model the files belong to, and of each file its size, modification time and CRC-32. Weights
that stand in the model's own safetensors file as a tower takes them are not copied: the graph points there. Before a
query sizes and times have to be those of the export: to read 150 MB of weights would take longer than to encode the
text. `imgidx train`, `verify` and `doctor` read every byte of the files here, `verify` those of the model's file too
(docs/decisions/0016, 0017).
"""

from __future__ import annotations

import json
import os
import zlib
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from image_index.errors import StorageError
from image_index.files.atomic import replacing_directory, replacing_file
from image_index.records import DerivedState

FORMAT = 1
"""Grows when an older imgidx could not read what is exported, or an export is worth making anew."""

USUAL_LOGIT_SCALE = 100.0
"""What most models multiply a cosine with, CLIP's own among them; for one that does not say."""

MANIFEST, MERGES = "manifest.json", "merges.bin"
TEXT_GRAPH, IMAGE_GRAPH = "text.onnx", "image.onnx"

QUICK_BYTES = 4 << 20
"""A file of at most this size is read whole before every query too: it takes 1 ms."""

EXPORTED_AGAIN = "the next imgidx train that finds the model exports them again"
"""What mends towers that are not used."""

READ_BYTES = 1 << 20
"""How much of a file is read at a time."""


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """What CLIP's tokenizer needs beside its merges."""

    bytes_inside: tuple[int, ...]
    bytes_at_end: tuple[int, ...]
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Framing:
    """What comes around the ids of a text whose tokenizer is published as a `tokenizer.json`.

    `clean` is the name of how texts are cleaned. `before` and `after` are ids that stand around those of the text,
    `pad` fills the context, on its left if `pad_left`, and `last` are ids at its very end. The id `zeroed` becomes 0.
    """

    clean: str
    pad: int
    before: tuple[int, ...]
    after: tuple[int, ...]
    last: tuple[int, ...] = ()
    zeroed: int | None = None
    pad_left: bool = False


@dataclass(frozen=True, slots=True)
class TextPart:
    """What the text tower needs beside its graph.

    `own_length` tells whether a text may be shorter than `context_length`. `logit_scale` is what the model multiplies a
    cosine with to compare texts.
    """

    context_length: int
    own_length: bool
    logit_scale: float
    vocabulary: Vocabulary | Framing


@dataclass(frozen=True, slots=True)
class ImagePart:
    """What the image tower needs beside its graph.

    `self_test` are the model's own vectors of the self-test's pictures, which the tower has to give wherever it runs.
    It gave them on `tested_on`, in `picture_s` seconds of one core for each picture. A `convolutional` one is optimised
    whenever it is loaded.
    """

    self_test: tuple[tuple[float, ...], ...]
    tested_on: str
    picture_s: float
    convolutional: bool


@dataclass(frozen=True, slots=True)
class ExportedFile:
    """A file of the towers as it was written."""

    name: str
    size: int
    mtime_ns: int
    crc32: int


@dataclass(frozen=True, slots=True)
class ModelFile:
    """The model's own file of weights, into which graphs point, as it was at the export.

    The inode tells a file from another of its size and time that has taken its place.
    """

    path: str
    size: int
    mtime_ns: int
    inode: int
    crc32: int


@dataclass(frozen=True, slots=True)
class Manifest:
    """What `towers/` holds, for the model of that fingerprint; a tower that is not there has a reason."""

    fingerprint: str
    dim: int = 0
    text: TextPart | None = None
    image: ImagePart | None = None
    text_refusal: str = ""
    image_refusal: str = ""
    weights: ModelFile | None = None
    files: tuple[ExportedFile, ...] = ()

    @property
    def is_complete(self) -> bool:
        """Tell whether both towers are there."""
        return self.text is not None and self.image is not None


def own_weights(graph: str) -> str:
    """Return the name of the file for weights that the model's own file does not hold as a graph takes them."""
    return str(Path(graph).with_suffix(".bin"))


def state(directory: Path, fingerprint: str, *, thorough: bool = True) -> tuple[DerivedState, Manifest | None]:
    """Return how `directory` stands to the model of that fingerprint, and what it holds unless it is damaged.

    `thorough` reads every byte of its files. Without it, and of the model's own file always, large ones are read only
    where their modification time is not that of the export, as in a copied index home.
    """
    if not os.path.lexists(directory):
        return DerivedState.ABSENT, None
    manifest = read_manifest(directory)
    if manifest is None or manifest.fingerprint != fingerprint:
        return DerivedState.DAMAGED, None
    try:
        is_whole = _is_model_file(manifest.weights) and all(
            _is_as_exported(directory, file, thorough=thorough) for file in manifest.files
        )
    except OSError:
        is_whole = False
    if not is_whole:
        return DerivedState.DAMAGED, None
    return DerivedState.CURRENT if manifest.is_complete else DerivedState.REFUSED, manifest


def fault(directory: Path) -> str:
    """Say what is wrong with towers whose state is `DAMAGED`; they may be whole, and the model's file gone."""
    manifest = read_manifest(directory)
    weights = manifest.weights if manifest else None
    if weights and not os.path.exists(weights.path):
        return f"need the model's file {weights.path}, which is not there"
    return "are damaged, or of another model"


def _is_as_exported(directory: Path, file: ExportedFile, *, thorough: bool) -> bool:
    """Tell whether a file is still what was exported."""
    status = (directory / file.name).stat()
    if status.st_size != file.size:
        return False
    # A damaged graph may crash ONNX Runtime, and damaged merges give other tokens: both are small enough to be read.
    believed = not thorough and status.st_mtime_ns == file.mtime_ns and file.size > QUICK_BYTES
    return believed or crc32_of(directory / file.name) == file.crc32


def _is_model_file(file: ModelFile | None) -> bool:
    """Tell whether the model's own file is still the one that the graphs were made for."""
    if file is None:
        return True
    status = os.stat(file.path)
    if status.st_size != file.size:
        return False
    return (status.st_mtime_ns, status.st_ino) == (file.mtime_ns, file.inode) or _is_whole(file)


def _is_whole(file: ModelFile) -> bool:
    return crc32_of(Path(file.path)) == file.crc32


def find_rotten_weights(directory: Path) -> str | None:
    """Read the whole file of the model into which the towers point; return its path if its bytes have changed."""
    manifest = read_manifest(directory)
    weights = manifest.weights if manifest else None
    try:
        return weights.path if weights and not _is_whole(weights) else None
    except OSError:  # it is gone: `state` says so
        return None


def describe_files(directory: Path) -> tuple[ExportedFile, ...]:
    """Return what `Manifest` says of the files of exported towers."""
    statuses = {path: path.stat() for path in sorted(directory.iterdir()) if path.name != MANIFEST}
    return tuple(
        ExportedFile(path.name, status.st_size, status.st_mtime_ns, crc32_of(path)) for path, status in statuses.items()
    )


def describe_model_file(path: Path) -> ModelFile:
    """Return what `Manifest` says of the model's own file; links are followed, for ONNX Runtime refuses them."""
    status = path.stat()
    return ModelFile(os.path.realpath(path), status.st_size, status.st_mtime_ns, status.st_ino, crc32_of(path))


def note_times(directory: Path, manifest: Manifest) -> None:
    """Note the times of files that are whole but were copied or moved, so that no query has to read them again."""
    try:
        files = tuple(replace(file, mtime_ns=(directory / file.name).stat().st_mtime_ns) for file in manifest.files)
        weights = manifest.weights
        if weights:
            status = os.stat(weights.path)
            weights = replace(weights, mtime_ns=status.st_mtime_ns, inode=status.st_ino)
        noted = replace(manifest, files=files, weights=weights)
        if noted != manifest:
            with replacing_file(directory / MANIFEST) as draft:
                draft.write_text(_as_json(noted), encoding="ascii")
    except (OSError, StorageError):  # queries read the files, as before
        pass


def crc32_of(path: Path) -> int:
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
        text, image, weights = content["text"], content["image"], content["weights"]
        if text:
            facts = {key: _frozen(value) for key, value in text["vocabulary"].items()}
            text["vocabulary"] = Framing(**facts) if "pad" in facts else Vocabulary(**facts)
        if image:
            image["self_test"] = tuple(map(tuple, image["self_test"]))
        parts = {
            "text": text and TextPart(**text),
            "image": image and ImagePart(**image),
            "weights": weights and ModelFile(**weights),
            "files": tuple(ExportedFile(**file) for file in content["files"]),
        }
        return Manifest(**(content | parts))
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return None


def write_manifest(directory: Path, manifest: Manifest) -> None:
    """Write the manifest; it is the last file that an export writes."""
    (directory / MANIFEST).write_text(_as_json(manifest), encoding="ascii")


def _as_json(manifest: Manifest) -> str:
    content = json.loads(json.dumps(asdict(manifest)))
    return json.dumps({"format": FORMAT, "crc32": _crc32(content), "manifest": content})


def write_refusal(directory: Path, fingerprint: str, reason: str) -> None:
    """Record why the model has no towers here, so that not every run tries again; raises `StorageError`."""
    with replacing_directory(directory) as draft:
        write_manifest(draft, Manifest(fingerprint, text_refusal=reason, image_refusal=reason))
        (draft / MANIFEST).chmod(0o600)


def _crc32(content: dict[str, Any]) -> int:
    return zlib.crc32(json.dumps(content, sort_keys=True).encode("ascii"))


def _frozen(value: Any) -> Any:
    """Return a list as a tuple."""
    return tuple(value) if isinstance(value, list) else value
