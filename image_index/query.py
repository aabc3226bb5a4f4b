"""What is searched for, as a vector: a text, or a picture.

A text that was asked before costs nothing, another one the exported text tower; a picture that is in the index costs no
model. Whatever is left is encoded by a child, and only then anything of children and models is imported.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from image_index.catalog import Catalog
from image_index.errors import DecodeError, IndexMismatch, UsageError
from image_index.paths import printable
from image_index.records import Batch, ImageFile, ModelFacts
from image_index.settings import IndexHome

if TYPE_CHECKING:
    from image_index.engine import Engine
    from image_index.pool import ChildPool

QueryVector = NDArray[np.float32]
"""A unit vector, shape (D,)."""


def text_vector(catalog: Catalog, home: IndexHome, text: str, engine: Engine | None = None) -> QueryVector:
    """Return the vector of `text` by the index's model; raise `UsageError` for a text of nothing but space.

    It is looked up among the texts that were searched for before, else encoded here by the exported text tower, else by
    a child of `engine`.
    """
    check_text(text)
    model = catalog.model
    vector = catalog.remembered_query(text, model) if model else None
    if vector is None:
        vector = _by_tower(home, model, text) if model else None
        if vector is None:
            vector = _by_child(catalog, home, text, engine)
        if model:
            catalog.remember_query(text, model, vector)
    return vector


def check_text(text: str) -> None:
    """Raise `UsageError` for a text of nothing but space."""
    if not text.strip():
        raise UsageError("the query is empty; describe what the picture shows, for example: imgidx search 'a red car'")


def _by_tower(home: IndexHome, model: ModelFacts, text: str) -> QueryVector | None:
    """Return the vector that the exported text tower gives, or None where there is none, or a damaged one."""
    from image_index.text_tower import open_tower

    tower = open_tower(home.text, model.fingerprint)
    return tower.encode(text) if tower else None


def _by_child(catalog: Catalog, home: IndexHome, text: str, engine: Engine | None) -> QueryVector:
    """Return the vector that the model itself gives."""
    with _one_child(home, engine) as pool:
        vector: QueryVector = pool.encode_texts([text])[0]
        _check(catalog, pool)
    return vector


def picture_vector(catalog: Catalog, home: IndexHome, path: bytes, engine: Engine | None = None) -> QueryVector:
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


def _one_child(home: IndexHome, engine: Engine | None) -> ChildPool:
    """Return a pool of one child with the index's model."""
    from image_index.binding import choose_model
    from image_index.engine import Engine
    from image_index.stop import StopRequest

    return (engine or Engine()).alone().pool(choose_model(home, None), StopRequest(), quiet=True)


def _check(catalog: Catalog, pool: ChildPool) -> None:
    """Raise `IndexMismatch` where the child's model is not the one that the vectors were made with."""
    known, loaded = catalog.model, pool.facts
    if known and loaded and known.fingerprint != loaded.fingerprint:
        raise IndexMismatch(
            f"the model {loaded.name} is no longer the one this index was made with; "
            "restore its files, or train another index with --index DIR"
        )
