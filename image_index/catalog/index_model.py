"""The one model that an index is bound to: chosen at its first training, checked ever after."""

from __future__ import annotations

from image_index.catalog.catalog import Catalog
from image_index.errors import IndexMismatch
from image_index.models.names import DEFAULT_MODEL, ModelSpec, digest_weights, ensure_model, locate_weights, parse_model
from image_index.records import ModelFacts
from image_index.settings import IndexHome


def choose_model(home: IndexHome, asked: str | None, *, quiet: bool = False) -> ModelSpec:
    """Return the model to use: the one the index was made with, else the one asked for, which must then be there.

    Raises `IndexMismatch` where the index was made with another model than the one asked for.
    """
    known = None
    if home.catalog.exists():
        with Catalog(home.catalog) as catalog:
            known = catalog.model
    if known is None:
        spec = parse_model(asked or DEFAULT_MODEL)
        ensure_model(spec, quiet=quiet)
        return spec
    spec = parse_model(asked or known.name)
    if spec.name != known.name:
        weights = locate_weights(spec)
        if weights is None or digest_weights(weights) != known.weights_sha256:
            raise _mismatch(home, known, spec.name)
    return spec


def check_model(catalog: Catalog, home: IndexHome, facts: ModelFacts) -> None:
    """Store the model of a new index; raise `IndexMismatch` where `facts` are not those of the index."""
    known = catalog.model
    if known is not None and known.fingerprint != facts.fingerprint:
        raise _mismatch(home, known, facts.name)
    if known != facts:
        catalog.set_model(facts)


def _mismatch(home: IndexHome, known: ModelFacts, asked: str) -> IndexMismatch:
    return IndexMismatch(
        f"the index in {home.path} was made with the model {known.name}, and {asked} is another one",
        "leave --model out, or train another index with --index DIR",
    )
