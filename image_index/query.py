"""What is searched for, as a vector: a text, or a picture. A picture that is in the index costs no model."""

from __future__ import annotations

import os
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from image_index.binding import choose_model
from image_index.catalog import Catalog
from image_index.engine import Engine
from image_index.errors import DecodeError, IndexMismatch, UsageError
from image_index.paths import printable
from image_index.pool import ChildPool
from image_index.records import Batch, ImageFile
from image_index.settings import IndexHome
from image_index.stop import StopRequest

QueryVector = NDArray[np.float32]
"""A unit vector, shape (D,)."""


def text_vector(catalog: Catalog, home: IndexHome, text: str, engine: Engine) -> QueryVector:
    """Return the vector of `text` by the index's model; raise `UsageError` for a text of nothing but space."""
    check_text(text)
    with _one_child(home, engine) as pool:
        vector: QueryVector = pool.encode_texts([text])[0]
        _check(catalog, pool)
    return vector


def check_text(text: str) -> None:
    """Raise `UsageError` for a text of nothing but space."""
    if not text.strip():
        raise UsageError("the query is empty; describe what the picture shows, for example: imgidx search 'a red car'")


def picture_vector(catalog: Catalog, home: IndexHome, path: bytes, engine: Engine) -> QueryVector:
    """Return the vector of the picture at `path`: the stored one where the index has it, else a child embeds it.

    Raises `UsageError` where there is no such file and `DecodeError` where it is not a picture.
    """
    try:
        status = os.stat(path)
    except OSError as error:
        raise UsageError(f"cannot read {printable(path)}: {error.strerror}") from error
    file = ImageFile(path, status.st_size, status.st_mtime_ns)
    known = catalog.image_at(path)
    if known and (known.size, known.mtime_ns) == (file.size, file.mtime_ns):
        _, vectors = catalog.vectors_of([known.id])
        stored: QueryVector = vectors[0]
        return stored
    with _one_child(home, engine) as pool:
        for result in pool.embed([Batch(1, (file,))]):
            for failure in result.failures:
                raise DecodeError(f"cannot use {printable(path)} as a query: {failure.reason}")
            _check(catalog, pool)
            vector: QueryVector = result.vectors[0]
            return vector
    raise UsageError(f"cannot read {printable(path)}: it is gone")


def _one_child(home: IndexHome, engine: Engine) -> ChildPool:
    """Return a pool of one child with the index's model."""
    return replace(engine, workers=1).pool(choose_model(home, None), StopRequest(), quiet=True)


def _check(catalog: Catalog, pool: ChildPool) -> None:
    """Raise `IndexMismatch` where the child's model is not the one that the vectors were made with."""
    known, loaded = catalog.model, pool.facts
    if known and loaded and known.fingerprint != loaded.fingerprint:
        raise IndexMismatch(
            f"the model {loaded.name} is no longer the one this index was made with; "
            "restore its files, or train another index with --index DIR"
        )
