"""Index directories of pictures and find them again by meaning."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from image_index import errors
    from image_index.catalog.filters import Filters
    from image_index.files.scan import ScanOptions
    from image_index.index import Index, Indexes
    from image_index.records import Hit, ImageFacts, Progress, Summary
    from image_index.search.labels import TagOptions
    from image_index.search.query import Query, make_query, with_prompts
    from image_index.search.ranking import SearchOptions
    from image_index.search.selection import make_filters
    from image_index.stop import StopRequest
    from image_index.training.pipeline import UpdateRequest, update_index
    from image_index.training.request import make_update
    from image_index.workers.engine import Engine

__version__ = "0.1.0"

__all__ = [
    "Engine",
    "Filters",
    "Hit",
    "ImageFacts",
    "Index",
    "Indexes",
    "Progress",
    "Query",
    "ScanOptions",
    "SearchOptions",
    "StopRequest",
    "Summary",
    "TagOptions",
    "UpdateRequest",
    "__version__",
    "errors",
    "make_filters",
    "make_query",
    "make_update",
    "update_index",
    "with_prompts",
]

_HOMES = {
    "Engine": "workers.engine",
    "Filters": "catalog.filters",
    "Hit": "records",
    "ImageFacts": "records",
    "Index": "index",
    "Indexes": "index",
    "Progress": "records",
    "Query": "search.query",
    "ScanOptions": "files.scan",
    "SearchOptions": "search.ranking",
    "StopRequest": "stop",
    "Summary": "records",
    "TagOptions": "search.labels",
    "UpdateRequest": "training.pipeline",
    "make_filters": "search.selection",
    "make_query": "search.query",
    "make_update": "training.request",
    "update_index": "training.pipeline",
    "with_prompts": "search.query",
}


def __getattr__(name: str) -> Any:
    """Return a name of the Python interface; only then is it imported, so that the command line starts at once."""
    if name == "errors":
        return import_module("image_index.errors")
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"image_index.{_HOMES[name]}"), name)
