"""Routes that give pictures themselves: small ones, and their files."""

from __future__ import annotations

import os
from enum import IntEnum
from io import FileIO
from typing import Annotated
from urllib.parse import quote

from fastapi import APIRouter, Header, Query, Request
from fastapi.responses import Response

from image_index.records import ImageFacts
from image_index.service.library import facts_of, service_of
from image_index.service.originals import open_original, small_original
from image_index.service.readers import OpenIndex
from image_index.service.requests import ImageId
from image_index.service.streams import Stream, file_chunks
from image_index.service.thumbnail_cache import ThumbnailCache

TYPES = {
    "jpeg": "image/jpeg",
    "mpo": "image/jpeg",
    "png": "image/png",
    "webp": "image/webp",
    "gif": "image/gif",
    "avif": "image/avif",
    "heif": "image/heif",
    "tiff": "image/tiff",
    "bmp": "image/bmp",
}
"""The media type of a picture by its format in the catalog, which is what it was decoded as and not what it is called.

A browser saves any other one and does not show it.
"""

OTHER_TYPE = "application/octet-stream"


class Side(IntEnum):
    """The sizes that thumbnails are made in: the longer side in pixels."""

    TINY = 64
    SMALL = 128
    MEDIUM = 256
    LARGE = 512
    HUGE = 1024


router = APIRouter(prefix="/api/v1")


@router.get(
    "/images/{image_id}/thumbnail",
    response_class=Response,
    responses={200: {"content": {"image/webp": {}}}, 304: {"description": "It is the one that the client has."}},
)
async def thumbnail(
    request: Request,
    image_id: ImageId,
    side: Annotated[Side, Query(description="The longer side in pixels.")] = Side.MEDIUM,
    if_none_match: Annotated[str | None, Header()] = None,
) -> Response:
    """A small picture as WebP, upright; none is made of a file that has changed since it was indexed."""
    cache: ThumbnailCache = request.app.state.thumbnails

    def make(opened: OpenIndex) -> Response:
        image = facts_of(opened, image_id)
        # asked for each time, so that nothing is shown of a file that is gone, or has changed
        headers = {"ETag": f'"{image.sha256.hex()}-{side}"', "Cache-Control": "private, no-cache"}
        if if_none_match == headers["ETag"]:
            open_original(opened.catalog, image).close()
            return Response(status_code=304, headers=headers)
        data = thumbnail_data(opened, cache, image, side)
        return Response(data, media_type="image/webp", headers=headers)

    return await service_of(request).thumbnails.read(make)


def thumbnail_data(opened: OpenIndex, cache: ThumbnailCache, image: ImageFacts, side: int) -> bytes:
    """Return the thumbnail of a picture, kept or made now; raise `OriginalGone` where there is nothing to show."""
    with open_original(opened.catalog, image) as file:
        data = cache.find(image.sha256, side)
        if data is None:
            data = small_original(file, image, side)
            cache.keep(image.sha256, side, data)
    return data


@router.get(
    "/images/{image_id}/file",
    response_class=Response,
    responses={200: {"content": {kind: {} for kind in sorted({*TYPES.values(), OTHER_TYPE})}}},
)
async def file(request: Request, image_id: ImageId) -> Stream:
    """The file of a picture as it is on the disk, if it is still the one that was indexed."""

    def open_file(opened: OpenIndex) -> tuple[ImageFacts, FileIO]:
        image = facts_of(opened, image_id)
        return image, open_original(opened.catalog, image)

    image, opened_file = await service_of(request).read.read(open_file)
    kind = TYPES.get(image.picture.format, OTHER_TYPE)
    place = "attachment" if kind == OTHER_TYPE else "inline"
    headers = {
        "Content-Disposition": f"{place}; filename*=UTF-8''{quote(os.path.basename(image.path), safe='')}",
        "Content-Length": str(image.size),
        "Cache-Control": "private, no-cache",
    }
    return Stream(file_chunks(opened_file, image.size), kind, headers, opened_file.close)
