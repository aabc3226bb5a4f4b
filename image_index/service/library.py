"""Routes that say what the index holds: its status, a picture, its failures, and the models there are."""

from __future__ import annotations

from itertools import dropwhile, islice
from typing import Any

from fastapi import APIRouter, HTTPException, Request

from image_index.models.listing import list_models
from image_index.present.known import known_record
from image_index.present.models import model_record
from image_index.present.status import failure_record, status_record
from image_index.records import ImageFacts
from image_index.service.answers import Failures, Health, ImageAnswer, Models, StatusAnswer
from image_index.service.cursors import read_cursor, write_cursor
from image_index.service.readers import OpenIndex, Service
from image_index.service.requests import Cursor, ImageId, Limit
from image_index.upkeep.known import known_picture
from image_index.upkeep.status import read_status

outer = APIRouter()
router = APIRouter(prefix="/api/v1")


def service_of(request: Request) -> Service:
    """Return the threads that read the index."""
    service: Service = request.app.state.service
    return service


@outer.get("/healthz", response_model=Health, summary="Whether the server is up; needs no token.")
async def healthz() -> dict[str, str]:
    """Say that the server answers."""
    return {"status": "ok"}


@router.get("/status", response_model=StatusAnswer, response_model_exclude_unset=True)
async def status(request: Request) -> dict[str, Any]:
    """What the index holds: as `imgidx status --json`."""
    return await service_of(request).read.read(lambda opened: status_record(read_status(opened.home)))


@router.get("/models", response_model=Models, response_model_exclude_unset=True)
async def models(request: Request) -> dict[str, Any]:
    """The models that are bundled, cached or known: as `imgidx models --json`."""
    return await service_of(request).read.read(lambda _: {"models": [model_record(one) for one in list_models()]})


@router.get("/failures", response_model=Failures, response_model_exclude_unset=True)
async def failures(request: Request, limit: Limit = 100, cursor: Cursor = None) -> dict[str, Any]:
    """The pictures that could not be indexed, in the order of their paths: as `imgidx failures --json`."""
    after = b"" if cursor is None else read_cursor(cursor, "failures", bytes)[0]

    def read(opened: OpenIndex) -> dict[str, Any]:
        known = dropwhile(lambda one: one.failure.file.path <= after, opened.catalog.failures())
        page = list(islice(known, limit + 1))
        is_last = len(page) <= limit
        following = None if is_last else write_cursor("failures", page[limit - 1].failure.file.path)
        return {"failures": [failure_record(one) for one in page[:limit]], "next": following}

    return await service_of(request).read.read(read)


@router.get("/images/{image_id}", response_model=ImageAnswer, response_model_exclude_unset=True)
async def image(request: Request, image_id: ImageId) -> dict[str, Any]:
    """All that is known of a picture, and whether its file is still as it was: as `imgidx show --json`."""

    def read(opened: OpenIndex) -> dict[str, Any]:
        known = known_picture(opened.catalog, facts_of(opened, image_id).path)
        if known is None:
            raise no_image(image_id)
        return known_record(known)

    return await service_of(request).read.read(read)


def facts_of(opened: OpenIndex, image_id: int) -> ImageFacts:
    """Return what the catalog knows of a picture; raise the answer 404 where there is none of this id."""
    found = opened.catalog.facts_of([image_id]).get(image_id)
    if found is None:
        raise no_image(image_id)
    return found


def no_image(image_id: int) -> HTTPException:
    """Return the answer that there is no picture of this id."""
    return HTTPException(404, f"the index has no picture {image_id}")
