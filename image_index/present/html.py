"""A contact sheet: one HTML page with everything inside, so that it can be sent, kept and opened anywhere."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from hashlib import sha256
from html import escape
from importlib.resources import files
from os.path import basename, dirname
from urllib.parse import quote_from_bytes

from image_index.dates import local_time
from image_index.paths import printable
from image_index.records import ImageFacts


@dataclass(frozen=True, slots=True)
class Item:
    """A picture on the sheet: a WebP thumbnail, or None and the `problem`; `badge` is its rank or the like."""

    image: ImageFacts
    badge: str
    caption: str
    thumbnail: bytes | None
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Section:
    """Pictures under a heading; an empty heading is not shown."""

    heading: str
    items: Iterable[Item]


def sheet(title: str, subtitle: str, sections: Iterable[Section]) -> Iterator[str]:
    """Yield the page in pieces, one for each picture. It loads nothing from elsewhere, and its policy forbids that."""
    # A page that shows strangers' file names is safe if nothing in it can run but our script: the policy names the
    # script and the style by their hashes, and allows pictures that stand in the page itself.
    style, script = _package_file("sheet.css"), _package_file("sheet.js")
    policy = f"default-src 'none'; img-src data:; style-src {_hash(style)}; script-src {_hash(script)}; "
    yield (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">\n'
        f"<meta http-equiv=\"Content-Security-Policy\" content=\"{policy}base-uri 'none'; form-action 'none'\">\n"
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<meta name="color-scheme" content="light dark"><title>{_text(title)}</title>\n<style>{style}</style></head>'
        f'<body><header><h1 dir="auto">{_text(title)}</h1><p>{_text(subtitle)}</p><output id="place"></output>'
        '<button type="button" id="keys">Keys <kbd>?</kbd></button></header>\n<main>'
    )
    for section in sections:
        heading = f'<h2 dir="auto">{_text(section.heading)}</h2>' if section.heading else ""
        yield f'<section>{heading}<ul role="list">\n'
        yield from map(_figure, section.items)
        yield "</ul></section>\n"
    yield f"</main>{_HELP}<script>{script}</script></body></html>\n"


def _figure(item: Item) -> str:
    image = item.image
    name = _text(basename(image.path))
    if item.thumbnail is None:
        picture = f'<span class="none" role="img" aria-label="{name}">{_text(item.problem)}</span>'
    else:
        picture = (
            f'<img alt="{name}" decoding="async" src="data:image/webp;base64,{b64encode(item.thumbnail).decode()}">'
        )
    date = f"{local_time(image.date_s):%Y-%m-%d}"
    return (
        f'<li><a href="file://{quote_from_bytes(image.path)}" title="{_text(image.path)}"><figure>'
        f'<div class="frame">{picture}</div><figcaption>'
        f'<span class="name"><b>{_text(item.badge)}</b> <bdi aria-hidden="true">{name}</bdi></span>'
        f"<bdi>{_text(basename(dirname(image.path)))}</bdi><span>{_text(item.caption)}</span>"
        f"<span>{date} \u00b7 {image.picture.width}\u00d7{image.picture.height}</span></figcaption></figure></a></li>\n"
    )


def _text(text: str | bytes) -> str:
    return escape(printable(text))


def _package_file(name: str) -> str:
    """Return a file that stands beside this module."""
    return files("image_index.present").joinpath(name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    """Return what a content security policy calls a style or script of this text."""
    return f"'sha256-{b64encode(sha256(text.encode()).digest()).decode()}'"


_HELP = """<dialog id="help" aria-label="Keys"><dl>
<dt><kbd>\u2190</kbd> <kbd>\u2192</kbd> <kbd>\u2191</kbd> <kbd>\u2193</kbd></dt><dd>from picture to picture</dd>
<dt><kbd>Home</kbd> <kbd>End</kbd></dt><dd>the first, the last</dd>
<dt><kbd>Enter</kbd></dt><dd>open the picture</dd>
<dt><kbd>+</kbd> <kbd>-</kbd></dt><dd>larger, smaller</dd>
<dt><kbd>?</kbd></dt><dd>these keys; <kbd>Esc</kbd> closes them</dd>
</dl></dialog>"""
