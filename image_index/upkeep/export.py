"""Pictures and their vectors as files for other tools, in the layout of clip-retrieval.

    DIR/img_emb/img_emb_0.npy          (n, D) float16: the vectors as the catalog stores them
    DIR/metadata/metadata_0.jsonl      or .parquet: what is known of the n pictures, in the same order
    DIR/model.json                     which model made the vectors

Each part is written as it is read, some thousand rows at a time, so that memory does not grow with the library.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from image_index.dates import time_field
from image_index.errors import StorageError, UsageError
from image_index.files.atomic import replacing_directory, storage_errors
from image_index.paths import path_field, printable
from image_index.records import ImageFacts, ModelFacts, Vectors

if TYPE_CHECKING:
    import pyarrow as pa

PART_ROWS = 100_000
"""How many pictures each part holds; the last one may hold fewer."""

Pictures = Iterator[tuple[list[ImageFacts], Vectors]]
"""Pictures with their unit vectors (n, D), some at a time."""

WriteRows = Callable[[list[ImageFacts]], object]
"""Appends a row for each picture."""


@dataclass(frozen=True, slots=True)
class Exported:
    """What was written: `images` vectors of `dim` dimensions, in `parts`, under the directory `path`.

    Pictures `without_vector` were left out. Of an export of rows, `gone` is how many a follower has to drop, and `mark`
    where the next one goes on.
    """

    path: Path
    format: str
    images: int
    parts: int
    dim: int
    without_vector: int = 0
    gone: int = 0
    mark: str | None = None


def export(pictures: Pictures, model: ModelFacts, destination: Path, *, parquet: bool = False) -> Exported | None:
    """Write `pictures` to a new directory, metadata as JSON lines or as Parquet; return None where there are none.

    The directory appears whole or not at all, and only its owner can enter it. Raises `UsageError` where `destination`
    holds something or pyarrow is needed and not there, `StorageError`, leaving nothing, where the disk refuses.
    """
    open_table = _parquet if parquet else _json_lines
    if parquet:
        check_pyarrow()
    with storage_errors(destination):
        check_free(destination)
    first = next((chunk for chunk in pictures if chunk[0]), None)
    if first is None:
        return None
    with replacing_directory(destination, keep_full=True) as draft:
        (draft / "img_emb").mkdir()
        (draft / "metadata").mkdir()
        counts = _write_parts(chain([first], pictures), model.dim, draft, open_table)
        pad_numbers(draft, len(str(len(counts))))
        write_model(draft, model)
    return Exported(destination, "parquet" if parquet else "jsonl", sum(counts), len(counts), model.dim)


# The directory


def check_free(destination: Path) -> None:
    """Raise `UsageError` unless `destination` is an empty directory, or a new one in a directory that is there."""
    shown = printable(os.fsencode(destination))
    if os.path.lexists(destination):
        if not destination.is_dir() or any(destination.iterdir()):
            raise UsageError(f"{shown} is not an empty directory", "name a new directory for the export")
    elif not destination.parent.is_dir():
        raise UsageError(f"{shown}: there is no directory to make it in", "make that first")


def write_model(draft: Path, model: ModelFacts) -> None:
    """Write which model made the vectors."""
    facts = {"name": model.name, "fingerprint": model.fingerprint, "weights_sha256": model.weights_sha256}
    described = {**facts, "dim": model.dim, "preprocess": asdict(model.preprocess)}
    (draft / "model.json").write_text(json.dumps(described, indent=2) + "\n", encoding="utf-8")


def pad_numbers(draft: Path, digits: int) -> None:
    """Pad the numbers of all parts to the same number of digits, so that names sort like numbers."""
    for path in list(draft.glob("*/*_*")):
        name, _, number = path.stem.rpartition("_")
        path.rename(path.with_name(f"{name}_{number.zfill(digits)}{path.suffix}"))


# Parts


def _write_parts(
    pictures: Pictures, dim: int, draft: Path, open_table: Callable[[Path, int], AbstractContextManager[WriteRows]]
) -> list[int]:
    """Write all parts; return how many pictures each holds."""
    counts: list[int] = []
    pieces = pieces_of(pictures, PART_ROWS)
    for piece in pieces:
        number = len(counts)
        with (
            (draft / "img_emb" / f"img_emb_{number}.npy").open("wb") as file,
            open_table(draft / "metadata", number) as write_rows,
        ):
            counts.append(_write_part(chain([piece], pieces), dim, file, write_rows))
    return counts


def pieces_of(pictures: Pictures, rows: int) -> Pictures:
    """Yield `pictures` in pieces, so that no piece crosses the end of a part of `rows`."""
    room = rows
    for images, vectors in pictures:
        start = 0
        while start < len(images):
            end = min(start + room, len(images))
            yield images[start:end], vectors[start:end]
            room = room - (end - start) or rows
            start = end


def _write_part(pieces: Pictures, dim: int, file: BinaryIO, write_rows: WriteRows) -> int:
    """Write pieces until the part is full or they end; return how many pictures that were."""
    _write_header(file, PART_ROWS, dim)
    begin, count = file.tell(), 0
    for images, vectors in pieces:
        check_vectors(images, vectors, dim)
        file.write(vectors.astype("<f2").tobytes())
        write_rows(images)
        count += len(images)
        if count >= PART_ROWS:
            break
    file.seek(0)
    _write_header(file, count, dim)  # numpy leaves room in it for the count to grow
    if file.tell() != begin:
        raise AssertionError("the header of a .npy file has changed its length")
    return count


def check_vectors(images: list[ImageFacts], vectors: Vectors, dim: int) -> None:
    """Raise `StorageError` for vectors of another shape: a header that does not fit them would be believed."""
    if vectors.shape != (len(images), dim):
        raise StorageError(f"the catalog holds vectors that have not {dim} dimensions", "run imgidx verify")


def _write_header(file: BinaryIO, count: int, dim: int) -> None:
    """Write the header of a .npy file of (count, dim) float16 numbers."""
    header = {"descr": "<f2", "fortran_order": False, "shape": (count, dim)}
    np.lib.format.write_array_header_1_0(file, header)


# Metadata


# The keys are part of the layout of the files, as columns are of the catalog: they stand here, with what writes those
# files, and not with the JSON that commands print. `image_path` is clip-retrieval's own word.
def metadata(image: ImageFacts) -> dict[str, Any]:
    """Return a picture's row: `image_path`, or `image_path_bytes` (base64) if that is not UTF-8, and its facts."""
    return {
        **{f"image_{key}": value for key, value in path_field(image.path).items()},
        "sha256": image.sha256.hex(),
        "width": image.picture.width,
        "height": image.picture.height,
        "format": image.picture.format,
        "date": time_field(image.date_s),
        "date_source": image.picture.date_source,
        "camera": image.picture.camera,
        "latitude": image.picture.latitude,
        "longitude": image.picture.longitude,
        "altitude_m": image.picture.altitude_m,
        "id": image.id,
    }


@contextmanager
def _json_lines(directory: Path, number: int) -> Iterator[WriteRows]:
    """Write rows as lines of JSON."""
    with (directory / f"metadata_{number}.jsonl").open("w", encoding="utf-8", newline="\n") as file:
        yield lambda images: file.writelines(json.dumps(metadata(image), ensure_ascii=False) + "\n" for image in images)


@contextmanager
def _parquet(directory: Path, number: int) -> Iterator[WriteRows]:
    """Write rows as row groups of Parquet."""
    from pyarrow import parquet

    with (
        (directory / f"metadata_{number}.parquet").open("wb") as file,
        parquet.ParquetWriter(file, metadata_table([]).schema) as writer,
    ):
        yield lambda images: writer.write_table(metadata_table(images))


def metadata_table(images: list[ImageFacts]) -> pa.Table:
    """Return the rows of pictures as a table of Arrow; `date` is a timestamp."""
    import pyarrow as pa

    integers, date = dict.fromkeys(("width", "height", "id"), pa.int64()), pa.timestamp("ms", tz="UTC")
    floats = dict.fromkeys(("latitude", "longitude", "altitude_m"), pa.float64())
    texts = ("image_path", "image_path_bytes", "sha256", "width", "height", "format", "date", "date_source", "camera")
    types = {**dict.fromkeys((*texts, *floats, "id"), pa.string()), **integers, **floats, "date": date}
    rows = [{**metadata(image), "date": datetime.fromtimestamp(image.date_s, UTC)} for image in images]
    return pa.Table.from_pylist(rows, schema=pa.schema(list(types.items())))


def check_pyarrow() -> None:
    """Raise `UsageError` where the library for Parquet is not installed."""
    try:
        import pyarrow.parquet  # noqa: F401  # only whether it is there
    except ImportError as error:
        raise UsageError(
            "Parquet needs pyarrow: pip install 'imgidx[parquet]', or export with --format jsonl"
        ) from error
