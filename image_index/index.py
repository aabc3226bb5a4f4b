"""The Python interface: an index of pictures to search and to walk over.

    from image_index import Index, SearchOptions, make_filters

    with Index.open() as index:
        recent = make_filters(under="/home/me/Pictures", newer="2024")
        for hit in index.search("a dog on the beach", SearchOptions(limit=20, filters=recent)):
            print(f"{hit.score:.3f}", hit.image.file)

Nothing here prints or exits; what goes wrong is an error of `image_index.errors`. Where a model is needed it runs in a
child process, which does not import the script that started it: a script needs no `if __name__ == "__main__":`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import cached_property
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Self

import numpy as np

from image_index.catalog.catalog import Catalog
from image_index.catalog.filters import Filters
from image_index.catalog.reader import CatalogReader
from image_index.errors import IndexMismatch, UsageError
from image_index.paths import AnyPath, printable, resolve
from image_index.records import Counts, Hit, ImageFacts, ModelFacts, Vectors
from image_index.search.encode import QueryEncoder, QueryVector, add_up
from image_index.search.query import Query, make_query
from image_index.search.ranking import OpenFiles, SearchOptions, Sort, in_order, open_files, search
from image_index.settings import IndexHome, index_home

if TYPE_CHECKING:
    from image_index.search.duplicates import Group
    from image_index.search.labels import TaggedImage, TagOptions
    from image_index.upkeep.export import Exported
    from image_index.workers.engine import Engine

LENGTH_TOLERANCE = 0.01
"""How far the length of a query vector may be from one."""


ALL = Filters()
"""No condition but that the file exists."""


class Index:
    """An open index; use it as a context manager, or `close` it. It is not for several threads at once."""

    def __init__(self, home: IndexHome, engine: Engine | None = None) -> None:
        """Open the index in `home`; `Index.open` is the usual way. `engine` runs the model where it is needed."""
        self.home = home
        self._catalog = CatalogReader(home.catalog)
        self._encoder = QueryEncoder(self._catalog, home, engine)

    @classmethod
    def open(cls, path: AnyPath | None = None, *, device: str = "auto", encoder: str = "auto") -> Self:
        """Open the index in the directory `path`: by default `$IMGIDX_INDEX`, else that of the user.

        `device` is what a model runs on where one is needed: auto, mps, cuda, cuda:N or cpu; `encoder` is what runs it:
        auto, torch or onnx. Raises `IndexNotFound`
        where there is no index, `IndexMismatch` for one of a newer imgidx.
        """
        home = index_home(None if path is None else Path(os.fsdecode(path)))
        return cls(home, None if (device, encoder) == ("auto", "auto") else _engine(device, encoder))

    def close(self) -> None:
        """Close the catalog, and end the child process if there is one."""
        self._encoder.close()
        self._catalog.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # What there is

    @property
    def model(self) -> ModelFacts | None:
        """The model that the vectors were made with; None while there are none."""
        return self._catalog.read_model()

    def counts(self) -> Counts:
        """Return how many pictures, missing pictures and failures there are."""
        return self._catalog.counts()

    def __len__(self) -> int:
        """Return how many pictures there are, without missing ones."""
        return self.counts().images

    def image(self, path: AnyPath) -> ImageFacts | None:
        """Return the facts of the picture at `path`, which may be any of its names; None if it is not in the index."""
        return self._catalog.facts_at(self._catalog.known_path(path))

    def images(self, filters: Filters = ALL) -> Iterator[ImageFacts]:
        """Yield the pictures that meet `filters` (see `make_filters`), in the order in which they were added."""
        named = self._named(filters, lambda _: True)
        return (named(image) or image for image in self._catalog.images(self._checked(filters)))

    def pictures(self, filters: Filters = ALL) -> Iterator[tuple[list[ImageFacts], Vectors]]:
        """Yield the pictures that meet `filters` with their unit vectors (n, D) float32, some thousand at a time.

        A file that has several names is one picture, under the first of them that meets `filters`. Pictures to which
        the model gives no direction, such as one flat grey, have no vector and are left out.
        """
        named = self._named(filters, lambda _: True)
        pictures = self._catalog.pictures(self._checked(filters))
        return (([named(image) or image for image in images], vectors) for images, vectors in pictures)

    def vectors(self, filters: Filters = ALL) -> tuple[list[ImageFacts], Vectors]:
        """Return all pictures that meet `filters` and have a vector, and their unit vectors (N, D) float32."""
        images, vectors = [], [np.empty((0, self.model.dim if self.model else 0), np.float32)]
        for chunk, rows in self.pictures(filters):
            images += chunk
            vectors.append(rows)
        return images, np.concatenate(vectors)

    def count_unknown(self, filters: Filters) -> int:
        """Return how many of the files to which `filters` restrict a search the index does not have."""
        return filters.count_files() - len(self._known_files(filters))

    def _known_files(self, filters: Filters) -> frozenset[int]:
        """Return which of the listed files of `filters` the index has, by their numbers."""
        return self._catalog.listed_files(filters.files) if filters.files else frozenset()

    # Search

    def encode(self, query: str | Query) -> QueryVector:
        """Return the unit vector (D,) float32 of a query by the index's model."""
        return self._encoder.vector(make_query(query) if isinstance(query, str) else query)

    def search(self, query: str | Query | Vectors, options: SearchOptions | None = None) -> list[Hit]:
        """Return the pictures nearest to a text, a `Query` (see `make_query`), or a vector (D,), best first.

        Without `options` these are ten. Pictures whose file is gone are left out unless the filters say `missing`.
        Raises `UsageError` for a query or a directory that makes no sense, `ModelUnavailable` where the model is needed
        and cannot be loaded.
        """
        options = options or SearchOptions()
        filters = self._checked(options.filters)
        if isinstance(query, str):
            query = make_query(query)
        if not self._holds_any(filters):
            return []
        own = self._own_ids(query, options)
        if isinstance(query, Query):
            self._encoder.start(query)
            _ = self._files  # what is imported for them, is while the child loads, if there is one
        return self._nearest(self.encode(query) if isinstance(query, Query) else query, own, options)

    def _holds_any(self, filters: Filters) -> bool:
        """Tell whether there is any picture, missing ones counted if the filters ask for them."""
        return bool(self._catalog.read_last_id()) if filters.missing else self._catalog.holds_pictures()

    def _own_ids(self, query: Query | Vectors, options: SearchOptions) -> frozenset[int]:
        """Return the ids of the query's own pictures, unless they may be found."""
        if options.include_query or not isinstance(query, Query):
            return frozenset()
        return self._encoder.own_ids(query)

    def _nearest(self, vector: Vectors, own: frozenset[int], options: SearchOptions) -> list[Hit]:
        """Return the pictures nearest to a vector (D,), best first, but for those whose ids are `own`."""
        shown = self._shown(options.filters)
        unit = self._unit(vector)
        return search(self._files, self._catalog, unit, options, lambda one: None if one.id in own else shown(one))

    def _checked(self, filters: Filters) -> Filters:
        """Return `filters`; raise `UsageError` for a directory that is not there and that the index never saw."""
        # Otherwise a mistyped directory would find nothing, which looks like an answer. One that the index knows is
        # fine even if it is gone: a disk that is not mounted still has its pictures in the index.
        for directory in filters.under:
            if not os.path.lexists(directory) and not self._catalog.known_spellings(directory):
                raise _no_such(directory)
        return filters

    def _unit(self, vector: Vectors) -> Vectors:
        """Return `vector` as a query; raise `UsageError` where it is no unit vector (D,)."""
        dim = self.model.dim if self.model else 0
        found = np.asarray(vector, np.float32)
        if found.shape != (dim,) or not abs(float(np.linalg.norm(found)) - 1) < LENGTH_TOLERANCE:
            raise UsageError(f"a query vector has length one and {dim} dimensions, not the shape {found.shape}")
        return found

    @cached_property
    def _files(self) -> OpenFiles:
        """The derived files of the index."""
        return open_files(self._catalog, self.home)

    # More than search

    def duplicates(
        self,
        filters: Filters = ALL,
        *,
        similarity: float | None = None,
        exact: bool = False,
        pairs: bool = False,
        kept: bool = False,
    ) -> list[Group]:
        """Return the groups of the same picture, the largest first and in each the best copy first.

        `similarity` is the least cosine that near ones must have; with `exact` only files of equal content count,
        with `pairs` also the RAW file and the JPEG of one shot, with `kept` also what `keep` was called for.
        """
        from image_index.search.duplicates import DuplicateOptions, find_duplicates

        options = DuplicateOptions(-1.0 if similarity is None else similarity, exact=exact, pairs=pairs, kept=kept)
        return find_duplicates(self._catalog, self._checked(filters), options, lambda image: is_there(image, filters))

    def keep(self, paths: Sequence[AnyPath], *, kept: bool = True) -> None:
        """Remember that no two of these pictures are duplicates of each other, or with `kept=False` forget it.

        It counts for these pictures as they are: for one that changes, and for further copies, nothing is remembered.
        Raises `UsageError` for a path that the index does not know, and for less than two.
        """
        found = {path: self.image(path) for path in paths}
        for path, image in found.items():
            if image is None:
                raise UsageError(f"{printable(resolve(path))}: the index does not know it", "train it first")
        ids = {image.id for image in found.values() if image}
        if len(ids) < 2:
            raise UsageError("two pictures or more can be kept beside each other, not one")
        with Catalog(self.home.catalog) as catalog:
            catalog.keep(ids, kept=kept)

    # Labels

    def tag(
        self, labels: Sequence[str], options: TagOptions | None = None, filters: Filters = ALL
    ) -> Iterator[TaggedImage]:
        """Yield the pictures that meet `filters` with the most probable of `labels`, in the order of their adding.

        Pictures for which no label is probable enough are left out. Raises `UsageError`, before the first picture, for
        labels that make no sense.
        """
        from image_index.search.labels import TagOptions, average, check_labels
        from image_index.search.prompts import sentences

        options = options or TagOptions()
        check_labels(labels)
        self._checked(filters)
        if not len(self) and not (filters.missing and self._catalog.read_last_id()):
            return iter(())
        for label in labels:
            self._encoder.warn_of_cut(max(sentences([label], options.prompts), key=len))
        encoded = self._encoder.texts(sentences(labels, options.prompts))
        return self._tagged(tuple(labels), average(encoded, len(options.prompts)), options, filters)

    def _tagged(
        self, labels: tuple[str, ...], vectors: Vectors, options: TagOptions, filters: Filters
    ) -> Iterator[TaggedImage]:
        """Yield the pictures that meet `filters` with the most probable of `labels`; `vectors` (L, D) are theirs."""
        from image_index.search.labels import TaggedImage, best_labels

        scale, shown = self._encoder.logit_scale, self._shown(filters)
        for images, rows in self._catalog.pictures(filters):
            for image, found in zip(images, best_labels(rows, vectors, scale, labels, options), strict=True):
                named = shown(image) if found else None
                if named:
                    yield TaggedImage(named, found)

    # Files for other tools

    def export(self, destination: AnyPath, filters: Filters = ALL, *, parquet: bool = False) -> Exported | None:
        """Write the pictures that meet `filters`, with their vectors, to a new directory, as clip-retrieval has them.

        Metadata is written as JSON lines, or with `parquet` as Parquet. Returns None, having written nothing, where
        there are no such pictures.
        """
        from image_index.upkeep.export import export

        self._checked(filters)
        if self.model is None:
            return None
        path = Path(os.fsdecode(resolve(destination)))
        done = export(self._shown_pictures(filters), self.model, path, parquet=parquet)
        return done and replace(done, without_vector=self._catalog.count_without_vector(filters))

    def export_rows(
        self, destination: AnyPath, filters: Filters = ALL, *, float32: bool = False, since: str | None = None
    ) -> Exported | None:
        """Write the pictures that meet `filters` to a new directory as rows of Parquet, each with its vector.

        Vectors are float16, as they are stored, or `float32`. What is in the index is told as the last training found
        it, whether a file has vanished since or not. With `since`, the `mark` of an earlier export with these filters
        or its directory, only what has changed is written, and which pictures are gone. Returns None, having written
        nothing, where there is nothing to tell.
        """
        from image_index.upkeep.export_rows import Mark, RowsRequest, export_rows

        mark = None if since is None else Mark.parse(since)
        if mark is None:  # otherwise a directory was known once, and that its pictures are gone has to be told
            self._checked(filters)
        if self.model is None:
            return None
        path = Path(os.fsdecode(resolve(destination)))
        request = RowsRequest(filters, self._named(filters, lambda _: True), float32, mark)
        done = export_rows(self._catalog, self.model, request, path)
        return done and replace(done, without_vector=self._catalog.count_without_vector(filters))

    def _shown_pictures(self, filters: Filters) -> Iterator[tuple[list[ImageFacts], Vectors]]:
        """Yield the pictures that meet `filters` and whose file, where that matters, is there."""
        shown = self._shown(filters)
        for images, vectors in self._catalog.pictures(filters):
            found = [(row, named) for row, image in enumerate(images) if (named := shown(image))]
            yield [named for _, named in found], vectors[[row for row, _ in found]]

    def _shown(self, filters: Filters) -> Callable[[ImageFacts], ImageFacts | None]:
        """Return a function: a picture as it may be shown, None where its file is gone and `filters` want it there."""
        return self._named(filters, lambda path: filters.missing or os.path.lexists(path))

    def _named(self, filters: Filters, is_there: Callable[[bytes], bool]) -> Callable[[ImageFacts], ImageFacts | None]:
        """Return a function: a picture under the first name, its own before others, that meets `filters` and is there.

        It returns None where no name does.
        """
        fits = self._catalog.spelled(filters).path_matcher()

        def named(image: ImageFacts) -> ImageFacts | None:
            for path in chain([image.path], self._catalog.other_names(image.path)):
                if fits(path) and is_there(path):
                    return image if path == image.path else image._replace(path=path)
            return None

        return named

    # What is new

    @property
    def last_id(self) -> int:
        """The id of the newest image: pass it as `up_to_id`, and later as `after_id`, to see each picture once."""
        return self._catalog.read_last_id()

    def mark(self, name: str) -> int:
        """Return the newest id that searches of this name have covered; 0 for a new name."""
        return self._catalog.mark(name)

    def move_mark(self, name: str, last_id: int) -> None:
        """Remember that searches of this name have covered the ids up to `last_id`; a mark never moves back."""
        with Catalog(self.home.catalog) as catalog:
            catalog.move_mark(name, last_id)


class Indexes:
    """Several open indexes of one model that are searched as one; use it as a context manager, or `close` it."""

    def __init__(self, indexes: Sequence[Index]) -> None:
        """Search these indexes, which stay as they are; raise `IndexMismatch` where one is of another model."""
        self._indexes = list(indexes)
        models = [(index, index.model) for index in indexes if index.model]
        for index, model in models:
            first, known = models[0]
            if known and model and model.fingerprint != known.fingerprint:
                raise IndexMismatch(
                    f"the index in {index.home.path} was made with the model {model.name}, and that in"
                    f" {first.home.path} with {known.name}",
                    "search them one by one: scores of two models cannot be compared",
                )

    @classmethod
    def open(cls, paths: Iterable[AnyPath], *, device: str = "auto", encoder: str = "auto") -> Self:
        """Open the indexes in these directories; what `Index.open` says holds for each."""
        with ExitStack() as stack:
            indexes = [stack.enter_context(Index.open(path, device=device, encoder=encoder)) for path in paths]
            opened = cls(indexes)
            stack.pop_all()
        return opened

    def close(self) -> None:
        """Close all of them."""
        for index in self._indexes:
            index.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def count_unknown(self, filters: Filters) -> int:
        """Return how many of the files to which `filters` restrict a search no index has."""
        return filters.count_files() - len(frozenset().union(*(one._known_files(filters) for one in self._indexes)))

    def search(self, query: str | Query | Vectors, options: SearchOptions | None = None) -> list[Hit]:
        """Return the pictures nearest to a query in all indexes, best first, each with the `index` that it is of.

        Filters, least score and least sigma count in each index; a `sigma` compares a hit with the pictures of its own
        index. A picture that several indexes have at the same path comes once. What `Index.search` raises is raised.
        """
        options = options or SearchOptions()
        if isinstance(query, str):
            query = make_query(query)
        indexes = [index for index in self._indexes if index._holds_any(options.filters)]
        self._check_places(options.filters)
        if not indexes:
            return []
        vector = self._encode(query, indexes) if isinstance(query, Query) else query
        by_score = replace(options, sort=Sort.SCORE)
        found = [
            replace(hit, index=os.fsencode(index.home.path))
            for index in indexes
            for hit in index._nearest(vector, index._own_ids(query, options), by_score)
        ]
        best: dict[bytes, Hit] = {}
        for hit in sorted(found, key=lambda hit: -hit.score):  # equal scores in the order of the indexes
            best.setdefault(hit.path, hit)
        merged = islice(best.values(), options.limit)
        return in_order((replace(hit, rank=rank) for rank, hit in enumerate(merged, 1)), options.sort)

    def _check_places(self, filters: Filters) -> None:
        """Raise `UsageError` for a directory that is not there and that no index ever saw."""
        for directory in filters.under:
            known = (index._catalog.known_spellings(directory) for index in self._indexes)
            if not os.path.lexists(directory) and not any(known):
                raise _no_such(directory)

    def _encode(self, query: Query, indexes: Sequence[Index]) -> QueryVector:
        """Return the unit vector (D,) of a query: each picture by an index that has it, all else by the first index."""
        encoders = [index._encoder for index in indexes]
        parts = []
        for term in query.terms:
            encoder = next((one for one in encoders if one.has_picture(term)), encoders[0])
            parts.append((term.weight, encoder.term(term)))
        return add_up(parts)


def _no_such(directory: bytes) -> UsageError:
    """Return the error for a directory that is neither there nor known."""
    return UsageError(f"--under {printable(directory)}: no such directory, and the index knows none of it")


def is_there(image: ImageFacts, filters: Filters) -> bool:
    """Return whether the file of a picture is there, under its own name, or `filters` ask for missing ones too."""
    return filters.missing or os.path.lexists(image.path)


def _engine(device: str, encoder: str) -> Engine:
    from image_index.workers.devices import EncoderKind
    from image_index.workers.engine import Engine

    if encoder not in tuple(EncoderKind):
        raise UsageError(f"no encoder {encoder!r}", f"there are {', '.join(EncoderKind)}")
    return Engine(device, encoder=EncoderKind(encoder))
