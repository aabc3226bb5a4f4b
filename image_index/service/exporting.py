"""Routes that give what is chosen to other programs: paths, an archive of the files, a contact sheet."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence
from functools import partial
from io import FileIO

from fastapi import APIRouter, Request
from fastapi.responses import Response
from starlette.concurrency import iterate_in_threadpool

from image_index.errors import ImgidxError, UsageError
from image_index.present.sheet import Item, Section, page
from image_index.records import ImageFacts
from image_index.service.archive import archive
from image_index.service.bodies import body_schema, read_body
from image_index.service.library import no_image, service_of
from image_index.service.originals import open_original
from image_index.service.pictures import thumbnail_data
from image_index.service.problems import problem_answers
from image_index.service.readers import OpenIndex, Service
from image_index.service.requests import PathsRequest, SheetRequest, ZipRequest
from image_index.service.streams import Places, Stream
from image_index.service.thumbnail_cache import ThumbnailCache

MOST_ARCHIVE_BYTES = 16 << 30
"""How much the files of an archive may have."""

PATH_TYPES = ("text/plain", "application/octet-stream")
"""What paths are sent as, in lines and else; a charset would be a promise that file names do not keep."""

SHEET_SIDE = 256
"""The longer side of the pictures on a contact sheet."""

router = APIRouter(prefix="/api/v1/export")


@router.post(
    "/paths",
    response_class=Response,
    responses={
        200: {"content": {"text/plain": {}, "application/octet-stream": {}}},
        **problem_answers(403, 408, 413, 415),
    },
    openapi_extra=body_schema(PathsRequest),
)
async def paths(request: Request) -> Response:
    """The paths of pictures, byte for byte: one a line, or each ended by a zero byte."""
    wanted = await read_body(request, PathsRequest)
    images = await service_of(request).read.read(partial(_chosen, ids=wanted.ids))
    end = b"\0" if wanted.null else b"\n"
    return Response(b"".join(image.path + end for image in images), headers={"Content-Type": PATH_TYPES[wanted.null]})


@router.post(
    "/zip",
    response_class=Response,
    responses={200: {"content": {"application/zip": {}}}, **problem_answers(403, 408, 413, 415)},
    openapi_extra=body_schema(ZipRequest),
)
async def archive_of(request: Request) -> Stream:
    """The files of pictures as a ZIP archive; what cannot be had is named in it, in `imgidx-left-out.txt`."""
    service, wanted = service_of(request), await read_body(request, ZipRequest)
    images = await service.read.read(partial(_chosen, ids=wanted.ids))
    size = sum(image.size for image in images)
    if size > MOST_ARCHIVE_BYTES:
        problem = f"the pictures have {size >> 20} MiB, and an archive may have {MOST_ARCHIVE_BYTES >> 20}"
        raise UsageError(problem, "choose fewer")

    async def open_file(image: ImageFacts) -> FileIO:
        return await service.read.read(lambda opened: open_original(opened.catalog, image))

    return _saved(request, archive(images, open_file), ("application/zip", "pictures.zip"))


@router.post(
    "/sheet",
    response_class=Response,
    responses={200: {"content": {"text/html": {}}}, **problem_answers(403, 408, 413, 415)},
    openapi_extra=body_schema(SheetRequest),
)
async def sheet(request: Request) -> Stream:
    """A contact sheet of pictures, as `imgidx search --html` writes it: one page that has all it shows."""
    service, wanted = service_of(request), await read_body(request, SheetRequest)
    images = await service.read.read(partial(_chosen, ids=wanted.ids))
    items = _items(service, request.app.state.thumbnails, images)
    subtitle = f"{len(images)} picture{'' if len(images) == 1 else 's'}"
    pieces = (piece.encode() for piece in page(wanted.title, subtitle, [Section("", items)]))
    return _saved(request, iterate_in_threadpool(pieces), ("text/html; charset=utf-8", "pictures.html"))


def _chosen(opened: OpenIndex, ids: Sequence[int]) -> list[ImageFacts]:
    """Return the pictures with these ids, each once; raise the answer 404 where there is none of an id."""
    found = opened.catalog.facts_of(dict.fromkeys(ids))
    for image_id in ids:
        if image_id not in found:
            raise no_image(image_id)
    return [found[image_id] for image_id in dict.fromkeys(ids)]


def _saved(request: Request, pieces: AsyncIterator[bytes], file: tuple[str, str]) -> Stream:
    """Return an answer that a browser saves; `file` is its media type and name. Raises `WorkersFailed` for too many."""
    places: Places = request.app.state.places
    places.take()
    kind, name = file
    headers = {"Content-Disposition": f'attachment; filename="{name}"', "Cache-Control": "no-store"}
    return Stream(pieces, kind, headers, places.give_back)


def _items(service: Service, cache: ThumbnailCache, images: Sequence[ImageFacts]) -> Iterator[Item]:
    """Yield the pictures as they stand on the sheet; each waits in turn with the thumbnails that others ask for."""

    def thumbnail(image: ImageFacts, opened: OpenIndex) -> bytes:
        return thumbnail_data(opened, cache, image, SHEET_SIDE)

    for number, image in enumerate(images, 1):
        caption = f"{image.size / 1000:.0f} kB"
        try:
            data = service.thumbnails.ask(partial(thumbnail, image)).result()
            yield Item(image, str(number), caption, data)
        except ImgidxError as error:
            yield Item(image, str(number), caption, None, str(error))
