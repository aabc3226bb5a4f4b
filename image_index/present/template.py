"""Hits printed with the user's own template: `{score:.3f}\\t{path}`."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from string import Formatter
from typing import Any

from image_index.dates import local_time
from image_index.errors import UsageError
from image_index.paths import printable
from image_index.present.hits import position_record
from image_index.records import Hit, ImageFacts, PictureFacts

_ESCAPES = {"\\t": "\t", "\\n": "\n", "\\0": "\0", "\\\\": "\\"}
_SAMPLE = Hit(1, 0.5, 1.0, ImageFacts(1, b"/a.jpg", 1, 1, bytes(32), PictureFacts(4, 3, "jpeg"), missing=False))


@dataclass(frozen=True, slots=True)
class Template:
    """What is printed for each hit: text with fields in braces, formatted as by Python's `str.format`."""

    text: str

    @classmethod
    def parse(cls, text: str) -> Template:
        r"""Return the template that `text` says, with `\t`, `\n`, `\0` and `\\` in it as one character each.

        Raises `UsageError` for an unknown field or a format that does not suit it.
        """
        template, known = cls(_unescaped(text)), fields(_SAMPLE, None)
        try:
            # A name with a dot or a bracket in it is unknown too: a template reaches these values and nothing behind
            # them. Then it is tried on a made-up hit: a format that does not suit a field fails before the search.
            names = {name for _, name, _, _ in Formatter().parse(template.text) if name is not None}
            unknown = sorted(names - known.keys())
            if unknown:
                raise UsageError(f"--format knows no field {unknown[0]!r}", f"there are: {', '.join(known)}")
            template.render([_SAMPLE])
        except (ValueError, TypeError, KeyError, IndexError) as error:
            raise UsageError(f"--format cannot be used: {error}", "for example: '{score:.3f} {path}'") from error
        return template

    def render(self, hits: Iterable[Hit], query: str | None = None, *, end: str = "\n", escaped: bool = False) -> str:
        """Return the hits, each followed by `end`; names are `escaped` for a terminal, otherwise left as they are."""
        return "".join(self.text.format_map(fields(hit, query, escaped=escaped)) + end for hit in hits)


def fields(hit: Hit, query: str | None, *, escaped: bool = False) -> dict[str, Any]:
    """Return the fields that a template may name; one that is not known is empty, or nan."""
    image = hit.image
    shown: Callable[[bytes], str] = printable if escaped else os.fsdecode
    return {
        "rank": hit.rank,
        "score": hit.score,
        "sigma": math.nan if hit.sigma is None else hit.sigma,
        "path": shown(image.path),
        "name": shown(os.path.basename(image.path)),
        "directory": shown(os.path.dirname(image.path)),
        "pair": shown(hit.pair or b""),
        "index": shown(hit.index or b""),
        "date": local_time(image.date_s),
        "date_source": str(image.picture.date_source),
        "width": image.picture.width,
        "height": image.picture.height,
        "bytes": image.size,
        "format": image.picture.format,
        "camera": image.picture.camera or "",
        **{key: math.nan if value is None else value for key, value in position_record(image.picture).items()},
        "distance_km": math.nan if hit.distance_m is None else hit.distance_m / 1000,
        "sha256": image.sha256.hex(),
        "id": image.id,
        "query": query or "",
    }


def _unescaped(text: str) -> str:
    """Return `text` with its escapes as the characters they stand for; other backslashes stay."""
    return re.sub(r"\\[tn0\\]", lambda escape: _ESCAPES[escape[0]], text)
