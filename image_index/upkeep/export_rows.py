"""Pictures with their vectors as rows of Parquet, all of them or what has changed, for a store that follows the index.

    DIR/images/images_0.parquet    a row for each picture: what is known of it, and its `vector`
    DIR/gone.parquet               the `id` of each picture that a follower may have and has to drop
    DIR/export.json                the mark from which the next export goes on
    DIR/model.json                 which model made the vectors

Who drops the ids of `gone` and then puts each row in place of the one with its id, export by export, has the rows of
the index. An export that runs beside a training may tell something twice, and misses nothing.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from hashlib import sha256
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Self

import numpy as np

from image_index.catalog.changes import Moment, changed_since, now
from image_index.catalog.filters import Filters
from image_index.catalog.reader import CatalogReader
from image_index.errors import UsageError
from image_index.files.atomic import replacing_directory, storage_errors
from image_index.records import Ids, ImageFacts, ModelFacts, Vectors
from image_index.upkeep.export import (
    PART_ROWS,
    Exported,
    Pictures,
    check_free,
    check_pyarrow,
    check_vectors,
    metadata_table,
    pad_numbers,
    pieces_of,
    write_model,
)

if TYPE_CHECKING:
    import pyarrow as pa

EXPORT_JSON = "export.json"


class Mark(NamedTuple):
    """What an export covered: of which catalog, through which filters, up to which moment."""

    catalog_id: str
    filters: str
    moment: Moment

    def __str__(self) -> str:
        return f"{self.catalog_id}-{self.filters}-{self.moment.last_id}-{self.moment.change}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return what `str` was given: the mark itself, or the directory of an export that has it.

        Raises `UsageError` for anything else.
        """
        try:
            file = Path(text) / EXPORT_JSON
            if file.is_file():
                text = str(json.loads(file.read_text(encoding="utf-8"))["mark"])
            catalog_id, filters, last_id, change = text.split("-")
            return cls(catalog_id, filters, Moment(int(last_id), int(change)))
        except (ValueError, KeyError, TypeError, OSError) as error:
            raise UsageError(
                "--since takes the mark that an export with vectors has told, or its directory",
                "leave it out to export everything",
            ) from error


@dataclass(frozen=True, slots=True)
class RowsRequest:
    """Which pictures are wanted, and how: `named` returns one under the name by which it is to be told.

    Vectors are float16, as they are stored, or `float32`. With `since` only what has changed since that mark.
    """

    filters: Filters
    named: Callable[[ImageFacts], ImageFacts | None]
    float32: bool = False
    since: Mark | None = None


def export_rows(catalog: CatalogReader, model: ModelFacts, request: RowsRequest, destination: Path) -> Exported | None:
    """Write the rows that are asked for to a new directory; return None, having written nothing, where there are none.

    The directory appears whole or not at all, and only its owner can enter it. Raises `UsageError` where `destination`
    holds something, pyarrow is not there, or the mark is of another index, of other filters or of a time to come.
    """
    check_pyarrow()
    with storage_errors(destination):
        check_free(destination)
    mark = Mark(catalog.read_catalog_id(), _digest(request.filters), now(catalog))
    ids, gone = _choose(catalog, mark, request)
    if not len(ids) and not len(gone):
        return None
    with replacing_directory(destination, keep_full=True) as draft:
        (draft / "images").mkdir()
        pictures = (_named(pictures, request.named) for pictures in catalog.pictures_in_chunks(ids))
        images, parts = _write_parts(pictures, model.dim, draft / "images", request)
        pad_numbers(draft, len(str(parts)))
        _write_gone(draft / "gone.parquet", gone)
        write_model(draft, model)
        told = {"mark": str(mark), "since": str(request.since) if request.since else None}
        told_counts = {"images": images, "gone": len(gone), "vector": "float32" if request.float32 else "float16"}
        (draft / EXPORT_JSON).write_text(json.dumps(told | told_counts, indent=2) + "\n", encoding="utf-8")
    return Exported(destination, "parquet", images, parts, model.dim, gone=len(gone), mark=str(mark))


def _choose(catalog: CatalogReader, mark: Mark, request: RowsRequest) -> tuple[Ids, Ids]:
    """Return the ids (n,) of the rows to write, and those (m,) of rows that a follower has to drop."""
    ids = catalog.ids_matching(replace(request.filters, up_to_id=mark.moment.last_id))
    if request.since is None:
        return ids, np.empty(0, np.int64)
    _check(request.since, mark)
    changed = changed_since(catalog, request.since.moment)
    new = ids > request.since.moment.last_id
    return ids[new | np.isin(ids, changed, assume_unique=True)], np.setdiff1d(changed, ids, assume_unique=True)


def _check(since: Mark, mark: Mark) -> None:
    """Raise `UsageError` for a mark from which this export cannot go on."""
    again = "leave --since out to export everything anew"
    if since.catalog_id != mark.catalog_id:
        raise UsageError("the mark is of another index", again)
    if since.filters != mark.filters:
        raise UsageError("the mark is of an export with other filters, or with dates that move, such as 30d", again)
    if since.moment.last_id > mark.moment.last_id or since.moment.change > mark.moment.change:
        raise UsageError("the index is older than the mark, as one that was restored from a backup", again)


def _digest(filters: Filters) -> str:
    """Return what tells these filters from others."""
    return sha256(repr(filters).encode()).hexdigest()[:12]


def _named(
    pictures: tuple[list[ImageFacts], Vectors], named: Callable[[ImageFacts], ImageFacts | None]
) -> tuple[list[ImageFacts], Vectors]:
    """Return pictures under the names by which they are to be told."""
    images, vectors = pictures
    return [named(image) or image for image in images], vectors


def _write_parts(pictures: Pictures, dim: int, directory: Path, request: RowsRequest) -> tuple[int, int]:
    """Write the rows in parts, one at least; return how many rows and parts these are."""
    from pyarrow import parquet

    images, parts = 0, 0
    empty: tuple[list[ImageFacts], Vectors] = ([], np.empty((0, dim), np.float32))
    pieces = pieces_of(pictures, PART_ROWS)
    for piece in chain([next(pieces, empty)], pieces):
        first = _table(piece, dim, request)
        texts = [field.name for field in first.schema if field.name != "vector"]
        with parquet.ParquetWriter(directory / f"images_{parts}.parquet", first.schema, use_dictionary=texts) as writer:
            writer.write_table(first)
            count = len(first)
            while count < PART_ROWS and (more := next(pieces, None)):
                writer.write_table(_table(more, dim, request))
                count += len(more[0])
        images, parts = images + count, parts + 1
    return images, parts


def _table(piece: tuple[list[ImageFacts], Vectors], dim: int, request: RowsRequest) -> pa.Table:
    """Return the rows of some pictures."""
    import pyarrow as pa

    images, vectors = piece
    check_vectors(images, vectors, dim)
    numbers = pa.array(vectors.astype(np.float32 if request.float32 else np.float16).ravel())
    return metadata_table(images).append_column("vector", pa.FixedSizeListArray.from_arrays(numbers, dim))


def _write_gone(path: Path, gone: Ids) -> None:
    """Write ids, of which there may be none."""
    import pyarrow as pa
    from pyarrow import parquet

    parquet.write_table(pa.table({"id": pa.array(gone, pa.int64())}), path)
