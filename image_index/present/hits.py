"""The hits of a search: as JSON, as a table, as paths."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any

from image_index.dates import local_time, time_field
from image_index.paths import optional_path_field, path_field, printable
from image_index.present.screen import Screen
from image_index.records import Hit, ImageFacts, PictureFacts

DATE_WIDTH = 60
"""A table that is narrower shows no date: the path needs the room."""


def hit_record(hit: Hit, query: str | None = None) -> dict[str, Any]:
    """Return one hit: `query` where it has a name, `rank`, `score`, `sigma`, the keys of `image_record`, and `pair`.

    Where the search was near a place, `distance_km` is how far from there; where several indexes were searched, `index`
    is that which it is of.
    """
    # Vectors are stored as float16: more digits would be noise, and differ between machines.
    named = {} if query is None else {"query": query}
    sigma = None if hit.sigma is None else round(hit.sigma, 3)
    ranked = {**named, "rank": hit.rank, "score": round(hit.score, 6), "sigma": sigma}
    index = {} if hit.index is None else optional_path_field(hit.index, "index")
    away = {} if hit.distance_m is None else {"distance_km": round(hit.distance_m / 1000, 3)}
    return {**ranked, **image_record(hit.image), **optional_path_field(hit.pair, "pair"), **away, **index}


def image_record(image: ImageFacts) -> dict[str, Any]:
    """Return what is shown of a picture: `path` or `path_bytes`, its date, pixels, format, camera and position."""
    return {
        **path_field(image.path),
        "date": time_field(image.date_s),
        "date_source": image.picture.date_source,
        "width": image.picture.width,
        "height": image.picture.height,
        "format": image.picture.format,
        "camera": image.picture.camera,
        **position_record(image.picture),
    }


def position_record(picture: PictureFacts | None) -> dict[str, float | None]:
    """Return where a picture was taken, in degrees and in metres above the sea; null is not known."""
    return {key: getattr(picture, key, None) for key in ("latitude", "longitude", "altitude_m")}


def hits_table(hits: Iterable[Hit], screen: Screen) -> str:
    """Return a table of rank, score, sigma, kilometres from a place, path and date.

    The path is a link to the file where there is colour.
    """
    from image_index.present.tables import headed_table, path_text, render  # rich takes 30 ms

    hits, dated = list(hits), screen.width >= DATE_WIDTH
    placed = any(hit.distance_m is not None for hit in hits)
    table = headed_table("", "score", "sigma", *(["km"] if placed else []), "path", *(["date"] if dated else []))
    for hit in hits:
        sigma = "" if hit.sigma is None else f"{hit.sigma:.1f}"
        away = [] if hit.distance_m is None else [f"{hit.distance_m / 1000:.1f}"]
        date = [f"{local_time(hit.image.date_s):%Y-%m-%d}"] if dated else []
        table.add_row(str(hit.rank), f"{hit.score:.3f}", sigma, *away, path_text(hit.path), *date)
    return render(table, screen)


def path_lines(hits: Iterable[Hit], *, end: str, escaped: bool) -> str:
    """Return the paths alone, each followed by `end`; `escaped` for a terminal, else byte for byte."""
    return "".join((printable(hit.path) if escaped else os.fsdecode(hit.path)) + end for hit in hits)
