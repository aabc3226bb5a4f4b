"""Queries to vectors: texts and pictures, added up.

The vector of a text that was searched for before is remembered; any other text is encoded by the exported text tower.
The vector of a picture of the index is stored. Whatever is left is encoded by a child, and only then is anything of
`workers` imported.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import cached_property
from typing import TYPE_CHECKING, Self

import numpy as np
from numpy.typing import NDArray

from image_index.catalog.pairs import pair_of
from image_index.catalog.query_memory import QueryMemory
from image_index.catalog.reader import CatalogReader
from image_index.dataless import is_dataless
from image_index.errors import DecodeError, ImgidxError, IndexMismatch, QueryError
from image_index.paths import printable
from image_index.records import Batch, ImageFile, Vectors
from image_index.search.query import Kind, Query, Term
from image_index.settings import IndexHome

if TYPE_CHECKING:
    from image_index.models.text_tower import TextTower
    from image_index.workers.engine import Engine
    from image_index.workers.pool import ChildPool

TERMS_KEPT = 10_000
"""How many vectors of terms are kept for the queries that follow: 20 MB of 512 dimensions."""

LEAST_LENGTH = 1e-3
"""A sum of vectors that is shorter has no direction to speak of."""

TEXTS_AT_A_TIME = 64
"""How many texts a child encodes together."""

SURELY_SHORT_BYTES = 30
"""A text of so few bytes fits into any model: a token is one byte at least, and the bundled model reads 32 tokens, of
which two are start and end."""

logger = logging.getLogger(__name__)

QueryVector = NDArray[np.float32]
"""A unit vector, shape (D,)."""


class QueryEncoder:
    """Encodes queries by an index's model; the child that some need is started once, and ended by `close`."""

    def __init__(self, catalog: CatalogReader, home: IndexHome, engine: Engine | None = None) -> None:
        """Encode for the index of `catalog` in `home`; `engine` is what starts the child."""
        self._catalog = catalog
        self._memory = QueryMemory(catalog)
        self._home = home
        self._engine = engine
        self._children = ExitStack()
        self._known: dict[tuple[Kind, str], QueryVector] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the child, if there is one."""
        self._children.close()
        self.__dict__.pop("_pool", None)

    def vector(self, query: Query) -> QueryVector:
        """Return the sum of the unit vectors of the terms, each times its weight, at unit length (D,).

        Raises `QueryError` where the terms cancel each other or a picture cannot be read, `DecodeError` where it is no
        picture.
        """
        return add_up([(term.weight, self.term(term)) for term in query.terms])

    def own_ids(self, query: Query) -> frozenset[int]:
        """Return the ids of the images that lie where the query's own pictures do, and of the other file of each shot.

        Of a shot there may be a RAW file and a JPEG.
        """
        files = (self._path(term) for term in query.terms if term.kind is Kind.FILE)
        own = [image for path in files if (image := self._catalog.facts_at(path))]
        pairs = (pair_of(self._catalog, image) for image in own)
        return frozenset(image.id for image in (*own, *pairs) if image)

    def texts(self, texts: Sequence[str]) -> Vectors:
        """Return the unit vectors (N, D) of texts, none of which is remembered."""
        encoded = self._tower.encode_all(texts) if self._tower else None
        if encoded is None:
            parts = (texts[start : start + TEXTS_AT_A_TIME] for start in range(0, len(texts), TEXTS_AT_A_TIME))
            with self._child() as pool:
                encoded = np.concatenate([pool.encode_texts(part) for part in parts])
                _check(self._catalog, pool)
        return encoded

    @property
    def has_text_tower(self) -> bool:
        """Whether texts are encoded in this process, without a child."""
        return self._tower is not None

    @property
    def logit_scale(self) -> float:
        """What the model multiplies a cosine with to compare texts; what is usual where it has no exported tower."""
        from image_index.models.tower_files import USUAL_LOGIT_SCALE

        return self._tower.part.logit_scale if self._tower else USUAL_LOGIT_SCALE

    def term(self, term: Term) -> QueryVector:
        """Return the unit vector of a term without its weight; the same one is encoded once."""
        key = term.kind, term.value
        if key not in self._known:
            if len(self._known) == TERMS_KEPT:  # the queries of an endless pipe
                self._known.clear()
            if term.kind is Kind.TEXT:
                self._known[key] = self.text(term.value)
            elif term.kind is Kind.FILE:
                self._known[key] = self.picture(self._path(term))
            else:
                self._known[key] = self._remote(term.value)
        return self._known[key]

    def has_picture(self, term: Term) -> bool:
        """Tell whether a term is a picture of the index."""
        return term.kind is Kind.FILE and self._catalog.image_at(self._path(term)) is not None

    def _path(self, term: Term) -> bytes:
        """Return the path of a term's picture, as the catalog knows it if it does."""
        return self._catalog.known_path(os.path.expanduser(term.value))

    def text(self, text: str) -> QueryVector:
        """Return the vector (D,) of a text.

        It is looked up among the texts that were searched for before, else encoded here by the exported text tower,
        else by a child.
        """
        model = self._catalog.read_model()
        self.warn_of_cut(text)  # of a remembered text too: whoever searches may not have seen the first warning
        remembered = self._memory.find(text, model) if model else None
        if remembered is not None:
            return remembered
        found: QueryVector = self.texts([text])[0]
        if model:
            self._memory.remember(text, model, found)
        return found

    def start(self, query: Query) -> None:
        """Start the child that a picture of `query` will need; its model loads while the caller goes on."""
        for term in query.terms:
            path = self._catalog.known_path(os.path.expanduser(term.value))
            if term.kind is Kind.FILE and os.path.isfile(path) and self._catalog.image_at(path) is None:
                with self._child() as pool:
                    pool.start(1)
                return

    def picture(self, path: bytes, shown: str | None = None) -> QueryVector:
        """Return the vector (D,) of the picture at `path`: the stored one if the index has it, else a child embeds it.

        `shown` is what it is called in errors. Raises `QueryError` where there is no such file or the model sees
        nothing in it, and `DecodeError` where it is not a picture.
        """
        name = shown or printable(path)
        try:
            status = os.stat(path)
        except OSError as error:
            raise QueryError(f"cannot read {name}: {error.strerror}") from error
        file = ImageFile.of(path, status)
        known = self._catalog.image_at(path)
        if known and (known.size, known.mtime_ns) == (file.size, file.mtime_ns):
            _, vectors = self._catalog.vectors_of([known.id])
            return _with_direction(vectors, name)
        if is_dataless(status):
            raise QueryError(f"{name} is in a cloud, not on this disk", "open it once, so that it is downloaded")
        with self._child() as pool:
            results = list(pool.embed([Batch((file,))], 1))
            _check(self._catalog, pool)
        for result in results:
            for failure in result.failures:
                raise DecodeError(f"cannot use {name} as a query: {failure.reason}")
            if len(result.vectors):
                return _with_direction(result.vectors, name)
        raise QueryError(f"cannot read {name}: it is gone")

    def _remote(self, url: str) -> QueryVector:
        """Return the vector of the picture at a URL."""
        from image_index.search.web import fetched_picture, shown

        with fetched_picture(url) as path:
            return self.picture(os.fsencode(path), shown(url))

    def warn_of_cut(self, text: str) -> None:
        """Warn of the end of a text that is longer than the model reads."""
        if len(text.encode("utf-8", "surrogatepass")) <= SURELY_SHORT_BYTES or self._tower is None:
            return  # where a child encodes it, the child says so
        cut = self._tower.tokenizer.cut(text)
        if cut:
            length = self._tower.part.context_length
            logger.warning("The model reads %d tokens of a query; of this one it does not read: %s", length, cut)

    @cached_property
    def _tower(self) -> TextTower | None:
        """The exported text tower, None where there is none that is whole."""
        from image_index.models.text_tower import open_text_tower

        model = self._catalog.read_model()
        return open_text_tower(self._home.towers, model.fingerprint) if model else None

    @contextmanager
    def _child(self) -> Iterator[ChildPool]:
        """Give the child for one question; it is ended where that fails, for it may still owe an answer to that."""
        try:
            yield self._pool
        except ImgidxError:
            self.close()
            raise

    @cached_property
    def _pool(self) -> ChildPool:
        """A pool of one child with the index's model, started by whoever asks first."""
        from image_index.catalog.index_model import choose_model
        from image_index.stop import StopRequest
        from image_index.workers.engine import Engine
        from image_index.workers.exported import find_exported

        engine = (self._engine or Engine()).alone()
        model = self._catalog.read_model()
        exported = find_exported(self._home.towers, model) if model else None
        spec = choose_model(self._catalog, None)
        return self._children.enter_context(engine.pool(spec, StopRequest(), exported, quiet=True))


def add_up(parts: Sequence[tuple[float, QueryVector]]) -> QueryVector:
    """Return the sum of unit vectors (D,), each times its weight, at unit length (D,).

    Raises `QueryError` where they cancel each other.
    """
    if len(parts) == 1 and parts[0][0] > 0:
        return parts[0][1]  # scaled again, it would differ in its last bits
    weighted = [np.float32(weight) * vector for weight, vector in parts]
    total: QueryVector = np.sum(weighted, axis=0, dtype=np.float32)
    length = float(np.linalg.norm(total))
    if length < LEAST_LENGTH:
        raise QueryError("the parts of the query cancel each other; nothing is left to search for")
    return total / np.float32(length)


def _with_direction(vectors: Vectors, name: str) -> QueryVector:
    """Return the first of `vectors` (N, D); raise `QueryError` where there is none, or one of zeros."""
    if not vectors.any():
        raise QueryError(f"the model sees nothing in {name} to search by", "choose a picture that is not one flat grey")
    first: QueryVector = vectors[0]
    return first


def _check(catalog: CatalogReader, pool: ChildPool) -> None:
    """Raise `IndexMismatch` where the child's model is not the one that the vectors were made with."""
    known, loaded = catalog.read_model(), pool.facts
    if known and loaded and known.fingerprint != loaded.fingerprint:
        raise IndexMismatch(
            f"the model {loaded.name} is no longer the one this index was made with",
            "restore its files, or train another index with --index DIR",
        )
