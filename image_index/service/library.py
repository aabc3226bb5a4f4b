"""Routes that say what the index holds: its status, a picture, its failures, and the models there are."""

from __future__ import annotations

import base64
import binascii
from itertools import dropwhile, islice
from typing import Annotated, Any

from fastapi import APIRouter, HTTPException, Path, Query, Request

from image_index.errors import UsageError
from image_index.models.names import list_models
from image_index.present.known import known_record
from image_index.present.models import model_record
from image_index.present.status import failure_record, status_record
from image_index.records import ImageFacts
from image_index.service.answers import Failures, Health, ImageAnswer, Models, StatusAnswer
from image_index.service.readers import OpenIndex, Readers
from image_index.upkeep.known import known_picture
from image_index.upkeep.status import read_status

MOST_ID = (1 << 63) - 1
"""The largest id that the catalog can have."""

ImageId = Annotated[int, Path(ge=1, le=MOST_ID, description="The id of a picture; ids are never used again.")]
Limit = Annotated[int, Query(ge=1, le=1000, description="How many at most.")]
Cursor = Annotated[str | None, Query(max_length=8192, description="`next` of the page before.")]

outer = APIRouter()
router = APIRouter(prefix="/api/v1")


def readers_of(request: Request) -> Readers:
    """Return the threads that read the index."""
    readers: Readers = request.app.state.readers
    return readers


@outer.get("/healthz", response_model=Health, summary="Whether the server is up; needs no token.")
async def healthz() -> dict[str, str]:
    """Say that the server answers."""
    return {"status": "ok"}


@router.get("/status", response_model=StatusAnswer, response_model_exclude_unset=True)
async def status(request: Request) -> dict[str, Any]:
    """What the index holds: as `imgidx status --json`."""
    return await readers_of(request).read(lambda opened: status_record(read_status(opened.home)))


@router.get("/models", response_model=Models, response_model_exclude_unset=True)
async def models(request: Request) -> dict[str, Any]:
    """The models that are bundled, cached or known: as `imgidx models --json`."""
    return await readers_of(request).read(lambda _: {"models": [model_record(one) for one in list_models()]})


@router.get("/failures", response_model=Failures, response_model_exclude_unset=True)
async def failures(request: Request, limit: Limit = 100, cursor: Cursor = None) -> dict[str, Any]:
    """The pictures that could not be indexed, in the order of their paths: as `imgidx failures --json`."""
    after = _path_of(cursor)

    def read(opened: OpenIndex) -> dict[str, Any]:
        known = dropwhile(lambda one: one.failure.file.path <= after, opened.catalog.failures())
        page = list(islice(known, limit + 1))
        is_last = len(page) <= limit
        following = None if is_last else _cursor_of(page[limit - 1].failure.file.path)
        return {"failures": [failure_record(one) for one in page[:limit]], "next": following}

    return await readers_of(request).read(read)


@router.get("/images/{image_id}", response_model=ImageAnswer, response_model_exclude_unset=True)
async def image(request: Request, image_id: ImageId) -> dict[str, Any]:
    """All that is known of a picture, and whether its file is still as it was: as `imgidx show --json`."""

    def read(opened: OpenIndex) -> dict[str, Any]:
        known = known_picture(opened.catalog, facts_of(opened, image_id).path)
        if known is None:
            raise no_image(image_id)
        return known_record(known)

    return await readers_of(request).read(read)


def facts_of(opened: OpenIndex, image_id: int) -> ImageFacts:
    """Return what the catalog knows of a picture; raise the answer 404 where there is none of this id."""
    found = opened.catalog.facts_of([image_id]).get(image_id)
    if found is None:
        raise no_image(image_id)
    return found


def no_image(image_id: int) -> HTTPException:
    """Return the answer that there is no picture of this id."""
    return HTTPException(404, f"the index has no picture {image_id}")


def _cursor_of(path: bytes) -> str:
    """Return the cursor of the page that begins behind `path`."""
    return base64.urlsafe_b64encode(path).decode("ascii")


def _path_of(cursor: str | None) -> bytes:
    """Return the path behind which a page begins; raise `UsageError` for a cursor that is none."""
    try:
        return base64.b64decode(cursor or "", b"-_", validate=True)
    except (binascii.Error, ValueError) as error:
        raise UsageError("the cursor is not one that an answer gave", "leave it out to begin again") from error
