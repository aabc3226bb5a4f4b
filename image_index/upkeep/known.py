"""All that an index knows of one picture, and whether its file is still as it was."""

from __future__ import annotations

import os
from dataclasses import dataclass
from enum import StrEnum
from stat import S_ISREG

from image_index.catalog.pairs import pair_of
from image_index.catalog.reader import CatalogReader
from image_index.paths import below
from image_index.records import ImageFacts, ImageFile, KnownFailure, ModelFacts


class PictureState(StrEnum):
    """What has become of a picture's file since it was read."""

    UNCHANGED = "unchanged"
    CHANGED = "changed"
    GONE = "gone"
    UNREADABLE = "unreadable"


@dataclass(frozen=True, slots=True)
class KnownPicture:
    """What is known of the picture at `path`: its image, or its failure.

    `names` are the other paths that lead to the same file. `file` is the file as it was when it was read or failed,
    `state` what has become of it since. `read_at_ns` and `missing_since_s` belong to the image. `pair` is the other
    file of a shot that was taken as RAW and as JPEG. `root` is the innermost root that it lies in, None where that was
    never trained as one. `model` made the image's vector, if it has one; None for a failure.
    """

    path: bytes
    file: ImageFile
    state: PictureState
    image: ImageFacts | None
    read_at_ns: int | None
    missing_since_s: int | None
    failure: KnownFailure | None
    pair: bytes | None
    root: bytes | None
    model: ModelFacts | None
    names: tuple[bytes, ...] = ()
    has_vector: bool | None = None


def known_picture(catalog: CatalogReader, path: bytes) -> KnownPicture | None:
    """Return all that is known of the picture at `path`, any of its names, None where that is nothing."""
    names = catalog.names_at(path)
    image, failure = catalog.facts_at(path), catalog.failure_at(names[0])
    if image is not None:
        file = ImageFile(path, image.size, image.mtime_ns)
    elif failure is not None:
        file = failure.failure.file._replace(path=path)
    else:
        return None
    pair = pair_of(catalog, image) if image else None
    read_at_ns, missing_since_s = (catalog.times_at(path) if image else None) or (None, None)
    return KnownPicture(
        path=path,
        file=file,
        state=_state(file),
        image=image,
        read_at_ns=read_at_ns,
        missing_since_s=missing_since_s,
        failure=failure,
        pair=pair.path if pair else None,
        root=_root(catalog, path),
        model=catalog.read_model() if image else None,
        names=tuple(name for name in names if name != path),
        has_vector=catalog.has_vector(image.id) if image else None,
    )


def _state(file: ImageFile) -> PictureState:
    """Return what has become of a file."""
    try:
        now = os.stat(file.path)
    except (FileNotFoundError, NotADirectoryError):
        return PictureState.GONE
    except OSError:
        return PictureState.UNREADABLE
    found = ImageFile.of(file.path, now)
    same = S_ISREG(now.st_mode) and (found.size, found.mtime_ns) == (file.size, file.mtime_ns)
    return PictureState.UNCHANGED if same else PictureState.CHANGED


def _root(catalog: CatalogReader, path: bytes) -> bytes | None:
    """Return the innermost root that `path` lies in or is."""
    roots = (root.path for root in catalog.roots())
    return max((root for root in roots if path == root or path.startswith(below(root))), key=len, default=None)
