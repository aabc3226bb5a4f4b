"""Small pictures of files, for showing."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from io import BytesIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from image_index.errors import DecodeError
from image_index.files.read import FileContent, read_file
from image_index.formats import LEAST_MAX_PIXELS
from image_index.pictures.decode import Picture, decode
from image_index.records import ImageFacts, Preprocess

SIDE = 256
"""The longer side of a thumbnail in pixels; smaller pictures stay as they are."""

QUALITY, METHOD = 78, 2
"""Of WebP: method 4 takes three times as long for 3% less."""

LOOK_AHEAD = 16
"""How many thumbnails are made before they are asked for."""


@dataclass(frozen=True, slots=True)
class Thumbnail:
    """A small picture as a WebP file; `data` is None where the file cannot be shown, and `problem` says why."""

    data: bytes | None
    problem: str = ""


def thumbnails(images: Iterable[ImageFacts]) -> Iterator[Thumbnail]:
    """Yield a thumbnail of each picture, in order; several are made at once, and a bounded number waits."""
    waiting: deque[Future[Thumbnail]] = deque()
    with ThreadPoolExecutor(min(4, os.cpu_count() or 1)) as pool:
        for image in images:
            waiting.append(pool.submit(thumbnail, image))
            if len(waiting) >= LOOK_AHEAD:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def thumbnail(image: ImageFacts) -> Thumbnail:
    """Return a thumbnail whose longer side is at most `SIDE` pixels; whatever the file is, nothing is raised."""
    try:
        return Thumbnail(_encoded(small_pixels(image, SIDE)))
    except DecodeError as error:
        return Thumbnail(None, str(error))


def thumbnail_of(image: ImageFacts, content: FileContent, side: int) -> bytes:
    """Return the thumbnail, its longer side at most `side` pixels, of a picture whose content has been read.

    Raises `DecodeError`, and nothing else.
    """
    _check_size(image)
    return _encoded(_fitted(content, image, side))


def _encoded(pixels: NDArray[np.uint8]) -> bytes:
    """Return pixels (H, W, 3) as a WebP file."""
    encoded = BytesIO()
    Image.fromarray(pixels).save(encoded, "WEBP", quality=QUALITY, method=METHOD)
    return encoded.getvalue()


def small_pixels(image: ImageFacts, side: int) -> NDArray[np.uint8]:
    """Return the picture as (H, W, 3) uint8 sRGB, upright, its longer side at most `side` pixels.

    Raises `DecodeError`, and nothing else: the file may have gone or changed since it was indexed.
    """
    _check_size(image)
    try:
        content = read_file(image.path)
    except FileNotFoundError as error:
        raise DecodeError("the file is gone") from error
    except OSError as error:
        raise DecodeError(error.strerror or "the file cannot be read") from error
    return _fitted(content, image, side)


def _check_size(image: ImageFacts) -> None:
    """Raise `DecodeError` for a picture that has too many pixels to be decoded here."""
    width, height = image.picture.width, image.picture.height
    if width * height > LEAST_MAX_PIXELS:
        raise DecodeError(f"too large to show: {width} x {height} pixels")


def _fitted(content: FileContent, image: ImageFacts, side: int) -> NDArray[np.uint8]:
    """Return the content of a file, where `image` was found, as (H, W, 3) uint8 of at most `side` pixels each way."""
    size = image.picture.width, image.picture.height
    picture = _scaled(content, size, side)
    found = picture.facts.width, picture.facts.height
    if found != size:  # another picture than was indexed
        picture = _scaled(content, found, side)
    return picture.pixels


def _scaled(content: FileContent, size: tuple[int, int], side: int) -> Picture:
    """Return the whole picture, scaled as if it had `size`, (width, height) in pixels."""
    factor = min(1.0, side / max(*size, 1))
    height, width = (max(1, round(length * factor)) for length in (size[1], size[0]))
    preprocess = Preprocess((height, width), (0.0, 0.0, 0.0), (1.0, 1.0, 1.0), resize_mode="squash")
    return decode(content, preprocess, LEAST_MAX_PIXELS)
