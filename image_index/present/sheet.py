"""A contact sheet: one HTML page with everything inside, so that it can be sent, kept and opened anywhere."""

from __future__ import annotations

import os
from base64 import b64encode
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from html import escape
from importlib.resources import files
from os.path import basename, dirname
from pathlib import Path
from urllib.parse import quote_from_bytes

from image_index.dates import local_time
from image_index.errors import UsageError
from image_index.files.atomic import replacing_file
from image_index.paths import message_line, printable
from image_index.pictures.thumbnails import thumbnails
from image_index.present.groups import badges, kilobytes
from image_index.records import Hit, ImageFacts
from image_index.search.duplicates import Group

Entry = tuple[ImageFacts, str, str]
"""A picture, its badge and its caption."""


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


def write_hits(path: Path, title: str, searches: Sequence[tuple[str, Sequence[Hit]]]) -> None:
    """Write the hits of one or several searches, each under its name. Raises the errors of `write_sheet`."""
    count = sum(len(hits) for _, hits in searches)
    sections = [(name if len(searches) > 1 else "", list(map(_entry, hits))) for name, hits in searches]
    write_sheet(path, title, f"{count} picture{'' if count == 1 else 's'}", sections)


def write_duplicates(path: Path, groups: Sequence[Group]) -> None:
    """Write groups of the same picture. Raises the errors of `write_sheet`."""
    sections = [
        (
            f"{len(group)} pictures",
            [(member.image, badge, kilobytes(member)) for member, badge in zip(group, badges(group), strict=True)],
        )
        for group in groups
    ]
    write_sheet(path, "Duplicates", f"{len(groups)} groups of the same picture, the best copy first", sections)


def write_sheet(path: Path, title: str, subtitle: str, sections: Iterable[tuple[str, Sequence[Entry]]]) -> None:
    """Write pictures under headings as one page; the file at `path` is the whole page, or as it was before.

    Raises `UsageError` if no file can be written to `path`, `StorageError` if the disk refuses.
    """
    target = Path(os.path.realpath(path))
    if not target.parent.is_dir():
        raise UsageError(f"cannot write {path}: there is no directory {target.parent}")
    if target.exists() and not target.is_file():
        raise UsageError(f"cannot write {path}: it is not a regular file")
    made = (Section(heading, _items(entries)) for heading, entries in sections)
    with replacing_file(target, mode=0o666) as draft, draft.open("w", encoding="utf-8") as file:
        file.writelines(page(title, subtitle, made))


def _entry(hit: Hit) -> Entry:
    sigma = "" if hit.sigma is None else f" \u00b7 {hit.sigma:.1f} sigma"
    return hit.image, str(hit.rank), f"score {hit.score:.3f}{sigma}"


def _items(entries: Sequence[Entry]) -> Iterator[Item]:
    small = thumbnails(image for image, _, _ in entries)
    for (image, badge, caption), picture in zip(entries, small, strict=True):
        yield Item(image, badge, caption, picture.data, picture.problem)


def page(title: str, subtitle: str, sections: Iterable[Section]) -> Iterator[str]:
    """Yield the page in pieces, one for each picture. It loads nothing from elsewhere, and its policy forbids that."""
    # A page that shows strangers' file names is safe if nothing in it can run but our script: the policy names the
    # script and the style by their hashes, and allows pictures that stand in the page itself.
    style, script = _package_file("sheet.css"), _package_file("sheet.js")
    title = _heading(title)
    policy = f"default-src 'none'; img-src data:; style-src {_hash(style)}; script-src {_hash(script)}; "
    yield (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">\n'
        f"<meta http-equiv=\"Content-Security-Policy\" content=\"{policy}base-uri 'none'; form-action 'none'\">\n"
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<meta name="color-scheme" content="light dark"><title>{title}</title>\n<style>{style}</style></head>'
        f'<body><header><h1 dir="auto">{title}</h1><p>{_text(subtitle)}</p><output id="place"></output>'
        '<button type="button" id="keys">Keys <kbd>?</kbd></button></header>\n<main>'
    )
    for section in sections:
        heading = f'<h2 dir="auto">{_heading(section.heading)}</h2>' if section.heading else ""
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
    # <bdi> and dir="auto": a name in Hebrew or Arabic, or with a control character for direction, must not turn the
    # text around it. _text escapes what is not printable, then HTML's own characters.
    date = f"{local_time(image.date_s):%Y-%m-%d}"
    return (
        f'<li><a href="file://{quote_from_bytes(image.path)}" title="{_text(image.path)}"><figure>'
        f'<div class="frame">{picture}</div><figcaption>'
        f'<span class="name"><b>{_text(item.badge)}</b> <bdi aria-hidden="true">{name}</bdi></span>'
        f"<bdi>{_text(basename(dirname(image.path)))}</bdi><span>{_text(item.caption)}</span>"
        f"<span>{date} \u00b7 {image.picture.width}\u00d7{image.picture.height}</span></figcaption></figure></a></li>\n"
    )


def _heading(text: str) -> str:
    return escape(message_line(text))


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
