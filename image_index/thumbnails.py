"""Small pictures of files, for showing."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from io import BytesIO

from PIL import Image

from image_index.decode import Picture, decode
from image_index.devices import LEAST_MAX_PIXELS
from image_index.errors import DecodeError
from image_index.read import FileContent, read_file
from image_index.records import ImageFacts, Preprocess

SIDE = 256
"""The longer side of a thumbnail in pixels; smaller pictures stay as they are."""

QUALITY = 78

_LOOK_AHEAD = 16


@dataclass(frozen=True, slots=True)
class Thumbnail:
    """A small picture as a WebP file; `data` is None where the file cannot be shown, and `problem` says why."""

    data: bytes | None
    problem: str = ""


def thumbnails(images: Iterable[ImageFacts], side: int = SIDE) -> Iterator[Thumbnail]:
    """Yield a thumbnail of each picture, in order; several are made at once, and a bounded number waits."""
    waiting: deque[Future[Thumbnail]] = deque()
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        for image in images:
            waiting.append(pool.submit(thumbnail, image, side))
            if len(waiting) >= _LOOK_AHEAD:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def thumbnail(image: ImageFacts, side: int = SIDE) -> Thumbnail:
    """Return a thumbnail whose longer side is at most `side` pixels; whatever the file is, nothing is raised."""
    try:
        content = read_file(image.path)
        picture = _scaled(content, (image.width, image.height), side)
        if (picture.width, picture.height) != (image.width, image.height):  # another picture than was indexed
            picture = _scaled(content, (picture.width, picture.height), side)
    except FileNotFoundError:
        return Thumbnail(None, "the file is gone")
    except OSError as error:
        return Thumbnail(None, error.strerror or "the file cannot be read")
    except DecodeError as error:
        return Thumbnail(None, str(error))
    encoded = BytesIO()
    Image.fromarray(picture.pixels).save(encoded, "WEBP", quality=QUALITY, method=4)
    return Thumbnail(encoded.getvalue())


def _scaled(content: FileContent, size: tuple[int, int], side: int) -> Picture:
    """Return the whole picture, scaled as if it had `size`, (width, height) in pixels."""
    factor = min(1.0, side / max(*size, 1))
    height, width = (max(1, round(length * factor)) for length in (size[1], size[0]))
    wish = Preprocess((height, width), (0.0, 0.0, 0.0), (1.0, 1.0, 1.0), resize_mode="squash")
    return decode(content, wish, LEAST_MAX_PIXELS)
