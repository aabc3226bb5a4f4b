"""Write a contact sheet of pictures to a file."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from image_index.errors import UsageError
from image_index.files.atomic import replacing_file
from image_index.pictures.thumbnails import thumbnails
from image_index.present.html import Item, Section, sheet
from image_index.records import Hit, ImageFacts

Entry = tuple[ImageFacts, str, str]
"""A picture, its badge and its caption."""


def write_sheet(path: Path, title: str, pages: Sequence[tuple[str, Sequence[Hit]]]) -> None:
    """Write the hits of one or several searches, each under its name. Raises the errors of `write_groups`."""
    count = sum(len(hits) for _, hits in pages)
    groups = [(name if len(pages) > 1 else "", list(map(_entry, hits))) for name, hits in pages]
    write_groups(path, title, f"{count} picture{'' if count == 1 else 's'}", groups)


def write_groups(path: Path, title: str, subtitle: str, groups: Iterable[tuple[str, Sequence[Entry]]]) -> None:
    """Write groups of pictures, each under a heading, as one page; `path` is whole or as it was before.

    Raises `UsageError` where no file can be written to `path`, `StorageError` where the disk refuses.
    """
    target = Path(os.path.realpath(path))
    if not target.parent.is_dir():
        raise UsageError(f"cannot write {path}: there is no directory {target.parent}")
    if target.exists() and not target.is_file():
        raise UsageError(f"cannot write {path}: it is not a regular file")
    sections = (Section(heading, _items(entries)) for heading, entries in groups)
    with replacing_file(target, mode=0o666) as draft, draft.open("w", encoding="utf-8") as file:
        file.writelines(sheet(title, subtitle, sections))


def _entry(hit: Hit) -> Entry:
    sigma = "" if hit.sigma is None else f" \u00b7 {hit.sigma:.1f} sigma"
    return hit.image, str(hit.rank), f"score {hit.score:.3f}{sigma}"


def _items(entries: Sequence[Entry]) -> Iterator[Item]:
    small = thumbnails(image for image, _, _ in entries)
    for (image, badge, caption), picture in zip(entries, small, strict=True):
        yield Item(image, badge, caption, picture.data, picture.problem)
