"""The file of a picture, opened so that it is the one that was indexed, and not what has taken its place."""

from __future__ import annotations

import hashlib
import os
import time
from contextlib import ExitStack
from io import FileIO
from stat import S_ISREG

from image_index import dataless
from image_index.catalog.reader import CatalogReader
from image_index.errors import DecodeError, UsageError
from image_index.files.identity import is_link
from image_index.files.read import FileContent
from image_index.pictures.thumbnails import thumbnail_of
from image_index.records import ImageFacts, ImageFile


class OriginalGone(UsageError):
    """The picture is not to be had any more as it was indexed; the text says why."""


def open_original(catalog: CatalogReader, image: ImageFacts) -> FileIO:
    """Open the file of a picture, under any of its names; raise `OriginalGone` where it is gone or another one."""
    known = catalog.image_of_id(image.id)
    inode = known.inode if known else 0
    for path in catalog.names_at(image.path):
        try:
            return _open(path, image, inode)
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError as error:
            raise OriginalGone(f"the file of picture {image.id} cannot be read: {error.strerror}") from error
    raise OriginalGone(f"the file of picture {image.id} is gone")


def read_original(file: FileIO, image: ImageFacts) -> FileContent:
    """Return the content of an open original; raise `OriginalGone` where it is not what was indexed."""
    read_at_ns = time.time_ns()
    data = file.readall()
    digest = hashlib.sha256(data).digest()
    if digest != image.sha256:
        raise _changed(image)
    return FileContent(data, ImageFile(image.path, image.size, image.mtime_ns), digest, read_at_ns)


def small_original(file: FileIO, image: ImageFacts, side: int) -> bytes:
    """Return the thumbnail of an open original, at most `side` pixels, as WebP; raise `OriginalGone` for none."""
    try:
        return thumbnail_of(image, read_original(file, image), side)
    except DecodeError as error:
        raise OriginalGone(f"picture {image.id} cannot be shown: {error}") from error


def _open(path: bytes, image: ImageFacts, inode: int) -> FileIO:
    """Open a regular file of the size and time that the picture had.

    No link is followed, but one that a training has followed: it leads to the file with the `inode` of the picture. A
    link that somebody has put there since could lead to any file of the user's.
    """
    if dataless.HAS_FLAG and dataless.is_dataless(os.stat(path)):
        raise OriginalGone(f"the file of picture {image.id} is in a cloud, not on this disk")
    has_link = is_link(path)
    flags = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | (0 if has_link else os.O_NOFOLLOW)
    with ExitStack() as stack:
        file = stack.enter_context(FileIO(os.open(path, flags), "rb"))
        status = os.fstat(file.fileno())
        found = ImageFile.of(path, status)
        same = S_ISREG(status.st_mode) and (found.size, found.mtime_ns) == (image.size, image.mtime_ns)
        if not same or (has_link and found.inode != inode):
            raise _changed(image)
        stack.pop_all()
        return file


def _changed(image: ImageFacts) -> OriginalGone:
    return OriginalGone(f"the file of picture {image.id} is not the one that was indexed; imgidx train reads it again")
