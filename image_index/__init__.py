"""Index directories of pictures and find them again by meaning."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from image_index.index import Index
    from image_index.records import Hit, ImageFacts
    from image_index.search.query import Query, make_query

__version__ = "0.1.0"

__all__ = ["Hit", "ImageFacts", "Index", "Query", "__version__", "make_query"]

_HOMES = {
    "Index": "index",
    "Hit": "records",
    "ImageFacts": "records",
    "Query": "search.query",
    "make_query": "search.query",
}


def __getattr__(name: str) -> Any:
    """Return a name of the Python interface; only then is it imported, so that the command line starts at once."""
    from importlib import import_module

    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"image_index.{_HOMES[name]}"), name)
