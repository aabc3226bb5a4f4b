"""The one model of an index: chosen at its first training, checked at every later one."""

from __future__ import annotations

from image_index.catalog.catalog import Catalog
from image_index.catalog.reader import CatalogReader
from image_index.errors import IndexMismatch
from image_index.models.names import (
    DEFAULT_MODEL,
    ModelSpec,
    digest_weights,
    ensure_model,
    locate_weights,
    parse_model,
    warn_of_assumption,
    warn_of_licence,
)
from image_index.models.registry import CHOICES
from image_index.records import ModelFacts


def choose_model(catalog: CatalogReader | None, asked: str | None, *, quiet: bool = False) -> ModelSpec:
    """Return the model to use: the one the index was made with, else the one asked for, which must then be there.

    `catalog` is None where there is no index yet. Raises `IndexMismatch` where the index was made with another model
    than the one asked for, `ModelUnavailable` where a new index asks for one that cannot be had. Warns of a model for a
    new index whose licence does not allow every use, or whose file does not say how pictures are prepared for it.
    """
    known = catalog.read_model() if catalog else None
    if catalog is None or known is None:
        spec = parse_model(asked or DEFAULT_MODEL)
        ensure_model(spec, quiet=quiet)
        if catalog is not None:  # a new index asks twice, before there is a catalog and then again
            warn_of_licence(spec)
            warn_of_assumption(spec)
        return spec
    # A word such as "best" may mean another model in a later version: it still goes with an index of an earlier one.
    spec = parse_model(known.name if asked is None or known.name in CHOICES.get(asked, ()) else asked)
    # Under another name it may still be the same model, as when its directory was moved: then the weights are equal.
    # What the name `known.name` stands for by now is checked by `check_model`, once a child has loaded it.
    if spec.name != known.name:
        weights = locate_weights(spec)
        if weights is None or digest_weights(weights) != known.weights_sha256:
            raise _mismatch(catalog, known, spec.name)
    return spec


def check_model(catalog: Catalog, facts: ModelFacts) -> None:
    """Store the model of a new index; raise `IndexMismatch` where `facts` are not those of the index."""
    known = catalog.read_model()
    if known is not None and known.fingerprint != facts.fingerprint:
        raise _mismatch(catalog, known, facts.name)
    if known != facts:
        catalog.set_model(facts)


def _mismatch(catalog: CatalogReader, known: ModelFacts, asked: str) -> IndexMismatch:
    home = catalog.path.parent
    return IndexMismatch(
        f"the index in {home} was made with the model {known.name}, and {asked} is another one",
        f"leave --model out, or train another index with --index DIR --roots-of {home}",
    )
