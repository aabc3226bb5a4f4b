"""A directory of pictures with an index of it, trained by spawned children that run a fake model."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from PIL import Image

from image_index.catalog.catalog import Catalog
from image_index.models.names import digest_weights, locate_weights, parse_model
from image_index.paths import resolve
from image_index.records import EmbeddedBatch, Hit, ImageFile, Summary, Vectors
from image_index.search import ranking
from image_index.search.ranking import SearchOptions, open_files
from image_index.settings import IndexHome
from image_index.training.freshness import build_if_stale
from image_index.training.pipeline import UpdateRequest, update_index
from image_index.training.survey import SurveyOptions
from image_index.workers.engine import Engine
from tests.support import fake_models
from tests.support.records import embedded_image, facts


@dataclass
class Library:
    """A directory of pictures, an index of it, and what a test does to them."""

    photos: Path
    home: IndexHome
    count: int = 0

    def add(self, *names: str) -> None:
        """Write a new picture, unlike all before, under each name."""
        for name in names:
            self.count += 1
            path = self.photos / name
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (8, 8), (self.count, 200 - self.count, 50)).save(path)
            self.age(path)

    def add_grey(self, *names: str) -> None:
        """Write a flat grey picture under each name, all of the same bytes: the model gives it no direction."""
        for name in names:
            self.count += 1
            path = self.photos / name
            Image.new("RGB", (8, 8), fake_models.GREY).save(path)
            self.age(path)

    def age(self, path: Path) -> None:
        """Set a modification time long before any read, as files at rest have."""
        os.utime(path, ns=(self.count * 10**9, self.count * 10**9))

    def train(self, *roots: Path, **changes: object) -> Summary:
        """Bring the index up to date."""
        return update_index(self.request(*roots, **changes))

    def request(self, *roots: Path, **changes: object) -> UpdateRequest:
        """Return the request to train `roots`, or the photos."""
        survey = SurveyOptions(tuple(resolve(root) for root in roots or (self.photos,)))
        engine = Engine("cpu", workers=1, batch_size=4, loader=fake_models.load)
        request = UpdateRequest(self.home, survey, engine=engine, model="starter", quiet=True)
        return replace(request, **changes)  # type: ignore[arg-type]

    def rows(self) -> dict[str, int]:
        """Return the ids of the pictures that are there, by their path below the photos' parent."""
        with Catalog(self.home.catalog) as catalog:
            ids = [int(i) for chunk, _ in catalog.vectors_after(0) for i in chunk]
            paths = {key: image.path for key, image in catalog.facts_of(ids).items() if not image.missing}
        return {os.path.relpath(os.fsdecode(path), self.photos.parent): i for i, path in paths.items()}


def counts(summary: Summary) -> dict[str, int]:
    """Return the counts of a summary that are not zero."""
    names = ("embedded", "unchanged", "moved", "missing", "failed", "failed_before", "kept", "vanished", "remaining")
    return {name: getattr(summary, name) for name in names if getattr(summary, name)}


def starter_digest() -> str:
    """Return the digest of the bundled model's weights, which every index made here says it was made with."""
    weights = locate_weights(parse_model("starter"))
    assert weights is not None
    return digest_weights(weights)


def make_index(home: IndexHome, count: int = 20, *, under: bytes = b"/photos", dim: int = 4) -> None:
    """Make an index of `count` pictures that are nowhere, with random unit vectors and a FAISS file."""
    home.create()
    with Catalog(home.catalog, write=True) as catalog:
        catalog.set_model(replace(facts(dim), name="starter", weights_sha256=starter_digest()))
        catalog.note_scan(under, None)
        catalog.record(random_batch(count, under=under, dim=dim))
        build_if_stale(catalog, home, lambda _: None)


def random_batch(count: int, *, under: bytes = b"/photos", dim: int = 4, seed: int = 1) -> EmbeddedBatch:
    """Return a batch of `count` pictures with random unit vectors; `seed` tells the names of batches apart too."""
    vectors = np.random.default_rng(seed).normal(size=(count, dim)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    paths = [under + b"/%d-%d.jpg" % (seed, number) for number in range(count)]
    return EmbeddedBatch(tuple(embedded_image(ImageFile(path, 1, 10**18), path) for path in paths), vectors)


def contents(home: IndexHome) -> dict[bytes, tuple[int, bytes]]:
    """Return the id and the float32 vector's bytes of every picture, missing or not, by path."""
    with Catalog(home.catalog) as catalog:
        paths = {row.id: row.path for row in catalog.known(b"/")}
        return {
            paths[int(image_id)]: (int(image_id), vector.tobytes())
            for ids, vectors in catalog.vectors_after(0)
            for image_id, vector in zip(ids, vectors, strict=True)
        }


def search(catalog: Catalog, home: IndexHome, query: Vectors, options: SearchOptions) -> list[Hit]:
    """Return the hits of a search in the files of `home`, opened for it."""
    return ranking.search(open_files(catalog, home), catalog, query, options)


def found(home: IndexHome, query: Vectors, count: int = 5) -> list[bytes]:
    """Return the paths that a search for `query` (D,) finds, best first."""
    with Catalog(home.catalog) as catalog:
        return [hit.path for hit in search(catalog, home, query, SearchOptions(count))]


def nearest(home: IndexHome, query: Vectors, count: int = 5) -> list[bytes]:
    """Return the paths nearest to `query` (D,) by numpy over what the catalog holds, best first."""
    rows = contents(home)
    scores = {path: float(np.frombuffer(vector, np.float32) @ query) for path, (_, vector) in rows.items()}
    return sorted(scores, key=lambda path: -scores[path])[:count]
